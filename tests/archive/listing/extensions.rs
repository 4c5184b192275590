//! Archives with pax and GNU extension headers that readers have disagreed on, and members that
//! not all of them know.

use super::Case;
use super::Verdict::{Against, Agreed, Refused};
use super::headers::raw;
use crate::tarball::{Entry, tar};

#[allow(clippy::too_many_lines)] // one table
pub(super) fn cases() -> Vec<Case> {
    let one = || tar().file("a", "a");
    vec![
        (
            "a pax size that differs",
            {
                let entry = Entry {
                    size: Some(0),
                    ..raw(b"f", &[b'x'; 512])
                };
                tar().pax(&[("size", "512")]).entry(&entry).end()
            },
            Refused,
        ),
        (
            "a pax size smaller than the header's",
            { tar().pax(&[("size", "0")]).file("f", "x").end() },
            Refused,
        ),
        (
            "a pax size that agrees",
            tar().pax(&[("size", "1")]).file("f", "x").end(),
            Agreed,
        ),
        (
            "a member hidden in what a pax size says is content (CVE-2025-62518)",
            {
                let inner = tar().file("hidden", "x").end();
                let entry = Entry {
                    size: Some(0),
                    ..raw(b"f", &inner)
                };
                tar()
                    .pax(&[("size", &inner.len().to_string())])
                    .entry(&entry)
                    .end()
            },
            Refused,
        ),
        (
            "a pax name",
            tar().pax(&[("path", "p/q")]).file("f", "x").end(),
            Agreed,
        ),
        (
            "a pax name that goes up",
            tar().pax(&[("path", "../q")]).file("f", "x").end(),
            Agreed,
        ),
        (
            "a pax name with a newline",
            tar().pax(&[("path", "p\nq")]).file("f", "x").end(),
            Agreed,
        ),
        (
            "a pax name of 4 KiB",
            tar().pax(&[("path", &"n/".repeat(2048))]).dir("f").end(),
            Agreed,
        ),
        (
            "a pax name with a NUL",
            tar().pax(&[("path", "p\0q")]).file("f", "x").end(),
            Refused,
        ),
        (
            "an empty pax name",
            tar().pax(&[("path", "")]).file("f", "x").end(),
            Refused,
        ),
        (
            "a pax link",
            tar().pax(&[("linkpath", "p/q")]).symlink("l", "x").end(),
            Agreed,
        ),
        (
            "a pax name twice",
            tar()
                .pax(&[("path", "p"), ("path", "q")])
                .file("f", "x")
                .end(),
            Refused,
        ),
        (
            "two pax headers",
            tar()
                .pax(&[("path", "p")])
                .pax(&[("path", "q")])
                .file("f", "x")
                .end(),
            Refused,
        ),
        (
            "a pax header of another member's size",
            {
                tar()
                    .pax(&[("size", "1")])
                    .pax(&[("path", "q")])
                    .file("f", "x")
                    .end()
            },
            Refused,
        ),
        (
            "a pax record without its newline",
            tar().extension(b'x', b"10 path=ab").file("f", "x").end(),
            Refused,
        ),
        (
            "a pax record that is too long",
            tar().extension(b'x', b"99 path=a\n").file("f", "x").end(),
            Refused,
        ),
        (
            "a pax record that is too short",
            tar().extension(b'x', b"5 path=a\n").file("f", "x").end(),
            Refused,
        ),
        (
            "a pax record without a length",
            tar().extension(b'x', b"path=a\n").file("f", "x").end(),
            Refused,
        ),
        (
            "NULs behind pax records",
            tar()
                .extension(b'x', b"9 path=p\n\0\0\0")
                .file("f", "x")
                .end(),
            Refused,
        ),
        (
            "an empty pax header",
            tar().extension(b'x', b"").file("f", "x").end(),
            Agreed,
        ),
        (
            "a pax header at the end",
            one().pax(&[("path", "p")]).end(),
            Refused,
        ),
        (
            "a global comment",
            tar()
                .extension(b'g', b"13 comment=x\n")
                .file("f", "x")
                .end(),
            Agreed,
        ),
        (
            "a global name",
            tar()
                .extension(b'g', b"9 path=p\n")
                .file("f", "x")
                .file("g", "")
                .end(),
            Refused,
        ),
        (
            "a global size",
            tar().extension(b'g', b"9 size=1\n").file("f", "x").end(),
            Refused,
        ),
        (
            "GNU's long name",
            tar().extension(b'L', b"long\0").file("f", "x").end(),
            Agreed,
        ),
        (
            "GNU's long name without a NUL",
            tar().extension(b'L', b"long").file("f", "x").end(),
            Agreed,
        ),
        (
            "GNU's long name with a NUL in it",
            tar().extension(b'L', b"long\0er\0").file("f", "x").end(),
            Refused,
        ),
        (
            "GNU's long name that is empty",
            tar().extension(b'L', b"\0").file("f", "x").end(),
            Refused,
        ),
        (
            "GNU's long link",
            tar().extension(b'K', b"long\0").symlink("f", "x").end(),
            Agreed,
        ),
        (
            "both of GNU's",
            {
                tar()
                    .extension(b'K', b"link\0")
                    .extension(b'L', b"name\0")
                    .symlink("f", "x")
                    .end()
            },
            Agreed,
        ),
        (
            "GNU's long name twice",
            {
                tar()
                    .extension(b'L', b"p\0")
                    .extension(b'L', b"q\0")
                    .file("f", "x")
                    .end()
            },
            Refused,
        ),
        (
            "GNU's long name at the end",
            one().extension(b'L', b"p\0").end(),
            Refused,
        ),
        (
            "GNU's long name, then pax's",
            {
                tar()
                    .extension(b'L', b"p\0")
                    .pax(&[("path", "q")])
                    .file("f", "x")
                    .end()
            },
            Refused,
        ),
        (
            "pax's long name, then GNU's",
            {
                tar()
                    .pax(&[("path", "q")])
                    .extension(b'L', b"p\0")
                    .file("f", "x")
                    .end()
            },
            Refused,
        ),
        (
            "GNU's long name and a pax time",
            {
                tar()
                    .pax(&[("mtime", "1")])
                    .extension(b'L', b"p\0")
                    .file("f", "x")
                    .end()
            },
            Refused,
        ),
        (
            "a sparse file of GNU's",
            tar().other(b'S', "s", "", 0o644).end(),
            Refused,
        ),
        (
            "a sparse file of pax's",
            {
                let sparse = [
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.minor", "0"),
                    ("GNU.sparse.name", "s"),
                    ("GNU.sparse.realsize", "9999"),
                ];
                tar().pax(&sparse).file("f", "x").end()
            },
            Refused,
        ),
        (
            "a sparse file of an older pax's",
            {
                tar()
                    .pax(&[("GNU.sparse.size", "9"), ("GNU.sparse.numblocks", "0")])
                    .file("f", "x")
                    .end()
            },
            Refused,
        ),
        (
            "a volume's label",
            tar().other(b'V', "label", "", 0o644).file("f", "x").end(),
            Refused,
        ),
        (
            "a part of a file of many volumes",
            tar().other(b'M', "m", "", 0o644).end(),
            Refused,
        ),
        (
            "a list of a directory",
            tar().other(b'D', "d", "", 0o755).end(),
            Refused,
        ),
        (
            "devices",
            {
                let device = |flag| Entry {
                    name: b"n",
                    flag,
                    device: (1, 3),
                    ..Entry::default()
                };
                tar()
                    .entry(&device(b'3'))
                    .entry(&device(b'4'))
                    .other(b'6', "p", "", 0o644)
                    .end()
            },
            Agreed,
        ),
        (
            "names that are not UTF-8",
            tar().entry(&raw(b"\xff\xfe", b"x")).end(),
            Agreed,
        ),
        // bsdtar lists it and complains that it cannot show it.
        (
            "a pax name that is not UTF-8",
            {
                tar()
                    .extension(b'x', b"11 path=\xff\xfe\n")
                    .file("f", "x")
                    .end()
            },
            Against("bsd"),
        ),
    ]
}
