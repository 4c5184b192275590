//! What a layer says of its files beside what lies on the disk, once it was made in a sandbox: read
//! off the files, and taken off them.
//!
//! While a layer is made, setuid and setgid bits are on the disk, so that programs find what they
//! have set, and owners are in [`Stamp`]s. Nobody but its maker reaches it then. What is kept has
//! neither.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Once;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmodat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::layer;
use crate::archive::{DeviceNode, Owned, Ownership};
use crate::model::{Observer, Stamp};
use crate::sandbox;
use crate::sys::fs::FsError;
use crate::sys::{mount, xattr};

/// Set on what an overlay has copied from a layer below: `filesystems/overlayfs.rst`, and
/// fuse-overlayfs.
const COPIED: [&[u8]; 2] = [b"user.overlay.origin", b"user.fuseoverlayfs.origin"];
/// Bytes of a path at most: what a system call takes.
const PATH_LIMIT: usize = 4095;

/// A layer below the one that is made.
pub(super) struct Below {
    /// Its files.
    pub(super) tree: PathBuf,
    /// What they are beyond that.
    pub(super) ownership: Ownership,
}

impl Below {
    /// A layer of the store. One of an older pybuild counts as root's.
    pub(super) fn of(tree: &Path) -> Result<Self, FsError> {
        let layer = tree.parent().unwrap_or(tree);
        Ok(Self {
            tree: tree.to_owned(),
            ownership: layer::ownership(layer)?.unwrap_or_default(),
        })
    }

    /// Those of the store, the lowest first.
    pub(super) fn all(trees: &[PathBuf]) -> Result<Vec<Self>, FsError> {
        trees.iter().map(|tree| Self::of(tree)).collect()
    }
}

/// What the layers below, the lowest first, say of a path without symlinks, and what they have there.
pub(super) fn seen_below(below: &[Below], path: &[u8]) -> Option<(Owned, std::fs::Metadata)> {
    let name = Path::new(std::ffi::OsStr::from_bytes(path));
    below.iter().rev().find_map(|Below { tree, ownership }| {
        let found = std::fs::symlink_metadata(tree.join(name)).ok()?;
        Some((ownership.get(path).cloned().unwrap_or_default(), found))
    })
}

/// Says what is missing from a layer's ownership, if something is. What is so for all layers that
/// are made here is said once.
pub(super) fn tell(owners: sandbox::Owners, observer: &dyn Observer) {
    static TOLD: Once = Once::new();
    match owners {
        sandbox::Owners::Recorded | sandbox::Owners::Denied => {}
        sandbox::Owners::Partly(calls) => observer.warn(format!(
            "{calls} changes of owner by packages' scripts could not be recorded: the stack works, \
             but those files are root's where it is exported"
        )),
        sandbox::Owners::Pretended => TOLD.call_once(|| {
            let what = "changes of owner by packages' scripts are not recorded, since the kernel, or \
                 what pybuild runs in, does not let it see them (seccomp_unotify): the stack works, \
                 but those files are root's where it is exported";
            observer.warn(what.to_owned());
        }),
    }
}

/// Takes from the tree of a layer what only says what its files would be, and gives it as that.
/// Nobody else may write to the tree; whatever it holds, nothing outside is touched.
pub(super) fn take(tree: &Path, below: &[Below]) -> Result<Ownership, FsError> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(tree, flags, Mode::empty()).map_err(FsError::new("open", tree))?;
    let mut taking = Taking {
        tree,
        root,
        below,
        ownership: Ownership::default(),
        several: HashMap::new(),
        open: Vec::new(),
    };
    let (root, stat) = {
        let again = openat(&taking.root, ".", flags, Mode::empty());
        let root = again.map_err(FsError::new("open", tree))?;
        let stat = fstatat(&root, "", AtFlags::AT_EMPTY_PATH);
        (root, stat.map_err(FsError::new("fstat", tree))?)
    };
    taking.entry(&root, b".", Vec::new(), &stat)?;
    while let Some(path) = taking.open.pop() {
        taking.directory(&path)?;
    }
    Ok(taking.ownership)
}

struct Taking<'a> {
    tree: &'a Path,
    root: OwnedFd,
    below: &'a [Below],
    ownership: Ownership,
    /// What was found out of files with several names, by inode: the first name takes it off all.
    several: HashMap<u64, Owned>,
    /// Directories still to be walked. Each is opened anew, so that no depth takes descriptors.
    open: Vec<Vec<u8>>,
}

impl Taking<'_> {
    fn directory(&mut self, path: &[u8]) -> Result<(), FsError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let at = if path.is_empty() { b"." } else { path };
        let opened = openat(&self.root, at, flags, Mode::empty());
        let dir = opened.map_err(self.failed("open", path))?;
        let listed = dir.try_clone().map_err(self.failed("dup", path))?;
        let mut listed = Dir::from_fd(listed).map_err(self.failed("opendir", path))?;
        for entry in listed.iter() {
            let entry = entry.map_err(self.failed("readdir", path))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let below = if path.is_empty() {
                name.to_vec()
            } else {
                [path, name].join(&b'/')
            };
            if below.len() > PATH_LIMIT {
                return Err(self.failed("open", &below)(Errno::ENAMETOOLONG));
            }
            let stat = fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(self.failed("lstat", &below))?;
            self.entry(&dir, name, below, &stat)?;
        }
        Ok(())
    }

    /// What is called `name` in `dir`, and `path` in the tree.
    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: Vec<u8>,
        stat: &FileStat,
    ) -> Result<(), FsError> {
        let kind = stat.st_mode & libc::S_IFMT;
        let is_dir = kind == libc::S_IFDIR;
        match kind {
            libc::S_IFREG | libc::S_IFDIR | libc::S_IFIFO | libc::S_IFSOCK => {}
            // Symlinks have no mode. An overlay's mark for what is gone is a device.
            _ => return Ok(()),
        }
        if is_dir {
            self.open.push(path.clone());
        } else if stat.st_nlink > 1
            && let Some(owned) = self.several.get(&stat.st_ino)
        {
            let owned = owned.clone();
            if owned.device.is_some() {
                self.unlink(dir, name, &path)?;
            }
            self.ownership.set(path, owned);
            return Ok(());
        }
        let found = match kind {
            libc::S_IFREG | libc::S_IFDIR => self.attributes(dir, name, &path, stat)?,
            _ => Found::default(),
        };
        let said = self.said(&path, stat, &found);
        let kept = kept_mode(stat.st_mode);
        let is_changed = found.is_open || kept != stat.st_mode & 0o7777;
        let owned = Owned {
            // What is not on the disk has no mode there.
            mode: said
                .mode
                .filter(|mode| said.device.is_some() || *mode != kept),
            ..said
        };
        if owned.device.is_some() {
            self.unlink(dir, name, &path)?;
        } else if is_changed {
            self.chmod(dir, name, &path, kept)?;
        }
        if !is_dir && stat.st_nlink > 1 {
            self.several.insert(stat.st_ino, owned.clone());
        }
        self.ownership.set(path, owned);
        Ok(())
    }

    /// What the attributes of a file say that this has put there, which takes them off.
    fn attributes(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        stat: &FileStat,
    ) -> Result<Found, FsError> {
        let mut found = Found::default();
        let (read, write) = match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => (0o500, 0o700),
            _ => (0o400, 0o600),
        };
        let open = |found: &mut Found, rights: u32| {
            let mode = stat.st_mode & 0o7777;
            if mode & rights == rights || found.is_open {
                return Ok(());
            }
            found.is_open = true;
            // Whoever owns it may then, whatever its mode has said.
            self.chmod(dir, name, path, mode | write)
        };
        open(&mut found, read)?;
        let at = mount::fd_path(dir.as_fd()).join(std::ffi::OsStr::from_bytes(name));
        let listed = xattr::list(&at).map_err(self.failed("llistxattr", path))?;
        for attribute in listed {
            let bytes = attribute.to_bytes();
            found.is_copied |= COPIED.contains(&bytes);
            let ours = [Stamp::ATTRIBUTE, Stamp::CAPABILITY];
            if !ours.contains(&attribute.as_c_str()) {
                continue;
            }
            let value = xattr::get(&at, &attribute).map_err(self.failed("lgetxattr", path))?;
            let value = value.unwrap_or_default();
            if bytes == Stamp::ATTRIBUTE.to_bytes() {
                found.stamp = Stamp::parse(&value);
            } else {
                found.capability = Some(value);
            }
            open(&mut found, write)?;
            xattr::remove(&at, &attribute).map_err(self.failed("lremovexattr", path))?;
        }
        Ok(found)
    }

    /// What something is, by what was found on it, else by what the layers below have said of it, if
    /// it is theirs. Its mode is always said.
    fn said(&self, path: &[u8], stat: &FileStat, found: &Found) -> Owned {
        let Found {
            stamp,
            capability,
            is_copied,
            is_open: _,
        } = found;
        let on_disk = stat.st_mode & 0o7777;
        let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let mut stamped = stamp.unwrap_or_default();
        if stamped.unsure
            && let Some(before) = self.original(path)
        {
            (stamped.uid, stamped.gid) = (Some(before.uid), Some(before.gid));
        }
        let is_known = |below: &Below| below.ownership.get(path).is_some();
        let inherited = self
            .below
            .iter()
            .any(is_known)
            .then(|| seen_below(self.below, path))
            .flatten()
            .filter(|(_, there)| {
                // A copy of its own making, where no overlay could be mounted, has no mark.
                let same =
                    there.mtime() == stat.st_mtime && there.size().cast_signed() == stat.st_size;
                there.is_dir() == is_dir && (is_dir || *is_copied || same)
            });
        let mut owned = Owned {
            mode: Some(on_disk),
            ..Owned::default()
        };
        if let Some((before, there)) = inherited {
            (owned.uid, owned.gid) = (before.uid, before.gid);
            // With its owner a file loses such bits.
            let keeps = is_dir || stamp.is_none();
            if keeps && there.mode() & 0o7777 == on_disk {
                owned.mode = before.mode.or(owned.mode);
                owned.xattrs = before.xattrs;
            }
        }
        owned.uid = stamped.uid.unwrap_or(owned.uid);
        owned.gid = stamped.gid.unwrap_or(owned.gid);
        owned.device = stamped.device.map(|device| DeviceNode {
            block: device.block,
            major: device.major,
            minor: device.minor,
        });
        if let Some(value) = capability {
            let name = "security.capability".to_owned();
            owned.xattrs.insert(name, value.clone());
        }
        owned
    }

    /// Whose a file of a layer below was that this seems to have been put in the place of, or to be a
    /// copy of: that was to be found out by its owner, who was not to be seen.
    fn original(&self, path: &[u8]) -> Option<Owned> {
        let copied = path.strip_suffix(b"-");
        let mut names = [Some(path), copied].into_iter().flatten();
        names.find_map(|path| {
            let is_known = |below: &Below| below.ownership.get(path).is_some();
            let known = self.below.iter().any(is_known);
            let (owned, found) = known.then(|| seen_below(self.below, path))??;
            found.is_file().then_some(owned)
        })
    }

    fn chmod(&self, dir: &OwnedFd, name: &[u8], path: &[u8], mode: u32) -> Result<(), FsError> {
        // It is no symlink, and nobody else is here to make it one.
        let follow = FchmodatFlags::FollowSymlink;
        fchmodat(dir, name, Mode::from_bits_truncate(mode), follow)
            .map_err(self.failed("chmod", path))
    }

    fn unlink(&self, dir: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), FsError> {
        unlinkat(dir, name, UnlinkatFlags::NoRemoveDir).map_err(self.failed("unlink", path))
    }

    fn failed<E: Into<std::io::Error>>(
        &self,
        call: &'static str,
        path: &[u8],
    ) -> impl FnOnce(E) -> FsError + use<E> {
        let path = self.tree.join(std::ffi::OsStr::from_bytes(path));
        move |source: E| FsError::new(call, &path)(source)
    }
}

/// What the attributes of a file say.
#[derive(Default)]
struct Found {
    stamp: Option<Stamp>,
    capability: Option<Vec<u8>>,
    /// Whether an overlay has copied it from below.
    is_copied: bool,
    /// Whether its mode was changed so that this could be found out.
    is_open: bool,
}

/// The mode that something has in the store, as in layers of images: without set-id bits, sticky
/// for directories alone, and its owner can read it.
fn kept_mode(mode: u32) -> u32 {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => mode & 0o1777 | 0o700,
        _ => mode & 0o777 | 0o400,
    }
}

#[cfg(test)]
mod tests;
