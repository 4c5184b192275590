//! What `pybuild deploy-runtimes` ends with: runtimes down, stacks across, and why what failed did.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::model::{Elapsed, FormulaRef, Sha256, StackName};

use super::style::Palette;
use super::summary::to_millis;
use super::text;

/// The result of one run. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grid {
    /// The target.
    pub target: String,
    /// The rows.
    pub runtimes: Vec<FormulaRef>,
    /// The columns.
    pub stacks: Vec<StackName>,
    /// What became of each.
    pub results: Vec<Cell>,
    /// Wall-clock seconds from start to end.
    pub seconds: f64,
}

/// What became of one runtime for one stack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// The stack.
    pub stack: StackName,
    /// The runtime.
    pub formula: FormulaRef,
    /// In one word.
    pub state: State,
    /// The tarball's key below the target, where it has one.
    pub key: Option<String>,
    /// The tarball's digest, where it is known.
    pub sha256: Option<Sha256>,
    /// Why it is not there, in one line.
    pub why: Option<String>,
    /// The log that says more.
    pub log: Option<PathBuf>,
}

/// What became of a runtime, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Built, if need be, and published by this run.
    Built,
    /// It was there before.
    There,
    /// Not there: this run would do it.
    Missing,
    /// It was tried.
    Failed,
    /// Its formula does not build for this stack.
    Refused,
    /// It was not tried, since what it needs failed or the run was stopped.
    Stopped,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::There => "already there",
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::Refused => "not for it",
            Self::Stopped => "not tried",
        }
    }

    fn paint(self, palette: Palette, text: &str) -> String {
        match self {
            Self::Built => palette.good(text),
            Self::There | Self::Refused => palette.faint(text),
            Self::Missing | Self::Stopped => palette.warn(text),
            Self::Failed => palette.bad(text),
        }
    }
}

impl Grid {
    /// Puts the wall-clock time in, in the precision that the JSON has.
    pub fn new(
        target: String,
        runtimes: Vec<FormulaRef>,
        stacks: Vec<StackName>,
        results: Vec<Cell>,
        elapsed: Duration,
    ) -> Self {
        Self {
            target,
            runtimes,
            stacks,
            results,
            seconds: to_millis(elapsed),
        }
    }

    /// How many ended so.
    pub fn count(&self, state: State) -> usize {
        self.results.iter().filter(|it| it.state == state).count()
    }

    /// For people: the table, why what is not there is not, and how many of each.
    pub fn render(&self, palette: Palette) -> String {
        let mut out = self.table(palette);
        let unlike = |state: State| !matches!(state, State::Built | State::There | State::Missing);
        let mut told = false;
        for cell in self.results.iter().filter(|cell| unlike(cell.state)) {
            if !told {
                out.push('\n');
                told = true;
            }
            let word = cell.state.paint(palette, cell.state.word());
            let why = cell.why.as_deref().unwrap_or_default();
            let why = text::redact(&text::clean(why.lines().next().unwrap_or_default()));
            let line = format!("{} for {}: {word}: {why}\n", cell.formula, cell.stack);
            out.push_str(&line);
            if let Some(log) = &cell.log {
                let log = text::clean(&log.to_string_lossy());
                out.extend([
                    "  ",
                    palette.faint("log:").as_str(),
                    " ",
                    log.as_str(),
                    "\n",
                ]);
            }
        }
        out.push('\n');
        out.push_str(&self.counts());
        out
    }

    fn cell(&self, runtime: &FormulaRef, stack: &StackName) -> Option<State> {
        let mut cells = self.results.iter();
        let cell = cells.find(|cell| cell.formula == *runtime && cell.stack == *stack)?;
        Some(cell.state)
    }

    fn table(&self, palette: Palette) -> String {
        let names = self
            .runtimes
            .iter()
            .map(|it| text::columns(&it.to_string()));
        let first = names.max().unwrap_or(0);
        let width = |stack: &StackName| {
            let states = self.runtimes.iter().filter_map(|it| self.cell(it, stack));
            let widest = states.map(|state| state.word().len()).max();
            widest.unwrap_or(0).max(stack.as_str().len())
        };
        let widths: Vec<usize> = self.stacks.iter().map(width).collect();
        let mut lines = Vec::new();
        let mut head = " ".repeat(first);
        for (stack, width) in self.stacks.iter().zip(&widths) {
            let fill = " ".repeat(width - stack.as_str().len());
            head.extend(["  ", palette.strong(stack).as_str(), fill.as_str()]);
        }
        lines.push(head);
        for runtime in &self.runtimes {
            let mut line = format!("{runtime:<first$}");
            for (stack, width) in self.stacks.iter().zip(&widths) {
                let state = self.cell(runtime, stack);
                let word = state.map_or("", State::word);
                let painted = state.map_or_else(String::new, |state| state.paint(palette, word));
                let fill = " ".repeat(width - word.len());
                line.extend(["  ", painted.as_str(), fill.as_str()]);
            }
            lines.push(line);
        }
        let trimmed = lines.iter().map(|line| line.trim_end());
        trimmed.flat_map(|line| [line, "\n"]).collect()
    }

    fn counts(&self) -> String {
        let states = [
            State::Built,
            State::There,
            State::Missing,
            State::Failed,
            State::Refused,
            State::Stopped,
        ];
        let counts = states.map(|state| (self.count(state), state.word()));
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let elapsed = Elapsed(Duration::try_from_secs_f64(self.seconds).unwrap_or_default());
        let target = text::redact(&text::clean(&self.target));
        format!("{} in {target} after {elapsed}\n", counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let runtimes = ["python-3.9.2", "python-3.11.2"];
        let stacks = ["debian-12", "debian-13-with-a-long-name"];
        let cell = |runtime: usize, stack: usize, state, why: Option<&str>| Cell {
            stack: stacks[stack].parse().expect("a stack"),
            formula: runtimes[runtime].parse().expect("a formula"),
            state,
            key: None,
            sha256: (state == State::Built).then(|| Sha256::of(b"abc")),
            why: why.map(str::to_owned),
            log: (state == State::Failed).then(|| "/store/logs/abc.log".into()),
        };
        Grid::new(
            "s3://lang-python/".to_owned(),
            runtimes.map(|it| it.parse().expect("a formula")).to_vec(),
            stacks.map(|it| it.parse().expect("a stack")).to_vec(),
            vec![
                cell(0, 0, State::There, None),
                cell(1, 0, State::Built, None),
                cell(0, 1, State::Refused, Some("OpenSSL 3.5 is too new for it")),
                cell(
                    1,
                    1,
                    State::Failed,
                    Some("make of python-3.11.2 exited with 2\nmore"),
                ),
            ],
            Duration::from_millis(75_500),
        )
    }

    #[test]
    fn runtimes_go_down_and_stacks_across() {
        insta::assert_snapshot!(grid().render(Palette::default()), @r"
                       debian-12      debian-13-with-a-long-name
        python-3.9.2   already there  not for it
        python-3.11.2  built          failed

        python-3.9.2 for debian-13-with-a-long-name: not for it: OpenSSL 3.5 is too new for it
        python-3.11.2 for debian-13-with-a-long-name: failed: make of python-3.11.2 exited with 2
          log: /store/logs/abc.log

        1 built, 1 already there, 1 failed, 1 not for it in s3://lang-python/ after 1 min 15 s
        ");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let plain = grid().render(Palette::default());
        let painted = grid().render(Palette::new(true));
        assert_eq!(
            text::clean(&painted.replace('\n', "|")),
            plain.replace('\n', "|")
        );
    }

    #[test]
    fn the_json_has_stable_keys() {
        let json = serde_json::to_string(&grid()).expect("it serialises");
        insta::assert_snapshot!(json, @r#"{"target":"s3://lang-python/","runtimes":["python-3.9.2","python-3.11.2"],"stacks":["debian-12","debian-13-with-a-long-name"],"results":[{"stack":"debian-12","formula":"python-3.9.2","state":"there","key":null,"sha256":null,"why":null,"log":null},{"stack":"debian-12","formula":"python-3.11.2","state":"built","key":null,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","why":null,"log":null},{"stack":"debian-13-with-a-long-name","formula":"python-3.9.2","state":"refused","key":null,"sha256":null,"why":"OpenSSL 3.5 is too new for it","log":null},{"stack":"debian-13-with-a-long-name","formula":"python-3.11.2","state":"failed","key":null,"sha256":null,"why":"make of python-3.11.2 exited with 2\nmore","log":"/store/logs/abc.log"}],"seconds":75.5}"#);
    }
}
