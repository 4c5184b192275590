//! Extended attributes: those that overlayfs marks directories with, and those that layers bring.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

/// The value of an attribute, without following a symlink at the end of `path`: lgetxattr(2).
/// `None` if there is no such attribute, or the file system has none at all. Values longer than
/// 256 bytes are ERANGE: what is asked for here is a letter or a path component.
pub fn get(path: &Path, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let mut value = vec![0u8; 256];
    // SAFETY: both texts end in NUL, and the buffer is as long as is said.
    let length = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    match usize::try_from(length) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(_) => match Errno::last() {
            Errno::ENODATA | Errno::ENOTSUP => Ok(None),
            errno => Err(errno),
        },
    }
}

/// Sets an attribute, without following a symlink at the end of `path`: lsetxattr(2).
pub fn set(path: &Path, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: both texts end in NUL, and the value is as long as is said.
    let result = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// The names of the attributes, without following a symlink at the end of `path`: llistxattr(2).
/// None where the file system has none at all.
pub fn list(path: &Path) -> Result<Vec<CString>, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // Most files have none: that is asked first, without a buffer.
    // SAFETY: the path ends in NUL, and a size of zero asks for the size alone.
    let length = unsafe { libc::llistxattr(path.as_ptr(), std::ptr::null_mut(), 0) };
    match Errno::result(length) {
        Ok(0) | Err(Errno::ENOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = vec![0u8; MOST];
    // SAFETY: the path ends in NUL, and the buffer is as long as is said.
    let length = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(Errno::result(length)?.unsigned_abs());
    Ok(split(&names))
}

/// Takes an attribute away, without following a symlink at the end of `path`: lremovexattr(2).
pub fn remove(path: &Path, name: &CStr) -> Result<(), Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: both texts end in NUL.
    let result = unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Sets an attribute of what a descriptor is open on: fsetxattr(2).
pub fn set_of(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: the name ends in NUL, and the value is as long as is said.
    let result = unsafe {
        libc::fsetxattr(
            fd.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// The value of an attribute of what a descriptor refers to, which may be one that is open for
/// nothing (`O_PATH`). Needs `/proc`. `None` and `ERANGE` as for [`get`].
pub fn get_by(fd: BorrowedFd<'_>, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    let path = link(fd);
    let mut value = vec![0u8; 256];
    // SAFETY: both texts end in NUL, and the buffer is as long as is said.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    match Errno::result(length) {
        Ok(length) => {
            value.truncate(length.unsigned_abs());
            Ok(Some(value))
        }
        Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sets an attribute of what a descriptor refers to, as [`get_by`] reads one.
pub fn set_by(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let path = link(fd);
    // SAFETY: both texts end in NUL, and the value is as long as is said.
    let result = unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// Takes an attribute away from what a descriptor refers to; one that is not there is fine.
pub fn remove_by(fd: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let path = link(fd);
    // SAFETY: both texts end in NUL.
    match Errno::result(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) }) {
        Ok(_) | Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The link in `/proc` that leads to what a descriptor refers to, whatever it is called by now.
fn link(fd: BorrowedFd<'_>) -> CString {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    CString::new(path).expect("a number holds no NUL")
}

/// Takes an attribute away from what a descriptor is open on: fremovexattr(2).
pub fn remove_of(fd: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    // SAFETY: the name ends in NUL.
    let result = unsafe { libc::fremovexattr(fd.as_raw_fd(), name.as_ptr()) };
    Errno::result(result).map(drop)
}

/// The value of an attribute of what a descriptor is open on: fgetxattr(2).
pub fn get_of(fd: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0u8; MOST];
    // SAFETY: the name ends in NUL, and the buffer is as long as is said.
    let length = unsafe {
        libc::fgetxattr(
            fd.as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    value.truncate(Errno::result(length)?.unsigned_abs());
    Ok(value)
}

/// The names of the attributes of what a descriptor is open on: flistxattr(2). None where the file
/// system has none at all.
pub fn list_of(fd: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    // Most files have none: that is asked first, without a buffer.
    // SAFETY: a size of zero asks for the size alone.
    let length = unsafe { libc::flistxattr(fd.as_raw_fd(), std::ptr::null_mut(), 0) };
    match Errno::result(length) {
        Ok(0) | Err(Errno::ENOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = vec![0u8; MOST];
    // SAFETY: the buffer is as long as is said.
    let length =
        unsafe { libc::flistxattr(fd.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(Errno::result(length)?.unsigned_abs());
    Ok(split(&names))
}

/// Names, each of which ends in NUL.
fn split(names: &[u8]) -> Vec<CString> {
    let names = names.split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty());
    names.filter_map(|name| CString::new(name).ok()).collect()
}

/// `XATTR_SIZE_MAX` and `XATTR_LIST_MAX` of Linux.
const MOST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_that_was_set_is_there() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let name = c"user.pybuild.test";
        assert_eq!(get(dir.path(), name), Ok(None));
        match set(dir.path(), name, b"y") {
            // A file system without attributes: then none is ever found, which the line above says.
            Err(Errno::ENOTSUP) => {}
            result => {
                result.expect("set");
                assert_eq!(get(dir.path(), name), Ok(Some(b"y".to_vec())));
            }
        }
        assert_eq!(get(&dir.path().join("none"), name), Err(Errno::ENOENT));
    }

    #[test]
    fn attributes_of_a_descriptor_are_listed_read_and_removed() {
        use std::os::fd::AsFd as _;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = std::fs::File::open(dir.path()).expect("open");
        let fd = file.as_fd();
        assert_eq!(list_of(fd), Ok(vec![]));
        let name = c"user.pybuild.test";
        match set_of(fd, name, b"value") {
            Err(Errno::ENOTSUP) => {}
            result => {
                result.expect("set");
                assert_eq!(list_of(fd), Ok(vec![name.to_owned()]));
                assert_eq!(get_of(fd, name), Ok(b"value".to_vec()));
                remove_of(fd, name).expect("removed");
                assert_eq!(get_of(fd, name), Err(Errno::ENODATA));
            }
        }
    }
}
