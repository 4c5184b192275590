//! What `pybuild test` ends with: how many tests passed, and what has become worse.

use std::collections::BTreeSet;
use std::fmt::Write as _; // into a String, which takes everything
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::{Elapsed, FormulaRef, Sha256, StackName, TestName};

use super::style::Palette;
use super::summary::to_millis;
use super::table::{Align, Table};
use super::text;

/// How many of its last lines are shown of a test.
const LINES: usize = 12;
/// How many cases are shown of a test.
const CASES: usize = 20;

/// The result of one command. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, Serialize)]
pub struct Tested {
    /// On which stack.
    pub stack: StackName,
    /// Version by version.
    pub runs: Vec<TestRun>,
}

/// The tests of one version.
#[derive(Debug, Clone, Serialize)]
pub struct TestRun {
    /// What was tested.
    pub formula: FormulaRef,
    /// How it was built.
    pub profile: String,
    /// Its build id.
    pub build: Sha256,
    /// Which tests were asked for, in words.
    pub tests: String,
    /// Of what the baseline is, if there is one.
    pub baseline: Option<String>,
    /// Where a baseline was recorded.
    pub recorded: Option<PathBuf>,
    /// Everything that tests printed that did not pass.
    pub log: Option<PathBuf>,
    /// Test by test.
    pub results: Vec<TestRow>,
}

/// One test.
#[derive(Debug, Clone, Serialize)]
pub struct TestRow {
    /// Which.
    pub name: TestName,
    /// What its ending means.
    pub standing: Standing,
    /// How it ended.
    pub ended: String,
    /// How it had ended.
    pub before: Option<String>,
    /// How it ended beside others, if that was worse than before and it was run again alone, which
    /// is what counts.
    pub first: Option<String>,
    /// Why it was skipped, how it crashed.
    pub why: Option<String>,
    /// The cases that failed.
    pub cases: BTreeSet<String>,
    /// Those that had not.
    pub worse: BTreeSet<String>,
    /// Those that had and do not any more.
    pub better: BTreeSet<String>,
    /// The last lines that it printed, if it did not pass.
    pub tail: Vec<String>,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// What a test's ending means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It passed.
    Passed,
    /// It was not run, as before.
    Skipped,
    /// It does not pass, as before.
    Known,
    /// It passes, and did not.
    Better,
    /// It is worse than before.
    Regression,
}

fn seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(to_millis(*elapsed))
}

impl Tested {
    /// Whether something has become worse.
    pub fn has_regressions(&self) -> bool {
        let mut runs = self.runs.iter();
        runs.any(|run| run.of(Standing::Regression).next().is_some())
    }

    /// For people: what has become worse last, where the eye is.
    pub fn render(&self, palette: Palette) -> String {
        let runs = self.runs.iter();
        runs.map(|run| run.render(&self.stack, palette)).collect()
    }
}

impl TestRun {
    fn of(&self, standing: Standing) -> impl Iterator<Item = &TestRow> {
        self.results
            .iter()
            .filter(move |row| row.standing == standing)
    }

    fn render(&self, stack: &StackName, palette: Palette) -> String {
        let mut out = String::new();
        let steady = |standing| self.of(standing).filter(|row| !row.is_unsteady());
        for (title, standing) in [
            ("skipped", Standing::Skipped),
            ("not passed, as before", Standing::Known),
            ("better than before", Standing::Better),
        ] {
            table(title, steady(standing), &mut out, palette);
        }
        let unsteady: Vec<&TestRow> = self.results.iter().filter(|r| r.is_unsteady()).collect();
        let title = "worse only beside others, not when run again alone";
        table(title, unsteady.iter().copied(), &mut out, palette);
        for row in self.of(Standing::Regression) {
            row.render(&mut out, palette);
        }
        let count = |standing| self.of(standing).count();
        let mut counts: Vec<String> = [
            (Standing::Passed, "passed"),
            (Standing::Better, "better than before"),
            (Standing::Skipped, "skipped"),
            (Standing::Known, "failed as before"),
        ]
        .into_iter()
        .filter(|(standing, _)| count(*standing) > 0)
        .map(|(standing, word)| format!("{} {word}", count(standing)))
        .collect();
        if !unsteady.is_empty() {
            counts.push(format!("{} of them only when run again", unsteady.len()));
        }
        let worse = count(Standing::Regression);
        counts.push(match worse {
            0 => "no regression".to_owned(),
            // What is recorded is what is to be expected from now on.
            _ if self.recorded.is_some() => format!("{worse} recorded as failing"),
            1 => "1 regression".to_owned(),
            _ => format!("{worse} regressions"),
        });
        let line = format!(
            "{} ({}) on {stack}, {}: {} tests, {}",
            self.formula,
            self.profile,
            self.tests,
            self.results.len(),
            counts.join(", ")
        );
        let line = if worse == 0 || self.recorded.is_some() {
            palette.good(line)
        } else {
            palette.bad(line)
        };
        let _ = writeln!(out, "{line}");
        if self.baseline.is_none() && self.recorded.is_none() {
            let hint = "there is no baseline, so every failure counts: --record records how the \
                tests end as what is to be expected";
            let _ = writeln!(out, "{} {hint}", palette.hint("hint:"));
        }
        if let Some(log) = &self.log {
            let log = log.display().to_string();
            let _ = writeln!(out, "log: {}", text::clean(&log));
        }
        if let Some(recorded) = &self.recorded {
            let path = recorded.display().to_string();
            let _ = writeln!(out, "recorded in {}", text::clean(&path));
        }
        out
    }
}

fn table<'r>(
    title: &str,
    rows: impl Iterator<Item = &'r TestRow>,
    out: &mut String,
    palette: Palette,
) {
    let mut table = Table::new([Align::Left, Align::Left, Align::Left]);
    let mut any = false;
    for row in rows {
        any = true;
        table.row([
            format!("  {}", row.name),
            row.ended.clone(),
            text::truncate(&row.remark(), 90),
        ]);
    }
    if any {
        let _ = writeln!(out, "{}", palette.strong(title));
        let _ = writeln!(out, "{}", table.render().trim_end());
    }
}

impl TestRow {
    /// Whether it was worse than before, and then was not.
    fn is_unsteady(&self) -> bool {
        self.first.is_some() && self.standing != Standing::Regression
    }

    /// What there is to say besides how it ended.
    fn remark(&self) -> String {
        let some = |cases: &BTreeSet<String>| {
            let mut shown: Vec<String> =
                cases.iter().take(3).map(|case| text::clean(case)).collect();
            if cases.len() > 3 {
                shown.push(format!("{} more", cases.len() - 3));
            }
            shown.join(", ")
        };
        let mut remarks = Vec::new();
        remarks.extend(self.first.as_ref().map(|first| format!("{first} at first")));
        if self.standing == Standing::Better {
            remarks.extend(
                self.before
                    .as_ref()
                    .map(|before| format!("{before} before")),
            );
        }
        if !self.cases.is_empty() {
            remarks.push(some(&self.cases));
        }
        if !self.better.is_empty() {
            remarks.push(format!("passing now: {}", some(&self.better)));
        }
        remarks.extend(self.why.as_deref().map(text::clean));
        remarks.join("; ")
    }

    fn render(&self, out: &mut String, palette: Palette) {
        let head = format!("{} {}", self.name, self.ended);
        let twice = self
            .first
            .as_ref()
            .map(|first| format!(", {first} at first"));
        let took = match self.elapsed {
            Duration::ZERO => String::new(),
            elapsed => format!(" after {}", Elapsed(elapsed)),
        };
        let before = self.before.as_deref();
        let before = before.map_or_else(String::new, |before| format!("; {before} before"));
        let twice = twice.unwrap_or_default();
        let more = palette.faint(format!("{took}{twice}{before}"));
        let _ = writeln!(out, "{}{more}", palette.bad(head));
        if let Some(why) = &self.why {
            let _ = writeln!(out, "  {}", text::clean(why));
        }
        for case in self.worse.iter().take(CASES) {
            let _ = writeln!(out, "  {}", text::clean(case));
        }
        if self.worse.len() > CASES {
            let _ = writeln!(out, "  and {} more", self.worse.len() - CASES);
        }
        let tail = self.tail.iter().filter(|line| !line.trim().is_empty());
        let tail: Vec<&String> = tail.collect();
        for line in &tail[tail.len().saturating_sub(LINES)..] {
            let line = format!("  │ {}", text::clean(line));
            let _ = writeln!(out, "{}", palette.faint(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, standing: Standing, ended: &str) -> TestRow {
        TestRow {
            name: name.parse().expect("a name"),
            standing,
            ended: ended.to_owned(),
            before: None,
            first: None,
            why: None,
            cases: BTreeSet::new(),
            worse: BTreeSet::new(),
            better: BTreeSet::new(),
            tail: Vec::new(),
            elapsed: Duration::from_millis(1500),
        }
    }

    fn cases(cases: &[&str]) -> BTreeSet<String> {
        cases.iter().map(|&case| case.to_owned()).collect()
    }

    fn tested() -> Tested {
        let mut skipped = row("test_tk", Standing::Skipped, "skipped");
        skipped.why = Some("no _tkinter\u{1b}[2J".to_owned());
        let mut known = row("test_gdb", Standing::Known, "failed");
        known.cases = cases(&["A.a", "A.b", "A.c", "A.d"]);
        known.better = cases(&["A.e"]);
        let mut better = row("test_ssl", Standing::Better, "passed");
        better.before = Some("crashed".to_owned());
        let mut unsteady = row("test_time", Standing::Passed, "passed");
        unsteady.first = Some("timed out".to_owned());
        let mut worse = row("test_uuid", Standing::Regression, "failed");
        worse.first = Some("crashed".to_owned());
        worse.before = Some("passed".to_owned());
        worse.worse = cases(&["U.test_a"]);
        worse.tail = vec![
            "Traceback".to_owned(),
            String::new(),
            "AssertionError".to_owned(),
        ];
        let mut lost = row("test_z", Standing::Regression, "missing");
        (lost.before, lost.elapsed) = (Some("passed".to_owned()), Duration::ZERO);
        let run = TestRun {
            formula: "python-3.11.2".parse().expect("a reference"),
            profile: "plain".to_owned(),
            build: Sha256::of(b"abc"),
            tests: "the suite quick (7 tests)".to_owned(),
            baseline: Some("3.11.1, plain".to_owned()),
            recorded: None,
            log: Some(PathBuf::from("/s/logs/x.tests.log")),
            results: vec![
                row("test_a", Standing::Passed, "passed"),
                skipped,
                known,
                better,
                unsteady,
                worse,
                lost,
            ],
        };
        Tested {
            stack: "debian-12".parse().expect("a name"),
            runs: vec![run],
        }
    }

    #[test]
    fn what_is_worse_comes_last_and_nothing_steers_the_terminal() {
        let tested = tested();
        assert!(tested.has_regressions());
        insta::assert_snapshot!(tested.render(Palette::new(false)));
    }

    #[test]
    fn without_a_baseline_it_is_said_how_to_record_one() {
        let mut tested = tested();
        tested.runs[0].baseline = None;
        assert!(tested.render(Palette::new(false)).contains("--record"));
        tested.runs[0].results.truncate(5);
        assert!(!tested.has_regressions());
        let said = tested.render(Palette::new(false));
        assert!(said.contains("no regression"), "{said}");
    }
}
