//! Layers as streams: bombs, ends that are none, headers that contradict each other.

use std::fs;
use std::io::Write as _;

use pybuild::archive::{ArchiveError, Limits, Merge};

use crate::place::Place;
use crate::tarball::{Entry, tar};

fn apply(blob: &[u8], limits: &Limits) -> Result<(), ArchiveError> {
    let place = Place::new();
    let applied = Merge::new(place.root())?.apply(blob, limits).map(drop);
    place.assert_outside_is_untouched();
    applied
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

fn zst(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).expect("memory")
}

fn xz(data: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn bombs_end_at_the_limits() {
    let limits = Limits {
        entries: 1000,
        bytes: 1 << 20,
    };
    let large = tar().file("x", &"\0".repeat(2 << 20)).end();
    let many = (0..1001)
        .fold(tar(), |tar, n| tar.file(&format!("{n}"), ""))
        .end();
    let ignored = (0..1001)
        .fold(tar(), |tar, _| tar.file(".wh..wh.aufs", ""))
        .end();
    let globals = (0..2001)
        .fold(tar(), |tar, _| tar.extension(b'g', b"13 comment=x\n"))
        .end();
    // Three records of half a megabyte: of 500,000 bytes each, their own length included.
    let comment = format!("500000 comment={}\n", "x".repeat(500_000 - 16));
    let comments = (0..3)
        .fold(tar(), |tar, _| tar.extension(b'g', comment.as_bytes()))
        .end();
    let padding = [tar().file("x", "").end(), vec![0; 65 << 20]].concat();
    let table = [
        ("large", large, "bytes unpacked"),
        ("many", many, "members"),
        ("many that are ignored", ignored, "members"),
        ("global headers", globals, "extension headers"),
        ("long global headers", comments, "bytes unpacked"),
        ("padding", padding, "bytes after the end"),
    ];
    for (what, archive, limit) in table {
        let blobs = [archive.clone(), gzip(&archive), zst(&archive), xz(&archive)];
        for blob in blobs {
            let error = apply(&blob, &limits).expect_err(what);
            assert!(
                matches!(error, ArchiveError::Limit { .. }),
                "{what}: {error}"
            );
            assert!(error.to_string().contains(limit), "{what}: {error}");
        }
    }
    assert_eq!(Limits::default().entries, 1_000_000);
}

/// A million members that take nothing and leave nothing: a layer that the limit on bytes does not
/// end, and neither does one on what is put there.
#[test]
fn a_million_empty_members_end_at_the_limit() {
    let members: [(&str, Vec<u8>); 2] = [
        ("ignored", tar().file(".wh..wh.aufs", "").0),
        ("whiteouts", tar().file(".wh.x", "").0),
    ];
    for (what, member) in members {
        let chunk = member.repeat(1000);
        let all = (0..1001).map(|_| &chunk[..]);
        let mut packed = zstd::Encoder::new(Vec::new(), 1).expect("memory");
        all.for_each(|chunk| packed.write_all(chunk).expect("memory"));
        let packed = packed.finish().expect("memory");
        assert!(packed.len() < 1 << 20, "it is small");
        let error = apply(&packed, &Limits::default()).expect_err(what);
        let expected = "the archive has more than 1000000 members";
        assert_eq!(error.to_string(), expected, "{what}");
    }
}

#[test]
fn streams_are_read_to_their_very_end() {
    let limits = Limits::default();
    let archive = tar().file("a", "x").end();
    let fine = [
        archive.clone(),
        gzip(&archive),
        zst(&archive),
        xz(&archive),
        // Two members are one stream (RFC 1952, 2.2), which stargz and pigz make use of.
        [gzip(&archive[..512]), gzip(&archive[512..])].concat(),
        [zst(&archive[..512]), zst(&archive[512..])].concat(),
        // Without the mark at the end, or with half of it; the diff id tells whether it was cut.
        archive[..1024].to_vec(),
        archive[..1536].to_vec(),
        // Nothing at all is a layer that changes nothing.
        Vec::new(),
        gzip(&[0; 1024]),
    ];
    for (n, blob) in fine.iter().enumerate() {
        apply(blob, &limits).unwrap_or_else(|error| panic!("{n}: {error}"));
    }
    let compressed = [gzip(&archive), zst(&archive), xz(&archive)];
    let mut broken: Vec<Vec<u8>> = Vec::new();
    for blob in &compressed {
        broken.push([&blob[..], b"garbage!"].concat());
        broken.push(blob[..blob.len() - 1].to_vec());
        broken.push(blob[..blob.len() / 2].to_vec());
    }
    broken.push([&archive[..], b"garbage!"].concat());
    broken.push([&archive[..], &archive[..]].concat());
    broken.push(archive[..700].to_vec());
    broken.push(archive[..100].to_vec());
    broken.push(b"<!DOCTYPE html>".repeat(100));
    let mut wrong = gzip(&archive);
    let crc = wrong.len() - 5;
    wrong[crc] ^= 1;
    broken.push(wrong);
    for (n, blob) in broken.iter().enumerate() {
        assert!(apply(blob, &limits).is_err(), "{n}");
    }
}

/// What two readers would see in two ways, nobody gets.
#[test]
fn headers_that_contradict_each_other_are_refused() {
    let table = [
        (
            "two sizes",
            tar().pax(&[("size", "512")]).entry(&Entry {
                name: b"f",
                size: Some(0),
                data: &[b'x'; 512],
                ..Entry::default()
            }),
        ),
        (
            "pax and GNU",
            tar()
                .pax(&[("path", "a")])
                .extension(b'L', b"b\0")
                .file("c", "x"),
        ),
        (
            "two pax headers",
            tar()
                .pax(&[("path", "a")])
                .pax(&[("path", "b")])
                .file("c", ""),
        ),
        ("a pax header of nothing", tar().pax(&[("path", "a")])),
        (
            "a pax record without end",
            tar().extension(b'x', b"99 path=a\n").file("c", ""),
        ),
        (
            "a huge pax header",
            tar().extension(b'x', &vec![b'x'; 2 << 20]).file("c", ""),
        ),
        (
            "a huge long name",
            tar().extension(b'L', &vec![b'x'; 2 << 20]).file("c", ""),
        ),
        (
            "a long name without end",
            tar().extension(b'L', b"a\0b").file("c", ""),
        ),
        ("a sparse file", tar().other(b'S', "s", "", 0o644)),
        (
            "a sparse bomb",
            tar()
                .pax(&[
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.realsize", "99999999999999"),
                ])
                .file("s", "x"),
        ),
        (
            "a file longer than all disks",
            tar().pax(&[("size", "99999999999999")]).file("f", "x"),
        ),
    ];
    for (what, archive) in table {
        let place = Place::new();
        assert!(place.merge(&[archive.end()]).is_err(), "{what}");
        assert_eq!(
            fs::read_dir(place.root()).expect("readdir").count(),
            0,
            "{what}"
        );
    }
}
