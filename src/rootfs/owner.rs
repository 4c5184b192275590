//! Files of a root file system belong to whom the sandbox runs as, also when pybuild is root.

use std::fs::{self, Permissions};
use std::marker::PhantomData;
use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::path::Path;

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use crate::sandbox::Host;
use crate::sys::fs::FsError;

/// While this lives, this thread's file operations are those of the user that sandboxes run as.
pub(super) struct Assumed {
    /// Who the thread was, if it has become someone else.
    before: Option<(Uid, Gid)>,
    /// It is of one thread: it must not go to another.
    _thread: PhantomData<*const ()>,
}

/// Makes this thread's file operations those of the user that sandboxes of `host` run as: what it
/// makes is theirs, and what they may not touch, it cannot. Nothing changes unless pybuild is
/// root. Other threads are not concerned (setfsuid(2)).
pub(super) fn assume(host: &Host) -> Assumed {
    let before = host.is_root().then(|| {
        let outside = host.outside();
        // The group first: as another user it could no longer be changed.
        let gid = setfsgid(Gid::from_raw(outside.gid));
        let uid = setfsuid(Uid::from_raw(outside.uid));
        (uid, gid)
    });
    Assumed {
        before,
        _thread: PhantomData,
    }
}

impl Drop for Assumed {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.before {
            setfsuid(uid);
            setfsgid(gid);
        }
    }
}

/// Makes a directory, and those above it, that everyone may read whatever the umask is.
pub(super) fn open_dir(path: &Path) -> Result<(), FsError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = path
                .parent()
                .ok_or(error)
                .map_err(FsError::new("mkdir", path))?;
            open_dir(parent)?;
            fs::create_dir(path).map_err(FsError::new("mkdir", path))?;
        }
        made => made.map_err(FsError::new("mkdir", path))?,
    }
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(FsError::new("chmod", path))
}

/// Makes a directory that belongs to that user.
pub(super) fn create_dir(path: &Path, host: &Host) -> Result<(), FsError> {
    open_dir(path)?;
    give(path, host)
}

/// Makes a directory that only that user can enter: what is made in it may be setuid for a while.
pub(super) fn create_private_dir(path: &Path, host: &Host) -> Result<(), FsError> {
    create_dir(path, host)?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(FsError::new("chmod", path))
}

/// Lets everyone read such a directory.
pub(super) fn open_up(path: &Path) -> Result<(), FsError> {
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(FsError::new("chmod", path))
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
