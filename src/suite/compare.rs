//! What has changed since the baseline was recorded.

use std::collections::{BTreeMap, BTreeSet};

use super::baseline::Baseline;
use super::outcome::{Ending, Outcome};
use crate::model::TestName;

/// What a test's ending means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It ran and passed, as before.
    Passed,
    /// It is skipped, as before.
    Skipped,
    /// It does not pass, as before.
    Known,
    /// It passes, and did not.
    Better,
    /// It is worse than before.
    Regression,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Which.
    pub name: TestName,
    /// How it ended now; `None` if it is not there any more.
    pub now: Option<Outcome>,
    /// How it had ended, if that is known.
    pub before: Option<Ending>,
    /// What that means.
    pub verdict: Verdict,
    /// The cases that fail and did not.
    pub worse: BTreeSet<String>,
    /// The cases that failed and do not any more.
    pub better: BTreeSet<String>,
}

/// All tests, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Each once.
    pub tests: Vec<Judged>,
}

/// Compares how tests ended with how they had. `expected` are those that are to be there if the
/// baseline has them; what never was in a baseline cannot have become worse by being skipped, but
/// must not fail.
pub fn compare(
    before: Option<&Baseline>,
    expected: &BTreeSet<TestName>,
    now: &BTreeMap<TestName, Outcome>,
) -> Comparison {
    let was = |name: &TestName| before.and_then(|before| before.tests.get(name));
    let mut tests: Vec<Judged> = now
        .iter()
        .map(|(name, outcome)| judge(name, was(name), outcome))
        .collect();
    let lost = expected.iter().filter(|name| !now.contains_key(name));
    tests.extend(lost.filter_map(|name| {
        Some(Judged {
            name: name.clone(),
            now: None,
            before: Some(was(name)?.ending),
            verdict: Verdict::Regression,
            worse: BTreeSet::new(),
            better: BTreeSet::new(),
        })
    }));
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    Comparison { tests }
}

fn judge(name: &TestName, was: Option<&Outcome>, now: &Outcome) -> Judged {
    let before = was.map(|was| was.ending);
    let (mut worse, mut better) = (BTreeSet::new(), BTreeSet::new());
    let verdict = match (before, now.ending) {
        (None | Some(Ending::Passed), Ending::Passed) => Verdict::Passed,
        (Some(_), Ending::Passed) => Verdict::Better,
        (None | Some(Ending::Skipped), Ending::Skipped) => Verdict::Skipped,
        // It ran, and so what it needs was there.
        (Some(_), Ending::Skipped) => Verdict::Regression,
        (Some(Ending::Failed), Ending::Failed) => {
            let were = was.map(|was| was.cases.clone()).unwrap_or_default();
            worse = now.cases.difference(&were).cloned().collect();
            better = were.difference(&now.cases).cloned().collect();
            // One that fails without naming a case fails in another way than one that does.
            let is_as_a_whole = now.cases.is_empty() && !were.is_empty();
            if is_as_a_whole {
                better.clear();
            }
            if worse.is_empty() && !is_as_a_whole {
                Verdict::Known
            } else {
                Verdict::Regression
            }
        }
        // It did not get to its end before: which cases would have failed nobody knows.
        (Some(Ending::TimedOut | Ending::Crashed), Ending::Failed) => Verdict::Known,
        (Some(was @ (Ending::TimedOut | Ending::Crashed)), now) if was == now => Verdict::Known,
        (_, Ending::Failed | Ending::TimedOut | Ending::Crashed) => {
            worse.clone_from(&now.cases);
            Verdict::Regression
        }
    };
    Judged {
        name: name.clone(),
        now: Some(now.clone()),
        before,
        verdict,
        worse,
        better,
    }
}

impl Comparison {
    /// How many tests have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.of(verdict).count()
    }

    /// The tests that ended worse than before, and whose ending may be one of chance.
    pub fn worth_another_try(&self) -> Vec<TestName> {
        let by_chance = |judged: &&Judged| match &judged.now {
            Some(now) => now.ending != Ending::Skipped,
            None => false,
        };
        let worse = self.of(Verdict::Regression).filter(by_chance);
        worse.map(|judged| judged.name.clone()).collect()
    }

    /// The tests that have this verdict.
    pub fn of(&self, verdict: Verdict) -> impl Iterator<Item = &Judged> {
        self.tests
            .iter()
            .filter(move |judged| judged.verdict == verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ending::{Crashed, Failed, Passed, Skipped, TimedOut};

    fn outcome(ending: Ending, cases: &[&str]) -> Outcome {
        Outcome {
            cases: cases.iter().map(|&case| case.to_owned()).collect(),
            ..Outcome::of(ending)
        }
    }

    #[test]
    fn every_change_has_its_verdict() {
        use Verdict::{Better as B, Known as K, Passed as P, Regression as R, Skipped as S};
        let endings = [Passed, Skipped, Failed, TimedOut, Crashed];
        let judged = |before: Option<Ending>| {
            let one = |now: Ending| {
                let was = before.map(|before| outcome(before, &[]));
                let name = "test_x".parse().expect("a name");
                judge(&name, was.as_ref(), &outcome(now, &[])).verdict
            };
            endings.map(one)
        };
        let table = [
            (None, [P, S, R, R, R]),
            (Some(Passed), [P, R, R, R, R]),
            (Some(Skipped), [B, S, R, R, R]),
            (Some(Failed), [B, R, K, R, R]),
            (Some(TimedOut), [B, R, K, K, R]),
            (Some(Crashed), [B, R, K, R, K]),
        ];
        for (before, verdicts) in table {
            assert_eq!(judged(before), verdicts, "{before:?}");
        }
    }

    type Cases = &'static [&'static str];

    #[test]
    fn of_a_test_that_fails_the_cases_count() {
        let table: [(Cases, Cases, Verdict, Cases, Cases); 5] = [
            (&["a"], &["a"], Verdict::Known, &[], &[]),
            (&["a", "b"], &["a"], Verdict::Known, &[], &["b"]),
            (&["a"], &["a", "b"], Verdict::Regression, &["b"], &[]),
            (&["a"], &["b"], Verdict::Regression, &["b"], &["a"]),
            (&["a"], &[], Verdict::Regression, &[], &[]),
        ];
        for (before, now, verdict, worse, better) in table {
            let name = "test_x".parse().expect("a name");
            let was = outcome(Failed, before);
            let judged = judge(&name, Some(&was), &outcome(Failed, now));
            assert_eq!(judged.verdict, verdict, "{before:?} {now:?}");
            assert_eq!(judged.worse.iter().collect::<Vec<_>>(), worse);
            assert_eq!(judged.better.iter().collect::<Vec<_>>(), better);
        }
    }

    #[test]
    fn a_test_that_is_lost_is_a_regression() {
        let name = |text: &str| text.parse::<TestName>().expect(text);
        let before = Baseline {
            stack: "debian-12".parse().expect("a name"),
            version: "3.11.2".parse().expect("a version"),
            profile: "plain".to_owned(),
            tests: ["test_a", "test_b", "test_c"]
                .map(|text| (name(text), outcome(Passed, &[])))
                .into(),
        };
        // test_c is not asked for, test_d never was there.
        let expected = ["test_a", "test_b", "test_d"].map(name).into();
        let now = [(name("test_a"), outcome(Passed, &[]))].into();
        let comparison = compare(Some(&before), &expected, &now);
        let verdicts: Vec<(&str, Verdict)> = comparison
            .tests
            .iter()
            .map(|judged| (judged.name.as_str(), judged.verdict))
            .collect();
        assert_eq!(
            verdicts,
            [("test_a", Verdict::Passed), ("test_b", Verdict::Regression)]
        );
        let none = compare(None, &expected, &now);
        assert_eq!(none.count(Verdict::Regression), 0);
    }

    #[test]
    fn what_may_be_chance_is_worth_another_try() {
        let name = |text: &str| text.parse::<TestName>().expect(text);
        let tests = ["test_a", "test_b", "test_c", "test_d", "test_e", "test_f"];
        let before = Baseline {
            stack: "debian-12".parse().expect("a name"),
            version: "3.11.2".parse().expect("a version"),
            profile: "plain".to_owned(),
            tests: tests.map(|text| (name(text), outcome(Passed, &[]))).into(),
        };
        // test_f is gone.
        let endings = [Passed, Skipped, Failed, TimedOut, Crashed];
        let now = tests.into_iter().zip(endings);
        let now = now.map(|(text, ending)| (name(text), outcome(ending, &[])));
        let comparison = compare(Some(&before), &tests.map(name).into(), &now.collect());
        assert_eq!(comparison.count(Verdict::Regression), 5);
        let again = ["test_c", "test_d", "test_e"].map(name);
        assert_eq!(comparison.worth_another_try(), again);
    }
}
