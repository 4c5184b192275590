//! The command's standard streams, as the launcher hands them to the sandbox.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::error::SandboxError;
use super::spec::Terminal;
use crate::sys::call::CallError;
use crate::sys::{mount, socket};

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
    null: Option<OwnedFd>,
    /// Which are of `null`.
    nothing: [bool; 3],
    pipe: Option<(OwnedFd, OwnedFd)>,
}

impl Stdio3 {
    /// Those that are going to be the sandbox's own terminal are nothing here.
    pub(super) fn open(
        input: Input,
        output: &Output<'_>,
        terminal: Option<&Terminal>,
    ) -> Result<Self, SandboxError> {
        let at_terminal = terminal.map_or([false; 3], |at| [at.input, at.output, at.errors]);
        let mut nothing = at_terminal;
        nothing[0] |= input == Input::Null;
        let null = nothing.contains(&true).then(mount::open_null).transpose()?;
        let pipe = match output {
            Output::Inherit => None,
            Output::Lines(_) => Some(
                nix::unistd::pipe2(OFlag::O_CLOEXEC)
                    .map_err(CallError::new("pipe2", "O_CLOEXEC"))?,
            ),
        };
        Ok(Self {
            null,
            nothing,
            pipe,
        })
    }

    pub(super) fn send(&self, to: BorrowedFd<'_>, message: &[u8]) -> Result<(), CallError> {
        let Self {
            null,
            nothing,
            pipe,
        } = self;
        let write = pipe.as_ref().map(|(_, write)| write.as_raw_fd());
        let mut fds = [0, write.unwrap_or(1), write.unwrap_or(2)];
        for (fd, nothing) in fds.iter_mut().zip(nothing) {
            if let Some(null) = null.as_ref().filter(|_| *nothing) {
                *fd = null.as_raw_fd();
            }
        }
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
