//! Files of a root file system belong to whom the sandbox runs as, also when pybuild is root.

use std::fs;
use std::os::unix::fs::lchown;
use std::path::Path;

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use crate::sandbox::Host;
use crate::sys::fs::{self as sysfs, FsError};

/// From here on this thread's file operations are those of the user that sandboxes of `host` run
/// as: what it makes is theirs, and what they may not touch, it cannot. Only for threads that end
/// soon. Nothing changes unless pybuild is root.
pub(super) fn assume(host: &Host) {
    if host.is_root() {
        let outside = host.outside();
        // The group first: as another user it could no longer be changed.
        setfsgid(Gid::from_raw(outside.gid));
        setfsuid(Uid::from_raw(outside.uid));
    }
}

/// Makes a directory that belongs to that user.
pub(super) fn create_dir(path: &Path, host: &Host) -> Result<(), FsError> {
    sysfs::create_dir_all(path)?;
    give(path, host)
}

/// Gives that user a tree that pybuild has just made. Symlinks are given, not followed.
pub(super) fn give(path: &Path, host: &Host) -> Result<(), FsError> {
    if !host.is_root() {
        return Ok(());
    }
    let outside = host.outside();
    lchown(path, Some(outside.uid), Some(outside.gid)).map_err(FsError::new("lchown", path))?;
    let found = fs::symlink_metadata(path).map_err(FsError::new("lstat", path))?;
    if found.is_dir() {
        for entry in fs::read_dir(path).map_err(FsError::new("readdir", path))? {
            give(&entry.map_err(FsError::new("readdir", path))?.path(), host)?;
        }
    }
    Ok(())
}
