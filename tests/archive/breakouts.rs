//! Layers that want out: of each, whether it is refused, and what is there afterwards. Beside the
//! root lies what must not change; `Place::merge` looks at it after each.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use pybuild::archive::{ArchiveError, Limits, Merge};

use crate::place::Place;
use crate::tarball::{Entry, Tarball, tar};

/// What comes of a case.
enum Outcome {
    /// The layer is refused, for a reason that says this.
    Refused(&'static str),
    /// It is applied, and these are in the root then.
    Inside(&'static [&'static str]),
}
use Outcome::{Inside, Refused};

/// Layers for a place: their symlinks may lead to what is beside its root by an absolute path.
type Case = (&'static str, fn(&str) -> Vec<Tarball>, Outcome);

#[allow(clippy::too_many_lines)] // one table
fn cases() -> Vec<Case> {
    vec![
        (
            "up",
            |_| vec![tar().file("../outside/kept", "x")],
            Refused("`..`"),
        ),
        (
            "up and down",
            |_| vec![tar().dir("a").file("a/../../outside/kept", "x")],
            Refused("`..`"),
        ),
        (
            "up at the end",
            |_| vec![tar().dir("a").dir("a/..")],
            Refused("`..`"),
        ),
        (
            "absolute",
            |out| vec![tar().file(&format!("{out}/absolute"), "x")],
            Inside(&["…/absolute"]),
        ),
        (
            "two slashes",
            |_| vec![tar().file("//x", "x").file("a//y", "y")],
            Inside(&["a/", "a/y", "x"]),
        ),
        (
            "through a symlink",
            |_| vec![tar().symlink("l", "../outside").file("l/kept", "x")],
            Inside(&["l", "outside/", "outside/kept"]),
        ),
        (
            "through an absolute one",
            |out| vec![tar().symlink("l", out).file("l/kept", "x")],
            Inside(&["l", "…/kept"]),
        ),
        (
            "through a symlink of the layer below",
            |out| {
                vec![
                    tar().symlink("l", out),
                    tar().file("l/kept", "x").dir("l/d"),
                ]
            },
            Inside(&["l", "…/d/", "…/kept"]),
        ),
        (
            "in several hops",
            |_| {
                vec![
                    tar()
                        .symlink("a", "b/c")
                        .dir("b")
                        .symlink("b/c", "../d/..")
                        .symlink("d", "../../..")
                        .file("a/outside/kept", "x"),
                ]
            },
            Inside(&["a", "b/", "b/c", "d", "outside/", "outside/kept"]),
        ),
        (
            "through a symlink that ends with a slash",
            |_| vec![tar().symlink("l", "../outside/").file("l/kept", "x")],
            Inside(&["l", "outside/", "outside/kept"]),
        ),
        (
            "through links without end",
            |_| vec![tar().symlink("a", "b").symlink("b", "a").file("a/x", "x")],
            Refused("without end"),
        ),
        (
            "through a link to itself",
            |_| vec![tar().symlink("a", "a/a").file("a/x", "x")],
            Refused("without end"),
        ),
        (
            "through a link to a file",
            |_| vec![tar().file("f", "f").symlink("l", "f").file("l/x", "x")],
            Refused("no directory"),
        ),
        (
            "below a file",
            |_| vec![tar().file("f", "f").file("f/x", "x")],
            Refused("no directory"),
        ),
        (
            "the root as a symlink",
            |out| vec![tar().symlink("/", out)],
            Refused("the root"),
        ),
        (
            "the root as a symlink, dotted",
            |out| vec![tar().symlink("./.", out).file("kept", "x")],
            Refused("the root"),
        ),
        (
            "the root as a file",
            |_| vec![tar().file(".", "x")],
            Refused("the root"),
        ),
        (
            "the root as a hard link",
            |_| vec![tar().file("a", "").hard_link("/", "a")],
            Refused("the root"),
        ),
        (
            "the root as a device",
            |_| vec![tar().other(b'3', "./", "", 0o666)],
            Refused("the root"),
        ),
        (
            "a symlink, then its name as a file",
            |_| vec![tar().symlink("l", "../outside/kept").file("l", "x")],
            Inside(&["l"]),
        ),
        (
            "a symlink, then a directory of its name",
            |out| {
                vec![
                    tar()
                        .symlink("l", out)
                        .other(b'5', "l", "", 0o777)
                        .file("l/kept", "x"),
                ]
            },
            Inside(&["l/", "l/kept"]),
        ),
        (
            "a symlink below, then a directory of its name",
            |out| vec![tar().symlink("l", out), tar().other(b'5', "l/", "", 0o777)],
            Inside(&["l/"]),
        ),
        (
            "a symlink to a file, then a directory of its name",
            |_| {
                vec![
                    tar()
                        .symlink("l", "../outside/kept")
                        .other(b'5', "l", "", 0o777),
                ]
            },
            Inside(&["l/"]),
        ),
        (
            "a hard link up",
            |_| vec![tar().hard_link("h", "../outside/kept")],
            Refused("links outside"),
        ),
        (
            "a hard link to an absolute path",
            |out| vec![tar().hard_link("h", &format!("{out}/kept"))],
            Refused("links to nothing"),
        ),
        (
            "a hard link through a symlink",
            |out| vec![tar().symlink("l", out).hard_link("h", "l/kept")],
            Refused("links to nothing"),
        ),
        (
            "a hard link through symlinks of the layer below",
            |_| {
                vec![
                    tar().symlink("l", "../outside"),
                    tar().symlink("m", "l").hard_link("h", "m/kept"),
                ]
            },
            Refused("links to nothing"),
        ),
        (
            "a hard link to nothing",
            |_| vec![tar().hard_link("h", "none")],
            Refused("links to nothing"),
        ),
        (
            "a hard link to itself",
            |_| vec![tar().hard_link("h", "h")],
            Refused("links to nothing"),
        ),
        (
            "a hard link to the root",
            |_| vec![tar().hard_link("h", "/")],
            Refused("links outside"),
        ),
        (
            "a hard link to a directory",
            |_| vec![tar().dir("d").hard_link("h", "d")],
            Refused("a directory"),
        ),
        (
            "a hard link to a symlink, then written to",
            |_| {
                vec![
                    tar()
                        .symlink("s", "../outside/kept")
                        .hard_link("h", "s")
                        .file("h", "x"),
                ]
            },
            Inside(&["h", "s"]),
        ),
        (
            "a hard link to a symlink, with a mode",
            |_| {
                vec![
                    tar()
                        .symlink("s", "../outside/kept")
                        .other(b'1', "h", "s", 0o777),
                ]
            },
            Inside(&["h", "s"]),
        ),
        (
            "a hard link to a symlink, then through it",
            |_| {
                vec![
                    tar()
                        .symlink("s", "../outside")
                        .hard_link("h", "s")
                        .file("h/kept", "x"),
                ]
            },
            Inside(&["h", "outside/", "outside/kept", "s"]),
        ),
        (
            "a hard link in place of what holds its target",
            |_| vec![tar().dir("d").file("d/f", "f").hard_link("d", "d/f")],
            Refused("links to nothing"),
        ),
        (
            "a whiteout of ..",
            |_| vec![tar().dir("d"), tar().file("d/.wh...", "")],
            Refused("nothing that has a name"),
        ),
        (
            "a whiteout of .",
            |_| vec![tar().dir("d"), tar().file("d/.wh..", "")],
            Refused("nothing that has a name"),
        ),
        (
            "a whiteout of nothing",
            |_| vec![tar().dir("d"), tar().file("d/.wh.", "")],
            Refused("nothing that has a name"),
        ),
        (
            "a whiteout of the root",
            |_| vec![tar().dir("d"), tar().file(".wh.", "")],
            Refused("nothing that has a name"),
        ),
        (
            "a whiteout up",
            |_| vec![tar().dir("d"), tar().file("../.wh.outside", "")],
            Refused("`..`"),
        ),
        (
            "whiteouts through a symlink",
            |out| {
                vec![
                    tar().symlink("l", out).symlink("m", "../outside"),
                    tar().file("l/.wh.kept", "").file("m/.wh..wh..opq", ""),
                ]
            },
            Inside(&["l", "m"]),
        ),
        (
            "a whiteout behind a symlink of its own layer",
            |_| {
                vec![
                    tar().dir("d").file("d/f", "f"),
                    tar()
                        .symlink("l", "d")
                        .file("l/.wh.f", "")
                        .file("l/.wh.f", "")
                        .file("l/.wh..wh..opq", ""),
                ]
            },
            Inside(&["d/", "d/f", "l"]),
        ),
        (
            "a whiteout of a symlink that its layer has gone through",
            |_| {
                vec![
                    tar().dir("d").symlink("l", "d"),
                    tar().file("l/f", "f").file(".wh.l", ""),
                ]
            },
            Refused("through which"),
        ),
        (
            "below a whiteout",
            |_| vec![tar().file(".wh.a/b", "")],
            Refused("below a whiteout"),
        ),
        (
            "a device",
            |_| {
                vec![
                    tar()
                        .other(b'3', "null", "", 0o666)
                        .other(b'4', "sda", "", 0o666),
                ]
            },
            Inside(&[]),
        ),
        (
            "a pipe, replaced by a file and written to",
            |_| vec![tar().other(b'6', "p", "", 0o666), tar().file("p", "x")],
            Inside(&["p"]),
        ),
        (
            "below a device",
            |_| vec![tar().other(b'3', "d", "", 0o666).file("d/x", "x")],
            Inside(&["d/", "d/x"]),
        ),
        (
            "a socket, as cpio numbers it",
            |_| vec![tar().other(b's', "s", "", 0o666)],
            Refused("unknown type"),
        ),
        (
            "a symlink that holds a NUL in its pax header",
            |_| vec![tar().pax(&[("linkpath", "a\0b")]).symlink("l", "a")],
            Refused("NUL"),
        ),
        (
            "an owner of 64 bits",
            |_| vec![tar().pax(&[("uid", "4294967296")]).file("a", "")],
            Refused("not a number"),
        ),
        (
            "too deep by its symlinks",
            |_| {
                let deep = vec!["d"; 200].join("/");
                vec![
                    tar()
                        .dir("d")
                        .symlink("l", &vec!["d"; 40].join("/"))
                        .pax(&[("path", &format!("l/{deep}"))])
                        .dir("x")
                        .pax(&[(
                            "path",
                            &format!("l/{deep}/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e"),
                        )])
                        .dir("x"),
                ]
            },
            Refused("too deep"),
        ),
        (
            "too long by its symlinks",
            |_| {
                let long = vec!["n".repeat(250); 12].join("/");
                vec![
                    tar()
                        .pax(&[("linkpath", &long)])
                        .symlink("l", "x")
                        .pax(&[("path", &format!("l/{long}"))])
                        .file("x", ""),
                ]
            },
            Refused("too long"),
        ),
        (
            "10,000 deep",
            |_| vec![tar().pax(&[("path", &"d/".repeat(10_000))]).dir("x")],
            Refused("too long"),
        ),
        (
            "300 deep",
            |_| vec![tar().pax(&[("path", &"d/".repeat(300))]).dir("x")],
            Refused("too deep"),
        ),
        (
            "a name of 4 KiB",
            |_| vec![tar().pax(&[("path", &"n".repeat(4000))]).file("x", "")],
            Refused("too long"),
        ),
        (
            "a symlink of 4 KiB",
            |_| {
                vec![
                    tar()
                        .pax(&[("linkpath", &"n".repeat(4096))])
                        .symlink("x", "x"),
                ]
            },
            Refused("too long"),
        ),
    ]
}

#[test]
fn nothing_gets_out() {
    for (what, layers, outcome) in cases() {
        let place = Place::new();
        let outside = place.dir.path().join("outside");
        let outside = outside.to_str().expect("UTF-8");
        let layers: Vec<Vec<u8>> = layers(outside).into_iter().map(Tarball::end).collect();
        let result = place.merge(&layers);
        match (outcome, result) {
            (Refused(why), Err(error)) => {
                let error = error.to_string();
                assert!(error.contains(why), "{what}: {error}");
            }
            (Inside(names), Ok(_)) => {
                // What an absolute path leads to inside the root, without the directories above.
                let inside = &outside[1..];
                let above = |name: &String| inside.starts_with(name.trim_end_matches('/'));
                let found: Vec<String> = place
                    .names()
                    .into_iter()
                    .filter(|name| !above(name))
                    .map(|name| name.replace(inside, "…"))
                    .collect();
                assert_eq!(
                    sorted(found),
                    sorted(names.iter().map(ToString::to_string)),
                    "{what}"
                );
            }
            (Refused(_), Ok(_)) => panic!("{what}: was applied"),
            (Inside(_), Err(error)) => panic!("{what}: {error}"),
        }
    }
}

fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names
}

/// A tree as deep as there may be, removed, whited out and shared, with as few descriptors as a
/// process usually has.
#[test]
fn the_deepest_tree_there_may_be_is_no_trouble() {
    let place = Place::new();
    let deep = vec!["d"; 255].join("/");
    let layer = tar()
        .pax(&[("path", &format!("{deep}/f"))])
        .file("x", "x")
        .pax(&[("linkpath", &format!("{deep}/f"))])
        .hard_link("h", "x")
        .end();
    let gone = tar().file(".wh.d", "").end();
    place.merge(&[layer.clone(), gone]).expect("sound");
    assert_eq!(place.names(), ["h"]);
    let place = Place::new();
    place
        .merge(&[layer, tar().file("d", "").end()])
        .expect("sound");
    assert_eq!(place.names(), ["d", "h"]);
}

#[test]
fn a_root_that_is_not_empty_is_refused() {
    let place = Place::new();
    symlink("../outside", place.root().join("l")).expect("symlink");
    assert!(matches!(Merge::new(place.root()), Err(ArchiveError::Fs(_))));
}

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
