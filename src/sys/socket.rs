//! Messages and descriptors between a launcher and its sandbox.
#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

use super::call::CallError;

/// The bytes of a message and the descriptors that came with it.
pub type Message = (Vec<u8>, Vec<OwnedFd>);

/// Two connected stream sockets.
pub fn pair() -> Result<(OwnedFd, OwnedFd), CallError> {
    socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(CallError::new("socketpair", "AF_UNIX, SOCK_STREAM"))
}

/// Whether a descriptor is a connected Unix stream socket.
pub fn is_stream(fd: BorrowedFd<'_>) -> bool {
    use nix::sys::socket::{getpeername, getsockopt, sockopt};
    getsockopt(&fd, sockopt::SockType) == Ok(SockType::Stream)
        && getpeername::<nix::sys::socket::UnixAddr>(fd.as_raw_fd()).is_ok()
}

/// Sends a message: its length, then its bytes; the descriptors travel with the first of them.
pub fn send(to: BorrowedFd<'_>, message: &[u8], fds: &[RawFd]) -> Result<(), CallError> {
    let mut bytes = Vec::with_capacity(message.len() + 4);
    let length = u32::try_from(message.len()).map_err(|_| too_long(message.len()))?;
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(message);
    let rights = [ControlMessage::ScmRights(fds)];
    let mut control = if fds.is_empty() {
        &rights[..0]
    } else {
        &rights
    };
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        // MSG_NOSIGNAL: that the other side has died is an error here, not a signal.
        match sendmsg::<()>(
            to.as_raw_fd(),
            &[IoSlice::new(rest)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Ok(sent) => {
                rest = &rest[sent..];
                control = &[];
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(CallError::new("sendmsg", message.len())(errno)),
        }
    }
    Ok(())
}

fn too_long(length: usize) -> CallError {
    CallError::new("sendmsg", length)(Errno::EMSGSIZE)
}

/// Receives what [`send`] has sent; `None` if the other side is gone.
pub fn receive(from: BorrowedFd<'_>) -> Result<Option<Message>, CallError> {
    let mut fds = Vec::new();
    let mut header = [0; 4];
    if !fill(from, &mut header, &mut fds)? {
        return Ok(None);
    }
    let length = usize::try_from(u32::from_le_bytes(header)).expect("a 64-bit machine");
    let mut message = vec![0; length];
    if !fill(from, &mut message, &mut fds)? {
        return Ok(None);
    }
    Ok(Some((message, fds)))
}

/// Fills `buffer`; false if the other side is gone before it is full.
fn fill(
    from: BorrowedFd<'_>,
    mut buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<bool, CallError> {
    while !buffer.is_empty() {
        let mut space = nix::cmsg_space!([RawFd; 3]);
        let mut slices = [IoSliceMut::new(buffer)];
        let received = recvmsg::<()>(
            from.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        );
        let count = match received {
            Ok(message) => {
                for control in message.cmsgs().into_iter().flatten() {
                    if let ControlMessageOwned::ScmRights(raw) = control {
                        // SAFETY: the kernel has just made these descriptors for us alone.
                        fds.extend(raw.iter().map(|&fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                    }
                }
                message.bytes
            }
            Err(Errno::EINTR) => continue,
            Err(Errno::ECONNRESET) => return Ok(false),
            Err(errno) => return Err(CallError::new("recvmsg", buffer.len())(errno)),
        };
        if count == 0 {
            return Ok(false);
        }
        buffer = &mut buffer[count..];
    }
    Ok(true)
}
