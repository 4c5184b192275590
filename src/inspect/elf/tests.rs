//! ELF files of the host, changed in one place each.

use super::*;
use proptest::prelude::*;

fn host(path: &str) -> Vec<u8> {
    std::fs::read(path).expect(path)
}

fn parsed(data: &[u8]) -> Insides {
    Insides::parse(Path::new("file"), data).expect("sound")
}

/// Where a section's bytes are in the file.
fn section(data: &[u8], name: &str) -> std::ops::Range<usize> {
    let file = object::File::parse(data).expect("sound");
    let section = file.section_by_name(name).expect(name);
    let (at, size) = section.file_range().expect("in the file");
    let at = usize::try_from(at).expect("it fits");
    at..at + usize::try_from(size).expect("it fits")
}

#[test]
fn two_programs_differ_in_what_they_are_made_of() {
    let (one, other) = (parsed(&host("/bin/ls")), parsed(&host("/bin/cat")));
    assert!(one.build_id.as_deref().is_some_and(|id| id.len() == 40));
    let told = one.differences(&other);
    let has = |start: &str| told.iter().any(|line| line.starts_with(start));
    assert!(
        has("build id ") && has("sections: .") && has("other bytes in "),
        "{told:?}"
    );
    assert!(
        told.iter().any(|line| line.contains("imports fewer: ")),
        "{told:?}"
    );
    assert!(!has("interpreter"), "{told:?}");
}

#[test]
fn a_changed_byte_is_told_by_its_section() {
    let data = host("/bin/ls");
    for (name, said) in [
        (".text", "other bytes in .text"),
        (".rodata", "other bytes in .rodata"),
        (".gnu_debuglink", "other bytes in .gnu_debuglink"),
    ] {
        let mut changed = data.clone();
        changed[section(&data, name).start + 1] ^= 1;
        assert_eq!(parsed(&data).differences(&parsed(&changed)), [said]);
    }
    let mut changed = data.clone();
    let build_id = section(&data, ".note.gnu.build-id");
    changed[build_id.end - 1] ^= 1;
    let told = parsed(&data).differences(&parsed(&changed));
    assert!(told[0].starts_with("build id "), "{told:?}");
    assert_eq!(told[1], "other bytes in .note.gnu.build-id");
    // The first bytes of padding that belong to no section.
    let mut changed = data.clone();
    changed[8] = 1;
    let told = parsed(&data).differences(&parsed(&changed));
    assert_eq!(told, ["differs outside of its sections"]);
}

#[test]
fn a_renamed_library_is_told() {
    let data = host("/bin/ls");
    let at = memchr::memmem::find(&data, b"libc.so.6\0").expect("it needs one");
    let mut changed = data.clone();
    changed[at + 8] = b'7';
    let told = parsed(&data).differences(&parsed(&changed)).join("\n");
    assert!(
        told.contains("1 library fewer: libc.so.6\n1 library more: libc.so.7"),
        "{told}"
    );
}

#[test]
fn names_are_told_with_their_number() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let told = names(
        ("export", "exports"),
        &set(&["a", "b", "c"]),
        &set(&["c", "d"]),
    );
    assert_eq!(told, ["2 exports fewer: a, b", "1 export more: d"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_is_survived(damage in prop::collection::vec((0usize..200_000, any::<u8>()), 1..20)) {
        let mut data = host("/bin/cat");
        let length = data.len();
        // Headers matter most.
        for (n, (at, byte)) in damage.into_iter().enumerate() {
            let at = if n % 2 == 0 { at % 1024 } else { at };
            data[at % length] = byte;
        }
        let _ = Insides::parse(Path::new("file"), &data);
    }
}
