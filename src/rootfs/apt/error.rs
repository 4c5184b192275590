//! Why packages cannot be installed, as far as apt tells.

use crate::rootfs::lock::Drift;
use crate::sandbox::{End, SandboxError};
use crate::store::StoreError;
use crate::sys::fs::FsError;

/// Why packages cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// The image has no apt.
    #[error("packages cannot be installed in an image without apt-get: {}", packages.join(", "))]
    NoApt {
        /// Those that were to be installed.
        packages: Vec<String>,
    },
    /// apt, dpkg or a package's script failed.
    #[error("the image's apt could not install {}: it {end}", packages.join(", "))]
    Failed {
        /// Those that were to be installed.
        packages: Vec<String>,
        /// How it ended.
        end: End,
        /// Why, as far as what it printed says.
        cause: Cause,
        /// The last lines that it printed.
        log: String,
    },
    /// What can be installed is not what was locked.
    #[error("it is not what it was when it was locked: {0}")]
    Drift(#[from] Drift),
    /// The sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why apt fails, as far as what it prints says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its mirrors have the release no more.
    Moved,
    /// Its mirrors cannot be reached.
    Network,
    /// There is no package of such a name.
    Unknown,
    /// Something else.
    Other,
}

impl Cause {
    pub(super) fn of(log: &str) -> Self {
        let says = |words: &[&str]| words.iter().any(|words| log.contains(words));
        if says(&[
            "does not have a Release file",
            "404  Not Found",
            "410  Gone",
        ]) {
            Self::Moved
        } else if says(&[
            "Could not resolve",
            "Temporary failure resolving",
            "Could not connect",
            "Unable to connect",
            "Connection failed",
            "Connection timed out",
            "Network is unreachable",
        ]) {
            Self::Network
        } else if says(&["Unable to locate package", "has no installation candidate"]) {
            Self::Unknown
        } else {
            Self::Other
        }
    }
}

/// The versions that apt says its sources do not have: `name=version`. It prints `E: Version '1' for
/// 'a' was not found`.
pub(super) fn gone(log: &str) -> Vec<String> {
    let each = log.lines().filter_map(|line| {
        let rest = line.strip_prefix("E: Version ")?;
        let rest = rest.strip_suffix(" was not found")?;
        let (version, name) = rest.split_once(" for ")?;
        let bare = |text: &str| {
            text.trim_matches(['\'', '"', '‘', '’', '“', '”'])
                .to_owned()
        };
        Some(format!("{}={}", bare(name), bare(version)))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_prints_says_why_it_failed() {
        let table = [
            (
                "E: The repository 'http://x trusty Release' does not have a Release file.",
                Cause::Moved,
            ),
            (
                "W: Failed to fetch http://x/Packages  404  Not Found [IP: 192.0.2.1 80]\n\
                 E: Unable to locate package a",
                Cause::Moved,
            ),
            ("Temporary failure resolving 'x'", Cause::Network),
            ("Could not connect to x:80 (192.0.2.1).", Cause::Network),
            ("E: Unable to locate package a", Cause::Unknown),
            (
                "E: Package 'a' has no installation candidate",
                Cause::Unknown,
            ),
            ("dpkg: error processing package a", Cause::Other),
            ("", Cause::Other),
        ];
        for (log, cause) in table {
            assert_eq!(Cause::of(log), cause, "{log}");
        }
    }

    #[test]
    fn versions_that_are_gone_are_read_from_what_apt_prints() {
        let log = "Reading package lists...\n\
                   E: Version '1.2-1' for 'libc6:amd64' was not found\n\
                   E: Version “3” for “a” was not found\n\
                   E: Unable to locate package b";
        assert_eq!(gone(log), ["libc6:amd64=1.2-1", "a=3"]);
        assert_eq!(gone(""), [""; 0]);
    }
}
