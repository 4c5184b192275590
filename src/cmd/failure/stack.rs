//! What the edge knows about the stacks of a store: the exit code, and what to do.

use crate::archive::mtree::ScanError;
use crate::rootfs::MergedError;
use crate::rootfs::removal::RemovalError;
use crate::ui::{ExitKind, Failure};

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Fs(error) => error.into(),
            ScanError::Interrupted(error) => error.into(),
            error @ ScanError::Changed(_) => Self::new(ExitKind::TryAgain, error)
                .hint("nothing should change there: see who does, and run the same command again"),
        }
    }
}

impl From<RemovalError> for Failure {
    fn from(error: RemovalError) -> Self {
        match error {
            RemovalError::Store(error) => error.into(),
            RemovalError::Scan(error) => error.into(),
            error @ (RemovalError::Used(_) | RemovalError::Busy) => {
                Self::new(ExitKind::TryAgain, error)
                    .hint("nothing was removed; run the same command again when it has ended")
            }
        }
    }
}

impl From<MergedError> for Failure {
    fn from(error: MergedError) -> Self {
        match error {
            MergedError::Fs(error) => error.into(),
            MergedError::Scan(error) => error.into(),
            error @ MergedError::Spoilt(_) => Self::new(ExitKind::Found, error)
                .hint("`pybuild stack verify` says what is wrong with it"),
        }
    }
}
