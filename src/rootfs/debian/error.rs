//! Why a Debian stack cannot be bootstrapped.

use std::io;
use std::path::PathBuf;

use super::deb::DebError;
use super::index::IndexError;
use super::openpgp::SignatureError;
use super::release::ReleaseError;
use super::resolve::ResolveError;
use crate::archive::ArchiveError;
use crate::net::NetError;
use crate::sandbox::{End, SandboxError};
use crate::store::StoreError;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupted;

/// Why a Debian stack cannot be bootstrapped.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// Nobody says which mirror to use.
    #[error(
        "no Debian mirror is known: this host's apt configuration names none, and PYBUILD_DEBIAN_MIRROR is not set"
    )]
    NoMirror,
    /// A keyring cannot be read.
    #[error("the keyring {name} is of no use: {source}")]
    Keyring {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// Something cannot be fetched.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A release file is not signed as it should be.
    #[error("{url} is not to be trusted: {source}")]
    Signature {
        /// Where it came from.
        url: String,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// A release file is of no use.
    #[error("the suite {suite} cannot be used: {source} ({url})")]
    Release {
        /// The suite that was asked for.
        suite: String,
        /// Where its release file came from.
        url: String,
        /// What is wrong with it.
        source: ReleaseError,
    },
    /// An index, though its digest is right, cannot be decompressed.
    #[error("{what} cannot be unpacked: {source}")]
    Decode {
        /// Which.
        what: String,
        /// Why.
        source: ArchiveError,
    },
    /// An index, though its digest is right, cannot be read.
    #[error("{what} cannot be read: {source}")]
    Read {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// An index holds nonsense.
    #[error("the package index cannot be understood: {0}")]
    Index(#[from] IndexError),
    /// The packages cannot be chosen.
    #[error("the packages cannot be chosen: {0}")]
    Resolve(#[from] ResolveError),
    /// A package is not what it should be, or cannot be unpacked.
    #[error("the package {package} cannot be unpacked: {source}")]
    Package {
        /// Its name and version.
        package: String,
        /// Why.
        source: DebError,
    },
    /// Two packages hold the same file.
    #[error("the packages {first} and {second} both hold /{path}")]
    SamePath {
        /// The file.
        path: String,
        /// One package.
        first: String,
        /// The other.
        second: String,
    },
    /// A package holds a directory where the run image has something else, or the other way
    /// round.
    #[error("/{} of the build image would hide that of the run image", path.display())]
    Hidden {
        /// The place.
        path: PathBuf,
    },
    /// A package's file or directory lies, through a symlink, outside the root file system.
    #[error("{} leads out of the root file system", path.display())]
    Outside {
        /// The place on the host.
        path: PathBuf,
    },
    /// The sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The packages' own scripts failed.
    #[error("the packages of the {image} image could not be configured: {}", describe(*end))]
    Configure {
        /// `run` or `build`.
        image: &'static str,
        /// How it ended.
        end: End,
        /// The last lines that the scripts and dpkg printed.
        log: String,
    },
    /// dpkg was content, and yet packages are not installed.
    #[error("these packages of the {image} image are not fully installed: {}", packages.join(", "))]
    NotInstalled {
        /// `run` or `build`.
        image: &'static str,
        /// The packages.
        packages: Vec<String>,
        /// The last lines that the scripts and dpkg printed.
        log: String,
    },
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

fn describe(end: End) -> String {
    match end {
        End::Exited(code) => format!("dpkg or a script exited with {code}"),
        End::Killed(signal) => format!("killed by signal {signal}"),
        End::TimedOut => "they took too long".to_owned(),
        End::OutOfMemory => "they took too much memory".to_owned(),
        End::TooMuchOutput => "they printed too much".to_owned(),
    }
}
