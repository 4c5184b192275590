//! Rules about what says what a tarball is: its name, its `.sha256`, its record, the lock.

use crate::publish::{INDEX_JSON, misplaced};

use super::super::facts::{Archive, Facts, Seen, Sidecar};
use super::bytes::{is_absent, measured};

pub(super) fn sidecars(archive: &Archive) -> Vec<String> {
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

pub(super) fn agreement(archive: &Archive) -> Vec<String> {
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
    if record.artifact.file != archive.file() {
        found.push(format!("its record is of `{}`", record.artifact.file));
    }
    found.extend(misplaced(&archive.key, record).map(|flaw| flaw.to_string()));
    found
}

pub(super) fn name(archive: &Archive) -> Vec<String> {
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

pub(super) fn recorded(archive: &Archive) -> Vec<String> {
    let absent = matches!(archive.record, Seen::Absent) && matches!(archive.checksum, Seen::Absent);
    if absent && !is_absent(archive) && archive.locked.is_none() && !archive.recording {
        let what = "neither .sha256 nor record nor checksums.lock says what it should be";
        return vec![what.to_owned()];
    }
    Vec::new()
}

pub(super) fn strays(facts: &Facts) -> Vec<(String, String)> {
    let what = "it belongs to no archive";
    let strays = facts.strays.iter();
    strays.map(|key| (key.clone(), what.to_owned())).collect()
}

pub(super) fn indexed(archive: &Archive) -> Vec<String> {
    let Some(said) = archive.indexed else {
        return Vec::new();
    };
    if is_absent(archive) {
        return Vec::new(); // which another rule tells
    }
    let (size, sha256) = measured(archive);
    let mut found = Vec::new();
    if let Some(size) = size
        && size != said.size
    {
        let said = said.size;
        found.push(format!("it has {size} bytes, {INDEX_JSON} says {said}"));
    }
    if let Some(sha256) = sha256
        && sha256 != said.sha256
    {
        let said = said.sha256;
        found.push(format!("its SHA-256 is {sha256}, {INDEX_JSON} says {said}"));
    }
    found
}

pub(super) fn index(facts: &Facts) -> Vec<(String, String)> {
    let wrong = facts.index.iter();
    wrong
        .map(|why| (INDEX_JSON.to_owned(), why.clone()))
        .collect()
}
