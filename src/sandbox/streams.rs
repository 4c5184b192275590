//! The command's standard streams, as the launcher hands them to the sandbox.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::error::SandboxError;
use crate::sys::call::CallError;
use crate::sys::socket;

/// The command's standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nothing: `/dev/null`.
    Null,
    /// That of this process.
    Inherit,
}

/// Where the command's standard output and standard error go.
pub enum Output<'a> {
    /// To those of this process. They are not counted then.
    Inherit,
    /// To this function, both in the order in which they were written, in pieces of any length.
    Lines(&'a mut (dyn FnMut(&[u8]) + Send)),
}

/// The three standard descriptors of the command, and the end of the pipe that is read here.
pub(super) struct Stdio3 {
    stdin: Option<OwnedFd>,
    pipe: Option<(OwnedFd, OwnedFd)>,
}

impl Stdio3 {
    pub(super) fn open(input: Input, output: &Output<'_>) -> Result<Self, SandboxError> {
        let stdin = match input {
            Input::Null => Some(OwnedFd::from(fs_open_null()?)),
            Input::Inherit => None,
        };
        let pipe = match output {
            Output::Inherit => None,
            Output::Lines(_) => Some(
                nix::unistd::pipe2(OFlag::O_CLOEXEC)
                    .map_err(CallError::new("pipe2", "O_CLOEXEC"))?,
            ),
        };
        Ok(Self { stdin, pipe })
    }

    pub(super) fn send(&self, to: BorrowedFd<'_>, message: &[u8]) -> Result<(), CallError> {
        let Self { stdin, pipe } = self;
        let write = pipe.as_ref().map(|(_, write)| write.as_raw_fd());
        let fds = [
            stdin.as_ref().map_or(0, AsRawFd::as_raw_fd),
            write.unwrap_or(1),
            write.unwrap_or(2),
        ];
        match socket::send(to, message, &fds) {
            // It has died already; how is told by what it has said, or its status.
            Err(error) if error.errno == Errno::EPIPE => Ok(()),
            result => result,
        }
    }

    /// Closes what only the sandbox is to hold, so that its end is seen here.
    pub(super) fn into_reader(self) -> Option<OwnedFd> {
        self.pipe.map(|(read, _)| read)
    }
}

fn fs_open_null() -> Result<File, CallError> {
    File::open("/dev/null").map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
        CallError::new("open", "/dev/null")(errno)
    })
}
