//! The machine architectures that stacks exist for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A machine architecture, by Debian's and OCI's common name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// `AArch64`.
    Arm64,
}

/// Why a text is not an architecture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an architecture that pybuild knows: amd64 and arm64 are")]
pub struct ArchError(String);

impl Arch {
    /// The architecture of this host, as far as stacks exist for it.
    pub fn host() -> Result<Self, ArchError> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => Err(ArchError(other.to_owned())),
        }
    }

    /// The name that Debian and OCI use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Arch {
    type Err = ArchError;

    fn from_str(text: &str) -> Result<Self, ArchError> {
        match text {
            "amd64" => Ok(Self::Amd64),
            "arm64" => Ok(Self::Arm64),
            other => Err(ArchError(other.to_owned())),
        }
    }
}
