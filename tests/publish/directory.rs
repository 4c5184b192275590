//! A directory as a target.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use pybuild::archive::Codec;
use pybuild::artifact::checksum::parse_sha256_line;
use pybuild::artifact::record::Record;
use pybuild::model::{Arch, Kind, Quiet, Sha256};
use pybuild::publish::{
    Conditional, Content, Layout, Mode, PublishError, Put, keys, publish, read_key,
};
use pybuild::store::Store;

use crate::kit::{artifact, bytes, directory, get, interrupt, list, put, put_file};

#[test]
fn what_is_put_is_there() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("not/yet");
    let remote = directory(&root);
    assert_eq!(list(&remote, ""), [""; 0]);
    assert_eq!(get(&remote, "a/b").expect("no error"), None);
    assert_eq!(remote.head("a/b", &interrupt()).expect("no error"), None);
    let writable = remote.check_writable(&interrupt()).expect("writable");
    assert_eq!(writable, Conditional::Honoured);
    assert!(!root.exists(), "looking leaves nothing");
    let large = bytes(1, 3_000_000);
    assert_eq!(
        put_file(&remote, "a/b", &large, Mode::Create).expect("put"),
        Put::Written
    );
    assert_eq!(
        put(&remote, "a/c", b"x", Mode::Create).expect("put"),
        Put::Written
    );
    assert_eq!(
        put(&remote, "ab", b"x", Mode::Create).expect("put"),
        Put::Written
    );
    assert_eq!(list(&remote, ""), ["a/b", "a/c", "ab"]);
    assert_eq!(list(&remote, "a/"), ["a/b", "a/c"]);
    assert_eq!(list(&remote, "a"), ["a/b", "a/c", "ab"]);
    assert_eq!(list(&remote, "a/b"), ["a/b"]);
    assert_eq!(
        get(&remote, "a/b").expect("read").as_deref(),
        Some(&large[..])
    );
    let head = remote.head("a/b", &interrupt()).expect("no error");
    assert_eq!(head.expect("it is there").size, 3_000_000);
    assert_eq!(get(&remote, "a").expect("a directory is no object"), None);
    let small = remote.read_small("a/b", 2_999_999, &interrupt());
    assert!(matches!(small, Err(PublishError::TooLong { .. })));
    remote.remove("ab", &interrupt()).expect("removed");
    remote.remove("ab", &interrupt()).expect("gone is fine");
    assert_eq!(list(&remote, ""), ["a/b", "a/c"]);
}

#[test]
fn create_only_means_the_same_bytes_or_an_error() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let remote = directory(dir.path());
    put(&remote, "k", b"one", Mode::Create).expect("put");
    assert_eq!(
        put(&remote, "k", b"one", Mode::Create).expect("put"),
        Put::AlreadySame
    );
    for other in [&b"two"[..], b"longer"] {
        let error = put(&remote, "k", other, Mode::Create).expect_err("something else is there");
        assert!(matches!(error, PublishError::Exists { .. }), "{error}");
        assert!(error.to_string().contains("other bytes"), "{error}");
    }
    assert_eq!(
        get(&remote, "k").expect("read").as_deref(),
        Some(&b"one"[..])
    );
    assert_eq!(
        put(&remote, "k", b"two", Mode::Overwrite).expect("put"),
        Put::Written
    );
    assert_eq!(
        get(&remote, "k").expect("read").as_deref(),
        Some(&b"two"[..])
    );
    let error = put(&remote, "k/x", b"y", Mode::Create).expect_err("a file is no directory");
    assert!(matches!(error, PublishError::Local(_)), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("readdir").count(), 1);
}

#[test]
fn keys_stay_below_the_target() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let remote = directory(&dir.path().join("target"));
    for key in ["../k", "/etc/k", "a/../../k", "", "a//b", "."] {
        let error = put(&remote, key, b"x", Mode::Create).expect_err(key);
        assert!(matches!(error, PublishError::Key { .. }), "{error}");
        assert!(get(&remote, key).is_err(), "{key}");
        assert!(remote.head(key, &interrupt()).is_err(), "{key}");
        assert!(remote.remove(key, &interrupt()).is_err(), "{key}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("readdir").count(), 0);
}

#[test]
fn of_many_at_once_one_wins() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let remote = &directory(dir.path());
    let results: Vec<_> = std::thread::scope(|scope| {
        let puts: Vec<_> = (0..8u8)
            .map(|n| scope.spawn(move || put(remote, "a/k", &[n], Mode::Create)))
            .collect();
        puts.into_iter()
            .map(|put| put.join().expect("no panic"))
            .collect()
    });
    let won: Vec<_> = (0u8..)
        .zip(&results)
        .filter(|(_, put)| put.is_ok())
        .collect();
    assert_eq!(won.len(), 1, "{results:?}");
    assert_eq!(get(remote, "a/k").expect("read"), Some(vec![won[0].0]));
}

#[test]
fn a_file_that_is_not_what_it_was_is_not_put() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let remote = directory(&dir.path().join("target"));
    let path = dir.path().join("file");
    fs::write(&path, b"changed").expect("write");
    let file = File::open(&path).expect("open");
    let content = Content::File {
        file: &file,
        size: 7,
        digest: Sha256::of(b"as it was"),
    };
    let error = remote.put("k", content, Mode::Create, &|_| {}, &interrupt());
    assert!(matches!(error, Err(PublishError::Corrupted { .. })));
    assert_eq!(list(&remote, ""), [""; 0]);
}

/// The process that is killed: not a test of its own unless it is told where to put what.
#[test]
fn killed_child() {
    let Ok(root) = std::env::var("PYBUILD_TEST_KILLED_ROOT") else {
        return;
    };
    let after: u64 = std::env::var("PYBUILD_TEST_KILLED_AFTER")
        .expect("both or none")
        .parse()
        .expect("a number");
    let root = Path::new(&root);
    let file = File::open(root.join("source")).expect("open");
    let content = Content::File {
        file: &file,
        size: 3_000_000,
        digest: Sha256::of(&bytes(1, 3_000_000)),
    };
    let sent = AtomicU64::new(0);
    let progress = |bytes| {
        if sent.fetch_add(bytes, Ordering::SeqCst) + bytes >= after {
            kill(Pid::this(), Signal::SIGKILL).expect("a signal to oneself");
        }
    };
    let remote = directory(&root.join("target"));
    let _ = remote.put("a/k", content, Mode::Create, &progress, &interrupt());
}

#[test]
fn a_killed_put_leaves_nothing_and_the_next_succeeds() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let content = bytes(1, 3_000_000);
    fs::write(dir.path().join("source"), &content).expect("write");
    let remote = directory(&dir.path().join("target"));
    for after in ["1", "1500000", "3000000"] {
        let status = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "directory::killed_child"])
            .env("PYBUILD_TEST_KILLED_ROOT", dir.path())
            .env("PYBUILD_TEST_KILLED_AFTER", after)
            .status()
            .expect("started");
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
        assert_eq!(list(&remote, ""), [""; 0]);
    }
    let stale = remote.stale_uploads(&interrupt()).expect("listed");
    for upload in stale.expect("a directory can list them") {
        remote.abort(&upload, &interrupt()).expect("aborted");
    }
    assert_eq!(
        put_file(&remote, "a/k", &content, Mode::Create).expect("put"),
        Put::Written
    );
    let files = fs::read_dir(dir.path().join("target/a")).expect("readdir");
    assert_eq!(files.count(), 1);
}

#[test]
fn stale_uploads_alone_can_be_aborted() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let remote = directory(dir.path());
    put(&remote, "a/k", b"x", Mode::Create).expect("put");
    fs::write(dir.path().join("a/.pybuild-0123.part"), "half").expect("write");
    assert_eq!(list(&remote, ""), ["a/k"], "half an object is none");
    let stale = remote.stale_uploads(&interrupt()).expect("listed");
    let [mut upload] = <[_; 1]>::try_from(stale.expect("it can")).expect("one");
    remote.abort(&upload, &interrupt()).expect("aborted");
    remote.abort(&upload, &interrupt()).expect("gone is fine");
    "a/k".clone_into(&mut upload.id);
    assert!(remote.abort(&upload, &interrupt()).is_err());
    assert_eq!(
        fs::read_dir(dir.path().join("a")).expect("readdir").count(),
        1
    );
}

#[test]
fn an_artifact_is_published_with_what_belongs_to_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(&dir.path().join("store")).expect("a store");
    let remote = directory(&dir.path().join("target"));
    let tarball = bytes(2, 100_000);
    let artifact = artifact(&store, &tarball);
    let stack = "debian-12".parse().expect("a stack");
    let reference = "python-3.11.2".parse().expect("a formula");
    let (kind, arch, codec) = (Kind::Runtime, Arch::Amd64, Codec::Gzip);
    for layout in [Layout::Tree, Layout::Flat] {
        let keys = keys(layout, &stack, kind, &reference, arch, codec, None);
        for expected in [Put::Written, Put::AlreadySame] {
            let published = publish(&remote, &keys, &artifact, false, &Quiet, &interrupt());
            let published = published.expect("published");
            assert_eq!(published.tarball, expected);
            assert_eq!(published.sha256, expected);
            assert_eq!(published.record, expected);
        }
        assert_eq!(
            get(&remote, &keys.tarball).expect("read"),
            Some(tarball.clone())
        );
        let text = |key: &str| {
            let bytes = get(&remote, key).expect("read").expect("it is there");
            String::from_utf8(bytes).expect("text")
        };
        let line = parse_sha256_line(&text(&keys.sha256)).expect("sha256sum's");
        assert_eq!(line, (artifact.digest(), keys.file_name().to_owned()));
        let record = Record::parse(&text(&keys.record)).expect("a record");
        assert_eq!(record.artifact.file, keys.file_name());
        assert_eq!(
            read_key(&keys.record).expect("our own").reference,
            reference
        );
    }
}

#[test]
fn other_words_for_the_same_tarball_stay_and_another_tarball_is_an_error() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(&dir.path().join("store")).expect("a store");
    let remote = directory(&dir.path().join("target"));
    let first = artifact(&store, b"tarball");
    let stack = "debian-12".parse().expect("a stack");
    let reference = "python-3.11.2".parse().expect("a formula");
    let (kind, arch, codec) = (Kind::Runtime, Arch::Amd64, Codec::Gzip);
    let keys = keys(Layout::Tree, &stack, kind, &reference, arch, codec, None);
    publish(&remote, &keys, &first, false, &Quiet, &interrupt()).expect("published");
    let mut record = first.record().clone();
    "9.9".clone_into(&mut record.pybuild.version);
    let theirs = record.to_json();
    put(&remote, &keys.record, theirs.as_bytes(), Mode::Overwrite).expect("put");
    let again = publish(&remote, &keys, &first, false, &Quiet, &interrupt()).expect("published");
    assert_eq!(again.record, Put::AlreadySame);
    let found = get(&remote, &keys.record).expect("read");
    assert_eq!(found.as_deref(), Some(theirs.as_bytes()));
    let second = artifact(&store, b"another");
    let error = publish(&remote, &keys, &second, false, &Quiet, &interrupt());
    assert!(
        matches!(error, Err(PublishError::Exists { .. })),
        "{error:?}"
    );
    assert_eq!(
        get(&remote, &keys.tarball).expect("read").as_deref(),
        Some(&b"tarball"[..])
    );
    let over = publish(&remote, &keys, &second, true, &Quiet, &interrupt()).expect("published");
    assert_eq!(over.tarball, Put::Written);
    assert_eq!(
        get(&remote, &keys.tarball).expect("read").as_deref(),
        Some(&b"another"[..])
    );
}
