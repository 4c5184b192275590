//! Puts that are killed under way: nothing half is to be seen, and the next put goes on.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use pybuild::model::Sha256;
use pybuild::publish::{Content, Mode, Put, Remote};
use tempfile::TempDir;

use crate::kit::{bytes, directory, get, interrupt, list, put_file};
use crate::s3::LARGE;
use crate::server::{AWS, Server, remote, root};

/// Puts `file` to `a/k` in another process, which is killed once so many bytes are under way.
fn killed_put(target: &str, file: &Path, after: u64) {
    let status = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "killed::child"])
        .env("PYBUILD_TEST_KILLED_TARGET", target)
        .env("PYBUILD_TEST_KILLED_FILE", file)
        .env("PYBUILD_TEST_KILLED_AFTER", after.to_string())
        .status()
        .expect("started");
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
}

/// The process that is killed: not a test of its own unless it is told where to put what.
#[test]
fn child() {
    let Ok(target) = std::env::var("PYBUILD_TEST_KILLED_TARGET") else {
        return;
    };
    let other = |name: &str| std::env::var(name).expect("all or none");
    let path = other("PYBUILD_TEST_KILLED_FILE");
    let after = other("PYBUILD_TEST_KILLED_AFTER");
    let after: u64 = after.parse().expect("a number");
    let bytes = fs::read(&path).expect("read");
    let content = Content::File {
        file: &File::open(&path).expect("open"),
        size: bytes.len() as u64,
        digest: Sha256::of(&bytes),
    };
    let sent = AtomicU64::new(0);
    let progress = |bytes| {
        if sent.fetch_add(bytes, Ordering::SeqCst) + bytes >= after {
            kill(Pid::this(), Signal::SIGKILL).expect("a signal to oneself");
        }
    };
    let remote = if target.starts_with("http://") {
        remote(&target, &[])
    } else {
        directory(Path::new(&target))
    };
    let _ = remote.put("a/k", content, Mode::Create, &progress, &interrupt());
}

#[test]
fn a_killed_copy_leaves_nothing_and_the_next_succeeds() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let content = bytes(1, 3_000_000);
    let source = dir.path().join("source");
    fs::write(&source, &content).expect("write");
    let target = dir.path().join("target");
    let remote = directory(&target);
    for after in [1, 1_500_000, 3_000_000] {
        killed_put(target.to_str().expect("ASCII"), &source, after);
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
    let files = fs::read_dir(target.join("a")).expect("readdir");
    assert_eq!(files.count(), 1);
}

/// Four parts are sent at once, so that one is done when the fifth is under way.
const FIFTH: u64 = (33 << 20) + 1;

/// A bucket with the upload of this to `a/k` in it, by a process that was killed under way.
fn killed_upload(content: &[u8]) -> (TempDir, Server, Remote) {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let remote = remote(&server.url(), &[]);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("file");
    fs::write(&path, content).expect("write");
    killed_put(&server.url(), &path, FIFTH);
    (root, server, remote)
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
    killed_put(&server.url(), &path, FIFTH);
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
    let (one, other) = (bytes(4, LARGE), bytes(6, LARGE));
    let (_root, server, remote) = killed_upload(&one);
    assert_eq!(
        put_file(&remote, "a/k", &other, Mode::Create).expect("put"),
        Put::Written
    );
    assert_eq!(get(&remote, "a/k").expect("read"), Some(other));
    assert_eq!(server.uploads(), []);
}

#[test]
fn uploads_of_other_keys_are_left_alone() {
    let content = bytes(4, LARGE);
    let (_root, server, remote) = killed_upload(&content);
    // The other's key begins with this one, and the bytes are the same.
    put_file(&remote, "a", &content, Mode::Create).expect("put");
    assert_eq!(get(&remote, "a").expect("read"), Some(content));
    let left = server.uploads();
    assert!(left.len() == 1 && left[0].0 == "p/a/k", "{left:?}");
}

/// Two builds of one thing may begin alike.
#[test]
fn parts_of_another_file_that_begins_alike_are_not_taken() {
    let one = bytes(4, LARGE);
    let mut other = one.clone();
    for part in 1..5 {
        other[(part << 23) + 1] ^= 1;
    }
    let (_root, server, remote) = killed_upload(&one);
    assert!(server.uploads()[0].1 >= 1);
    put_file(&remote, "a/k", &other, Mode::Create).expect("put");
    assert_eq!(get(&remote, "a/k").expect("read"), Some(other));
    assert_eq!(server.uploads(), []);
}

#[test]
fn an_upload_of_what_somebody_else_has_put_goes() {
    let content = bytes(4, LARGE);
    let (root, server, remote) = killed_upload(&content);
    assert_eq!(server.uploads().len(), 1);
    let there = root.path().join("bucket/p/a/k");
    fs::create_dir_all(there.parent().expect("a parent")).expect("mkdir");
    fs::write(there, &content).expect("write");
    assert_eq!(
        put_file(&remote, "a/k", &content, Mode::Create).expect("put"),
        Put::AlreadySame
    );
    assert_eq!(server.uploads(), []);
}

#[test]
fn an_interrupted_upload_is_given_up() {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let remote = remote(&server.url(), &[]);
    let interrupted = interrupt();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("file");
    let content = bytes(4, LARGE);
    fs::write(&path, &content).expect("write");
    let content = Content::File {
        file: &File::open(&path).expect("open"),
        size: LARGE as u64,
        digest: Sha256::of(&content),
    };
    let progress = |_| interrupted.raise(Signal::SIGINT);
    let error = remote.put("k", content, Mode::Create, &progress, &interrupted);
    assert!(
        matches!(error, Err(pybuild::publish::PublishError::Interrupted(_))),
        "{error:?}"
    );
    assert_eq!(server.uploads(), [], "it has been given up");
}
