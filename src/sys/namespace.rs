//! Namespaces: entering new ones, the identity map, host name, the loopback interface.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::call::CallError;

/// `unshare(2)`.
pub fn unshare(flags: CloneFlags) -> Result<(), CallError> {
    nix::sched::unshare(flags).map_err(CallError::new("unshare", format_args!("{flags:?}")))
}

/// Maps one uid and one gid of this user namespace to those of the one outside.
///
/// `user_namespaces(7)`: a process may map its own ids without privilege once `setgroups` is
/// denied, so that nobody can drop a group that a file denies access to.
pub fn map_identity(inside: (u32, u32), outside: (u32, u32)) -> Result<(), CallError> {
    write_proc("/proc/self/setgroups", "deny")?;
    write_proc(
        "/proc/self/uid_map",
        &format!("{} {} 1", inside.0, outside.0),
    )?;
    write_proc(
        "/proc/self/gid_map",
        &format!("{} {} 1", inside.1, outside.1),
    )
}

/// Writes a file of `/proc` with one `write(2)`, as the kernel wants it.
pub fn write_proc(path: &str, text: &str) -> Result<(), CallError> {
    let failed = |call: &'static str| {
        move |error: io::Error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
            CallError::new(call, format_args!("{path}, {text:?}"))(errno)
        }
    };
    let mut file = OpenOptions::new()
        .write(true)
        .open(Path::new(path))
        .map_err(failed("open"))?;
    file.write_all(text.as_bytes()).map_err(failed("write"))
}

/// `sethostname(2)`, and `setdomainname(2)` so that no name of the host's is left.
pub fn set_hostname(name: &str) -> Result<(), CallError> {
    nix::unistd::sethostname(name).map_err(CallError::new("sethostname", name))?;
    let none = "(none)";
    // SAFETY: the pointer and length are those of a string.
    let result = unsafe { libc::setdomainname(none.as_ptr().cast(), none.len()) };
    Errno::result(result)
        .map(drop)
        .map_err(CallError::new("setdomainname", none))
}

/// Brings `lo` up, as `ip link set lo up` does: `netdevice(7)`.
pub fn raise_loopback() -> Result<(), CallError> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(CallError::new("socket", "AF_INET, SOCK_DGRAM"))?;
    // SAFETY: `ifreq` is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).expect("a flag of 16 bits");
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(result)
        .map(drop)
        .map_err(CallError::new("ioctl", "SIOCSIFFLAGS, lo, IFF_UP"))
}
