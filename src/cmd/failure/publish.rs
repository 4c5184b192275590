//! What the edge knows about publishing's errors: the exit code, and what to do.

use crate::publish::{PublishError, SettingsError};
use crate::ui::{ExitKind, Failure};

/// What credentials must be good for.
const RIGHTS: &str = "the credentials need s3:GetObject, s3:PutObject, s3:ListBucket and \
                      s3:AbortMultipartUpload on the bucket and the prefix";
/// What holds whenever something failed on the way.
const KEPT: &str = "run the same command again: what has been built by then is kept in the store";

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        let hint = match &error {
            SettingsError::Fs(_) => "see that the file is there and that you may read it",
            SettingsError::EnvFile { .. } => {
                "the format is that of Docker's --env-file: KEY=value without quotes, a bare KEY \
                 forwards what the environment has, # begins a comment"
            }
            SettingsError::Config { .. } => "--target and --upstream say it for one command",
            SettingsError::Target { .. } => {
                "a target is s3://BUCKET/PREFIX, a directory, or an https:// address to read from"
            }
            SettingsError::Value { .. } => "set it otherwise, or not at all",
            SettingsError::HalfOfAKey { .. } => {
                "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither"
            }
            SettingsError::Profile { .. } => {
                "AWS_PROFILE names a profile of ~/.aws/config or ~/.aws/credentials"
            }
        };
        Self::new(ExitKind::Usage, error).hint(hint)
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let (exit, hint) = match error {
            PublishError::Interrupted(error) => return error.into(),
            PublishError::Local(error) => {
                let hint = if error.is_full() {
                    "make room on that file system"
                } else {
                    "choose a target that you may write to with --target"
                };
                let failure = Self::new(ExitKind::TryAgain, error);
                return failure.hint(hint).hint(KEPT);
            }
            PublishError::Exists { .. } => (
                ExitKind::BuildFailed,
                "--overwrite replaces it, --name publishes under another name",
            ),
            PublishError::Key { .. } => (ExitKind::Usage, "choose another --name"),
            PublishError::ReadOnly { .. } => (
                ExitKind::Usage,
                "publish to s3://BUCKET/PREFIX or a directory",
            ),
            PublishError::TooLong { .. } => (
                ExitKind::BuildFailed,
                "it is no artifact's: remove it, or choose another --target",
            ),
            PublishError::NoCredentials { .. } | PublishError::CredentialSource { .. } => (
                ExitKind::Usage,
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment or in \
                 --env-file, or AWS_PROFILE",
            ),
            PublishError::Expired { .. } => (
                ExitKind::Usage,
                "renew them (aws sso login, or a new AWS_SESSION_TOKEN) and run the same command \
                 again",
            ),
            PublishError::Refused { .. } => (
                ExitKind::Usage,
                "see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL",
            ),
            PublishError::Denied { .. } => (ExitKind::Usage, RIGHTS),
            PublishError::NoBucket { .. } => (
                ExitKind::Usage,
                "see S3_BUCKET, S3_REGION and AWS_ENDPOINT_URL; pybuild makes no buckets",
            ),
            PublishError::Region { .. } => (ExitKind::Usage, "set S3_REGION"),
            PublishError::ClockSkew { .. } => (ExitKind::Usage, "set this host's clock"),
            PublishError::Client(_) => (ExitKind::Usage, "see SSL_CERT_FILE and HTTPS_PROXY"),
            PublishError::Corrupted { .. }
            | PublishError::Changed { .. }
            | PublishError::Unreachable { .. }
            | PublishError::Busy { .. }
            | PublishError::Protocol { .. }
            | PublishError::Rejected { .. } => (ExitKind::TryAgain, KEPT),
        };
        Self::new(exit, error).hint(hint)
    }
}
