//! What is read off the files of a tree, and that it is taken off them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const TIME: std::time::SystemTime = std::time::UNIX_EPOCH;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let this = Self(tempfile::tempdir().expect("a temporary directory"));
        for name in ["tree", "below/tree"] {
            fs::create_dir_all(this.at(name)).expect("mkdir");
        }
        this
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file of this mode, or a directory if its name ends with a slash, with this stamp.
    fn put(&self, name: &str, mode: u32, stamp: &str) {
        let path = self.at(name);
        if name.ends_with('/') {
            fs::create_dir(&path).expect(name);
        } else {
            fs::write(&path, "x").expect(name);
            let file = fs::File::options().write(true).open(&path).expect(name);
            file.set_modified(TIME).expect(name);
        }
        if !stamp.is_empty() {
            xattr::set(&path, Stamp::ATTRIBUTE, stamp.as_bytes()).expect(name);
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect(name);
    }

    fn mode(&self, name: &str) -> u32 {
        let found = fs::symlink_metadata(self.at(name)).expect(name);
        found.permissions().mode() & 0o7777
    }

    fn take(&self, below: Ownership) -> Ownership {
        let below = Below {
            tree: self.at("below/tree"),
            ownership: below,
        };
        take(&self.at("tree"), &[below]).expect("taken")
    }
}

fn owned(uid: u32, gid: u32, mode: Option<u32>) -> Owned {
    Owned {
        uid,
        gid,
        mode,
        ..Owned::default()
    }
}

#[track_caller]
fn assert_is(ownership: &Ownership, expected: &[(&str, Owned)]) {
    let found: Vec<_> = ownership
        .iter()
        .map(|(path, owned)| (str::from_utf8(path).expect("UTF-8"), owned.clone()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn what_is_on_the_files_is_said_and_taken_off() {
    let place = Place::new();
    place.put("tree/d/", 0o2775, "0:8");
    place.put("tree/d/su", 0o4755, "");
    place.put("tree/d/plain", 0o644, "0:0");
    place.put("tree/d/locked", 0o0, ":42");
    place.put("tree/d/sticky", 0o1640, "");
    place.put("tree/d/device", 0o660, "0:6 b 8 1");
    fs::hard_link(place.at("tree/d/su"), place.at("tree/su")).expect("link");
    fs::hard_link(place.at("tree/d/locked"), place.at("tree/d/too")).expect("link");
    place.put("tree/shut/", 0o0, "7:7");
    xattr::set(&place.at("tree/d/plain"), Stamp::CAPABILITY, b"cap").expect("setxattr");
    symlink("/etc/passwd", place.at("tree/d/link")).expect("symlink");
    let device = DeviceNode {
        block: true,
        major: 8,
        minor: 1,
    };
    let capability = ("security.capability".to_owned(), b"cap".to_vec());
    assert_is(
        &place.take(Ownership::default()),
        &[
            ("d", owned(0, 8, Some(0o2775))),
            (
                "d/device",
                Owned {
                    device: Some(device),
                    ..owned(0, 6, Some(0o660))
                },
            ),
            ("d/locked", owned(0, 42, Some(0))),
            (
                "d/plain",
                Owned {
                    xattrs: [capability].into(),
                    ..Owned::default()
                },
            ),
            ("d/sticky", owned(0, 0, Some(0o1640))),
            ("d/su", owned(0, 0, Some(0o4755))),
            ("d/too", owned(0, 42, Some(0))),
            ("shut", owned(7, 7, Some(0))),
            ("su", owned(0, 0, Some(0o4755))),
        ],
    );
    let modes = [
        ("tree/d", 0o775),
        ("tree/d/su", 0o755),
        ("tree/d/plain", 0o644),
        ("tree/d/locked", 0o400),
        ("tree/d/sticky", 0o640),
        ("tree/shut", 0o700),
    ];
    for (name, mode) in modes {
        assert_eq!(place.mode(name), mode, "{name}");
    }
    assert!(!place.at("tree/d/device").exists());
    for name in ["tree/d", "tree/d/plain", "tree/d/locked", "tree/shut"] {
        assert_eq!(xattr::list(&place.at(name)), Ok(Vec::new()), "{name}");
    }
    // What is taken once is gone.
    assert_is(&place.take(Ownership::default()), &[]);
}

#[test]
fn what_is_of_a_layer_below_is_whose_it_was_there() {
    let place = Place::new();
    let mut below = Ownership::default();
    let rows = [
        ("d/", 0o775, owned(0, 8, Some(0o2775))),
        ("d/copied", 0o755, owned(0, 42, Some(0o2755))),
        ("d/chmodded", 0o755, owned(0, 42, Some(0o2755))),
        ("d/given", 0o755, owned(0, 42, Some(0o2755))),
        ("d/replaced", 0o644, owned(5, 5, None)),
        ("d/kept", 0o640, owned(0, 42, None)),
        ("d/group", 0o640, owned(3, 42, None)),
        ("d/shadow", 0o640, owned(0, 42, None)),
    ];
    for (name, mode, owned) in rows {
        place.put(&format!("below/tree/{name}"), mode, "");
        below.set(name.trim_end_matches('/').as_bytes().to_vec(), owned);
    }
    place.put("tree/d/", 0o775, "");
    place.put("tree/d/copied", 0o755, "");
    place.put("tree/d/chmodded", 0o700, "");
    place.put("tree/d/given", 0o755, "0:7");
    place.put("tree/d/replaced", 0o644, "");
    fs::write(place.at("tree/d/replaced"), "another").expect("write");
    place.put("tree/d/group", 0o640, ":9");
    place.put("tree/d/shadow", 0o640, "0:0 ?");
    fs::write(place.at("tree/d/shadow"), "another").expect("write");
    place.put("tree/d/shadow-", 0o640, "0:0 ?");
    place.put("tree/d/new", 0o640, "0:0 ?");
    assert_is(
        &place.take(below),
        &[
            ("d", owned(0, 8, Some(0o2775))),
            ("d/chmodded", owned(0, 42, None)),
            ("d/copied", owned(0, 42, Some(0o2755))),
            ("d/given", owned(0, 7, None)),
            ("d/group", owned(3, 9, None)),
            ("d/shadow", owned(0, 42, None)),
            ("d/shadow-", owned(0, 42, None)),
        ],
    );
}

#[test]
fn no_depth_is_too_much_until_no_call_takes_the_path() {
    let place = Place::new();
    let deep = vec!["d"; 1100].join("/");
    fs::create_dir_all(place.at("tree").join(&deep)).expect("mkdir");
    place.put(&format!("tree/{deep}/f"), 0o4755, "");
    let found = place.take(Ownership::default());
    assert_eq!(found.iter().count(), 1);
    let root = fs::File::open(place.at("tree").join(&deep)).expect("open");
    let mut root = OwnedFd::from(root);
    let name = "d".repeat(200);
    for _ in 0..10 {
        nix::sys::stat::mkdirat(&root, &name[..], Mode::S_IRWXU).expect("mkdir");
        root = openat(&root, &name[..], OFlag::O_DIRECTORY, Mode::empty()).expect("open");
    }
    let error = take(&place.at("tree"), &[]).expect_err("too deep");
    assert_eq!(error.source.raw_os_error(), Some(libc::ENAMETOOLONG));
    crate::sys::fs::remove_tree(&place.at("tree")).expect("removed");
}
