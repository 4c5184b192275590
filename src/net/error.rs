//! Why something could not be downloaded, told of the whole and of each URL.

use std::fmt;

use super::Trouble;
use crate::model::Sha256;
use crate::store::StoreError;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupted;

/// What became of one URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The URL, without credentials.
    pub url: String,
    /// How often it was tried.
    pub tries: u32,
    /// How the last try failed.
    pub trouble: Trouble,
}

/// The attempts at one thing, in order of preference; prints one to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempts(pub Vec<Attempt>);

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(": no URL is known for it");
        }
        for Attempt {
            url,
            tries,
            trouble,
        } in &self.0
        {
            write!(f, "\n  {url} {trouble}")?;
            if *tries > 1 {
                write!(f, " (tried {tries} times)")?;
            }
        }
        Ok(())
    }
}

/// Why something could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No URL gave it.
    #[error("cannot download {what}{attempts}")]
    Failed {
        /// What was wanted.
        what: String,
        /// What became of each URL.
        attempts: Attempts,
    },
    /// At least one URL gave something else, and none gave the right thing.
    #[error("cannot download {what} with SHA-256 {expected}{attempts}")]
    WrongDigest {
        /// What was wanted.
        what: String,
        /// Its digest.
        expected: Sha256,
        /// What became of each URL.
        attempts: Attempts,
    },
    /// The store's disk, or the quota, is full.
    #[error("no space is left in the store: {0}")]
    Full(#[source] FsError),
    /// The store cannot be written to.
    #[error("the store cannot be written to: {0}")]
    ReadOnly(#[source] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(StoreError),
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Client(String),
    /// Another download of the same lot failed, and that is the error to tell.
    #[error("stopped, since another download failed")]
    Stopped,
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl NetError {
    /// Whether each URL that answered said that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        let gone = |attempt: &Attempt| {
            matches!(
                attempt.trouble,
                Trouble::Status {
                    code: 404 | 410,
                    ..
                }
            )
        };
        match self {
            Self::Failed { attempts, .. } => !attempts.0.is_empty() && attempts.0.iter().all(gone),
            _ => false,
        }
    }
}

impl From<FsError> for NetError {
    fn from(error: FsError) -> Self {
        if error.is_full() {
            Self::Full(error)
        } else if error.is_read_only() {
            Self::ReadOnly(error)
        } else {
            Self::Store(error.into())
        }
    }
}

impl From<StoreError> for NetError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fs(error) => error.into(),
            StoreError::Interrupted(interrupted) => Self::Interrupted(interrupted),
            StoreError::Layout { .. } => Self::Store(error),
        }
    }
}
