//! Layers of a root file system as they lie on this host, and as others read them: with the owners
//! and modes that are meant, and with what they take away from those below.
//!
//! ```text
//! tree + Ownership ─▶ Layer ─▶ Merged (all layers so far, as one tree)
//!                       └───────▶ tar, as the OCI image specification has it (layer.md)
//! ```
//!
//! A tree may be what an unprivileged overlay mount has left (`filesystems/overlayfs.rst`): a
//! character device 0/0 hides what lower layers have there, `user.overlay.opaque` what they have in
//! that directory, and `user.overlay.origin` says that something was copied up from below.

mod merged;
mod pack;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat};

use super::changeset::{Fate, Meaning, fate, meaning};
use super::tree::{Tree, split};
use super::walk::{self, Attributes, Found, Item, What};
use super::{ArchiveError, Owned, Ownership};
use crate::sys::interrupt::Interrupt;
use crate::sys::xattr;

pub use merged::Merged;
pub use pack::{Layered, PackLayer};

/// A layer: what it has, and what it takes away from those below.
#[derive(Clone, Default)]
pub struct Layer {
    /// By path.
    entries: BTreeMap<Vec<u8>, Entry>,
    /// Paths that lower layers have and this one hides.
    whiteouts: BTreeSet<Vec<u8>>,
    /// Directories that hide what lower layers have in them.
    opaque: BTreeSet<Vec<u8>>,
}

/// Something that a layer has.
#[derive(Clone)]
struct Entry {
    item: Item,
    /// Where its bytes are.
    tree: Arc<Tree>,
    /// The mode on the disk.
    disk: u32,
    /// Whether it is known whose it is.
    said: bool,
    /// Whether it continues what is below, or is new.
    copied: bool,
}

/// What an extended attribute of overlayfs says.
const OPAQUE: &[u8] = b"user.overlay.opaque";
const OPAQUE_FUSE: &[u8] = b"user.fuseoverlayfs.opaque";
const ORIGIN: &[u8] = b"user.overlay.origin";
const ORIGIN_FUSE: &[u8] = b"user.fuseoverlayfs.origin";

impl Layer {
    /// Reads what is in `tree`, without the files' bytes. It must not change before it is packed. A
    /// layer without a word of who owns what was made by an older pybuild: what it has copied up is
    /// still whose it was below, and the rest is root's.
    pub fn read(
        tree: &Path,
        ownership: Option<&Ownership>,
        interrupt: &Interrupt,
    ) -> Result<Self, ArchiveError> {
        let tree = Arc::new(walk::open(tree)?);
        let mut layer = Self::default();
        let root = tree.resolve(b"", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
        let root = root.map_err(tree.error("open", b""))?;
        let stat = fstat(&root).map_err(tree.error("fstat", b""))?;
        let seen = seen(root.as_fd()).map_err(tree.error("getxattr", b""))?;
        layer.put(&tree, Vec::new(), &stat, What::Directory, seen, ownership);
        walk::visit(&tree, &mut |found| {
            interrupt.check()?;
            layer.found(&tree, found, ownership)
        })?;
        for (path, owned) in ownership.into_iter().flat_map(Ownership::iter) {
            if let Some(device) = owned.device {
                layer.device(&tree, path, device, owned);
            }
        }
        Ok(layer)
    }

    /// Bytes of its files. One with several names counts once for each.
    pub fn size(&self) -> u64 {
        self.entries.values().map(Entry::size).sum()
    }

    fn found(
        &mut self,
        tree: &Arc<Tree>,
        found: Found<'_>,
        ownership: Option<&Ownership>,
    ) -> Result<(), ArchiveError> {
        let stat = found.stat;
        let what = match stat.st_mode & libc::S_IFMT {
            libc::S_IFCHR if stat.st_rdev == 0 => {
                self.whiteouts.insert(found.path);
                return Ok(());
            }
            libc::S_IFDIR => What::Directory,
            libc::S_IFREG => What::File {
                size: stat.st_size.unsigned_abs(),
                id: walk::id(&stat),
            },
            libc::S_IFLNK => What::Symlink(found.target(tree)?),
            libc::S_IFIFO => What::Fifo,
            // A socket is nothing without its process.
            libc::S_IFSOCK => return Ok(()),
            _ => {
                let path = tree.path(&found.path);
                return Err(ArchiveError::Special { path });
            }
        };
        // What fuse-overlayfs writes where it may make no devices.
        match meaning(&found.path) {
            Ok(Meaning::Entry) => {}
            Ok(Meaning::Whiteout(name)) if matches!(what, What::File { size: 0, .. }) => {
                self.whiteouts.insert(beside(&found.path, name));
                return Ok(());
            }
            Ok(Meaning::Opaque) => {
                self.opaque.insert(split(&found.path).0.to_vec());
                return Ok(());
            }
            Ok(Meaning::Whiteout(_) | Meaning::Ignored) | Err(_) => {
                return Err(ArchiveError::Refused {
                    member: found.path.escape_ascii().to_string(),
                    why: "in a layer such a name would mean that something is removed",
                });
            }
        }
        let seen = match what {
            What::Directory | What::File { .. } => {
                let fd = open(&found).map_err(tree.error("open", &found.path))?;
                seen(fd.as_fd()).map_err(tree.error("getxattr", &found.path))?
            }
            _ => Seen::default(),
        };
        if seen.opaque && what == What::Directory {
            self.opaque.insert(found.path.clone());
        }
        self.put(tree, found.path, &stat, what, seen, ownership);
        Ok(())
    }

    fn put(
        &mut self,
        tree: &Arc<Tree>,
        path: Vec<u8>,
        stat: &FileStat,
        what: What,
        seen: Seen,
        ownership: Option<&Ownership>,
    ) {
        let disk = stat.st_mode & 0o7777;
        let owned = ownership.and_then(|ownership| ownership.get(&path));
        let owned = owned.filter(|owned| owned.device.is_none());
        let copied = seen.origin || (what == What::Directory && !seen.opaque);
        let mut attributes = Attributes {
            uid: 0,
            gid: 0,
            mode: disk,
            xattrs: seen.xattrs,
        };
        if let Some(owned) = owned {
            meant(&mut attributes, owned);
        }
        let item = Item {
            path: path.clone(),
            what,
            mtime: stat.st_mtime,
            attributes,
        };
        let entry = Entry {
            item,
            tree: Arc::clone(tree),
            disk,
            said: ownership.is_some(),
            copied,
        };
        self.entries.insert(path, entry);
    }

    /// A device that is not on the disk, unless something else is there by now.
    fn device(&mut self, tree: &Arc<Tree>, path: &[u8], device: super::DeviceNode, owned: &Owned) {
        let mut attributes = Attributes {
            mode: 0o600,
            ..Attributes::default()
        };
        meant(&mut attributes, owned);
        self.entries.entry(path.to_vec()).or_insert_with(|| Entry {
            item: Item {
                path: path.to_vec(),
                what: What::Device(device),
                mtime: 0,
                attributes,
            },
            tree: Arc::clone(tree),
            disk: 0o600,
            said: true,
            copied: false,
        });
    }
}

/// What is meant, in place of what is on the disk.
fn meant(attributes: &mut Attributes, owned: &Owned) {
    attributes.uid = owned.uid;
    attributes.gid = owned.gid;
    attributes.mode = owned.mode.unwrap_or(attributes.mode);
    let recorded = owned.xattrs.iter();
    let recorded = recorded.map(|(name, value)| (name.clone().into_bytes(), value.clone()));
    attributes.xattrs.extend(recorded);
}

fn beside(path: &[u8], name: &[u8]) -> Vec<u8> {
    match split(path).0 {
        b"" => name.to_vec(),
        dir => [dir, name].join(&b'/'),
    }
}

/// What the extended attributes of something say.
#[derive(Default)]
struct Seen {
    opaque: bool,
    origin: bool,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn open(found: &Found<'_>) -> Result<std::os::fd::OwnedFd, Errno> {
    // A pipe that has taken a file's place would be waited for.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    openat(found.dir, found.name, flags, Mode::empty())
}

fn seen(fd: BorrowedFd<'_>) -> Result<Seen, Errno> {
    let mut seen = Seen::default();
    let names = match xattr::list_of(fd) {
        Err(Errno::ENOTSUP) => Vec::new(),
        names => names?,
    };
    let is_yes = |name: &CStr| xattr::get_of(fd, name).map(|value| value == b"y");
    for name in names {
        match name.to_bytes() {
            OPAQUE | OPAQUE_FUSE => seen.opaque |= is_yes(&name)?,
            ORIGIN | ORIGIN_FUSE => seen.origin = true,
            // pax cannot say a name with the sign that ends it.
            other if fate(other) == Fate::Kept && !other.contains(&b'=') => {
                let value = xattr::get_of(fd, &name)?;
                seen.xattrs.insert(other.to_vec(), value);
            }
            _ => {}
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests;
