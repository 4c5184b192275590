//! What bash makes of words, of those variables that are known.

use std::collections::BTreeMap;

use super::super::highest;
use super::lexer::{Part, Word, commands};
use super::{Followed, PREFIX, WORKSPACE};

/// Variables and what they hold.
pub(super) struct Values(pub(super) BTreeMap<String, String>);

impl Values {
    /// The name and the value, if a word sets a variable.
    pub(super) fn assignment(&self, word: &Word) -> Followed<Option<(String, String)>> {
        let Some(Part::Text {
            text,
            quoted: false,
        }) = word.first()
        else {
            return Ok(None);
        };
        let Some((name, begin)) = text.split_once('=') else {
            return Ok(None);
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || !name.chars().all(is_name)
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            return Ok(None);
        }
        let (name, text) = (name.to_owned(), begin.to_owned());
        let first = Part::Text { text, quoted: true };
        let word: Word = std::iter::once(first)
            .chain(word[1..].iter().cloned())
            .collect();
        Ok(Some((name, self.value(&word, true)?)))
    }

    pub(super) fn words(&self, words: &[Word]) -> Followed<Vec<String>> {
        words.iter().map(|word| self.value(word, false)).collect()
    }

    /// What bash makes of a word; `whole` if it does not split it.
    fn value(&self, word: &Word, whole: bool) -> Followed<String> {
        let mut value = String::new();
        for part in word {
            match part {
                Part::Text { text, quoted } => {
                    if !quoted
                        && text.contains(['*', '?', '[', '~', '{', '}'])
                        && !whole
                        && text != "{}"
                    {
                        return Err(format!("the pattern `{}` is not followed", shown(text)));
                    }
                    value.push_str(text);
                }
                Part::Variable {
                    name,
                    change,
                    quoted,
                } => {
                    let Some(found) = self.0.get(name) else {
                        return Err(format!("nobody knows what ${name} is"));
                    };
                    let found = changed(found, change)?;
                    if !quoted && !whole && found.contains([' ', '\t', '*', '?', '[']) {
                        return Err(format!("${name} is more than one word"));
                    }
                    value.push_str(&found);
                }
                Part::Output { command } => value.push_str(&self.output(command)?),
            }
        }
        Ok(value)
    }

    /// What `dirname X`, `basename X`, `nproc` or `echo X | cut -dC -fN` print.
    fn output(&self, command: &str) -> Followed<String> {
        let not = || format!("`$({})` is not followed", shown(command));
        let line = commands(command)?;
        let [pipeline] = line.as_slice() else {
            return Err(not());
        };
        let mut all = Vec::new();
        for command in pipeline {
            all.push(self.words(&command.words)?);
        }
        let all: Vec<Vec<&str>> = all
            .iter()
            .map(|words| words.iter().map(String::as_str).collect())
            .collect();
        match all.iter().map(Vec::as_slice).collect::<Vec<_>>().as_slice() {
            [["nproc"]] => Ok("{jobs}".to_owned()),
            [["basename", path]] => Ok(last(path).to_owned()),
            [["dirname", path]] => {
                let found = path.trim_end_matches('/').rsplit_once('/');
                Ok(found.map_or(".", |(directory, _)| directory).to_owned())
            }
            [["echo", text], ["cut", rest @ ..]] => {
                let flags = rest.concat();
                let (by, field) = flags
                    .strip_prefix("-d")
                    .and_then(|rest| rest.split_once("-f"))
                    .ok_or_else(not)?;
                let field: usize = field.parse().map_err(|_| not())?;
                if !text.contains(by) || by.chars().count() != 1 {
                    return Err(not());
                }
                let found = text.split(by).nth(field.wrapping_sub(1));
                found.map(str::to_owned).ok_or_else(not)
            }
            _ => Err(not()),
        }
    }
}

/// A value after what follows its name between braces: `#…`, `##…`, `%…`, `%%…`, `^`.
fn changed(value: &str, change: &str) -> Followed<String> {
    let not = || format!("`${{…{change}}}` is not followed");
    // A pattern may name the one variable that scripts take off their own path.
    let pattern = |text: &str| {
        text.replace("${WORKSPACE_DIR}", WORKSPACE)
            .replace("$WORKSPACE_DIR", WORKSPACE)
    };
    let (kind, pattern) = match change {
        "" => return Ok(value.to_owned()),
        "^" => {
            let mut chars = value.chars();
            let first = chars.next().map(|c| c.to_ascii_uppercase());
            return Ok(first.into_iter().chain(chars).collect());
        }
        _ => ["##", "%%", "#", "%"]
            .into_iter()
            .find_map(|kind| Some((kind, pattern(change.strip_prefix(kind)?))))
            .ok_or_else(not)?,
    };
    if pattern.contains(['$', '[', '\\', '"', '\'']) {
        return Err(not());
    }
    let matches = |text: &str| highest(&pattern, [text]).is_some();
    let ends: Vec<usize> = value
        .char_indices()
        .map(|(at, _)| at)
        .chain([value.len()])
        .collect();
    let cut = match kind {
        "#" => ends.iter().find(|at| matches(&value[..**at])),
        "##" => ends.iter().rev().find(|at| matches(&value[..**at])),
        "%" => ends.iter().rev().find(|at| matches(&value[**at..])),
        _ => ends.iter().find(|at| matches(&value[**at..])),
    };
    let cut = cut.copied();
    Ok(match (cut, kind) {
        (None, _) => value.to_owned(),
        (Some(at), "#" | "##") => value[at..].to_owned(),
        (Some(at), _) => value[..at].to_owned(),
    })
}

pub(super) fn last(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path)
}

/// A value as the script has it.
pub(super) fn shown(text: &str) -> String {
    text.replace(PREFIX, "$1")
        .replace(WORKSPACE, "$WORKSPACE_DIR")
}
