//! What is put to a target, and what a target says of what it has.

use std::fs::File;

use serde::{Deserialize, Serialize};

use crate::model::Sha256;

/// What to put.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A small document.
    Bytes(&'a [u8]),
    /// A file, which is streamed. What is sent must have this digest.
    File {
        /// The open file; where it stands does not matter.
        file: &'a File,
        /// How many bytes it has.
        size: u64,
        /// Its digest.
        digest: Sha256,
    },
}

impl Content<'_> {
    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }

    /// Its digest.
    pub fn digest(&self) -> Sha256 {
        match self {
            Self::Bytes(bytes) => Sha256::of(bytes),
            Self::File { digest, .. } => *digest,
        }
    }
}

/// What to do where something is already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The same bytes are fine, others are an error.
    Create,
    /// Replace it.
    Overwrite,
}

/// How something came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Put {
    /// It was put there now.
    Written,
    /// The same bytes were there already.
    AlreadySame,
}

/// Whether a target can be asked to put something only where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conditional {
    /// It heeds the condition: of two at once, one wins.
    Honoured,
    /// It does not. What is there is looked at before, and read back after, which leaves a gap.
    Ignored,
}

/// Something that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its key, relative to the target.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was put there, in seconds since the epoch.
    pub modified: i64,
}

/// What a target says of one object without being asked for its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its size in bytes.
    pub size: u64,
    /// Its digest, where the store itself has computed it over the whole object.
    pub sha256: Option<Sha256>,
    /// The digest over the digests of its parts, and how many there are, where the store keeps
    /// that instead.
    pub parts: Option<(Sha256, u64)>,
    /// What names these very bytes at a store that can be asked for them alone.
    pub etag: Option<String>,
}

impl Head {
    /// Whether it has this digest, if that can be told without reading it.
    pub fn has(&self, digest: &Sha256) -> Option<bool> {
        match (self.sha256, self.parts) {
            (Some(found), _) => Some(found == *digest),
            (None, Some((found, 1))) => Some(found == Sha256::of(digest.as_bytes())),
            (None, _) => None,
        }
    }
}

/// An upload that was begun and neither finished nor given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleUpload {
    /// What it was to become, relative to the target.
    pub key: String,
    /// What the target knows it by.
    pub id: String,
    /// When it was begun, in seconds since the epoch.
    pub started: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_target_says_of_a_digest_is_understood() {
        let (ours, other) = (Sha256::of(b"ours"), Sha256::of(b"other"));
        let alone = |digest: &Sha256| Sha256::of(digest.as_bytes());
        for (sha256, parts, expected) in [
            (None, None, None),
            (Some(ours), None, Some(true)),
            (Some(other), None, Some(false)),
            (None, Some((alone(&ours), 1)), Some(true)),
            (None, Some((alone(&other), 1)), Some(false)),
            // How they were cut is not known.
            (None, Some((alone(&ours), 2)), None),
        ] {
            let head = Head {
                size: 4,
                sha256,
                parts,
                etag: None,
            };
            assert_eq!(head.has(&ours), expected, "{head:?}");
        }
    }
}
