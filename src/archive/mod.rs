//! Archives: taking apart those that others made, and making those that others check.
//!
//! Extraction ([`extract()`]) trusts nothing: each name is resolved by the kernel below a directory
//! descriptor, and what two readers could read in two ways is refused. Packing ([`pack()`]) gives
//! the same bytes for the same tree, on any host and with any number of threads. What is unpacked is
//! written down ([`mtree`]), so that it can be held against the disk later.

mod changeset;
mod codec;
mod contents;
mod examine;
mod extract;
mod format;
mod gzip;
mod header;
mod layer;
mod members;
pub mod mtree;
mod name;
mod pack;
mod pax;
mod pipe;
mod sizes;
mod tree;
mod walk;

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupted;

pub use changeset::{Applied, DeviceNode, Dropped, Merge, Owned, Ownership};
pub use codec::{Codec, decoder, interruptible};
pub use contents::contents;
pub use examine::{Entry, Examined, examine};
pub use extract::{Extract, Extracted, Limits, Trust, extract};
pub use layer::{Layer, Layered, Merged, PackLayer};
pub use members::Kind as EntryKind;
pub use name::shown;
pub use pack::{Pack, Packed, pack};
pub use sizes::Sizes;

/// Why an archive cannot be extracted or made.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The stream cannot be read or decompressed.
    #[error("the archive cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It is compressed in a way that is not supported.
    #[error("the archive is compressed with {0}, which is not supported")]
    Compression(&'static str),
    /// The stream ends before the archive does.
    #[error("the archive is cut short: it ends at byte {at}, before its end-of-archive mark")]
    Truncated {
        /// How many bytes of it there were, decompressed.
        at: u64,
    },
    /// It is not a tar archive, or one that readers would disagree on.
    #[error("the archive is malformed at byte {at}: {why}")]
    Malformed {
        /// Where in the decompressed stream the member begins.
        at: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// A member that must not be extracted.
    #[error("the archive's member `{member}` is refused: {why}")]
    Refused {
        /// Its name, what is not printable escaped, and cut if it is long.
        member: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More than there may be.
    #[error("the archive has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The compressed stream cannot be written.
    #[error("the archive cannot be written: {0}")]
    Write(#[source] io::Error),
    /// Something that no archive of a prefix should hold.
    #[error("{} is a device node, a pipe or a socket and cannot be packed", path.display())]
    Special {
        /// Where it is.
        path: PathBuf,
    },
    /// The tree was changed while it was packed.
    #[error("{} was changed while it was being packed", path.display())]
    Changed {
        /// What was changed.
        path: PathBuf,
    },
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl ArchiveError {
    /// An error of the stream, which may be the wish to stop (see [`interruptible`]).
    fn read(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        if let Some(interrupted) = inner {
            return Self::Interrupted(*interrupted);
        }
        // One that another thread has met (see `pipe`).
        error.downcast().unwrap_or_else(Self::Read)
    }

    /// Whether it is this host's doing, or somebody's wish, and not the archive's.
    pub fn is_host(&self) -> bool {
        matches!(self, Self::Fs(_) | Self::Interrupted(_))
    }

    /// Whether the disk, or the quota, is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Fs(error) => error.is_full(),
            Self::Write(error) => matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::ENOSPC | Errno::EDQUOT)
            ),
            _ => false,
        }
    }
}
