//! Globs below a prefix: which paths a formula removes after the build.

use std::fmt;
use std::str::FromStr;

/// A glob of relative paths: `*` and `?` and `[a-z]` (`[!a-z]`) within a component, `**` as a
/// component for any number of them, none included. A leading dot is like any other character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    components: Vec<Component>,
    text: String,
}

/// Why a text is not a glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a glob below the prefix: {why}")]
pub struct GlobError {
    text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    /// `**`.
    Any,
    /// One name.
    Name(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[…]`: ranges, and whether they are those *not* meant.
    Class(Vec<(char, char)>, bool),
}

impl Glob {
    /// Whether the glob means this path, which is relative to the prefix (`lib/python3.11/test`).
    pub fn matches(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').collect();
        matches_path(&self.components, &names)
    }

    /// The glob as it was written.
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
        let components = text.split('/').map(component);
        let components = components.collect::<Result<_, _>>();
        let components = components.map_err(|why| GlobError {
            text: text.to_owned(),
            why: if text.starts_with('/') {
                "it is absolute"
            } else {
                why
            },
        })?;
        Ok(Self {
            components,
            text: text.to_owned(),
        })
    }
}

fn component(text: &str) -> Result<Component, &'static str> {
    match text {
        "" => return Err("a component is empty"),
        "." | ".." => return Err("it holds `.` or `..`"),
        "**" => return Ok(Component::Any),
        _ if text.contains("**") => return Err("`**` must be a component of its own"),
        _ => {}
    }
    let mut tokens = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '?' => Token::One,
            '*' => Token::Many,
            '[' => class(&mut chars)?,
            c => Token::Char(c),
        });
    }
    Ok(Component::Name(tokens))
}

/// What follows `[`. As in POSIX, a `]` that comes first is a member.
fn class(chars: &mut std::str::Chars<'_>) -> Result<Token, &'static str> {
    const OPEN: &str = "`[` has no `]`";
    let mut next = chars.next().ok_or(OPEN)?;
    let negated = next == '!';
    if negated {
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
            return Ok(Token::Class(ranges, negated));
        }
    }
}

fn matches_path(components: &[Component], names: &[&str]) -> bool {
    match components.split_first() {
        None => names.is_empty(),
        Some((Component::Any, rest)) => {
            (0..=names.len()).any(|skipped| matches_path(rest, &names[skipped..]))
        }
        Some((Component::Name(tokens), rest)) => {
            names.split_first().is_some_and(|(name, names)| {
                let name: Vec<char> = name.chars().collect();
                matches_name(tokens, &name) && matches_path(rest, names)
            })
        }
    }
}

fn matches_name(tokens: &[Token], name: &[char]) -> bool {
    let Some((token, rest)) = tokens.split_first() else {
        return name.is_empty();
    };
    if *token == Token::Many {
        return (0..=name.len()).any(|skipped| matches_name(rest, &name[skipped..]));
    }
    let Some((&c, name)) = name.split_first() else {
        return false;
    };
    let here = match token {
        Token::Char(wanted) => *wanted == c,
        Token::One | Token::Many => true,
        Token::Class(ranges, negated) => {
            ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
        }
    };
    here && matches_name(rest, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_mean_what_they_say() {
        let table: [(&str, &[&str], &[&str]); 7] = [
            (
                "lib/python*/test",
                &["lib/python3.11/test", "lib/python/test"],
                &[
                    "lib/python3.11/test/x",
                    "lib/x/python3/test",
                    "lib/python3.11/tests",
                ],
            ),
            (
                "lib/**/tests",
                &["lib/tests", "lib/a/tests", "lib/a/b/tests"],
                &["tests", "lib/a/tests/x", "lib/atests"],
            ),
            ("**", &["a", "a/b"], &[]),
            ("lib/lib?.a", &["lib/libx.a"], &["lib/lib.a", "lib/libxy.a"]),
            ("x[0-9a]", &["x5", "xa"], &["xb", "x", "x55"]),
            ("x[!0-9]", &["xb"], &["x5"]),
            ("x[]-]", &["x]", "x-"], &["x"]),
        ];
        for (text, inside, outside) in table {
            let glob: Glob = text.parse().expect(text);
            for path in inside {
                assert!(glob.matches(path), "{text} means {path}");
            }
            for path in outside {
                assert!(!glob.matches(path), "{text} does not mean {path}");
            }
        }
    }

    #[test]
    fn texts_that_are_no_glob_are_refused() {
        for text in [
            "", "/a", "a//b", "a/", "../a", "a/./b", "a**", "a[", "a[b", "a[!", "[z-a]",
        ] {
            assert!(text.parse::<Glob>().is_err(), "{text:?}");
        }
    }
}
