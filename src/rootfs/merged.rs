//! What an image's layers show together, as overlayfs puts them on top of each other
//! (Documentation/filesystems/overlayfs.rst), from what is written down of each.

use std::collections::BTreeMap;

use super::layer::{self, CONTENTS, State};
use crate::archive::mtree::{self, Entry, ScanError, What};
use crate::model::Sha256;
use crate::store::Store;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

/// Why it cannot be told what an image holds.
#[derive(Debug, thiserror::Error)]
pub enum MergedError {
    /// A layer is not there, or its list of contents is not what it was.
    #[error("the layer {0} is spoilt, or not there")]
    Spoilt(Sha256),
    /// A tree cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A file cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// Every path of an image, sorted. What is written down of its layers is believed; the trees of
/// older layers are read.
pub fn merged(
    layers: &[Sha256],
    store: &Store,
    interrupt: &Interrupt,
) -> Result<Vec<Entry>, MergedError> {
    let mut all = BTreeMap::new();
    for key in layers {
        put(&mut all, contents(key, store, interrupt)?);
    }
    Ok(all.into_values().collect())
}

fn contents(key: &Sha256, store: &Store, interrupt: &Interrupt) -> Result<Vec<Entry>, MergedError> {
    let spoilt = || MergedError::Spoilt(*key);
    let State::There(found) = layer::state(store, key)? else {
        return Err(spoilt());
    };
    let dir = store.layer_path(key);
    let Some(contents) = found.contents else {
        let tree = layer::tree(&dir);
        return Ok(mtree::scan(&tree, layer::processors(), &|_| {}, interrupt)?.entries);
    };
    let (text, digest) = layer::read_of(&dir.join(CONTENTS), u64::MAX)?;
    if contents.files.get(CONTENTS) != Some(&digest) {
        return Err(spoilt());
    }
    mtree::read(&String::from_utf8_lossy(&text)).map_err(|_| spoilt())
}

/// How directories say that nothing of theirs below is seen, as the kernel and fuse-overlayfs write
/// it without privileges.
const OPAQUE: [&[u8]; 2] = [b"user.overlay.opaque", b"user.fuseoverlayfs.opaque"];
/// The same as a file, and how fuse-overlayfs takes something away where it can make no device.
const OPAQUE_FILE: &[u8] = b".wh..wh..opq";
const WHITEOUT: &[u8] = b".wh.";
/// What belongs to overlays and to nobody who looks at them.
const OVERLAYS: [&[u8]; 2] = [b"user.overlay.", b"user.fuseoverlayfs."];

/// Puts a layer on top of what is below it.
fn put(all: &mut BTreeMap<Vec<u8>, Entry>, layer: Vec<Entry>) {
    let mut shown = Vec::new();
    // First what it takes away, since it takes it from those below alone.
    for entry in layer {
        let (dir, name) = split(&entry.path);
        let is_opaque = |name: &&[u8]| {
            let value = entry.xattrs.get(*name);
            value.is_some_and(|value| value == b"y")
        };
        if name == OPAQUE_FILE {
            clear(all, dir);
        } else if let Some(gone) = whiteout(&entry) {
            all.remove(&gone);
            clear(all, &gone);
        } else {
            let below = all.get(&entry.path);
            let is_dir = |entry: &Entry| entry.what == What::Directory;
            if OPAQUE.iter().any(is_opaque) || !(is_dir(&entry) && below.is_none_or(is_dir)) {
                clear(all, &entry.path);
            }
            shown.push(entry);
        }
    }
    for mut entry in shown {
        let of_overlay = |name: &[u8]| OVERLAYS.iter().any(|prefix| name.starts_with(prefix));
        entry.xattrs.retain(|name, _| !of_overlay(name));
        all.insert(entry.path.clone(), entry);
    }
}

/// The path that an entry takes away, if it does.
fn whiteout(entry: &Entry) -> Option<Vec<u8>> {
    const GONE: What = What::Device {
        block: false,
        major: 0,
        minor: 0,
    };
    if entry.what == GONE || entry.xattrs.contains_key(&b"user.overlay.whiteout"[..]) {
        return Some(entry.path.clone());
    }
    let (dir, name) = split(&entry.path);
    let name = name.strip_prefix(WHITEOUT)?;
    let mut path = dir.to_vec();
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    Some(path)
}

/// Takes away all that is below a path.
fn clear(all: &mut BTreeMap<Vec<u8>, Entry>, path: &[u8]) {
    let mut below = path.to_vec();
    if !path.is_empty() {
        below.push(b'/');
    }
    let range = all.range(below.clone()..);
    let within = range.take_while(|(path, _)| path.starts_with(&below));
    let gone: Vec<Vec<u8>> = within
        .map(|(found, _)| found.clone())
        .filter(|found| found != path)
        .collect();
    for path in gone {
        all.remove(&path);
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer by lines without `./` and modes: `a dir`, `a/b file`, `c gone`.
    fn layer(lines: &str) -> Vec<Entry> {
        let mut text = "#mtree\n. type=dir mode=0755\n".to_owned();
        for line in lines.split_terminator(", ") {
            let (path, kind) = line.split_once(' ').expect("two words");
            let rest = match kind {
                "dir" => "type=dir mode=0755",
                "opaque" => "type=dir mode=0755 xattr.user.overlay.opaque=eQ==",
                "file" => "type=file mode=0644 size=0",
                "gone" => "type=char mode=0000 device=native,0,0",
                "link" => "type=link link=a",
                other => panic!("{other}"),
            };
            text.extend(["./", path, " ", rest, "\n"]);
        }
        mtree::read(&text).expect("a list")
    }

    #[test]
    fn layers_are_put_on_each_other_as_overlays_are() {
        let base = "a dir, a-b file, a/b file, a/c dir, a/c/d file, e link";
        let table = [
            (vec![base], ". a a-b a/b a/c a/c/d e"),
            (vec![base, "a dir, a/b gone"], ". a a-b a/c a/c/d e"),
            (vec![base, "a gone"], ". a-b e"),
            (
                vec![base, "a dir, a/c opaque, a/c/x file"],
                ". a a-b a/b a/c a/c/x e",
            ),
            (vec![base, "a opaque"], ". a a-b e"),
            (vec![base, "a file"], ". a a-b e"),
            (vec![base, "a link, e dir, e/f file"], ". a a-b e e/f"),
            (vec![base, "a gone", "a dir, a/z file"], ". a a-b a/z e"),
            (
                vec![base, "a dir, a/.wh..wh..opq file, a/1 file"],
                ". a a-b a/1 e",
            ),
            (vec![base, "a dir, a/.wh.c file"], ". a a-b a/b e"),
            (vec![base, "x gone"], ". a a-b a/b a/c a/c/d e"),
        ];
        for (layers, expected) in table {
            let mut all = BTreeMap::new();
            for lines in &layers {
                put(&mut all, layer(lines));
            }
            let shown = all.values().map(|entry| match &entry.path[..] {
                b"" => ".".to_owned(),
                path => String::from_utf8_lossy(path).into_owned(),
            });
            let shown: Vec<String> = shown.collect();
            assert_eq!(shown.join(" "), expected, "{layers:?}");
            let marked = all.values().any(|entry| !entry.xattrs.is_empty());
            assert!(!marked, "{layers:?}");
        }
    }

    #[test]
    fn a_file_that_becomes_a_directory_is_one() {
        let mut all = BTreeMap::new();
        put(&mut all, layer("a file"));
        put(&mut all, layer("a dir, a/b file"));
        assert_eq!(all[&b"a"[..]].what, What::Directory);
        assert_eq!(all.len(), 3);
    }
}
