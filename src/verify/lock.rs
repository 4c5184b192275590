//! `checksums.lock`: what was found sound once, so that it can be compared later. sha256sum's own
//! format under a header of comments, so that `sha256sum -c` reads it too.

use std::collections::BTreeMap;
use std::fmt;

use crate::artifact::checksum::{ChecksumError, parse_sha256_line, sha256_line};
use crate::model::Sha256;

/// How the file begins; a reader that does not find this does not guess.
const HEADER: &str = "# pybuild checksums.lock 1";
/// How the line with the target begins.
const TARGET: &str = "# target: ";

/// How the file ends: one that was cut short at the end of a line is not read either.
const END: &str = "# end";

/// What was recorded of a target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    /// Which target, as it shows itself.
    pub target: String,
    /// Digests of tarballs by key.
    pub digests: BTreeMap<String, Sha256>,
}

/// Why a text is not a lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// It does not begin as one.
    #[error("it does not begin with `{HEADER}`")]
    Header,
    /// It does not say of which target it is.
    #[error("its second line does not begin with `{TARGET}`")]
    Target,
    /// A line is not sha256sum's.
    #[error("line {line}: {source}")]
    Line {
        /// The line's number, the first being 1.
        line: usize,
        /// What is wrong with it.
        source: ChecksumError,
    },
    /// A key comes twice.
    #[error("line {line}: `{key}` comes a second time")]
    Twice {
        /// The line's number, the first being 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// It does not end as it should.
    #[error("it is cut short: its last line is not `{END}`")]
    Short,
}

impl Lock {
    /// Reads a lock. Strict: a lock that is read half would let the other half go unnoticed.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err(LockError::Header);
        }
        if !text.ends_with(&format!("\n{END}\n")) {
            return Err(LockError::Short);
        }
        let target = lines.next().and_then(|line| line.strip_prefix(TARGET));
        let mut lock = Self {
            target: target.ok_or(LockError::Target)?.to_owned(),
            digests: BTreeMap::new(),
        };
        for (number, text) in lines.enumerate() {
            let line = number + 3;
            if text.starts_with('#') {
                continue;
            }
            let (digest, key) =
                parse_sha256_line(text).map_err(|source| LockError::Line { line, source })?;
            if lock.digests.insert(key.clone(), digest).is_some() {
                return Err(LockError::Twice { line, key });
            }
        }
        Ok(lock)
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A target's name must not end its line.
        let target = self.target.replace(|c: char| c.is_control(), "?");
        writeln!(f, "{HEADER}\n{TARGET}{target}")?;
        writeln!(
            f,
            "# What `pybuild verify --record` found sound; `pybuild verify` compares with it."
        )?;
        for (key, digest) in &self.digests {
            f.write_str(&sha256_line(digest, key))?;
        }
        writeln!(f, "{END}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let keys = ["debian-12/runtimes/python-3.11.2.tar.gz", "a\nb\\c"];
        Lock {
            target: "s3://bucket/prefix/".to_owned(),
            digests: keys
                .map(|key| (key.to_owned(), Sha256::of(key.as_bytes())))
                .into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for lock in [lock(), Lock::default()] {
            assert_eq!(Lock::parse(&lock.to_string()), Ok(lock));
        }
    }

    #[test]
    fn sha256sum_reads_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut lock = lock();
        lock.digests.retain(|key, _| !key.contains('/'));
        for key in lock.digests.keys() {
            std::fs::write(dir.path().join(key), key).expect("written");
        }
        std::fs::write(dir.path().join("checksums.lock"), lock.to_string()).expect("written");
        let status = std::process::Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", "checksums.lock"])
            .current_dir(dir.path())
            .status();
        assert!(status.expect("sha256sum (coreutils) is there").success());
    }

    #[test]
    fn every_cut_and_every_mistake_is_told() {
        let text = lock().to_string();
        for end in 0..text.len() {
            assert!(Lock::parse(&text[..end]).is_err(), "cut at {end}");
        }
        let line = text.lines().nth(4).expect("a line");
        let twice = text.replace(END, &format!("{line}\n{END}"));
        assert!(matches!(Lock::parse(&twice), Err(LockError::Twice { .. })));
        let junk = text.replace("  debian", " debian");
        let error = Lock::parse(&junk).expect_err("one space is not two");
        assert!(matches!(error, LockError::Line { line: 5, .. }), "{error}");
    }
}
