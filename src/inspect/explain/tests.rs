//! What is said of contents of each kind.

use super::*;

#[test]
fn each_kind_of_content_is_explained_as_such() {
    let elf = std::fs::read("/bin/cat").expect("a program");
    let mut other = elf.clone();
    *other.last_mut().expect("bytes") ^= 1;
    let told = explain(b"bin/cat", &elf, &other);
    assert!(
        !told.is_empty() && !told[0].contains("bytes are other"),
        "{told:?}"
    );
    for (path, a, b, expected) in [
        ("same", &b"x"[..], &b"x"[..], &[][..]),
        ("a.txt", b"a\nb\nc\n", b"a\nB\nc\n", &["- b", "+ B"]),
        ("a.txt", b"a\r\n", b"a\n", &["differs in how its lines end"]),
        (
            "a.bin",
            b"\0abc",
            b"\0abd",
            &["1 of its first 4 byte is other, from byte 3 on"],
        ),
        (
            "a.bin",
            b"\0abc",
            b"\0ab",
            &["the second ends 1 bytes earlier"],
        ),
        ("a.bin", b"", b"\0ab", &["the first ends 3 bytes earlier"]),
        ("a.pyc", b"text", b"else", &["- text", "+ else"]),
    ] {
        assert_eq!(explain(path.as_bytes(), a, b), expected, "{path}");
    }
    // One that cannot be understood is not passed over.
    let told = explain(b"x", &elf[..200], &elf);
    assert!(
        told[0].starts_with("the first cannot be looked into: "),
        "{told:?}"
    );
    assert_eq!(
        told[1],
        format!("the first ends {} bytes earlier", elf.len() - 200)
    );
}

#[test]
fn few_of_many_lines_are_shown() {
    let text = |word: &str| format!("{word}\n").repeat(20);
    let told = explain(b"x", text("one").as_bytes(), text("two").as_bytes());
    assert_eq!(told.len(), 9);
    assert_eq!(told[8], "and 32 lines more");
    let long = "x".repeat(1000);
    let told = explain(b"x", long.as_bytes(), b"y");
    assert_eq!(told[0].chars().count(), 2 + 160 + 1);
}

#[test]
fn a_static_library_is_explained_by_its_members() {
    let library = |time: u32, contents: [&str; 2]| {
        let mut library = "!<arch>\n".to_owned();
        for (name, content) in ["one.o/", "two.o/"].iter().zip(contents) {
            let size = content.len();
            let header = format!("{name:<16}{time:<12}0     0     644     {size:<10}`\n");
            library.push_str(&header);
            library.push_str(content);
        }
        library.into_bytes()
    };
    let one = library(0, ["same", "\0old"]);
    let told = |other: &[u8]| explain(b"lib/lib.a", &one, other);
    let new = library(0, ["same", "\0new"]);
    assert_eq!(
        told(&new),
        ["two.o: 3 of its first 4 bytes are other, from byte 1 on"]
    );
    let headers = "differs in the headers of its members: times, owners or modes";
    assert_eq!(told(&library(1, ["same", "\0old"])), [headers]);
    let fewer = &one[..8 + 64];
    assert_eq!(told(fewer), ["has other members: 2 → 1"]);
}
