//! System calls that another process answers: `seccomp_unotify(2)`.
#![allow(unsafe_code)]

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::call::CallError;

/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS`, of Linux 6.6.
const SET_FLAGS: libc::Ioctl = 0x4008_2104;
/// Whoever waits for an answer is woken on the processor of who gives it.
const SYNC_WAKE_UP: u64 = 1;
/// `SECCOMP_IOCTL_NOTIF_ID_VALID`.
const ID_VALID: libc::Ioctl = 0x4008_2102;
/// The smallest page there is.
const PAGE: u64 = 4096;

/// A system call that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// The kernel's name for it.
    pub id: u64,
    /// The thread that makes it, as this process's pid namespace numbers it.
    pub pid: Pid,
    /// Which call.
    pub call: i32,
    /// With what.
    pub args: [u64; 6],
}

/// Installs a filter as [`super::process::install_filter`] does, and gives the descriptor by which
/// the calls are answered that it leaves to someone else. There can be but one such filter: where
/// an outer one has a listener, that is `EBUSY`.
pub fn install_filter(program: &[libc::sock_filter]) -> Result<OwnedFd, CallError> {
    let failed = || CallError::new("seccomp", "SECCOMP_FILTER_FLAG_NEW_LISTENER");
    let length = u16::try_from(program.len()).map_err(|_| failed()(Errno::E2BIG))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    let install = |flags: libc::c_ulong| {
        // SAFETY: the kernel reads `len` instructions and never writes to them.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
                flags,
                &raw const program,
            )
        })
    };
    // Once a call was received, only a deadly signal interrupts it: else it would be made, and
    // answered, once more. Linux 5.19.
    let killable = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fd = install(listener | killable)
        .or_else(|errno| match errno {
            Errno::EINVAL => install(listener),
            errno => Err(errno),
        })
        .map_err(failed())?;
    let fd = i32::try_from(fd).expect("the kernel gives descriptors as int");
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has answers arrive sooner, where the kernel can.
pub fn hasten(listener: BorrowedFd<'_>) {
    // SAFETY: the argument is a number.
    let _ = unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
}

/// The next call; `None` if who made it is dead by now. Waits if there is none.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Option<Notification>, Errno> {
    // The kernel's structure may be longer than the one that is known here.
    #[repr(C)]
    struct Buffer {
        notification: libc::seccomp_notif,
        more: [u64; 64],
    }
    // SAFETY: all of it is integers.
    let mut buffer: Buffer = unsafe { std::mem::zeroed() };
    let command = libc::SECCOMP_IOCTL_NOTIF_RECV;
    // SAFETY: the kernel fills its structure, which begins with the known one and fits.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), command, &raw mut buffer) };
    match Errno::result(result) {
        Ok(_) => {}
        Err(Errno::ENOENT | Errno::EINTR) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    let found = buffer.notification;
    Ok(Some(Notification {
        id: found.id,
        pid: Pid::from_raw(found.pid.cast_signed()),
        call: found.data.nr,
        args: found.data.args,
    }))
}

/// Whether who made a call still waits for its answer. What was opened by its pid before is its
/// own then, and not that of another process of the same number.
pub fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads the number.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), ID_VALID, &raw const id) };
    result == 0
}

/// Answers a call: it has succeeded, or failed with this number. Who is dead hears nothing.
pub fn answer(listener: BorrowedFd<'_>, id: u64, result: Result<(), Errno>) {
    let response = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: result.err().map_or(0, |errno| -(errno as i32)),
        flags: 0,
    };
    let command = libc::SECCOMP_IOCTL_NOTIF_SEND;
    // SAFETY: the kernel reads the structure, which is as it expects, and has no more fields.
    let _ = unsafe { libc::ioctl(listener.as_raw_fd(), command, &raw const response) };
}

/// The text, without the NUL that ends it, that another process has at an address. Fails with
/// `ENAMETOOLONG` if it is longer than `limit`, and as [`read_memory`] does.
pub fn read_text(pid: Pid, address: u64, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    while text.len() <= limit {
        let at = address
            .checked_add(text.len() as u64)
            .ok_or(Errno::EFAULT)?;
        // No further than to the end of a page: what follows may not be there.
        let room = usize::try_from(PAGE - at % PAGE).unwrap_or(limit);
        let mut piece = vec![0; room.min(limit + 1 - text.len())];
        read_memory(pid, at, &mut piece)?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&piece[..end]);
            return Ok(text);
        }
        text.extend_from_slice(&piece);
    }
    Err(Errno::ENAMETOOLONG)
}

/// Fills the buffer with what another process has at an address. Fails if not all of it is there
/// (`EFAULT`), or for want of the right to look.
pub fn read_memory(pid: Pid, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let len = buffer.len();
    let base = usize::try_from(address).map_err(|_| Errno::EFAULT)?;
    let remote = [RemoteIoVec { base, len }];
    let read = process_vm_readv(pid, &mut [IoSliceMut::new(buffer)], &remote)?;
    (read == len).then_some(()).ok_or(Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_far_as_it_is_there() {
        let text = c"a text of this process";
        let (address, length) = (text.as_ptr() as u64, text.count_bytes());
        let read = |address, limit| read_text(Pid::this(), address, limit);
        assert_eq!(read(address, length), Ok(text.to_bytes().to_vec()));
        assert_eq!(read(address, length - 1), Err(Errno::ENAMETOOLONG));
        // Over the border of a page, wherever the pages begin.
        let long = [vec![b'x'; 3 * 4096], vec![0]].concat();
        let found = read(long.as_ptr() as u64, long.len()).expect("readable");
        assert_eq!(found.len(), long.len() - 1);
        for nowhere in [0, 8, u64::MAX - 1, 1 << 63] {
            assert_eq!(read(nowhere, 10), Err(Errno::EFAULT), "{nowhere:#x}");
        }
    }
}
