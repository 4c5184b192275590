//! What a tree holds, path by path, written down so that the tree can be held against it later.
//!
//! The file is in the form of mtree(5), as BSD's `mtree`, libarchive and `gomtree` read it: one path
//! a line, sorted by the bytes of the paths, the tree itself (`.`) first.
//!
//! ```text
//! #mtree
//! . type=dir mode=0755
//! ./bin type=link link=usr/bin
//! ./etc/hostname type=file mode=0644 size=7 sha256digest=5891b5b5…
//! ```
//!
//! Bytes of names that are no graphic ASCII, and those that mean something here, are written as
//! backslash and three octal digits (vis(3)). A symlink's mode means nothing and is left out. Times
//! are left out too: nothing that is built depends on them. A file without a digest is one that its
//! owner may not read.

mod compare;
mod scan;
mod text;

use std::collections::BTreeMap;

use crate::model::Sha256;

pub use compare::{Change, Difference, compare};
pub use scan::{ScanError, Scanned, disk_usage, scan};
pub use text::{MtreeError, read, write};

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Below the tree, without dots; empty for the tree itself.
    pub path: Vec<u8>,
    /// What is there.
    pub what: What,
    /// Permissions, with setuid, setgid and sticky; 0 for a symlink.
    pub mode: u32,
    /// Extended attributes that decide what a build sees: `user.*`, which overlayfs obeys too,
    /// access lists and capabilities. Not those that are a host's own (security labels).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// In bytes.
        size: u64,
        /// Of its content, where its owner may read it.
        sha256: Option<Sha256>,
    },
    /// A symlink, and what it says.
    Symlink(Vec<u8>),
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A device node. A character device 0, 0 is overlayfs's whiteout.
    Device {
        /// A block device; a character device otherwise.
        block: bool,
        /// Its major number.
        major: u64,
        /// Its minor number.
        minor: u64,
    },
}

impl What {
    /// The word that mtree(5) has for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Directory => "dir",
            Self::File { .. } => "file",
            Self::Symlink(_) => "link",
            Self::Pipe => "fifo",
            Self::Socket => "socket",
            Self::Device { block: true, .. } => "block",
            Self::Device { block: false, .. } => "char",
        }
    }
}
