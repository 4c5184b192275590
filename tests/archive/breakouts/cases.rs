//! The layers that want out, and what comes of each.

use super::Case;
use super::Outcome::{Inside, Refused};
use crate::tarball::{Entry, tar};

#[allow(clippy::too_many_lines)] // one table
pub(crate) fn cases() -> Vec<Case> {
    vec![
        (
            "up",
            |_| vec![tar().file("../outside/kept", "x")],
            Refused("`..`"),
        ),
        (
            "up and down",
            |_| vec![tar().dir("a").file("a/../../outside/kept", "x")],
            Refused("`..`"),
        ),
        (
            "up at the end",
            |_| vec![tar().dir("a").dir("a/..")],
            Refused("`..`"),
        ),
        (
            "absolute",
            |out| vec![tar().file(&format!("{out}/absolute"), "x")],
            Inside(&["…/absolute"]),
        ),
        (
            "two slashes",
            |_| vec![tar().file("//x", "x").file("a//y", "y")],
            Inside(&["a/", "a/y", "x"]),
        ),
        (
            "through a symlink",
            |_| vec![tar().symlink("l", "../outside").file("l/kept", "x")],
            Inside(&["l", "outside/", "outside/kept"]),
        ),
        (
            "through an absolute one",
            |out| vec![tar().symlink("l", out).file("l/kept", "x")],
            Inside(&["l", "…/kept"]),
        ),
        (
            "through a symlink of the layer below",
            |out| {
                vec![
                    tar().symlink("l", out),
                    tar().file("l/kept", "x").dir("l/d"),
                ]
            },
            Inside(&["l", "…/d/", "…/kept"]),
        ),
        (
            "in several hops",
            |_| {
                vec![
                    tar()
                        .symlink("a", "b/c")
                        .dir("b")
                        .symlink("b/c", "../d/..")
                        .symlink("d", "../../..")
                        .file("a/outside/kept", "x"),
                ]
            },
            Inside(&["a", "b/", "b/c", "d", "outside/", "outside/kept"]),
        ),
        (
            "through a symlink that ends with a slash",
            |_| vec![tar().symlink("l", "../outside/").file("l/kept", "x")],
            Inside(&["l", "outside/", "outside/kept"]),
        ),
        (
            "through links without end",
            |_| vec![tar().symlink("a", "b").symlink("b", "a").file("a/x", "x")],
            Refused("without end"),
        ),
        (
            "through a link to itself",
            |_| vec![tar().symlink("a", "a/a").file("a/x", "x")],
            Refused("without end"),
        ),
        (
            "through a link to a file",
            |_| vec![tar().file("f", "f").symlink("l", "f").file("l/x", "x")],
            Refused("no directory"),
        ),
        (
            "below a file",
            |_| vec![tar().file("f", "f").file("f/x", "x")],
            Refused("no directory"),
        ),
        (
            "the root as a symlink",
            |out| vec![tar().symlink("/", out)],
            Refused("the root"),
        ),
        (
            "the root as a symlink, dotted",
            |out| vec![tar().symlink("./.", out).file("kept", "x")],
            Refused("the root"),
        ),
        (
            "the root as a file",
            |_| vec![tar().file(".", "x")],
            Refused("the root"),
        ),
        (
            "the root as a hard link",
            |_| vec![tar().file("a", "").hard_link("/", "a")],
            Refused("the root"),
        ),
        (
            "the root as a device",
            |_| vec![tar().other(b'3', "./", "", 0o666)],
            Refused("the root"),
        ),
        (
            "a symlink, then its name as a file",
            |_| vec![tar().symlink("l", "../outside/kept").file("l", "x")],
            Inside(&["l"]),
        ),
        (
            "a symlink, then a directory of its name",
            |out| {
                vec![
                    tar()
                        .symlink("l", out)
                        .other(b'5', "l", "", 0o777)
                        .file("l/kept", "x"),
                ]
            },
            Inside(&["l/", "l/kept"]),
        ),
        (
            "a symlink below, then a directory of its name",
            |out| vec![tar().symlink("l", out), tar().other(b'5', "l/", "", 0o777)],
            Inside(&["l/"]),
        ),
        (
            "a symlink to a file, then a directory of its name",
            |_| {
                vec![
                    tar()
                        .symlink("l", "../outside/kept")
                        .other(b'5', "l", "", 0o777),
                ]
            },
            Inside(&["l/"]),
        ),
        (
            "a hard link up",
            |_| vec![tar().hard_link("h", "../outside/kept")],
            Refused("links outside"),
        ),
        (
            "a hard link to an absolute path",
            |out| vec![tar().hard_link("h", &format!("{out}/kept"))],
            Refused("links to nothing"),
        ),
        (
            "a hard link through a symlink",
            |out| vec![tar().symlink("l", out).hard_link("h", "l/kept")],
            Refused("links to nothing"),
        ),
        (
            "a hard link through symlinks of the layer below",
            |_| {
                vec![
                    tar().symlink("l", "../outside"),
                    tar().symlink("m", "l").hard_link("h", "m/kept"),
                ]
            },
            Refused("links to nothing"),
        ),
        (
            "a hard link to nothing",
            |_| vec![tar().hard_link("h", "none")],
            Refused("links to nothing"),
        ),
        (
            "a hard link to itself",
            |_| vec![tar().hard_link("h", "h")],
            Refused("links to nothing"),
        ),
        (
            "a hard link to the root",
            |_| vec![tar().hard_link("h", "/")],
            Refused("links outside"),
        ),
        (
            "a hard link to a directory",
            |_| vec![tar().dir("d").hard_link("h", "d")],
            Refused("a directory"),
        ),
        (
            "a hard link to a symlink, then written to",
            |_| {
                vec![
                    tar()
                        .symlink("s", "../outside/kept")
                        .hard_link("h", "s")
                        .file("h", "x"),
                ]
            },
            Inside(&["h", "s"]),
        ),
        (
            "a hard link to a symlink, with a mode",
            |_| {
                vec![
                    tar()
                        .symlink("s", "../outside/kept")
                        .other(b'1', "h", "s", 0o777),
                ]
            },
            Inside(&["h", "s"]),
        ),
        (
            "a hard link to a symlink, then through it",
            |_| {
                vec![
                    tar()
                        .symlink("s", "../outside")
                        .hard_link("h", "s")
                        .file("h/kept", "x"),
                ]
            },
            Inside(&["h", "outside/", "outside/kept", "s"]),
        ),
        (
            "a hard link in place of what holds its target",
            |_| vec![tar().dir("d").file("d/f", "f").hard_link("d", "d/f")],
            Refused("links to nothing"),
        ),
        (
            "a whiteout of ..",
            |_| vec![tar().dir("d"), tar().file("d/.wh...", "")],
            Refused("nothing that has a name"),
        ),
        (
            "a whiteout of .",
            |_| vec![tar().dir("d"), tar().file("d/.wh..", "")],
            Refused("nothing that has a name"),
        ),
        (
            "a whiteout of nothing",
            |_| vec![tar().dir("d"), tar().file("d/.wh.", "")],
            Refused("nothing that has a name"),
        ),
        (
            "a whiteout of the root",
            |_| vec![tar().dir("d"), tar().file(".wh.", "")],
            Refused("nothing that has a name"),
        ),
        (
            "a whiteout up",
            |_| vec![tar().dir("d"), tar().file("../.wh.outside", "")],
            Refused("`..`"),
        ),
        (
            "whiteouts through a symlink",
            |out| {
                vec![
                    tar().symlink("l", out).symlink("m", "../outside"),
                    tar().file("l/.wh.kept", "").file("m/.wh..wh..opq", ""),
                ]
            },
            Inside(&["l", "m"]),
        ),
        (
            "a whiteout behind a symlink of its own layer",
            |_| {
                vec![
                    tar().dir("d").file("d/f", "f"),
                    tar()
                        .symlink("l", "d")
                        .file("l/.wh.f", "")
                        .file("l/.wh.f", "")
                        .file("l/.wh..wh..opq", ""),
                ]
            },
            Inside(&["d/", "d/f", "l"]),
        ),
        (
            "a whiteout of a symlink that its layer has gone through",
            |_| {
                vec![
                    tar().dir("d").symlink("l", "d"),
                    tar().file("l/f", "f").file(".wh.l", ""),
                ]
            },
            Refused("through which"),
        ),
        (
            "below a whiteout",
            |_| vec![tar().file(".wh.a/b", "")],
            Refused("below a whiteout"),
        ),
        (
            "a device",
            |_| {
                vec![
                    tar()
                        .other(b'3', "null", "", 0o666)
                        .other(b'4', "sda", "", 0o666),
                ]
            },
            Inside(&[]),
        ),
        (
            "a pipe, replaced by a file and written to",
            |_| vec![tar().other(b'6', "p", "", 0o666), tar().file("p", "x")],
            Inside(&["p"]),
        ),
        (
            "below a device",
            |_| vec![tar().other(b'3', "d", "", 0o666).file("d/x", "x")],
            Inside(&["d/", "d/x"]),
        ),
        (
            "a socket, as cpio numbers it",
            |_| vec![tar().other(b's', "s", "", 0o666)],
            Refused("unknown type"),
        ),
        (
            "a symlink that holds a NUL in its pax header",
            |_| vec![tar().pax(&[("linkpath", "a\0b")]).symlink("l", "a")],
            Refused("NUL"),
        ),
        (
            "an owner of 64 bits",
            |_| vec![tar().pax(&[("uid", "4294967296")]).file("a", "")],
            Refused("not a number"),
        ),
        (
            "too deep by its symlinks",
            |_| {
                let deep = vec!["d"; 200].join("/");
                vec![
                    tar()
                        .dir("d")
                        .symlink("l", &vec!["d"; 40].join("/"))
                        .pax(&[("path", &format!("l/{deep}"))])
                        .dir("x")
                        .pax(&[(
                            "path",
                            &format!("l/{deep}/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e"),
                        )])
                        .dir("x"),
                ]
            },
            Refused("too deep"),
        ),
        (
            "one name too deep by its symlinks",
            |_| {
                let deep = vec!["d"; 40].join("/");
                let full = format!("l/{}", vec!["d"; 216].join("/"));
                vec![
                    tar()
                        .dir(&deep)
                        .symlink("l", &deep)
                        .pax(&[("path", &full)])
                        .dir("x")
                        .pax(&[("path", &format!("{full}/f"))])
                        .file("x", ""),
                ]
            },
            Refused("too deep"),
        ),
        (
            "too long by its symlinks",
            |_| {
                let long = vec!["n".repeat(250); 12].join("/");
                vec![
                    tar()
                        .pax(&[("linkpath", &long)])
                        .symlink("l", "x")
                        .pax(&[("path", &format!("l/{long}"))])
                        .file("x", ""),
                ]
            },
            Refused("too long"),
        ),
        (
            "through a symlink to a name that is too long for any",
            |_| {
                vec![
                    tar()
                        .pax(&[("linkpath", &"n".repeat(300))])
                        .symlink("l", "x")
                        .file("l/x", ""),
                ]
            },
            Refused("too long"),
        ),
        (
            "a hard link through a symlink to a name that is too long for any",
            |_| {
                vec![
                    tar()
                        .pax(&[("linkpath", &"n".repeat(300))])
                        .symlink("l", "x")
                        .hard_link("h", "l/x"),
                ]
            },
            Refused("links to nothing"),
        ),
        (
            "10,000 deep",
            |_| vec![tar().pax(&[("path", &"d/".repeat(10_000))]).dir("x")],
            Refused("too long"),
        ),
        (
            "300 deep",
            |_| vec![tar().pax(&[("path", &"d/".repeat(300))]).dir("x")],
            Refused("too deep"),
        ),
        (
            "a name of 4 KiB",
            |_| vec![tar().pax(&[("path", &"n".repeat(4000))]).file("x", "")],
            Refused("too long"),
        ),
        (
            "a path of 4 KiB",
            |_| {
                vec![
                    tar()
                        .pax(&[("path", &format!("{}/", "n".repeat(255)).repeat(16))])
                        .dir("x"),
                ]
            },
            Refused("too long"),
        ),
        (
            "names of any bytes",
            |_| {
                let names: [&[u8]; 5] = [b"line\nfeed", b"\x1b[2J", b" ", b"...", b"-rf"];
                let of = |name| Entry {
                    name,
                    ..Entry::default()
                };
                vec![
                    names
                        .into_iter()
                        .fold(tar(), |tar, name| tar.entry(&of(name))),
                ]
            },
            Inside(&["line\nfeed", "\x1b[2J", " ", "...", "-rf"]),
        ),
        (
            "a name that is not UTF-8, whited out",
            |_| {
                let of = |name| Entry {
                    name,
                    ..Entry::default()
                };
                vec![
                    tar().entry(&of(b"\xff\xfe")).entry(&of(b"\xff")),
                    tar().entry(&of(b".wh.\xff\xfe")),
                ]
            },
            Inside(&["\u{fffd}"]),
        ),
        (
            "a name that steers terminals, refused",
            |_| {
                vec![tar().entry(&Entry {
                    name: b"\x1b[2J/..",
                    ..Entry::default()
                })]
            },
            Refused("`\\x1b[2J/..`"),
        ),
        (
            "a symlink of 4 KiB",
            |_| {
                vec![
                    tar()
                        .pax(&[("linkpath", &"n".repeat(4096))])
                        .symlink("x", "x"),
                ]
            },
            Refused("too long"),
        ),
    ]
}
