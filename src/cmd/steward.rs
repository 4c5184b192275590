//! What pybuild does about being root: nothing that root is not needed for.
//!
//! Builds, downloads and unpacking run as an unprivileged uid: the one given with `--run-as`,
//! else the store's owner, else nobody. Where nothing is written for root, the process becomes
//! that uid and stays it. Where an output directory is root's, the whole tool runs again as that
//! uid (the worker), and the process that is still root (the steward) does only this: it puts
//! the files that the worker hands it, by descriptor, below the output directory, passes on
//! signals, and ends as the worker ends.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, User, geteuid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};

use super::delivery::{Delivery, DeliveryError, Direct};
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

/// What this process is, once [`enter`] has sorted it out.
pub(crate) enum Role {
    /// The one that does the work, unprivileged.
    Worker(Box<dyn Delivery>),
    /// The steward, whose worker has ended so.
    Steward(ExitStatus),
}

/// Makes sure that from here on no work is done as root. `output` is where files will be
/// delivered, for commands that deliver any; what `launcher` has started goes along.
pub(crate) fn enter(
    store: &Path,
    run_as: Option<u32>,
    output: Option<&Path>,
    launcher: &Launcher,
) -> Result<Role, StewardError> {
    if let Some(socket) = inherited_socket() {
        follow(&socket);
        return Ok(Role::Worker(Box::new(ToSteward::new(socket))));
    }
    let direct = Direct::new(output.unwrap_or(Path::new(".")));
    if !geteuid().is_root() {
        return match run_as {
            Some(uid) if uid != geteuid().as_raw() => Err(StewardError::NotRoot),
            _ => Ok(Role::Worker(Box::new(direct))),
        };
    }
    let identity = Unprivileged::choose(run_as, store)?;
    identity.own(store)?;
    if output.is_some() {
        return identity.work_for(&direct, store).map(Role::Steward);
    }
    let Unprivileged { uid, gid } = identity;
    launcher.give_up_root(Identity { uid, gid });
    identity.become_it()?;
    Ok(Role::Worker(Box::new(direct)))
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

/// The socket to the steward, if this process was started as its worker.
fn inherited_socket() -> Option<OwnedFd> {
    let name = std::env::args_os().next()?;
    let number = name.to_str()?.strip_prefix(WORKER)?.parse().ok()?;
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
    fn work_for(self, output: &Direct, store: &Path) -> Result<ExitStatus, StewardError> {
        let interrupt = Interrupt::install().map_err(self.failed("sigaction"))?;
        let (ours, theirs) = socket::pair()
            .map_err(io::Error::other)
            .map_err(self.failed("socketpair"))?;
        inherit::keep_over_exec(theirs.as_fd()).map_err(self.failed("fcntl"))?;
        // `uid` makes the standard library call setgroups(0) as well.
        let mut worker = Command::new("/proc/self/exe")
            .arg0(format!("{WORKER}{}", theirs.as_raw_fd()))
            .args(std::env::args_os().skip(1))
            // The worker is not root: it would look for a store of its own.
            .env("PYBUILD_HOME", store)
            .uid(self.uid)
            .gid(self.gid)
            .spawn()
            .map_err(self.failed("execve(/proc/self/exe)"))?;
        drop(theirs);
        let pid = Pid::from_raw(worker.id().cast_signed());
        serve(&ours, output, &interrupt, pid);
        worker.wait().map_err(self.failed("wait"))
    }
}

/// What the worker asks of the steward.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Wish {
    /// Put the descriptor's content there.
    Put(PathBuf),
    /// Remove what is there.
    Remove(PathBuf),
}

/// Does what the worker wishes until it closes its end.
fn serve(worker_end: &OwnedFd, output: &Direct, interrupt: &Interrupt, worker: Pid) {
    let mut told = false;
    loop {
        let mut fds = vec![PollFd::new(worker_end.as_fd(), PollFlags::POLLIN)];
        if !told {
            fds.push(PollFd::new(interrupt.fd(), PollFlags::POLLIN));
        }
        let _ = poll(&mut fds, PollTimeout::NONE); // EINTR: the interrupt's descriptor tells
        let asked = fds[0].revents().is_some_and(|events| !events.is_empty());
        if let (false, Some(signal)) = (told, interrupt.raised()) {
            told = true;
            let _ = kill(worker, signal); // a worker that is gone needs no signal
        }
        if !asked {
            continue;
        }
        let Ok(Some((message, content))) = socket::receive(worker_end.as_fd()) else {
            return;
        };
        let reply = grant(&message, content.into_iter().next(), output);
        let reply = serde_json::to_vec(&reply).unwrap_or_default();
        if socket::send(worker_end.as_fd(), &reply, &[]).is_err() {
            return;
        }
    }
}

fn grant(message: &[u8], content: Option<OwnedFd>, output: &Direct) -> Result<(), String> {
    let wish = serde_json::from_slice(message).map_err(|error| error.to_string())?;
    let done = match (wish, content) {
        (Wish::Put(path), Some(content)) => output.put(&path, &File::from(content)),
        (Wish::Remove(path), None) => output.remove(&path),
        (wish, _) => {
            return Err(format!(
                "{wish:?} came with the wrong number of descriptors"
            ));
        }
    };
    done.map_err(|error| match &error {
        DeliveryError::Fs(cause) => cause.to_string(),
        other => other.to_string(),
    })
}

/// Delivers by asking the steward.
struct ToSteward {
    // One conversation at a time; the commands deliver from one thread.
    socket: RefCell<OwnedFd>,
}

impl ToSteward {
    fn new(socket: OwnedFd) -> Self {
        Self {
            socket: RefCell::new(socket),
        }
    }

    fn ask(&self, wish: &Wish, content: Option<&File>) -> Result<(), DeliveryError> {
        let steward = self.socket.borrow_mut();
        let message = serde_json::to_vec(wish).map_err(|e| DeliveryError::Steward(e.into()))?;
        let fds: Vec<_> = content.iter().map(|file| file.as_raw_fd()).collect();
        let talk = || {
            socket::send(steward.as_fd(), &message, &fds)?;
            socket::receive(steward.as_fd())
        };
        let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
        let (reply, _) = talk()
            .map_err(|error| DeliveryError::Steward(io::Error::other(error)))?
            .ok_or_else(|| DeliveryError::Steward(gone()))?;
        serde_json::from_slice::<Result<(), String>>(&reply)
            .map_err(|error| DeliveryError::Steward(error.into()))?
            .map_err(DeliveryError::Refused)
    }
}

impl Delivery for ToSteward {
    fn put(&self, relative: &Path, content: &File) -> Result<(), DeliveryError> {
        self.ask(&Wish::Put(relative.to_owned()), Some(content))
    }

    fn remove(&self, relative: &Path) -> Result<(), DeliveryError> {
        self.ask(&Wish::Remove(relative.to_owned()), None)
    }
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
    use std::io::Write as _;

    #[test]
    fn the_steward_does_what_it_is_asked_and_nothing_outside() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let output = dir.path().join("dist");
        let (ours, theirs) = socket::pair().expect("a pair");
        let steward = std::thread::spawn({
            let output = Direct::new(&output);
            move || {
                let interrupt = Interrupt::manual().expect("an eventfd");
                serve(&ours, &output, &interrupt, Pid::this());
            }
        });
        let worker = ToSteward::new(theirs);
        let mut content = tempfile::tempfile().expect("a temporary file");
        content.write_all(b"bytes").expect("written");
        worker.put(Path::new("a/b"), &content).expect("delivered");
        assert_eq!(fs::read(output.join("a/b")).expect("there"), b"bytes");
        let refused = worker
            .put(Path::new("../b"), &content)
            .expect_err("outside");
        assert!(matches!(refused, DeliveryError::Refused(_)), "{refused}");
        worker.remove(Path::new("a/b")).expect("removed");
        assert!(!output.join("a/b").exists());
        assert!(!dir.path().join("b").exists());
        drop(worker);
        steward.join().expect("the steward ends with its worker");
    }

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
}
