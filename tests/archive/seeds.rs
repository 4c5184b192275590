//! The archives of these tests as a corpus that fuzzing begins with (see `fuzz/README.md`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::breakouts::cases::cases;
use crate::listing;
use crate::refused::everywhere;
use crate::tarball::Tarball;

/// Bytes of an input at most: what is longer only slows the fuzzer.
const LONGEST: usize = 64 << 10;

/// An input of the target `extract`: in front, how many blocks are the lower layer. None if it is too
/// long, or the lower layer is.
fn input(layers: &[Vec<u8>]) -> Option<Vec<u8>> {
    let blocks = layers.first().map_or(0, |lower| lower.len() / 512);
    let mut input = vec![u8::try_from(blocks).ok()?];
    input.extend(layers.concat());
    (input.len() <= LONGEST).then_some(input)
}

/// Every archive of these tests that is short enough, once.
fn inputs() -> BTreeSet<Vec<u8>> {
    // Where absolute symlinks lead to: nothing that is there.
    let layers = cases().into_iter().map(|(_, layers, _)| {
        let layers = layers("/nonexistent/outside");
        input(&layers.into_iter().map(Tarball::end).collect::<Vec<_>>())
    });
    let refused = everywhere().into_iter();
    let ambiguous = listing::cases().map(|(what, archive, _)| (what, archive));
    let alone = refused
        .chain(ambiguous)
        .map(|(_, archive)| input(&[archive]));
    layers.chain(alone).flatten().collect()
}

/// They are there to be kept, too: in `PYBUILD_FUZZ_SEEDS`.
#[test]
fn the_archives_of_these_tests_are_inputs_of_the_fuzzer() {
    let inputs = inputs();
    // Of each kind of case there is more than one, and few are too long.
    let all = cases().len() + everywhere().len() + listing::cases().count();
    assert!(inputs.len() * 10 > all * 8, "{} of {all}", inputs.len());
    for input in &inputs {
        let (blocks, archives) = input.split_first().expect("a number");
        assert!(usize::from(*blocks) * 512 <= archives.len());
    }
    assert!(input(&[vec![0; 256 * 512]]).is_none());
    assert!(input(&[vec![0; 512], vec![0; LONGEST]]).is_none());
    if let Some(dir) = std::env::var_os("PYBUILD_FUZZ_SEEDS") {
        let dir = Path::new(&dir);
        fs::create_dir_all(dir).expect("mkdir");
        for (n, input) in inputs.iter().enumerate() {
            fs::write(dir.join(format!("{n:04}")), input).expect("write");
        }
    }
}
