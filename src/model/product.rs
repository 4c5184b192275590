//! What a formula makes: its kind, and the links in it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a formula makes, and so where it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An interpreter that applications run on.
    Runtime,
    /// Something that runtimes or applications link.
    Library,
    /// What a compiler learned from a training run, for another build to be optimized by. No formula
    /// says this word: it is what a profile's `training` makes.
    Profile,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Runtime, Self::Library, Self::Profile];

    /// The word that a formula says.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Library => "library",
            Self::Profile => "profile",
        }
    }

    /// The directory that artifacts of this kind are published under.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Runtime => "runtimes",
            Self::Library => "libraries",
            Self::Profile => "profiles",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A symlink in the prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Where it is, relative to the prefix.
    pub path: String,
    /// What it holds: a path relative to the link's own directory, inside the prefix.
    pub to: String,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.path, self.to)
    }
}
