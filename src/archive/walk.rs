//! What a tree holds, in the order in which it is packed.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, fstatat};

use super::tree::Tree;
use super::{ArchiveError, Trust};

/// Something to pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Below the tree, without dots or a trailing slash.
    pub(super) path: Vec<u8>,
    pub(super) what: What,
    /// Seconds since 1970.
    pub(super) mtime: i64,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Directory,
    /// `id` tells whether the file that is read is the one that was seen.
    File {
        size: u64,
        executable: bool,
        id: FileId,
    },
    /// Another name of a file that comes earlier.
    HardLink {
        target: Vec<u8>,
        executable: bool,
    },
    Symlink(Vec<u8>),
}

/// Device and inode.
pub(super) type FileId = (u64, u64);

pub(super) fn id(stat: &FileStat) -> FileId {
    (stat.st_dev, stat.st_ino)
}

/// Everything below `tree`'s root, sorted by the bytes of the paths: no order of a file system, no
/// locale. A directory comes before what is in it, since its path is a prefix of theirs.
pub(super) fn walk(tree: &Tree) -> Result<Vec<Item>, ArchiveError> {
    let mut items = Vec::new();
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
            let stat = fstatat(dir.as_fd(), name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(tree.error("lstat", &path))?;
            let what = match stat.st_mode & libc::S_IFMT {
                libc::S_IFDIR => {
                    directories.push(path.clone());
                    What::Directory
                }
                libc::S_IFREG => What::File {
                    size: stat.st_size.unsigned_abs(),
                    executable: stat.st_mode & 0o111 != 0,
                    id: id(&stat),
                },
                libc::S_IFLNK => {
                    let target = readlinkat(dir.as_fd(), name.as_c_str())
                        .map_err(tree.error("readlink", &path))?;
                    What::Symlink(std::os::unix::ffi::OsStringExt::into_vec(target))
                }
                _ => {
                    return Err(ArchiveError::Special {
                        path: tree.path(&path),
                    });
                }
            };
            items.push(Item {
                path,
                what,
                mtime: stat.st_mtime,
            });
        }
    }
    items.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    link(&mut items);
    Ok(items)
}

/// Names of one file are packed as links to the first of them. Which names share a file is part
/// of what was installed, as much as a symlink is, and unpacking it as copies would double
/// `CPython`'s largest files; the order of the names, and so the bytes, depend on nothing else.
fn link(items: &mut [Item]) {
    let mut first: HashMap<FileId, Vec<u8>> = HashMap::new();
    for item in items {
        if let What::File { id, executable, .. } = item.what {
            if let Some(target) = first.get(&id) {
                item.what = What::HardLink {
                    target: target.clone(),
                    executable,
                };
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
