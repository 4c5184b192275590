//! Looking at an archive without unpacking it: what each member would become, and whether the
//! archive is whole.

use std::io::Read;

use super::members::{End, Kind, Member, Members};
use super::{ArchiveError, Limits, Trust, name};

/// One member, as [`Trust::Sealed`] extraction would see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name as it lies in the archive.
    pub name: &'a [u8],
    /// Where it would be put: relative, without dots; empty is the root. Or why it would not.
    pub path: Result<Vec<u8>, &'static str>,
    /// What it is.
    pub kind: Kind,
    /// What a symlink holds, as it lies in the archive.
    pub link: &'a [u8],
    /// The path that a hard link gives one more name to; or why it leads nowhere.
    pub target: Result<Vec<u8>, &'static str>,
    /// Permission bits, setuid, setgid and sticky included.
    pub mode: u32,
    /// Bytes of content.
    pub size: u64,
    /// When it was last changed, in seconds since 1970.
    pub mtime: i64,
    /// Owner and group by number; `None` is what no system has.
    pub owner: (Option<u32>, Option<u32>),
}

/// What an archive holds in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Examined {
    /// Members.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
}

/// Reads a (decompressed) tar archive to the very end of its stream and shows each member to
/// `each`. Fails where [`super::extract`] would find the archive malformed, cut short, followed by
/// something or too large; whether a member may be extracted is for `each` to judge.
pub fn examine(
    reader: impl Read,
    limits: &Limits,
    each: &mut dyn FnMut(&Entry<'_>),
) -> Result<Examined, ArchiveError> {
    let mut members = Members::new(reader, limits, End::Marked);
    while let Some(member) = members.next()? {
        each(&entry(&member));
    }
    Ok(Examined {
        entries: members.entries(),
        bytes: members.bytes(),
    })
}

/// A member as it is shown.
pub(super) fn entry(member: &Member) -> Entry<'_> {
    let sealed = |name: &[u8]| name::path(name, Trust::Sealed, 0).map(Option::unwrap_or_default);
    Entry {
        name: &member.name,
        path: sealed(&member.name),
        kind: member.kind,
        link: &member.link,
        target: sealed(&member.link),
        mode: member.mode,
        size: member.size,
        mtime: member.mtime.0,
        owner: (member.uid, member.gid),
    }
}
