//! Patterns for relative paths: `lib/python*/**/tests`.

use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

/// A pattern on the components of a relative path.
///
/// In a component `*` stands for any characters, `?` for one, `[a-z]` for one of those and `[!a-z]`
/// for one of the others; a leading dot is like any other character. The component `**` stands for
/// any number of components, none included, but at the end for at least one, so that `a/**` is
/// everything below `a` and not `a` itself.
///
/// Names need not be UTF-8: a byte that is not counts as a character of its own, U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    parts: Vec<Part>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`
    Any,
    One(Vec<Token>),
}

/// What a pattern says of one character.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `*`
    Many,
    /// `?`
    One,
    Char(char),
    /// `[…]`: ranges, and whether it is those that are *not* meant.
    Class(Vec<(char, char)>, bool),
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a pattern for paths below a prefix: {reason}")]
pub struct GlobError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Glob {
    /// Whether a path relative to the prefix matches, from its first component to its last.
    pub fn matches(&self, path: &Path) -> bool {
        let names: Option<Vec<Vec<char>>> = path
            .components()
            .map(|component| match component {
                Component::Normal(name) => Some(name.to_string_lossy().chars().collect()),
                _ => None,
            })
            .collect();
        names.is_some_and(|names| path_matches(&self.parts, &names))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        let wrong = |reason| GlobError {
            text: text.to_owned(),
            reason,
        };
        if text.starts_with('/') {
            return Err(wrong("it is absolute"));
        }
        if text.contains(['{', '}', '\\']) {
            return Err(wrong("braces and backslashes mean nothing here"));
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            parts.push(match part {
                "" | "." => return Err(wrong("it has an empty component")),
                ".." => return Err(wrong("it leads up")),
                "**" => Part::Any,
                part if part.contains("**") => {
                    return Err(wrong("`**` must be a whole component"));
                }
                part => Part::One(tokens(part).map_err(wrong)?),
            });
        }
        // Two in a row mean the same as one, and matching them would take squared time.
        parts.dedup_by(|a, b| *a == Part::Any && *b == Part::Any);
        Ok(Self {
            parts,
            text: text.to_owned(),
        })
    }
}

fn tokens(part: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Many,
            '?' => Token::One,
            '[' => class(&mut chars)?,
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

/// What follows `[`. As in POSIX, a `]` that comes first is a member, and so is a `-` at an end.
fn class(chars: &mut std::str::Chars<'_>) -> Result<Token, &'static str> {
    const OPEN: &str = "`[` has no `]`";
    let mut next = chars.next().ok_or(OPEN)?;
    let others = next == '!';
    if others {
        next = chars.next().ok_or(OPEN)?;
    }
    let mut ranges = Vec::new();
    loop {
        let mut ahead = chars.clone();
        let end = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(end)) if end != ']' => {
                *chars = ahead;
                end
            }
            _ => next,
        };
        if end < next {
            return Err("a range in `[…]` runs backwards");
        }
        ranges.push((next, end));
        next = chars.next().ok_or(OPEN)?;
        if next == ']' {
            return Ok(Token::Class(ranges, others));
        }
    }
}

/// The classic walk with one place to go back to: a later `**` makes the choices of an earlier
/// one final, so it takes at most parts x names steps.
fn path_matches(parts: &[Part], names: &[Vec<char>]) -> bool {
    if let Some((Part::Any, before)) = parts.split_last() {
        // At the end it needs at least one name, and then takes all that are left.
        return (0..names.len()).any(|at| path_matches_inner(before, &names[..at]));
    }
    path_matches_inner(parts, names)
}

fn path_matches_inner(parts: &[Part], names: &[Vec<char>]) -> bool {
    let (mut part, mut name) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while name < names.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                back = Some((part + 1, name));
                part += 1;
            }
            Some(Part::One(pattern)) if name_matches(pattern, &names[name]) => {
                part += 1;
                name += 1;
            }
            _ => {
                let Some((part_after, from)) = back else {
                    return false;
                };
                back = Some((part_after, from + 1));
                (part, name) = (part_after, from + 1);
            }
        }
    }
    parts[part..].iter().all(|part| *part == Part::Any)
}

/// The same walk within one name.
fn name_matches(pattern: &[Token], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(Token::Many) => {
                back = Some((p + 1, n));
                p += 1;
            }
            Some(token) if token_matches(token, name[n]) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after, from)) = back else {
                    return false;
                };
                back = Some((after, from + 1));
                (p, n) = (after, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|token| *token == Token::Many)
}

fn token_matches(token: &Token, c: char) -> bool {
    match token {
        Token::One | Token::Many => true,
        Token::Char(wanted) => *wanted == c,
        Token::Class(ranges, others) => {
            ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *others
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn patterns_match_what_they_say() {
        let table = [
            ("lib/python*/test", "lib/python3.11/test", true),
            ("lib/python*/test", "lib/python3.11/test/x.py", false),
            ("lib/python*/test", "lib/python3.11/tests", false),
            ("lib/python*/test", "lib/test", false),
            ("lib/python*/**/tests", "lib/python3.11/tests", true),
            ("lib/python*/**/tests", "lib/python3.11/a/b/tests", true),
            ("lib/python*/**/tests", "lib/python3.11/a/b/tests/c", false),
            ("lib/python*/**/tests", "lib/x/tests", false),
            ("**/tests", "tests", true),
            ("**/tests", "a/tests", true),
            ("**/a/**/b", "a/x/a/y/b", true),
            ("**/a/**/b", "a/b/c", false),
            ("**", "a", true),
            ("a/**", "a", false),
            ("a/**", "a/b/c", true),
            ("a/**/**", "a/b", true),
            ("*.pyc", "a.pyc", true),
            ("*.pyc", "a.pyc.x", false),
            ("*", ".hidden", true),
            ("*a*b*", "xaxxbx", true),
            ("*a*b", "xaxbx", false),
            ("?", "ü", true),
            ("?x", "üx", true),
            ("??", "ü", false),
            ("*?", "ü", true),
            ("lib*.a", "libpython3.11.a", true),
            ("x[0-9a]", "x5", true),
            ("x[0-9a]", "xa", true),
            ("x[0-9a]", "xb", false),
            ("x[0-9a]", "x", false),
            ("x[!0-9]", "xb", true),
            ("x[!0-9]", "x5", false),
            ("x[]-]", "x]", true),
            ("x[]-]", "x-", true),
            ("x[]-]", "xy", false),
            ("*[0-9]", "a1b2", true),
        ];
        for (glob, path, expected) in table {
            let glob: Glob = glob.parse().expect(glob);
            assert_eq!(glob.matches(Path::new(path)), expected, "{glob} {path}");
        }
        let name = OsStr::from_bytes(b"a\xff\xfeb");
        assert!(
            "a*b"
                .parse::<Glob>()
                .expect("a glob")
                .matches(name.as_ref())
        );
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "", "/", "/lib", "a/", "a//b", "../a", "a/..", "./a", "a**", "[ab", "[", "[!", "[z-a]",
            "{a,b}", "a\\*",
        ] {
            assert!(text.parse::<Glob>().is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_made_to_take_forever_do_not() {
        let glob: Glob = ["**/a"; 30].join("/").parse().expect("a glob");
        let path = vec!["a"; 2000].join("/") + "/b";
        assert!(!glob.matches(Path::new(&path)));
        let glob: Glob = "*a".repeat(30).parse().expect("a glob");
        assert!(!glob.matches(Path::new(&("a".repeat(20_000) + "b"))));
    }
}
