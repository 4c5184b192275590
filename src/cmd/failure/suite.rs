//! What the edge knows about tests that cannot be run: what to do.

use crate::suite::SuiteError;
use crate::ui::{ExitKind, Failure};

impl From<SuiteError> for Failure {
    fn from(error: SuiteError) -> Self {
        match error {
            SuiteError::Sandbox(error) => error.into(),
            SuiteError::Fs(error) => error.into(),
            SuiteError::Store(error) => error.into(),
            SuiteError::List { ref tail, .. } => {
                let shown = tail.iter().filter(|line| !line.is_empty());
                let last: Vec<&str> = shown.map(String::as_str).collect();
                let last = last[last.len().saturating_sub(10)..].join("\n");
                let hint = format!("it printed last:\n{last}");
                let failure = Self::new(ExitKind::BuildFailed, error);
                if last.is_empty() {
                    failure
                } else {
                    failure.hint(hint)
                }
            }
        }
    }
}
