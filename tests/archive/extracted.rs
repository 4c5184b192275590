//! What sound archives become.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use pybuild::archive::{Extract, Trust, extract};

use crate::place::Place;
use crate::tarball::{Entry, tar};

#[test]
fn an_ordinary_archive_is_extracted() {
    for trust in [Trust::Layer, Trust::Sealed] {
        let place = Place::new();
        let archive = tar()
            .other(b'5', "./", "", 0o755)
            .other(b'5', "./bin/", "", 0o500)
            .entry(&Entry {
                name: b"./bin/tool",
                mode: 0o6755,
                data: b"#!",
                ..Entry::default()
            })
            .symlink("./bin/link", "tool")
            .hard_link("./bin/same", "./bin/tool")
            .other(b'5', "./tmp/", "", 0o3777)
            .file("deep/er/file", "text")
            .entry(&Entry {
                name: b"unreadable",
                mode: 0o022,
                ..Entry::default()
            })
            .end();
        let how = Extract {
            list: true,
            ..Extract::new(place.root(), trust)
        };
        let extracted = extract(&archive[..], &how).expect("sound");
        assert_eq!((extracted.entries, extracted.bytes), (8, 6));
        assert_eq!(extracted.newest_mtime, 0o14_371_573_400);
        let paths = [
            "bin",
            "bin/tool",
            "bin/link",
            "bin/same",
            "tmp",
            "deep/er/file",
            "unreadable",
        ];
        assert_eq!(extracted.paths, paths.map(PathBuf::from));
        assert_eq!(place.read("bin/same"), "#!");
        assert_eq!(place.read("deep/er/file"), "text");
        assert_eq!(
            fs::read_link(place.root().join("bin/link")).expect("a link"),
            Path::new("tool")
        );
        assert_eq!(place.mode("bin/tool"), 0o755, "no setuid");
        assert_eq!(place.mode("bin"), 0o700, "passable to its owner");
        assert_eq!(place.mode("tmp"), 0o1777, "sticky, no setgid");
        assert_eq!(place.mode("unreadable"), 0o422);
        for name in ["bin", "bin/tool", "bin/link", "deep/er/file"] {
            let found = fs::symlink_metadata(place.root().join(name)).expect("lstat");
            assert_eq!(found.mtime(), 0o14_371_573_400, "{name}");
        }
        let inodes = ["bin/tool", "bin/same"]
            .map(|name| fs::metadata(place.root().join(name)).expect("stat").ino());
        assert_eq!(inodes[0], inodes[1]);
    }
}

#[test]
fn extension_headers_are_applied() {
    let long = format!("{}/file", "d".repeat(200));
    let target = "t".repeat(300);
    let archives = [
        tar()
            .extension(b'g', b"31 comment=made by a test here\n")
            .pax(&[("path", &long), ("mtime", "1700000000.25")])
            .file("short", "x")
            .pax(&[("linkpath", &target)])
            .symlink("link", "short"),
        tar()
            .extension(b'L', format!("{long}\0").as_bytes())
            .file("short", "x")
            .extension(b'K', format!("{target}\0").as_bytes())
            .symlink("link", "short"),
    ];
    for archive in archives {
        let place = Place::new();
        place.extract(Trust::Sealed, &archive.end()).expect("sound");
        assert_eq!(place.read(&long), "x");
        let found = fs::read_link(place.root().join("link")).expect("a link");
        assert_eq!(found, Path::new(&target));
    }
}

/// The longest path that there may be is extracted, whatever the directory is; what is longer by
/// one byte is refused.
#[test]
fn a_path_of_four_kilobytes_is_the_longest() {
    let part = |length: usize| "n".repeat(length);
    let longest = vec![part(255); 16].join("/");
    assert_eq!(longest.len(), 4095);
    let longer = [&vec![part(255); 15].join("/"), "n", &part(254)].join("/");
    let archive = |path: &str| tar().pax(&[("path", path)]).file("x", "content").end();
    for trust in [Trust::Layer, Trust::Sealed] {
        let place = Place::new();
        place.extract(trust, &archive(&longest)).expect("no longer");
        assert_eq!(read_deep(place.root(), &longest), "content");
        let error = Place::new().extract(trust, &archive(&longer));
        assert!(error.is_err(), "{trust:?}");
    }
    let place = Place::new();
    place.merge(&[archive(&longest)]).expect("no longer");
    assert_eq!(read_deep(place.root(), &longest), "content");
    Place::new().merge(&[archive(&longer)]).expect_err("longer");
}

/// Reads a file by a path that the kernel would not take whole.
fn read_deep(root: &Path, path: &str) -> String {
    let mut here = fs::File::open(root).expect("open");
    for part in path.split('/') {
        let next = format!("/proc/self/fd/{}/{part}", here.as_raw_fd());
        here = fs::File::open(next).expect("open");
    }
    std::io::read_to_string(here).expect("read")
}

#[test]
fn leading_parts_are_stripped() {
    let place = Place::new();
    let archive = tar()
        .dir("top/")
        .file("top/a/f", "x")
        .hard_link("top/l", "top/a/f")
        .symlink("top/s", "a/f")
        .end();
    let how = Extract {
        strip: 1,
        ..Extract::new(place.root(), Trust::Sealed)
    };
    extract(&archive[..], &how).expect("sound");
    assert_eq!((place.read("l"), place.read("s")), ("x".into(), "x".into()));
    let beside = tar().dir("top").file("README", "x").end();
    let error = extract(&beside[..], &how).expect_err("outside the top directory");
    assert!(error.to_string().contains("README"), "{error}");
}
