//! The format of Docker's `--env-file`, as its own parser reads it. Pure.

use std::ffi::OsString;

use crate::publish::Secret;

/// Why a text is not an env-file. The line itself is left out: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct EnvFileError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Reads an env-file: `KEY=value`, the value taken as it stands, without quotes or escapes; a bare
/// `KEY` forwards what `process` has, if it has it; blank lines and lines that begin with `#` say
/// nothing.
pub fn parse(
    text: &str,
    process: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Vec<(String, Secret)>, EnvFileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let wrong = |why| EnvFileError { line: n + 1, why };
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (line, None),
        };
        if key.is_empty() {
            return Err(wrong("there is no name before the `=`"));
        }
        if key.contains([' ', '\t']) {
            return Err(wrong("the name has a space in it"));
        }
        let value = match value {
            Some(value) => Some(value),
            None => match process(key).map(OsString::into_string) {
                None => None,
                Some(Ok(value)) => Some(value),
                Some(Err(_)) => return Err(wrong("the forwarded value is not UTF-8")),
            },
        };
        if let Some(value) = value {
            variables.push((key.to_owned(), Secret::new(value)));
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, EnvFileError> {
        let process = |name: &str| (name == "SET").then(|| OsString::from("from the process"));
        let variables = parse(text, &process)?;
        let plain = |(key, value): (String, Secret)| (key, value.reveal().to_owned());
        Ok(variables.into_iter().map(plain).collect())
    }

    #[test]
    fn it_is_read_as_docker_reads_it() {
        let table: [(&str, &[(&str, &str)]); 12] = [
            ("", &[]),
            ("# A=b\n\n   # c\n", &[]),
            ("A=b", &[("A", "b")]),
            ("A=b\r\nC=d\r\n", &[("A", "b"), ("C", "d")]),
            ("\u{feff}A=b", &[("A", "b")]),
            (" \tA=b ", &[("A", "b ")]),
            ("A=", &[("A", "")]),
            ("A=\"b\" # c", &[("A", "\"b\" # c")]),
            ("A= b=c", &[("A", " b=c")]),
            ("SET", &[("SET", "from the process")]),
            ("UNSET\nA=b", &[("A", "b")]),
            ("A=1\nA=2", &[("A", "1"), ("A", "2")]),
        ];
        for (text, expected) in table {
            let expected = expected
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            assert_eq!(read(text), Ok(expected.collect()), "{text:?}");
        }
    }

    #[test]
    fn mistakes_are_told_by_their_line_alone() {
        for (text, line) in [("A=b\n=canary", 2), ("canary x", 1), ("A canary=b", 1)] {
            let error = read(text).expect_err(text);
            assert_eq!(error.line, line);
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }
}
