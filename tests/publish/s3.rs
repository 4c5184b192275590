//! A bucket as a target.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use pybuild::model::Sha256;
use pybuild::net;
use pybuild::publish::{
    Conditional, Content, Inputs, Mode, PublishError, Put, Remote, Settings, Target,
};

use crate::kit::{bytes, copy, get, interrupt, list, put, put_file};
use crate::server::{AWS, KEY, RETRY_AFTER_MAX, SECRET, SHORT, Server, Store};

pub(crate) const LARGE: usize = 40 << 20;

/// A directory with the bucket `bucket`.
pub(crate) fn root() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(dir.path().join("bucket")).expect("mkdir");
    dir
}

/// Little of it.
pub(crate) fn patience() -> net::Settings {
    net::Settings {
        tries: 4,
        backoff: SHORT,
        backoff_max: SHORT,
        retry_after_max: RETRY_AFTER_MAX,
        idle_timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(5),
        proxy: false,
        ..net::Settings::default()
    }
}

/// `s3://bucket/p/` as the environment gives it, with this besides.
pub(crate) fn remote(url: &str, env: &[(&str, &str)]) -> Remote {
    let given = [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("S3_BUCKET", "bucket"),
        ("S3_PREFIX", "p"),
    ];
    let mut all: BTreeMap<String, _> = BTreeMap::new();
    for (name, value) in given.iter().chain(env) {
        all.insert((*name).to_owned(), (*value).into());
    }
    let inputs = Inputs {
        env: all,
        ..Inputs::default()
    };
    let settings = Settings::resolve(&inputs)
        .expect("sound")
        .with_patience(patience());
    Remote::open(settings.target(), &settings).expect("nothing is done yet")
}

#[test]
fn what_is_put_is_there() {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let remote = remote(&server.url(), &[]);
    assert_eq!(list(&remote, ""), [""; 0]);
    assert_eq!(get(&remote, "a/b").expect("no error"), None);
    assert_eq!(remote.head("a/b", &interrupt()).expect("no error"), None);
    let writable = remote.check_writable(&interrupt()).expect("writable");
    assert_eq!(writable, Conditional::Honoured);
    assert_eq!(list(&remote, ""), [""; 0], "trying leaves nothing");
    let content = bytes(1, 3_000_000);
    assert_eq!(
        put_file(&remote, "a/b", &content, Mode::Create).expect("put"),
        Put::Written
    );
    for key in ["a/c", "a b+ü%/x&y", "ab", "z"] {
        assert_eq!(
            put(&remote, key, b"x", Mode::Create).expect("put"),
            Put::Written
        );
        assert_eq!(get(&remote, key).expect("read").as_deref(), Some(&b"x"[..]));
    }
    assert_eq!(list(&remote, ""), ["a b+ü%/x&y", "a/b", "a/c", "ab", "z"]);
    assert_eq!(list(&remote, "a/"), ["a/b", "a/c"]);
    assert_eq!(get(&remote, "a/b").expect("read"), Some(content.clone()));
    let head = remote
        .head("a/b", &interrupt())
        .expect("no error")
        .expect("it is there");
    assert_eq!(
        (head.size, head.sha256),
        (3_000_000, Some(Sha256::of(&content)))
    );
    let small = remote.read_small("a/b", 2_999_999, &interrupt());
    assert!(matches!(small, Err(PublishError::TooLong { .. })));
    assert!(
        root.path().join("bucket/p/a/b").exists(),
        "below the prefix"
    );
    remote.remove("ab", &interrupt()).expect("removed");
    remote.remove("ab", &interrupt()).expect("gone is fine");
}

#[test]
fn create_only_means_the_same_bytes_or_an_error() {
    for env in [
        &[][..],
        &[("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")],
    ] {
        let root = root();
        let server = Server::start(root.path(), AWS);
        let remote = remote(&server.url(), env);
        remote.check_writable(&interrupt()).expect("writable");
        put(&remote, "k", b"one", Mode::Create).expect("put");
        let again = put(&remote, "k", b"one", Mode::Create).expect("the same");
        assert_eq!(again, Put::AlreadySame);
        for other in [&b"two"[..], b"longer"] {
            let error = put(&remote, "k", other, Mode::Create).expect_err("something else");
            assert!(matches!(error, PublishError::Exists { .. }), "{error}");
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
        let checksums = server.seen().iter().any(|seen| {
            seen.headers
                .keys()
                .any(|name| name.starts_with("x-amz-checksum"))
        });
        assert_eq!(checksums, env.is_empty(), "only where they are wanted");
    }
}

#[test]
fn of_many_at_once_one_wins() {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let remote = &remote(&server.url(), &[]);
    remote.check_writable(&interrupt()).expect("writable");
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

/// The process that is killed: not a test of its own unless it is told where to put what.
#[test]
fn killed_child() {
    let Ok(url) = std::env::var("PYBUILD_TEST_KILLED_URL") else {
        return;
    };
    let path = std::env::var("PYBUILD_TEST_KILLED_FILE").expect("all or none");
    let path = Path::new(&path);
    let file = File::open(path).expect("open");
    let content = Content::File {
        file: &file,
        size: LARGE as u64,
        digest: Sha256::of(&bytes(4, LARGE)),
    };
    let sent = AtomicU64::new(0);
    let progress = |bytes| {
        // Four parts are sent at once, so that one is done when the fifth is under way.
        if sent.fetch_add(bytes, Ordering::SeqCst) + bytes > 33 << 20 {
            kill(Pid::this(), Signal::SIGKILL).expect("a signal to oneself");
        }
    };
    let remote = remote(&url, &[]);
    let _ = remote.put("a/k", content, Mode::Create, &progress, &interrupt());
}

#[test]
fn a_killed_upload_is_gone_on_with() {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("file");
    let content = bytes(4, LARGE);
    fs::write(&path, &content).expect("write");
    let remote = remote(&server.url(), &[]);
    let status = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "s3::killed_child"])
        .env("PYBUILD_TEST_KILLED_URL", server.url())
        .env("PYBUILD_TEST_KILLED_FILE", &path)
        .status()
        .expect("started");
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    assert_eq!(
        get(&remote, "a/k").expect("read"),
        None,
        "nothing is to be seen"
    );
    let uploads = server.uploads();
    let [(key, parts)] = &uploads[..] else {
        panic!("one upload is left: {uploads:?}")
    };
    assert!(key == "p/a/k" && *parts >= 1, "{uploads:?}");
    let stale = remote
        .stale_uploads(&interrupt())
        .expect("listed")
        .expect("it can");
    assert_eq!(stale[0].key, "a/k");
    let before = server.count("PUT", "partNumber");
    assert_eq!(
        put_file(&remote, "a/k", &content, Mode::Create).expect("put"),
        Put::Written
    );
    let sent = server.count("PUT", "partNumber") - before;
    assert_eq!(sent, 5 - parts, "what was there is not sent again");
    assert_eq!(get(&remote, "a/k").expect("read"), Some(content));
    assert_eq!(server.uploads(), []);
}

#[test]
fn another_files_upload_is_not_gone_on_with_and_goes() {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let remote = remote(&server.url(), &[]);
    let interrupted = interrupt();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("file");
    let (one, other) = (bytes(4, LARGE), bytes(6, LARGE));
    fs::write(&path, &one).expect("write");
    let file = File::open(&path).expect("open");
    let content = Content::File {
        file: &file,
        size: LARGE as u64,
        digest: Sha256::of(&one),
    };
    let progress = |_| interrupted.raise(Signal::SIGINT);
    let error = remote.put("k", content, Mode::Create, &progress, &interrupted);
    assert!(
        matches!(error, Err(PublishError::Interrupted(_))),
        "{error:?}"
    );
    assert_eq!(server.uploads(), [], "it has been given up");
    let status = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "s3::killed_child"])
        .env("PYBUILD_TEST_KILLED_URL", server.url())
        .env("PYBUILD_TEST_KILLED_FILE", &path)
        .status()
        .expect("started");
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    assert_eq!(
        put_file(&remote, "a/k", &other, Mode::Create).expect("put"),
        Put::Written
    );
    assert_eq!(get(&remote, "a/k").expect("read"), Some(other));
    assert_eq!(server.uploads(), []);
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
