//! One pass over a tarball: its digests, and every member with the digest of its content.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::archive::{
    ArchiveError, Codec, Entry, EntryKind, Limits, Sizes, contents, decoder, shown,
};
use crate::model::{Hasher, HashingReader, Sha256};

/// Bytes of one member's content that are kept at most to be looked into.
pub const KEPT: u64 = 128 << 20;
/// Members of one tarball.
const ENTRIES: u64 = 500_000;
/// Bytes of names that are kept of one tarball: ten times what the largest known one has.
const NAMES: usize = 64 << 20;
/// What is wrong with members is told one by one up to so many times.
const TOLD: usize = 20;
/// Bytes that tell what a content is: a compression format, an ELF file.
const MAGIC: usize = 6;
const BUFFER: usize = 16 << 10;

/// A tarball as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tarball {
    /// Its bytes.
    pub size: u64,
    /// Their digest.
    pub sha256: Sha256,
    /// What it is compressed with, by its first bytes.
    pub codec: Option<Codec>,
    /// The digest of the archive inside, however it is compressed; `None` if it is not whole.
    pub archive: Option<Sha256>,
    /// Why it is not whole, if it is not.
    pub broken: Option<String>,
}

/// What is in a tarball, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// By path below the prefix.
    pub members: BTreeMap<Vec<u8>, Member>,
    /// Members, those that are told of as wrong among them.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// SHA-256 over the names in the order in which they come.
    pub order: Option<Sha256>,
    /// What no honest tarball has: the first few, each a sentence.
    pub wrong: Vec<String>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is.
    pub what: What,
    /// Permission bits, setuid, setgid and sticky included.
    pub mode: u32,
    /// When it was last changed, in seconds since 1970.
    pub mtime: i64,
    /// Owner and group by number.
    pub owner: (Option<u32>, Option<u32>),
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File {
        /// Its bytes.
        size: u64,
        /// Their digest.
        sha256: Sha256,
    },
    /// A directory.
    Directory,
    /// A symbolic link, and what it holds.
    Symlink(Vec<u8>),
    /// One more name of a file.
    HardLink(Vec<u8>),
    /// A device node or a pipe.
    Special,
}

/// How a tarball is read.
pub struct Pass<'a> {
    /// How large it is said to be: a bound on what it may unpack to.
    pub expected: u64,
    /// Called with each piece's length; an error ends the pass.
    pub progress: &'a (dyn Fn(u64) -> io::Result<()> + Sync),
}

/// Who looks into files as they come by.
pub trait Eye {
    /// Whether the content of a file of at most [`KEPT`] bytes is wanted; `start` is how it begins.
    fn wants(&mut self, path: &[u8], size: u64, start: &[u8]) -> bool;
    /// It.
    fn take(&mut self, path: &[u8], content: Vec<u8>);
}

/// Wants nothing.
pub struct Unseeing;

impl Eye for Unseeing {
    fn wants(&mut self, _: &[u8], _: u64, _: &[u8]) -> bool {
        false
    }

    fn take(&mut self, _: &[u8], _: Vec<u8>) {}
}

/// Reads a tarball to the end of its file, whatever is in it. Fails if the file cannot be read;
/// one that is no sound archive is told of in [`Tarball::broken`].
pub fn read(
    reader: &mut (dyn Read + Send),
    pass: &Pass<'_>,
    eye: &mut dyn Eye,
) -> io::Result<(Tarball, Inventory)> {
    let mut source = Source {
        inner: reader,
        progress: pass.progress,
        hasher: Hasher::new(),
        size: 0,
        start: Vec::new(),
        failed: None,
    };
    let mut found = Inventory::default();
    let inside = members(&mut source, pass.expected, &mut found, eye);
    // What the decoder has left unread belongs to the digest too.
    if source.failed.is_none() {
        let _ = io::copy(&mut source, &mut io::sink()); // kept as the source's failure
    }
    let Source {
        hasher,
        size,
        start,
        failed,
        ..
    } = source;
    if let Some(error) = failed {
        return Err(error);
    }
    let (archive, broken) = match inside {
        Ok(digest) => (Some(digest), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let tarball = Tarball {
        size,
        sha256: hasher.finish(),
        codec: Codec::of(&start),
        archive,
        broken,
    };
    Ok((tarball, found))
}

/// The compressed bytes on their way to the decoder. Remembers its own failure, which is not the
/// archive's.
struct Source<'a> {
    inner: &'a mut (dyn Read + Send),
    progress: &'a (dyn Fn(u64) -> io::Result<()> + Sync),
    hasher: Hasher,
    size: u64,
    start: Vec<u8>,
    failed: Option<io::Error>,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed.is_some() {
            return Err(io::Error::other("it cannot be read"));
        }
        let read = loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let read = read.and_then(|length| (self.progress)(length as u64).map(|()| length));
        match read {
            Ok(length) => {
                let bytes = &buffer[..length];
                self.hasher.update(bytes);
                self.size += length as u64;
                let wanted = MAGIC.saturating_sub(self.start.len()).min(length);
                self.start.extend_from_slice(&bytes[..wanted]);
                Ok(length)
            }
            Err(error) => {
                self.failed = Some(error);
                Err(io::Error::other("it cannot be read"))
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("it has more names than any runtime")]
    Names,
}

/// Reads all members; gives the digest of the archive.
fn members(
    source: &mut (dyn Read + Send),
    expected: u64,
    found: &mut Inventory,
    eye: &mut dyn Eye,
) -> Result<Sha256, Stop> {
    let limits = Limits {
        entries: ENTRIES,
        ..Limits::for_compressed(expected)
    };
    let mut archive = HashingReader::new(decoder(source)?);
    let mut names = 0usize;
    let mut order = Hasher::new();
    contents::<Stop>(&mut archive, &limits, &mut |entry, content| {
        names += entry.name.len() + entry.link.len();
        if names > NAMES {
            return Err(Stop::Names);
        }
        order.update(entry.name);
        order.update(&[0]);
        found.entries += 1;
        found.bytes += entry.size;
        found.add(entry, content, eye)
    })?;
    found.order = Some(order.finish());
    Ok(archive.finish().0)
}

impl Inventory {
    fn tell(&mut self, name: &[u8], what: &str) {
        if self.wrong.len() < TOLD {
            self.wrong.push(format!("`{}`: {what}", shown(name)));
        }
    }

    fn add(
        &mut self,
        entry: &Entry<'_>,
        content: &mut (dyn Read + Send),
        eye: &mut dyn Eye,
    ) -> Result<(), Stop> {
        let path = match &entry.path {
            Ok(path) => path.clone(),
            Err(why) => {
                self.tell(entry.name, why);
                return Ok(());
            }
        };
        if path.is_empty() && entry.kind == EntryKind::Directory {
            return Ok(()); // the prefix itself, as `tar -C prefix .` writes it
        }
        let what = match entry.kind {
            EntryKind::File => {
                let sha256 = file(&path, entry.size, content, eye)?;
                let size = entry.size;
                What::File { size, sha256 }
            }
            EntryKind::Directory => What::Directory,
            EntryKind::Symlink => What::Symlink(entry.link.to_owned()),
            EntryKind::HardLink => match &entry.target {
                Ok(target) => What::HardLink(target.clone()),
                Err(why) => {
                    self.tell(entry.name, why);
                    return Ok(());
                }
            },
            EntryKind::Special => {
                self.tell(entry.name, "it is a device node or a pipe");
                What::Special
            }
        };
        let member = Member {
            what,
            mode: entry.mode,
            mtime: entry.mtime,
            owner: entry.owner,
        };
        if self.members.insert(path, member).is_some() {
            self.tell(entry.name, "it comes twice");
        }
        Ok(())
    }

    /// Bytes of files by directory, see [`Sizes`].
    pub fn directories(&self) -> BTreeMap<String, u64> {
        let mut sizes = Sizes::default();
        for (path, member) in &self.members {
            if let What::File { size, .. } = member.what {
                sizes.add(path, size);
            }
        }
        sizes.largest()
    }
}

/// Reads a file's content, for its digest and for whoever wants it.
fn file(
    path: &[u8],
    size: u64,
    content: &mut (dyn Read + Send),
    eye: &mut dyn Eye,
) -> Result<Sha256, Stop> {
    let failed = |error: io::Error| -> Stop {
        match error.downcast::<ArchiveError>() {
            Ok(error) => error.into(),
            Err(error) => ArchiveError::Read(error).into(),
        }
    };
    let mut content = HashingReader::new(content);
    let mut buffer = [0; BUFFER];
    let mut start = Vec::with_capacity(MAGIC);
    (&mut content)
        .take(MAGIC as u64)
        .read_to_end(&mut start)
        .map_err(failed)?;
    if size <= KEPT && eye.wants(path, size, &start) {
        let mut kept = start;
        content.read_to_end(&mut kept).map_err(failed)?;
        eye.take(path, kept);
    } else {
        while content.read(&mut buffer).map_err(failed)? > 0 {}
    }
    Ok(content.finish().0)
}

#[cfg(test)]
mod tests;
