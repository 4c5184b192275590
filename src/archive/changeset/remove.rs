//! What a layer takes away from the tree: by a whiteout, or by putting something in its place.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::super::tree::TreeError;
use super::Merge;
use super::attributes::clear_xattrs;
use super::walk::Missing;
use crate::sys::fs::FsError;

/// What of a tree stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// What this layer has put there.
    Ours,
    Nothing,
}

impl Merge {
    /// Takes away what lower layers have under `name` in the directory `text`. What is not there
    /// is fine: another whiteout of the same layer may have taken it.
    pub(super) fn whiteout(&mut self, text: &[u8], name: &[u8]) -> Result<(), TreeError> {
        if !self.above || !self.go(text, Missing::Leave)? {
            return Ok(());
        }
        let at = self.walk.path_of(name);
        self.take(name, &at, Keep::Ours)?;
        self.forget_devices(&at, Keep::Ours);
        Ok(())
    }

    /// Takes away all that lower layers have in the directory `text`.
    pub(super) fn opaque(&mut self, text: &[u8]) -> Result<(), TreeError> {
        if !self.above || !self.go(text, Missing::Leave)? {
            return Ok(());
        }
        let failed = self.walk.failed("readdir", b"");
        let dir = self.walk.open_dir(b"")?.ok_or(Errno::ENOENT);
        let names = dir.and_then(names).map_err(failed)?;
        for name in names {
            let at = self.walk.path_of(&name);
            self.take(&name, &at, Keep::Ours)?;
        }
        let at = self.walk.path_of(b"");
        self.forget_devices(&at, Keep::Ours);
        Ok(())
    }

    /// Makes room under `name` in the directory where the walk is.
    pub(super) fn remove(&mut self, name: &[u8]) -> Result<(), TreeError> {
        let at = self.walk.path_of(name);
        self.take(name, &at, Keep::Nothing)?;
        self.forget_devices(&at, Keep::Nothing);
        Ok(())
    }

    fn take(&mut self, name: &[u8], at: &[u8], keep: Keep) -> Result<(), TreeError> {
        let here = self.walk.here().try_clone_to_owned();
        let here = here.map_err(self.walk.failed("dup", b""))?;
        self.purge(here.as_fd(), name, at, keep)?;
        self.walk.forget();
        self.links.restart();
        Ok(())
    }

    /// Removes `name`, known as `at`, from `dir`, with all that is below it and does not stay.
    /// Whether it is gone. Recursion is bounded, since the depth of the tree is.
    fn purge(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        at: &[u8],
        keep: Keep,
    ) -> Result<bool, TreeError> {
        let failed = |call| {
            let path = at.to_vec();
            move |errno: Errno| TreeError::Fs(FsError::new(call, &path_buf(&path))(errno))
        };
        let ours = keep == Keep::Ours && self.touched.contains(at);
        if ours && !self.times.contains_key(at) {
            return Ok(false); // no directory: nothing from below can be in it
        }
        if !ours {
            if keep == Keep::Ours && self.followed.contains(at) {
                return Err(TreeError::Refused(
                    "it takes away a symlink through which its layer has been written",
                ));
            }
            match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {
                    self.ownership.remove(at);
                    return Ok(true);
                }
                Err(Errno::EISDIR | Errno::EPERM) => {}
                Err(errno) => return Err(failed("unlink")(errno)),
            }
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(dir, name, flags, Mode::empty()).map_err(failed("open"))?;
        let again = fd
            .try_clone()
            .map_err(|error| TreeError::Fs(FsError::new("dup", &path_buf(at))(error)))?;
        let mut empty = true;
        for child in names(again).map_err(failed("readdir"))? {
            let below = [at, &child[..]].join(&b'/');
            empty &= self.purge(fd.as_fd(), &child, &below, keep)?;
        }
        if ours {
            return Ok(false);
        }
        let mut devices = self.ownership.devices(at);
        if empty && !(keep == Keep::Ours && devices.any(|path| self.touched.contains(path))) {
            drop(devices);
            unlinkat(dir, name, UnlinkatFlags::RemoveDir).map_err(failed("rmdir"))?;
            self.times.remove(at);
            self.ownership.remove(at);
            return Ok(true);
        }
        drop(devices);
        // This layer has put something into it without naming it: it is what it would be if the
        // whiteout had come first.
        fchmod(&fd, Mode::from_bits_truncate(0o755)).map_err(failed("chmod"))?;
        clear_xattrs(fd.as_fd()).map_err(failed("removexattr"))?;
        self.times.insert(at.to_vec(), (0, 0));
        self.ownership.remove(at);
        self.touched.insert(at.to_vec());
        Ok(false)
    }

    /// Devices are only on record.
    fn forget_devices(&mut self, at: &[u8], keep: Keep) {
        let devices = self.ownership.devices(at);
        let gone = devices.filter(|path| keep == Keep::Nothing || !self.touched.contains(*path));
        let gone: Vec<Vec<u8>> = gone.map(<[u8]>::to_vec).collect();
        for path in gone {
            self.ownership.remove(&path);
        }
    }
}

fn path_buf(path: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    std::ffi::OsStr::from_bytes(path).into()
}

/// What a directory holds. The descriptor's own position in it is used.
pub(super) fn names(dir: OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut dir = Dir::from_fd(dir)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(&name[..], b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}
