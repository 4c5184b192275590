//! Extended attributes, as far as overlayfs keeps its notes in them.
#![allow(unsafe_code)]

use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;

use super::call::CallError;

/// Whether a file or directory, not followed if it is a symlink, has an attribute of this value.
/// A file system without attributes has none.
pub fn is(path: &Path, name: &str, value: &[u8]) -> bool {
    let mut found = [0u8; 64];
    // SAFETY: both strings end with NUL, and at most as many bytes as `found` has are written.
    let length = path.with_nix_path(|path| {
        name.with_nix_path(|name| unsafe {
            libc::lgetxattr(
                path.as_ptr(),
                name.as_ptr(),
                found.as_mut_ptr().cast(),
                found.len(),
            )
        })
    });
    let Ok(Ok(length)) = length else { return false };
    usize::try_from(length).is_ok_and(|length| found[..length] == *value)
}

/// `lsetxattr(2)`.
pub fn set(path: &Path, name: &str, value: &[u8]) -> Result<(), CallError> {
    // SAFETY: both strings end with NUL, and `value` is read as far as it goes.
    let result = path.with_nix_path(|path| {
        name.with_nix_path(|name| unsafe {
            libc::lsetxattr(
                path.as_ptr(),
                name.as_ptr(),
                value.as_ptr().cast(),
                value.len(),
                0,
            )
        })
    });
    result
        .and_then(|result| result)
        .and_then(Errno::result)
        .map(drop)
        .map_err(CallError::path("lsetxattr", path))
}
