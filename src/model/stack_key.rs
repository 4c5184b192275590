//! Where stacks lie in a target: below `stacks/`, beside the artifacts. Pure.
//!
//! ```text
//! stacks/debian-12-amd64.json      which images the stack is, today: an OCI index
//! stacks/blobs/sha256/<digest>     everything else, and that index once more, by digest
//! ```

use std::fmt;
use std::str::FromStr;

use super::{Arch, Sha256, StackName};

const ROOM: &str = "stacks/";
const BLOBS: &str = "blobs/sha256/";

/// The key of something that belongs to a stack, relative to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackKey {
    /// The index of a stack's images.
    Index(StackName, Arch),
    /// What has this digest.
    Blob(Sha256),
}

/// The text is no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not the key of a stack's object")]
pub struct StackKeyError;

impl fmt::Display for StackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(stack, arch) => write!(f, "{ROOM}{stack}-{arch}.json"),
            Self::Blob(digest) => write!(f, "{ROOM}{BLOBS}{digest}"),
        }
    }
}

impl FromStr for StackKey {
    type Err = StackKeyError;

    fn from_str(text: &str) -> Result<Self, StackKeyError> {
        let rest = text.strip_prefix(ROOM).ok_or(StackKeyError)?;
        let key = if let Some(digest) = rest.strip_prefix(BLOBS) {
            Self::Blob(digest.parse().map_err(|_| StackKeyError)?)
        } else {
            let named = rest.strip_suffix(".json").ok_or(StackKeyError)?;
            let (stack, arch) = named.rsplit_once('-').ok_or(StackKeyError)?;
            let stack = stack.parse().map_err(|_| StackKeyError)?;
            Self::Index(stack, arch.parse().map_err(|_| StackKeyError)?)
        };
        // A digest may be written in other ways, but not here.
        let same = key.to_string() == text;
        same.then_some(key).ok_or(StackKeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written_and_nothing_else_is_one() {
        let digest = Sha256::of(b"");
        let index = StackKey::Index("debian-12".parse().expect("a stack"), Arch::Amd64);
        assert_eq!(index.to_string(), "stacks/debian-12-amd64.json");
        let blob = StackKey::Blob(digest);
        assert_eq!(blob.to_string(), format!("stacks/blobs/sha256/{digest}"));
        for key in [index, blob] {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        let upper = format!("stacks/blobs/sha256/{}", digest.to_string().to_uppercase());
        for other in [
            "",
            "stacks/",
            "stacks/debian-12.json",
            "stacks/debian-12-mips.json",
            "stacks/debian-12-amd64.json.sha256",
            "stacks/a/debian-12-amd64.json",
            "stacks/blobs/sha256/abc",
            "stacks/blobs/sha512/abc",
            "a/stacks/debian-12-amd64.json",
            "debian-12-amd64.json",
            &upper,
        ] {
            assert_eq!(other.parse::<StackKey>(), Err(StackKeyError), "{other}");
        }
    }
}
