//! The stores that tests work in, and what a run must not leave behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::program::{Pybuild, pybuild};

/// The stack that most tests build on.
pub(crate) const STACK: &str = "debian-12";
/// Whom root's builds become here: nobody, as by default.
pub(crate) const NOBODY: u32 = 65534;
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
        renew(&store);
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

/// Takes away what a pybuild of before layers said what they hold has prepared.
fn renew(store: &Path) {
    let is_old = |key: &String| {
        let path = store.join("layers").join(key).join("layer.json");
        fs::read_to_string(path).is_ok_and(|text| !text.contains("\"contents\""))
    };
    if names(&store.join("layers")).iter().any(is_old) {
        for room in ["rootfs", "layers"] {
            fs::remove_dir_all(store.join(room)).expect("removed");
            fs::create_dir(store.join(room)).expect("mkdir");
            give(&store.join(room));
        }
    }
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
        // A store with a stack has one.
        fs::create_dir(case.store().join("scratch")).expect("mkdir");
        give(&case.store().join("scratch"));
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

    /// Fails if a process or a mount of ours is left. The sandbox's own processes have a moment to
    /// end, `run` does not wait for them once their command and all it has started are dead; and so
    /// has what is dead but for its number: it has no command line any more.
    #[track_caller]
    pub(crate) fn is_quiet(&self) {
        let is_ending = |line: &String| line.contains(": pybuild-sandbox") || line.ends_with(": ");
        let mut left = processes_of(self.dir.path());
        let start = Instant::now();
        while !left.is_empty() && left.iter().all(is_ending) && start.elapsed().as_secs() < 10 {
            std::thread::sleep(Duration::from_millis(5));
            left = processes_of(self.dir.path());
        }
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
