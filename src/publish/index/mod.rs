//! `index.json`: which archives a target has, and what each is made of. Pure.
//!
//! It names neither the target nor the time it was written at: of the same archives the same bytes
//! are made, wherever they lie, and a copy of a target takes its index along.

mod survey;

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::content::Object;
use super::layout::{Layout, read_key};
use super::target::check_key;
use crate::artifact::record::{
    ArtifactRecord, DependencyRecord, FileRecord, MakingRecord, Needs, ProductRecord, Record,
    SourceRecord, ToolRecord,
};
use crate::model::{Arch, FormulaName, GuestPath, Kind, Sha256, StackName, Version};
use crate::net::redact;

pub use survey::{Surveyed, replace, survey};

/// The index's key, for programs.
pub const INDEX_JSON: &str = "index.json";
/// The key of the page that shows it, for people.
pub const INDEX_HTML: &str = "index.html";
/// What an index may have at most: some 15,000 archives.
pub const INDEX_LIMIT: u64 = 64 << 20;
/// The version of the format below. A reader refuses others.
const SCHEMA: u32 = 1;

/// What a target has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The format's version.
    schema: u32,
    /// The archives, by key.
    archives: Vec<Entry>,
}

/// One archive: its tarball, beside which lie `.sha256` and record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The tarball's key, relative to the target.
    pub key: String,
    /// The stack it runs on.
    pub stack: StackName,
    /// The formula.
    pub formula: FormulaName,
    /// The version of it. What a script made may have none.
    pub version: Option<Version>,
    /// What it is to the platform.
    pub kind: Kind,
    /// The machine it runs on.
    pub arch: Arch,
    /// How its key is made; none under a name of its own.
    pub layout: Option<Layout>,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
    /// When it was put there.
    pub date: Date,
    /// What it is made of, by its record.
    pub made_of: MadeOf,
}

/// What an archive is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeOf {
    /// The build's identity.
    pub build_id: Sha256,
    /// The set of build options.
    pub profile: String,
    /// Where it was built to be.
    pub prefix: GuestPath,
    /// The source. Its URL holds nothing that authorises.
    pub source: SourceRecord,
    /// The patches, in the order they were applied.
    pub patches: Vec<FileRecord>,
    /// The formula's helper files.
    pub files: Vec<FileRecord>,
    /// Our own artifacts that it was built against.
    pub dependencies: Vec<DependencyRecord>,
    /// The digest of the image it was built in.
    pub build_image: Sha256,
    /// The digest of the image it was proven in.
    pub run_image: Sha256,
    /// Whether the build could reach the network.
    pub network: bool,
    /// The modules that were imported to prove it.
    pub modules: Vec<String>,
    /// The oldest glibc that it runs with.
    pub glibc_floor: Option<Version>,
    /// The libraries of the run image that it asks for.
    pub libraries: BTreeSet<String>,
    /// The bytes of the files in it.
    pub unpacked_size: u64,
    /// The files, links and directories in it.
    pub entries: u64,
    /// `SOURCE_DATE_EPOCH`, in seconds.
    pub source_date_epoch: i64,
    /// What built it.
    pub pybuild: ToolRecord,
}

/// A moment to the second, in UTC: `2026-11-20T07:30:00Z` (RFC 3339).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date(jiff::Timestamp);

/// Why a text is not an index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It is too large to be read.
    #[error("it has more than {INDEX_LIMIT} bytes")]
    TooLong,
    /// It is not JSON, a field is missing, unknown, or holds the wrong thing.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Another pybuild wrote it.
    #[error("it has schema {found}, this pybuild reads {SCHEMA}")]
    Schema {
        /// What it says.
        found: u64,
    },
    /// A key can be none.
    #[error("{key:?} cannot be the key of an archive: {why}")]
    Key {
        /// What it says.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A key comes twice.
    #[error("{key:?} comes twice")]
    Twice {
        /// The key.
        key: String,
    },
}

impl Date {
    /// From seconds since the epoch. What lies beyond the years that can be written is the first
    /// or the last second of them.
    pub fn of(seconds: i64) -> Self {
        let (least, most) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        let seconds = seconds.clamp(least.as_second(), most.as_second());
        Self(jiff::Timestamp::from_second(seconds).unwrap_or(most))
    }

    /// The day: `2026-11-20`.
    pub fn day(&self) -> String {
        self.0.strftime("%Y-%m-%d").to_string()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

impl TryFrom<String> for Date {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = text
            .parse()
            .map(|date: jiff::Timestamp| Self::of(date.as_second()));
        // It can be written in many ways, of which one is ours.
        read.ok()
            .filter(|date: &Self| date.to_string() == text)
            .ok_or_else(|| format!("{text:?} is not a date like 2026-11-20T07:30:00Z"))
    }
}

impl Entry {
    /// What an index says of an archive: of its tarball as it is listed, and what its record says.
    pub fn of(tarball: &Object, record: Record) -> Self {
        let Object {
            key,
            size: _, // the record's has been compared with it
            modified,
        } = tarball;
        let Record {
            schema: _,
            product,
            artifact,
            making,
            needs,
            contents: _, // the record has it, and `inspect` shows it
            source_date_epoch,
            pybuild,
        } = record;
        let ProductRecord {
            name,
            version,
            script: _, // the key shows it
            kind,
            stack,
            arch,
            profile,
            prefix,
            build_id,
        } = product;
        let ArtifactRecord {
            file: _, // the end of the key
            sha256,
            size,
            unpacked_size,
            entries,
        } = artifact;
        let MakingRecord {
            source,
            patches,
            files,
            dependencies,
            archives: _, // few, and the record has them
            build_image,
            run_image,
            steps: _, // long, and the record has them
            env: _,
            network,
            modules,
        } = making;
        let Needs {
            glibc_floor,
            libraries,
        } = needs;
        Self {
            key: key.clone(),
            stack,
            formula: name,
            version,
            kind,
            arch,
            layout: read_key(key).map(|named| named.layout),
            size,
            sha256,
            date: Date::of(*modified),
            made_of: MadeOf {
                build_id,
                profile,
                prefix,
                source: SourceRecord {
                    url: source.url.as_deref().and_then(public),
                    ..source
                },
                patches,
                files,
                dependencies,
                build_image: build_image.digest,
                run_image: run_image.digest,
                network,
                modules,
                glibc_floor,
                libraries,
                unpacked_size,
                entries,
                source_date_epoch,
                pybuild,
            },
        }
    }
}

/// A URL for everybody to follow: on the web, and without what authorises.
fn public(url: &str) -> Option<String> {
    let web = ["https://", "http://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    web.then(|| redact(url))
}

impl Index {
    /// The index of these archives.
    pub fn new(mut archives: Vec<Entry>) -> Self {
        archives.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            schema: SCHEMA,
            archives,
        }
    }

    /// The archives, by key.
    pub fn archives(&self) -> &[Entry] {
        &self.archives
    }

    /// The index as its file holds it: indented, with a line break at the end. The same index
    /// gives the same bytes.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("an index holds nothing that JSON has no form for");
        text.push('\n');
        text
    }

    /// Reads an index. Strict: what is not known is an error, for what is overlooked here would
    /// not be verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        #[derive(Deserialize)]
        struct Probe {
            schema: u64,
        }
        if bytes.len() as u64 > INDEX_LIMIT {
            return Err(IndexError::TooLong);
        }
        // First, so that a later schema is named as such and not by its new fields.
        let Probe { schema } = serde_json::from_slice(bytes)?;
        if schema != u64::from(SCHEMA) {
            return Err(IndexError::Schema { found: schema });
        }
        let index: Self = serde_json::from_slice(bytes)?;
        let mut known = HashSet::new();
        for Entry { key, .. } in &index.archives {
            let wrong = |why| IndexError::Key {
                key: key.clone(),
                why,
            };
            check_key(key).map_err(wrong)?;
            if !survey::is_tarball(key) {
                return Err(wrong("it does not end as a tarball's does"));
            }
            if !known.insert(key) {
                return Err(IndexError::Twice { key: key.clone() });
            }
        }
        Ok(Self::new(index.archives))
    }
}

#[cfg(test)]
mod tests;
