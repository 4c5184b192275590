//! ELF files of the host, whole, cut off and damaged.

use super::*;
use proptest::prelude::*;
use std::fs;

fn host(path: &str) -> (Vec<u8>, Elf) {
    let data = fs::read(path).expect(path);
    let elf = Elf::parse(Path::new(path), &data).expect("sound");
    (data, elf.expect("an ELF file"))
}

#[test]
fn a_program_of_the_host_is_understood() {
    let (_, ls) = host("/bin/ls");
    assert_eq!(ls.role, Role::Program);
    assert_eq!(ls.machine, Machine::of(Arch::host().expect("known")));
    assert!(ls.interpreter.as_deref().is_some_and(|i| i.contains("ld-")));
    assert!(ls.needed.iter().any(|name| name == "libc.so.6"));
    let floor = ls.glibc_floor().expect("it is versioned");
    assert!(floor >= "2.2".parse().expect("a version"), "{floor}");
    assert!(floor < "3".parse().expect("a version"), "{floor}");
}

#[test]
fn a_library_of_the_host_is_understood() {
    let interpreter = host("/bin/ls").1.interpreter.expect("one");
    let (_, loader) = host(&interpreter);
    assert_eq!(loader.role, Role::Library);
    assert!(
        loader
            .soname
            .as_deref()
            .is_some_and(|s| s.starts_with("ld-"))
    );
    assert!(loader.versions_defined.contains("GLIBC_PRIVATE"));
}

#[test]
fn glibc_versions_are_ordered_as_numbers() {
    let needed = |versions: &[&str]| {
        let (_, mut elf) = host("/bin/ls");
        elf.versions_needed = versions
            .iter()
            .map(|version| NeededVersion {
                library: "libc.so.6".to_owned(),
                version: (*version).to_owned(),
                weak: false,
            })
            .collect();
        elf.glibc_floor().map(|floor| floor.as_str().to_owned())
    };
    let table = [
        (
            &["GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.4"][..],
            Some("2.17"),
        ),
        (&["GLIBC_2.34", "GLIBC_ABI_DT_RELR"], Some("2.36")),
        (&["GLIBC_PRIVATE", "OPENSSL_3.0.0"], None),
        (&[], None),
    ];
    for (versions, floor) in table {
        assert_eq!(needed(versions).as_deref(), floor, "{versions:?}");
    }
}

#[test]
fn what_is_no_elf_file_is_none() {
    for data in [&b""[..], b"\x7fEL", b"#!/bin/sh\n", b"!<arch>\n"] {
        assert_eq!(Elf::parse(Path::new("x"), data), Ok(None));
    }
    assert!(Elf::parse(Path::new("x"), b"\x7fELF").is_err());
}

#[test]
fn no_truncation_panics() {
    let (data, _) = host("/bin/ls");
    for length in (0..data.len()).step_by(97).chain(0..256) {
        let _ = Elf::parse(Path::new("x"), &data[..length]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Flipped bytes in the headers and in the tables that the loader reads.
    #[test]
    fn no_damage_panics(damage in prop::collection::vec((0usize..8192, any::<u8>()), 1..12)) {
        static DATA: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut data = DATA.get_or_init(|| host("/bin/ls").0).clone();
        for (at, byte) in damage {
            let at = at % data.len();
            data[at] = byte;
        }
        let _ = Elf::parse(Path::new("x"), &data);
    }

    #[test]
    fn no_noise_panics(mut data in prop::collection::vec(any::<u8>(), 0..600), class in 0u8..4) {
        data.splice(0..0, *b"\x7fELF");
        data[4..].first_mut().into_iter().for_each(|byte| *byte = class);
        let _ = Elf::parse(Path::new("x"), &data);
    }
}
