//! Layers: what overlay mounts leave, put together, packed, and applied again.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, mknod};

use super::super::{DeviceNode, EntryKind, Limits, Merge, contents};
use super::*;

const PLAIN: PackLayer = PackLayer {
    codec: None,
    threads: 1,
};

fn interrupt() -> Interrupt {
    Interrupt::manual().expect("an eventfd")
}

/// A tree with these paths: directories end with a slash, `a -> b` is a symlink, `a = b` one more
/// name of b, `!a` a whiteout; others are files that hold their own line.
fn tree(lines: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for line in lines {
        let at = |name: &str| dir.path().join(name);
        if let Some((name, target)) = line.split_once(" -> ") {
            symlink(target, at(name)).expect("symlink");
        } else if let Some((name, target)) = line.split_once(" = ") {
            fs::hard_link(at(target), at(name)).expect("link");
        } else if let Some(name) = line.strip_prefix('!') {
            mknod(&at(name), SFlag::S_IFCHR, Mode::empty(), 0).expect("a whiteout");
        } else if line.ends_with('/') {
            fs::create_dir(at(line)).expect("mkdir");
        } else {
            fs::write(at(line), line).expect("written");
        }
    }
    dir
}

fn owned(uid: u32, gid: u32, mode: Option<u32>) -> Owned {
    Owned {
        uid,
        gid,
        mode,
        ..Owned::default()
    }
}

fn ownership(lines: &[(&str, Owned)]) -> Ownership {
    let mut ownership = Ownership::default();
    for (path, owned) in lines {
        ownership.set(path.as_bytes().to_vec(), owned.clone());
    }
    ownership
}

fn read(tree: &Path, ownership: &Ownership) -> Layer {
    Layer::read(tree, Some(ownership), &interrupt()).expect("readable")
}

fn packed(pack: impl FnOnce(&mut File) -> Result<Layered, ArchiveError>) -> Vec<u8> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let layered = pack(&mut file).expect("packed");
    file.rewind().expect("seek");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("read");
    assert_eq!(layered.size, bytes.len() as u64);
    assert_eq!(layered.diff_id, crate::model::Sha256::of(&bytes));
    assert_eq!(layered.digest, layered.diff_id);
    bytes
}

fn layer_tar(layer: &Layer, below: &Merged) -> Vec<u8> {
    packed(|out| PLAIN.layer(layer, below, out, &|_| {}, &interrupt()))
}

fn merged_tar(merged: &Merged) -> Vec<u8> {
    packed(|out| PLAIN.merged(merged, out, &|_| {}, &interrupt()))
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    contents::<ArchiveError>(tar, &Limits::default(), &mut |entry, _| {
        let name = entry.name.escape_ascii().to_string();
        names.push(match entry.kind {
            EntryKind::Symlink | EntryKind::HardLink => {
                format!("{name} > {}", entry.link.escape_ascii())
            }
            _ => name,
        });
        Ok(())
    })
    .expect("sound");
    names
}

/// What the tree is that these archives give, as one archive.
fn flattened(tars: &[Vec<u8>]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut merge = Merge::new(dir.path()).expect("empty");
    for tar in tars {
        merge.apply(&tar[..], &Limits::default()).expect("sound");
    }
    let ownership = merge.finish().expect("finished");
    let mut merged = Merged::default();
    drop(merged.add(read(dir.path(), &ownership)));
    merged_tar(&merged)
}

#[test]
fn layers_give_as_archives_what_they_show() {
    let lower = tree(&[
        "bin/",
        "bin/su",
        "bin/su2 = bin/su",
        "gone/",
        "gone/a",
        "mail/",
        "full/",
        "full/old",
        "x",
        "link -> bin",
        "kept",
        "a-b",
        "a/",
        "a/c = a-b",
    ]);
    let upper = tree(&[
        "!gone", "!x", "mail/", "mail/new", "full/", "full/new", "bin/", "bin/ls",
    ]);
    fs::set_permissions(lower.path().join("mail"), Permissions::from_mode(0o1777)).expect("chmod");
    fs::set_permissions(upper.path().join("mail"), Permissions::from_mode(0o1777)).expect("chmod");
    let opaque = xattr::set(&upper.path().join("full"), c"user.overlay.opaque", b"y");
    opaque.expect("a file system with attributes");
    let null = DeviceNode {
        block: false,
        major: 1,
        minor: 3,
    };
    let device = Owned {
        device: Some(null),
        ..owned(0, 0, Some(0o666))
    };
    let capable = Owned {
        xattrs: [("security.capability".to_owned(), vec![1, 0, 0, 2])].into(),
        ..Owned::default()
    };
    let below = ownership(&[
        ("bin/su", owned(0, 0, Some(0o4755))),
        ("bin/su2", owned(0, 0, Some(0o4755))),
        ("mail", owned(0, 8, Some(0o3777))),
        ("kept", capable),
        ("null", device),
    ]);
    let mail = owned(0, 8, Some(0o3777));
    let above = ownership(&[("bin/ls", owned(1, 2, None)), ("mail", mail)]);
    let mut merged = Merged::default();
    let first = merged.add(read(lower.path(), &below));
    let first = layer_tar(&first, &Merged::default());
    let under = merged.clone();
    let second = merged.add(read(upper.path(), &above));
    let second = layer_tar(&second, &under);
    assert_eq!(
        names(&first),
        [
            "./",
            "a/",
            "a/c",
            "a-b > a/c",
            "bin/",
            "bin/su",
            "bin/su2 > bin/su",
            "full/",
            "full/old",
            "gone/",
            "gone/a",
            "kept",
            "link > bin",
            "mail/",
            "null",
            "x",
        ]
    );
    assert_eq!(
        names(&second),
        [
            "./",
            ".wh.gone",
            ".wh.x",
            "bin/",
            "bin/ls",
            "full/",
            "full/.wh..wh..opq",
            "full/new",
            "mail/",
            "mail/new",
        ]
    );
    let whole = merged_tar(&merged);
    assert_eq!(flattened(&[first.clone(), second]), whole);
    assert_eq!(flattened(std::slice::from_ref(&whole)), whole);
    assert_ne!(flattened(&[first]), whole);
}

#[test]
fn what_was_copied_up_is_still_whose_it_was() {
    let lower = tree(&["shadow", "other", "chmodded"]);
    let upper = tree(&["shadow", "other", "chmodded"]);
    let set = |name: &str| xattr::set(&upper.path().join(name), c"user.overlay.origin", b"");
    set("shadow").expect("a file system with attributes");
    set("chmodded").expect("a file system with attributes");
    let mode = Permissions::from_mode(0o600);
    fs::set_permissions(upper.path().join("chmodded"), mode).expect("chmod");
    let theirs = owned(0, 42, Some(0o2640));
    let below = ownership(&[
        ("shadow", theirs.clone()),
        ("other", theirs.clone()),
        ("chmodded", theirs),
    ]);
    let mut merged = Merged::default();
    drop(merged.add(read(lower.path(), &below)));
    let silent = |tree: &Path| Layer::read(tree, None, &interrupt()).expect("readable");
    drop(merged.add(silent(upper.path())));
    let found = |name: &str| {
        let attributes = &merged.0[name.as_bytes()].item.attributes;
        (attributes.gid, attributes.mode)
    };
    assert_eq!(found("shadow"), (42, 0o2640));
    assert_eq!(found("other"), (0, 0o644), "a new file");
    assert_eq!(found("chmodded"), (42, 0o600));
    // Where the layer says who owns what, it is as it says.
    drop(merged.add(read(upper.path(), &Ownership::default())));
    for name in ["shadow", "other", "chmodded"] {
        let gid = merged.0[name.as_bytes()].item.attributes.gid;
        assert_eq!(gid, 0, "{name}");
    }
}

#[test]
fn what_one_tree_has_changed_of_another_is_a_layer() {
    let run = tree(&[
        "same", "gone/", "gone/a", "kind/", "kind/a", "old", "twice", "dir/",
    ]);
    let build = tempfile::tempdir().expect("a temporary directory");
    let to = |name: &str| build.path().join(name);
    for name in ["same", "twice"] {
        fs::hard_link(run.path().join(name), to(name)).expect("link");
    }
    fs::hard_link(to("twice"), to("thrice")).expect("link");
    fs::write(to("kind"), "a file by now").expect("written");
    fs::write(to("old"), "newer").expect("written");
    fs::create_dir(to("dir")).expect("mkdir");
    fs::write(to("dir/new"), "new").expect("written");
    // What belongs to somebody below belongs to root above.
    let below = ownership(&[("dir", owned(3, 3, None)), ("", owned(3, 3, None))]);
    let (mut lower, mut upper) = (Merged::default(), Merged::default());
    let first = lower.add(read(run.path(), &below));
    let chowned = ownership(&[("dir/new", owned(7, 7, None))]);
    drop(upper.add(read(build.path(), &chowned)));
    let changes = upper.changed_from(&lower).expect("something is shared");
    let mut again = lower.clone();
    let changes = again.add(changes);
    assert_eq!(merged_tar(&again), merged_tar(&upper));
    let first = layer_tar(&first, &Merged::default());
    let second = layer_tar(&changes, &lower);
    let listed = names(&second);
    for (name, is_there) in [
        (".wh.gone", true),
        ("thrice > twice", true),
        ("dir/new", true),
        ("kind", true),
        ("same", false),
        ("twice", false),
        ("gone/.wh.a", false),
    ] {
        assert_eq!(
            listed.iter().any(|n| n == name),
            is_there,
            "{name}: {listed:?}"
        );
    }
    assert_eq!(flattened(&[first, second]), merged_tar(&upper));
    // Nothing in common: a layer of its own is no smaller.
    assert!(lower.changed_from(&Merged::default()).is_none());
}

#[test]
fn a_name_that_would_mean_a_removal_is_refused() {
    for name in [".wh.name", ".wh..wh.name"] {
        let tree = tree(&[name]);
        let read = Layer::read(tree.path(), None, &interrupt());
        assert!(matches!(read, Err(ArchiveError::Refused { .. })), "{name}");
    }
    // One without bytes is what fuse-overlayfs writes.
    let tree = tree(&[]);
    fs::write(tree.path().join(".wh.name"), "").expect("written");
    let layer = read(tree.path(), &Ownership::default());
    assert!(layer.whiteouts.contains(&b"name"[..]));
}
