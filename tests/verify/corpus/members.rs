//! What can be wrong with the members of a tarball that is whole.

use pybuild::verify::Rule;

use super::{Case, holding};
use crate::kit::{Entry, PYTHON, directory, file, symlink};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "an absolute name",
        spoil: |dist| holding(dist, &[file("/etc/passwd")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`/etc/passwd`: its name is absolute",
    },
    Case {
        name: "a name that goes up",
        spoil: |dist| holding(dist, &[file("lib/../../x")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "its name goes up by `..`",
    },
    Case {
        name: "an absolute symlink",
        spoil: |dist| holding(dist, &[symlink("a", "/etc/passwd")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it is a symlink to the absolute path `/etc/passwd`",
    },
    Case {
        name: "a symlink that leads out",
        spoil: |dist| holding(dist, &[directory("lib"), symlink("lib/a", "../../x")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`lib/a`: it is a symlink that leads out, to `../../x`",
    },
    Case {
        name: "a symlink that leads out by way of another",
        spoil: |dist| {
            // Read as text, it stays: `deep/er/up/../..` is `deep`.
            let up = symlink("deep/er/up", "..");
            holding(
                dist,
                &[file("deep/er/f"), up, symlink("a", "deep/er/up/../../x")],
            );
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it is a symlink that leads out",
    },
    Case {
        name: "a symlink that leads out once something else is there",
        spoil: |dist| holding(dist, &[symlink("a", "nothing/../../etc")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "leads out",
    },
    Case {
        name: "a member below a symlink",
        spoil: |dist| holding(dist, &[directory("d"), symlink("a", "d"), file("a/x")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a/x`: it lies below something that is no directory",
    },
    Case {
        name: "a symlink in the place of a directory that was filled",
        spoil: |dist| holding(dist, &[file("a/x"), symlink("a", "x")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it comes twice",
    },
    Case {
        name: "a hard link to somewhere outside",
        spoil: |dist| {
            let link = Entry {
                flag: b'1',
                content: b"",
                link: "../x",
                ..file("a")
            };
            holding(dist, &[link]);
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it is a hard link to somewhere outside",
    },
    Case {
        name: "a hard link to a symlink",
        spoil: |dist| {
            let link = Entry {
                flag: b'1',
                content: b"",
                link: "s",
                ..file("a")
            };
            holding(dist, &[file("f"), symlink("s", "f"), link]);
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it is a hard link to something that is no file",
    },
    Case {
        name: "a device",
        spoil: |dist| {
            holding(
                dist,
                &[Entry {
                    flag: b'3',
                    content: b"",
                    ..file("null")
                }],
            );
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`null`: it is a device node or a pipe",
    },
    Case {
        name: "a pipe",
        spoil: |dist| {
            holding(
                dist,
                &[Entry {
                    flag: b'6',
                    content: b"",
                    ..file("pipe")
                }],
            );
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`pipe`: it is a device node or a pipe",
    },
    Case {
        name: "a setuid file",
        spoil: |dist| {
            holding(
                dist,
                &[Entry {
                    mode: 0o4755,
                    ..file("su")
                }],
            );
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`su`: it is setuid or setgid (mode 4755)",
    },
    Case {
        name: "a file for anybody to write to",
        spoil: |dist| {
            holding(
                dist,
                &[Entry {
                    mode: 0o666,
                    ..file("open")
                }],
            );
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`open`: anybody may write to it (mode 0666)",
    },
    Case {
        name: "the same name twice",
        spoil: |dist| holding(dist, &[file("a"), file("./a")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`./a`: it comes twice",
    },
    Case {
        name: "a name with a line break",
        spoil: |dist| holding(dist, &[file("a\nb")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: r"`a\nb`: its name has a control character",
    },
    Case {
        name: "a setgid file",
        spoil: |dist| {
            let entry = Entry {
                mode: 0o2755,
                ..file("sg")
            };
            holding(dist, &[entry]);
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`sg`: it is setuid or setgid (mode 2755)",
    },
    Case {
        name: "a directory for anybody to write to",
        spoil: |dist| {
            let entry = Entry {
                mode: 0o777,
                ..directory("lib")
            };
            holding(dist, &[entry]);
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`lib`: anybody may write to it (mode 0777)",
    },
    Case {
        name: "symlinks in a circle",
        spoil: |dist| holding(dist, &[symlink("a", "b"), symlink("b", "a")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it is a symlink in a circle, by `b`",
    },
    Case {
        name: "a hard link to what is not there",
        spoil: |dist| {
            let link = Entry {
                flag: b'1',
                content: b"",
                link: "gone",
                ..file("a")
            };
            holding(dist, &[link]);
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it is a hard link to nothing that came before it",
    },
];
