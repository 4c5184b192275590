//! The program under test: its stores, its runs, and what it must not leave behind.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

/// The program.
pub(crate) const PYBUILD: &str = env!("CARGO_BIN_EXE_pybuild");
/// The stack that most tests build on.
pub(crate) const STACK: &str = "debian-12";
/// Whom root's builds become here: nobody, as by default.
pub(crate) const NOBODY: u32 = 65534;
/// After this a run is not slow but stuck.
const STUCK: Duration = Duration::from_secs(400);

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// Gives what root made to the uid that root's builds run as.
pub(crate) fn give(path: &Path) {
    give_to(path, NOBODY);
}

/// The same with a uid to choose.
pub(crate) fn give_to(path: &Path, uid: u32) {
    if is_root() {
        chown(path, Some(uid), Some(uid)).expect("chown");
    }
}

/// Where tests work: beside the test's own binary if builds get through to there, which they do
/// not below a home directory that only its user may enter.
fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let uid = geteuid().as_raw();
        let usual = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let everyone = |dir: &Path| {
            fs::metadata(dir).is_ok_and(|found| found.permissions().mode() & 0o005 == 0o005)
        };
        let open = !is_root() || usual.ancestors().all(everyone);
        let base = usual.join(format!("cli-{uid}"));
        if open && fs::create_dir_all(&base).is_ok() && tempfile::tempdir_in(&base).is_ok() {
            return base;
        }
        let base = std::env::temp_dir().join(format!("pybuild-tests-cli-{uid}"));
        fs::create_dir_all(&base).expect("a directory for tests");
        base
    })
}

/// A directory that builds get through to.
pub(crate) fn directory() -> TempDir {
    let dir = tempfile::tempdir_in(base()).expect("a temporary directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
    dir
}

/// The store in which the stack is prepared, once and for all runs of these tests. `None` where
/// no stack can be prepared since the host cannot sandbox: loud, and a failure where tests are
/// there to be relied on.
pub(crate) fn shared_store() -> Option<&'static Path> {
    static STORE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let store = STORE.get_or_init(|| {
        let store = base().join("store");
        let ran = pybuild(&store).args(["prepare", STACK]).run();
        if ran.code == 3 {
            assert!(std::env::var_os("CI").is_none(), "{}", ran.err);
            complain(&ran.err);
            return None;
        }
        assert_eq!(ran.code, 0, "{}", ran.err);
        Some(store)
    });
    store.as_deref()
}

#[allow(clippy::print_stderr)] // for the person who runs the tests
fn complain(error: &str) {
    eprintln!("\nNOT TESTED: nothing can be built here:\n{error}");
}

/// A store of a test's own, its directory for whatever else, and where artifacts go.
pub(crate) struct Case {
    dir: TempDir,
}

impl Case {
    /// With nothing in its store.
    pub(crate) fn bare() -> Self {
        Self { dir: directory() }
    }

    /// With the stack in its store, which is the shared store's own. `None` where nothing can be
    /// built.
    pub(crate) fn new() -> Option<Self> {
        let shared = shared_store()?;
        let case = Self::bare();
        fs::create_dir(case.store()).expect("mkdir");
        for room in ["layers", "rootfs"] {
            symlink(shared.join(room), case.store().join(room)).expect("symlink");
        }
        give(&case.store());
        Some(case)
    }

    /// With the packages of the stack in its store, but not the stack. `None` as above.
    pub(crate) fn unprepared() -> Option<Self> {
        let shared = shared_store()?;
        let case = Self::bare();
        seed(&case.store(), shared, NOBODY);
        Some(case)
    }

    /// Below the test's own directory.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.at("store")
    }

    /// Where artifacts go.
    pub(crate) fn dist(&self) -> PathBuf {
        self.at("dist")
    }

    /// The program with this store.
    pub(crate) fn pybuild(&self) -> Pybuild {
        pybuild(&self.store())
    }

    /// Fails unless nothing is left over of what ran: no work in scratch, no half download, no
    /// process that sees this directory, no mount.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        for room in ["scratch", "partial"] {
            let left = names(&self.store().join(room));
            assert_eq!(left, [""; 0], "left in {room}");
        }
        self.is_quiet();
    }

    /// Fails if a process or a mount of ours is left.
    #[track_caller]
    pub(crate) fn is_quiet(&self) {
        let left = processes_of(self.dir.path());
        assert!(left.is_empty(), "processes are left: {left:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc");
        let path = self.dir.path().to_str().expect("a path of ASCII");
        assert!(!mounts.contains(path), "a mount is left:\n{mounts}");
    }

    /// Fails if an artifact, or a part of one, was delivered or filed.
    #[track_caller]
    pub(crate) fn delivered_nothing(&self) {
        assert_eq!(files_below(&self.dist()), [""; 0]);
        assert_eq!(names(&self.store().join("artifacts")), [""; 0]);
    }
}

/// Makes a store that has another's downloads, as the same files.
pub(crate) fn seed(store: &Path, from: &Path, uid: u32) {
    let blobs = store.join("blobs");
    fs::create_dir_all(&blobs).expect("mkdir");
    for name in names(&from.join("blobs")) {
        fs::hard_link(from.join("blobs").join(&name), blobs.join(&name)).expect("link");
    }
    give_to(&blobs, uid);
    give_to(store, uid);
}

/// The names in a directory, sorted; none if it is not there.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("readdir").file_name();
        name.into_string().expect("a name of ASCII")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// The paths of whatever is below a directory and is no directory; none if it is not there.
pub(crate) fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in names(dir) {
        let path = dir.join(&name);
        if fs::symlink_metadata(&path).is_ok_and(|entry| entry.is_dir()) {
            found.extend(
                files_below(&path)
                    .iter()
                    .map(|below| format!("{name}/{below}")),
            );
        } else {
            found.push(name);
        }
    }
    found
}

/// The host's processes that belong to a test: by their arguments, their environment, or what
/// their mount namespace is made of.
pub(crate) fn processes_of(dir: &Path) -> Vec<String> {
    let mark = dir.to_str().expect("a path of ASCII").as_bytes();
    let holds = |file: &str, pid: u32| {
        let content = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        memchr::memmem::find(&content, mark).is_some()
    };
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            ["cmdline", "environ", "mountinfo"]
                .iter()
                .any(|file| holds(file, *pid))
        })
        .map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!(
                "{pid}: {}",
                String::from_utf8_lossy(&line).replace('\0', " ")
            )
        })
        .collect()
}

/// Waits until something holds, which is soon. `what` is said if it never does.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The program with a store and an environment of its own.
pub(crate) fn pybuild(store: &Path) -> Pybuild {
    wrapped(&[], store)
}

/// The same, started by another program that ends by executing it.
pub(crate) fn wrapped(wrapper: &[&str], store: &Path) -> Pybuild {
    let mut argv = wrapper.iter().chain(&[PYBUILD]);
    let mut command = Command::new(argv.next().expect("a program"));
    command.args(argv).env_clear();
    // What leads to the network on this host.
    for (name, value) in std::env::vars_os() {
        let known = name.to_str().is_some_and(|name| {
            let name = name.to_lowercase();
            name.ends_with("_proxy") || name == "pybuild_debian_mirror"
        });
        if known {
            command.env(name, value);
        }
    }
    command
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", store)
        .env("PYBUILD_HOME", store)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Pybuild { command }
}

/// A run to be.
pub(crate) struct Pybuild {
    command: Command,
}

impl Pybuild {
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn cwd(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn stdin(mut self, input: Stdio) -> Self {
        self.command.stdin(input);
        self
    }

    /// To its end.
    pub(crate) fn run(self) -> Ran {
        self.start().wait()
    }

    /// In a process group of its own, as a shell starts what it runs.
    pub(crate) fn grouped(mut self) -> Self {
        self.command.process_group(0);
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.spawn().expect("pybuild starts");
        let out = child.stdout.take().expect("a pipe");
        let err = child.stderr.take().expect("a pipe");
        let out = std::thread::spawn(move || read(out, |_| {}));
        let (tell, lines) = channel();
        let err = std::thread::spawn(move || {
            read(err, |line| {
                let _ = tell.send(line.to_owned()); // nobody may care
            })
        });
        Running {
            child,
            out,
            err,
            lines,
        }
    }
}

/// Reads to the end, line by line.
fn read(mut from: impl Read, mut each: impl FnMut(&str)) -> String {
    let (mut text, mut told) = (Vec::new(), 0);
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        text.extend_from_slice(&buffer[..count]);
        while let Some(end) = memchr::memchr(b'\n', &text[told..]) {
            each(&String::from_utf8_lossy(&text[told..told + end]));
            told += end + 1;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A run under way.
pub(crate) struct Running {
    child: Child,
    out: JoinHandle<String>,
    err: JoinHandle<String>,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("not waited for yet");
    }

    /// As a terminal does on Ctrl-C: to everyone in the group.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        killpg(pid, signal).expect("a group of its own");
    }

    /// Waits for so many lines on standard error; false if the run ends before.
    pub(crate) fn lines(&self, count: usize) -> bool {
        (0..count).all(|_| self.says(""))
    }

    /// Waits until a line with this on standard error; false if the run ends before.
    pub(crate) fn says(&self, what: &str) -> bool {
        loop {
            match self.lines.recv_timeout(STUCK) {
                Ok(line) if line.contains(what) => return true,
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => panic!("never said: {what}"),
            }
        }
    }

    /// To its end.
    pub(crate) fn wait(self) -> Ran {
        let Self {
            mut child,
            out,
            err,
            ..
        } = self;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait") {
                break status;
            }
            if start.elapsed() > STUCK {
                child.kill().expect("killed");
                panic!("stuck; so far: {}", err.join().expect("a reader"));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Ran {
            code: code(status),
            out: out.join().expect("a reader"),
            err: err.join().expect("a reader"),
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    let signalled = || status.signal().map(|signal| 128 + signal);
    status.code().or_else(signalled).expect("an end")
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// All is well.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.err, self.out);
        self
    }

    /// It ends with this code, says all of this on standard error, and gives no result.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.err, self.out);
        for said in said {
            assert!(self.err.contains(said), "not said: {said}\n{}", self.err);
        }
        assert_eq!(self.out, "");
        self.reads_well();
        self
    }

    /// Every message is for a person: no control characters, no Rust, each hint on its line.
    #[track_caller]
    fn reads_well(&self) {
        let plain = |c: char| c == '\n' || !c.is_control();
        assert!(self.err.chars().all(plain), "{:?}", self.err);
        for raw in ["panicked", "Os {", "Some(", "unwrap", "Err("] {
            assert!(!self.err.contains(raw), "{raw}: {}", self.err);
        }
    }
}
