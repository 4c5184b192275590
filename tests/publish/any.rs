//! What holds for every target that can be written to: a directory, and a bucket.

use std::fs::{self, File};

use pybuild::model::Sha256;
use pybuild::publish::{Conditional, Content, Mode, PublishError, Put, Remote};

use crate::kit::{bytes, directory, get, interrupt, list, put, put_file};
use crate::server::{AWS, Server, remote, root};

/// Calls `test` with each kind of target, which is empty.
fn everywhere(test: impl Fn(&Remote)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    test(&directory(&dir.path().join("not/yet")));
    assert!(!dir.path().join("k").exists(), "beside the target");
    let root = root();
    let server = Server::start(root.path(), AWS);
    let bucket = remote(&server.url(), &[]);
    let writable = bucket.check_writable(&interrupt()).expect("writable");
    assert_eq!(writable, Conditional::Honoured);
    let tried = fs::read_dir(root.path().join("bucket/p")).expect("readdir");
    assert_eq!(tried.count(), 0, "trying leaves nothing");
    test(&bucket);
    let names = fs::read_dir(root.path().join("bucket")).expect("readdir");
    let names: Vec<_> = names
        .map(|entry| entry.expect("readdir").file_name())
        .collect();
    assert!(names.iter().all(|name| name == "p"), "beside the target");
}

#[test]
fn what_is_put_is_there() {
    everywhere(|remote| {
        assert_eq!(list(remote, ""), [""; 0]);
        assert_eq!(get(remote, "a/b").expect("no error"), None);
        assert_eq!(remote.head("a/b", &interrupt()).expect("no error"), None);
        let writable = remote.check_writable(&interrupt()).expect("writable");
        assert_eq!(writable, Conditional::Honoured);
        assert_eq!(list(remote, ""), [""; 0], "trying leaves nothing");
        let large = bytes(1, 3_000_000);
        assert_eq!(
            put_file(remote, "a/b", &large, Mode::Create).expect("put"),
            Put::Written
        );
        for key in ["a/c", "a b+ü%/x&y", "ab", "z"] {
            assert_eq!(
                put(remote, key, b"x", Mode::Create).expect("put"),
                Put::Written
            );
            assert_eq!(get(remote, key).expect("read").as_deref(), Some(&b"x"[..]));
        }
        assert_eq!(list(remote, ""), ["a b+ü%/x&y", "a/b", "a/c", "ab", "z"]);
        assert_eq!(list(remote, "a/"), ["a/b", "a/c"]);
        assert_eq!(list(remote, "a/b"), ["a/b"]);
        assert_eq!(
            get(remote, "a/b").expect("read").as_deref(),
            Some(&large[..])
        );
        let head = remote.head("a/b", &interrupt()).expect("no error");
        assert_eq!(head.expect("it is there").size, 3_000_000);
        let small = remote.read_small("a/b", 2_999_999, &interrupt());
        assert!(matches!(small, Err(PublishError::TooLong { .. })));
        remote.remove("ab", &interrupt()).expect("removed");
        remote.remove("ab", &interrupt()).expect("gone is fine");
        assert_eq!(list(remote, ""), ["a b+ü%/x&y", "a/b", "a/c", "z"]);
    });
}

#[test]
fn create_only_means_the_same_bytes_or_an_error() {
    everywhere(|remote| {
        put(remote, "k", b"one", Mode::Create).expect("put");
        assert_eq!(
            put(remote, "k", b"one", Mode::Create).expect("put"),
            Put::AlreadySame
        );
        for other in [&b"two"[..], b"longer"] {
            let error = put(remote, "k", other, Mode::Create).expect_err("something else");
            assert!(matches!(error, PublishError::Exists { .. }), "{error}");
            assert!(error.to_string().contains("other bytes"), "{error}");
        }
        assert_eq!(
            get(remote, "k").expect("read").as_deref(),
            Some(&b"one"[..])
        );
        assert_eq!(
            put(remote, "k", b"two", Mode::Overwrite).expect("put"),
            Put::Written
        );
        assert_eq!(
            get(remote, "k").expect("read").as_deref(),
            Some(&b"two"[..])
        );
    });
}

#[test]
fn of_many_at_once_one_wins() {
    everywhere(|remote| {
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
    });
}

#[test]
fn keys_stay_below_the_target() {
    everywhere(|remote| {
        for key in ["../k", "/etc/k", "a/../../k", "", "a//b", "."] {
            let error = put(remote, key, b"x", Mode::Create).expect_err(key);
            assert!(matches!(error, PublishError::Key { .. }), "{error}");
            assert!(get(remote, key).is_err(), "{key}");
            assert!(remote.head(key, &interrupt()).is_err(), "{key}");
            assert!(remote.remove(key, &interrupt()).is_err(), "{key}");
        }
        assert_eq!(list(remote, ""), [""; 0]);
    });
}

#[test]
fn a_file_that_is_not_what_it_was_is_not_put() {
    everywhere(|remote| {
        let dir = tempfile::tempdir().expect("a temporary directory");
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
        assert_eq!(list(remote, ""), [""; 0]);
    });
}
