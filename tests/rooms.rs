//! Holds the house's rules over `src/`: which room may use which, where `unsafe` and printing
//! are allowed, that a file says why it exists and stays short.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

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
    ("farm", &["model", "sys", "formula"]),
    ("ui", &["model"]),
    ("cli", &["model"]),
    (
        "cmd",
        &[
            "model", "sys", "store", "net", "archive", "sandbox", "rootfs", "formula", "artifact",
            "publish", "build", "verify", "farm", "ui", "cli",
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

/// What the rules need to know of Rust: no comments, no literals.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Path,
    Mark(char),
}

/// The tokens of a source file, each with its line.
fn tokens(text: &str) -> Vec<(Token, usize)> {
    let chars: Vec<char> = text.chars().collect();
    let at = |n: usize| chars.get(n).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let (mut n, mut line) = (0, 1);
    while n < chars.len() {
        let begin = n;
        match (at(n), at(n + 1)) {
            ('/', '/') => {
                while n < chars.len() && at(n) != '\n' {
                    n += 1;
                }
            }
            ('/', '*') => n = after_comment(&chars, n),
            ('"', _) => n = after_string(&chars, n),
            // A lifetime is a quote and a word without a closing quote.
            ('\'', c) if c != '\\' && at(n + 2) != '\'' => n += 1,
            ('\'', _) => n = after_char(&chars, n),
            (c, _) if is_word(c) => {
                while is_word(at(n)) {
                    n += 1;
                }
                let word: String = chars[begin..n].iter().collect();
                let hashes = chars[n..].iter().take_while(|c| **c == '#').count();
                let raw = matches!(word.as_str(), "r" | "br" | "cr") && at(n + hashes) == '"';
                if raw {
                    n = after_raw_string(&chars, n + hashes, hashes);
                } else if matches!(word.as_str(), "b" | "c") && matches!(at(n), '"' | '\'') {
                    // The literal itself is the next token.
                } else if word == "r" && hashes == 1 {
                    n += 1; // r#word is the word
                } else {
                    found.push((Token::Word(word), line));
                }
            }
            (':', ':') => {
                found.push((Token::Path, line));
                n += 2;
            }
            (c, _) => {
                if !c.is_whitespace() {
                    found.push((Token::Mark(c), line));
                }
                n += 1;
            }
        }
        line += chars[begin..n.min(chars.len())]
            .iter()
            .filter(|c| **c == '\n')
            .count();
    }
    found
}

fn after_comment(chars: &[char], mut n: usize) -> usize {
    let mut depth = 0;
    while n < chars.len() {
        match (chars[n], chars.get(n + 1)) {
            ('/', Some('*')) => (depth, n) = (depth + 1, n + 2),
            ('*', Some('/')) => (depth, n) = (depth - 1, n + 2),
            _ => n += 1,
        }
        if depth == 0 {
            break;
        }
    }
    n
}

fn after_string(chars: &[char], mut n: usize) -> usize {
    n += 1;
    while n < chars.len() && chars[n] != '"' {
        n += if chars[n] == '\\' { 2 } else { 1 };
    }
    n + 1
}

fn after_char(chars: &[char], mut n: usize) -> usize {
    n += if chars.get(n + 1) == Some(&'\\') {
        3
    } else {
        2
    };
    while n < chars.len() && chars[n] != '\'' {
        n += 1;
    }
    n + 1
}

/// `n` is at the opening quote.
fn after_raw_string(chars: &[char], mut n: usize, hashes: usize) -> usize {
    n += 1;
    while n < chars.len() {
        let closing = chars[n + 1..].iter().take(hashes);
        if chars[n] == '"' && closing.filter(|c| **c == '#').count() == hashes {
            return n + 1 + hashes;
        }
        n += 1;
    }
    n
}

/// Every first name of a path that starts at the crate's root: `crate::x`, `crate::{x, y}`,
/// `pybuild::x`, and `super::x` with as many `super`s as the code is deep.
fn mentions(tokens: &[(Token, usize)], file_depth: usize) -> Vec<(usize, String)> {
    let word = |n: usize| match tokens.get(n) {
        Some((Token::Word(word), _)) => word.as_str(),
        _ => "",
    };
    let is = |n: usize, token: &Token| tokens.get(n).is_some_and(|(found, _)| found == token);
    let mut found = Vec::new();
    // The braces that are open, and whether each is a module's.
    let mut open: Vec<bool> = Vec::new();
    let mut n = 0;
    while n < tokens.len() {
        match &tokens[n].0 {
            Token::Mark('{') => open.push(n >= 2 && word(n - 2) == "mod"),
            Token::Mark('}') => drop(open.pop()),
            _ => {}
        }
        let follows_path = n > 0 && is(n - 1, &Token::Path);
        let depth = file_depth + open.iter().filter(|is_module| **is_module).count();
        let root = match word(n) {
            "crate" | "pybuild" if !follows_path && is(n + 1, &Token::Path) => Some(n + 2),
            "super" if !follows_path => {
                let supers = (n..)
                    .step_by(2)
                    .take_while(|at| word(*at) == "super" && is(at + 1, &Token::Path))
                    .count();
                (supers == depth && supers > 0).then_some(n + 2 * supers)
            }
            _ => None,
        };
        if let Some(at) = root {
            found.extend(first_names(tokens, at));
        }
        n += 1;
    }
    found
}

/// The first names of the path or group of paths that begins at `at`.
fn first_names(tokens: &[(Token, usize)], at: usize) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut first = true;
    for (token, line) in &tokens[at.min(tokens.len())..] {
        match token {
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => depth -= 1,
            Token::Mark(',') if depth == 1 => first = true,
            Token::Word(word) if first && depth <= 1 => {
                names.push((*line, word.clone()));
                first = false;
            }
            // A glob takes every room.
            Token::Mark('*') if first => names.push((*line, "*".to_owned())),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

#[test]
fn rooms_are_found_however_they_are_named() {
    let found = |depth: usize, text: &str| -> Vec<String> {
        let names = mentions(&tokens(text), depth);
        names.into_iter().map(|(_, name)| name).collect()
    };
    let table: &[(usize, &str, &[&str])] = &[
        (1, "use crate::model::Sha256;", &["model"]),
        (
            1,
            "use crate::{model::{A, B}, sys as s, net};",
            &["model", "sys", "net"],
        ),
        (
            1,
            "fn f() { crate::store::open(crate::ui::x) }",
            &["store", "ui"],
        ),
        (1, "pub(crate) fn f() {}", &[]),
        (1, "use super::net;", &["net"]),
        (2, "use super::sibling;", &[]),
        (2, "use super::super::net;", &["net"]),
        (2, "mod tests { use super::super::net; }", &[]),
        (
            2,
            "mod tests { use super::super::super::net; }\nuse super::super::sys;",
            &["net", "sys"],
        ),
        (
            1,
            "mod a { fn f() { {} } use super::super::net; } use super::sys;",
            &["net", "sys"],
        ),
        (0, "use pybuild::cmd; use crate::*;", &["cmd", "*"]),
        (1, "use other::crate_::x; use std::model::x;", &[]),
        (
            1,
            "// use crate::net;\n/* crate::net /* */ crate::net */",
            &[],
        ),
        (
            1,
            "let a = \"crate::net \\\" crate::net\"; b\"crate::net\"; crate::sys::x",
            &["sys"],
        ),
        (
            1,
            "r#\"crate::net \" crate::net\"#; br\"crate::net\"; crate::sys::x",
            &["sys"],
        ),
        (
            1,
            "let q = '\"'; crate::net::x; let q = '\\''; crate::sys::y",
            &["net", "sys"],
        ),
        (
            1,
            "fn f<'a>(x: &'a str) { crate::net::x::<'a>() }",
            &["net"],
        ),
        (1, "$crate::net::x!()", &["net"]),
    ];
    for (depth, text, names) in table {
        assert_eq!(found(*depth, text), *names, "{text}");
    }
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
