//! What the edge knows about what goes wrong with scripts for bob-builder.

use crate::build::FailedStep;
use crate::formula::bob::ScriptError;
use crate::sandbox::End;
use crate::ui::{ExitKind, Failure};

impl From<ScriptError> for Failure {
    fn from(error: ScriptError) -> Self {
        match error {
            ScriptError::Fs(error) => Self::new(ExitKind::Usage, error)
                .hint("scripts are read by the user that builds run as"),
            error @ ScriptError::TooMuch { .. } => Self::new(ExitKind::Usage, error)
                .hint("give the directory that holds the scripts, and what they read, alone"),
            ScriptError::Missing { ref nearest, .. } => {
                let nearest = nearest.clone();
                let failure = Self::new(ExitKind::Usage, error);
                match nearest {
                    Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
                    None => failure.hint("a script is named by its path below --formulae DIR"),
                }
            }
            error @ ScriptError::Header { .. } => Self::new(ExitKind::Usage, error),
        }
    }
}

/// With which code a failed step ends the program: a script that a signal ended passes that on.
pub(super) fn exit(failed: &FailedStep) -> ExitKind {
    match failed.end {
        End::Killed(signal) if failed.what.is_script() => ExitKind::Signal(signal),
        _ => ExitKind::BuildFailed,
    }
}
