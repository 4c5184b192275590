//! A prefix as it lies on the disk: walked by directory descriptors, no symlink ever followed.
//!
//! What a build leaves behind is hostile: links that lead out, fifos that block an `open`, trees
//! deeper than a path can be long. So a prefix is read once, into a value that says what there is;
//! the rules look at that value, and files are opened again component by component below it.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use crate::sys::fs::FsError;

/// Directories inside one another that are still looked into. Each level holds a descriptor.
pub const DEPTH_LIMIT: usize = 128;
/// Entries of one prefix; ten times the largest that is known (a full `site-packages`).
pub const ENTRY_LIMIT: usize = 1_000_000;

/// Why a prefix cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// More files than any prefix has.
    #[error("{} holds more than {ENTRY_LIMIT} files", path.display())]
    TooMany {
        /// The prefix.
        path: PathBuf,
    },
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link, and what it holds.
    Link(OsString),
    /// A character or block device.
    Device,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// One entry below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// The permission bits, with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// Bytes, as `stat` says.
    pub size: u64,
}

/// Everything below a prefix, by relative path, parents before children.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    root: OwnedFd,
    nodes: BTreeMap<PathBuf, Node>,
    closed: Vec<PathBuf>,
    deep: Vec<PathBuf>,
}

impl Tree {
    /// Reads the prefix `path`. The way to it must be the caller's own; its last component is not
    /// followed if it is a symlink.
    pub fn read(path: &Path) -> Result<Self, TreeError> {
        let root = open_dir(nix::fcntl::AT_FDCWD, path).map_err(FsError::new("open", path))?;
        let again = open_dir(root.as_fd(), Path::new(".")).map_err(FsError::new("open", path))?;
        let mut tree = Self {
            path: path.to_owned(),
            root,
            nodes: BTreeMap::new(),
            closed: Vec::new(),
            deep: Vec::new(),
        };
        tree.walk(again, Path::new(""), 0)?;
        Ok(tree)
    }

    fn walk(&mut self, fd: OwnedFd, below: &Path, depth: usize) -> Result<(), TreeError> {
        let mut dir = Dir::from_fd(fd).map_err(self.failed("opendir", below))?;
        for name in names(&mut dir).map_err(self.failed("readdir", below))? {
            let path = below.join(OsStr::from_bytes(name.to_bytes()));
            let stat = fstatat(dir.as_fd(), name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(self.failed("lstat", &path))?;
            let node = node(dir.as_fd(), &name, &stat).map_err(self.failed("readlink", &path))?;
            let mode = node.mode;
            let is_dir = node.kind == Kind::Directory;
            if self.nodes.len() == ENTRY_LIMIT {
                return Err(TreeError::TooMany {
                    path: self.path.clone(),
                });
            }
            self.nodes.insert(path.clone(), node);
            if !is_dir {
                continue;
            }
            if depth + 1 == DEPTH_LIMIT {
                self.deep.push(path);
                continue;
            }
            // By its mode, not by whether it opens: root could read it, and the answer must not
            // depend on who asks.
            if mode & 0o500 != 0o500 {
                self.closed.push(path);
                continue;
            }
            match open_dir(dir.as_fd(), Path::new(OsStr::from_bytes(name.to_bytes()))) {
                Ok(fd) => self.walk(fd, &path, depth + 1)?,
                Err(Errno::EACCES) => self.closed.push(path),
                Err(errno) => return Err(self.failed("open", &path)(errno)),
            }
        }
        Ok(())
    }

    fn failed(&self, call: &'static str, below: &Path) -> impl FnOnce(Errno) -> TreeError + use<> {
        let path = self.path.join(below);
        move |errno| TreeError::Fs(FsError::new(call, &path)(errno))
    }

    /// The prefix on this host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every entry, by its path below the prefix.
    pub fn nodes(&self) -> &BTreeMap<PathBuf, Node> {
        &self.nodes
    }

    /// The entry at a path below the prefix.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The regular files.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &Node)> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.kind == Kind::File)
            .map(|(path, node)| (path.as_path(), node))
    }

    /// Directories that their own owner may not look into, and that were not looked into.
    pub fn closed(&self) -> &[PathBuf] {
        &self.closed
    }

    /// Directories so deep that they were not looked into.
    pub fn deep(&self) -> &[PathBuf] {
        &self.deep
    }

    /// Opens a regular file below the prefix for reading, following no symlink on the way.
    pub fn open(&self, path: &Path) -> Result<File, FsError> {
        open_beneath(self.root.as_fd(), path).map_err(FsError::new("open", &self.path.join(path)))
    }
}

fn open_beneath(root: BorrowedFd<'_>, path: &Path) -> Result<File, Errno> {
    let parent = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().ok_or(Errno::EISDIR)?;
    let mut held: Option<OwnedFd> = None;
    for component in parent.components() {
        let Component::Normal(name) = component else {
            return Err(Errno::EXDEV);
        };
        let at = held.as_ref().map_or(root, AsFd::as_fd);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        held = Some(openat(at, name, flags, Mode::empty())?);
    }
    let at = held.as_ref().map_or(root, AsFd::as_fd);
    // Not blocking, in case it is a fifo by now.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(at, name, flags, Mode::empty())?;
    let kind = SFlag::from_bits_truncate(fstat(&file)?.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG {
        return Err(Errno::EINVAL);
    }
    Ok(File::from(file))
}

fn node(dir: BorrowedFd<'_>, name: &CString, stat: &FileStat) -> Result<Node, Errno> {
    let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFLNK => Kind::Link(readlinkat(dir, name.as_c_str())?),
        SFlag::S_IFIFO => Kind::Fifo,
        SFlag::S_IFSOCK => Kind::Socket,
        _ => Kind::Device,
    };
    Ok(Node {
        kind,
        mode: stat.st_mode & 0o7777,
        size: u64::try_from(stat.st_size).unwrap_or(0),
    })
}

/// Opens a directory for reading; a symlink is not one.
pub(super) fn open_dir(at: impl AsFd, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

/// The names in a directory, without `.` and `..`, sorted.
pub(super) fn names(dir: &mut Dir) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_tree_is_what_is_there_and_links_are_not_followed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join("a/b")).expect("mkdir");
        fs::write(dir.path().join("a/b/file"), "four").expect("write");
        symlink("/etc", dir.path().join("a/out")).expect("symlink");
        let tree = Tree::read(dir.path()).expect("a tree");
        let paths: Vec<&str> = tree.nodes().keys().filter_map(|p| p.to_str()).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/file", "a/out"]);
        assert_eq!(tree.get(Path::new("a/b/file")).expect("there").size, 4);
        let link = &tree.get(Path::new("a/out")).expect("there").kind;
        assert_eq!(link, &Kind::Link("/etc".into()));
        let mut text = String::new();
        tree.open(Path::new("a/b/file"))
            .and_then(|mut file| {
                file.read_to_string(&mut text)
                    .map_err(FsError::new("read", dir.path()))
            })
            .expect("it reads");
        assert_eq!(text, "four");
        for path in ["a/out/passwd", "a/out", "a", "../x", "", "a/b/none"] {
            assert!(tree.open(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_prefix_that_is_a_symlink_is_not_followed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        symlink("/etc", dir.path().join("prefix")).expect("symlink");
        assert!(Tree::read(&dir.path().join("prefix")).is_err());
    }

    #[test]
    fn fifos_do_not_block_and_closed_directories_are_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        nix::unistd::mkfifo(&dir.path().join("fifo"), Mode::S_IRWXU).expect("mkfifo");
        let closed = dir.path().join("closed");
        fs::create_dir_all(closed.join("inner")).expect("mkdir");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o300)).expect("chmod");
        let tree = Tree::read(dir.path()).expect("a tree");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("chmod");
        assert_eq!(tree.closed(), [PathBuf::from("closed")]);
        assert_eq!(tree.get(Path::new("fifo")).expect("there").kind, Kind::Fifo);
        assert!(tree.open(Path::new("fifo")).is_err());
    }

    #[test]
    fn a_tree_deeper_than_a_path_can_be_long_is_read_to_its_limit() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let name = "d".repeat(200);
        let mut at = open_dir(nix::fcntl::AT_FDCWD, dir.path()).expect("open");
        for _ in 0..DEPTH_LIMIT + 10 {
            nix::sys::stat::mkdirat(&at, name.as_str(), Mode::S_IRWXU).expect("mkdir");
            at = open_dir(&at, Path::new(&name)).expect("open");
        }
        let tree = Tree::read(dir.path()).expect("a tree");
        assert_eq!(tree.nodes().len(), DEPTH_LIMIT);
        assert_eq!(tree.deep().len(), 1);
    }
}
