//! What hostile and broken archives are refused for, and the limits that hold for all.

use std::io::Write as _;

use pybuild::archive::{ArchiveError, Extract, Limits, Trust, extract};

use crate::place::Place;
use crate::tarball::{Entry, tar};

/// What neither kind of archive may do.
#[allow(clippy::too_many_lines)] // one table
pub(crate) fn everywhere() -> Vec<(&'static str, Vec<u8>)> {
    let outside = "../outside/kept";
    vec![
        ("up", tar().file("../x", "x").end()),
        ("up later", tar().file("a/../../x", "x").end()),
        ("up inside", tar().file("a/../x", "x").end()),
        ("up at the end", tar().dir("a").dir("a/..").end()),
        ("the root as a symlink", tar().symlink("./", "/tmp").end()),
        ("the root as a file", tar().file(".", "x").end()),
        (
            "the root as a link",
            tar().file("a", "x").hard_link("/", "a").end(),
        ),
        ("no name", tar().file("", "x").end()),
        ("hard link up", tar().hard_link("l", outside).end()),
        (
            "hard link to nothing",
            tar().hard_link("l", "nothing").end(),
        ),
        (
            "hard link to a symlink",
            tar().symlink("s", outside).hard_link("l", "s").end(),
        ),
        (
            "hard link to a directory",
            tar().dir("d").hard_link("l", "d").end(),
        ),
        ("a symlink to nowhere named", tar().symlink("l", "").end()),
        (
            "below a file",
            tar().file("f", "x").file("f/below", "x").end(),
        ),
        ("a volume label", tar().other(b'V', "label", "", 0).end()),
        ("a sparse file", tar().other(b'S', "sparse", "", 0).end()),
        (
            "a pax sparse file",
            tar()
                .pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.name", "x")])
                .file("f", "x")
                .end(),
        ),
        (
            "a directory with content",
            tar()
                .entry(&Entry {
                    name: b"d",
                    flag: b'5',
                    data: b"x",
                    ..Entry::default()
                })
                .end(),
        ),
        (
            "a link with content",
            tar()
                .entry(&Entry {
                    name: b"l",
                    flag: b'2',
                    link: b"x",
                    data: b"x",
                    ..Entry::default()
                })
                .end(),
        ),
        (
            "two sizes (CVE-2025-62518)",
            tar()
                .pax(&[("size", "512")])
                .entry(&Entry {
                    name: b"f",
                    size: Some(0),
                    data: &[b'x'; 512],
                    ..Entry::default()
                })
                .end(),
        ),
        (
            "pax and GNU names together",
            tar()
                .pax(&[("path", "a")])
                .extension(b'L', b"b\0")
                .file("c", "x")
                .end(),
        ),
        (
            "two pax headers",
            tar()
                .pax(&[("path", "a")])
                .pax(&[("path", "b")])
                .file("c", "x")
                .end(),
        ),
        (
            "two long names",
            tar()
                .extension(b'L', b"a\0")
                .extension(b'L', b"b\0")
                .file("c", "x")
                .end(),
        ),
        (
            "a long name with a NUL",
            tar().extension(b'L', b"a\0b\0").file("c", "x").end(),
        ),
        (
            "a pax header and nothing",
            tar().pax(&[("path", "a")]).end(),
        ),
        (
            "a pax path up",
            tar().pax(&[("path", "../x")]).file("a", "x").end(),
        ),
        (
            "a global path",
            tar().extension(b'g', b"9 path=a\n").file("b", "x").end(),
        ),
        (
            "a global link",
            tar()
                .extension(b'g', b"14 linkpath=a\n")
                .file("b", "x")
                .end(),
        ),
        (
            "a global size",
            tar().extension(b'g', b"9 size=1\n").file("b", "x").end(),
        ),
        ("no end", tar().file("a", "x").0),
        ("nothing", Vec::new()),
        ("half an end", {
            let mut archive = tar().file("a", "x").end();
            archive.truncate(archive.len() - 512);
            archive
        }),
        ("a member after zeros", {
            let mut archive = tar().file("a", "x").0;
            archive.resize(archive.len() + 512, 0);
            archive.extend(tar().file("b", "x").end());
            archive
        }),
        ("a member after the end", {
            let mut archive = tar().file("a", "x").end();
            archive.extend(tar().file("b", "x").end());
            archive
        }),
        ("cut in a file", {
            let mut archive = tar().file("a", &"x".repeat(2000)).end();
            archive.truncate(1500);
            archive
        }),
        ("no tar at all", b"<!DOCTYPE html>".repeat(100)),
    ]
}

#[test]
fn what_is_refused_everywhere() {
    for (what, archive) in everywhere() {
        for trust in [Trust::Layer, Trust::Sealed] {
            let place = Place::new();
            assert!(place.extract(trust, &archive).is_err(), "{what}, {trust:?}");
        }
    }
}

/// What only a sealed archive must not do, since nothing but mistakes and attacks does it there.
#[test]
fn what_is_refused_in_sealed_archives() {
    let cases = [
        ("absolute", tar().file("/etc/passwd", "x")),
        ("absolute link", tar().file("a", "x").hard_link("b", "/a")),
        ("twice", tar().file("a", "x").file("./a", "y")),
        ("a symlink twice", tar().symlink("l", "x").symlink("l", "x")),
        (
            "a hard link twice",
            tar().file("a", "x").hard_link("l", "a").hard_link("l", "a"),
        ),
        (
            "a file, then a hard link to itself",
            tar().file("a", "x").hard_link("a", "a"),
        ),
        ("a directory twice", tar().dir("a").dir("a/")),
        ("a file, then a directory", tar().file("a", "x").dir("a")),
        ("a directory, then a file", tar().dir("a").file("a", "x")),
        (
            "through a link",
            tar().dir("d").symlink("l", "d").file("l/f", "x"),
        ),
        ("over a link", tar().dir("d").symlink("l", "d").dir("l")),
        (
            "a link through a link",
            tar()
                .dir("d")
                .file("d/f", "x")
                .symlink("l", "d")
                .hard_link("h", "l/f"),
        ),
        ("a device", tar().other(b'3', "null", "", 0o666)),
        ("a pipe", tar().other(b'6', "pipe", "", 0o666)),
    ];
    for (what, archive) in cases {
        let place = Place::new();
        assert!(
            place.extract(Trust::Sealed, &archive.end()).is_err(),
            "{what}"
        );
    }
}

#[test]
fn links_that_loop_are_refused() {
    let place = Place::new();
    let archive = tar()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/f", "x")
        .end();
    let error = place.extract(Trust::Layer, &archive).expect_err("a loop");
    assert!(error.to_string().contains("without end"), "{error}");
}

#[test]
fn limits_hold() {
    let place = Place::new();
    let many = tar().file("a", "x").file("b", "x").file("c", "x").end();
    let large = tar().file("a", &"x".repeat(100)).end();
    let huge = tar()
        .entry(&Entry {
            name: b"x",
            flag: b'x',
            size: Some(8 << 30),
            ..Entry::default()
        })
        .end();
    let limits = Limits {
        entries: 2,
        bytes: 99,
    };
    for (archive, what) in [(many, "members"), (large, "bytes"), (huge, "extension")] {
        let how = Extract {
            limits: limits.clone(),
            ..Extract::new(place.root(), Trust::Layer)
        };
        let error = extract(&archive[..], &how).expect_err(what);
        assert!(matches!(error, ArchiveError::Limit { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_compressed_archive_is_checked_to_its_last_byte() {
    let place = Place::new();
    let archive = tar().file("a", "x").end();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&archive).expect("memory");
    let mut stream = encoder.finish().expect("memory");
    let last = stream.len() - 5; // in the checksum, after all content
    stream[last] ^= 1;
    let reader = pybuild::archive::decoder(&stream[..]).expect("gzip");
    let error = extract(reader, &Extract::new(place.root(), Trust::Sealed));
    assert!(matches!(error, Err(ArchiveError::Read(_))));
}
