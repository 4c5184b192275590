//! What another process has: by the links of `/proc`, which lead to the very thing whatever it is
//! called by now.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

/// What a relative path begins at.
pub(super) fn base(pid: Pid, dir: i32) -> Result<PathBuf, Errno> {
    match dir {
        libc::AT_FDCWD => Ok(PathBuf::from(format!("/proc/{pid}/cwd"))),
        fd => descriptor(pid, fd),
    }
}

pub(super) fn descriptor(pid: Pid, fd: i32) -> Result<PathBuf, Errno> {
    let fd = u32::try_from(fd).map_err(|_| Errno::EBADF)?;
    Ok(PathBuf::from(format!("/proc/{pid}/fd/{fd}")))
}

/// Opens what a magic link of `/proc` leads to, for nothing.
pub(super) fn open_link(link: &Path) -> Result<OwnedFd, Errno> {
    let handle = OFlag::O_PATH | OFlag::O_CLOEXEC;
    // What is not there was no descriptor. `EACCES`: one that hides itself (`PR_SET_DUMPABLE`).
    match open(link, handle, Mode::empty()) {
        Err(Errno::ENOENT) => Err(Errno::EBADF),
        opened => opened,
    }
}

/// The number in `/proc/self/fd/3`, as which libraries name what is open where a call wants a path.
pub(super) fn own_descriptor(path: &[u8]) -> Option<i32> {
    let path = std::str::from_utf8(path).ok()?;
    let rest = path.strip_prefix("/proc/")?;
    let rest = rest
        .strip_prefix("self/")
        .or(rest.strip_prefix("thread-self/"))?;
    let number = rest.strip_prefix("fd/")?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse().ok())?
}

/// The permission bits that a process takes from what it makes: proc(5).
pub(super) fn umask(pid: Pid) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or(0o022)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_links_to_descriptors_of_ones_own_are_known() {
        let table = [
            ("/proc/self/fd/3", Some(3)),
            ("/proc/thread-self/fd/0", Some(0)),
            ("/proc/self/fd/", None),
            ("/proc/self/fd/+3", None),
            ("/proc/self/fd/3/x", None),
            ("/proc/self/fd/99999999999", None),
            ("/proc/self/cwd", None),
            ("/proc/1/fd/3", None),
            ("proc/self/fd/3", None),
        ];
        for (path, expected) in table {
            assert_eq!(own_descriptor(path.as_bytes()), expected, "{path}");
        }
    }
}
