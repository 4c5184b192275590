//! Damage of every kind at every place: it is always found.

use proptest::prelude::*;
use pybuild::archive::Codec;
use pybuild::verify::{Depth, Report, Rule, Verdict};

use crate::kit::{Dist, FLAT, PYTHON, SQLITE, Tarball, found, tarball};

const ALL: [(&str, Codec, &str); 3] = [
    (PYTHON, Codec::Gzip, "python-3.11.2"),
    (SQLITE, Codec::Xz, "sqlite-3.46.1"),
    (FLAT, Codec::Zstd, "python-3.9.2"),
];

/// A sound target of which one archive is looked at.
fn dist(formula: &str) -> Dist {
    let mut dist = Dist::sound();
    dist.what.formulae = vec![formula.parse().expect("a pattern")];
    dist.options.jobs = 1;
    dist
}

fn is_wrong(report: &Report, key: &str) -> bool {
    report.verdict() == Verdict::Wrong && report.checked[0].key == key && report.sound.is_empty()
}

#[test]
fn a_tarball_cut_anywhere_is_found_by_its_digest_and_its_size() {
    for (key, _, formula) in ALL {
        let mut dist = dist(formula);
        let whole = dist.get(key);
        for depth in [Depth::Headers, Depth::Digests] {
            dist.options.depth = depth;
            for end in 0..whole.len() {
                dist.put(key, &whole[..end]);
                assert!(
                    is_wrong(&dist.verify(), key),
                    "{key} cut at {end}, {depth:?}"
                );
            }
        }
    }
}

#[test]
fn a_tarball_cut_anywhere_is_found_though_all_digests_agree() {
    for (key, codec, formula) in ALL {
        let dist = dist(formula);
        let whole = tarball(codec);
        for end in 0..whole.bytes.len() {
            let bytes = whole.bytes[..end].to_vec();
            dist.forge(key, &Tarball { bytes, ..whole });
            let report = dist.verify();
            assert!(is_wrong(&report, key), "{key} cut at {end}");
            assert!(
                found(&report).contains(&(key, Rule::Whole)),
                "{key} cut at {end}: {:?}",
                report.findings
            );
        }
    }
}

#[test]
fn a_tarball_that_is_longer_is_found_though_all_digests_agree() {
    for (key, codec, formula) in ALL {
        let dist = dist(formula);
        let whole = tarball(codec);
        // Not a multiple of four zeros: xz allows those ("Stream Padding" of its format).
        for tail in [&b"x"[..], b"\0", b"\x1f\x8b", &[0; 511], &whole.bytes] {
            let bytes = [&whole.bytes, tail].concat();
            dist.forge(key, &Tarball { bytes, ..whole });
            let report = dist.verify();
            let found = found(&report);
            assert!(
                found.contains(&(key, Rule::Whole)),
                "{key}: {:?}",
                report.findings
            );
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    for (key, _, formula) in ALL {
        let dist = dist(formula);
        let whole = dist.get(key);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            dist.put(key, &bytes);
            let report = dist.verify();
            assert!(is_wrong(&report, key), "{key} flipped at {at}");
            let found = found(&report);
            assert!(
                found.contains(&(key, Rule::Digest)),
                "{:?}",
                report.findings
            );
        }
    }
}

#[test]
fn sidecars_cut_anywhere_or_changed_anywhere_are_found() {
    let dist = dist("python-3.11.2");
    for suffix in [".sha256", ".json"] {
        let key = format!("{PYTHON}{suffix}");
        let whole = dist.get(&key);
        for end in 0..whole.len() {
            dist.put(&key, &whole[..end]);
            assert!(is_wrong(&dist.verify(), PYTHON), "{key} cut at {end}");
        }
        dist.put(&key, &whole);
        assert_eq!(dist.verify().findings, []);
    }
    // A record has parts that nothing else knows of; a checksum has none.
    let key = format!("{PYTHON}.sha256");
    let whole = dist.get(&key);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        dist.put(&key, &bytes);
        assert!(is_wrong(&dist.verify(), PYTHON), "{key} changed at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is put in a tarball's place, verifying ends, and finds it.
    #[test]
    fn anything_in_a_tarballs_place_is_found(
        start in prop::sample::select(vec![
            &b""[..], b"\x1f\x8b\x08\0", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh9",
        ]),
        junk in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let dist = dist("python-3.11.2");
        let bytes = [start, &junk].concat();
        dist.forge(PYTHON, &Tarball { bytes, entries: 0, unpacked: 0 });
        let report = dist.verify();
        prop_assert!(found(&report).contains(&(PYTHON, Rule::Whole)), "{:?}", report.findings);
    }
}
