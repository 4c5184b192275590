//! What pybuild does about being root: nothing that root is not needed for.
//!
//! Builds, downloads and unpacking run as an unprivileged uid: the one given with `--run-as`,
//! else the store's owner, else nobody. Where nothing is written for root, the process becomes
//! that uid and stays it. Where an output directory or a directory target is root's, the whole tool
//! runs again as that uid (the worker), and the process that is still root (the steward) does only
//! this: it puts the files that the worker hands it, by descriptor, below that directory, reads
//! back what is there (or what is in a directory to copy from), tells the worker the settings that it could not read, passes on signals, and
//! ends as the worker ends.
//!
//! What the environment holds of secrets stays with the process it was given to: the worker's is
//! made of what it needs.

mod errand;
mod talk;

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, OnceLock};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid, User, geteuid, setgroups, setresgid, setresuid};

pub(crate) use self::talk::ToSteward;
use self::talk::{Duties, serve};
use super::delivery::{Delivery, Direct};
use crate::publish::{Inputs, Remote};
use crate::sandbox::{Identity, Launcher};
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;
use crate::sys::{inherit, socket};

/// How a worker's argv\[0\] begins; the number of its socket follows.
const WORKER: &str = "pybuild-worker:";
/// nobody's uid and gid on every Linux distribution, and the kernel's overflow ids.
const NOBODY: u32 = 65534;

/// Why pybuild cannot run as the uid it should.
#[derive(Debug, thiserror::Error)]
pub enum StewardError {
    /// `--run-as` names root.
    #[error("builds do not run as root")]
    RunAsRoot,
    /// `--run-as` without being root.
    #[error("only root can run builds as another uid")]
    NotRoot,
    /// The store is root's and holds something.
    #[error("the store {} belongs to root", .0.display())]
    RootsStore(PathBuf),
    /// The store cannot be made or looked at.
    #[error("cannot make the store")]
    Store(#[from] FsError),
    /// A system call failed.
    #[error("cannot run as uid {uid}: {call}")]
    Become {
        /// Whom it wanted to become.
        uid: u32,
        /// Which call.
        call: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What is written with the rights of whoever started pybuild, root among them.
#[derive(Clone, Copy)]
pub(crate) enum Outlet<'a> {
    /// Nothing.
    Nothing,
    /// Files below a directory; and what settings are resolved from, if the work needs any.
    Directory(&'a Path, Option<&'a Inputs>),
    /// Files where this puts them.
    Direct(&'a Direct),
    /// Objects in a directory target; and what its settings were resolved from, which the worker
    /// could not read.
    Target(&'a Remote, &'a Inputs),
    /// The same, and what is read from a directory; either may be somewhere that takes no such
    /// rights.
    Copies {
        from: Option<&'a Remote>,
        to: Option<&'a Remote>,
        inputs: &'a Inputs,
    },
}

/// What this process is, once [`enter`] has sorted it out.
pub(crate) enum Role {
    /// The one that does the work, unprivileged.
    Worker(Box<dyn Delivery + Send + Sync>),
    /// The steward, whose worker has ended so.
    Steward(ExitStatus),
}

/// Makes sure that from here on no work is done as root. `output` is what will be written; what
/// `launcher` has started goes along.
pub(crate) fn enter(
    store: &Path,
    run_as: Option<u32>,
    output: Outlet<'_>,
    launcher: &Launcher,
) -> Result<Role, StewardError> {
    if let Some(steward) = steward() {
        return Ok(Role::Worker(Box::new(steward)));
    }
    let direct = match output {
        Outlet::Direct(direct) => direct.clone(),
        Outlet::Directory(path, _) => Direct::new(path),
        Outlet::Nothing | Outlet::Target(..) | Outlet::Copies { .. } => Direct::new(Path::new(".")),
    };
    if !geteuid().is_root() {
        return match run_as {
            Some(uid) if uid != geteuid().as_raw() => Err(StewardError::NotRoot),
            _ => Ok(Role::Worker(Box::new(direct))),
        };
    }
    let identity = Unprivileged::choose(run_as, store)?;
    identity.own(store)?;
    let duties = match output {
        Outlet::Nothing => {
            let Unprivileged { uid, gid } = identity;
            launcher.give_up_root(Identity { uid, gid });
            identity.become_it()?;
            return Ok(Role::Worker(Box::new(direct)));
        }
        Outlet::Directory(_, inputs) => Duties {
            output: Some(&direct),
            source: None,
            target: None,
            inputs,
        },
        Outlet::Direct(direct) => Duties {
            output: Some(direct),
            source: None,
            target: None,
            inputs: None,
        },
        Outlet::Target(remote, inputs) => Duties {
            output: None,
            source: None,
            target: Some(remote),
            inputs: Some(inputs),
        },
        Outlet::Copies { from, to, inputs } => Duties {
            output: None,
            source: from,
            target: to,
            inputs: Some(inputs),
        },
    };
    identity.work_for(&duties, store).map(Role::Steward)
}

/// Gives up being root, if this process is, without making a store: for looking at what others
/// answer for.
pub(crate) fn step_down(store: &Path, run_as: Option<u32>) -> Result<(), StewardError> {
    if geteuid().is_root() {
        Unprivileged::choose(run_as, store)?.become_it()?;
    }
    Ok(())
}

/// The steward of this process, if it is one's worker.
pub(crate) fn steward() -> Option<Arc<ToSteward>> {
    static STEWARD: OnceLock<Option<Arc<ToSteward>>> = OnceLock::new();
    let known = STEWARD.get_or_init(|| {
        let socket = inherited_socket(WORKER)?;
        follow(&socket);
        Some(Arc::new(ToSteward::new(socket)))
    });
    known.clone()
}

/// Ends this process when its steward does: a long build must not outlive who asked for it.
fn follow(steward: &OwnedFd) {
    // Neither call can fail with these arguments.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM);
    let mut fds = [PollFd::new(steward.as_fd(), PollFlags::empty())];
    let _ = poll(&mut fds, PollTimeout::ZERO);
    // The steward may have died before the signal was asked for.
    if fds[0]
        .revents()
        .is_some_and(|events| events.contains(PollFlags::POLLHUP))
    {
        let _ = nix::sys::signal::raise(Signal::SIGTERM);
    }
}

/// The socket that this process was started with, if it is called so: the name says its number.
pub(super) fn inherited_socket(name: &str) -> Option<OwnedFd> {
    let called = std::env::args_os().next()?;
    let number = called.to_str()?.strip_prefix(name)?.parse().ok()?;
    inherit::adopt(number)
}

/// The uid and gid that work is done as when pybuild is started as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unprivileged {
    uid: u32,
    gid: u32,
}

impl Unprivileged {
    fn choose(run_as: Option<u32>, store: &Path) -> Result<Self, StewardError> {
        if let Some(uid) = run_as {
            let uid = Uid::from_raw(uid);
            if uid.is_root() {
                return Err(StewardError::RunAsRoot);
            }
            // A uid without an account is fine; its group then has the same number.
            let account = User::from_uid(uid).ok().flatten();
            let gid = account.map_or(uid.as_raw(), |user| user.gid.as_raw());
            return Ok(Self {
                uid: uid.as_raw(),
                gid,
            });
        }
        match fs::metadata(store) {
            Ok(found) if found.uid() != 0 => Ok(Self {
                uid: found.uid(),
                gid: if found.gid() == 0 {
                    found.uid()
                } else {
                    found.gid()
                },
            }),
            _ => Ok(Self {
                uid: NOBODY,
                gid: NOBODY,
            }),
        }
    }

    /// Makes the store this uid's, unless it is somebody's already.
    fn own(self, store: &Path) -> Result<(), StewardError> {
        if fs::metadata(store).is_err() {
            fs::create_dir_all(store).map_err(FsError::new("mkdir", store))?;
        }
        let found = fs::metadata(store).map_err(FsError::new("stat", store))?;
        if found.uid() == self.uid {
            return Ok(());
        }
        let mut entries = fs::read_dir(store).map_err(FsError::new("readdir", store))?;
        if found.uid() == 0 && entries.next().is_some() {
            return Err(StewardError::RootsStore(store.to_owned()));
        }
        if found.uid() == 0 {
            chown(store, Some(self.uid), Some(self.gid)).map_err(FsError::new("chown", store))?;
        }
        Ok(())
    }

    fn failed<E: Into<io::Error>>(self, call: &'static str) -> impl FnOnce(E) -> StewardError {
        move |source| StewardError::Become {
            uid: self.uid,
            call,
            source: source.into(),
        }
    }

    /// Gives up root for good.
    fn become_it(self) -> Result<(), StewardError> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        setgroups(&[]).map_err(self.failed("setgroups"))?;
        setresgid(gid, gid, gid).map_err(self.failed("setresgid"))?;
        setresuid(uid, uid, uid).map_err(self.failed("setresuid"))
    }

    /// Runs this very command again as this uid, and is its steward until it ends.
    fn work_for(self, duties: &Duties<'_>, store: &Path) -> Result<ExitStatus, StewardError> {
        let interrupt = Interrupt::install().map_err(self.failed("sigaction"))?;
        let (ours, theirs) = socket::pair()
            .map_err(io::Error::other)
            .map_err(self.failed("socketpair"))?;
        inherit::keep_over_exec(theirs.as_fd()).map_err(self.failed("fcntl"))?;
        // `uid` makes the standard library call setgroups(0) as well.
        let mut worker = Command::new("/proc/self/exe")
            .arg0(format!("{WORKER}{}", theirs.as_raw_fd()))
            .args(std::env::args_os().skip(1))
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_harmless)))
            // The worker is not root: it would look for a store of its own.
            .env("PYBUILD_HOME", store)
            .uid(self.uid)
            .gid(self.gid)
            .spawn()
            .map_err(self.failed("execve(/proc/self/exe)"))?;
        drop(theirs);
        let pid = Pid::from_raw(worker.id().cast_signed());
        serve(&ours, duties, &interrupt, pid);
        worker.wait().map_err(self.failed("wait"))
    }
}

/// Whether a variable of the environment goes to the worker: what it needs, and none that is for
/// secrets. Settings of targets go another way.
fn is_harmless(name: &str) -> bool {
    const NAMES: [&str; 18] = [
        "CI",
        "COLORTERM",
        "COLUMNS",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LINES",
        "LOGNAME",
        "NO_COLOR",
        "PATH",
        "RUST_BACKTRACE",
        "SHELL",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
    ];
    NAMES.contains(&name)
        || ["LC_", "PYBUILD_", "XDG_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        // They may hold a password, but without them nothing can be fetched.
        || name.to_ascii_lowercase().ends_with("_proxy")
}

/// The exit code with which a shell would tell this status.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_never_who_builds_run_as() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let chosen = Unprivileged::choose(Some(0), dir.path());
        assert!(matches!(chosen, Err(StewardError::RunAsRoot)));
        let missing = dir.path().join("missing");
        let nobody = Unprivileged::choose(None, &missing).expect("nobody");
        assert_eq!((nobody.uid, nobody.gid), (NOBODY, NOBODY));
        let given = Unprivileged::choose(Some(4_000_000_123), &missing).expect("any uid");
        assert_eq!((given.uid, given.gid), (4_000_000_123, 4_000_000_123));
    }

    #[test]
    fn a_store_that_root_has_used_is_not_taken_over() {
        if !geteuid().is_root() {
            return; // nobody else has a store of root's
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let nobody = Unprivileged::choose(None, &dir.path().join("missing")).expect("nobody");
        let owner = |store: &Path| fs::metadata(store).expect("there").uid();
        for name in ["missing", "empty"] {
            let store = dir.path().join(name);
            if name == "empty" {
                fs::create_dir(&store).expect("mkdir");
            }
            nobody.own(&store).expect("given");
            assert_eq!(owner(&store), NOBODY, "{name}");
        }
        let used = dir.path().join("used");
        fs::create_dir_all(used.join("blobs")).expect("mkdir");
        let refused = nobody.own(&used);
        assert!(matches!(refused, Err(StewardError::RootsStore(_))));
        assert_eq!(owner(&used), 0);
    }

    #[test]
    fn a_worker_is_told_nothing_that_is_for_others() {
        let table = [
            ("PATH", true),
            ("PYBUILD_DEBIAN_MIRROR", true),
            ("LC_ALL", true),
            ("https_proxy", true),
            ("NO_PROXY", true),
            ("AWS_SECRET_ACCESS_KEY", false),
            ("AWS_REGION", false),
            ("S3_BUCKET", false),
            ("GITHUB_TOKEN", false),
            ("PATHS", false),
            ("", false),
        ];
        for (name, harmless) in table {
            assert_eq!(is_harmless(name), harmless, "{name}");
        }
    }
}
