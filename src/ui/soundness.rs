//! What `pybuild stack verify` ends with: the line that matters, what is wrong, what to do.

use std::fmt::Write as _; // into a String, which takes everything
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::{Bytes, Elapsed, Sha256, StackName};

use super::style::Palette;
use super::summary::to_millis;
use super::table::{Align, Table};
use super::text;

/// The result of one run. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Soundness {
    /// The stacks that were looked at.
    pub stacks: Vec<CheckedStack>,
    /// Their layers, each once.
    pub layers: Vec<CheckedLayer>,
    /// Stacks whose records cannot be understood, by key.
    pub garbled: Vec<Sha256>,
    /// Bytes of files that were read.
    pub bytes: u64,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

fn seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(to_millis(*elapsed))
}

/// A stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedStack {
    /// Its name.
    pub stack: StackName,
    /// What it was made from.
    pub source: Option<String>,
    /// The worst of its layers.
    pub condition: Condition,
    /// The keys of its layers.
    pub layers: Vec<Sha256>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedLayer {
    /// Its key.
    pub key: Sha256,
    /// Where it is.
    pub path: String,
    /// What was found.
    pub condition: Condition,
    /// Paths that were compared.
    pub entries: u64,
    /// What is wrong: with what, and how.
    #[serde(serialize_with = "wrong")]
    pub wrong: Vec<(String, String)>,
}

fn wrong<S: Serializer>(all: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Wrong<'a> {
        path: &'a str,
        what: &'a str,
    }
    serializer.collect_seq(all.iter().map(|(path, what)| Wrong { path, what }))
}

/// What was found, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It is what it was.
    Sound,
    /// Nobody can tell.
    Unknown,
    /// It is not what it was.
    Spoilt,
}

/// Of each layer so many wrong paths are shown.
const SHOWN: usize = 10;

impl Soundness {
    /// The worst that was found.
    pub fn condition(&self) -> Condition {
        let stacks = self.stacks.iter().map(|stack| stack.condition);
        let garbled = self.garbled.iter().map(|_| Condition::Spoilt);
        stacks.chain(garbled).max().unwrap_or(Condition::Sound)
    }

    /// The line that matters.
    pub fn headline(&self) -> String {
        let count = |condition| {
            let stacks = self.stacks.iter();
            stacks.filter(|stack| stack.condition == condition).count()
        };
        let all = self.stacks.len();
        let of_all = |some: usize| match all {
            1 => "the stack is".to_owned(),
            all if all == some => format!("all {all} stacks are"),
            all => format!(
                "{some} of {all} stacks {}",
                if some == 1 { "is" } else { "are" }
            ),
        };
        let unknown = count(Condition::Unknown);
        let mut line = match (count(Condition::Spoilt), unknown) {
            _ if all == 0 && self.garbled.is_empty() => {
                return "no stack is on this host: nothing was verified".to_owned();
            }
            _ if all == 0 => "no stack that can be understood is on this host".to_owned(),
            (0, 0) => format!("{} sound", of_all(all)),
            (0, unknown) => format!(
                "{} unknown: made before layers said what they hold",
                of_all(unknown)
            ),
            (spoilt, 0) => format!("{} spoilt", of_all(spoilt)),
            (spoilt, unknown) => format!("{} spoilt, {unknown} unknown", of_all(spoilt)),
        };
        if !self.garbled.is_empty() {
            let many = if self.garbled.len() == 1 {
                "record"
            } else {
                "records"
            };
            let _ = write!(line, "; {} {many} cannot be understood", self.garbled.len());
        }
        line
    }

    /// All of it.
    pub fn render(&self, palette: Palette) -> String {
        let paint = |condition, line: String| match condition {
            Condition::Sound => palette.good(line),
            Condition::Unknown => palette.warn(line),
            Condition::Spoilt => palette.bad(line),
        };
        let mut out = paint(self.condition(), self.headline());
        out.push('\n');
        let mut table = Table::new([Align::Left, Align::Left, Align::Left]);
        for stack in &self.stacks {
            let source = stack.source.as_deref().unwrap_or("-");
            table.row([
                format!("  {}", stack.stack),
                stack.condition.word().to_owned(),
                text::clean(source),
            ]);
        }
        out.push_str(&table.render());
        for layer in &self.layers {
            if layer.condition == Condition::Sound {
                continue;
            }
            let stacks = self.stacks.iter();
            let stacks = stacks.filter(|stack| stack.layers.contains(&layer.key));
            let mut names: Vec<&str> = stacks.map(|stack| stack.stack.as_str()).collect();
            names.dedup();
            let title = format!("layer {} of {}", layer.key.short(), names.join(", "));
            let _ = writeln!(
                out,
                "\n{}: {}",
                palette.strong(title),
                layer.condition.word()
            );
            let mut table = Table::new([Align::Left, Align::Left]);
            for (path, what) in layer.wrong.iter().take(SHOWN) {
                table.row([format!("  {}", text::clean(path)), text::clean(what)]);
            }
            out.push_str(&table.render());
            if layer.wrong.len() > SHOWN {
                let _ = writeln!(out, "  and {} more", layer.wrong.len() - SHOWN);
            }
        }
        if !self.garbled.is_empty() {
            let _ = writeln!(
                out,
                "\n{}",
                palette.strong("records that cannot be understood")
            );
            for key in &self.garbled {
                let _ = writeln!(out, "  rootfs/{key}.json");
            }
        }
        let entries: u64 = self.layers.iter().map(|layer| layer.entries).sum();
        let (layers, read) = (self.layers.len(), Bytes(self.bytes));
        let many = if layers == 1 { "" } else { "s" };
        let took = Elapsed(self.elapsed);
        let _ = writeln!(
            out,
            "\n{layers} layer{many}, {entries} paths, {read} read in {took}"
        );
        out
    }
}

impl Condition {
    fn word(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Unknown => "unknown",
            Self::Spoilt => "spoilt",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Condition::{Sound, Spoilt, Unknown};
    use super::*;

    fn run(conditions: &[Condition], garbled: usize) -> Soundness {
        let key = |n: usize| Sha256::of(n.to_string().as_bytes());
        let stacks = conditions
            .iter()
            .enumerate()
            .map(|(n, condition)| CheckedStack {
                stack: format!("stack-{n}").parse().expect("a name"),
                source: Some("Debian bookworm".to_owned()),
                condition: *condition,
                layers: vec![key(n)],
            });
        let layers = conditions
            .iter()
            .enumerate()
            .map(|(n, condition)| CheckedLayer {
                key: key(n),
                path: "/store/layers/x".to_owned(),
                condition: *condition,
                entries: 1000,
                wrong: match condition {
                    Spoilt => (0..12)
                        .map(|n| {
                            (
                                format!("usr/bin/{n}\x1b[2J"),
                                "its content is another".to_owned(),
                            )
                        })
                        .collect(),
                    _ => Vec::new(),
                },
            });
        Soundness {
            stacks: stacks.collect(),
            layers: layers.collect(),
            garbled: (0..garbled).map(key).collect(),
            bytes: 123_000_000,
            elapsed: Duration::from_millis(420),
        }
    }

    #[test]
    fn the_first_line_says_what_matters() {
        let table: [(&[Condition], usize, &str, Condition); 9] = [
            (
                &[],
                0,
                "no stack is on this host: nothing was verified",
                Sound,
            ),
            (&[Sound], 0, "the stack is sound", Sound),
            (&[Sound, Sound], 0, "all 2 stacks are sound", Sound),
            (
                &[Sound, Unknown],
                0,
                "1 of 2 stacks is unknown: made before layers said what they hold",
                Unknown,
            ),
            (&[Spoilt], 0, "the stack is spoilt", Spoilt),
            (
                &[Sound, Spoilt, Spoilt],
                0,
                "2 of 3 stacks are spoilt",
                Spoilt,
            ),
            (
                &[Unknown, Spoilt, Sound],
                0,
                "1 of 3 stacks is spoilt, 1 unknown",
                Spoilt,
            ),
            (
                &[Sound],
                1,
                "the stack is sound; 1 record cannot be understood",
                Spoilt,
            ),
            (
                &[],
                2,
                "no stack that can be understood is on this host; 2 records cannot be understood",
                Spoilt,
            ),
        ];
        for (conditions, garbled, line, worst) in table {
            let run = run(conditions, garbled);
            assert_eq!((run.headline().as_str(), run.condition()), (line, worst));
        }
    }

    #[test]
    fn the_report_is_one_to_read() {
        insta::assert_snapshot!(run(&[Sound, Spoilt, Unknown], 1).render(Palette::default()));
    }

    #[test]
    fn the_json_has_everything() {
        let json = serde_json::to_value(run(&[Spoilt], 0)).expect("it serialises");
        assert_eq!(
            json["layers"][0]["wrong"].as_array().map(Vec::len),
            Some(12)
        );
        assert_eq!(
            json["layers"][0]["wrong"][0]["what"],
            "its content is another"
        );
        assert_eq!(json["stacks"][0]["condition"], "spoilt");
        assert_eq!(json["seconds"], 0.42);
    }
}
