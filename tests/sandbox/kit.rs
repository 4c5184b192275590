//! A small root file system and what is needed to run scripts in it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use pybuild::sandbox::{
    Access, Bind, Changes, Command, End, Host, Identity, Input, Launcher, Limits, Network, Outcome,
    Output, Privileges, Root, SandboxError, SandboxSpec,
};
use pybuild::sys::interrupt::Interrupt;
use tempfile::TempDir;

/// A sandbox to be: change its fields, then run it.
pub(crate) struct Sandbox {
    pub(crate) dir: TempDir,
    pub(crate) spec: SandboxSpec,
    pub(crate) host: Host,
}

/// How a run ended, and what was printed.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    pub(crate) output: String,
}

impl Sandbox {
    /// With the host's `/usr` read-only and nothing else.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        for name in ["layer/usr", "layer/etc", "upper", "work"] {
            fs::create_dir_all(at(name)).expect("mkdir");
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), at("layer").join(name)).expect("symlink");
        }
        let host = Host::probe(dir.path()).expect("a host");
        if host.is_root() {
            fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
            for name in ["layer", "layer/usr", "layer/etc", "upper", "work"] {
                give(&host, &at(name));
            }
        }
        let spec = SandboxSpec {
            root: Root {
                layers: vec![at("layer")],
                changes: Changes::Kept {
                    upper: at("upper"),
                    work: at("work"),
                },
            },
            binds: vec![Bind {
                source: PathBuf::from("/usr"),
                target: "/usr".parse().expect("a path"),
                access: Access::ReadOnly,
            }],
            identity: Identity::BUILDER,
            privileges: Privileges::Build,
            network: Network::None,
            limits: Limits {
                wall: Duration::from_secs(60),
                memory: 1 << 30,
                processes: 200,
                file_size: 1 << 30,
                output: 1 << 20,
                tmpfs: 16 << 20,
            },
            terminal: None,
            command: Command {
                argv: Vec::new(),
                env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
                cwd: "/".parse().expect("a path"),
            },
        };
        Self { dir, spec, host }
    }

    /// As package managers run in.
    pub(crate) fn preparing() -> Self {
        let mut sandbox = Self::new();
        sandbox.spec.identity = Identity::ROOT;
        sandbox.spec.privileges = Privileges::Prepare;
        sandbox
    }

    /// A path of the temporary directory.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A directory or file of the host's at `source`, seen at `target`.
    pub(crate) fn bind(&mut self, source: &Path, target: &str, access: Access) {
        self.spec.binds.push(Bind {
            source: source.to_owned(),
            target: target.parse().expect("a path"),
            access,
        });
    }

    /// A directory that belongs to whoever the sandbox is on the host.
    pub(crate) fn own_dir(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(&path).expect("mkdir");
        give(&self.host, &path);
        path
    }

    /// A file that belongs to them.
    pub(crate) fn own_file(&self, name: &str, text: &str) {
        let path = self.at(name);
        fs::write(&path, text).expect("write");
        give(&self.host, &path);
    }

    /// Runs a shell script, to its end.
    pub(crate) fn run(&mut self, script: &str) -> Ran {
        self.exec(&["sh", "-c", script])
    }

    /// Runs a shell script, to its end, what it changes discarded; and whether that needed
    /// directories, which are new each time.
    pub(crate) fn run_discarding(&mut self, script: &str) -> (Ran, bool) {
        self.spec.root.changes = Changes::Discarded;
        self.spec.command.argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let interrupt = Interrupt::manual().expect("an eventfd");
        let mut output = Vec::new();
        let mut take = |bytes: &[u8]| output.extend_from_slice(bytes);
        let mut dir = None;
        let result = launcher().run_discarding(
            &self.spec,
            &self.host,
            Input::Null,
            Output::Lines(&mut take),
            &interrupt,
            || {
                let dir = dir.insert(tempfile::tempdir_in(self.dir.path()).expect("a directory"));
                let [upper, work] = ["upper", "work"].map(|name| dir.path().join(name));
                for dir in [dir.path(), &upper, &work] {
                    fs::create_dir_all(dir).expect("mkdir");
                    give(&self.host, dir);
                }
                Ok::<_, SandboxError>(Changes::Kept { upper, work })
            },
        );
        let outcome = result.unwrap_or_else(|error| panic!("{script}: {error}"));
        let output = String::from_utf8_lossy(&output).into_owned();
        (Ran { outcome, output }, dir.is_some())
    }

    /// Runs a command, to its end.
    pub(crate) fn exec(&mut self, argv: &[&str]) -> Ran {
        let (result, output) = self.try_exec(argv);
        let outcome = result.unwrap_or_else(|error| panic!("{argv:?}: {error}"));
        Ran { outcome, output }
    }

    /// Runs a command, whatever becomes of it.
    pub(crate) fn try_exec(&mut self, argv: &[&str]) -> (Result<Outcome, SandboxError>, String) {
        let interrupt = Interrupt::manual().expect("an eventfd");
        let mut output = Vec::new();
        let mut take = |bytes: &[u8]| output.extend_from_slice(bytes);
        let result = self.start(argv, &mut take, &interrupt);
        (result, String::from_utf8_lossy(&output).into_owned())
    }

    /// The same, with a say in how it goes on.
    pub(crate) fn start(
        &mut self,
        argv: &[&str],
        take: &mut (dyn FnMut(&[u8]) + Send),
        interrupt: &Interrupt,
    ) -> Result<Outcome, SandboxError> {
        self.spec.command.argv = argv.iter().map(|&arg| arg.to_owned()).collect();
        let output = Output::Lines(take);
        launcher().run(&self.spec, &self.host, Input::Null, output, interrupt)
    }
}

impl Ran {
    /// What was printed, if the command said that all is well.
    pub(crate) fn success(self) -> String {
        assert_eq!(self.outcome.end, End::Exited(0), "{}", self.output);
        self.output
    }
}

/// Sandboxes made by the program as it is shipped.
pub(crate) fn launcher() -> Launcher {
    Launcher::new(PathBuf::from(env!("CARGO_BIN_EXE_pybuild")))
}

fn give(host: &Host, path: &Path) {
    let Identity { uid, gid } = host.outside();
    if host.is_root() {
        chown(path, Some(uid), Some(gid)).expect("chown");
    }
}

/// Whether this host has no sandboxes, so that a test has nothing to say. Loud, and a failure
/// where tests are there to be relied on.
pub(crate) fn cannot_sandbox() -> bool {
    static CANNOT: OnceLock<bool> = OnceLock::new();
    *CANNOT.get_or_init(|| match Sandbox::new().try_exec(&["true"]).0 {
        Err(error @ SandboxError::Host { .. }) => {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            complain(&error);
            true
        }
        _ => false,
    })
}

#[allow(clippy::print_stderr)] // for the person who runs the tests
fn complain(error: &SandboxError) {
    eprintln!("NOT TESTED: no test of the sandbox can run here: {error}");
}

/// A number of seconds that no other process sleeps: it tells our processes among the host's.
pub(crate) fn unique_sleep() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("98765.{}{next:03}", std::process::id())
}

/// The host's processes that have this argument.
pub(crate) fn processes_with(argument: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|found| found == argument.as_bytes())
    })
    .collect()
}

/// Fails if a process of the host has this argument.
#[track_caller]
pub(crate) fn nothing_is_left(argument: &str) {
    let left = processes_with(argument);
    assert!(left.is_empty(), "processes {left:?} are left");
}

/// Answers these calls with an error, in the calling thread and whatever it starts.
pub(crate) fn answer(calls: &[libc::c_long], errno: i32) {
    let word = |code: u32, jt, jf, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("an opcode"),
        jt,
        jf,
        k,
    };
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let give = libc::BPF_RET | libc::BPF_K;
    let absent = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    let mut program = vec![word(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for call in calls {
        let number = u32::try_from(*call).expect("a number");
        program.push(word(equal, 0, 1, number));
        program.push(word(give, 0, 0, absent));
    }
    program.push(word(give, 0, 0, libc::SECCOMP_RET_ALLOW));
    pybuild::sys::process::no_new_privileges().expect("no_new_privs");
    pybuild::sys::process::install_filter(&program).expect("a filter");
}

/// A filter that lets everything pass: one that only has a listener. It needs `no_new_privs`.
pub(crate) fn nothing_to_hear() -> Vec<libc::sock_filter> {
    pybuild::sys::process::no_new_privileges().expect("no_new_privs");
    let code = libc::BPF_RET | libc::BPF_K;
    vec![libc::sock_filter {
        code: u16::try_from(code).expect("an opcode"),
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    }]
}
