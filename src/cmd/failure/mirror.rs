//! What the edge knows about mirrors of stacks, and about giving stacks on: the exit code, and what
//! to do.

use super::{UNTRUSTED, image};
use crate::cmd::mirrors;
use crate::model::StackName;
use crate::publish::PublishError;
use crate::rootfs::MirrorError;
use crate::rootfs::export::ExportError;
use crate::rootfs::oci::OciError;
use crate::ui::{ExitKind, Failure};

/// What to do about a mirror that does not hold together.
const AGAIN: &str = "`pybuild stack push` completes what is missing there";

/// A stack that cannot be taken from a mirror.
pub(super) fn taking(stack: &StackName, error: MirrorError) -> Failure {
    let said = format!("the stack {stack} cannot be taken from its mirror: {error}");
    taking_as(said, error)
}

/// The same, in other words.
pub(super) fn taking_as(said: String, error: MirrorError) -> Failure {
    match error {
        MirrorError::Place(error) => match mirrors::failure(error) {
            Ok(failure) => failure.of(said),
            Err(_) => Failure::new(ExitKind::TryAgain, said),
        },
        MirrorError::Read { source, .. } => match PublishError::from_reader(source) {
            Ok(error) => Failure::from(error).of(said),
            Err(_) => Failure::new(ExitKind::TryAgain, said),
        },
        MirrorError::Missing { .. } => Failure::new(ExitKind::BuildFailed, said).hint(AGAIN),
        MirrorError::Digest { .. } | MirrorError::Size { .. } | MirrorError::Packages { .. } => {
            Failure::new(ExitKind::BuildFailed, said).hint(UNTRUSTED)
        }
        MirrorError::Document { .. }
        | MirrorError::Other { .. }
        | MirrorError::Oci(OciError::Document { .. } | OciError::Which { .. }) => {
            Failure::new(ExitKind::BuildFailed, said)
                .hint("see that it is a target that `pybuild stack push` has put stacks to")
        }
        MirrorError::Oci(error) => image::oci(said, error),
        MirrorError::Image(error) => image::image(said, error),
        MirrorError::Fs(error) => error.into(),
        MirrorError::Store(error) => error.into(),
        MirrorError::Interrupted(error) => error.into(),
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Fs(error) => error.into(),
            ExportError::Interrupted(error) => error.into(),
            error @ ExportError::Layer { .. } => Self::new(ExitKind::BuildFailed, error)
                .hint("`pybuild stack verify` tells what of the stack is not as it was prepared"),
        }
    }
}
