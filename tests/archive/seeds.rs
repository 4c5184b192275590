//! The archives of these tests as a corpus that fuzzing begins with (see `fuzz/README.md`).

use std::fs;
use std::path::Path;

use crate::breakouts::cases::cases;
use crate::listing;
use crate::refused::everywhere;
use crate::tarball::Tarball;

/// Bytes of an input at most: what is longer only slows the fuzzer.
const LONGEST: usize = 64 << 10;

/// An input of the target `extract`: in front, how many blocks are the lower layer.
fn input(layers: &[Vec<u8>]) -> Vec<u8> {
    let blocks = layers.first().map_or(0, |lower| lower.len() / 512);
    let mut input = vec![u8::try_from(blocks).unwrap_or(u8::MAX)];
    input.extend(layers.concat());
    input
}

#[test]
#[ignore = "no test, writes a corpus: PYBUILD_FUZZ_SEEDS=DIR cargo test --release --test archive seeds -- --ignored"]
fn seeds_are_written() {
    let dir = std::env::var_os("PYBUILD_FUZZ_SEEDS").expect("PYBUILD_FUZZ_SEEDS=DIR");
    let dir = Path::new(&dir);
    fs::create_dir_all(dir).expect("mkdir");
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
    for (n, input) in layers.chain(alone).enumerate() {
        if input.len() <= LONGEST {
            fs::write(dir.join(format!("{n:04}")), input).expect("write");
        }
    }
}
