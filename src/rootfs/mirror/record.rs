//! What a mirror says of a stack besides its images: pybuild's own record. Pure.

use serde::{Deserialize, Serialize};

use crate::model::{Arch, Sha256, StackName};
use crate::rootfs::{Image, Package, Rootfs, Source};

const SCHEMA: u32 = 1;
/// The annotation of the index that names the record's blob.
pub(super) const ANNOTATION: &str = "pybuild.stack.record";
/// Packages of an image that are named where two lists differ.
const SHOWN: usize = 3;

/// A stack as another host has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    schema: u32,
    pub(super) stack: StackName,
    pub(super) arch: Arch,
    /// What the store of that host files it under: what its manifest says of where it comes from.
    pub(super) key: Sha256,
    /// Where it came from, in a few words.
    pub(super) origin: Option<String>,
    pub(super) build: Claim,
    pub(super) run: Claim,
}

/// What is said of an image, and cannot be told from its layers alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    pub(super) digest: Sha256,
    pub(super) packages: Vec<Package>,
    pub(super) source: Option<Source>,
}

impl Record {
    pub(super) fn new(rootfs: &Rootfs, key: Sha256) -> Self {
        let claim = |image: &Image| Claim {
            digest: image.digest,
            packages: image.packages.clone(),
            source: image.source.clone(),
        };
        Self {
            schema: SCHEMA,
            stack: rootfs.stack.clone(),
            arch: rootfs.arch,
            key,
            origin: rootfs.origin.clone(),
            build: claim(&rootfs.build),
            run: claim(&rootfs.run),
        }
    }

    /// Reads one. What is wrong with it is told without quoting it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("something is missing, or of another type, at line {line}, column {column}")
        })?;
        if record.schema != SCHEMA {
            return Err(format!(
                "it is of schema {}, this pybuild reads {SCHEMA}",
                record.schema
            ));
        }
        Ok(record)
    }
}

/// In what a list of packages differs from the one that an image has: what is claimed and is not
/// there, what is there and is not claimed.
pub(super) fn differ(claimed: &[Package], found: &[Package]) -> Option<(String, String)> {
    let sorted = |list: &[Package]| {
        let mut list: Vec<String> = list.iter().map(shown).collect();
        list.sort();
        list
    };
    let (claimed, found) = (sorted(claimed), sorted(found));
    if claimed == found {
        return None;
    }
    let only = |these: &[String], others: &[String]| {
        let only: Vec<&str> = these
            .iter()
            .filter(|one| others.binary_search(one).is_err())
            .map(String::as_str)
            .collect();
        match &only[..] {
            [] => "nothing else".to_owned(),
            few if few.len() <= SHOWN => few.join(", "),
            many => format!(
                "{} and {} more",
                many[..SHOWN].join(", "),
                many.len() - SHOWN
            ),
        }
    };
    Some((only(&claimed, &found), only(&found, &claimed)))
}

fn shown(package: &Package) -> String {
    let Package {
        name,
        version,
        arch,
    } = package;
    format!("{name} {version} ({arch})")
        .escape_debug()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: "all".to_owned(),
        }
    }

    #[test]
    fn lists_of_packages_differ_in_what_is_told() {
        let list = |text: &str| -> Vec<Package> {
            let names = text.split_whitespace();
            names.map(|name| package(name, "1")).collect()
        };
        assert_eq!(differ(&list("a b"), &list("b a")), None);
        let told =
            |claimed: &str, found: &str| differ(&list(claimed), &list(found)).expect("they differ");
        let nothing = || "nothing else".to_owned();
        assert_eq!(told("a b", "a"), ("b 1 (all)".to_owned(), nothing()));
        assert_eq!(told("a", "a b"), (nothing(), "b 1 (all)".to_owned()));
        assert_eq!(
            told("a b c d e f", "a").0,
            "b 1 (all), c 1 (all), d 1 (all) and 2 more"
        );
        let newer = differ(&list("a"), &[package("a", "2\u{1b}[m")]).expect("they differ");
        assert_eq!(newer.1, "a 2\\u{1b}[m (all)");
        // The same name twice is not once.
        assert!(differ(&list("a a"), &list("a")).is_some());
    }

    #[test]
    fn what_is_no_record_is_told_without_quoting_it() {
        for text in ["", "canary", "{}", r#"{"schema":1,"canary":1}"#] {
            let why = Record::parse(text.as_bytes()).expect_err(text);
            assert!(!why.contains("canary"), "{why}");
        }
    }
}
