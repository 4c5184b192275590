//! What `pybuild stack pull` ends with: what is new in each stack.

use std::fmt::Write as _; // into a String, which takes everything

use serde::Serialize;

use crate::model::{Bytes, Sha256, StackName};

use super::style::Palette;
use super::table::{Align, Table};
use super::text;

/// The result of one run. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Pulled(pub Vec<PulledStack>);

/// A stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PulledStack {
    /// Its name.
    pub stack: StackName,
    /// What became of it.
    pub change: Change,
    /// What it is made from.
    pub source: Option<String>,
    /// The digests of the build image and of the run image as they were.
    pub before: Option<[Sha256; 2]>,
    /// As they are.
    pub now: [Sha256; 2],
    /// Packages that moved, in a few words each: `libc6 2.36-9 → 2.36-10`.
    pub packages: Vec<String>,
    /// Bytes of the disk that layers took which nothing needs any more.
    pub freed: u64,
}

/// What became of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It was not here.
    New,
    /// It is as it was.
    UpToDate,
    /// It is another now.
    Changed,
}

/// Of each stack so many packages are shown.
const SHOWN: usize = 20;

impl Pulled {
    /// For people.
    pub fn render(&self, palette: Palette) -> String {
        let mut table = Table::new([Align::Left, Align::Left, Align::Left, Align::Left]);
        for stack in &self.0 {
            let [build, run] = stack.now;
            let digests = match stack.before {
                Some([old, _]) if old != build => format!("{} → {}", old.short(), build.short()),
                // It is the run image then.
                Some([_, old]) if old != run => {
                    format!("run image {} → {}", old.short(), run.short())
                }
                _ => build.short(),
            };
            let (word, more) = match (stack.change, stack.packages.len()) {
                (Change::New, _) => ("new", String::new()),
                (Change::UpToDate, _) => ("up to date", String::new()),
                (Change::Changed, 0) => ("changed", "the same packages".to_owned()),
                (Change::Changed, 1) => ("changed", "1 package moved".to_owned()),
                (Change::Changed, count) => ("changed", format!("{count} packages moved")),
            };
            table.row([stack.stack.to_string(), word.to_owned(), digests, more]);
        }
        let mut out = table.render();
        for stack in self.0.iter().filter(|stack| !stack.packages.is_empty()) {
            let _ = writeln!(out, "\n{}", palette.strong(&stack.stack));
            for package in stack.packages.iter().take(SHOWN) {
                let _ = writeln!(out, "  {}", text::clean(package));
            }
            if stack.packages.len() > SHOWN {
                let _ = writeln!(out, "  and {} more", stack.packages.len() - SHOWN);
            }
        }
        let freed: u64 = self.0.iter().map(|stack| stack.freed).sum();
        if freed > 0 {
            let freed = Bytes(freed);
            let _ = writeln!(out, "\n{freed} freed of what is not needed any more");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_one_to_read() {
        let digests = |name: &str| [Sha256::of(name.as_bytes()), Sha256::of(b"run")];
        let stack = |name: &str, change, before: Option<&str>, packages: usize| PulledStack {
            stack: name.parse().expect("a name"),
            change,
            source: None,
            before: before.map(digests),
            now: digests("now"),
            packages: (0..packages)
                .map(|n| format!("package-{n} 1.0 → 1.1\x1b[2J"))
                .collect(),
            freed: 60_000_000,
        };
        let mut pulled = Pulled(vec![
            stack("debian-12", Change::UpToDate, Some("now"), 0),
            stack("heroku-20", Change::Changed, Some("old"), 22),
            stack("ours", Change::New, None, 0),
            stack("theirs", Change::Changed, Some("now"), 0),
        ]);
        pulled.0[3].before = Some([digests("now")[0], digests("old")[0]]);
        insta::assert_snapshot!(pulled.render(Palette::default()));
    }
}
