//! A bucket as a target.

use std::fs::{self, File};
use std::sync::atomic::{AtomicU64, Ordering};

use pybuild::model::Sha256;
use pybuild::publish::{Conditional, Content, Mode, PublishError, Put, Remote, Target};

use crate::kit::{bytes, copy, get, interrupt, list, put, put_file};
use crate::server::{AWS, Seen, Server, Store, remote, root};

pub(crate) const LARGE: usize = 40 << 20;

#[test]
fn the_store_says_what_it_has_computed() {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let remote = remote(&server.url(), &[]);
    let content = bytes(1, 3_000_000);
    put_file(&remote, "a/b", &content, Mode::Create).expect("put");
    let head = remote.head("a/b", &interrupt()).expect("no error");
    let head = head.expect("it is there");
    assert_eq!(
        (head.size, head.sha256),
        (3_000_000, Some(Sha256::of(&content)))
    );
}

#[test]
fn checksums_are_sent_where_they_are_wanted() {
    for (asked, wanted) in [("when_supported", true), ("when_required", false)] {
        let root = root();
        let server = Server::start(root.path(), AWS);
        let env = [("AWS_REQUEST_CHECKSUM_CALCULATION", asked)];
        let remote = remote(&server.url(), &env);
        put(&remote, "k", b"one", Mode::Create).expect("put");
        put_file(&remote, "l", &bytes(1, LARGE), Mode::Create).expect("put");
        let again = put(&remote, "k", b"one", Mode::Create).expect("the same");
        assert_eq!(again, Put::AlreadySame);
        let error = put(&remote, "k", b"two", Mode::Create).expect_err("something else");
        assert!(matches!(error, PublishError::Exists { .. }), "{error}");
        let has = |seen: &Seen| {
            let mut names = seen.headers.keys();
            names.any(|name| name.starts_with("x-amz-checksum"))
        };
        assert_eq!(server.seen().iter().any(has), wanted);
        let put = server.seen().into_iter().find(|seen| seen.is("PUT", "/k"));
        let put = put.expect("a put");
        // `head`, `get` and the like are not asked; the body is signed in any case.
        assert_ne!(put.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    }
}

#[test]
fn a_store_that_ignores_conditions_is_recognised_and_read_back() {
    let root = root();
    let store = Store {
        conditions: false,
        ..AWS
    };
    let server = Server::start(root.path(), store);
    let remote = remote(&server.url(), &[]);
    let writable = remote.check_writable(&interrupt()).expect("writable");
    assert_eq!(writable, Conditional::Ignored);
    assert_eq!(list(&remote, ""), [""; 0], "trying leaves nothing");
    assert_eq!(
        put(&remote, "k", b"one", Mode::Create).expect("put"),
        Put::Written
    );
    assert_eq!(
        put(&remote, "k", b"one", Mode::Create).expect("put"),
        Put::AlreadySame
    );
    let error = put(&remote, "k", b"two", Mode::Create).expect_err("something else");
    assert!(matches!(error, PublishError::Exists { .. }), "{error}");
    assert_eq!(
        get(&remote, "k").expect("read").as_deref(),
        Some(&b"one"[..])
    );
}

#[test]
fn large_files_go_in_parts() {
    for store in [
        AWS,
        Store {
            conditions: false,
            uploads: false,
            ..AWS
        },
    ] {
        let root = root();
        let server = Server::start(root.path(), store);
        let remote = remote(&server.url(), &[("S3_STORAGE_CLASS", "STANDARD")]);
        remote.check_writable(&interrupt()).expect("writable");
        let content = bytes(2, LARGE + 5);
        let told = AtomicU64::new(0);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        fs::write(&path, &content).expect("write");
        let file = File::open(&path).expect("open");
        let as_file = |digest| Content::File {
            file: &file,
            size: content.len() as u64,
            digest,
        };
        let progress = |bytes| {
            told.fetch_add(bytes, Ordering::SeqCst);
        };
        let wrong = as_file(Sha256::of(b"another"));
        let error = remote.put("k", wrong, Mode::Create, &progress, &interrupt());
        assert!(
            matches!(error, Err(PublishError::Corrupted { .. })),
            "{error:?}"
        );
        assert_eq!(get(&remote, "k").expect("read"), None);
        assert_eq!(server.uploads(), [], "it has been given up");
        told.store(0, Ordering::SeqCst);
        let whole = as_file(Sha256::of(&content));
        let sent = remote.put("k", whole, Mode::Create, &progress, &interrupt());
        assert_eq!(sent.expect("put"), Put::Written);
        assert_eq!(told.load(Ordering::SeqCst), content.len() as u64);
        assert_eq!(get(&remote, "k").expect("read").as_ref(), Some(&content));
        assert_eq!(server.uploads(), []);
        let again = remote.put("k", whole, Mode::Create, &progress, &interrupt());
        assert_eq!(again.expect("the same"), Put::AlreadySame);
        let other = bytes(3, LARGE + 5);
        let error = put_file(&remote, "k", &other, Mode::Create).expect_err("something else");
        assert!(matches!(error, PublishError::Exists { .. }), "{error}");
    }
}

#[test]
fn stale_uploads_are_listed_and_aborted_where_the_store_can() {
    let root = root();
    let server = Server::start(
        root.path(),
        Store {
            uploads: false,
            ..AWS
        },
    );
    let remote = remote(&server.url(), &[]);
    assert_eq!(remote.stale_uploads(&interrupt()).expect("no error"), None);
}

#[test]
fn what_is_wrong_with_credentials_and_buckets_is_told_apart() {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let all = |remote: &Remote| -> Vec<PublishError> {
        let interrupt = interrupt();
        vec![
            remote.list("", &interrupt).expect_err("list"),
            remote.head("k", &interrupt).expect_err("head"),
            remote
                .check_writable(&interrupt)
                .expect_err("check_writable"),
            put(remote, "k", b"x", Mode::Create).expect_err("put"),
            put(remote, "k", b"x", Mode::Overwrite).expect_err("put"),
            get(remote, "k").expect_err("get"),
        ]
    };
    let wrong = [("AWS_SECRET_ACCESS_KEY", "canary-that-is-wrong")];
    let unknown = [("AWS_ACCESS_KEY_ID", "canary-that-is-unknown")];
    let missing = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let bucket = [("S3_BUCKET", "nowhere")];
    for error in all(&remote(&server.url(), &wrong)) {
        assert!(matches!(error, PublishError::Refused { .. }), "{error:?}");
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{error:?}"
        );
    }
    for error in all(&remote(&server.url(), &unknown)) {
        let told = matches!(
            error,
            PublishError::Refused { .. } | PublishError::Denied { .. }
        );
        assert!(told, "{error:?}");
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{error:?}"
        );
    }
    for error in all(&remote(&server.url(), &missing)) {
        assert!(
            matches!(error, PublishError::NoCredentials { .. }),
            "{error:?}"
        );
    }
    for error in all(&remote(&server.url(), &bucket)) {
        assert!(matches!(error, PublishError::NoBucket { .. }), "{error:?}");
    }
}

#[test]
fn copies_are_byte_identical_by_any_way() {
    let root = root();
    fs::create_dir(root.path().join("other")).expect("mkdir");
    let server = Server::start(root.path(), AWS);
    let staging = remote(&server.url(), &[]);
    let production = remote(&server.url(), &[("S3_BUCKET", "other")]);
    let content = bytes(7, LARGE);
    put_file(&staging, "k", &content, Mode::Create).expect("put");
    put(&staging, "k.json", b"{}", Mode::Create).expect("put");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let directory = crate::kit::directory(dir.path());
    for to in [&production, &directory] {
        for key in ["k", "k.json"] {
            let head = staging
                .head(key, &interrupt())
                .expect("no error")
                .expect("it is there");
            let copy = |mode| copy(to, &staging, key, &head, mode);
            assert_eq!(copy(Mode::Create).expect("copied").0, Put::Written);
            assert_eq!(copy(Mode::Create).expect("the same").0, Put::AlreadySame);
            assert_eq!(
                get(to, key).expect("read"),
                get(&staging, key).expect("read")
            );
        }
        put(to, "k.json", b"[]", Mode::Overwrite).expect("put");
        let head = staging
            .head("k.json", &interrupt())
            .expect("no error")
            .expect("it is there");
        let error = copy(to, &staging, "k.json", &head, Mode::Create);
        assert!(
            matches!(error, Err(PublishError::Exists { .. })),
            "{error:?}"
        );
        copy(to, &staging, "k.json", &head, Mode::Overwrite).expect("copied");
        assert_eq!(
            get(to, "k.json").expect("read").as_deref(),
            Some(&b"{}"[..])
        );
    }
    let copied = server.seen();
    let copied = copied
        .iter()
        .filter(|seen| seen.headers.contains_key("x-amz-copy-source"));
    assert!(copied.count() >= 2, "the store itself copies where it can");
}

#[test]
fn a_target_names_its_bucket_alone() {
    let target: Target = "s3://bucket/p".parse().expect("a target");
    let remote = remote("http://127.0.0.1:1", &[]);
    assert_eq!(*remote.target(), target);
}
