//! Any archive, taken for two layers of an image, for two packages, and for sealed tarballs:
//! nothing beside the root is touched, nothing panics, what comes out is within the limits and
//! holds nothing that it must not.
//!
//! The first byte says where the input is cut in two layers, so that the second meets what the
//! first has put there. What is a member is changed as a member (`pybuild_fuzz::archive`); on
//! reading, checksums are put right.

#![no_main]

use std::fs;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use pybuild::archive::{
    ArchiveError, Entry, Extract, Limits, Merge, Ownership, Trust, examine, extract,
};
use pybuild::sys::interrupt::Interrupt;
use pybuild_fuzz::archive::{BLOCK, Dice, change, members, seal};
use pybuild_fuzz::place::{Kind, Place, Tree};

const LIMITS: Limits = Limits {
    entries: 64,
    bytes: 1 << 16,
};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, archive)) = data.split_first() else {
        return;
    };
    let mut members = members(archive);
    seal(&mut members);
    let archive = members.concat();
    let at = (usize::from(cut) * BLOCK).min(archive.len());
    let (lower, upper) = archive.split_at(at);
    image(lower, upper);
    packages(lower, upper);
    sealed(&archive);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut dice = Dice::new(seed);
    if size == 0 || dice.below(8) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut members = members(&data[1..size]);
    for _ in 0..=dice.below(3) {
        change(&mut members, &mut dice);
    }
    if dice.below(4) == 0 {
        // Where a member begins: elsewhere the upper layer hardly ever is one.
        let before = dice.below(members.len() + 1);
        let blocks: usize = members[..before]
            .iter()
            .map(|m| m.len().div_ceil(BLOCK))
            .sum();
        data[0] = u8::try_from(blocks).unwrap_or(u8::MAX);
    }
    let changed = members.concat();
    let length = changed.len().min(max_size - 1);
    data[1..=length].copy_from_slice(&changed[..length]);
    length + 1
});

/// Two layers: in one go, and the second on top of what the first has become. Both ways give the
/// same tree and the same record, or neither gives any.
fn image(lower: &[u8], upper: &[u8]) {
    let place = Place::new();
    let whole = (|| {
        let mut merge = Merge::new(&place.root())?;
        merge.apply(lower, &LIMITS)?;
        merge.apply(upper, &LIMITS)?;
        merge.finish()
    })();
    let tree = place.check(2 * LIMITS.bytes);
    count(&tree, 2);

    let (base, above) = (Place::new(), Place::new());
    let parts = (|| {
        let mut merge = Merge::new(&base.root())?;
        merge.apply(lower, &LIMITS)?;
        let ownership = merge.finish()?;
        let before = base.check(LIMITS.bytes);
        let interrupt = Interrupt::manual().expect("an eventfd");
        let result = (|| {
            let mut merge = Merge::on(&base.root(), ownership, &above.root(), &interrupt)?;
            merge.apply(upper, &LIMITS)?;
            merge.finish()
        })();
        let after = base.check(LIMITS.bytes);
        assert_eq!(unlinked(after), unlinked(before), "the base was changed");
        result
    })();
    let other = above.check(2 * LIMITS.bytes);
    for error in [whole.as_ref().err(), parts.as_ref().err()] {
        theirs(error);
    }
    match (whole, parts) {
        (Ok(whole), Ok(parts)) => {
            assert_eq!(unlinked(other), unlinked(tree));
            assert_eq!(parts, whole);
            let mut text = Vec::new();
            whole.write(&mut text).expect("memory");
            let read = Ownership::read(&mut &text[..]).expect("what was written");
            assert_eq!(read, whole);
        }
        (Err(whole), Err(parts)) => assert_eq!(whole.to_string(), parts.to_string()),
        (whole, parts) => panic!("{:?} {:?}", whole.err(), parts.err()),
    }
}

/// Two packages into one root, which has what a package before them could have left.
fn packages(lower: &[u8], upper: &[u8]) {
    let place = Place::new();
    let root = place.root();
    std::os::unix::fs::symlink("../outside", root.join("l")).expect("symlink");
    fs::create_dir(root.join("d")).expect("mkdir");
    for layer in [lower, upper] {
        let how = Extract {
            limits: LIMITS,
            ..Extract::new(&root, Trust::Layer)
        };
        theirs(extract(layer, &how).err().as_ref());
    }
    let tree = place.check(2 * LIMITS.bytes);
    count(&tree, 2);
    assert!(tree.values().all(|thing| thing.kind != Kind::Pipe));
}

/// A sealed tarball: what is listed is what is there, and what could be extracted can be examined.
fn sealed(archive: &[u8]) {
    let place = Place::new();
    let root = place.root();
    let how = Extract {
        limits: LIMITS,
        list: true,
        ..Extract::new(&root, Trust::Sealed)
    };
    let extracted = extract(archive, &how);
    theirs(extracted.as_ref().err());
    let tree = place.check(LIMITS.bytes);
    let mut listed = Vec::new();
    let examined = examine(archive, &LIMITS, &mut |entry: &Entry<'_>| {
        listed.push(entry.path.clone());
    });
    let Ok(extracted) = extracted else {
        return;
    };
    let examined = examined.expect("what can be extracted can be examined");
    assert_eq!(
        (examined.entries, examined.bytes),
        (extracted.entries, extracted.bytes)
    );
    assert_eq!(extracted.skipped, 0);
    let mut paths: Vec<Vec<u8>> = extracted
        .paths
        .iter()
        .map(|path| path.as_os_str().as_encoded_bytes().to_vec())
        .collect();
    let listed: Vec<Vec<u8>> = listed
        .into_iter()
        .map(|path| path.expect("it could be extracted"))
        .filter(|path| !path.is_empty())
        .collect();
    assert_eq!(paths, listed);
    paths.sort();
    paths.dedup();
    // Each once, and besides them directories alone, which hold something.
    assert_eq!(paths.len(), listed.len());
    for (path, thing) in &tree {
        if paths.binary_search(path).is_err() {
            assert_eq!(thing.kind, Kind::Directory, "{}", path.escape_ascii());
        }
    }
    for path in &paths {
        assert!(tree.contains_key(path), "{}", path.escape_ascii());
    }
}

/// There is no more than so many archives can have put there.
fn count(tree: &Tree, archives: u64) {
    let most = archives * LIMITS.entries * 256 + 2;
    assert!(tree.len() as u64 <= most, "{} things", tree.len());
}

/// What two trees have in common that share files.
fn unlinked(mut tree: Tree) -> Tree {
    for thing in tree.values_mut() {
        thing.links = 0;
    }
    tree
}

/// Whatever an archive holds, it is the archive that is blamed, in a few words.
fn theirs(error: Option<&ArchiveError>) {
    if let Some(error) = error {
        assert!(!error.is_host(), "{error}");
        let text = error.to_string();
        assert!(
            text.len() < 2000 && !text.contains(char::is_control),
            "{text:?}"
        );
    }
}
