//! What the rules need to know of Rust: words, paths and marks, without comments and literals.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// One token; a group's brackets are marks, `::` is one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    /// `::`
    Path,
    Mark(char),
}

/// The tokens of a source file, each with its line.
pub(crate) fn tokens(text: &str) -> Vec<(Token, usize)> {
    let stream: TokenStream = text.parse().expect("Rust");
    let mut found = Vec::new();
    flatten(stream, &mut found);
    found
}

fn flatten(stream: TokenStream, found: &mut Vec<(Token, usize)>) {
    let mut half_path = false;
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Ident(word) => {
                let word = word.to_string();
                let word = word.strip_prefix("r#").unwrap_or(&word);
                found.push((Token::Word(word.to_owned()), line));
            }
            TokenTree::Punct(mark) if half_path && mark.as_char() == ':' => {
                half_path = false;
                found.push((Token::Path, line));
            }
            TokenTree::Punct(mark) => {
                half_path = mark.as_char() == ':' && mark.spacing() == Spacing::Joint;
                if !half_path {
                    found.push((Token::Mark(mark.as_char()), line));
                }
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ('{', '}'),
                    Delimiter::Parenthesis => ('(', ')'),
                    Delimiter::Bracket => ('[', ']'),
                    Delimiter::None => (' ', ' '),
                };
                found.push((Token::Mark(open), line));
                flatten(group.stream(), found);
                found.push((Token::Mark(close), group.span_close().start().line));
            }
            TokenTree::Literal(_) => found.push((Token::Mark('"'), line)),
        }
    }
}

/// Every first name of a path that starts at the crate's root: `crate::x`, `crate::{x, y}`,
/// `pybuild::x`, and `super::x` with as many `super`s as the code is deep.
pub(crate) fn mentions(tokens: &[(Token, usize)], file_depth: usize) -> Vec<(usize, String)> {
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
        (1, "let x: ::core::X = crate::net::X;", &["net"]),
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
