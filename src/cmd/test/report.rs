//! What is told of tests that have been run, and what is kept of what they printed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::{Trial, Tried};
use crate::cmd::Failure;
use crate::cmd::make::Made;
use crate::cmd::session::Session;
use crate::model::{Elapsed, TestName};
use crate::suite::{Ending, Judged, Ran, Verdict};
use crate::sys::fs::{self as sysfs, FsError};
use crate::ui::{Standing, TestRow, TestRun};

/// Keeps everything that was printed by those that neither passed nor were skipped, beside the log
/// of the build.
pub(super) fn log(
    session: &Session,
    made: &Made,
    tried: &Tried,
) -> Result<Option<PathBuf>, Failure> {
    let is_kept = |ending| !matches!(ending, Ending::Passed | Ending::Skipped);
    let first = tried.ran.iter().map(|(name, ran)| (name, ran, ""));
    let again = tried.again.iter();
    let again = again.map(|(name, ran)| (name, ran, ", run again alone,"));
    let mut kept: Vec<_> = first
        .chain(again)
        .filter(|(_, ran, _)| is_kept(ran.outcome.ending))
        .collect();
    kept.sort_by_key(|(name, ..)| *name);
    let path = session
        .store
        .log_path(&made.build_id)
        .with_extension("tests.log");
    if kept.is_empty() {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FsError::new("unlink", &path)(error).into())
            }
            _ => Ok(None),
        };
    }
    debug_assert!(tried.scratch.path().is_dir());
    let mut log = File::create(&path).map_err(FsError::new("create", &path))?;
    let mut put = |name: &TestName, ran: &Ran, how: &str| -> Result<(), FsError> {
        let head = format!(
            "\n# {name}{how} {} after {}\n",
            ran.outcome.ending,
            Elapsed(ran.wall)
        );
        let mut output = sysfs::open(&ran.output)?;
        log.write_all(head.as_bytes())
            .and_then(|()| io::copy(&mut output, &mut log))
            .map_err(FsError::new("write", &path))?;
        Ok(())
    };
    for (name, ran, how) in kept {
        put(name, ran, how)?;
    }
    Ok(Some(path))
}

/// The report on one version.
pub(super) fn of(
    trial: &Trial<'_>,
    made: &Made,
    tried: &Tried,
    log: Option<PathBuf>,
    recorded: Option<PathBuf>,
) -> TestRun {
    TestRun {
        formula: trial.recipe.reference.clone(),
        profile: trial.recipe.profile.clone(),
        build: made.build_id,
        tests: trial.choice.to_string(),
        baseline: trial.before.as_ref().map(|before| {
            let (version, profile) = (&before.version, &before.profile);
            format!("{version}, {profile}")
        }),
        recorded,
        log,
        results: (tried.comparison.tests.iter())
            .map(|judged| row(judged, tried))
            .collect(),
    }
}

fn row(judged: &Judged, tried: &Tried) -> TestRow {
    let first = tried.ran.get(&judged.name);
    let again = tried.again.get(&judged.name);
    let ran = again.or(first);
    let told = !matches!(
        judged.verdict,
        Verdict::Passed | Verdict::Better | Verdict::Skipped
    );
    let now = judged.now.as_ref();
    TestRow {
        name: judged.name.clone(),
        standing: match judged.verdict {
            Verdict::Passed => Standing::Passed,
            Verdict::Skipped => Standing::Skipped,
            Verdict::Known => Standing::Known,
            Verdict::Better => Standing::Better,
            Verdict::Regression => Standing::Regression,
        },
        ended: now.map_or("missing".to_owned(), |now| now.ending.to_string()),
        before: judged.before.map(|before| before.to_string()),
        first: again
            .and(first)
            .map(|first| first.outcome.ending.to_string()),
        why: now.and_then(|now| now.why.clone()),
        cases: now.map(|now| now.cases.clone()).unwrap_or_default(),
        worse: judged.worse.clone(),
        better: judged.better.clone(),
        tail: ran
            .filter(|_| told)
            .map(|ran| ran.tail.clone())
            .unwrap_or_default(),
        elapsed: ran.map(|ran| ran.wall).unwrap_or_default(),
    }
}
