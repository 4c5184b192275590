//! A root to extract into, and beside it what must stay as it is.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use pybuild::sys::xattr;

/// `O_DIRECTORY | O_NOFOLLOW` of Linux on x86-64; on others the kernel refuses and the target fails.
const OPEN_DIR: i32 = 0o200_000 | 0o400_000;
/// Directories below one another, and bytes of a path, at most: what `archive` promises.
const DEPTH: usize = 256;
const PATH: usize = 4096;

/// A directory with `root` in it, and `outside`.
pub struct Place {
    dir: tempfile::TempDir,
    beside: Tree,
}

/// All that is in a directory, by its path.
pub type Tree = BTreeMap<Vec<u8>, Thing>;

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    pub kind: Kind,
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// The first path of the same file: what two names of one file share.
    pub same: Vec<u8>,
    pub links: u64,
    /// Of directories and regular files.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Pipe,
    /// What nothing that is extracted may be.
    Other,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    pub fn new() -> Self {
        // In memory where there is such a place: a fuzzer makes many.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.expect("a temporary directory");
        let outside = dir.path().join("outside");
        fs::create_dir_all(outside.join("d")).expect("mkdir");
        fs::create_dir(dir.path().join("root")).expect("mkdir");
        fs::write(outside.join("kept"), "kept").expect("write");
        fs::write(outside.join("d/kept"), "kept too").expect("write");
        fs::set_permissions(outside.join("kept"), Permissions::from_mode(0o640)).expect("chmod");
        let beside = look(&outside);
        Self { dir, beside }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Fails unless everything beside the root is as it was, times included, and what is in the
    /// root is what may be there. `bytes` is what all files may hold together.
    pub fn check(&self, bytes: u64) -> Tree {
        let mut names: Vec<OsString> = fs::read_dir(self.dir.path())
            .expect("readdir")
            .map(|entry| entry.expect("readdir").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["outside", "root"], "beside the root");
        assert_eq!(look(&self.dir.path().join("outside")), self.beside);

        let tree = look(&self.root());
        let mut total = 0;
        for (path, thing) in &tree {
            let shown = path.escape_ascii();
            assert!(path.len() < PATH, "{shown} is too long");
            let depth = path.split(|byte| *byte == b'/').count();
            assert!(depth <= DEPTH, "{shown} is too deep");
            let (needed, allowed) = match &thing.kind {
                Kind::Directory => (0o700, 0o1777),
                Kind::File(content) => {
                    if thing.same == *path {
                        total += content.len() as u64;
                    }
                    (0o400, 0o777)
                }
                Kind::Pipe => (0o400, 0o777),
                Kind::Symlink(_) => (0, 0o777),
                Kind::Other => panic!("{shown} is a device or a socket"),
            };
            let mode = thing.mode;
            assert_eq!(mode & needed, needed, "{shown} has the mode {mode:o}");
            assert_eq!(mode & !allowed, 0, "{shown} has the mode {mode:o}");
            for (name, _) in &thing.xattrs {
                let is_content = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
                // What the host itself gives every file of its own accord.
                let is_host = name.starts_with(b"security.");
                assert!(is_content || is_host, "{shown} has {}", name.escape_ascii());
            }
        }
        assert!(total <= bytes, "{total} bytes, and {bytes} are allowed");
        tree
    }
}

/// All that is in a directory. By descriptors: paths may be longer than the kernel takes.
pub fn look(dir: &Path) -> Tree {
    let mut seen = BTreeMap::new();
    let mut tree = Tree::new();
    let top = open(dir, OPEN_DIR);
    list(&top, b"", &mut seen, &mut tree);
    tree
}

fn open(path: &Path, flags: i32) -> File {
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A path by way of an open directory.
fn below(dir: &File, name: &[u8]) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(OsStr::from_bytes(name))
}

fn list(dir: &File, at: &[u8], seen: &mut BTreeMap<(u64, u64), Vec<u8>>, tree: &mut Tree) {
    let names = fs::read_dir(below(dir, b".")).expect("readdir");
    let mut names: Vec<Vec<u8>> = names
        .map(|entry| entry.expect("readdir").file_name().into_vec())
        .collect();
    names.sort();
    for name in names {
        let path = if at.is_empty() {
            name.clone()
        } else {
            [at, &name[..]].join(&b'/')
        };
        let found = fs::symlink_metadata(below(dir, &name)).expect("lstat");
        let file = match found.file_type() {
            kind if kind.is_dir() => Some(open(&below(dir, &name), OPEN_DIR)),
            kind if kind.is_file() => Some(open(&below(dir, &name), 0)),
            _ => None,
        };
        let kind = kind(dir, &name, &found, file.as_ref());
        let same = seen
            .entry((found.dev(), found.ino()))
            .or_insert_with(|| path.clone())
            .clone();
        let thing = Thing {
            kind,
            mode: found.mode() & 0o7777,
            mtime: (found.mtime(), found.mtime_nsec()),
            same,
            links: if found.is_dir() { 1 } else { found.nlink() },
            xattrs: file.as_ref().map(xattrs).unwrap_or_default(),
        };
        tree.insert(path.clone(), thing);
        if found.is_dir() {
            list(&file.expect("an open directory"), &path, seen, tree);
        }
    }
}

fn kind(dir: &File, name: &[u8], found: &Metadata, file: Option<&File>) -> Kind {
    use std::io::Read as _;
    let of = found.file_type();
    if of.is_dir() {
        Kind::Directory
    } else if let Some(mut file) = file {
        let mut content = Vec::new();
        file.read_to_end(&mut content).expect("read");
        Kind::File(content)
    } else if of.is_symlink() {
        let target = fs::read_link(below(dir, name)).expect("readlink");
        Kind::Symlink(target.into_os_string().into_vec())
    } else if of.is_fifo() {
        Kind::Pipe
    } else {
        Kind::Other
    }
}

fn xattrs(file: &File) -> Vec<(Vec<u8>, Vec<u8>)> {
    let names = xattr::list_of(file.as_fd()).unwrap_or_default();
    let pair = |name: std::ffi::CString| {
        let value = xattr::get_of(file.as_fd(), &name).unwrap_or_default();
        (name.into_bytes(), value)
    };
    let mut pairs: Vec<_> = names.into_iter().map(pair).collect();
    pairs.sort();
    pairs
}
