//! What a tree holds, in the order in which it is packed.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, fstatat};

use super::tree::Tree;
use super::{ArchiveError, DeviceNode, Trust};

/// Something to pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Below the tree, without dots or a trailing slash; the tree itself is empty.
    pub(super) path: Vec<u8>,
    pub(super) what: What,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    pub(super) attributes: Attributes,
}

/// Whose an item is, and what may be done with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Permissions, setuid, setgid and sticky included.
    pub(super) mode: u32,
    /// Extended attributes.
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Directory,
    /// `id` tells whether the file that is read is the one that was seen.
    File {
        size: u64,
        id: FileId,
    },
    /// Another name of a file that comes earlier.
    HardLink {
        target: Vec<u8>,
    },
    Symlink(Vec<u8>),
    Fifo,
    Device(DeviceNode),
    /// An empty file that is nowhere, and whose name says something: a whiteout.
    Marker,
}

/// Device and inode.
pub(super) type FileId = (u64, u64);

pub(super) fn id(stat: &FileStat) -> FileId {
    (stat.st_dev, stat.st_ino)
}

/// Everything below `tree`'s root, in the order of [`place`]: no order of a file system, no locale.
/// All of it is root's, and has the modes of packages.
pub(super) fn walk(tree: &Tree) -> Result<Vec<Item>, ArchiveError> {
    let mut items = Vec::new();
    visit(tree, &mut |found| {
        let Found { path, stat, .. } = &found;
        let what = match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => What::Directory,
            libc::S_IFREG => What::File {
                size: stat.st_size.unsigned_abs(),
                id: id(stat),
            },
            libc::S_IFLNK => What::Symlink(found.target(tree)?),
            _ => {
                let path = tree.path(path);
                return Err(ArchiveError::Special { path });
            }
        };
        let mode = match what {
            What::File { .. } if stat.st_mode & 0o111 == 0 => 0o644,
            What::Symlink(_) => 0o777,
            _ => 0o755,
        };
        let attributes = Attributes {
            mode,
            ..Attributes::default()
        };
        items.push(Item {
            path: found.path,
            what,
            mtime: found.stat.st_mtime,
            attributes,
        });
        Ok(())
    })?;
    items.sort_unstable_by(|a, b| place(a).cmp(&place(b)));
    link(items.iter_mut(), HashMap::new());
    Ok(items)
}

/// Where something stands in a package: directories first, each before what is in it, since its path
/// is a prefix of theirs; then what is of one kind together, by what its name ends with, since that
/// compresses better than a module beside its own bytecode; and these by the bytes of their paths.
fn place(item: &Item) -> (bool, &[u8], &[u8]) {
    match item.what {
        What::Directory => (false, b"", &item.path),
        _ => (true, kind(&item.path), &item.path),
    }
}

/// What a name ends with, but for the numbers of versions: `so` of `libpython3.13.so.1.0`, nothing
/// of `LICENSE`.
fn kind(path: &[u8]) -> &[u8] {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    let mut parts = name.rsplit(|&byte| byte == b'.');
    let is_word = |part: &&[u8]| !part.iter().all(u8::is_ascii_digit);
    let found = parts.find(is_word).unwrap_or_default();
    // What is before the first dot is the name itself.
    if name.starts_with(found) { b"" } else { found }
}

/// Something that a directory holds.
pub(super) struct Found<'a> {
    pub(super) path: Vec<u8>,
    pub(super) stat: FileStat,
    /// The directory, and the name in it.
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
}

impl Found<'_> {
    /// The target of a symlink.
    pub(super) fn target(&self, tree: &Tree) -> Result<Vec<u8>, ArchiveError> {
        let target = readlinkat(self.dir, self.name).map_err(tree.error("readlink", &self.path))?;
        Ok(target.into_vec())
    }
}

/// Shows everything below `tree`'s root to `each`, a directory before what is in it.
pub(super) fn visit(
    tree: &Tree,
    each: &mut dyn FnMut(Found<'_>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    // Each directory is opened anew from the root: neither the depth of the tree nor its breadth
    // costs descriptors or stack.
    let mut directories = vec![Vec::new()];
    while let Some(directory) = directories.pop() {
        let fd = tree
            .resolve(&directory, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .map_err(tree.error("open", &directory))?;
        let mut dir = Dir::from_fd(fd).map_err(tree.error("opendir", &directory))?;
        let names: Result<Vec<_>, _> = dir
            .iter()
            .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
            .collect();
        for name in names.map_err(tree.error("readdir", &directory))? {
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let mut path = directory.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            let (dir, name) = (dir.as_fd(), name.as_c_str());
            let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(tree.error("lstat", &path))?;
            if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
                directories.push(path.clone());
            }
            each(Found {
                path,
                stat,
                dir,
                name,
            })?;
        }
    }
    Ok(())
}

/// Names of one file are packed as links to the first of them, in the order of `items`. Which names
/// share a file is part of what was installed, as much as a symlink is, and unpacking it as copies
/// would double `CPython`'s largest files. `first` has names of files that are not packed, since
/// they are there already.
pub(super) fn link<'a>(
    items: impl Iterator<Item = &'a mut Item>,
    mut first: HashMap<FileId, Vec<u8>>,
) {
    for item in items {
        if let What::File { id, .. } = item.what {
            if let Some(target) = first.get(&id) {
                let target = target.clone();
                item.what = What::HardLink { target };
            } else {
                first.insert(id, item.path.clone());
            }
        }
    }
}

/// Opens the tree for reading only what is really in it.
pub(super) fn open(tree: &Path) -> Result<Tree, ArchiveError> {
    Ok(Tree::open(tree, Trust::Sealed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_what_names_end_with() {
        let table: [(&str, &str); 10] = [
            ("lib/python3.13/os.py", "py"),
            ("lib/python3.13/__pycache__/os.cpython-313.pyc", "pyc"),
            ("lib/libpython3.13.so.1.0", "so"),
            ("lib/libpython3.so", "so"),
            ("bin/python3.13", ""),
            ("LICENSE", ""),
            ("a.b/LICENSE", ""),
            (".hidden", "hidden"),
            ("1.2.3", ""),
            ("", ""),
        ];
        for (path, expected) in table {
            assert_eq!(kind(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn what_is_of_one_kind_stands_together_after_the_directories() {
        let item = |path: &str, what| Item {
            path: path.as_bytes().to_vec(),
            what,
            mtime: 0,
            attributes: Attributes::default(),
        };
        let file = || What::File {
            size: 0,
            id: (0, 0),
        };
        let mut items = [
            item("b.py", file()),
            item("a/c.so.1", file()),
            item("a", What::Directory),
            item("a/z.py", What::Symlink(b"../b.py".to_vec())),
            item("a/b.c", What::Directory),
            item("a/plain", file()),
            item("a/b.c/d.so", file()),
        ];
        items.sort_by(|a, b| place(a).cmp(&place(b)));
        let order = items.map(|item| String::from_utf8(item.path).expect("ASCII"));
        let expected = [
            "a",
            "a/b.c",
            "a/plain",
            "a/z.py",
            "b.py",
            "a/b.c/d.so",
            "a/c.so.1",
        ];
        assert_eq!(order, expected);
    }
}
