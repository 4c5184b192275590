//! The sandbox: what a build may see and do, as data; then as operations; then as deeds.
//!
//! [`SandboxSpec`] says what is wanted, [`plan()`] which operations make it true on a [`Host`], and
//! [`Launcher`] has them executed: it starts this executable again, which receives the plan by a
//! socket and turns step by step into pid 1 of the sandbox and the command in it.

mod bind;
mod bpf;
mod caller;
mod child;
mod copy;
pub mod doctor;
mod error;
mod exec;
mod fuse;
mod gate;
mod init;
mod launch;
mod names;
mod op;
mod overlay;
mod plan;
mod probe;
mod pty;
mod relay;
mod request;
mod running;
mod seccomp;
pub mod spec;
mod streams;
mod supervisor;
pub mod terminal;
mod wire;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::interrupt::Interrupt;

pub use child::become_child_if_asked;
pub use error::{Gate, SandboxError};
pub use launch::Launcher;
pub use names::host_names;
pub use op::{Capability, FileSystem, Namespace, Op};
pub use plan::{PlanError, plan};
pub use probe::{Host, HostError, Rooting};
pub use spec::*;
pub use streams::{Input, Output};
pub use wire::Failure;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The command ended with this status.
    Exited(i32),
    /// The command was killed by this signal.
    Killed(i32),
    /// It took longer than its limit.
    TimedOut,
    /// Its processes used more memory than their limit.
    OutOfMemory,
    /// It printed more than its limit.
    TooMuchOutput,
}

impl fmt::Display for End {
    /// As a predicate: `make` + `failed with exit code 2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(0) => f.write_str("succeeded"),
            Self::Exited(code) => write!(f, "failed with exit code {code}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
            Self::TimedOut => f.write_str("ran out of time"),
            Self::OutOfMemory => f.write_str("used more memory than it may"),
            Self::TooMuchOutput => f.write_str("printed more than it may"),
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Wall-clock time, the sandbox's start and end included.
    pub wall: Duration,
    /// Processor time of all its processes that ended before it did.
    pub cpu: Duration,
    /// Bytes of memory, as far as they were seen.
    pub peak_memory: Option<u64>,
    /// What became of what one uid cannot do.
    pub owners: Owners,
}

/// What became of changes of owner, device nodes and capabilities, which one uid cannot make, and
/// which [`Privileges::Prepare`] says to have been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owners {
    /// Each is written on its file: [`crate::model::Stamp`].
    Recorded,
    /// So many were not.
    Partly(u64),
    /// None is: the kernel cannot hand such calls to another process, or something around this one
    /// does not let it.
    Pretended,
    /// None was said to have been made.
    Denied,
}

/// Runs the command of `spec` in its sandbox and waits until nothing of it is left.
///
/// `main` must call [`become_child_if_asked`] first. An interrupt ends the sandbox at once and is
/// [`SandboxError::Interrupted`]; a host that cannot sandbox is [`SandboxError::Host`].
pub fn run(
    spec: &SandboxSpec,
    host: &Host,
    input: Input,
    output: Output<'_>,
    interrupt: &Interrupt,
) -> Result<Outcome, SandboxError> {
    Launcher::default().run(spec, host, input, output, interrupt)
}
