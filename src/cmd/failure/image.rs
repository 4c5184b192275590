//! What the edge knows about stacks made of images: the exit code, and what to do.

use super::UNTRUSTED;
use crate::model::StackName;
use crate::net::{NetError, Trouble};
use crate::rootfs::apt::{AptError, Cause};
use crate::rootfs::base::BaseError;
use crate::rootfs::image::ImageError;
use crate::rootfs::oci::{AccessError, OciError};
use crate::sandbox::End;
use crate::ui::{ExitKind, Failure};

/// A stack that cannot be made of what others made.
pub(super) fn base(stack: &StackName, error: BaseError) -> Failure {
    let said = format!("the stack {stack} cannot be made: {error}");
    match error {
        BaseError::Access(error) => access(said, &error),
        BaseError::Oci(error) => oci(said, error),
        BaseError::Net(error) => net(said, error),
        BaseError::Image(error) => image(said, error),
        BaseError::Archive { source, .. } if source.is_host() => source.into(),
        BaseError::Drift(_) => Failure::new(ExitKind::Found, said),
        BaseError::Archive { .. } => Failure::new(ExitKind::BuildFailed, said),
        BaseError::Apt(error) => apt(said, error),
        BaseError::Fs(error) => error.into(),
        BaseError::Store(error) => error.into(),
        BaseError::Interrupted(error) => error.into(),
    }
}

/// An image that cannot be unpacked.
pub(super) fn image(said: String, error: ImageError) -> Failure {
    match error {
        ImageError::Fs(error) => error.into(),
        ImageError::Store(error) => error.into(),
        ImageError::Layer { source, .. } | ImageError::Base(source) if source.is_host() => {
            source.into()
        }
        ImageError::DiffId { .. } => Failure::new(ExitKind::BuildFailed, said).hint(UNTRUSTED),
        ImageError::Empty | ImageError::Layer { .. } | ImageError::Base(_) => {
            Failure::new(ExitKind::BuildFailed, said)
        }
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        access(error.to_string(), &error)
    }
}

fn access(said: String, error: &AccessError) -> Failure {
    let hint = match error {
        AccessError::Interrupted(error) => return (*error).into(),
        AccessError::Fs(_) => "see that the file is there and that you may read it",
        AccessError::File { .. } | AccessError::Credential { .. } => {
            "`docker login` and `podman login` write such files"
        }
        AccessError::Value { .. } => "set it otherwise, or not at all",
        AccessError::Helper { .. } => {
            "`docker login` asks the same program; REGISTRY_AUTH_FILE names a file to use instead"
        }
    };
    Failure::new(ExitKind::Usage, said).hint(hint)
}

pub(super) fn oci(said: String, error: OciError) -> Failure {
    let (denied, missing, passing) = (error.is_denied(), error.is_not_found(), error.is_passing());
    match error {
        OciError::Fs(error) => error.into(),
        OciError::Store(error) => error.into(),
        OciError::Interrupted(error) => error.into(),
        OciError::Archive { source, .. } if source.is_host() => (*source).into(),
        // Some other place may be on its way back while this one says no.
        _ if passing => Failure::new(ExitKind::TryAgain, said).hint(
            "run the same command again to go on; PYBUILD_REGISTRY_MIRRORS names mirrors that are \
             asked first",
        ),
        _ if missing => Failure::new(ExitKind::Usage, said)
            .hint("see that the manifest names an image that is there"),
        _ if denied => Failure::new(ExitKind::Usage, said).hint(
            "`docker login REGISTRY` or `podman login REGISTRY` gives credentials; they are read \
             from REGISTRY_AUTH_FILE, ~/.docker/config.json, or podman's auth.json",
        ),
        OciError::Mirror(error) => super::mirror::taking_as(said, *error),
        // As with another digest: whoever gives it today will give it tomorrow.
        OciError::Layer { source, .. } if is_of_another_size(&source) => {
            Failure::new(ExitKind::BuildFailed, said).hint(UNTRUSTED)
        }
        OciError::Net(error) => net(said, *error),
        OciError::Layer { source, .. } => net(said, *source),
        OciError::Place { .. } | OciError::Which { .. } => Failure::new(ExitKind::Usage, said),
        OciError::Digest { .. } => Failure::new(ExitKind::BuildFailed, said).hint(UNTRUSTED),
        OciError::Unavailable { .. } | OciError::Document { .. } | OciError::Archive { .. } => {
            Failure::new(ExitKind::BuildFailed, said)
        }
    }
}

/// Whether somebody gave more or less than the blob that was asked for has.
fn is_of_another_size(error: &NetError) -> bool {
    let other = |trouble: &Trouble| matches!(trouble, Trouble::Size { .. } | Trouble::TooLong(_));
    match error {
        NetError::Failed { attempts, .. } => attempts.0.iter().any(|tried| other(&tried.trouble)),
        _ => false,
    }
}

fn net(said: String, error: NetError) -> Failure {
    match error {
        NetError::WrongDigest { .. } => Failure::new(ExitKind::BuildFailed, said).hint(UNTRUSTED),
        NetError::Failed { .. } | NetError::Client(_) | NetError::Stopped => {
            Failure::new(ExitKind::TryAgain, said).hint("run the same command again to go on")
        }
        error @ (NetError::Interrupted(_)
        | NetError::Store(_)
        | NetError::Full(_)
        | NetError::ReadOnly(_)) => error.into(),
    }
}

fn apt(said: String, error: AptError) -> Failure {
    match error {
        AptError::Sandbox(error) => error.into(),
        AptError::Fs(error) => error.into(),
        AptError::Store(error) => error.into(),
        AptError::Drift(_) => Failure::new(ExitKind::Found, said),
        AptError::NoApt { .. } => {
            Failure::new(ExitKind::Usage, said).hint("take an image that has them, or one with apt")
        }
        AptError::Failed {
            cause, end, log, ..
        } => {
            let limited = matches!(end, End::TimedOut | End::OutOfMemory | End::TooMuchOutput);
            let (exit, hint) = match cause {
                _ if limited => (ExitKind::BuildFailed, None),
                Cause::Moved => (
                    ExitKind::Usage,
                    Some(
                        "the release's mirrors have moved: name those that still have it in a \
                         manifest of your own (--manifests DIR), as packages.sources = [\"deb \
                         http://MIRROR RELEASE main\"]; Debian keeps what is old in its \
                         archive, Ubuntu among its old releases, but for the long-term ones, which \
                         stay where they were",
                    ),
                ),
                Cause::Network => (
                    ExitKind::TryAgain,
                    Some(
                        "apt asks the mirrors of the image's own configuration; packages.sources \
                         in the manifest names others, http_proxy a proxy",
                    ),
                ),
                Cause::Unknown => (
                    ExitKind::Usage,
                    Some("see the names in the manifest's `packages`, and its sources"),
                ),
                Cause::Other => (ExitKind::BuildFailed, None),
            };
            let failure = Failure::new(exit, said).hint(format!("it printed last:\n{log}"));
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
    }
}
