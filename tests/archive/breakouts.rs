//! Layers that want out: of each, whether it is refused, and what is there afterwards. Beside the
//! root lies what must not change; `Place::merge` looks at it after each.

pub(crate) mod cases;

use std::os::unix::fs::symlink;

use pybuild::archive::{ArchiveError, Merge};

use crate::place::Place;
use crate::tarball::{Tarball, tar};

/// What comes of a case.
pub(crate) enum Outcome {
    /// The layer is refused, for a reason that says this.
    Refused(&'static str),
    /// It is applied, and these are in the root then.
    Inside(&'static [&'static str]),
}
use Outcome::{Inside, Refused};

/// Layers for a place: their symlinks may lead to what is beside its root by an absolute path.
pub(crate) type Case = (&'static str, fn(&str) -> Vec<Tarball>, Outcome);

#[test]
fn nothing_gets_out() {
    for (what, layers, outcome) in cases::cases() {
        let place = Place::new();
        let outside = place.dir.path().join("outside");
        let outside = outside.to_str().expect("UTF-8");
        let layers: Vec<Vec<u8>> = layers(outside).into_iter().map(Tarball::end).collect();
        let result = place.merge(&layers);
        match (outcome, result) {
            (Refused(why), Err(error)) => {
                let error = error.to_string();
                assert!(error.contains(why), "{what}: {error}");
            }
            (Inside(names), Ok(_)) => {
                // What an absolute path leads to inside the root, without the directories above.
                let inside = &outside[1..];
                let above = |name: &String| inside.starts_with(name.trim_end_matches('/'));
                let found: Vec<String> = place
                    .names()
                    .into_iter()
                    .filter(|name| !above(name))
                    .map(|name| name.replace(inside, "…"))
                    .collect();
                assert_eq!(
                    sorted(found),
                    sorted(names.iter().map(ToString::to_string)),
                    "{what}"
                );
            }
            (Refused(_), Ok(_)) => panic!("{what}: was applied"),
            (Inside(_), Err(error)) => panic!("{what}: {error}"),
        }
    }
}

fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names
}

/// A tree as deep as there may be, removed, whited out and shared, with as few descriptors as a
/// process usually has.
#[test]
fn the_deepest_tree_there_may_be_is_no_trouble() {
    let place = Place::new();
    let deep = vec!["d"; 255].join("/");
    let layer = tar()
        .pax(&[("path", &format!("{deep}/f"))])
        .file("x", "x")
        .pax(&[("linkpath", &format!("{deep}/f"))])
        .hard_link("h", "x")
        .end();
    let gone = tar().file(".wh.d", "").end();
    place.merge(&[layer.clone(), gone]).expect("sound");
    assert_eq!(place.names(), ["h"]);
    let place = Place::new();
    place
        .merge(&[layer, tar().file("d", "").end()])
        .expect("sound");
    assert_eq!(place.names(), ["d", "h"]);
}

#[test]
fn a_root_that_is_not_empty_is_refused() {
    let place = Place::new();
    symlink("../outside", place.root().join("l")).expect("symlink");
    assert!(matches!(Merge::new(place.root()), Err(ArchiveError::Fs(_))));
}
