//! The `.sha256` beside an artifact: one line as sha256sum(1) writes and checks it.

use crate::model::Sha256;

/// Why a text is not the line of a checksum file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a line of sha256sum's: {reason}")]
pub struct ChecksumError {
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The line for a file, with its line break: `<digest>  <name>`. A name with a backslash or a line
/// break in it is escaped, and the line begins with a backslash to say so.
pub fn sha256_line(digest: &Sha256, file_name: &str) -> String {
    let escaped = file_name
        .replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\r', "\\r");
    let mark = if escaped == file_name { "" } else { "\\" };
    format!("{mark}{digest}  {escaped}\n")
}

/// Reads one such line, with or without its line break, in text (two spaces) or binary (` *`)
/// mode: the digest and the file's name.
pub fn parse_sha256_line(line: &str) -> Result<(Sha256, String), ChecksumError> {
    let wrong = |reason| ChecksumError { reason };
    let line = line.strip_suffix('\n').unwrap_or(line);
    if line.contains('\n') {
        return Err(wrong("it has more than one line"));
    }
    let (escaped, line) = match line.strip_prefix('\\') {
        Some(line) => (true, line),
        None => (false, line),
    };
    let (digest, name) = line
        .split_once(' ')
        .ok_or_else(|| wrong("it has no space behind the digest"))?;
    let digest = digest.parse().map_err(|_| wrong("it has no digest"))?;
    let name = name
        .strip_prefix([' ', '*'])
        .ok_or_else(|| wrong("it has no mode behind the digest"))?;
    if name.is_empty() {
        return Err(wrong("it names no file"));
    }
    let name = if escaped {
        unescape(name).ok_or_else(|| wrong("its name is escaped in an unknown way"))?
    } else {
        name.to_owned()
    };
    Ok((digest, name))
}

fn unescape(name: &str) -> Option<String> {
    let mut plain = String::new();
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next()? {
                '\\' => '\\',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn lines_are_sha256sums_own() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["python-3.11.2.tar.gz", "a b", "back\\slash", "line\nbreak"] {
            std::fs::write(dir.path().join(name), name).expect("write");
            let line = sha256_line(&Sha256::of(name.as_bytes()), name);
            let output = Command::new("sha256sum")
                .arg("--")
                .arg(name)
                .current_dir(dir.path())
                .output()
                .expect("sha256sum (coreutils) is there");
            assert_eq!(String::from_utf8_lossy(&output.stdout), line);
            let parsed = parse_sha256_line(&line).expect("our own line");
            assert_eq!(parsed, (Sha256::of(name.as_bytes()), name.to_owned()));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let digest = Sha256::of(b"x");
        for line in [
            String::new(),
            format!("{digest}"),
            format!("{digest}  "),
            format!("{digest} x"),
            format!("{digest}x  x"),
            format!("x  {digest}"),
            format!("{digest}  x\n{digest}  y\n"),
            format!("\\{digest}  a\\b"),
            format!("\\{digest}  a\\"),
            format!("SHA256 (x) = {digest}"),
        ] {
            assert!(parse_sha256_line(&line).is_err(), "{line:?}");
        }
        let binary = parse_sha256_line(&format!("{digest} *x")).expect("binary mode");
        assert_eq!(binary, (digest, "x".to_owned()));
    }
}
