//! Why a stack cannot be taken from a mirror, as far as the edge must tell it apart.

use std::error::Error;
use std::io;

use crate::model::{Arch, Sha256, StackName};
use crate::rootfs::image::ImageError;
use crate::rootfs::oci::OciError;
use crate::store::StoreError;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupted;

/// What the place itself says: only whoever opened it knows more.
pub type PlaceError = Box<dyn Error + Send + Sync>;

/// Why a stack cannot be taken from a mirror.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// It cannot be opened or asked.
    #[error("{0}")]
    Place(PlaceError),
    /// Reading ended with an error.
    #[error("cannot read {what}: {source}")]
    Read {
        /// The object.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// Something that another object names is not there.
    #[error("{what} is not there, though {by} names it")]
    Missing {
        /// What.
        what: String,
        /// What names it.
        by: &'static str,
    },
    /// An object is not what it is named.
    #[error("{what} has SHA-256 {found}, not {expected}")]
    Digest {
        /// The object.
        what: String,
        /// What it should have.
        expected: Sha256,
        /// What it has.
        found: Sha256,
    },
    /// An object is not as large as it is said to be, or larger than any.
    #[error("{what} does not have the {expected} bytes that it should have at most")]
    Size {
        /// The object.
        what: String,
        /// What it should have.
        expected: u64,
    },
    /// A document is none.
    #[error("{what} is not what `pybuild stack push` writes: {why}")]
    Document {
        /// Which.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A document of an image is none.
    #[error(transparent)]
    Oci(OciError),
    /// It is of something else.
    #[error("{what} is of {stack} for {arch}")]
    Other {
        /// Which document.
        what: String,
        /// Which stack it is of.
        stack: StackName,
        /// For which machines.
        arch: Arch,
    },
    /// The images do not have the packages that the record says.
    #[error("{what} says that the {kind} image has {claimed}, but it has {found}")]
    Packages {
        /// The record.
        what: String,
        /// Which image.
        kind: &'static str,
        /// What of the record's list the image does not have.
        claimed: String,
        /// What the image has instead.
        found: String,
    },
    /// An image cannot be unpacked.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<OciError> for MirrorError {
    fn from(error: OciError) -> Self {
        match error {
            OciError::Mirror(error) => *error,
            other => Self::Oci(other),
        }
    }
}
