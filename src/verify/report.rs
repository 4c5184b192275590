//! What verifying ends with: what was looked at, what is wrong, and what could not be looked at.

use serde::Serialize;

use crate::model::Sha256;

use super::rules::Rule;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Of what: a key, or what was asked for.
    pub key: String,
    /// Which rule it breaks.
    pub rule: Rule,
    /// How, in a sentence. It may hold text from the target: not for a terminal as it is.
    pub detail: String,
}

/// An archive that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The tarball's key.
    pub key: String,
    /// Its size in bytes, where it is there.
    pub size: Option<u64>,
    /// Its digest, where it was read.
    pub sha256: Option<Sha256>,
    /// The rules that it was held against.
    pub rules: Vec<Rule>,
}

/// Something that could not be looked at: nobody knows whether it is sound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// The key, or the target.
    pub key: String,
    /// What was wanted of it, and why it was not to be had.
    pub why: String,
}

/// What verifying has shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// The archives that were looked at, by key.
    pub checked: Vec<Checked>,
    /// What is wrong, by key, then in the order of the rules.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub unseen: Vec<Unseen>,
    /// Whether unfinished uploads were looked for, which not every target can list.
    pub uploads: bool,
    /// The archives that are sound and that `index.json` does not name, if there is one.
    pub newer: Vec<String>,
    /// The archives that `checksums.lock` is to hold from now on, if one is to be written.
    #[serde(skip)]
    pub sound: Vec<(String, Sha256)>,
}

/// What all of it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was to be looked at was, and is sound.
    Sound,
    /// Something is wrong, whatever else could not be looked at.
    Wrong,
    /// Nothing wrong was seen, but not everything was.
    Unknown,
}

impl Report {
    /// What all of it comes to. Nothing looked at is not sound.
    pub fn verdict(&self) -> Verdict {
        if !self.findings.is_empty() {
            Verdict::Wrong
        } else if !self.unseen.is_empty() || self.checked.is_empty() {
            Verdict::Unknown
        } else {
            Verdict::Sound
        }
    }

    /// How many of the archives that were looked at have something wrong with them.
    pub fn wrong_archives(&self) -> usize {
        let wrong = |checked: &&Checked| self.of(&checked.key).next().is_some();
        self.checked.iter().filter(wrong).count()
    }

    /// What is wrong with an archive: with its tarball or with what lies beside it.
    pub fn of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.key == key)
    }

    /// The findings that are of no archive.
    pub fn elsewhere(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| {
            !self
                .checked
                .iter()
                .any(|checked| checked.key == finding.key)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_looked_at_and_is_right_is_sound() {
        let key = || "a.tar.gz".to_owned();
        let checked = || Checked {
            key: key(),
            size: None,
            sha256: None,
            rules: Vec::new(),
        };
        let finding = || Finding {
            key: key(),
            rule: Rule::Present,
            detail: String::new(),
        };
        let unseen = || Unseen {
            key: key(),
            why: String::new(),
        };
        // How many were checked, found and not seen.
        let table = [
            ((0, 0, 0), Verdict::Unknown),
            ((1, 0, 0), Verdict::Sound),
            ((1, 0, 1), Verdict::Unknown),
            ((1, 1, 0), Verdict::Wrong),
            ((1, 1, 1), Verdict::Wrong),
            ((0, 1, 0), Verdict::Wrong),
            ((0, 0, 1), Verdict::Unknown),
        ];
        for ((checks, findings, blind), expected) in table {
            let report = Report {
                checked: vec![checked(); checks],
                findings: vec![finding(); findings],
                unseen: vec![unseen(); blind],
                ..Report::default()
            };
            assert_eq!(report.verdict(), expected, "{checks} {findings} {blind}");
        }
    }
}
