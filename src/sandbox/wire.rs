//! What a launcher and its sandbox say to each other.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{End, Owners};
use crate::sys::call::CallError;
use crate::sys::socket;

/// `argv[0]` of the sandbox's own processes.
pub(super) const ROLE: &str = "pybuild-sandbox";

/// What the sandbox tells its launcher.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// There is a pid 1; a descriptor for it comes with this (`pidfd_open(2)`). It is readable once
    /// pid 1 is dead, and with it everyone in its pid namespace.
    Init,
    /// The command has a terminal of its own; the other end comes with this.
    Terminal,
    /// How it ended. The first one counts.
    Over(Report),
}

/// How it ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// A step of the plan failed, and nothing was run.
    Failed {
        /// Its place in the plan.
        step: usize,
        failure: Failure,
    },
    /// The command came to an end, and with it everything else.
    Ended {
        end: End,
        /// Of all processes that have ended.
        cpu: Duration,
        /// Bytes; of all processes at once where they were seen, at least of the biggest.
        peak_memory: u64,
        owners: Owners,
    },
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// A system call.
    #[error("{call}({args}): {}", Errno::from_raw(*errno).desc())]
    Call {
        /// The call's name.
        call: String,
        /// Its arguments.
        args: String,
        /// The kernel's answer.
        errno: i32,
    },
    /// What is to be executed is not there.
    #[error("{program}: not found in {path}")]
    NoProgram {
        /// As it was asked for.
        program: String,
        /// Where it was looked for.
        path: String,
    },
    /// It is there, but what its first line or its ELF header names as interpreter is not.
    #[error("{program}: its interpreter is not there")]
    NoInterpreter {
        /// The file that was found.
        program: String,
    },
    /// Something else, in words.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The kernel's answer, if it was a system call that failed.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Call { errno, .. } => Some(Errno::from_raw(*errno)),
            Self::NoProgram { .. } | Self::NoInterpreter { .. } | Self::Other(_) => None,
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let CallError { call, args, errno } = error;
        Self::Call {
            call: call.to_owned(),
            args,
            errno: errno as i32,
        }
    }
}

impl Report {
    /// Tells the launcher. If it is gone there is nobody left to tell.
    pub(super) fn send(self, to: BorrowedFd<'_>) {
        let _ = Message::Over(self).send(to, None);
    }
}

impl Message {
    /// Tells the launcher, with a descriptor.
    pub(super) fn send(
        &self,
        to: BorrowedFd<'_>,
        with: Option<BorrowedFd<'_>>,
    ) -> Result<(), CallError> {
        let bytes = serde_json::to_vec(self).expect("a message is plain data");
        let fds: Vec<_> = with.iter().map(BorrowedFd::as_raw_fd).collect();
        socket::send(to, &bytes, &fds)
    }
}
