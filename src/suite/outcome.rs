//! How a test ended, and how that is read from what it printed last.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sandbox::End;

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// All of it that ran is as it should be.
    Passed,
    /// It was not run: what it needs is not there.
    Skipped,
    /// Something is not as it should be.
    Failed,
    /// It did not end in its time.
    TimedOut,
    /// It ended without saying how.
    Crashed,
}

/// How a test ended, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How.
    pub ending: Ending,
    /// Which of its cases failed, if they have names.
    pub cases: BTreeSet<String>,
    /// Why it was skipped, how it crashed: one line.
    pub why: Option<String>,
}

/// How many cases a result may name.
const CASES: usize = 2000;
/// How long a case's name, or a reason, may be, in bytes.
const TEXT: usize = 400;

/// What a test may say of itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    outcome: Sayable,
    #[serde(default)]
    cases: Vec<String>,
    why: Option<String>,
}

/// What only pybuild can know is not among it: that it ran out of time.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sayable {
    Passed,
    Skipped,
    Failed,
    Crashed,
}

impl Outcome {
    /// One of which no more is known.
    pub fn of(ending: Ending) -> Self {
        Self {
            ending,
            cases: BTreeSet::new(),
            why: None,
        }
    }

    fn crashed(why: impl Into<String>) -> Self {
        Self {
            why: Some(why.into()),
            ..Self::of(Ending::Crashed)
        }
    }

    /// What became of a test, from how its command ended and the last line that it printed, which is
    /// the result if the command exited with 0.
    pub(super) fn read(end: End, last_line: &[u8]) -> Self {
        match end {
            End::Exited(0) => said(last_line)
                .unwrap_or_else(|why| Self::crashed(format!("it said no result: {why}"))),
            End::Exited(code) => Self::crashed(format!("what runs it exited with {code}")),
            End::Killed(signal) => {
                Self::crashed(format!("what runs it was killed by signal {signal}"))
            }
            End::TimedOut => Self::of(Ending::TimedOut),
            end @ (End::OutOfMemory | End::TooMuchOutput) => Self::crashed(format!("it {end}")),
        }
    }
}

fn said(line: &[u8]) -> Result<Outcome, String> {
    if line.is_empty() {
        return Err("its last line is empty".to_owned());
    }
    // serde's own words could repeat what must not be shown.
    let said: Said = serde_json::from_slice(line).map_err(|error| {
        format!("its last line is not one ({:?} error)", error.classify()).to_lowercase()
    })?;
    let ending = match said.outcome {
        Sayable::Passed => Ending::Passed,
        Sayable::Skipped => Ending::Skipped,
        Sayable::Failed => Ending::Failed,
        Sayable::Crashed => Ending::Crashed,
    };
    if said.cases.len() > CASES {
        return Err(format!("it names more than {CASES} cases"));
    }
    if ending != Ending::Failed && !said.cases.is_empty() {
        return Err("it names cases that failed, and did not fail".to_owned());
    }
    let is_one_line =
        |text: &String| !text.is_empty() && text.len() <= TEXT && !text.contains(char::is_control);
    if !said.cases.iter().chain(&said.why).all(is_one_line) {
        return Err(format!("a text of it is not one line of 1 to {TEXT} bytes"));
    }
    Ok(Outcome {
        ending,
        cases: said.cases.into_iter().collect(),
        why: said.why,
    })
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Crashed => "crashed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Outcome {
        Outcome::read(End::Exited(0), line.as_bytes())
    }

    #[test]
    fn a_result_is_read() {
        let table = [
            (r#"{"outcome":"passed"}"#, Ending::Passed, None),
            (
                r#"{"outcome":"skipped","why":"no _tkinter"}"#,
                Ending::Skipped,
                Some("no _tkinter"),
            ),
            (
                r#"{"outcome": "crashed", "why": "SIGSEGV"}"#,
                Ending::Crashed,
                Some("SIGSEGV"),
            ),
        ];
        for (line, ending, why) in table {
            let outcome = read(line);
            assert_eq!(
                (outcome.ending, outcome.why.as_deref()),
                (ending, why),
                "{line}"
            );
        }
        let failed = read(r#"{"outcome":"failed","cases":["b","a","b"]}"#);
        assert_eq!(failed.ending, Ending::Failed);
        assert_eq!(failed.cases.iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn whoever_lies_has_crashed() {
        let many = vec!["x"; CASES + 1];
        let many = format!(
            r#"{{"outcome":"failed","cases":{}}}"#,
            serde_json::to_string(&many).expect("strings")
        );
        let long = format!(r#"{{"outcome":"failed","why":"{}"}}"#, "x".repeat(TEXT + 1));
        let deep = "[".repeat(60_000);
        let lines = [
            "",
            "passed",
            "{}",
            r#"{"outcome":"timed-out"}"#,
            r#"{"outcome":"passed","more":1}"#,
            r#"{"outcome":"passed"} {"outcome":"passed"}"#,
            r#"{"outcome":"passed","cases":["a"]}"#,
            r#"{"outcome":"failed","cases":["a\u001b[2J"]}"#,
            r#"{"outcome":"failed","cases":[""]}"#,
            r#"{"outcome":"skipped","why":"a\nb"}"#,
            &many,
            &long,
            &deep,
        ];
        for line in lines {
            let outcome = read(line);
            assert_eq!(outcome.ending, Ending::Crashed, "{line:.60}");
            let why = outcome.why.expect("it is told");
            assert!(why.len() < 200 && !why.contains(char::is_control), "{why}");
        }
        let outcome = Outcome::read(End::Exited(0), &[0xff, 0xfe]);
        assert_eq!(outcome.ending, Ending::Crashed);
    }

    #[test]
    fn how_the_command_ended_counts_before_what_it_said() {
        let good = br#"{"outcome":"passed"}"#;
        let table = [
            (End::Exited(1), Ending::Crashed),
            (End::Killed(11), Ending::Crashed),
            (End::OutOfMemory, Ending::Crashed),
            (End::TooMuchOutput, Ending::Crashed),
            (End::TimedOut, Ending::TimedOut),
        ];
        for (end, ending) in table {
            assert_eq!(Outcome::read(end, good).ending, ending, "{end:?}");
        }
    }
}
