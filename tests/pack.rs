//! Packing: the same bytes always, and what GNU tar and our own extraction make of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use proptest::prelude::*;
use pybuild::archive::{ArchiveError, Codec, Extract, Pack, Packed, Trust, decoder, extract, pack};
use pybuild::model::Sha256;
use pybuild::sys::interrupt::Interrupt;
use tempfile::TempDir;

const EPOCH: i64 = 1_600_000_000;
const CODECS: [Codec; 3] = [Codec::Gzip, Codec::Xz, Codec::Zstd];

fn packed(tree: &Path, codec: Codec, threads: usize) -> (Packed, Vec<u8>) {
    let mut out = tempfile::tempfile().expect("a temporary file");
    let how = Pack {
        codec,
        epoch: EPOCH,
        threads,
    };
    let interrupt = Interrupt::manual().expect("an eventfd");
    let result = pack(tree, &how, &mut out, &interrupt).expect("packed");
    out.rewind().expect("seek");
    let mut bytes = Vec::new();
    out.read_to_end(&mut bytes).expect("read");
    assert_eq!(result.size, bytes.len() as u64);
    assert_eq!(result.digest, Sha256::of(&bytes));
    (result, bytes)
}

fn unpacked(archive: &[u8], into: &Path) {
    let reader = decoder(archive).expect("a known format");
    let extracted = extract(reader, &Extract::new(into, Trust::Sealed)).expect("sound");
    assert!(extracted.newest_mtime <= EPOCH);
}

/// What a tree holds, as far as it is packed: type, mode, target or content, and which names are
/// one file.
fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, String>) {
        let mut entries: Vec<_> = fs::read_dir(dir)
            .expect("readdir")
            .map(|entry| entry.expect("readdir").path())
            .collect();
        entries.sort();
        for path in entries {
            let name = path.strip_prefix(root).expect("below").to_owned();
            let stat = fs::symlink_metadata(&path).expect("lstat");
            let what = if stat.is_dir() {
                walk(root, &path, found);
                "directory".to_owned()
            } else if stat.is_symlink() {
                format!("link {}", fs::read_link(&path).expect("readlink").display())
            } else {
                let content = fs::read(&path).expect("read");
                let executable = stat.mode() & 0o111 != 0;
                format!(
                    "file {executable} {} {:?}",
                    stat.nlink(),
                    Sha256::of(&content)
                )
            };
            found.insert(name, what);
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// A tree with something of everything, made in some order and under some umask.
fn specimen(root: &Path, backwards: bool) {
    let long = format!("lib/{}/{}", "d".repeat(120), "f".repeat(140));
    let mut files: Vec<(PathBuf, u32, Vec<u8>)> = vec![
        ("bin/python3.11".into(), 0o755, b"\x7fELF".repeat(100_000)),
        ("bin-but-not".into(), 0o600, b"x".to_vec()),
        (
            "include/python3.11/Python.h".into(),
            0o644,
            b"#pragma".to_vec(),
        ),
        ("lib/empty".into(), 0o400, Vec::new()),
        ("lib/sétuid".into(), 0o4711, b"!".to_vec()),
        (
            std::ffi::OsStr::from_bytes(b"lib/not utf-8 \xff").into(),
            0o644,
            b"?".to_vec(),
        ),
        (long.into(), 0o644, vec![7; 513]),
        ("share/512".into(), 0o664, vec![5; 512]),
    ];
    if backwards {
        files.reverse();
    }
    for (name, mode, content) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(&path, content).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let (one, two) = ("bin/python3.11", "bin/python3");
    if backwards {
        // Which of the names was there first does not show.
        fs::rename(root.join(one), root.join(two)).expect("rename");
        fs::hard_link(root.join(two), root.join(one)).expect("link");
    } else {
        fs::hard_link(root.join(one), root.join(two)).expect("link");
    }
    symlink("python3", root.join("bin/python")).expect("symlink");
    symlink("/nowhere/at/all", root.join("share/dangling")).expect("symlink");
    symlink("t".repeat(300), root.join("share/long")).expect("symlink");
    fs::create_dir(root.join("share/none")).expect("mkdir");
    let mode = if backwards { 0o700 } else { 0o775 };
    fs::set_permissions(root.join("share"), fs::Permissions::from_mode(mode)).expect("chmod");
    let old =
        SystemTime::UNIX_EPOCH + Duration::new(1_500_000_000, if backwards { 1 } else { 999 });
    let file = File::open(root.join("share/512")).expect("open");
    file.set_modified(old).expect("utimensat");
}

fn two_specimens() -> (TempDir, TempDir) {
    let dirs = [false, true].map(|backwards| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        specimen(dir.path(), backwards);
        dir
    });
    let [one, two] = dirs;
    (one, two)
}

#[test]
fn one_content_gives_one_archive() {
    let (one, two) = two_specimens();
    for codec in CODECS {
        let (first, bytes) = packed(one.path(), codec, 1);
        let (second, _) = packed(two.path(), codec, 3);
        assert_eq!(first, second, "{codec:?}");
        assert_eq!(first.unpacked, 400_000 + 1 + 7 + 1 + 1 + 513 + 512);
        let into = tempfile::tempdir().expect("a temporary directory");
        unpacked(&bytes, into.path());
        assert_eq!(listing(into.path()), listing(one.path()));
        let (again, _) = packed(into.path(), codec, 2);
        assert_eq!(again, first, "packed again after unpacking");
    }
}

/// Blocks of every codec are smaller than this, so threads have something to share out: some
/// program code each, and otherwise what compresses fast.
#[test]
fn the_number_of_threads_does_not_show() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let program = std::env::current_exe().expect("this program");
    let code = fs::read(program).expect("read");
    let mut file = File::create(dir.path().join("large")).expect("create");
    let size = 40 << 20;
    for part in code[..3 << 20].chunks(1 << 20) {
        file.write_all(part).expect("write");
        file.write_all(&b"nothing new ".repeat(1 << 20))
            .expect("write");
    }
    file.set_len(size).expect("truncate");
    for codec in CODECS {
        let (one, _) = packed(dir.path(), codec, 1);
        let (many, bytes) = packed(dir.path(), codec, 4);
        assert_eq!(one, many, "{codec:?}");
        let mut reader = decoder(&bytes[..]).expect("a known format");
        let mut tar = Vec::new();
        reader.read_to_end(&mut tar).expect("sound");
        assert_eq!(tar.len() as u64, size + 512 + 1024);
    }
}

#[test]
fn gnu_tar_reads_the_same() {
    let (one, _two) = two_specimens();
    let (result, bytes) = packed(one.path(), Codec::Gzip, 2);
    let place = tempfile::tempdir().expect("a temporary directory");
    let archive = place.path().join("a.tar.gz");
    fs::write(&archive, &bytes).expect("write");
    let tar = |arguments: &[&str]| {
        let output = Command::new("tar")
            .args(arguments)
            .arg("-f")
            .arg(&archive)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .output()
            .expect("tar is on every host that builds this");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && stderr.is_empty(), "{stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let list = tar(&[
        "-tv",
        "--numeric-owner",
        "--full-time",
        "--quoting-style=literal",
    ]);
    assert_eq!(list.lines().count() as u64, result.entries);
    let expected = [
        "drwxr-xr-x 0/0               0 2020-09-13 12:26:40 bin/",
        "drwxr-xr-x 0/0               0 2020-09-13 12:26:40 include/",
        "-rw-r--r-- 0/0               1 2020-09-13 12:26:40 bin-but-not",
        "lrwxrwxrwx 0/0               0 2020-09-13 12:26:40 bin/python -> python3",
        "-rwxr-xr-x 0/0          400000 2020-09-13 12:26:40 bin/python3",
        "hrwxr-xr-x 0/0               0 2020-09-13 12:26:40 bin/python3.11 link to bin/python3",
    ];
    let found = list.lines().filter(|line| expected.contains(line));
    assert_eq!(found.collect::<Vec<_>>(), expected, "{list}");
    let is_directory = |line: &&str| line.starts_with('d');
    assert_eq!(
        list.lines().take_while(is_directory).count(),
        list.lines().filter(is_directory).count(),
        "{list}"
    );
    assert!(
        list.contains("-rw-r--r-- 0/0             512 2017-07-14 02:40:00 share/512\n"),
        "{list}"
    );

    let into = place.path().join("into");
    fs::create_dir(&into).expect("mkdir");
    tar(&["-x", "-C", into.to_str().expect("UTF-8")]);
    assert_eq!(listing(&into), listing(one.path()));
}

#[test]
fn what_gnu_tar_packs_is_extracted() {
    let (one, _two) = two_specimens();
    let place = tempfile::tempdir().expect("a temporary directory");
    for format in ["ustar", "gnu", "pax", "oldgnu"] {
        let mut tar = Command::new("tar");
        tar.arg("-c").arg(format!("--format={format}"));
        if format == "ustar" {
            // It has no room for these.
            tar.args(["--exclude=dddd*", "--exclude=long"]);
        }
        let output = tar
            .arg("-C")
            .arg(one.path())
            .arg(".")
            .output()
            .expect("tar is on every host that builds this");
        assert!(output.status.success());
        let into = place.path().join(format);
        fs::create_dir(&into).expect("mkdir");
        extract(&output.stdout[..], &Extract::new(&into, Trust::Sealed)).expect("sound");
        let mut expected = listing(one.path());
        if format == "ustar" {
            expected.retain(|path, _| {
                let text = path.to_string_lossy();
                !text.contains("dddd") && !text.contains("long")
            });
        }
        assert_eq!(listing(&into), expected, "{format}");
    }
}

#[test]
fn what_does_not_belong_into_a_prefix_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let interrupt = Interrupt::manual().expect("an eventfd");
    let how = Pack {
        codec: Codec::Gzip,
        epoch: EPOCH,
        threads: 2,
    };
    let mut out = tempfile::tempfile().expect("a temporary file");
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let error = pack(dir.path(), &how, &mut out, &interrupt).expect_err("a pipe");
    assert!(matches!(error, ArchiveError::Special { path } if path == fifo));
    fs::remove_file(&fifo).expect("unlink");
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
    let error = pack(dir.path(), &how, &mut out, &interrupt).expect_err("a socket");
    assert!(matches!(error, ArchiveError::Special { path } if path == socket));
    fs::remove_file(&socket).expect("unlink");

    fs::write(dir.path().join("file"), "x").expect("write");
    interrupt.raise(Signal::SIGINT);
    let error = pack(dir.path(), &how, &mut out, &interrupt).expect_err("interrupted");
    assert!(matches!(error, ArchiveError::Interrupted(_)));
}

#[test]
fn a_full_disk_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    specimen(dir.path(), false);
    let interrupt = Interrupt::manual().expect("an eventfd");
    for codec in CODECS {
        let mut out = File::options().write(true).open("/dev/full").expect("open");
        let how = Pack {
            codec,
            epoch: EPOCH,
            threads: 2,
        };
        let error = pack(dir.path(), &how, &mut out, &interrupt).expect_err("full");
        assert!(error.is_full(), "{error}");
    }
}

/// A tree as proptest makes it up: names to contents. What clashes is left out.
fn plant(root: &Path, tree: &BTreeMap<String, Node>) {
    for (name, node) in tree {
        let path = root.join(name);
        if fs::create_dir_all(path.parent().expect("a parent")).is_err()
            || fs::symlink_metadata(&path).is_ok()
        {
            continue;
        }
        match node {
            Node::File(content, executable) => {
                fs::write(&path, content).expect("write");
                let mode = if *executable { 0o711 } else { 0o640 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            }
            Node::Directory => fs::create_dir(&path).expect("mkdir"),
            Node::Symlink(target) => symlink(target, &path).expect("symlink"),
        }
    }
}

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>, bool),
    Directory,
    Symlink(String),
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        (
            proptest::collection::vec(any::<u8>(), 0..2000),
            any::<bool>()
        )
            .prop_map(|(content, executable)| Node::File(content, executable)),
        Just(Node::Directory),
        // Nothing that a planted file could be written through.
        "[a-z/.]{0,120}".prop_map(|target| Node::Symlink(format!("nowhere/{target}"))),
    ]
}

/// Artifacts are compared by their bytes, so if this fails, because of another version of a
/// compressing library or another parameter, the build revision must be raised.
#[test]
fn the_bytes_are_what_they_were_when_the_build_revision_was_last_raised() {
    let from = tempfile::tempdir().expect("a temporary directory");
    // Lines that repeat near and far, more of them than one thread compresses at once.
    let mut state = 0x2545_f491_u32;
    let mut text = Vec::new();
    while text.len() < 18 << 20 {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let line = format!("{:08x} ", (state >> 8) % 50_000).repeat(64);
        text.extend_from_slice(line.as_bytes());
    }
    fs::write(from.path().join("text"), &text).expect("write");
    fs::set_permissions(from.path().join("text"), fs::Permissions::from_mode(0o644))
        .expect("chmod");
    let digests = CODECS.map(|codec| packed(from.path(), codec, 2).0.digest.to_string());
    assert_eq!(
        digests.each_ref().map(|digest| &digest[..16]),
        ["3611d453dd6bb701", "61e089b599ac6d1e", "b40a75fd3fd06f1d"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_is_what_is_extracted(
        tree in proptest::collection::btree_map("([a-zé -]{1,60}/){0,4}[a-z+]{1,120}", node(), 0..20),
    ) {
        let from = tempfile::tempdir().expect("a temporary directory");
        plant(from.path(), &tree);
        let (_, bytes) = packed(from.path(), Codec::Gzip, 1);
        let into = tempfile::tempdir().expect("a temporary directory");
        unpacked(&bytes, into.path());
        prop_assert_eq!(listing(into.path()), listing(from.path()));
    }

    #[test]
    fn no_bytes_make_extraction_panic_or_leave_its_directory(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        reseal in any::<bool>(),
        layer in any::<bool>(),
    ) {
        let from = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(from.path().join("d")).expect("mkdir");
        fs::write(from.path().join("d/f"), "text").expect("write");
        fs::hard_link(from.path().join("d/f"), from.path().join("d/h")).expect("link");
        symlink("../d", from.path().join("d/s")).expect("symlink");
        fs::write(from.path().join("x".repeat(130)), "text").expect("write");
        let (_, bytes) = packed(from.path(), Codec::Zstd, 1);
        let mut tar = Vec::new();
        decoder(&bytes[..]).expect("zstd").read_to_end(&mut tar).expect("sound");
        for (at, byte) in damage {
            let at = at.index(tar.len());
            tar[at] = byte;
            if reseal {
                // Past the checksum, into everything behind it.
                let start = at / 512 * 512;
                let block = &mut tar[start..start + 512];
                block[148..156].copy_from_slice(b"        ");
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let place = tempfile::tempdir().expect("a temporary directory");
        let root = place.path().join("root");
        fs::create_dir(&root).expect("mkdir");
        let trust = if layer { Trust::Layer } else { Trust::Sealed };
        // Whether it is still sound does not matter.
        let _ = extract(&tar[..], &Extract::new(&root, trust));
        prop_assert_eq!(fs::read_dir(place.path()).expect("readdir").count(), 1);
    }

    #[test]
    fn noise_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let place = tempfile::tempdir().expect("a temporary directory");
        let result = decoder(&bytes[..])
            .and_then(|reader| extract(reader, &Extract::new(place.path(), Trust::Layer)));
        prop_assert!(result.is_err());
    }
}
