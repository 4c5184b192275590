//! What was seen of a target: values that the rules judge, so that no rule has to look itself.

use crate::archive::Codec;
use crate::artifact::checksum::parse_sha256_line;
use crate::artifact::record::Record;
use crate::model::Sha256;
use crate::publish::{Head, Named, read_key};

use super::stream::Stream;

/// What was seen of a target, as far as it was selected.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// The archives that are there, or should be.
    pub archives: Vec<Archive>,
    /// The keys of what is there and belongs to no archive.
    pub strays: Vec<String>,
    /// Multipart uploads that nobody finished: where to, and since when (unix seconds). `None` if
    /// the target cannot list them.
    pub uploads: Option<Vec<(String, i64)>>,
    /// What was asked for by name and is nowhere to be found.
    pub unmatched: Vec<String>,
    /// What is wrong with `index.json` itself, if it is there.
    pub index: Option<String>,
}

/// One archive with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Archive {
    /// The tarball's key.
    pub key: String,
    /// What its key says; nothing, if it was published under a name of its own.
    pub named: Option<Named>,
    /// How it should be compressed, by its name.
    pub codec: Codec,
    /// What the listing says of its size, where there is a listing and it is there.
    pub listed: Option<u64>,
    /// What the target says of it when asked; its bytes are read of this very object.
    pub head: Seen<Head>,
    /// Its bytes.
    pub bytes: Seen<Stream>,
    /// The `.sha256` beside it.
    pub checksum: Seen<Sidecar<Checksum>>,
    /// The record beside it.
    pub record: Seen<Sidecar<Box<Record>>>,
    /// Its digest in `checksums.lock`.
    pub locked: Option<Sha256>,
    /// What `index.json` says of it, if it names it.
    pub indexed: Option<Indexed>,
    /// Whether it is to be recorded now, so that it need not be recorded yet.
    pub recording: bool,
    /// What is inside, as software: everything about it that is not as its name says.
    pub identity: Seen<Vec<String>>,
    /// The digest of the same built again.
    pub rebuilt: Seen<Sha256>,
}

/// What became of looking at something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// Nobody looked: it was not asked for.
    NotLooked,
    /// It is not there.
    Absent,
    /// It is there and cannot be read, for this reason, which looking again does not change.
    Unreadable(String),
    /// It was looked at.
    There(T),
}

impl<T> Seen<T> {
    /// What was seen, if anything was.
    pub fn there(&self) -> Option<&T> {
        match self {
            Self::There(seen) => Some(seen),
            Self::NotLooked | Self::Absent | Self::Unreadable(_) => None,
        }
    }
}

/// What an index says of a tarball.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexed {
    /// Its size.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
}

/// A small file beside a tarball.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sidecar<T> {
    /// It is what it should be.
    Sound(T),
    /// It is not, for this reason.
    Wrong(String),
}

/// The `.sha256` beside a tarball.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// The digest.
    pub digest: Sha256,
    /// The file it is of.
    pub file: String,
    /// The whole line, as it is there.
    pub line: String,
}

impl Archive {
    /// An archive of which nothing is known but its key; `None` is a key of something else.
    pub fn of(key: &str) -> Option<Self> {
        let codec = [Codec::Gzip, Codec::Xz, Codec::Zstd]
            .into_iter()
            .find(|codec| key.ends_with(&format!(".tar.{}", codec.extension())))?;
        Some(Self {
            key: key.to_owned(),
            named: read_key(key),
            codec,
            listed: None,
            head: Seen::NotLooked,
            bytes: Seen::NotLooked,
            checksum: Seen::NotLooked,
            record: Seen::NotLooked,
            locked: None,
            indexed: None,
            recording: false,
            identity: Seen::NotLooked,
            rebuilt: Seen::NotLooked,
        })
    }

    /// The name of the tarball's file.
    pub fn file(&self) -> &str {
        file_name(&self.key)
    }

    /// The `.sha256`, if it is there and sound.
    pub fn sound_checksum(&self) -> Option<&Checksum> {
        match self.checksum.there() {
            Some(Sidecar::Sound(checksum)) => Some(checksum),
            _ => None,
        }
    }

    /// The record, if it is there and sound.
    pub fn sound_record(&self) -> Option<&Record> {
        match self.record.there() {
            Some(Sidecar::Sound(record)) => Some(record),
            _ => None,
        }
    }
}

/// What follows the last slash of a key.
pub fn file_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

/// Reads a `.sha256`: one line as sha256sum writes it, and nothing else.
pub fn checksum(bytes: &[u8]) -> Sidecar<Checksum> {
    let Ok(text) = str::from_utf8(bytes) else {
        return Sidecar::Wrong("it is not text".to_owned());
    };
    if !text.ends_with('\n') {
        return Sidecar::Wrong("its line has no end: it is cut short".to_owned());
    }
    match parse_sha256_line(text) {
        Ok((digest, file)) => Sidecar::Sound(Checksum {
            digest,
            file,
            line: text.to_owned(),
        }),
        Err(error) => Sidecar::Wrong(error.to_string()),
    }
}

/// Reads a record: JSON with every field and no other, ended as it is written.
pub fn record(bytes: &[u8]) -> Sidecar<Box<Record>> {
    let Ok(text) = str::from_utf8(bytes) else {
        return Sidecar::Wrong("it is not text".to_owned());
    };
    match Record::parse(text) {
        // One that differs in a space is not the one that was published.
        Ok(record) if record.to_json() == text => Sidecar::Sound(Box::new(record)),
        Ok(_) => Sidecar::Wrong("it is not written as pybuild writes it".to_owned()),
        Err(error) => Sidecar::Wrong(error.to_string()),
    }
}
