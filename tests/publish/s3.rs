//! A bucket as a target.

use std::fs::{self, File};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pybuild::archive::Codec;
use pybuild::model::{Arch, Kind, Sha256};
use pybuild::publish::{
    Conditional, Content, Keys, Layout, Mode, PublishError, Put, Remote, Target, are_there, keys,
};

use crate::kit::{bytes, copy, get, interrupt, list, put, put_file};
use crate::server::{AWS, Fault, Seen, Server, Store, refusal, remote, root};

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
    assert_eq!(
        files(&root.path().join("bucket/p")),
        [""; 0],
        "trying leaves nothing"
    );
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
        let reads = server.count("GET", "/p/k");
        let again = remote.put("k", whole, Mode::Create, &progress, &interrupt());
        assert_eq!(again.expect("the same"), Put::AlreadySame);
        let read = server.count("GET", "/p/k") - reads;
        assert_eq!(read, 0, "the parts' digests tell");
        let other = bytes(3, LARGE + 5);
        let error = put_file(&remote, "k", &other, Mode::Create).expect_err("something else");
        assert!(matches!(error, PublishError::Exists { .. }), "{error}");
        let reads = server.count("GET", "/p/k");
        let error = put_file(&remote, "k", &other[1..], Mode::Create).expect_err("something else");
        assert!(matches!(error, PublishError::Exists { .. }), "{error}");
        assert_eq!(server.count("GET", "/p/k"), reads, "the size tells");
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
    let seen = server.seen();
    let copied = seen
        .iter()
        .filter(|seen| seen.headers.contains_key("x-amz-copy-source"));
    let create: Vec<bool> = copied
        .map(|seen| seen.headers.contains_key("if-none-match"))
        .collect();
    assert_eq!(
        create,
        [true, true, false],
        "the store itself copies where it can"
    );
    // Whoever may write to one need not be allowed to read the other.
    let mut other = vec![("S3_BUCKET", "other")];
    other.push(("AWS_SESSION_TOKEN", "another"));
    let stranger = remote(&server.url(), &other);
    let head = staging.head("k", &interrupt()).expect("no error");
    let head = head.expect("it is there");
    copy(&stranger, &staging, "k", &head, Mode::Overwrite).expect("copied");
    let copies = server.seen();
    let copies = copies
        .iter()
        .filter(|seen| seen.headers.contains_key("x-amz-copy-source"));
    assert_eq!(copies.count(), create.len());
}

#[test]
fn a_target_names_its_bucket_alone() {
    let target: Target = "s3://bucket/p".parse().expect("a target");
    let remote = remote("http://127.0.0.1:1", &[]);
    assert_eq!(*remote.target(), target);
}

#[test]
fn how_objects_are_kept_is_said_where_they_are_made() {
    let root = root();
    fs::create_dir(root.path().join("other")).expect("mkdir");
    let server = Server::start(root.path(), AWS);
    let how = [
        ("S3_STORAGE_CLASS", "STANDARD"),
        ("S3_ENCRYPTION", "aws:kms"),
        ("S3_KMS_KEY_ID", "key"),
    ];
    let staging = remote(&server.url(), &how);
    let mut other = how.to_vec();
    other.push(("S3_BUCKET", "other"));
    let production = remote(&server.url(), &other);
    put(&staging, "small", b"x", Mode::Create).expect("put");
    put_file(&staging, "large", &bytes(1, LARGE), Mode::Create).expect("put");
    let head = staging.head("small", &interrupt()).expect("no error");
    let head = head.expect("it is there");
    copy(&production, &staging, "small", &head, Mode::Create).expect("copied");
    let seen = server.seen();
    let mut made = Vec::new();
    for request in &seen {
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        let found = [
            header("x-amz-storage-class"),
            header("x-amz-server-side-encryption"),
            header("x-amz-server-side-encryption-aws-kms-key-id"),
        ];
        // Nowhere else: a store refuses a part that comes with them.
        let wanted = match (request.method.as_str(), request.uri.as_str()) {
            ("PUT", "/bucket/p/small") => "put",
            ("POST", "/bucket/p/large?uploads=") => "upload",
            ("PUT", "/other/p/small") => "copy",
            _ => {
                assert_eq!(found, [None; 3], "{request:?}");
                continue;
            }
        };
        made.push(wanted);
        assert_eq!(found, how.map(|(_, value)| Some(value)), "{request:?}");
    }
    assert_eq!(made, ["put", "upload", "copy"]);
}

#[test]
fn a_bucket_that_must_not_be_listed_is_asked_key_by_key() {
    let root = root();
    let server = Server::faulty(root.path(), AWS, |_, seen| {
        if seen.is("GET", "list-type=2") || seen.is("GET", "uploads=") {
            refusal(403, "AccessDenied")
        } else {
            Fault::None
        }
    });
    let remote = remote(&server.url(), &[]);
    let all = three_artifacts();
    for (n, keys) in all.iter().enumerate() {
        // All of the first, all but one of the second, nothing of the third.
        for key in [&keys.tarball, &keys.sha256, &keys.record]
            .iter()
            .skip(n)
            .take(3 - 2 * (n / 2))
        {
            if n < 2 {
                put(&remote, key, b"x", Mode::Create).expect("put");
            }
        }
    }
    let there = are_there(&remote, &all, &interrupt()).expect("they can be looked at");
    assert_eq!(there, [true, false, false]);
    // A large file needs no listing either.
    put_file(&remote, "k", &bytes(1, LARGE), Mode::Create).expect("put");
    let closed = Server::faulty(root.path(), AWS, |_, _| refusal(403, "AccessDenied"));
    let closed = crate::server::remote(&closed.url(), &[]);
    let error = are_there(&closed, &all, &interrupt()).expect_err("nor may they be looked at");
    assert!(matches!(error, PublishError::Denied { .. }), "{error:?}");
}

/// The keys of three artifacts.
pub(crate) fn three_artifacts() -> Vec<Keys> {
    let stack = "debian-12".parse().expect("a stack");
    let keys = |version: &str| {
        let reference = version.parse().expect("a formula");
        let (kind, arch, codec) = (Kind::Runtime, Arch::Amd64, Codec::Gzip);
        keys(Layout::Tree, &stack, kind, &reference, arch, codec, None)
    };
    ["python-3.9.2", "python-3.11.2", "python-3.13.5"]
        .map(keys)
        .to_vec()
}

#[test]
fn what_a_kill_left_of_trying_is_hidden_and_can_be_given_up() {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let remote = remote(&server.url(), &[]);
    put(&remote, ".pybuild-0123.part", b"x", Mode::Create).expect("put");
    put(&remote, "a/k", b"x", Mode::Create).expect("put");
    assert_eq!(list(&remote, ""), ["a/k"]);
    let stale = remote.stale_uploads(&interrupt()).expect("listed");
    let [mut upload] = <[_; 1]>::try_from(stale.expect("it can")).expect("one");
    assert_eq!(upload.key, ".pybuild-0123.part");
    remote.abort(&upload, &interrupt()).expect("aborted");
    remote.abort(&upload, &interrupt()).expect("gone is fine");
    "a/k".clone_into(&mut upload.key);
    // That is no upload's name, and no upload's id.
    let _ = remote.abort(&upload, &interrupt());
    assert_eq!(list(&remote, ""), ["a/k"]);
    let names = files(&root.path().join("bucket/p"));
    assert_eq!(names, ["a"]);
}

fn files(dir: &std::path::Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("readdir");
    names
        .map(|entry| {
            entry
                .expect("readdir")
                .file_name()
                .into_string()
                .expect("ASCII")
        })
        .collect()
}

#[test]
fn a_slow_store_is_waited_for_as_long_as_something_comes() {
    let root = root();
    let slow = Duration::from_millis(200);
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        if seen.is("GET", "/p/k") || seen.is("PUT", "partNumber") {
            Fault::Slow(slow)
        } else {
            Fault::None
        }
    });
    let remote = remote(&server.url(), &[]);
    let content = bytes(1, 1_000_000);
    put_file(&remote, "k", &content, Mode::Create).expect("put");
    let (began, asked) = (Instant::now(), server.count("GET", "/p/k"));
    assert_eq!(get(&remote, "k").expect("read"), Some(content));
    // It took longer than nothing may come, so that is not what is measured.
    assert!(began.elapsed() > crate::server::patience().idle_timeout);
    assert_eq!(server.count("GET", "/p/k"), asked + 1);
    put_file(&remote, "large", &bytes(1, LARGE), Mode::Create).expect("put");
}
