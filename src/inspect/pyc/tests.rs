//! Modules compiled by real Pythons (`fixtures/make.py`): the same, changed, written down otherwise,
//! and damaged.

use super::*;
use proptest::prelude::*;

macro_rules! fixtures {
    ($($version:literal),*) => {
        [$((
            $version,
            include_bytes!(concat!("fixtures/", $version, "-a.pyc")) as &[u8],
            include_bytes!(concat!("fixtures/", $version, "-b.pyc")) as &[u8],
            include_bytes!(concat!("fixtures/", $version, "-c.pyc")) as &[u8],
        )),*]
    };
}

/// A version; a module; the same, changed; the same, written down otherwise.
type Fixture = (&'static str, &'static [u8], &'static [u8], &'static [u8]);

const FIXTURES: [Fixture; 5] = fixtures!("2.7", "3.6", "3.8", "3.11", "3.13");

#[test]
fn a_changed_function_is_named() {
    for (version, a, b, _) in FIXTURES {
        let told = differences(a, b).expect(version);
        let name = match version {
            "3.11" | "3.13" => "outer.<locals>.inner",
            _ => "outer.inner",
        };
        assert_eq!(told, [format!("{name}: other constants")], "{version}");
        assert_eq!(differences(a, a), Some(Vec::new()), "{version}");
    }
}

#[test]
fn the_same_code_written_down_otherwise_is_the_same_code() {
    for (version, a, _, c) in FIXTURES {
        assert_ne!(a, c, "{version}");
        let told = differences(a, c).expect(version);
        let why = "the same code, written down with other references or in another order";
        assert_eq!(told, [why], "{version}");
    }
}

#[test]
fn headers_that_differ_are_told() {
    let (_, a, ..) = FIXTURES[3];
    let changed = |at: usize, to: u8| {
        let mut changed = a.to_vec();
        changed[at] = to;
        differences(a, &changed).expect("still one").join("; ")
    };
    let other = "compiled by another Python: magic number 3495 → 3496";
    assert_eq!(changed(0, a[0] + 1), other);
    assert_eq!(changed(4, 3), "flags 1 → 3");
    let timed = "its source is known by time, not by hash";
    assert_eq!(changed(4, 0), timed);
    let source = "compiled from another source: its hash differs";
    assert_eq!(changed(9, 0), source);
    let (_, old, ..) = FIXTURES[0];
    let mut later = old.to_vec();
    later[4] ^= 1;
    let told = differences(old, &later).expect("still one");
    assert_eq!(told, ["time of its source 1675728000 → 1675728001"]);
    for other in [&b""[..], b"text", &a[..15]] {
        assert_eq!(differences(a, other), None);
    }
}

/// Objects that refer to objects that refer to objects: few bytes, and more than anybody can visit.
#[test]
fn references_upon_references_are_given_up() {
    let mut bomb = b"\xa9\x02NN".to_vec();
    for n in 0u32..100 {
        bomb = [&b"\xa9\x02"[..], &bomb, b"r", &(99 - n).to_le_bytes()].concat();
    }
    // The innermost is the last to be numbered: from outside it is not there yet.
    let (_, a, ..) = FIXTURES[3];
    let with = |code: &[u8]| [&a[..16], code].concat();
    let told = differences(&with(&bomb), &with(b"N")).expect("still one");
    assert!(told[0].contains("refers to what is not there"), "{told:?}");
    let mut flat = b"(\x64\x00\x00\x00\xa9\x02NN".to_vec();
    for n in 0u32..99 {
        let to = n.to_le_bytes();
        flat = [&flat[..], b"\xa9\x02r", &to, b"r", &to].concat();
    }
    let other = [&flat[..flat.len() - 1], b"\x01"].concat();
    let told = differences(&with(&flat), &with(&other)).expect("still one");
    assert!(told[0].starts_with("other code"), "{told:?}");
    let deep = [&b")\x01".repeat(100_000)[..], b"N"].concat();
    let told = differences(&with(&deep), &with(b"N")).expect("still one");
    assert!(told[0].contains("too deep"), "{told:?}");
}

proptest! {
    #[test]
    fn damage_is_survived(
        which in 0..FIXTURES.len(),
        damage in prop::collection::vec((4usize..2000, any::<u8>()), 1..8),
        cut in 0usize..2000,
    ) {
        let (_, a, b, _) = FIXTURES[which];
        let mut damaged = b.to_vec();
        for (at, byte) in damage {
            if let Some(there) = damaged.get_mut(at) {
                *there = byte;
            }
        }
        let _ = differences(a, &damaged);
        let _ = differences(&damaged, &damaged[..cut.min(damaged.len())]);
    }
}
