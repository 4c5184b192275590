//! Messages with file descriptors between processes (unix(7), `SCM_RIGHTS`).
#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

/// A pair of connected sockets that keep message boundaries; neither survives an exec.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// Sends one message, with a descriptor or without.
pub fn send(
    socket: BorrowedFd<'_>,
    message: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let fds: Vec<RawFd> = fd.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let parts = [IoSlice::new(message)];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &parts,
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
}

/// Receives one message into `buffer`: its length (0 once the other end is closed) and the
/// descriptor that came with it. A message that does not fit is an error.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut control = nix::cmsg_space!([RawFd; 4]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut received = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            // SAFETY: the kernel has just made these descriptors for this process, and nothing
            // else knows them.
            received.extend(
                fds.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    let length = message.bytes;
    Ok((length, received.into_iter().next()))
}

/// Lets a descriptor survive the next exec. Only while nothing else can start processes.
pub fn keep_over_exec(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop)
}

/// Takes over a descriptor that this process inherited under a known number. None if no such
/// descriptor is open.
pub fn adopt(number: RawFd) -> Option<OwnedFd> {
    if number < 3 {
        return None;
    }
    // SAFETY: F_GETFD only asks whether the number is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: the number is open (just asked), and the caller says that it was inherited for
    // this process to own; it is taken over once, at the start of the process.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    Some(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    #[test]
    fn messages_and_descriptors_arrive_whole() {
        let (a, b) = pair().expect("a pair");
        let file = File::open("/proc/self/status").expect("a file");
        send(a.as_fd(), b"one", Some(file.as_fd())).expect("sent");
        send(a.as_fd(), b"two", None).expect("sent");
        let mut buffer = [0; 16];
        let (length, fd) = receive(b.as_fd(), &mut buffer).expect("received");
        assert_eq!(&buffer[..length], b"one");
        let mut text = String::new();
        let mut file = File::from(fd.expect("a descriptor"));
        file.read_to_string(&mut text).expect("read");
        assert!(text.contains("Pid:"));
        let (length, fd) = receive(b.as_fd(), &mut buffer).expect("received");
        assert_eq!((&buffer[..length], fd.is_none()), (&b"two"[..], true));
        send(a.as_fd(), &[0; 17], None).expect("sent");
        assert_eq!(receive(b.as_fd(), &mut buffer).err(), Some(Errno::EMSGSIZE));
        drop(a);
        assert_eq!(receive(b.as_fd(), &mut buffer).expect("an end").0, 0);
    }
}
