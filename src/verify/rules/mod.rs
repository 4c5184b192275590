//! The rules: what must hold of a target and of each archive in it. Pure functions from what was
//! seen to what is wrong; each rule tells all that it finds, and none stops another.

mod bytes;
mod papers;

use std::fmt;

use serde::{Serialize, Serializer};

use super::facts::{Archive, Facts, Seen};
use super::report::{Checked, Finding};
use crate::publish::INDEX_JSON;
use bytes::{
    compression, contents, digest, digests, has_bytes, has_digest, has_inside, is_absent,
    is_measured, rebuild, safe, size, sizes, whole,
};
use papers::{agreement, index, indexed, name, recorded, sidecars, strays};

/// Something that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the table says what each means
pub enum Rule {
    Present,
    Readable,
    Size,
    Digest,
    Compression,
    Whole,
    Contents,
    Safe,
    Sidecars,
    Agreement,
    Name,
    Recorded,
    Index,
    Uploads,
    Identity,
    Rebuild,
}

/// A rule, what it says, and how it is judged.
pub struct Row {
    /// Which.
    pub rule: Rule,
    /// Its name, in reports.
    pub name: &'static str,
    /// What must hold.
    pub means: &'static str,
    /// Whether enough was seen of an archive to judge it.
    seen: fn(&Archive) -> bool,
    /// Everything about one archive that breaks it.
    archive: fn(&Archive) -> Vec<String>,
    /// Everything else about the target that breaks it: of what, and how.
    target: fn(&Facts) -> Vec<(String, String)>,
}

/// Every rule, in the order in which findings are told.
pub const RULES: [Row; 16] = [
    Row {
        rule: Rule::Present,
        name: "present",
        means: "what is recorded, listed or asked for is there",
        seen: |archive| !matches!(archive.head, Seen::NotLooked) || has_bytes(archive),
        archive: present,
        target: unmatched,
    },
    Row {
        rule: Rule::Readable,
        name: "readable",
        means: "what is there can be read",
        seen: has_bytes,
        archive: readable,
        target: nothing,
    },
    Row {
        rule: Rule::Size,
        name: "size",
        means: "its size is what the listing, the store and the record say",
        seen: |archive| sizes(archive).len() > 1,
        archive: size,
        target: nothing,
    },
    Row {
        rule: Rule::Digest,
        name: "digest",
        means: "its SHA-256 is what .sha256, the record, the store and checksums.lock say",
        seen: |archive| digests(archive).len() > 1 && (has_bytes(archive) || has_digest(archive)),
        archive: digest,
        target: nothing,
    },
    Row {
        rule: Rule::Compression,
        name: "compression",
        means: "it is compressed as its name says",
        seen: has_bytes,
        archive: compression,
        target: nothing,
    },
    Row {
        rule: Rule::Whole,
        name: "whole",
        means: "it decompresses to its end, its tar ends properly, and nothing follows",
        seen: has_inside,
        archive: whole,
        target: nothing,
    },
    Row {
        rule: Rule::Contents,
        name: "contents",
        means: "it holds as many files and bytes as the record says",
        seen: |archive| has_inside(archive) && archive.sound_record().is_some(),
        archive: contents,
        target: nothing,
    },
    Row {
        rule: Rule::Safe,
        name: "safe",
        means: "nothing in it leads out or is a device, setuid, or for anybody to write to",
        seen: has_inside,
        archive: safe,
        target: nothing,
    },
    Row {
        rule: Rule::Sidecars,
        name: "sidecars",
        means: "its .sha256 and its record are both there and say one thing clearly",
        seen: |archive| !matches!(archive.checksum, Seen::NotLooked),
        archive: sidecars,
        target: nothing,
    },
    Row {
        rule: Rule::Agreement,
        name: "agreement",
        means: "its name, its .sha256 and its record agree with one another",
        seen: |archive| archive.sound_checksum().is_some() || archive.sound_record().is_some(),
        archive: agreement,
        target: nothing,
    },
    Row {
        rule: Rule::Name,
        name: "name",
        means: "its name says what it is, in the layout",
        seen: |_| true,
        archive: name,
        target: nothing,
    },
    Row {
        rule: Rule::Recorded,
        name: "recorded",
        means: "a record or checksums.lock says what it should be, and nothing else is there",
        seen: |archive| !archive.recording && !matches!(archive.record, Seen::NotLooked),
        archive: recorded,
        target: strays,
    },
    Row {
        rule: Rule::Index,
        name: "index",
        means: "index.json is one, and its size and SHA-256 are what that says",
        seen: |archive| archive.indexed.is_some() && is_measured(archive),
        archive: indexed,
        target: index,
    },
    Row {
        rule: Rule::Uploads,
        name: "uploads",
        means: "no upload was begun and neither finished nor given up",
        seen: |_| false,
        archive: |_| Vec::new(),
        target: uploads,
    },
    Row {
        rule: Rule::Identity,
        name: "identity",
        means: "what is inside is the software that its name says, and runs on its stack",
        seen: |archive| archive.identity.there().is_some(),
        archive: identity,
        target: nothing,
    },
    Row {
        rule: Rule::Rebuild,
        name: "rebuild",
        means: "built again, it has the same bytes",
        seen: |archive| archive.rebuilt.there().is_some(),
        archive: rebuild,
        target: nothing,
    },
];

impl Rule {
    /// Its row in the table.
    pub fn row(self) -> &'static Row {
        let row = RULES.iter().find(|row| row.rule == self);
        row.expect("every rule has a row, which a test holds")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.row().name)
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Everything that is wrong, by key, then in the order of the rules.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for row in &RULES {
        let finding = |key: &str, detail| Finding {
            key: key.to_owned(),
            rule: row.rule,
            detail,
        };
        for archive in &facts.archives {
            let details = (row.archive)(archive).into_iter();
            found.extend(details.map(|detail| finding(&archive.key, detail)));
        }
        let others = (row.target)(facts).into_iter();
        found.extend(others.map(|(key, detail)| finding(&key, detail)));
    }
    // Stable: of one key and rule, in the order in which they were told.
    found.sort_by(|a, b| (&a.key, a.rule).cmp(&(&b.key, b.rule)));
    found
}

/// What an archive was held against.
pub fn checked(archive: &Archive) -> Checked {
    let stream = archive.bytes.there();
    let size = stream.map(|stream| stream.size);
    let head = archive.head.there().map(|head| head.size);
    let rules = RULES.iter().filter(|row| (row.seen)(archive));
    Checked {
        key: archive.key.clone(),
        size: size.or(head).or(archive.listed),
        sha256: stream.map(|stream| stream.sha256),
        rules: rules.map(|row| row.rule).collect(),
    }
}

fn nothing(_: &Facts) -> Vec<(String, String)> {
    Vec::new()
}

fn present(archive: &Archive) -> Vec<String> {
    if !is_absent(archive) {
        return Vec::new();
    }
    let witnesses = [
        (archive.listed.is_some(), "the listing"),
        (
            !matches!(archive.checksum, Seen::NotLooked | Seen::Absent),
            "its .sha256",
        ),
        (
            !matches!(archive.record, Seen::NotLooked | Seen::Absent),
            "its record",
        ),
        (archive.locked.is_some(), "checksums.lock"),
        (archive.indexed.is_some(), INDEX_JSON),
    ];
    let named: Vec<&str> = witnesses
        .into_iter()
        .filter_map(|(says, what)| says.then_some(what))
        .collect();
    let who = if named.is_empty() {
        "what was asked for".to_owned()
    } else {
        named.join(", ")
    };
    vec![format!("it is not there, though named by {who}")]
}

fn unmatched(facts: &Facts) -> Vec<(String, String)> {
    let what = "nothing there is called so";
    let unmatched = facts.unmatched.iter();
    let mut found: Vec<_> = unmatched
        .map(|asked| (asked.clone(), what.to_owned()))
        .collect();
    // What an index that cannot be read names, nobody knows.
    if facts.archives.is_empty() && found.is_empty() && facts.index.is_none() {
        let what = "no archive is there that could be verified";
        found.push((".".to_owned(), what.to_owned()));
    }
    found
}

fn readable(archive: &Archive) -> Vec<String> {
    let tarball = [unreadable(&archive.bytes), unreadable(&archive.head)];
    let mut found: Vec<String> = tarball
        .into_iter()
        .flatten()
        .take(1)
        .map(|why| format!("it cannot be read: {why}"))
        .collect();
    for (what, why) in [
        (".sha256", unreadable(&archive.checksum)),
        ("record", unreadable(&archive.record)),
    ] {
        found.extend(why.map(|why| format!("its {what} cannot be read: {why}")));
    }
    found
}

fn unreadable<T>(seen: &Seen<T>) -> Option<&str> {
    match seen {
        Seen::Unreadable(why) => Some(why),
        _ => None,
    }
}

fn uploads(facts: &Facts) -> Vec<(String, String)> {
    let told = |(key, since): &(String, i64)| {
        let when = jiff::Timestamp::from_second(*since)
            .map_or_else(|_| since.to_string(), |when| when.to_string());
        let what = format!("an upload was begun at {when} and neither finished nor given up");
        (key.clone(), what)
    };
    facts.uploads.iter().flatten().map(told).collect()
}

fn identity(archive: &Archive) -> Vec<String> {
    archive.identity.there().cloned().unwrap_or_default()
}
