//! Landlock: rules that a process puts on itself, as far as sandboxes use them.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::call::CallError;

/// The first version that can scope sockets and signals: Linux 6.12.
pub const SCOPES: i32 = 6;

const CREATE_RULESET_VERSION: u32 = 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 2;

/// `struct landlock_ruleset_attr`, version 6.
#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// Which version the kernel has; 0 for none.
pub fn version() -> i32 {
    // SAFETY: with this flag there is no attribute to be read.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Ruleset>(),
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    i32::try_from(version).unwrap_or(0).max(0)
}

/// From here on this process and what it executes reach no abstract socket, and signal no
/// process, of those that are not under the same rule: `landlock(7)`. It needs
/// `no_new_privs`.
pub fn scope() -> Result<(), CallError> {
    let ruleset = Ruleset {
        handled_access_fs: 0,
        handled_access_net: 0,
        scoped: SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL,
    };
    // SAFETY: the attribute outlives the call, and its size is given.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ruleset,
            size_of::<Ruleset>(),
            0u32,
        )
    };
    let fd = Errno::result(fd).map_err(CallError::new("landlock_create_ruleset", "scoped"))?;
    let fd = i32::try_from(fd).expect("the kernel gives descriptors as int");
    // SAFETY: the kernel has just made this descriptor for us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: integers only.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd.as_raw_fd(), 0u32) };
    Errno::result(result)
        .map(drop)
        .map_err(CallError::new("landlock_restrict_self", ""))
}
