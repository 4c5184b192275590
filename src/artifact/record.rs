//! The record: the JSON beside an artifact that says what it is made of and how.
//!
//! It says only what two builds of the same thing have in common, so that it is the same byte for
//! byte: no times, no durations, no paths of a host, no names of users or hosts. What varies is in
//! the log.
//!
//! It also holds all that an in-toto SLSA v1 provenance statement takes: `artifact` is its
//! subject; name, version, stack, arch and profile are the external parameters; source, patches,
//! files, dependencies and image digests are the resolved dependencies; `pybuild` is the builder.
//! A statement is therefore a function of a [`Record`], and goes into a file of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use super::contents::{Component, Contents};
use crate::model::{Arch, FormulaName, FormulaRef, GuestPath, Kind, Sha256, StackName, Version};

/// The version of the format below. A reader refuses later ones.
pub const SCHEMA: u32 = 2;
/// The one before: the same without [`Contents`].
const WITHOUT_CONTENTS: u32 = 1;

/// Why a text is not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is not JSON, a field is missing, unknown, or holds the wrong thing.
    #[error("not a record: {0}")]
    Json(#[from] serde_json::Error),
    /// Another pybuild wrote it.
    #[error("the record has schema {found}, this pybuild reads up to {SCHEMA}")]
    Schema {
        /// What it says.
        found: u64,
    },
    /// What it says of its name, its version and its script does not go together.
    #[error("not a record: its name and version are not those of a formula, or not its script's")]
    Name,
    /// It has what its schema has not, or has not what it has.
    #[error("not a record: one of schema {schema} {}", if *schema == SCHEMA { "says what it holds" } else { "does not say what it holds" })]
    Contents {
        /// What it says.
        schema: u32,
    },
    /// A file name in it is not one.
    #[error("not a record: {name:?} is not the name of a file")]
    FileName {
        /// What it says.
        name: String,
    },
}

/// Everything about an artifact that is known before it is proven and packaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// What it is.
    pub product: ProductRecord,
    /// What it is made of, and how.
    pub making: MakingRecord,
    /// `SOURCE_DATE_EPOCH`, in seconds: no file of it is younger.
    pub source_date_epoch: i64,
}

/// The record of an artifact. The order of the fields, with those of the parts that are laid out
/// flat in their place, is the order in the file.
// serde does not promise that flattened parts and a refusal of unknown fields go together; the
// tests hold it to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`SCHEMA`], or the one that it was written in.
    pub schema: u32,
    /// What it is.
    #[serde(flatten)]
    pub product: ProductRecord,
    /// The tarball.
    pub artifact: ArtifactRecord,
    /// What it is made of, and how.
    #[serde(flatten)]
    pub making: MakingRecord,
    /// What it needs to run.
    #[serde(flatten)]
    pub needs: Needs,
    /// What it holds. Records of schema 1 do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
    /// `SOURCE_DATE_EPOCH`, in seconds: no file of it is younger.
    pub source_date_epoch: i64,
    /// What built it.
    pub pybuild: ToolRecord,
}

/// What an artifact is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductRecord {
    /// Which formula: `python`.
    pub name: FormulaName,
    /// Which version of it: `3.11.2`. A script may have none.
    pub version: Option<Version>,
    /// The script for bob-builder that made it, if one did: `runtimes/python-3.8.8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<FormulaRef>,
    /// What it is to the platform.
    pub kind: Kind,
    /// The stack it was built in, and runs on: `debian-12`.
    pub stack: StackName,
    /// The machine: `amd64`.
    pub arch: Arch,
    /// The set of build options: `plain`.
    pub profile: String,
    /// Where it was built to be: `/app/.heroku/python`.
    pub prefix: GuestPath,
    /// SHA-256 over everything that can change its bytes, but not how they are compressed.
    pub build_id: Sha256,
}

/// What an artifact is made of, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakingRecord {
    /// The source.
    pub source: SourceRecord,
    /// The patches, in the order they were applied.
    pub patches: Vec<FileRecord>,
    /// The formula's helper files.
    pub files: Vec<FileRecord>,
    /// Our own artifacts that it was built against.
    pub dependencies: Vec<DependencyRecord>,
    /// The archives that lay in the prefix when its script began; none for formulae.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<FileRecord>,
    /// The image it was built in.
    pub build_image: ImageRecord,
    /// The image it was proven in.
    pub run_image: ImageRecord,
    /// What was run, in this order. What varies between hosts (`{jobs}`) stays a placeholder.
    pub steps: Vec<StepRecord>,
    /// The environment of every step.
    pub env: BTreeMap<String, String>,
    /// Whether the build could reach the network: then nobody can promise the same bytes again.
    pub network: bool,
    /// The modules that were imported to prove it.
    pub modules: Vec<String>,
}

/// What an artifact needs to run, as the proof has found out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Needs {
    /// The oldest glibc that it runs with; none for what needs no glibc.
    pub glibc_floor: Option<Version>,
    /// The libraries of the run image that it asks for, by the name it asks by.
    pub libraries: BTreeSet<String>,
}

/// The tarball.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactRecord {
    /// Its name: `python-3.11.2.tar.gz`.
    pub file: String,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The bytes of the files in it.
    pub unpacked_size: u64,
    /// The files, links and directories in it.
    pub entries: u64,
}

/// A source tarball.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// Which of the formula's alternatives: `tgz`, `autoconf`.
    pub flavour: String,
    /// Its name.
    pub file: String,
    /// Its digest.
    pub sha256: Sha256,
    /// Where upstream publishes it, if it does. Not where it was fetched from: that varies.
    pub url: Option<String>,
}

/// A file by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its path below the formula's files, or below `patches/`.
    pub path: String,
    /// Its digest.
    pub sha256: Sha256,
}

/// An artifact that another was built against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DependencyRecord {
    /// Which: `sqlite-3.46.1`.
    pub reference: FormulaRef,
    /// Its build id.
    pub build_id: Sha256,
    /// The digest of its tarball.
    pub sha256: Sha256,
}

/// An image of the stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRecord {
    /// The digest of all that it was made of.
    pub digest: Sha256,
    /// What is installed in it, compiler and libraries included.
    pub packages: Vec<PackageRecord>,
}

/// A package of the stack's distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageRecord {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture: `amd64`, `all`.
    pub arch: String,
}

/// One command of the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// Its name in the formula.
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it ran.
    pub cwd: GuestPath,
    /// What it had in its environment beside what every step has.
    pub env: BTreeMap<String, String>,
}

/// The pybuild that built it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolRecord {
    /// Its version.
    pub version: String,
    /// The revision of how it builds, which is part of the build id.
    pub build_revision: u32,
}

impl Record {
    /// Puts together what is known of an artifact. Packages are sorted: their order is an
    /// installer's affair.
    pub fn new(
        origin: Origin,
        needs: Needs,
        contents: Contents,
        artifact: ArtifactRecord,
        pybuild: ToolRecord,
    ) -> Self {
        let Origin {
            product,
            mut making,
            source_date_epoch,
        } = origin;
        making.build_image.packages.sort();
        making.run_image.packages.sort();
        Self {
            schema: SCHEMA,
            product,
            artifact,
            making,
            needs,
            contents: Some(contents),
            source_date_epoch,
            pybuild,
        }
    }

    /// The record as its file holds it: indented, with a line break at the end. The same record
    /// gives the same bytes.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("a record holds nothing that JSON has no form for");
        text.push('\n');
        text
    }

    /// Reads a record. Strict: a field that is not known, or one too few, is an error.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Probe {
            schema: u64,
        }
        // First, so that a later schema is named as such and not by its new fields.
        let Probe { schema } = serde_json::from_str(text)?;
        if ![SCHEMA, WITHOUT_CONTENTS].map(u64::from).contains(&schema) {
            return Err(RecordError::Schema { found: schema });
        }
        let record: Self = serde_json::from_str(text)?;
        if record.contents.is_some() != (record.schema == SCHEMA) {
            let schema = record.schema;
            return Err(RecordError::Contents { schema });
        }
        for name in [&record.artifact.file, &record.making.source.file] {
            if !is_file_name(name) {
                return Err(RecordError::FileName { name: name.clone() });
            }
        }
        if record.product.is_named() {
            Ok(record)
        } else {
            Err(RecordError::Name)
        }
    }

    /// The formula and version it is of.
    pub fn reference(&self) -> FormulaRef {
        self.product.reference()
    }
}

impl ProductRecord {
    /// The formula and version it is of, or the script.
    pub fn reference(&self) -> FormulaRef {
        match (&self.script, &self.version) {
            (Some(script), _) => script.clone(),
            (None, version) => FormulaRef::named(self.name.clone(), version.clone()),
        }
    }

    /// Whether a formula has a version, and a script is of the name and version that are said.
    fn is_named(&self) -> bool {
        match &self.script {
            None => self.version.is_some(),
            Some(script) => {
                let text = |version: Option<&Version>| version.map(Version::to_string);
                script.is_script()
                    && *script.name() == self.name
                    && text(script.version()) == text(self.version.as_ref())
            }
        }
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c.is_control())
}

#[cfg(test)]
pub(crate) mod tests;
