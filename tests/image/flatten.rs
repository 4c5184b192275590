//! One tree of several layers: kept as a whole or not at all, and on top of another one without
//! changing it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pybuild::model::Sha256;
use pybuild::rootfs::image::{self, ImageError, LayerBlob, chain_id};

use crate::kit::{Place, gzip, look};
use crate::tarball::{Entry, Tarball, tar};

fn lower() -> Vec<u8> {
    tar()
        .entry(&Entry {
            name: b"tmp",
            flag: b'5',
            mode: 0o1777,
            ..Entry::default()
        })
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .file("usr/lib/changed", "old")
        .file("usr/lib/kept", "kept")
        .file("usr/lib/removed", "removed")
        .hard_link("usr/lib/linked", "usr/lib/kept")
        .other(b'6', "usr/lib/pipe", "", 0o600)
        .other(b'3', "null", "", 0o666)
        .pax(&[("SCHILY.xattr.user.kept", "yes")])
        .dir("usr/attributed")
        .entry(&Entry {
            name: b"mail",
            flag: b'5',
            mode: 0o2755,
            owner: (0, 8),
            ..Entry::default()
        })
        .end()
}

fn upper() -> Vec<u8> {
    tar()
        .file("usr/lib/.wh.removed", "")
        .file("lib/changed", "new")
        .hard_link("lib/more", "lib/kept")
        .entry(&Entry {
            name: b"usr/lib",
            flag: b'5',
            mode: 0o700,
            mtime: 5,
            ..Entry::default()
        })
        .dir("usr/attributed")
        .file("mail", "a file now")
        .end()
}

#[test]
fn layers_become_one_tree_that_is_filed_under_its_chain_id() {
    let place = Place::new();
    let layers = place.layers(&[lower(), upper()]);
    let chain = chain_id(Some(&layers[0].diff_id), &layers[1].diff_id);
    assert_eq!(image::flat(&chain, &place.store), None);
    let flat = place.flatten(&layers, None).expect("sound");
    assert_eq!(flat.chain, chain);
    assert_eq!(image::flat(&chain, &place.store), Some(flat.clone()));
    assert!(place.scratch_is_empty());
    let read = |name: &str| fs::read_to_string(flat.tree.join(name)).expect("read");
    assert_eq!(read("usr/lib/changed"), "new");
    assert_eq!(read("usr/lib/more"), "kept");
    assert!(!flat.tree.join("usr/lib/removed").exists());
    let owned = image::ownership(&flat, &place.store).expect("readable");
    assert!(owned.get(b"null").is_some() && owned.get(b"mail").is_none());

    // It is there already: the blobs are not asked for again.
    for layer in &layers {
        fs::remove_file(&layer.blob).expect("unlink");
    }
    assert_eq!(place.flatten(&layers, None).expect("is there"), flat);
}

/// Of the specification's formula, worked out with sha256sum.
#[test]
fn the_chain_id_is_the_one_of_the_specification() {
    let [a, b] = ["a", "b"].map(|text| Sha256::of(text.as_bytes()));
    assert_eq!(chain_id(None, &a), a);
    assert_eq!(
        chain_id(Some(&a), &b).to_string(),
        "51c0c8ace48498d6f5fee6b0592cc06f2da0f3cbe09c5a34a97dce85c3889676"
    );
}

#[test]
fn a_tree_on_another_is_the_same_as_one_made_at_once_and_changes_nothing_below() {
    let place = Place::new();
    let layers = place.layers(&[lower(), upper()]);
    let base = place.flatten(&layers[..1], None).expect("sound");
    let before = look(&base.tree);
    let on_base = place.flatten(&layers[1..], Some(&base)).expect("sound");
    assert_eq!(look(&base.tree), before);

    let elsewhere = Place::new();
    let at_once = elsewhere.flatten(&layers, None).expect("sound");
    assert_eq!(on_base.key, at_once.key);
    assert_eq!(look(&on_base.tree), look(&at_once.tree));
    assert_eq!(
        image::ownership(&on_base, &place.store).expect("readable"),
        image::ownership(&at_once, &elsewhere.store).expect("readable")
    );
    // What has not changed is shared; the attributes of directories are each one's own.
    let inode = |tree: &Path, name: &str| fs::metadata(tree.join(name)).expect("stat").ino();
    let shared = |name| inode(&base.tree, name) == inode(&on_base.tree, name);
    assert!(shared("usr/lib/kept") && !shared("usr/lib/changed") && !shared("usr/lib"));
    let attribute =
        |tree: &Path| pybuild::sys::xattr::get(&tree.join("usr/attributed"), c"user.kept");
    if attribute(&base.tree) != Ok(None) {
        assert_eq!(attribute(&base.tree), Ok(Some(b"yes".to_vec())));
    }
    assert_eq!(attribute(&on_base.tree), Ok(None));
}

#[test]
fn nothing_is_kept_of_what_is_not_what_it_should_be() {
    let place = Place::new();
    let good = place.layer(&lower());
    let cut = {
        // At the end of a member: only the diff id tells.
        let archive = upper();
        fs::write(place.dir.path().join("cut"), gzip(&archive[..512])).expect("write");
        LayerBlob {
            blob: place.dir.path().join("cut"),
            diff_id: Sha256::of(&archive),
        }
    };
    let other = LayerBlob {
        diff_id: Sha256::of(b"another"),
        ..place.layer(&upper())
    };
    for wrong in [cut, other] {
        match place.flatten(&[good.clone(), wrong.clone()], None) {
            Err(ImageError::DiffId { expected, .. }) => assert_eq!(expected, wrong.diff_id),
            other => panic!("{other:?}"),
        }
    }
    let hostile = place.layer(&tar().file("../x", "x").end());
    let refused = place.flatten(&[good.clone(), hostile.clone()], None);
    match refused {
        Err(ImageError::Layer { diff_id, .. }) => assert_eq!(diff_id, hostile.diff_id),
        other => panic!("{other:?}"),
    }
    assert!(matches!(place.flatten(&[], None), Err(ImageError::Empty)));
    let layers = place.store.root().join("layers");
    assert_eq!(fs::read_dir(layers).expect("readdir").count(), 0);
    assert!(place.scratch_is_empty());
}

#[test]
fn an_interrupt_ends_it_and_leaves_nothing() {
    let place = Place::new();
    let layer = place.layer(&lower());
    place.interrupt.raise(nix::sys::signal::Signal::SIGINT);
    place.flatten(&[layer], None).expect_err("interrupted");
    assert!(place.scratch_is_empty());
}

const STORE: &str = "PYBUILD_TEST_STORE";

fn large() -> Vec<Vec<u8>> {
    let many = |layer: usize| {
        (0..400).fold(tar(), |tar: Tarball, n| {
            let tar = tar.file(&format!("d{}/{n}", n % 20), &format!("{layer} {n}"));
            match layer {
                0 => tar,
                _ => tar.file(&format!("d{}/.wh.{}", (n + 1) % 20, n * 7 % 400), ""),
            }
        })
    };
    (0..4).map(|layer| many(layer).end()).collect()
}

/// Not a test of its own: what the next one starts again and again, and kills.
#[test]
fn worker_that_is_killed() {
    let Some(store) = std::env::var_os(STORE) else {
        return;
    };
    let place = Place::at(Path::new(&store));
    place.flatten(&place.layers(&large()), None).expect("sound");
}

#[test]
fn whoever_is_killed_leaves_what_the_next_can_go_on_with() {
    let place = Place::new();
    let expected = place.flatten(&place.layers(&large()), None).expect("sound");
    let other = Place::new();
    let worker = || {
        let mut command = Command::new(std::env::current_exe().expect("a test"));
        command
            .args(["--exact", "flatten::worker_that_is_killed"])
            .env(STORE, other.store.root())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().expect("spawned")
    };
    for delay in (0..150).step_by(10) {
        let mut killed = worker();
        std::thread::sleep(Duration::from_millis(delay));
        killed.kill().expect("killed");
        killed.wait().expect("reaped");
        if let Some(flat) = image::flat(&expected.chain, &other.store) {
            assert_eq!(look(&flat.tree), look(&expected.tree), "after {delay} ms");
        }
    }
    // Two at once: one makes it, the other waits.
    for mut worker in [worker(), worker()] {
        assert!(worker.wait().expect("reaped").success());
    }
    let flat = image::flat(&expected.chain, &other.store).expect("it is there");
    assert_eq!(look(&flat.tree), look(&expected.tree));
    other.store.sweep().expect("swept");
    assert!(other.scratch_is_empty());
}
