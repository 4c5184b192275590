//! A system call that failed, printed as the call with its arguments.

use std::fmt;
use std::path::Path;

use nix::errno::Errno;

/// A system call that failed: which, with what, why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}({args}): {}", .errno.desc())]
pub struct CallError {
    /// The call's name in section 2 of the manual.
    pub call: &'static str,
    /// Its arguments, as far as they explain the failure.
    pub args: String,
    /// The kernel's answer.
    pub errno: Errno,
}

impl CallError {
    /// For `map_err`: names the call and its arguments.
    pub fn new<A: fmt::Display>(call: &'static str, args: A) -> impl FnOnce(Errno) -> Self {
        move |errno| Self {
            call,
            args: args.to_string(),
            errno,
        }
    }

    /// For `map_err`: names the call and the path it was tried on.
    pub fn path(call: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        Self::new(call, path.display())
    }
}
