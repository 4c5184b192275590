//! Paths inside a directory that someone else has filled: symlinks never lead out of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use super::call::CallError;

/// What a symlink on the way means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It is resolved as if the directory were the root file system.
    Inside,
    /// It is an error (`ELOOP`).
    Refused,
}

/// Opens `path` below `root` with `O_PATH`: to be mounted on, or walked from.
pub fn open(root: BorrowedFd<'_>, path: &Path, links: Links) -> Result<OwnedFd, CallError> {
    open_with(root, path, links, OFlag::O_PATH)
}

fn open_with(
    root: BorrowedFd<'_>,
    path: &Path,
    links: Links,
    flags: OFlag,
) -> Result<OwnedFd, CallError> {
    let resolve = match links {
        Links::Inside => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        Links::Refused => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS,
    };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(resolve);
    loop {
        match openat2(root, path, how) {
            // The kernel could not rule out that a rename raced with a `..`: openat2(2) says to
            // try again.
            Err(Errno::EAGAIN) => {}
            result => return result.map_err(CallError::path("openat2", path)),
        }
    }
}

/// Opens a directory below `root`, making it and those above it if they are not there.
pub fn open_or_make_dir(
    root: BorrowedFd<'_>,
    path: &Path,
    links: Links,
) -> Result<OwnedFd, CallError> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match open_with(root, path, links, directory) {
        Err(error) if error.errno == Errno::ENOENT => {}
        result => return result,
    }
    let (parent, name) = make_parent(root, path, links)?;
    match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
        // Another sandbox with this root may have just made it.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(CallError::path("mkdirat", path)(errno)),
    }
    open_with(root, path, links, directory)
}

/// Opens what is at `path` below `root` if it is no directory, making an empty file if nothing is
/// there.
pub fn open_or_make_file(
    root: BorrowedFd<'_>,
    path: &Path,
    links: Links,
) -> Result<OwnedFd, CallError> {
    let found = match open(root, path, links) {
        Err(error) if error.errno == Errno::ENOENT => {
            let (parent, name) = make_parent(root, path, links)?;
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            nix::fcntl::openat(&parent, name, flags, Mode::from_bits_truncate(0o644))
                .map_err(CallError::path("openat", path))?;
            open(parent.as_fd(), name, Links::Refused)?
        }
        result => result?,
    };
    if is_dir(found.as_fd())? {
        return Err(CallError::path("open", path)(Errno::EISDIR));
    }
    Ok(found)
}

fn make_parent<'p>(
    root: BorrowedFd<'_>,
    path: &'p Path,
    links: Links,
) -> Result<(OwnedFd, &'p Path), CallError> {
    let name = path
        .file_name()
        .ok_or(Errno::ENOENT)
        .map_err(CallError::path("mkdirat", path))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => open_or_make_dir(root, parent, links)?,
        _ => open(root, Path::new("."), links)?,
    };
    Ok((parent, Path::new(name)))
}

/// Whether a descriptor refers to a directory.
pub fn is_dir(fd: BorrowedFd<'_>) -> Result<bool, CallError> {
    let stat = fstat(fd).map_err(CallError::new("fstat", "a descriptor"))?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}
