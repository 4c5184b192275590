//! Extraction of hostile archives, built by hand, entry by entry.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use pybuild::archive::{ArchiveError, Extract, Extracted, Limits, Trust, extract};
use tempfile::TempDir;

/// A tar archive under construction: what a careful library would refuse to write, this writes.
#[derive(Default, Clone)]
struct Tarball(Vec<u8>);

/// One entry's fields, all of them free.
struct Entry<'a> {
    name: &'a [u8],
    flag: u8,
    link: &'a [u8],
    mode: u32,
    size: Option<u64>,
    data: &'a [u8],
    magic: &'a [u8; 8],
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            name: b"",
            flag: b'0',
            link: b"",
            mode: 0o644,
            size: None,
            data: b"",
            magic: b"ustar\x0000",
        }
    }
}

impl Tarball {
    fn entry(mut self, entry: &Entry<'_>) -> Self {
        let mut block = [0u8; 512];
        let put = |block: &mut [u8; 512], at: usize, bytes: &[u8]| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(&mut block, 0, entry.name);
        put(&mut block, 100, format!("{:07o}\0", entry.mode).as_bytes());
        let size = entry.size.unwrap_or(entry.data.len() as u64);
        put(&mut block, 124, format!("{size:011o}\0").as_bytes());
        put(&mut block, 136, b"14371573400\0");
        block[156] = entry.flag;
        put(&mut block, 157, entry.link);
        put(&mut block, 257, entry.magic);
        put(&mut block, 148, b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(entry.data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, data: &str) -> Self {
        self.entry(&Entry {
            name: name.as_bytes(),
            data: data.as_bytes(),
            ..Entry::default()
        })
    }

    fn other(self, flag: u8, name: &str, link: &str, mode: u32) -> Self {
        self.entry(&Entry {
            name: name.as_bytes(),
            flag,
            link: link.as_bytes(),
            mode,
            ..Entry::default()
        })
    }

    fn dir(self, name: &str) -> Self {
        self.other(b'5', name, "", 0o755)
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.other(b'2', name, target, 0o777)
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.other(b'1', name, target, 0o644)
    }

    fn extension(self, flag: u8, data: &[u8]) -> Self {
        self.entry(&Entry {
            name: b"extension",
            flag,
            data,
            ..Entry::default()
        })
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        use std::fmt::Write as _;
        let mut data = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest + 1..rest + 6)
                .find(|length| length - rest == length.to_string().len())
                .expect("a record has a length");
            writeln!(data, "{length} {key}={value}").expect("memory");
        }
        self.extension(b'x', data.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A directory to extract into, and beside it something that must stay as it is.
struct Place {
    dir: TempDir,
    root: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("root")).expect("mkdir");
        fs::create_dir(dir.path().join("outside")).expect("mkdir");
        fs::write(dir.path().join("outside/kept"), "kept").expect("write");
        fs::set_permissions(
            dir.path().join("outside/kept"),
            fs::Permissions::from_mode(0o640),
        )
        .expect("chmod");
        let root = dir.path().join("root");
        Self { dir, root }
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn extract(&self, trust: Trust, archive: &[u8]) -> Result<Extracted, ArchiveError> {
        let result = extract(archive, &Extract::new(self.root(), trust));
        self.assert_outside_is_untouched();
        result
    }

    fn assert_outside_is_untouched(&self) {
        let names = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path)
                .expect("readdir")
                .map(|entry| entry.expect("readdir").file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(self.dir.path()), ["outside", "root"]);
        assert_eq!(names(&self.dir.path().join("outside")), ["kept"]);
        let kept = self.dir.path().join("outside/kept");
        assert_eq!(fs::read(&kept).expect("read"), b"kept");
        let found = fs::metadata(&kept).expect("stat");
        assert_eq!((found.mode() & 0o7777, found.nlink()), (0o640, 1));
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root().join(name)).expect("a file in the root")
    }

    fn mode(&self, name: &str) -> u32 {
        let found = fs::symlink_metadata(self.root().join(name)).expect("lstat");
        found.mode() & 0o7777
    }
}

fn tar() -> Tarball {
    Tarball::default()
}

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

/// What neither kind of archive may do.
#[allow(clippy::too_many_lines)] // one table
#[test]
fn what_is_refused_everywhere() {
    let outside = "../outside/kept";
    let cases: Vec<(&str, Vec<u8>)> = vec![
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
    ];
    for (what, archive) in cases {
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
fn symlinks_in_a_layer_resolve_inside_its_root() {
    let place = Place::new();
    let absolute = place.dir.path().join("outside");
    fs::create_dir_all(place.root().join("usr/lib")).expect("mkdir");
    symlink("usr/lib", place.root().join("lib")).expect("symlink");
    let archive = tar()
        .dir("./lib/")
        .file("./lib/libc.so", "c")
        .symlink("up", "../../../../outside")
        .end();
    place.extract(Trust::Layer, &archive).expect("sound");
    assert_eq!(place.read("usr/lib/libc.so"), "c");
    assert!(
        fs::symlink_metadata(place.root().join("lib"))
            .expect("lstat")
            .is_symlink(),
        "a directory entry leaves the link to the directory"
    );

    // `..` above the root stays in the root, and so does an absolute target.
    for target in ["../../../../outside".into(), absolute.clone()] {
        let place = Place::new();
        symlink(&target, place.root().join("link")).expect("symlink");
        let through = tar().file("link/kept", "replaced").dir("link").end();
        let result = place.extract(Trust::Layer, &through);
        assert!(result.is_err(), "the target does not exist in the root");
        let inside: PathBuf = target
            .components()
            .filter(|part| matches!(part, std::path::Component::Normal(_)))
            .collect();
        fs::create_dir_all(place.root().join(&inside)).expect("mkdir");
        place
            .extract(Trust::Layer, &through)
            .expect("inside the root now");
        assert_eq!(
            fs::read_to_string(place.root().join(inside).join("kept")).expect("read"),
            "replaced"
        );
    }
}

#[test]
fn a_layer_replaces_what_is_there_and_never_writes_through_it() {
    let place = Place::new();
    let kept = place.dir.path().join("outside/kept");
    symlink(&kept, place.root().join("link")).expect("symlink");
    fs::write(place.root().join("one"), "one").expect("write");
    fs::hard_link(place.root().join("one"), place.root().join("two")).expect("link");
    fs::create_dir(place.root().join("empty")).expect("mkdir");
    let archive = tar()
        .file("link", "a file now")
        .file("one", "ONE")
        .file("empty", "a file too")
        .file("twice", "1")
        .file("twice", "2")
        .file("dir", "")
        .dir("dir")
        .file("/dir/absolute", "abs")
        .hard_link("one", "one")
        .symlink("same", "dir")
        .symlink("same", "dir")
        .other(b'3', "null", "", 0o666)
        .end();
    let extracted = place.extract(Trust::Layer, &archive).expect("sound");
    assert_eq!(extracted.skipped, 1);
    assert!(!place.root().join("null").exists());
    assert_eq!(place.read("link"), "a file now");
    assert_eq!(
        (place.read("one"), place.read("two")),
        ("ONE".into(), "one".into())
    );
    assert_eq!(place.read("empty"), "a file too");
    assert_eq!(place.read("twice"), "2");
    assert_eq!(place.read("same/absolute"), "abs");

    let full = tar().file("dir", "x").end();
    let error = place
        .extract(Trust::Layer, &full)
        .expect_err("dir holds something");
    assert_eq!(
        error.to_string(),
        "the archive's member `dir` is refused: a directory that holds something is in its place"
    );
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
fn several_archives_go_into_one_root_at_the_same_time() {
    let place = Place::new();
    let archive = |n: usize| {
        let mut archive = tar()
            .dir("usr/")
            .dir("usr/share/")
            .symlink("bin", "usr/bin");
        for file in 0..200 {
            archive = archive
                .dir(&format!("usr/share/{}/", file % 7))
                .file(&format!("usr/share/{}/{n}-{file}", file % 7), "x")
                .file("usr/share/shared", &n.to_string());
        }
        archive.end()
    };
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (archive, root) = (archive(n), place.root());
            scope.spawn(move || {
                extract(&archive[..], &Extract::new(root, Trust::Layer)).expect("sound");
            });
        }
    });
    let count: usize = (0..7)
        .map(|dir| place.root().join(format!("usr/share/{dir}")))
        .map(|dir| fs::read_dir(dir).expect("readdir").count())
        .sum();
    assert_eq!(count, 8 * 200);
    assert_eq!(place.read("usr/share/shared").len(), 1);
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
