//! Why a sandbox did not run its command to an end.

use std::io;

use super::op::Op;
use super::plan::PlanError;
use super::wire::Failure;
use crate::sys::call::CallError;
use crate::sys::interrupt::Interrupted;

/// Why a sandbox did not run its command to an end.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// What is asked for cannot be a sandbox.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// This host cannot sandbox.
    #[error("this host cannot sandbox: {gate}: {step}: {failure}")]
    Host {
        /// What stands in the way.
        gate: Gate,
        /// The step that failed on it.
        step: Box<Op>,
        /// How.
        failure: Failure,
    },
    /// A step on the way into the sandbox failed.
    #[error("{step}: {failure}")]
    Setup {
        /// The step.
        step: Box<Op>,
        /// Why.
        failure: Failure,
    },
    /// The command is not in the sandbox, or cannot be executed.
    #[error("the command cannot be executed: {0}")]
    Command(Failure),
    /// Someone asked for the work to stop; nothing of the sandbox is left.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The sandbox's own processes were killed by someone else: the kernel, out of memory, say.
    #[error("the sandbox ended without a word: {0}")]
    Died(std::process::ExitStatus),
    /// The launcher itself failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The sandbox's own executable cannot be started.
    #[error("{}: {source}", exe.display())]
    Start {
        /// The executable.
        exe: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What keeps a host from sandboxing. Each has a remedy of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Gate {
    /// The kernel was built without them.
    #[error("the kernel has no user namespaces")]
    NotBuilt,
    /// `user.max_user_namespaces` or one of its kin is used up or 0.
    #[error("no further namespace is allowed (user.max_user_namespaces)")]
    Maximum,
    /// `kernel.unprivileged_userns_clone` is 0.
    #[error("user namespaces are reserved for root (kernel.unprivileged_userns_clone)")]
    Sysctl,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1.
    #[error("AppArmor takes the rights within user namespaces away")]
    AppArmor,
    /// This process runs in a chroot, where the kernel allows no user namespace.
    #[error("user namespaces are not allowed in a chroot")]
    Chroot,
    /// A container's system call filter, or another security module.
    #[error("user namespaces are denied, by a container's system call filter or a security module")]
    Denied,
    /// A container that hides parts of `/proc` allows no fresh one.
    #[error("parts of /proc are hidden, as in a container, so that no fresh one can be mounted")]
    MaskedProc,
}
