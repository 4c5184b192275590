//! Trees as they are met, and as somebody who means harm leaves them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use nix::sys::stat::mkdirat;
use nix::unistd::{geteuid, mkfifo};
use tempfile::TempDir;

use super::super::text;
use super::*;

fn found(dir: &TempDir) -> Scanned {
    let interrupt = Interrupt::manual().expect("an eventfd");
    scan(dir.path(), 3, &|_| {}, &interrupt).expect("a tree that can be read")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

#[test]
fn everything_is_written_down_and_nothing_is_followed_or_waited_for() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name);
    set_mode(dir.path(), 0o700);
    fs::create_dir(at("dir")).expect("mkdir");
    set_mode(&at("dir"), 0o1755);
    fs::write(at("dir/file"), "abc").expect("write");
    set_mode(&at("dir/file"), 0o640);
    fs::hard_link(at("dir/file"), at("again")).expect("link");
    symlink("/etc", at("link")).expect("symlink");
    mkfifo(&at("pipe"), Mode::from_bits_truncate(0o600)).expect("mkfifo");
    let _listening = UnixListener::bind(at("socket")).expect("bind");
    set_mode(&at("socket"), 0o755);
    let scanned = found(&dir);
    insta::assert_snapshot!(text::write(&scanned.entries), @r"
    #mtree
    . type=dir mode=0700
    ./again type=file mode=0640 size=3 sha256digest=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    ./dir type=dir mode=1755
    ./dir/file type=file mode=0640 size=3 sha256digest=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    ./link type=link link=/etc
    ./pipe type=fifo mode=0600
    ./socket type=socket mode=0755
    ");
    assert_eq!(scanned.unreadable, BTreeMap::new());
}

#[test]
fn bytes_on_the_disk_are_counted_once_and_those_of_others_apart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    for tree in [&one, &other] {
        fs::create_dir(tree).expect("mkdir");
    }
    let content = vec![7; 1 << 20];
    fs::write(one.join("a"), &content).expect("write");
    fs::hard_link(one.join("a"), one.join("b")).expect("link");
    fs::write(other.join("c"), &content).expect("write");
    fs::hard_link(one.join("a"), other.join("d")).expect("link");
    let interrupt = Interrupt::manual().expect("an eventfd");
    let sizes = |tree| {
        let scanned = scan(tree, 1, &|_| {}, &interrupt).expect("readable");
        (scanned.own >> 20, scanned.shared >> 20)
    };
    assert_eq!(sizes(&one), (0, 1));
    assert_eq!(sizes(&other), (1, 1));
    let freed = |paths: &[&Path]| {
        let paths: Vec<PathBuf> = paths.iter().map(|&path| path.to_owned()).collect();
        disk_usage(&paths, &interrupt).expect("readable") >> 20
    };
    assert_eq!(freed(&[&one]), 0);
    assert_eq!(freed(&[&other]), 1);
    assert_eq!(freed(&[&one, &other]), 2);
    let (a, b, d) = (one.join("a"), one.join("b"), other.join("d"));
    assert_eq!(freed(&[&a, &b]), 0);
    assert_eq!(freed(&[&a, &b, &d]), 1);
    assert_eq!(freed(&[&dir.path().join("none")]), 0);
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_read() {
    if geteuid().is_root() {
        return; // root may read everything
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("dark/below")).expect("mkdir");
    fs::write(at("file"), "x").expect("write");
    fs::write(at("other"), "x").expect("write");
    set_mode(&at("dark"), 0o300);
    set_mode(&at("file"), 0);
    let scanned = found(&dir);
    set_mode(&at("dark"), 0o700);
    let unreadable: Vec<_> = scanned.unreadable.into_iter().collect();
    assert_eq!(
        unreadable,
        [
            (b"dark".to_vec(), Errno::EACCES),
            (b"file".to_vec(), Errno::EACCES)
        ]
    );
    let paths: Vec<_> = scanned
        .entries
        .iter()
        .map(|entry| &entry.path[..])
        .collect();
    assert_eq!(paths, [&b""[..], b"dark", b"file", b"other"]);
}

#[test]
fn no_tree_is_too_deep() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let name = "d".repeat(200);
    let mut at = nix::fcntl::open(dir.path(), flags, Mode::empty()).expect("open");
    for _ in 0..50 {
        mkdirat(&at, name.as_str(), Mode::S_IRWXU).expect("mkdir");
        at = nix::fcntl::openat(&at, name.as_str(), flags, Mode::empty()).expect("open");
    }
    let file = nix::fcntl::openat(&at, "file", OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRWXU);
    drop(file.expect("created"));
    let scanned = found(&dir);
    assert_eq!(scanned.entries.len(), 52);
    let last = scanned.entries.last().expect("a file");
    assert_eq!(last.path.len(), 50 * 201 + 4);
    assert!(
        matches!(last.what, What::File { size: 0, sha256: Some(digest) } if digest == Sha256::of(b""))
    );
    crate::sys::fs::remove_tree(dir.path()).expect("removed");
}

#[test]
fn whoever_does_not_want_it_any_more_is_heard() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let interrupt = Interrupt::manual().expect("an eventfd");
    interrupt.raise(nix::sys::signal::Signal::SIGTERM);
    let stopped = scan(dir.path(), 1, &|_| {}, &interrupt);
    assert!(matches!(stopped, Err(ScanError::Interrupted(_))));
}
