//! What it means when S3 says no. Pure.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::publish::error::PublishError;
use crate::publish::settings::S3Settings;

/// An answer other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// S3's word for it; empty where there was no document.
    pub(super) code: String,
    pub(super) message: String,
    /// Where the bucket is, if that was said.
    pub(super) region: Option<String>,
    /// The store's time.
    pub(super) date: Option<SystemTime>,
    /// How long the store asks to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// How often it was asked.
    pub(super) tries: u32,
}

/// What kind of no it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum No {
    /// There is no such object.
    Absent,
    Bucket,
    /// There is no such upload, or no more.
    Upload,
    /// Something is there, or what is there has changed.
    Precondition,
    /// The store does not know what was asked for.
    Unknown,
    Expired,
    Credentials,
    ClockSkew,
    Region,
    Denied,
    /// What arrived is not what was sent.
    Corrupted,
    /// A part is not there, or another.
    Part,
    Busy,
    Other,
}

impl No {
    /// Whether it may be asked again.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::Busy | Self::Corrupted)
    }
}

/// The document that comes with a refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Document {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) region: Option<String>,
}

impl Refusal {
    pub(super) fn no(&self) -> No {
        match (self.code.as_str(), self.status) {
            ("NoSuchBucket", _) => No::Bucket,
            ("NoSuchUpload", _) => No::Upload,
            ("InvalidPart" | "InvalidPartOrder", _) => No::Part,
            ("PreconditionFailed", _) | (_, 412) => No::Precondition,
            ("NotImplemented", _) | (_, 501) => No::Unknown,
            ("ExpiredToken" | "TokenRefreshRequired" | "ExpiredTokenException", _) => No::Expired,
            (
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "InvalidToken"
                | "InvalidClientTokenId"
                | "UnrecognizedClientException"
                | "InvalidSecurity"
                | "NotSignedUp",
                _,
            ) => No::Credentials,
            ("RequestTimeTooSkewed" | "RequestExpired", _) => No::ClockSkew,
            (
                "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException"
                | "PermanentRedirect"
                | "TemporaryRedirect"
                | "Redirect",
                _,
            )
            | (_, 301 | 302 | 307 | 308) => No::Region,
            (
                "BadDigest"
                | "XAmzContentSHA256Mismatch"
                | "XAmzContentChecksumMismatch"
                | "IncompleteBody",
                _,
            ) => No::Corrupted,
            (
                "InternalError"
                | "SlowDown"
                | "ServiceUnavailable"
                | "Throttling"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                | "RequestTimeout"
                | "RequestThrottled"
                | "ConditionalRequestConflict"
                | "OperationAborted",
                _,
            )
            | (_, 408 | 425 | 429 | 500 | 502..=504) => No::Busy,
            (_, 404) => No::Absent,
            (_, 401 | 403) => No::Denied,
            _ => No::Other,
        }
    }

    /// The error that it comes to.
    pub(super) fn into_error(
        self,
        what: String,
        target: &str,
        bucket: &str,
        settings: &S3Settings,
    ) -> PublishError {
        let no = self.no();
        let why = self.words();
        let Self {
            region,
            date,
            tries,
            status: _, // is part of the words, as are those two
            code: _,
            message: _,
            retry_after: _, // has been heeded
        } = self;
        let target = target.to_owned();
        let bucket = bucket.to_owned();
        match no {
            No::Bucket => PublishError::NoBucket {
                bucket,
                endpoint: settings
                    .endpoint
                    .as_ref()
                    .map_or_else(|| "AWS".to_owned(), |url| crate::net::redact(url.as_str())),
            },
            No::Expired => PublishError::Expired { target },
            No::Credentials => PublishError::Refused { target, why },
            No::ClockSkew => PublishError::ClockSkew {
                target,
                apart: date.map(|date| apart(date, SystemTime::now())),
            },
            No::Region => PublishError::Region {
                bucket,
                asked: settings.region.clone(),
                found: region,
            },
            No::Denied => PublishError::Denied { what, why },
            No::Busy | No::Corrupted => PublishError::Busy { what, why, tries },
            No::Absent | No::Upload | No::Precondition | No::Unknown | No::Part | No::Other => {
                PublishError::Rejected { what, why }
            }
        }
    }

    /// Status, code and message in a line. The message of a wrong signature quotes what was
    /// signed, and some stores put the key's id into messages: only the words up to there.
    fn words(&self) -> String {
        let mut words = self.status.to_string();
        if !self.code.is_empty() {
            words.push(' ');
            words.push_str(&self.code);
        }
        if self.no() != No::Credentials && !self.message.is_empty() {
            let line = self.message.lines().next().unwrap_or_default();
            words.push_str(": ");
            words.extend(line.chars().filter(|c| !c.is_control()).take(200));
        }
        words
    }
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other)
        .unwrap_or_else(|error| error.duration())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> Refusal {
        Refusal {
            status,
            code: code.to_owned(),
            message: "canary".to_owned(),
            region: None,
            date: None,
            retry_after: None,
            tries: 1,
        }
    }

    #[test]
    fn every_no_is_told_apart() {
        let table = [
            (404, "NoSuchKey", No::Absent),
            (404, "", No::Absent),
            (404, "NoSuchBucket", No::Bucket),
            (404, "NoSuchUpload", No::Upload),
            (412, "PreconditionFailed", No::Precondition),
            (412, "", No::Precondition),
            (409, "ConditionalRequestConflict", No::Busy),
            (409, "BucketAlreadyExists", No::Other),
            (400, "ExpiredToken", No::Expired),
            (403, "InvalidAccessKeyId", No::Credentials),
            (403, "SignatureDoesNotMatch", No::Credentials),
            (403, "RequestTimeTooSkewed", No::ClockSkew),
            (403, "AccessDenied", No::Denied),
            (403, "", No::Denied),
            (301, "", No::Region),
            (400, "AuthorizationHeaderMalformed", No::Region),
            (400, "BadDigest", No::Corrupted),
            (400, "RequestTimeout", No::Busy),
            (503, "SlowDown", No::Busy),
            (503, "", No::Busy),
            (500, "InternalError", No::Busy),
            (200, "InternalError", No::Busy),
            (429, "", No::Busy),
            (501, "NotImplemented", No::Unknown),
            (400, "InvalidPart", No::Part),
            (400, "InvalidArgument", No::Other),
        ];
        for (status, code, no) in table {
            assert_eq!(refusal(status, code).no(), no, "{status} {code}");
            let passes = matches!(no, No::Busy | No::Corrupted);
            assert_eq!(no.may_pass(), passes, "{status} {code}");
        }
    }

    #[test]
    fn what_was_signed_is_not_told() {
        let words = refusal(403, "SignatureDoesNotMatch").words();
        assert_eq!(words, "403 SignatureDoesNotMatch");
        assert_eq!(refusal(400, "Bad").words(), "400 Bad: canary");
    }
}
