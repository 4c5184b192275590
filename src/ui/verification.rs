//! What `pybuild verify` ends with: the line that matters, what is wrong, what was looked at.

use std::fmt::Write as _; // into a String, which takes everything
use std::time::Duration;

use crate::model::{Bytes, Elapsed};

use super::style::Palette;
use super::table::{Align, Table};
use super::text;

/// The result of one run, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// What was verified, as the target shows itself.
    pub target: String,
    /// The archives that were looked at, or should have been.
    pub archives: usize,
    /// The bytes of those that were read.
    pub bytes: u64,
    /// How closely they were looked at.
    pub manner: Closeness,
    /// What is wrong, archive by archive.
    pub wrong: Vec<Wrong>,
    /// What is wrong and is no archive's.
    pub elsewhere: Vec<Wrong>,
    /// What could not be looked at, and why.
    pub unseen: Vec<(String, String)>,
    /// The archives among those.
    pub unseen_archives: usize,
    /// Each rule: its name, what it means, how many archives it was held against.
    pub rules: Vec<(&'static str, &'static str, usize)>,
    /// How long it took.
    pub elapsed: Duration,
}

/// How closely archives were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closeness {
    /// By what the store says of them.
    Headers,
    /// By their bytes.
    Digests,
    /// By what is in them.
    #[default]
    Whole,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// With what.
    pub key: String,
    /// By which rules, and how.
    pub details: Vec<(&'static str, String)>,
}

impl Verification {
    /// The line that matters.
    pub fn headline(&self) -> String {
        let Self {
            target,
            archives,
            manner,
            wrong,
            elsewhere,
            unseen,
            unseen_archives,
            ..
        } = self;
        let others = elsewhere.len();
        let of_all = |some: usize| match archives {
            1 => "the 1 archive is".to_owned(),
            all if *all == some => format!("all {all} archives are"),
            all => format!("{some} of {all} archives {}", are(some)),
        };
        let unnamed = |wrong: &Wrong| wrong.details.iter().any(|(rule, _)| *rule == "index");
        let mut line = match (wrong.len(), others) {
            _ if *archives == 0 && elsewhere.iter().any(unnamed) => format!(
                "nothing was verified: the index of {} cannot be used",
                text::clean(target)
            ),
            _ if *archives == 0 => format!(
                "nothing was verified: {} has no such archives",
                text::clean(target)
            ),
            (0, 0) if !unseen.is_empty() => {
                let seen = archives - unseen_archives;
                return if *unseen_archives == 0 {
                    "not everything could be looked at; nothing wrong was found elsewhere"
                        .to_owned()
                } else {
                    format!(
                        "{unseen_archives} of {archives} archives could not be looked at; nothing \
                         wrong was found in the other {seen}"
                    )
                };
            }
            (0, 0) => {
                return match manner {
                    Closeness::Whole => format!("{} sound", of_all(*archives)),
                    Closeness::Digests => {
                        format!("{} as recorded; they were not unpacked", of_all(*archives))
                    }
                    Closeness::Headers => format!(
                        "{} as recorded, by their headers alone; they were not read",
                        of_all(*archives)
                    ),
                };
            }
            (0, others) => format!(
                "{others} {} wrong beside {archives} {}",
                things(others),
                archive(*archives)
            ),
            (some, 0) => format!("{} wrong", of_all(some)),
            (some, others) => format!(
                "{} wrong, and {others} other {}",
                of_all(some),
                thing(others)
            ),
        };
        if *unseen_archives > 0 {
            let _ = write!(line, "; {unseen_archives} could not be looked at");
        }
        line
    }

    /// All of it.
    pub fn render(&self, palette: Palette) -> String {
        let headline = self.headline();
        let bad = !self.wrong.is_empty() || !self.elsewhere.is_empty() || self.archives == 0;
        let mut out = if bad {
            palette.bad(headline)
        } else if self.unseen.is_empty() {
            palette.good(headline)
        } else {
            palette.warn(headline)
        };
        out.push('\n');
        for wrong in self.wrong.iter().chain(&self.elsewhere) {
            let _ = writeln!(out, "\n{}", palette.strong(text::clean(&wrong.key)));
            let mut table = Table::new([Align::Left, Align::Left]);
            for (rule, detail) in &wrong.details {
                for (n, line) in detail.lines().enumerate() {
                    let rule = if n == 0 { *rule } else { "" };
                    table.row([format!("  {rule}"), text::clean(line)]);
                }
            }
            out.push_str(&table.render());
        }
        if !self.unseen.is_empty() {
            let _ = writeln!(out, "\n{}", palette.strong("not looked at"));
            let mut table = Table::new([Align::Left, Align::Left]);
            for (key, why) in &self.unseen {
                table.row([format!("  {}", text::clean(key)), text::clean(why)]);
            }
            out.push_str(&table.render());
        }
        out.push('\n');
        out.push_str(&self.checked(palette));
        out
    }

    fn checked(&self, palette: Palette) -> String {
        let held = self.rules.iter().filter(|(_, _, archives)| *archives > 0);
        let mut table = Table::new([Align::Left, Align::Right, Align::Left]);
        for (name, means, archives) in held {
            table.row([
                format!("  {name}"),
                archives.to_string(),
                (*means).to_owned(),
            ]);
        }
        let target = text::clean(&self.target);
        let title = format!("checked in {target}, and of how many archives:");
        let mut out = format!("{}\n{}", palette.strong(title), table.render());
        let left = self.rules.iter().filter(|(_, _, archives)| *archives == 0);
        let left: Vec<&str> = left.map(|(name, _, _)| *name).collect();
        if !left.is_empty() {
            let line = format!("not checked: {}", left.join(", "));
            let _ = writeln!(out, "{}", palette.faint(line));
        }
        let (read, took) = (Bytes(self.bytes), Elapsed(self.elapsed));
        let _ = writeln!(out, "{read} read in {took}");
        out
    }
}

fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

fn archive(count: usize) -> &'static str {
    if count == 1 { "archive" } else { "archives" }
}

fn thing(count: usize) -> &'static str {
    if count == 1 { "thing" } else { "things" }
}

fn things(count: usize) -> &'static str {
    if count == 1 { "thing is" } else { "things are" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(key: &str) -> Wrong {
        Wrong {
            key: key.to_owned(),
            details: vec![
                ("digest", "its SHA-256 is another".to_owned()),
                ("whole", "it is cut short\n\x1b[2Jcleared".to_owned()),
            ],
        }
    }

    fn run(archives: usize, wrongs: usize, others: usize, unseen: usize) -> Verification {
        Verification {
            target: "s3://bucket/".to_owned(),
            archives,
            bytes: 1_200_000_000,
            wrong: (0..wrongs).map(|n| wrong(&format!("key{n}"))).collect(),
            elsewhere: (0..others).map(|n| wrong(&format!("other{n}"))).collect(),
            unseen: (0..unseen)
                .map(|n| (format!("gone{n}"), "reset".to_owned()))
                .collect(),
            unseen_archives: unseen,
            rules: vec![
                ("digest", "its SHA-256 is what was recorded", archives),
                ("identity", "it is what its name says", 0),
            ],
            elapsed: Duration::from_secs(3),
            ..Verification::default()
        }
    }

    #[test]
    fn the_first_line_says_what_matters() {
        let table = [
            ((41, 0, 0, 0), "all 41 archives are sound"),
            ((1, 0, 0, 0), "the 1 archive is sound"),
            ((41, 3, 0, 0), "3 of 41 archives are wrong"),
            ((41, 1, 0, 0), "1 of 41 archives is wrong"),
            ((41, 41, 0, 0), "all 41 archives are wrong"),
            ((1, 1, 0, 0), "the 1 archive is wrong"),
            (
                (41, 3, 2, 0),
                "3 of 41 archives are wrong, and 2 other things",
            ),
            ((41, 0, 1, 0), "1 thing is wrong beside 41 archives"),
            (
                (41, 3, 0, 2),
                "3 of 41 archives are wrong; 2 could not be looked at",
            ),
            (
                (41, 0, 0, 2),
                "2 of 41 archives could not be looked at; nothing wrong was found in the other 39",
            ),
            (
                (0, 0, 1, 0),
                "nothing was verified: s3://bucket/ has no such archives",
            ),
            (
                (0, 0, 0, 0),
                "nothing was verified: s3://bucket/ has no such archives",
            ),
        ];
        for ((archives, wrong, others, unseen), line) in table {
            assert_eq!(run(archives, wrong, others, unseen).headline(), line);
        }
        for (manner, line) in [
            (
                Closeness::Headers,
                "all 2 archives are as recorded, by their headers alone; they were not read",
            ),
            (
                Closeness::Digests,
                "all 2 archives are as recorded; they were not unpacked",
            ),
        ] {
            let run = Verification {
                manner,
                ..run(2, 0, 0, 0)
            };
            assert_eq!(run.headline(), line);
        }
    }

    #[test]
    fn the_report_is_one_to_read() {
        insta::assert_snapshot!(run(41, 2, 1, 1).render(Palette::new(false)));
    }
}
