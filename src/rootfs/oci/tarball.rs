//! A tar archive whose members are looked up by name, though it can only be read from its
//! beginning: small members are remembered, others take one more pass.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use super::document::{LIMIT, shown};
use super::error::{ArchiveFailure, OciError, stream};
use super::layout::open;
use crate::archive::{
    self, ArchiveError, Entry, EntryKind, Limits, contents, decoder, interruptible,
};
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

/// Members at most: an image has a few for each of its layers.
const ENTRIES: u64 = 100_000;
/// What is remembered of a member, and of all of them.
const SMALL: u64 = 64 << 10;
const REMEMBERED: usize = 16 << 20;
/// Links that are followed at most.
const HOPS: usize = 8;

/// What an archive has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// A file of so many bytes.
    File(u64),
    /// Another name, below the archive's root.
    Link(Vec<u8>),
    /// Two different things.
    Twice,
}

/// Takes a member, its path below the archive's root, and its content.
pub(super) type Each<'a> =
    dyn FnMut(&Entry<'_>, &[u8], &mut (dyn Read + Send)) -> Result<(), ArchiveFailure> + 'a;

/// An archive that has been read once.
pub(super) struct Tarball<'a> {
    file: &'a Path,
    interrupt: &'a Interrupt,
    found: BTreeMap<Vec<u8>, Found>,
    small: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<'a> Tarball<'a> {
    /// Reads it through.
    pub(super) fn open(file: &'a Path, interrupt: &'a Interrupt) -> Result<Self, OciError> {
        let mut this = Self {
            file,
            interrupt,
            found: BTreeMap::new(),
            small: BTreeMap::new(),
        };
        let (mut found, mut small) = (BTreeMap::new(), BTreeMap::new());
        let mut remembered = 0;
        this.pass(&mut |entry, path, content| {
            let what = match entry.kind {
                EntryKind::Directory => return Ok(()),
                EntryKind::File => Found::File(entry.size),
                EntryKind::Symlink => Found::Link(symlink(path, entry)?),
                EntryKind::HardLink => Found::Link(entry.target.clone().map_err(refused(entry))?),
                EntryKind::Special => {
                    return Err(refused(entry)("it is a device node or a pipe").into());
                }
            };
            if found.contains_key(path) {
                found.insert(path.to_vec(), Found::Twice);
                return Ok(());
            }
            found.insert(path.to_vec(), what);
            let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
            if entry.kind == EntryKind::File
                && entry.size <= SMALL
                && size <= REMEMBERED - remembered
            {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).map_err(read)?;
                remembered += bytes.len();
                small.insert(path.to_vec(), bytes);
            }
            Ok(())
        })?;
        this.found = found;
        this.small = small;
        Ok(this)
    }

    /// Whether there is something under a name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.found.contains_key(name.as_bytes())
    }

    /// The file that a name leads to, and its size.
    pub(super) fn follow(&self, name: &str) -> Result<(Vec<u8>, u64), OciError> {
        let wrong = |why: &str| OciError::Place {
            place: self.file.display().to_string(),
            why: format!("its member `{}` {why}", shown(name)),
        };
        let mut path = tidy(name.as_bytes()).ok_or_else(|| wrong("has a name that is none"))?;
        for _ in 0..=HOPS {
            match self.found.get(&path) {
                None => return Err(wrong("is missing")),
                Some(Found::Twice) => return Err(wrong("is there twice")),
                Some(Found::File(size)) => return Ok((path, *size)),
                Some(Found::Link(target)) => path.clone_from(target),
            }
        }
        Err(wrong("is a link to a link, over and over"))
    }

    /// The content of a small document.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, OciError> {
        let (path, size) = self.follow(name)?;
        if let Some(bytes) = self.small.get(&path) {
            return Ok(bytes.clone());
        }
        if size > LIMIT {
            return Err(OciError::Place {
                place: self.file.display().to_string(),
                why: format!("its member `{}` is too large", shown(name)),
            });
        }
        let mut bytes = Vec::new();
        self.pass(&mut |_, found, content| {
            if found == path {
                bytes.clear();
                content.take(LIMIT).read_to_end(&mut bytes).map_err(read)?;
            }
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads the archive once more and shows each member with its path to `each`. A member that
    /// does not stay below the archive's root spoils it.
    pub(super) fn pass(&self, each: &mut Each<'_>) -> Result<(), OciError> {
        let file = open(self.file)?;
        let size = file
            .metadata()
            .map_err(FsError::new("stat", self.file))?
            .len();
        let limits = Limits {
            entries: ENTRIES,
            ..Limits::for_compressed(size)
        };
        let tar = decoder(interruptible(file, self.interrupt))
            .map_err(OciError::of_archive(self.file))?;
        let mut show = |entry: &Entry<'_>, content: &mut (dyn Read + Send)| {
            let path = entry.path.clone().map_err(refused(entry))?;
            each(entry, &path, content)
        };
        contents(tar, &limits, &mut show).map_err(|failure: ArchiveFailure| failure.of(self.file))
    }
}

/// For `map_err`: what is wrong with a member.
fn refused(entry: &Entry<'_>) -> impl FnOnce(&'static str) -> ArchiveError {
    let member = archive::shown(entry.name);
    move |why| ArchiveError::Refused { member, why }
}

fn read(error: io::Error) -> ArchiveFailure {
    stream(error).into()
}

/// Where a symlink leads, from where it is.
fn symlink(path: &[u8], entry: &Entry<'_>) -> Result<Vec<u8>, ArchiveError> {
    let from = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let target = if entry.link.starts_with(b"/") {
        None
    } else {
        tidy(&[&path[..from], b"/", entry.link].concat())
    };
    target.ok_or_else(|| refused(entry)("it leads out of the archive"))
}

/// A path without dots and double slashes; `None` if it goes up from the root.
fn tidy(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        let table: [(&[u8], Option<&[u8]>); 7] = [
            (b"a/b", Some(b"a/b")),
            (b"/a/./b//c/", Some(b"a/b/c")),
            (b"a/../b", Some(b"b")),
            (b"a/../../b", None),
            (b"..", None),
            (b"", Some(b"")),
            (b"a/b/../../c", Some(b"c")),
        ];
        for (path, tidied) in table {
            assert_eq!(tidy(path).as_deref(), tidied, "{}", path.escape_ascii());
        }
    }
}
