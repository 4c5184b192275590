//! Which tests are meant by the words of a command line.

use std::collections::BTreeSet;
use std::fmt;

use crate::cli::Test;
use crate::cmd::Failure;
use crate::formula::Tests;
use crate::model::{FormulaRef, TestName, nearest};
use crate::suite::Baseline;
use crate::ui::ExitKind;

/// Every test.
const ALL: &str = "all";
/// What is meant if nobody says anything, where there is such a suite.
const QUICK: &str = "quick";

/// Which tests are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// Those that there are.
    All,
    /// Those of a suite, as far as they are there.
    Suite(String, Vec<TestName>),
    /// These, which must be there.
    Named(Vec<TestName>),
}

impl Choice {
    pub(super) fn of(args: &Test, of: &FormulaRef, tests: &Tests) -> Result<Self, Failure> {
        if !args.tests.is_empty() {
            let mut named = args.tests.clone();
            named.sort();
            named.dedup();
            return Ok(Self::Named(named));
        }
        let suite = match &args.suite {
            Some(suite) => suite.as_str(),
            None if tests.suites.contains_key(QUICK) => QUICK,
            None => ALL,
        };
        if suite == ALL {
            return Ok(Self::All);
        }
        let found = tests.suites.get(suite).ok_or_else(|| {
            let message = format!("{of} has no suite of tests `{suite}`");
            let failure = Failure::new(ExitKind::Usage, message);
            let known = tests.suites.keys().map(String::as_str).chain([ALL]);
            if let Some(near) = nearest(suite, known.clone()) {
                return failure.hint(format!("did you mean `{near}`?"));
            }
            let known: Vec<&str> = known.collect();
            failure.hint(format!("known suites: {}", known.join(", ")))
        })?;
        Ok(Self::Suite(suite.to_owned(), found.clone()))
    }

    /// The tests that are run, of those that there are.
    pub(super) fn among(
        &self,
        there: &BTreeSet<TestName>,
        of: &str,
    ) -> Result<Vec<TestName>, Failure> {
        match self {
            Self::All => Ok(there.iter().cloned().collect()),
            Self::Suite(name, tests) => {
                let found = tests.iter().filter(|test| there.contains(test));
                let found: Vec<TestName> = found.cloned().collect();
                if found.is_empty() {
                    let message = format!("{of} has none of the tests of its suite `{name}`");
                    return Err(Failure::new(ExitKind::BuildFailed, message));
                }
                Ok(found)
            }
            Self::Named(tests) => {
                if let Some(unknown) = tests.iter().find(|test| !there.contains(test)) {
                    let failure =
                        Failure::new(ExitKind::Usage, format!("{of} has no test `{unknown}`"));
                    let near = nearest(unknown.as_str(), there.iter().map(TestName::as_str));
                    return Err(match near {
                        Some(near) => failure.hint(format!("did you mean `{near}`?")),
                        None => failure.hint(format!("it has {} tests", there.len())),
                    });
                }
                Ok(tests.clone())
            }
        }
    }

    /// The tests whose loss would be a regression, if the baseline has them.
    pub(super) fn expected(&self, before: Option<&Baseline>) -> BTreeSet<TestName> {
        match self {
            Self::All => before
                .into_iter()
                .flat_map(|before| before.tests.keys().cloned())
                .collect(),
            Self::Suite(_, tests) => tests.iter().cloned().collect(),
            Self::Named(_) => BTreeSet::new(),
        }
    }

    pub(super) fn is_all(&self) -> bool {
        *self == Self::All
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all its tests"),
            Self::Suite(name, tests) => write!(f, "the suite {name} ({} tests)", tests.len()),
            Self::Named(tests) => {
                let tests: Vec<&str> = tests.iter().map(TestName::as_str).collect();
                f.write_str(&tests.join(", "))
            }
        }
    }
}
