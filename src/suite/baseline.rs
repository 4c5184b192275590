//! A baseline: how the tests of a minor series ended when somebody looked, as a text that a person
//! can review.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _; // into a String, which takes everything

use serde::Deserialize;

use super::outcome::{Ending, Outcome};
use crate::model::{StackName, TestName, Version};

/// The schema that this pybuild reads and writes.
const SCHEMA: i64 = 1;

/// How tests ended before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// Of which stack.
    pub stack: StackName,
    /// The version that was tested last.
    pub version: Version,
    /// How it was built.
    pub profile: String,
    /// The tests, those that passed among them.
    pub tests: BTreeMap<TestName, Outcome>,
}

/// A text is not a baseline.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// It has not the form of one.
    #[error("not a baseline: {0}")]
    Form(#[from] toml::de::Error),
    /// It has the form, and says what cannot be.
    #[error("not a baseline: {0}")]
    Sense(String),
}

impl BaselineError {
    /// Where in the text, in bytes, if it is one place.
    pub fn span(&self) -> Option<std::ops::Range<usize>> {
        match self {
            Self::Form(error) => error.span(),
            Self::Sense(_) => None,
        }
    }

    /// What is wrong, in one line.
    pub fn what(&self) -> &str {
        match self {
            Self::Form(error) => error.message(),
            Self::Sense(why) => why,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: i64,
    stack: StackName,
    version: String,
    profile: String,
    passed: BTreeSet<TestName>,
    #[serde(default)]
    tests: BTreeMap<TestName, WrittenTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTest {
    ended: Ending,
    why: Option<String>,
    #[serde(default)]
    cases: BTreeSet<String>,
}

impl Baseline {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let written: Written = toml::from_str(text)?;
        let nonsense = |why: String| Err(BaselineError::Sense(why));
        if written.schema != SCHEMA {
            return nonsense(format!("schema {} is not known here", written.schema));
        }
        let version = written.version.parse();
        let version = version
            .map_err(|_| BaselineError::Sense(format!("`{}` is not a version", written.version)))?;
        let passed = written.passed.into_iter();
        let mut tests: BTreeMap<TestName, Outcome> = passed
            .map(|name| (name, Outcome::of(Ending::Passed)))
            .collect();
        for (name, WrittenTest { ended, why, cases }) in written.tests {
            if ended == Ending::Passed {
                return nonsense(format!("`{name}` passed: it belongs into `passed`"));
            }
            let outcome = Outcome {
                ending: ended,
                cases,
                why,
            };
            if tests.insert(name.clone(), outcome).is_some() {
                return nonsense(format!("`{name}` is in `passed` and in `tests`"));
            }
        }
        Ok(Self {
            stack: written.stack,
            version,
            profile: written.profile,
            tests,
        })
    }

    /// It as text, sorted: what has not changed is no change of the file.
    pub fn render(&self) -> String {
        let Self {
            stack,
            version,
            profile,
            tests,
        } = self;
        let mut out = format!(
            "# How the tests ended. Written by `pybuild test --record`; a change of it is to be reviewed.\n\
             schema  = {SCHEMA}\n\
             stack   = {}\n\
             version = {}\n\
             profile = {}\n\
             passed  = [\n",
            quoted(stack.as_str()),
            quoted(version.as_str()),
            quoted(profile)
        );
        for (name, outcome) in tests {
            if outcome.ending == Ending::Passed {
                let _ = writeln!(out, "  {},", quoted(name.as_str()));
            }
        }
        out.push_str("]\n");
        for (name, outcome) in tests {
            let ended = match outcome.ending {
                Ending::Passed => continue,
                Ending::Skipped => "skipped",
                Ending::Failed => "failed",
                Ending::TimedOut => "timed-out",
                Ending::Crashed => "crashed",
            };
            let key = name.as_str();
            // A dot would make it two keys.
            let key = if key.contains('.') {
                quoted(key)
            } else {
                key.to_owned()
            };
            let _ = writeln!(out, "\n[tests.{key}]");
            let _ = writeln!(out, "ended = {}", quoted(ended));
            if let Some(why) = &outcome.why {
                let _ = writeln!(out, "why   = {}", quoted(why));
            }
            if !outcome.cases.is_empty() {
                out.push_str("cases = [\n");
                for case in &outcome.cases {
                    let _ = writeln!(out, "  {},", quoted(case));
                }
                out.push_str("]\n");
            }
        }
        out
    }

    /// What is recorded after these tests have run: of others it stays what is known, unless `whole`
    /// says that there are no others any more.
    #[must_use]
    pub fn renewed(before: Option<Self>, now: Self, whole: bool) -> Self {
        let kept = before.filter(|before| !whole && before.stack == now.stack);
        let mut tests = kept.map(|before| before.tests).unwrap_or_default();
        tests.extend(now.tests);
        Self { tests, ..now }
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ending: Ending, why: Option<&str>, cases: &[&str]) -> Outcome {
        Outcome {
            ending,
            cases: cases.iter().map(|&case| case.to_owned()).collect(),
            why: why.map(str::to_owned),
        }
    }

    fn baseline(tests: &[(&str, Outcome)]) -> Baseline {
        let tests = tests.iter();
        Baseline {
            stack: "debian-12".parse().expect("a name"),
            version: "3.11.2".parse().expect("a version"),
            profile: "plain".to_owned(),
            tests: tests
                .map(|(name, outcome)| (name.parse().expect("a name"), outcome.clone()))
                .collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let baseline = baseline(&[
            ("test_b", outcome(Ending::Passed, None, &[])),
            ("test_a", outcome(Ending::Passed, None, &[])),
            (
                "test_tk",
                outcome(Ending::Skipped, Some("no \"tk\" \\ é"), &[]),
            ),
            ("test_gdb", outcome(Ending::Failed, None, &["b.B", "a.A"])),
            ("test.dotted", outcome(Ending::TimedOut, None, &[])),
            ("test_x", outcome(Ending::Crashed, Some("SIGSEGV"), &[])),
        ]);
        let text = baseline.render();
        assert_eq!(Baseline::parse(&text).expect(&text), baseline);
        insta::assert_snapshot!(text);
        let none = self::baseline(&[]);
        assert_eq!(Baseline::parse(&none.render()).expect("one"), none);
    }

    #[test]
    fn what_is_no_baseline_is_told() {
        let head = "schema = 1\nstack = \"debian-12\"\nversion = \"3.11.2\"\nprofile = \"plain\"\n";
        let table = [
            ("", "missing field"),
            ("passed = [\"a b\"]", "not the name of a test"),
            ("passed = []\nmore = 1", "unknown field"),
            (
                "passed = []\n[tests.x]\nended = \"well\"",
                "unknown variant",
            ),
            (
                "passed = [\"x\"]\n[tests.x]\nended = \"failed\"",
                "in `passed` and in `tests`",
            ),
            (
                "passed = []\n[tests.x]\nended = \"passed\"",
                "belongs into `passed`",
            ),
        ];
        for (rest, said) in table {
            let error = Baseline::parse(&format!("{head}{rest}")).expect_err(rest);
            assert!(error.to_string().contains(said), "{rest}: {error}");
        }
        let future = format!("{head}passed = []").replace("schema = 1", "schema = 2");
        let error = Baseline::parse(&future).expect_err("a schema of the future");
        assert!(error.to_string().contains("schema 2"), "{error}");
    }

    #[test]
    fn tests_that_did_not_run_keep_what_is_known_of_them() {
        let passed = || outcome(Ending::Passed, None, &[]);
        let failed = || outcome(Ending::Failed, None, &["x"]);
        let before = baseline(&[("test_a", passed()), ("test_b", failed())]);
        let now = baseline(&[("test_b", passed())]);
        let renewed = Baseline::renewed(Some(before.clone()), now.clone(), false);
        assert_eq!(
            renewed,
            baseline(&[("test_a", passed()), ("test_b", passed())])
        );
        assert_eq!(Baseline::renewed(Some(before), now.clone(), true), now);
        assert_eq!(Baseline::renewed(None, now.clone(), false), now);
    }
}
