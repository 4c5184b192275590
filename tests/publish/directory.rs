//! A directory as a target.

use std::fs::{self};

use pybuild::archive::Codec;
use pybuild::artifact::checksum::parse_sha256_line;
use pybuild::artifact::record::Record;
use pybuild::model::{Arch, Kind, Quiet};
use pybuild::publish::{Layout, Mode, PublishError, Put, keys, publish, read_key};
use pybuild::store::Store;

use crate::kit::{artifact, bytes, directory, get, interrupt, list, put};

#[test]
fn looking_leaves_nothing_and_a_directory_is_no_object() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("not/yet");
    let remote = directory(&root);
    assert_eq!(list(&remote, ""), [""; 0]);
    assert_eq!(get(&remote, "a/b").expect("no error"), None);
    remote.check_writable(&interrupt()).expect("writable");
    assert!(!root.exists());
    put(&remote, "a/b", b"x", Mode::Create).expect("put");
    assert_eq!(get(&remote, "a").expect("no object"), None);
    let error = put(&remote, "a/b/c", b"y", Mode::Create).expect_err("a file is no directory");
    assert!(matches!(error, PublishError::Local(_)), "{error}");
    assert_eq!(fs::read_dir(&root).expect("readdir").count(), 1);
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
