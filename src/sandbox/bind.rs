//! Showing a file or directory of the host where the sandbox is to see it, and nowhere else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::spec::Access;
use super::wire::Failure;
use crate::model::GuestPath;
use crate::sys::call::CallError;
use crate::sys::inroot::{self, Links};
use crate::sys::mount::{self, Forbid};

/// The file systems that the sandbox needs as they are. A plan binds nothing below them, but a
/// symlink of the image may lead there.
const TAKEN: [&str; 5] = ["proc", "sys", "dev", "dev/pts", "dev/shm"];

/// Mounts `source` on `target`, below the root that is being made.
pub(super) fn bind(
    root: BorrowedFd<'_>,
    source: &Path,
    target: &GuestPath,
    access: Access,
) -> Result<(), Failure> {
    let source = mount::open_path(source)?;
    let at = if inroot::is_dir(source.as_fd())? {
        inroot::open_or_make_dir(root, target.relative(), Links::Inside)?
    } else {
        inroot::open_or_make_file(root, target.relative(), Links::Inside)?
    };
    for place in TAKEN {
        let taken = match inroot::open(root, Path::new(place), Links::Refused) {
            Err(error) if error.errno == Errno::ENOENT => continue,
            opened => opened?,
        };
        if device(&taken)? == device(&at)? {
            let why = format!("{target} leads into /{place}, to which nothing can be bound");
            return Err(Failure::Other(why));
        }
    }
    let forbid = Forbid {
        write: access == Access::ReadOnly,
        devices: true,
    };
    Ok(mount::bind(source.as_fd(), at.as_fd(), true, forbid)?)
}

/// The file system that something is on.
fn device(fd: &OwnedFd) -> Result<u64, CallError> {
    fstat(fd)
        .map(|found| found.st_dev)
        .map_err(CallError::new("fstat", "a descriptor"))
}
