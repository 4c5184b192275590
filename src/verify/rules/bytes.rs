//! Rules about a tarball's bytes: what they are, and what they are said to be.

use crate::model::Sha256;

use super::super::facts::{Archive, Seen};
use super::super::stream::{Inside, Stream};

pub(super) fn has_bytes(archive: &Archive) -> bool {
    archive.bytes.there().is_some()
}

pub(super) fn has_inside(archive: &Archive) -> bool {
    inside(archive).is_some()
}

pub(super) fn has_digest(archive: &Archive) -> bool {
    archive
        .head
        .there()
        .is_some_and(|head| head.sha256.is_some())
}

pub(super) fn is_absent(archive: &Archive) -> bool {
    matches!(archive.bytes, Seen::Absent) || matches!(archive.head, Seen::Absent)
}

/// Whether anything is known of it but what is said of it.
pub(super) fn is_measured(archive: &Archive) -> bool {
    measured(archive).0.is_some()
}

/// Its size and its digest, as far as they are known from itself and not from what is said of it.
pub(super) fn measured(archive: &Archive) -> (Option<u64>, Option<Sha256>) {
    let bytes = archive.bytes.there();
    let head = archive.head.there();
    let size = bytes.map(|stream| stream.size);
    let size = size.or(head.map(|head| head.size)).or(archive.listed);
    let sha256 = bytes.map(|stream| stream.sha256);
    (size, sha256.or(head.and_then(|head| head.sha256)))
}

pub(super) fn inside(archive: &Archive) -> Option<&Inside> {
    archive.bytes.there()?.inside.as_ref()
}

/// Who says what of its size; the first is believed.
pub(super) fn sizes(archive: &Archive) -> Vec<(&'static str, u64)> {
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

pub(super) fn size(archive: &Archive) -> Vec<String> {
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
pub(super) fn digests(archive: &Archive) -> Vec<(&'static str, Sha256)> {
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

pub(super) fn digest(archive: &Archive) -> Vec<String> {
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

pub(super) fn compression(archive: &Archive) -> Vec<String> {
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

pub(super) fn whole(archive: &Archive) -> Vec<String> {
    match inside(archive) {
        Some(Inside::Broken(why)) => vec![why.clone()],
        Some(Inside::Whole { entries: 0, .. }) => vec!["there is nothing in it".to_owned()],
        Some(Inside::Whole { .. }) | None => Vec::new(),
    }
}

pub(super) fn contents(archive: &Archive) -> Vec<String> {
    let whole = inside(archive).zip(archive.sound_record());
    let Some((
        Inside::Whole {
            entries,
            bytes,
            directories,
            ..
        },
        record,
    )) = whole
    else {
        return Vec::new();
    };
    let said = &record.artifact;
    let recorded = record.contents.iter();
    let recorded = recorded.flat_map(|contents| &contents.directories);
    let recorded = recorded.filter_map(|(path, said)| {
        let is = directories.get(path).copied().unwrap_or_default();
        (is != *said).then(|| format!("it has {is} bytes in `{path}`, the record says {said}"))
    });
    [
        ("entries", *entries, said.entries),
        ("bytes unpacked", *bytes, said.unpacked_size),
    ]
    .into_iter()
    .filter(|(_, is, said)| is != said)
    .map(|(what, is, said)| format!("it has {is} {what}, the record says {said}"))
    .chain(recorded)
    .collect()
}

pub(super) fn safe(archive: &Archive) -> Vec<String> {
    let Some(Inside::Whole { wrong, .. }) = inside(archive) else {
        return Vec::new();
    };
    let mut told = wrong.told.clone();
    if wrong.count > told.len() {
        told.push(format!("and {} more of these", wrong.count - told.len()));
    }
    told
}

pub(super) fn rebuild(archive: &Archive) -> Vec<String> {
    let (Some(again), Some(stream)) = (archive.rebuilt.there(), archive.bytes.there()) else {
        return Vec::new();
    };
    if *again == stream.sha256 {
        return Vec::new();
    }
    let is = stream.sha256;
    vec![format!("built again, its SHA-256 is {again}, not {is}")]
}
