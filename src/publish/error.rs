//! Why something could not be published or read back, as far as the edge must tell it apart.

use std::io;
use std::time::Duration;

use crate::model::{Elapsed, Sha256};
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupted;

/// Why something could not be published or read back.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Something else is there.
    #[error("{target}{key} is there already with other bytes{}", theirs.map(|theirs| format!(" (SHA-256 {theirs}, not {ours})")).unwrap_or_default())]
    Exists {
        /// The target.
        target: String,
        /// Its key.
        key: String,
        /// The digest of what is there, where it is known.
        theirs: Option<Sha256>,
        /// The digest of what was to be put there.
        ours: Sha256,
    },
    /// The text cannot be a key.
    #[error("{key:?} cannot be the key of an object: {why}")]
    Key {
        /// The text.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The target is only to be read.
    #[error("{target} can only be read, nothing can be put there")]
    ReadOnly {
        /// The target.
        target: String,
    },
    /// More came than a small document may have.
    #[error("{target}{key} has more than {limit} bytes")]
    TooLong {
        /// The target.
        target: String,
        /// Its key.
        key: String,
        /// What it may have.
        limit: u64,
    },
    /// What was read, or what arrived, is not what it should be.
    #[error("{what} was corrupted on the way: it has SHA-256 {found}, not {expected}")]
    Corrupted {
        /// The object or the file.
        what: String,
        /// What it should have.
        expected: Sha256,
        /// What it has.
        found: Sha256,
    },
    /// What is read is not any more what it was when reading began.
    #[error("{target}{key} was changed or removed while it was read")]
    Changed {
        /// The target.
        target: String,
        /// Its key.
        key: String,
    },
    /// No credentials are to be found.
    #[error("no credentials for {target}: {looked}")]
    NoCredentials {
        /// The target.
        target: String,
        /// Where they were looked for.
        looked: String,
    },
    /// The place that credentials come from does not give any.
    #[error("no credentials from {source_name}: {why}")]
    CredentialSource {
        /// The place: `credential_process`, `the instance's metadata`.
        source_name: String,
        /// What is wrong there.
        why: String,
    },
    /// The credentials were good once.
    #[error("the credentials for {target} have expired")]
    Expired {
        /// The target.
        target: String,
    },
    /// The store does not know the credentials, or their secret is another.
    #[error("the credentials for {target} are not accepted: {why}")]
    Refused {
        /// The target.
        target: String,
        /// The store's code and words.
        why: String,
    },
    /// The credentials are good, but not for this.
    #[error("access denied: {what}: {why}")]
    Denied {
        /// What was asked for: `PUT s3://bucket/key`.
        what: String,
        /// The store's code and words.
        why: String,
    },
    /// There is no such bucket.
    #[error("there is no bucket `{bucket}` at {endpoint}")]
    NoBucket {
        /// The bucket.
        bucket: String,
        /// Where it was looked for.
        endpoint: String,
    },
    /// The bucket is in another region.
    #[error("the bucket `{bucket}` is not in the region {asked}{}", found.as_ref().map(|found| format!(" but in {found}")).unwrap_or_default())]
    Region {
        /// The bucket.
        bucket: String,
        /// The region that was asked.
        asked: String,
        /// Where it is, if the store says so.
        found: Option<String>,
    },
    /// This host's clock and the store's differ too much for signatures.
    #[error("this host's clock and the one of {target} differ{}", apart.map(|apart| format!(" by {}", Elapsed(apart))).unwrap_or_default())]
    ClockSkew {
        /// The target.
        target: String,
        /// By how much, if the store tells its time.
        apart: Option<Duration>,
    },
    /// The store cannot be reached, or not for long enough.
    #[error("{what} failed: {why}{}", tried(*tries))]
    Unreachable {
        /// What was asked for: `PUT s3://bucket/key`.
        what: String,
        /// How the last try failed.
        why: String,
        /// How often it was tried.
        tries: u32,
    },
    /// The store is busy or broken.
    #[error("{what} failed: the store answered {why}{}", tried(*tries))]
    Busy {
        /// What was asked for.
        what: String,
        /// The store's status, code and words.
        why: String,
        /// How often it was tried.
        tries: u32,
    },
    /// The store refuses for another reason.
    #[error("{what} failed: the store answered {why}")]
    Rejected {
        /// What was asked for.
        what: String,
        /// The store's status, code and words.
        why: String,
    },
    /// What the store says makes no sense.
    #[error("{what} failed: the store answered nonsense: {why}")]
    Protocol {
        /// What was asked for.
        what: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Client(String),
    /// A file operation of this host failed.
    #[error(transparent)]
    Local(#[from] FsError),
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

fn tried(tries: u32) -> String {
    if tries > 1 {
        format!(" (tried {tries} times)")
    } else {
        String::new()
    }
}

impl PublishError {
    /// Whether the same may go well at another time: the network, a busy store.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Busy { .. } | Self::Changed { .. }
        )
    }

    /// The error inside what a remote's reader failed with; an error of another reader comes back.
    pub fn from_reader(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Self>()
    }
}
