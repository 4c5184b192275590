//! Layers over what is there already: symlinks, replacements, several at the same time.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use pybuild::archive::{Extract, Trust, extract};

use crate::place::Place;
use crate::tarball::tar;

#[test]
fn symlinks_in_a_layer_resolve_inside_its_root() {
    let place = Place::new();
    let absolute = place.dir.path().join("outside");
    fs::create_dir_all(place.root().join("usr/lib")).expect("mkdir");
    symlink("usr/lib", place.root().join("lib")).expect("symlink");
    let archive = tar()
        .dir("./lib/")
        .file("./lib/libc.so", "c")
        .symlink("up", "../../../../outside")
        .end();
    place.extract(Trust::Layer, &archive).expect("sound");
    assert_eq!(place.read("usr/lib/libc.so"), "c");
    assert!(
        fs::symlink_metadata(place.root().join("lib"))
            .expect("lstat")
            .is_symlink(),
        "a directory entry leaves the link to the directory"
    );

    // `..` above the root stays in the root, and so does an absolute target.
    for target in ["../../../../outside".into(), absolute.clone()] {
        let place = Place::new();
        symlink(&target, place.root().join("link")).expect("symlink");
        let through = tar().file("link/kept", "replaced").dir("link").end();
        let result = place.extract(Trust::Layer, &through);
        assert!(result.is_err(), "the target does not exist in the root");
        let inside: PathBuf = target
            .components()
            .filter(|part| matches!(part, std::path::Component::Normal(_)))
            .collect();
        fs::create_dir_all(place.root().join(&inside)).expect("mkdir");
        place
            .extract(Trust::Layer, &through)
            .expect("inside the root now");
        assert_eq!(
            fs::read_to_string(place.root().join(inside).join("kept")).expect("read"),
            "replaced"
        );
    }
}

/// What symlinks lead to has the bounds of what names say: one after the other they could lead to
/// any depth, which whoever removes the tree, or looks through it, would have to cope with.
#[test]
fn symlinks_lead_no_deeper_than_names() {
    let deep = vec!["d"; 40].join("/");
    let ladder = |rungs: usize| {
        // Each symlink begins where the one before it has led to.
        let mut archive = tar().dir(&deep).symlink("0", &deep);
        for rung in 1..=rungs {
            let name = format!("{}/{deep}", rung - 1);
            archive = archive.dir(&name).symlink(&rung.to_string(), &name);
        }
        archive.end()
    };
    let place = Place::new();
    place.extract(Trust::Layer, &ladder(5)).expect("240 deep");
    let refused = |archive: &[u8], why: &str| {
        let place = Place::new();
        let error = place.extract(Trust::Layer, archive).expect_err(why);
        assert!(
            !error.is_host() && error.to_string().contains(why),
            "{error}"
        );
    };
    refused(&ladder(6), "it leads too deep");

    let long = vec!["n".repeat(250); 12].join("/");
    let through = tar()
        .pax(&[("path", &long)])
        .dir("x")
        .pax(&[("linkpath", &long)])
        .symlink("l", "x")
        .pax(&[("path", &format!("l/{long}"))])
        .file("x", "");
    refused(&through.end(), "it leads to a path that is too long");
    let part = tar()
        .pax(&[("linkpath", &"n".repeat(300))])
        .symlink("l", "x")
        .file("l/x", "");
    refused(&part.end(), "it leads to a path that is too long");
    let target = tar()
        .pax(&[("linkpath", &"n".repeat(300))])
        .symlink("l", "x")
        .hard_link("h", "l/x");
    refused(&target.end(), "it links to nothing");
}

#[test]
fn a_layer_replaces_what_is_there_and_never_writes_through_it() {
    let place = Place::new();
    let kept = place.dir.path().join("outside/kept");
    symlink(&kept, place.root().join("link")).expect("symlink");
    fs::write(place.root().join("one"), "one").expect("write");
    fs::hard_link(place.root().join("one"), place.root().join("two")).expect("link");
    fs::create_dir(place.root().join("empty")).expect("mkdir");
    let archive = tar()
        .file("link", "a file now")
        .file("one", "ONE")
        .file("empty", "a file too")
        .file("twice", "1")
        .file("twice", "2")
        .file("dir", "")
        .dir("dir")
        .file("/dir/absolute", "abs")
        .hard_link("one", "one")
        .symlink("same", "dir")
        .symlink("same", "dir")
        .other(b'3', "null", "", 0o666)
        .end();
    let extracted = place.extract(Trust::Layer, &archive).expect("sound");
    assert_eq!(extracted.skipped, 1);
    assert!(!place.root().join("null").exists());
    assert_eq!(place.read("link"), "a file now");
    assert_eq!(
        (place.read("one"), place.read("two")),
        ("ONE".into(), "one".into())
    );
    assert_eq!(place.read("empty"), "a file too");
    assert_eq!(place.read("twice"), "2");
    assert_eq!(place.read("same/absolute"), "abs");

    let full = tar().file("dir", "x").end();
    let error = place
        .extract(Trust::Layer, &full)
        .expect_err("dir holds something");
    assert_eq!(
        error.to_string(),
        "the archive's member `dir` is refused: a directory that holds something is in its place"
    );
}

#[test]
fn several_archives_go_into_one_root_at_the_same_time() {
    let place = Place::new();
    let archive = |n: usize| {
        let mut archive = tar()
            .dir("usr/")
            .dir("usr/share/")
            .symlink("bin", "usr/bin");
        for file in 0..200 {
            archive = archive
                .dir(&format!("usr/share/{}/", file % 7))
                .file(&format!("usr/share/{}/{n}-{file}", file % 7), "x")
                .file("usr/share/shared", &n.to_string());
        }
        archive.end()
    };
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (archive, root) = (archive(n), place.root());
            scope.spawn(move || {
                extract(&archive[..], &Extract::new(root, Trust::Layer)).expect("sound");
            });
        }
    });
    let count: usize = (0..7)
        .map(|dir| place.root().join(format!("usr/share/{dir}")))
        .map(|dir| fs::read_dir(dir).expect("readdir").count())
        .sum();
    assert_eq!(count, 8 * 200);
    assert_eq!(place.read("usr/share/shared").len(), 1);
}
