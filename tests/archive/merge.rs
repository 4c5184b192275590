//! Layers of an image, one after the other in one tree: what the OCI image specification says of
//! whiteouts and of what is there already, and what becomes of what an ordinary user cannot have.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use pybuild::archive::{ArchiveError, DeviceNode, Limits, Merge, Ownership};

use crate::place::Place;
use crate::tarball::{Entry, tar};

impl Place {
    /// Applies layers, the lowest first.
    pub(crate) fn merge(&self, layers: &[Vec<u8>]) -> Result<Ownership, ArchiveError> {
        let result = (|| {
            let mut merge = Merge::new(self.root())?;
            for layer in layers {
                merge.apply(&layer[..], &Limits::default())?;
            }
            merge.finish()
        })();
        self.assert_outside_is_untouched();
        result
    }

    /// Every path in the root, directories with a slash at the end, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut dirs = vec![self.root().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).expect("readdir") {
                let path = entry.expect("readdir").path();
                let name = path.strip_prefix(self.root()).expect("below");
                let mut name = name.to_string_lossy().into_owned();
                if fs::symlink_metadata(&path).expect("lstat").is_dir() {
                    name.push('/');
                    dirs.push(path);
                }
                names.push(name);
            }
        }
        names.sort();
        names
    }
}

fn inode(place: &Place, name: &str) -> u64 {
    let found = fs::symlink_metadata(place.root().join(name));
    found.expect("lstat").ino()
}

/// The specification's own examples, and every order of a layer.
#[test]
fn whiteouts_take_from_below_only_wherever_they_come() {
    let lower = tar()
        .dir("a")
        .dir("a/b")
        .dir("a/b/c")
        .file("a/b/c/bar", "bar")
        .file("kept", "kept");
    let opaque = |tar: crate::tarball::Tarball| tar.file("a/.wh..wh..opq", "");
    let whiteout = |tar: crate::tarball::Tarball| tar.file("a/.wh.b", "");
    let upper = |tar: crate::tarball::Tarball| tar.dir("a/b").dir("a/b/c").file("a/b/c/foo", "foo");
    let uppers = [
        upper(opaque(tar().dir("a"))),
        opaque(upper(tar().dir("a"))),
        upper(opaque(tar())),
        opaque(upper(tar())),
        upper(whiteout(tar())),
        whiteout(upper(tar())),
        opaque(tar().file("a/b/c/foo", "foo")),
        whiteout(tar().file("a/b/c/foo", "foo")),
        opaque(tar().dir("a/b/c").file("a/b/c/foo", "foo").dir("a/b")),
        tar().file(".wh.a", "").file("a/b/c/foo", "foo"),
        tar().file("a/b/c/foo", "foo").file(".wh.a", ""),
        // Directories, and with content: the name alone says what it is.
        tar().dir("a/.wh.b").file("a/b/c/foo", "foo"),
        tar().file("a/.wh.b", "content").file("a/b/c/foo", "foo"),
    ];
    for (n, upper) in uppers.into_iter().enumerate() {
        let place = Place::new();
        place
            .merge(&[lower.clone().end(), upper.end()])
            .expect("sound");
        assert_eq!(
            place.names(),
            ["a/", "a/b/", "a/b/c/", "a/b/c/foo", "kept"],
            "{n}"
        );
        assert_eq!(place.mode("a/b"), 0o755, "{n}");
    }
}

#[test]
fn whiteouts_remove_what_they_name_and_nothing_else() {
    let lower = tar()
        .dir("d")
        .dir("d/e")
        .file("d/e/f", "f")
        .file("file", "x")
        .symlink("link", "d")
        .symlink("out", "../outside")
        .file("file2", "y")
        .file("dd", "z");
    let rows: [(crate::tarball::Tarball, &[&str]); 9] = [
        (
            tar().file(".wh.d", ""),
            &["dd", "file", "file2", "link", "out"],
        ),
        (
            tar().file(".wh.link", ""),
            &["d/", "d/e/", "d/e/f", "dd", "file", "file2", "out"],
        ),
        (
            tar().file(".wh.out", ""),
            &["d/", "d/e/", "d/e/f", "dd", "file", "file2", "link"],
        ),
        (
            tar().file("d/.wh.e", ""),
            &["d/", "dd", "file", "file2", "link", "out"],
        ),
        // Through a symlink, as every other path.
        (
            tar().file("link/.wh.e", ""),
            &["d/", "dd", "file", "file2", "link", "out"],
        ),
        (
            tar().file("link/.wh..wh..opq", ""),
            &["d/", "dd", "file", "file2", "link", "out"],
        ),
        (tar().file(".wh..wh..opq", ""), &[]),
        // What is not there, and what no directory is above.
        (
            tar()
                .file(".wh.none", "")
                .file("none/.wh.none", "")
                .file("file/.wh.x", "")
                .file("none/.wh..wh..opq", "")
                .file("out/.wh.kept", "")
                .file("out/.wh..wh..opq", ""),
            &["d/", "d/e/", "d/e/f", "dd", "file", "file2", "link", "out"],
        ),
        // aufs' own.
        (
            tar()
                .file(".wh..wh.aufs", "")
                .dir(".wh..wh.plnk")
                .file(".wh..wh.plnk/1.2", "x")
                .dir(".wh..wh.orph"),
            &["d/", "d/e/", "d/e/f", "dd", "file", "file2", "link", "out"],
        ),
    ];
    for (n, (upper, names)) in rows.into_iter().enumerate() {
        let place = Place::new();
        place
            .merge(&[lower.clone().end(), upper.end()])
            .expect("sound");
        assert_eq!(place.names(), names, "{n}");
    }
}

#[test]
fn a_whiteout_takes_nothing_of_its_own_layer() {
    let place = Place::new();
    let layer = tar()
        .file(".wh.a", "")
        .file("a", "a")
        .dir("d")
        .file("d/x", "x")
        .file(".wh.d", "")
        .file("d/.wh..wh..opq", "")
        .file(".wh..wh..opq", "");
    place.merge(&[layer.clone().end()]).expect("the lowest");
    assert_eq!(place.names(), ["a", "d/", "d/x"]);
    let place = Place::new();
    let lower = tar().dir("d").file("d/old", "").file("a", "old").end();
    place.merge(&[lower, layer.end()]).expect("one above");
    assert_eq!(place.names(), ["a", "d/", "d/x"]);
    assert_eq!(place.read("a"), "a");
}

#[test]
fn an_entry_replaces_whatever_is_there_but_directories_merge() {
    let place = Place::new();
    let lower = tar()
        .dir("dir")
        .dir("dir/sub")
        .file("dir/sub/f", "f")
        .file("file", "1")
        .symlink("link", "dir")
        .dir("merged")
        .file("merged/old", "old")
        .symlink("to-outside", "../outside/kept")
        .end();
    let middle = tar()
        .file("dir", "a file")
        .dir("file")
        .file("file/inside", "x")
        .dir("link")
        .file("link/own", "x")
        .other(b'5', "merged", "", 0o700)
        .file("merged/new", "new")
        .file("to-outside", "mine")
        .end();
    let upper = tar()
        .dir("dir")
        .file("dir/again", "x")
        .symlink("file", "dir")
        .end();
    place.merge(&[lower, middle, upper]).expect("sound");
    assert_eq!(
        place.names(),
        [
            "dir/",
            "dir/again",
            "file",
            "link/",
            "link/own",
            "merged/",
            "merged/new",
            "merged/old",
            "to-outside"
        ]
    );
    assert_eq!(place.mode("merged"), 0o700);
    assert_eq!(place.read("file/again"), "x");
    assert_eq!(place.read("to-outside"), "mine");
}

#[test]
fn paths_go_through_symlinks_inside_the_root() {
    let place = Place::new();
    let lower = tar()
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .symlink("abs", "/usr/lib")
        .symlink("up", "../../../usr")
        .symlink("run", "/var/run")
        .end();
    let upper = tar()
        .file("lib/a", "a")
        .file("abs/b", "b")
        .file("up/lib/c", "c")
        .file("run/pid", "1")
        .file("lib/new/d", "d")
        .hard_link("e", "lib/a")
        .end();
    place.merge(&[lower, upper]).expect("sound");
    for (name, content) in [("a", "a"), ("b", "b"), ("c", "c"), ("new/d", "d")] {
        assert_eq!(place.read(&format!("usr/lib/{name}")), content);
    }
    assert_eq!(place.read("var/run/pid"), "1");
    assert_eq!(inode(&place, "e"), inode(&place, "usr/lib/a"));
}

#[test]
fn hard_links_reach_into_lower_layers_and_share_what_they_find() {
    let place = Place::new();
    let lower = tar()
        .file("a", "a")
        .symlink("s", "../outside/kept")
        .other(b'6', "pipe", "", 0o600)
        .other(b'3', "null", "", 0o666)
        .end();
    let upper = tar()
        .hard_link("b", "a")
        .hard_link("t", "s")
        .hard_link("pipe2", "/pipe")
        .hard_link("null2", "null")
        .hard_link("a", "a")
        .file(".wh.a", "")
        .end();
    // An entry of its own layer, here a link to itself, no whiteout takes.
    let ownership = place.merge(&[lower.clone(), upper]).expect("sound");
    assert_eq!(place.names(), ["a", "b", "pipe", "pipe2", "s", "t"]);
    assert_eq!(inode(&place, "a"), inode(&place, "b"));
    assert_eq!(inode(&place, "s"), inode(&place, "t"));
    assert_eq!(ownership.get(b"null2"), ownership.get(b"null"));
    assert!(ownership.get(b"null2").is_some());

    // A file that is replaced leaves its other name alone.
    let place = Place::new();
    let link = tar().hard_link("b", "a").end();
    let replace = tar().file("b", "B").end();
    place.merge(&[lower, link, replace]).expect("sound");
    assert_eq!((place.read("a"), place.read("b")), ("a".into(), "B".into()));
}

#[test]
fn what_an_ordinary_user_cannot_have_is_on_record() {
    let entry = |name: &'static str, flag, mode, owner| Entry {
        name: name.as_bytes(),
        flag,
        mode,
        owner,
        ..Entry::default()
    };
    let place = Place::new();
    let device = Entry {
        device: (8, 17),
        ..entry("dev/sda1", b'4', 0o660, (0, 6))
    };
    let layer = tar()
        .entry(&entry("./", b'5', 0o555, (0, 0)))
        .entry(&entry("tmp", b'5', 0o1777, (0, 0)))
        .entry(&entry("mail", b'5', 0o2775, (0, 8)))
        .entry(&entry("su", b'0', 0o4755, (0, 0)))
        .entry(&entry("secret", b'0', 0, (0, 0)))
        .entry(&entry("mine", b'0', 0o644, (1000, 1000)))
        .entry(&entry("pipe", b'6', 0o622, (0, 0)))
        .entry(&entry("gone", b'0', 0o644, (7, 7)))
        .entry(&device)
        .pax(&[
            ("SCHILY.xattr.user.kept", "yes"),
            ("SCHILY.xattr.user.overlay.opaque", "y"),
            ("SCHILY.xattr.security.capability", "cap"),
            ("SCHILY.xattr.trusted.x", "x"),
        ])
        .file("ping", "p")
        .end();
    let upper = tar().file(".wh.gone", "").end();
    let ownership = place.merge(&[layer, upper]).expect("sound");
    let modes = [
        ("", 0o755),
        ("tmp", 0o1777),
        ("mail", 0o775),
        ("su", 0o755),
        ("secret", 0o400),
        ("mine", 0o644),
        ("pipe", 0o622),
    ];
    for (name, mode) in modes {
        assert_eq!(place.mode(name), mode, "{name}");
    }
    let kind = fs::symlink_metadata(place.root().join("pipe")).expect("lstat");
    assert!(kind.file_type().is_fifo());
    assert!(!place.root().join("dev/sda1").exists());
    let rows: Vec<_> = ownership
        .iter()
        .map(|(path, owned)| (Path::new(std::str::from_utf8(path).expect("ASCII")), owned))
        .map(|(path, owned)| (path.to_owned(), owned.uid, owned.gid, owned.mode))
        .collect();
    let expected = [
        ("", 0, 0, Some(0o555)),
        ("dev/sda1", 0, 6, Some(0o660)),
        ("mail", 0, 8, Some(0o2775)),
        ("mine", 1000, 1000, None),
        ("ping", 0, 0, None),
        ("secret", 0, 0, Some(0)),
        ("su", 0, 0, Some(0o4755)),
    ];
    let expected = expected.map(|(path, uid, gid, mode)| (path.into(), uid, gid, mode));
    assert_eq!(rows, expected);
    let device = ownership.get(b"dev/sda1").and_then(|owned| owned.device);
    let is = DeviceNode {
        block: true,
        major: 8,
        minor: 17,
    };
    assert_eq!(device, Some(is));
    let ping = ownership.get(b"ping").expect("it has a capability");
    assert_eq!(ping.xattrs["security.capability"], b"cap");
    let attribute = |name| pybuild::sys::xattr::get(&place.root().join("ping"), name);
    assert_eq!(attribute(c"user.overlay.opaque"), Ok(None));
    // A file system without attributes keeps none.
    if pybuild::sys::xattr::set(place.root(), c"user.try", b"").is_ok() {
        assert_eq!(attribute(c"user.kept"), Ok(Some(b"yes".to_vec())));
    }
}

/// Most programs are files that nobody may write to, and setting an attribute takes that right.
#[test]
fn a_file_that_is_not_to_be_written_to_has_its_attributes() {
    for (mode, given) in [(0o555, 0o555), (0o440, 0o440), (0, 0o400)] {
        let place = Place::new();
        let file = Entry {
            name: b"f",
            mode,
            data: b"content",
            ..Entry::default()
        };
        let pax = [("SCHILY.xattr.user.kept", "yes")];
        place
            .merge(&[tar().pax(&pax).entry(&file).end()])
            .expect("sound");
        assert_eq!((place.mode("f"), &*place.read("f")), (given, "content"));
        let found = fs::metadata(place.root().join("f")).expect("stat");
        assert_eq!(found.mtime(), 0o14_371_573_400);
        let attribute = pybuild::sys::xattr::get(&place.root().join("f"), c"user.kept");
        if pybuild::sys::xattr::set(place.root(), c"user.try", b"").is_ok() {
            assert_eq!(attribute, Ok(Some(b"yes".to_vec())), "{mode:o}");
        }
    }
}

#[test]
fn directories_have_the_times_that_layers_say() {
    let place = Place::new();
    let dir = |name: &'static str, mtime| Entry {
        name: name.as_bytes(),
        flag: b'5',
        mode: 0o755,
        mtime,
        ..Entry::default()
    };
    let lower = tar()
        .entry(&dir("./", 100))
        .entry(&dir("a", 200))
        .entry(&dir("b", 300))
        .file("a/x", "x")
        .file("implied/y", "y")
        .end();
    let upper = tar()
        .file("a/.wh.x", "")
        .file("a/z", "z")
        .entry(&dir("b", 400))
        .file("b/z", "z")
        .end();
    place.merge(&[lower, upper]).expect("sound");
    let time = |name: &str| {
        let found = fs::symlink_metadata(place.root().join(name));
        found.expect("lstat").mtime()
    };
    assert_eq!(
        (time(""), time("a"), time("b"), time("implied")),
        (100, 200, 400, 0)
    );
}

#[test]
fn a_device_hides_what_was_there_and_goes_as_everything_goes() {
    let lower = tar().file("x", "x").dir("d").file("d/f", "f").end();
    let devices = tar()
        .other(b'3', "x", "", 0o600)
        .other(b'3', "d/null", "", 0o666)
        .end();
    let rows: [(crate::tarball::Tarball, &[&str], usize); 5] = [
        (tar(), &["d/", "d/f"], 2),
        (tar().file(".wh.x", ""), &["d/", "d/f"], 1),
        (tar().file(".wh.d", ""), &[], 1),
        (tar().file("d/.wh..wh..opq", ""), &["d/"], 1),
        (tar().file("x/y", "").file("d", ""), &["d", "x/", "x/y"], 0),
    ];
    for (n, (upper, names, records)) in rows.into_iter().enumerate() {
        let place = Place::new();
        let layers = [lower.clone(), devices.clone(), upper.end()];
        let ownership = place.merge(&layers).expect("sound");
        assert_eq!(place.names(), names, "{n}");
        assert_eq!(ownership.iter().count(), records, "{n}");
    }
    // A device of the layer itself keeps the directory that it would be in.
    let place = Place::new();
    let upper = tar()
        .other(b'3', "d/null", "", 0o666)
        .file(".wh.d", "")
        .end();
    let ownership = place.merge(&[lower, upper]).expect("sound");
    assert_eq!(place.names(), ["d/", "x"]);
    assert_eq!(ownership.iter().count(), 1);
}

#[test]
fn names_are_bytes() {
    let place = Place::new();
    let name = b"caf\xe9\nline";
    let lower = tar().entry(&Entry {
        name,
        owner: (5, 5),
        ..Entry::default()
    });
    let ownership = place.merge(&[lower.end()]).expect("sound");
    let mut names = fs::read_dir(place.root()).expect("readdir");
    let found = names.next().expect("one").expect("readdir").file_name();
    assert_eq!(found.as_encoded_bytes(), name);
    assert_eq!(ownership.get(name).map(|owned| owned.uid), Some(5));
}
