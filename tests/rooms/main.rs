//! Holds the house's rules over `src/`: which room may use which, where `unsafe` and printing
//! are allowed, that a file says why it exists and stays short.

mod source;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Token, mentions, tokens};

/// A room and the rooms that it may use. A room may only use rooms above it, so that there is
/// no way back.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("sys", &["model"]),
    ("store", &["model", "sys"]),
    ("net", &["model", "sys", "store"]),
    ("archive", &["model", "sys"]),
    ("sandbox", &["model", "sys"]),
    (
        "rootfs",
        &["model", "sys", "store", "net", "archive", "sandbox"],
    ),
    // `sys` for `sys::fs`: files of `--formulae DIR` are read with errors that name them.
    ("formula", &["model", "sys"]),
    ("artifact", &["model", "sys", "store", "archive", "sandbox"]),
    ("inspect", &["model", "archive", "artifact"]),
    (
        "publish",
        &["model", "sys", "store", "net", "archive", "artifact"],
    ),
    (
        "build",
        &[
            "model", "sys", "store", "net", "archive", "sandbox", "rootfs", "formula", "artifact",
        ],
    ),
    // `build` for the checks that its plans hold; `sys` for files and the wish to stop; `store`
    // for scratch.
    (
        "verify",
        &[
            "model", "sys", "store", "archive", "sandbox", "rootfs", "formula", "artifact",
            "publish", "build",
        ],
    ),
    ("suite", &["model", "sys", "store", "sandbox"]),
    ("farm", &["model", "sys", "formula"]),
    ("ui", &["model"]),
    ("cli", &["model"]),
    (
        "cmd",
        &[
            "model", "sys", "store", "net", "archive", "sandbox", "rootfs", "formula", "artifact",
            "inspect", "publish", "build", "verify", "suite", "farm", "ui", "cli",
        ],
    ),
    ("lib", &[]),
    ("main", &["sandbox", "ui", "cli", "cmd"]),
];

/// How many lines a file may have.
const LONGEST: usize = 500;
/// The files that are longer, each with the reason.
const LONGER: &[(&str, &str)] = &[];

/// The macros that write to standard output and standard error.
const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

#[test]
fn the_rules_of_the_house_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = source_files(root);
    assert!(files.len() > 10, "the sources are not where they were");
    let broken: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| check(path, text))
        .chain(stale(&files))
        .map(|broken| broken.to_string())
        .collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn rooms_use_only_rooms_above_them() {
    for (n, (room, uses)) in ROOMS.iter().enumerate() {
        for used in *uses {
            let above = ROOMS[..n].iter().any(|(above, _)| above == used);
            assert!(above, "{room} uses {used}, which is not above it");
        }
    }
}

/// A rule that a file breaks.
#[derive(Debug, PartialEq, Eq)]
struct Broken {
    path: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.rule)
    }
}

/// Every `.rs` file below `src`, by its path from `root`, with its text.
fn source_files(root: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut dirs = vec![root.join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of sources") {
            let path: PathBuf = entry.expect("its entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let path = path.strip_prefix(root).expect("it lies below");
                files.push((path.to_string_lossy().into_owned(), text));
            }
        }
    }
    files.sort();
    files
}

/// Everything that one file breaks.
fn check(path: &str, text: &str) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut tell = |line, rule: String| {
        let path = path.to_owned();
        broken.push(Broken { path, line, rule });
    };
    if !text.starts_with("//!") {
        tell(
            1,
            "does not begin with a `//!` line that says why it exists".to_owned(),
        );
    }
    let lines = text.lines().count();
    if lines > LONGEST && !LONGER.iter().any(|(longer, _)| *longer == path) {
        tell(LONGEST, format!("has {lines} lines, more than {LONGEST}"));
    }
    let (room, depth) = place(path);
    let tokens = tokens(text);
    match ROOMS.iter().find(|(name, _)| *name == room) {
        None => tell(1, format!("the room `{room}` is not in the table")),
        Some((_, allowed)) => {
            for (line, used) in mentions(&tokens, depth) {
                if used != room && !allowed.contains(&used.as_str()) && room != "lib" {
                    tell(line, format!("`{room}` may not use `{used}`"));
                }
            }
        }
    }
    for (n, (token, line)) in tokens.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        let next = tokens.get(n + 1).map(|(token, _)| token);
        if PRINTING.contains(&word.as_str())
            && next == Some(&Token::Mark('!'))
            && !matches!(room, "ui" | "main")
        {
            tell(*line, format!("only `ui` prints, not `{word}!` here"));
        }
        let unsafe_code = word == "unsafe" || (word == "unsafe_code" && room != "lib");
        if unsafe_code && room != "sys" {
            tell(*line, format!("`{word}` outside src/sys"));
        }
    }
    broken
}

/// Reasons for long files that are no longer needed.
fn stale(files: &[(String, String)]) -> Vec<Broken> {
    let needed = |path: &str| {
        let found = files.iter().find(|(known, _)| known == path);
        found.is_some_and(|(_, text)| text.lines().count() > LONGEST)
    };
    let gone = LONGER.iter().filter(|(path, _)| !needed(path));
    gone.map(|(path, _)| Broken {
        path: (*path).to_owned(),
        line: 1,
        rule: "is in the table of long files and is not long".to_owned(),
    })
    .collect()
}

/// The room of a file, and how many modules deep its code is: `src/net/client.rs` is 2 deep in
/// `net`.
fn place(path: &str) -> (&str, usize) {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    let parts: Vec<&str> = inner.split('/').collect();
    let depth = match parts.last() {
        Some(&"mod") => parts.len() - 1,
        Some(&("lib" | "main")) if parts.len() == 1 => 0,
        _ => parts.len(),
    };
    (parts[0], depth)
}

#[test]
fn a_file_that_breaks_the_rules_is_told_of() {
    let rules = |path: &str, text: &str| -> Vec<(usize, String)> {
        let broken = check(path, text);
        broken.into_iter().map(|b| (b.line, b.rule)).collect()
    };
    let one = |line, rule: &str| vec![(line, rule.to_owned())];
    assert_eq!(
        rules("src/net/get.rs", "//! x\nuse crate::store::Store;"),
        []
    );
    assert_eq!(
        rules("src/sandbox/run.rs", "//! x\n\nuse crate::net::Client;"),
        one(3, "`sandbox` may not use `net`")
    );
    assert_eq!(
        rules("src/model/mod.rs", "//! x\n/* a\nb */ use super::sys;"),
        one(3, "`model` may not use `sys`")
    );
    assert_eq!(
        rules("src/net/get.rs", "//! x\nfn f() { unsafe { g() } }"),
        one(2, "`unsafe` outside src/sys")
    );
    assert_eq!(
        rules("src/net/get.rs", "//! x\n#![allow(unsafe_code)]"),
        one(2, "`unsafe_code` outside src/sys")
    );
    assert_eq!(
        rules("src/sys/x.rs", "//! x\nfn f() { unsafe { g() } }"),
        []
    );
    assert_eq!(
        rules("src/build/run.rs", "//! x\nfn f() { println!(\"\") }"),
        one(2, "only `ui` prints, not `println!` here")
    );
    assert_eq!(
        rules("src/ui/out.rs", "//! x\nfn f() { println!(\"\") }"),
        []
    );
    assert_eq!(
        rules("src/build/run.rs", "//! x\nfn print() { self.print() }"),
        []
    );
    assert_eq!(
        rules("src/net/get.rs", "use std::io;"),
        one(
            1,
            "does not begin with a `//!` line that says why it exists"
        )
    );
    assert_eq!(
        rules("src/attic/x.rs", "//! x"),
        one(1, "the room `attic` is not in the table")
    );
    let long = format!("//! x\n{}", "\n".repeat(LONGEST));
    assert_eq!(
        rules("src/net/get.rs", &long),
        one(500, "has 501 lines, more than 500")
    );
}
