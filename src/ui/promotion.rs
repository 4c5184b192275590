//! What `pybuild promote` ends with: what became of each archive, and why what is not there is not.

use std::fmt::Write as _; // into a String, which takes everything
use std::time::Duration;

use serde::Serialize;

use crate::model::{Bytes, Elapsed, Sha256};

use super::style::Palette;
use super::summary::to_millis;
use super::table::{Align, Table};
use super::text;

/// The result of one run. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Promotion {
    /// What was copied from.
    pub from: String,
    /// What was copied to.
    pub to: String,
    /// Whether nothing was to be copied.
    pub dry_run: bool,
    /// What became of each archive.
    pub archives: Vec<Promoted>,
    /// What is wrong and is no archive's: of what, and how.
    pub elsewhere: Vec<(String, String)>,
    /// Wall-clock seconds from start to end.
    pub seconds: f64,
}

/// What became of one archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promoted {
    /// The tarball's key, the same below either target.
    pub key: String,
    /// The tarball's size in bytes, where it is known.
    pub size: Option<u64>,
    /// The tarball's digest, where it was read.
    pub sha256: Option<Sha256>,
    /// In one word.
    pub outcome: Outcome,
    /// Whether the store itself has copied the tarball.
    pub by_store: Option<bool>,
    /// Why it is not there.
    pub why: Vec<String>,
}

/// What became of an archive, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// By this run.
    Published,
    /// Some of it was there, the rest is by this run.
    Completed,
    /// Something else was there.
    Replaced,
    /// It was there before.
    There,
    /// Something else is there.
    Refused,
    /// Something is wrong with it where it is copied from.
    Unsound,
    /// It could not be looked at, or not be copied.
    Failed,
    /// It was not tried.
    Stopped,
}

const ALL: [Outcome; 8] = [
    Outcome::Published,
    Outcome::Completed,
    Outcome::Replaced,
    Outcome::There,
    Outcome::Refused,
    Outcome::Unsound,
    Outcome::Failed,
    Outcome::Stopped,
];

impl Outcome {
    fn words(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Self::Published, false) => "published",
            (Self::Published, true) => "would be published",
            (Self::Completed, false) => "completed",
            (Self::Completed, true) => "would be completed",
            (Self::Replaced, false) => "replaced",
            (Self::Replaced, true) => "would be replaced",
            (Self::There, _) => "already there",
            (Self::Refused, _) => "refused",
            (Self::Unsound, _) => "not sound",
            (Self::Failed, _) => "failed",
            (Self::Stopped, _) => "not tried",
        }
    }

    fn paint(self, palette: Palette, text: &str) -> String {
        match self {
            Self::Published | Self::Completed | Self::Replaced => palette.good(text),
            Self::There => palette.faint(text),
            Self::Stopped => palette.warn(text),
            Self::Refused | Self::Unsound | Self::Failed => palette.bad(text),
        }
    }
}

impl Promotion {
    /// Puts the wall-clock time in, in the precision that the JSON has.
    pub fn new(
        (from, to): (String, String),
        dry_run: bool,
        archives: Vec<Promoted>,
        elsewhere: Vec<(String, String)>,
        elapsed: Duration,
    ) -> Self {
        Self {
            from,
            to,
            dry_run,
            archives,
            elsewhere,
            seconds: to_millis(elapsed),
        }
    }

    /// How many ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        let so = |archive: &&Promoted| archive.outcome == outcome;
        self.archives.iter().filter(so).count()
    }

    /// For people: the table, why what is not there is not, and how many of each.
    pub fn render(&self, palette: Palette) -> String {
        let mut table = Table::new([Align::Left, Align::Right, Align::Left]);
        for archive in &self.archives {
            let size = archive.size.map(|size| Bytes(size).to_string());
            let words = archive.outcome.words(self.dry_run);
            table.row([
                text::clean(&archive.key),
                size.unwrap_or_default(),
                archive.outcome.paint(palette, words),
            ]);
        }
        let mut out = table.render();
        let archives = self.archives.iter().map(|archive| {
            let words = archive.outcome.words(self.dry_run);
            let words = archive.outcome.paint(palette, words);
            (&archive.key, words, &archive.why[..])
        });
        for (key, words, why) in archives.filter(|(_, _, why)| !why.is_empty()) {
            let key = palette.strong(text::clean(key));
            let _ = writeln!(out, "\n{key}: {words}");
            for line in why.iter().flat_map(|why| why.lines()) {
                let _ = writeln!(out, "  {}", text::redact(&text::clean(line)));
            }
        }
        for (key, why) in &self.elsewhere {
            let key = palette.strong(text::clean(key));
            let _ = writeln!(out, "\n{key}: {}", text::clean(why));
        }
        out.push_str(if out.is_empty() { "" } else { "\n" });
        out.push_str(&self.counts());
        if self.count(Outcome::Refused) > 0 {
            let hint = palette.faint("hint:");
            let _ = writeln!(out, "{hint} --overwrite replaces what is refused");
        }
        out
    }

    fn counts(&self) -> String {
        let counts = ALL.map(|outcome| (self.count(outcome), outcome.words(self.dry_run)));
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let mut counts: Vec<String> = counts
            .map(|(count, words)| format!("{count} {words}"))
            .collect();
        if self.archives.is_empty() {
            counts.push("nothing to copy".to_owned());
        }
        let name = |target| text::redact(&text::clean(target));
        let (from, to) = (name(&self.from), name(&self.to));
        let elapsed = Elapsed(Duration::try_from_secs_f64(self.seconds).unwrap_or_default());
        format!(
            "{}, from {from} to {to}, after {elapsed}\n",
            counts.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promotion(dry_run: bool) -> Promotion {
        let promoted = |n: usize, outcome, why: &[&str]| Promoted {
            key: format!("debian-12/runtimes/python-3.11.{n}.tar.gz"),
            size: (outcome != Outcome::Failed).then_some(26_437_858),
            sha256: None,
            outcome,
            by_store: (outcome == Outcome::Published).then_some(true),
            why: why.iter().map(|&why| why.to_owned()).collect(),
        };
        Promotion::new(
            ("s3://staging/".to_owned(), "s3://production/".to_owned()),
            dry_run,
            vec![
                promoted(1, Outcome::Published, &[]),
                promoted(2, Outcome::There, &[]),
                promoted(12, Outcome::Refused, &["the record there is another"]),
                promoted(
                    3,
                    Outcome::Unsound,
                    &["whole: it is \u{1b}[2Jcut short", "size: x"],
                ),
                promoted(4, Outcome::Failed, &["GET failed"]),
            ],
            vec![(
                "notes.txt".to_owned(),
                "it belongs to no archive".to_owned(),
            )],
            Duration::from_millis(75_500),
        )
    }

    #[test]
    fn it_says_what_became_of_each_and_why() {
        insta::assert_snapshot!(promotion(false).render(Palette::default()), @r"
        debian-12/runtimes/python-3.11.1.tar.gz   26.4 MB  published
        debian-12/runtimes/python-3.11.2.tar.gz   26.4 MB  already there
        debian-12/runtimes/python-3.11.12.tar.gz  26.4 MB  refused
        debian-12/runtimes/python-3.11.3.tar.gz   26.4 MB  not sound
        debian-12/runtimes/python-3.11.4.tar.gz            failed

        debian-12/runtimes/python-3.11.12.tar.gz: refused
          the record there is another

        debian-12/runtimes/python-3.11.3.tar.gz: not sound
          whole: it is cut short
          size: x

        debian-12/runtimes/python-3.11.4.tar.gz: failed
          GET failed

        notes.txt: it belongs to no archive

        1 published, 1 already there, 1 refused, 1 not sound, 1 failed, from s3://staging/ to s3://production/, after 1 min 15 s
        hint: --overwrite replaces what is refused
        ");
    }

    #[test]
    fn a_dry_run_promises_nothing() {
        let said = promotion(true).render(Palette::default());
        assert!(
            said.contains("1 would be published, 1 already there"),
            "{said}"
        );
        let nothing = Promotion {
            archives: Vec::new(),
            elsewhere: Vec::new(),
            ..promotion(false)
        };
        let said = nothing.render(Palette::default());
        assert!(
            said.starts_with("nothing to copy, from s3://staging/ to "),
            "{said}"
        );
    }

    #[test]
    fn the_json_has_stable_keys() {
        let mut promotion = promotion(false);
        promotion.archives.truncate(1);
        let json = serde_json::to_string(&promotion).expect("it serialises");
        insta::assert_snapshot!(json, @r#"{"from":"s3://staging/","to":"s3://production/","dry_run":false,"archives":[{"key":"debian-12/runtimes/python-3.11.1.tar.gz","size":26437858,"sha256":null,"outcome":"published","by_store":true,"why":[]}],"elsewhere":[["notes.txt","it belongs to no archive"]],"seconds":75.5}"#);
    }
}
