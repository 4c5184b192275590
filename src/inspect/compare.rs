//! In what the files of two artifacts differ. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::inventory::{Inventory, Member, Tarball, What};

/// A path that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which, below the prefix.
    pub path: Vec<u8>,
    /// How.
    pub change: Change,
}

/// How a path is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the first has it.
    Removed(Kind),
    /// Only the second has it.
    Added(Kind),
    /// It is something else.
    Kind(Kind, Kind),
    /// Its mode is another.
    Mode(u32, u32),
    /// It leads elsewhere.
    Target(Vec<u8>, Vec<u8>),
    /// It has other bytes: so many in the first and in the second.
    Content(u64, u64),
}

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file of so many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// One more name of a file.
    HardLink,
    /// A device node or a pipe.
    Special,
}

impl Kind {
    fn of(member: &Member) -> Self {
        match member.what {
            What::File { size, .. } => Self::File(size),
            What::Directory => Self::Directory,
            What::Symlink(_) => Self::Symlink,
            What::HardLink(_) => Self::HardLink,
            What::Special => Self::Special,
        }
    }
}

/// What differs of two tarballs beside paths, modes, links and contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outside {
    /// Whether the bytes of the files are the same.
    pub same_file: bool,
    /// Whether the archives inside are the same, however they are compressed.
    pub same_archive: bool,
    /// Whether members come in another order.
    pub other_order: bool,
    /// How many members that both have are of other times, and the first of them.
    pub times: usize,
    /// The first of those: path, time in the first, time in the second.
    pub first_time: Option<(Vec<u8>, i64, i64)>,
    /// How many members that both have belong to others.
    pub owners: usize,
}

/// Every path that is not the same, sorted.
pub fn compare(a: &Inventory, b: &Inventory) -> Vec<Difference> {
    let mut found = Vec::new();
    each(&a.members, &b.members, &mut |path, a, b| {
        let mut tell = |change| {
            let path = path.to_owned();
            found.push(Difference { path, change });
        };
        let (one, other) = match (a, b) {
            (Some(one), Some(other)) => (one, other),
            (Some(one), None) => return tell(Change::Removed(Kind::of(one))),
            (None, Some(other)) => return tell(Change::Added(Kind::of(other))),
            (None, None) => return,
        };
        match (&one.what, &other.what) {
            (What::File { size, sha256 }, What::File { size: s, sha256: d }) => {
                if sha256 != d {
                    tell(Change::Content(*size, *s));
                }
            }
            (What::Symlink(from), What::Symlink(to))
            | (What::HardLink(from), What::HardLink(to)) => {
                if from != to {
                    tell(Change::Target(from.clone(), to.clone()));
                }
            }
            (What::Directory, What::Directory) | (What::Special, What::Special) => {}
            _ => return tell(Change::Kind(Kind::of(one), Kind::of(other))),
        }
        // A symbolic link has no mode of its own.
        if one.mode != other.mode && !matches!(one.what, What::Symlink(_)) {
            tell(Change::Mode(one.mode, other.mode));
        }
    });
    found
}

/// What else differs.
pub fn outside(a: (&Tarball, &Inventory), b: (&Tarball, &Inventory)) -> Outside {
    let (tarball, one) = a;
    let (other_tarball, other) = b;
    // Where paths differ, so does their order.
    let same_paths = one.members.keys().eq(other.members.keys());
    let mut told = Outside {
        same_file: tarball.sha256 == other_tarball.sha256,
        same_archive: tarball.archive.is_some() && tarball.archive == other_tarball.archive,
        other_order: same_paths && one.order != other.order,
        ..Outside::default()
    };
    each(&one.members, &other.members, &mut |path, a, b| {
        let (Some(a), Some(b)) = (a, b) else { return };
        if a.mtime != b.mtime {
            told.times += 1;
            told.first_time
                .get_or_insert_with(|| (path.to_owned(), a.mtime, b.mtime));
        }
        told.owners += usize::from(a.owner != b.owner);
    });
    told
}

/// Calls `with` for each path of either, in order.
fn each<'m>(
    a: &'m BTreeMap<Vec<u8>, Member>,
    b: &'m BTreeMap<Vec<u8>, Member>,
    with: &mut dyn FnMut(&'m [u8], Option<&'m Member>, Option<&'m Member>),
) {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let one = a.next_if(|_| order.is_le());
        let other = b.next_if(|_| order.is_ge());
        if let Some((path, _)) = one.or(other) {
            with(path, one.map(|one| one.1), other.map(|other| other.1));
        }
    }
}

#[cfg(test)]
mod tests;
