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

use crate::model::{Arch, FormulaName, FormulaRef, GuestPath, Kind, Sha256, StackName, Version};

/// The version of the format below. A reader refuses others.
pub const SCHEMA: u32 = 1;

/// Why a text is not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is not JSON, a field is missing, unknown, or holds the wrong thing.
    #[error("not a record: {0}")]
    Json(#[from] serde_json::Error),
    /// Another pybuild wrote it.
    #[error("the record has schema {found}, this pybuild reads {SCHEMA}")]
    Schema {
        /// What it says.
        found: u64,
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
    /// [`SCHEMA`].
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
    /// Which version of it: `3.11.2`.
    pub version: Version,
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
        if schema != u64::from(SCHEMA) {
            return Err(RecordError::Schema { found: schema });
        }
        let record: Self = serde_json::from_str(text)?;
        for name in [&record.artifact.file, &record.making.source.file] {
            if !is_file_name(name) {
                return Err(RecordError::FileName { name: name.clone() });
            }
        }
        Ok(record)
    }

    /// The formula and version it is of.
    pub fn reference(&self) -> FormulaRef {
        self.product.reference()
    }
}

impl ProductRecord {
    /// The formula and version it is of.
    pub fn reference(&self) -> FormulaRef {
        FormulaRef::new(self.name.clone(), self.version.clone())
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c.is_control())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An origin with something in every field.
    pub(in super::super) fn origin() -> Origin {
        let digest = |text: &str| Sha256::of(text.as_bytes());
        let package = |name: &str, version: &str| PackageRecord {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: "amd64".to_owned(),
        };
        Origin {
            product: ProductRecord {
                name: "python".parse().expect("a name"),
                version: "3.11.2".parse().expect("a version"),
                kind: Kind::Runtime,
                stack: "debian-12".parse().expect("a name"),
                arch: Arch::Amd64,
                profile: "plain".to_owned(),
                prefix: "/app/.heroku/python".parse().expect("a path"),
                build_id: digest("build"),
            },
            making: MakingRecord {
                source: SourceRecord {
                    flavour: "tgz".to_owned(),
                    file: "Python-3.11.2.tgz".to_owned(),
                    sha256: digest("source"),
                    url: Some(
                        "https://www.python.org/ftp/python/3.11.2/Python-3.11.2.tgz".to_owned(),
                    ),
                },
                patches: vec![FileRecord {
                    path: "python/3.11/x.patch".to_owned(),
                    sha256: digest("patch"),
                }],
                files: vec![FileRecord {
                    path: "check.py".to_owned(),
                    sha256: digest("file"),
                }],
                dependencies: vec![DependencyRecord {
                    reference: "sqlite-3.46.1".parse().expect("a reference"),
                    build_id: digest("sqlite"),
                    sha256: digest("sqlite tarball"),
                }],
                build_image: ImageRecord {
                    digest: digest("build image"),
                    packages: vec![package("libc6", "2.36-9"), package("gcc-12", "12.2.0-14")],
                },
                run_image: ImageRecord {
                    digest: digest("run image"),
                    packages: vec![package("libc6", "2.36-9")],
                },
                steps: vec![StepRecord {
                    name: "make".to_owned(),
                    argv: vec!["make".to_owned(), "-j{jobs}".to_owned()],
                    cwd: "/build/source".parse().expect("a path"),
                    env: BTreeMap::new(),
                }],
                env: BTreeMap::from([("LC_ALL".to_owned(), "C.UTF-8".to_owned())]),
                network: false,
                modules: vec!["ssl".to_owned()],
            },
            source_date_epoch: 1_675_728_000,
        }
    }

    pub(in super::super) fn tool() -> ToolRecord {
        ToolRecord {
            version: "0.1.0".to_owned(),
            build_revision: 1,
        }
    }

    fn record() -> Record {
        let needs = Needs {
            glibc_floor: "2.34".parse().ok(),
            libraries: ["libz.so.1", "libc.so.6"].map(str::to_owned).into(),
        };
        let artifact = ArtifactRecord {
            file: "python-3.11.2.tar.gz".to_owned(),
            sha256: Sha256::of(b"tarball"),
            size: 7,
            unpacked_size: 21,
            entries: 3,
        };
        Record::new(origin(), needs, artifact, tool())
    }

    #[test]
    fn the_file_is_stable() {
        insta::assert_snapshot!(record().to_json());
    }

    #[test]
    fn what_is_written_is_read() {
        let text = record().to_json();
        assert!(text.ends_with("}\n"));
        let read = Record::parse(&text).expect("our own record");
        assert_eq!(read, record());
        assert_eq!(read.to_json(), text);
    }

    #[test]
    fn reading_is_strict() {
        let text = record().to_json();
        let changed = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            Record::parse(&text.replacen(from, to, 1))
        };
        assert!(matches!(
            changed("\"schema\": 1", "\"schema\": 2, \"new\": 1"),
            Err(RecordError::Schema { found: 2 })
        ));
        for (from, to) in [
            ("\"network\": false,", ""),
            ("\"network\": false,", "\"network\": false, \"extra\": 1,"),
            ("\"libraries\": [", "\"also\": 1, \"libraries\": ["),
            ("\"kind\": ", "\"schema\": 1, \"kind\": "),
            ("\"kind\": ", "\"arch\": \"amd64\", \"kind\": "),
            ("\"size\": 7,", "\"size\": -7,"),
            ("\"size\": 7,", "\"size\": 7, \"more\": 1,"),
            ("\"debian-12\"", "\"Debian 12\""),
            ("\"/app/.heroku/python\"", "\"app/../python\""),
        ] {
            assert!(
                matches!(changed(from, to), Err(RecordError::Json(_))),
                "{to}"
            );
        }
        for name in ["../x", "/x", "", ".", "..", "a\\nb"] {
            let found = changed("\"python-3.11.2.tar.gz\"", &format!("\"{name}\""));
            assert!(matches!(found, Err(RecordError::FileName { .. })), "{name}");
        }
        assert!(Record::parse("").is_err());
        assert!(Record::parse(&text[..text.len() / 2]).is_err());
    }
}
