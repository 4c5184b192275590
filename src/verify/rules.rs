//! The rules: what must hold of a target and of each archive in it. Pure functions from what was
//! seen to what is wrong; each rule tells all that it finds, and none stops another.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::model::Sha256;
use crate::publish::{Named, keys};

use super::facts::{Archive, Facts, Seen, Sidecar};
use super::report::{Checked, Finding};
use super::stream::{Inside, Stream};

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
pub const RULES: [Row; 15] = [
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

fn has_bytes(archive: &Archive) -> bool {
    archive.bytes.there().is_some()
}

fn has_inside(archive: &Archive) -> bool {
    inside(archive).is_some()
}

fn has_digest(archive: &Archive) -> bool {
    archive
        .head
        .there()
        .is_some_and(|head| head.sha256.is_some())
}

fn is_absent(archive: &Archive) -> bool {
    matches!(archive.bytes, Seen::Absent) || matches!(archive.head, Seen::Absent)
}

fn inside(archive: &Archive) -> Option<&Inside> {
    archive.bytes.there()?.inside.as_ref()
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
    if facts.archives.is_empty() && found.is_empty() {
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

/// Who says what of its size; the first is believed.
fn sizes(archive: &Archive) -> Vec<(&'static str, u64)> {
    let sizes = [
        (
            "the tarball",
            archive.bytes.there().map(|stream| stream.size),
        ),
        ("the store", archive.head.there().map(|head| head.size)),
        ("the listing", archive.listed),
        (
            "the record",
            archive.sound_record().map(|record| record.artifact.size),
        ),
    ];
    let said = sizes.into_iter();
    said.filter_map(|(who, size)| Some((who, size?))).collect()
}

fn size(archive: &Archive) -> Vec<String> {
    let sizes = sizes(archive);
    let Some((_, is)) = sizes.first() else {
        return Vec::new();
    };
    let others = sizes[1..].iter().filter(|(_, said)| said != is);
    others
        .map(|(who, said)| format!("it has {is} bytes, {who} says {said}"))
        .collect()
}

/// Who says what of its digest; the first is believed.
fn digests(archive: &Archive) -> Vec<(&'static str, Sha256)> {
    let digests = [
        (
            "the tarball",
            archive.bytes.there().map(|stream| stream.sha256),
        ),
        (
            "the store",
            archive.head.there().and_then(|head| head.sha256),
        ),
        (
            "its .sha256",
            archive.sound_checksum().map(|checksum| checksum.digest),
        ),
        (
            "the record",
            archive.sound_record().map(|record| record.artifact.sha256),
        ),
        ("checksums.lock", archive.locked),
    ];
    let said = digests.into_iter();
    said.filter_map(|(who, digest)| Some((who, digest?)))
        .collect()
}

fn digest(archive: &Archive) -> Vec<String> {
    if !has_bytes(archive) && !has_digest(archive) {
        return Vec::new(); // whether the sidecars agree is another rule's
    }
    let digests = digests(archive);
    let Some((_, is)) = digests.first() else {
        return Vec::new();
    };
    let others = digests[1..].iter().filter(|(_, said)| said != is);
    others
        .map(|(who, said)| format!("its SHA-256 is {is}, {who} says {said}"))
        .collect()
}

fn compression(archive: &Archive) -> Vec<String> {
    let Some(Stream { codec, .. }) = archive.bytes.there() else {
        return Vec::new();
    };
    let wanted = archive.codec.extension();
    match codec {
        Some(codec) if *codec == archive.codec => Vec::new(),
        Some(codec) => vec![format!(
            "it is compressed as {}, not {wanted}",
            codec.extension()
        )],
        None => vec![format!("it is not compressed as {wanted}")],
    }
}

fn whole(archive: &Archive) -> Vec<String> {
    match inside(archive) {
        Some(Inside::Broken(why)) => vec![why.clone()],
        Some(Inside::Whole { entries: 0, .. }) => vec!["there is nothing in it".to_owned()],
        Some(Inside::Whole { .. }) | None => Vec::new(),
    }
}

fn contents(archive: &Archive) -> Vec<String> {
    let (Some(Inside::Whole { entries, bytes, .. }), Some(record)) =
        (inside(archive), archive.sound_record())
    else {
        return Vec::new();
    };
    let said = &record.artifact;
    [
        ("entries", *entries, said.entries),
        ("bytes unpacked", *bytes, said.unpacked_size),
    ]
    .into_iter()
    .filter(|(_, is, said)| is != said)
    .map(|(what, is, said)| format!("it has {is} {what}, the record says {said}"))
    .collect()
}

fn safe(archive: &Archive) -> Vec<String> {
    let Some(Inside::Whole { wrong, .. }) = inside(archive) else {
        return Vec::new();
    };
    let mut told = wrong.told.clone();
    if wrong.count > told.len() {
        told.push(format!("and {} more of these", wrong.count - told.len()));
    }
    told
}

fn sidecars(archive: &Archive) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(Sidecar::Wrong(why)) = archive.checksum.there() {
        found.push(format!("its .sha256 is not one: {why}"));
    }
    if let Some(Sidecar::Wrong(why)) = archive.record.there() {
        found.push(format!("its record is not one: {why}"));
    }
    // One that was adopted never had any.
    let adopted = archive.locked.is_some() || archive.recording;
    let absent = [
        matches!(archive.checksum, Seen::Absent),
        matches!(archive.record, Seen::Absent),
    ];
    match absent {
        [true, false] => found.push("its .sha256 is missing".to_owned()),
        [false, true] if !adopted => found.push("its record is missing".to_owned()),
        _ => {}
    }
    found
}

fn agreement(archive: &Archive) -> Vec<String> {
    let mut found = Vec::new();
    let (checksum, record) = (archive.sound_checksum(), archive.sound_record());
    if let (Some(checksum), Some(record)) = (checksum, record)
        && checksum.digest != record.artifact.sha256
    {
        let (one, other) = (checksum.digest, record.artifact.sha256);
        found.push(format!("its .sha256 says {one}, its record {other}"));
    }
    if let Some(checksum) = checksum
        && checksum.file != archive.file()
    {
        found.push(format!("its .sha256 is of `{}`", checksum.file));
    }
    let Some(record) = record else {
        return found;
    };
    let reference = record.reference();
    if record.artifact.file != archive.file() {
        found.push(format!("its record is of `{}`", record.artifact.file));
    }
    let key = |layout| {
        let (stack, kind, arch) = (&record.stack, record.kind, record.arch);
        keys(layout, stack, kind, &reference, arch, archive.codec, None).tarball
    };
    match &archive.named {
        Some(Named { layout, .. }) if key(*layout) != archive.key => {
            let should = key(*layout);
            found.push(format!("its record is of what belongs at `{should}`"));
        }
        Some(_) => {}
        // Under a name of its own: the first directory, if there is one, is the stack's.
        None => {
            let directory = archive.key.split_once('/').map(|(first, _)| first);
            if directory.is_some_and(|directory| directory != record.stack.as_str()) {
                found.push(format!("its record is of the stack {}", record.stack));
            }
        }
    }
    found
}

fn name(archive: &Archive) -> Vec<String> {
    if is_absent(archive) {
        return Vec::new();
    }
    // A name of its own is fine where a record or a person has said what it is.
    if archive.named.is_some()
        || archive.sound_record().is_some()
        || archive.locked.is_some()
        || archive.recording
    {
        return Vec::new();
    }
    vec!["its name is none that pybuild publishes under: nothing says what it is".to_owned()]
}

fn recorded(archive: &Archive) -> Vec<String> {
    let absent = matches!(archive.record, Seen::Absent) && matches!(archive.checksum, Seen::Absent);
    if absent && !is_absent(archive) && archive.locked.is_none() && !archive.recording {
        let what = "neither .sha256 nor record nor checksums.lock says what it should be";
        return vec![what.to_owned()];
    }
    Vec::new()
}

fn strays(facts: &Facts) -> Vec<(String, String)> {
    let what = "it belongs to no archive";
    let strays = facts.strays.iter();
    strays.map(|key| (key.clone(), what.to_owned())).collect()
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

fn rebuild(archive: &Archive) -> Vec<String> {
    let (Some(again), Some(stream)) = (archive.rebuilt.there(), archive.bytes.there()) else {
        return Vec::new();
    };
    if *again == stream.sha256 {
        return Vec::new();
    }
    let is = stream.sha256;
    vec![format!("built again, its SHA-256 is {again}, not {is}")]
}
