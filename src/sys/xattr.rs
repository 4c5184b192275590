//! Extended attributes, as far as overlayfs marks directories with them.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
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
}
