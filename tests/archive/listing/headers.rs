//! Archives whose headers, contents or ends readers have disagreed on.

use super::Case;
use super::Verdict::{Against, Agreed, Refused};
use crate::tarball::{Entry, tar};

pub(super) fn raw<'a>(name: &'a [u8], data: &'a [u8]) -> Entry<'a> {
    Entry {
        name,
        data,
        ..Entry::default()
    }
}

/// One member with its field at `at` replaced, and one more after it.
fn patched(entry: &Entry<'_>, patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut archive = tar().entry(entry);
    for (at, bytes) in patches {
        archive.0[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    archive.seal(0).file("after", "after").end()
}

#[allow(clippy::too_many_lines)] // one table
pub(super) fn cases() -> Vec<Case> {
    let gnu: &[u8; 8] = b"ustar  \0";
    let old: &[u8; 8] = &[0; 8];
    let one = || tar().file("a", "a");
    let ended = |more: &[u8]| [&one().end(), more].concat();
    vec![
        ("an empty archive", tar().end(), Agreed),
        ("blocked as for tapes", ended(&[0; 8192]), Agreed),
        ("of odd length at the end", ended(&[0; 100]), Agreed),
        (
            "one block of zeros at the end",
            one().file("b", "b").end()[..2560].to_vec(),
            Refused,
        ),
        ("no end at all", one().file("b", "b").0, Refused),
        (
            "cut in a header",
            one().file("b", "b").0[..1300].to_vec(),
            Refused,
        ),
        (
            "cut in a file",
            tar().file("a", &"x".repeat(2000)).0[..1500].to_vec(),
            Refused,
        ),
        ("garbage behind the end", ended(b"garbage"), Refused),
        (
            "a member behind the end",
            ended(&tar().file("b", "b").end()),
            Refused,
        ),
        (
            "a member behind one block of zeros",
            { [&one().0[..], &[0; 512], &tar().file("b", "b").end()].concat() },
            Refused,
        ),
        (
            "a wrong checksum",
            {
                let mut archive = one().file("b", "b").end();
                archive[1024] = b'c';
                archive
            },
            Refused,
        ),
        (
            "a checksum of signed bytes",
            {
                // Sun's tar summed them so; we do not, and GNU tar, bsdtar and Python do.
                let mut archive = tar().entry(&raw(b"\xff\xff", b"x"));
                archive.0[148..156].copy_from_slice(b"        ");
                let signed: i64 = archive.0[..512]
                    .iter()
                    .map(|b| i64::from(b.cast_signed()))
                    .sum();
                archive.0[148..156].copy_from_slice(format!("{signed:06o}\0 ").as_bytes());
                archive.end()
            },
            Refused,
        ),
        (
            "padding that is not zeros",
            {
                let mut archive = one().file("b", "b").end();
                archive[600..1024].fill(b'!');
                archive
            },
            Agreed,
        ),
        ("a file twice", one().file("a", "aa").end(), Agreed),
        ("a file, then a directory", one().dir("a").end(), Agreed),
        (
            "names that only humans take for others",
            {
                tar()
                    .file("./a", "")
                    .file("a//b", "")
                    .file(" a", "")
                    .file("a/./b", "")
                    .end()
            },
            Agreed,
        ),
        (
            "names that go up",
            tar().file("../a", "").file("/b", "").end(),
            Agreed,
        ),
        (
            "a directory with slashes",
            tar().dir("a//").dir("b").end(),
            Agreed,
        ),
        // Before POSIX, a directory was a file with a slash: Python knows it of the old type only.
        (
            "a file with a slash",
            tar().file("a/", "").end(),
            Against("python"),
        ),
        (
            "a file with a slash, of the old type",
            tar().other(0, "a/", "", 0o755).end(),
            Agreed,
        ),
        (
            "a file with a slash and content",
            tar().file("a/", "x").file("b", "b").end(),
            Refused,
        ),
        (
            "a contiguous file with a slash",
            tar().other(b'7', "a/", "", 0o644).end(),
            Refused,
        ),
        (
            "a contiguous file",
            tar().other(b'7', "a", "", 0o644).end(),
            Agreed,
        ),
        (
            "a type that nobody knows",
            tar().other(b'Q', "a", "", 0o644).end(),
            Refused,
        ),
        (
            "a type of another's own",
            tar().other(b'A', "a", "", 0o644).end(),
            Refused,
        ),
        (
            "a name of 100 bytes",
            tar().file(&"n".repeat(100), "x").end(),
            Agreed,
        ),
        (
            "a link of 100 bytes",
            tar().symlink("l", &"n".repeat(100)).end(),
            Agreed,
        ),
        (
            "something behind a name's NUL",
            tar().entry(&raw(b"a\0b", b"x")).end(),
            Agreed,
        ),
        // bsdtar leaves it out.
        ("no name", tar().file("", "x").end(), Refused),
        (
            "a prefix",
            patched(&raw(b"a", b"x"), &[(345, b"p/q")]),
            Agreed,
        ),
        (
            "a symlink to nothing",
            tar().symlink("l", "").end(),
            Refused,
        ),
        (
            "a hard link to nothing",
            tar().hard_link("l", "").end(),
            Refused,
        ),
        // bsdtar lists `p/a`, we and the others `p//a`: the same path.
        (
            "a prefix that ends with a slash",
            patched(&raw(b"a", b"x"), &[(345, b"p/")]),
            Against("bsd"),
        ),
        // Its name ends with a slash, which makes it a directory.
        (
            "a prefix and no name",
            patched(&raw(b"", b""), &[(345, b"p")]),
            Against("python"),
        ),
        (
            "a prefix, no name and content",
            patched(&raw(b"", b"x"), &[(345, b"p")]),
            Refused,
        ),
        // GNU tar keeps times there; only Python takes them for a prefix.
        (
            "a prefix in GNU's format",
            {
                let entry = Entry {
                    magic: gnu,
                    ..raw(b"a", b"x")
                };
                patched(&entry, &[(345, b"p")])
            },
            Against("python"),
        ),
        (
            "a prefix before POSIX",
            {
                let entry = Entry {
                    magic: old,
                    ..raw(b"a", b"x")
                };
                patched(&entry, &[(345, b"p")])
            },
            Against("python"),
        ),
        (
            "POSIX's magic without a version",
            { patched(&raw(b"a", b"x"), &[(263, b"\0\0")]) },
            Refused,
        ),
        (
            "a size with spaces before it",
            patched(&raw(b"a", b"x"), &[(124, b"          1\0")]),
            Agreed,
        ),
        (
            "a size without an end",
            patched(&raw(b"a", b"x"), &[(124, b"000000000001")]),
            Agreed,
        ),
        (
            "a size that ends with a space",
            patched(&raw(b"a", b"x"), &[(124, b"00000000001 ")]),
            Agreed,
        ),
        (
            "a size in base 256",
            { patched(&raw(b"a", b"x"), &[(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x01")]) },
            Agreed,
        ),
        (
            "a size below zero in base 256",
            patched(&raw(b"a", b"x"), &[(124, &[0xff; 12])]),
            Refused,
        ),
        (
            "a size of more than 64 bits",
            {
                patched(
                    &raw(b"a", b"x"),
                    &[(124, b"\x80\x01\0\0\0\0\0\0\0\0\0\x01")],
                )
            },
            Refused,
        ),
        (
            "a size that is no octal number",
            patched(&raw(b"a", b"x"), &[(124, b"00000000009\0")]),
            Refused,
        ),
        (
            "a size with a sign",
            patched(&raw(b"a", b"x"), &[(124, b"-0000000001\0")]),
            Refused,
        ),
        (
            "a size with something behind it",
            patched(&raw(b"a", b"x"), &[(124, b"000001\x001\0\0\0\0")]),
            Refused,
        ),
        (
            "no size",
            patched(&raw(b"a", b""), &[(124, &[0; 12])]),
            Agreed,
        ),
        (
            "an owner in base 256",
            patched(&raw(b"a", b"x"), &[(108, b"\x80\0\0\0\x7f\0\0\x01")]),
            Agreed,
        ),
        (
            "a directory with a size",
            {
                tar()
                    .entry(&Entry {
                        name: b"d",
                        flag: b'5',
                        data: b"x",
                        ..Entry::default()
                    })
                    .end()
            },
            Refused,
        ),
        (
            "a symlink with a size",
            {
                let entry = Entry {
                    name: b"l",
                    flag: b'2',
                    link: b"x",
                    data: b"x",
                    ..Entry::default()
                };
                tar().entry(&entry).end()
            },
            Refused,
        ),
        (
            "a hard link with a size",
            {
                let entry = Entry {
                    name: b"l",
                    flag: b'1',
                    link: b"x",
                    data: b"x",
                    ..Entry::default()
                };
                tar().entry(&entry).end()
            },
            Refused,
        ),
    ]
}
