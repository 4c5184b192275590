//! `pybuild verify`: whether a target holds what it says it holds.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::examine::{Examiner, is_of_another, no_lock, read_list, read_lock, selection};
use super::session::{Opened, Session};
use super::source::Mirrors;
use super::steward::Outlet;
use super::{Done, Failure, keeper, rebuild, target};
use crate::cli::{self, Global};
use crate::publish::{Inputs, PublishError, Remote, Target};
use crate::sandbox::Launcher;
use crate::sys::fs as sysfs;
use crate::ui::{self, Closeness, ExitKind, Verification, Wrong};
use crate::verify::{
    Depth, IdentityError, Lock, Report, Rule, Seeing, Verdict, VerifyError, rules,
};

/// Where what was recorded is kept, if nobody says.
const LOCK: &str = "checksums.lock";

/// Verifies, tells, and ends as that came out.
pub(super) fn run(global: &Global, args: &cli::Verify) -> Result<Done, Failure> {
    let inputs = inputs(args)?;
    let settings = keeper::settings(&inputs)?;
    let target = settings.target().clone();
    let lock_file = args
        .witnesses
        .lock
        .clone()
        .unwrap_or_else(|| PathBuf::from(LOCK));
    let mut examiner = Examiner::new(&args.sources, &args.limits)?;
    examiner.what = selection(&args.selected)?;
    examiner.lock = lock(args, &lock_file, &target)?;
    examiner.expected = read_list(args.witnesses.list.as_deref())?;
    examiner.identity = args.identity;
    examiner.jobs = args.jobs;
    examiner.options.record = args.record;
    examiner.options.depth = match (args.quick, args.digests) {
        (true, _) => Depth::Headers,
        (false, true) => Depth::Digests,
        (false, false) => Depth::Whole,
    };
    examiner.ahead(global, &args.selected, args.rebuild)?;
    let outlet = if args.record {
        Outlet::Directory(parent(&lock_file), Some(&inputs))
    } else {
        Outlet::Nothing
    };
    let session = match Session::open_with(global, outlet, &Launcher::default())? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let remote = Remote::open(&target, &settings).map_err(of_target)?;
    let mut seeing = examiner.look(&session, &remote)?;
    if args.rebuild {
        let mirrors = Mirrors::new(
            args.mirror.source_mirror.clone(),
            args.sources.stacks.debian_mirror.clone(),
        );
        let formulae = &examiner.formulae;
        rebuild::all(&session, args, mirrors, formulae, &remote, &mut seeing)?;
    }
    let bytes = read(&seeing);
    let report = seeing.report();
    if args.record {
        record(&session, examiner.lock, &lock_file, &target, &report)?;
    }
    tell(global, args, &session, &target, &report, bytes)?;
    Ok(match report.verdict() {
        Verdict::Sound => Done::Here,
        Verdict::Wrong => Done::Code(ExitKind::Found.code()),
        Verdict::Unknown => Done::Code(ExitKind::TryAgain.code()),
    })
}

/// What opening the target takes, read while this process may still read all of it.
fn inputs(args: &cli::Verify) -> Result<Inputs, Failure> {
    // A directory takes no credentials: nobody's files are read for it.
    if let Some(target) = &args.target
        && let Ok(Target::Directory(_)) = target.parse()
    {
        return Ok(Inputs {
            target: Some(target.clone()),
            ..Inputs::default()
        });
    }
    target::inputs(args.target.clone(), None, args.env_file.as_deref())
}

/// The directory of a file that may be given by its name alone.
fn parent(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What was recorded before. A lock that was given must be there; one that lies about must be of
/// this target.
fn lock(args: &cli::Verify, file: &Path, target: &Target) -> Result<Option<Lock>, Failure> {
    let given = args.witnesses.lock.is_some();
    let Some(lock) = read_lock(file)? else {
        return if given && !args.record {
            Err(no_lock(file))
        } else {
            Ok(None)
        };
    };
    if !given && is_of_another(&lock, target) {
        let message = format!("{} is of {}, not of {target}", file.display(), lock.target);
        return Err(Failure::new(ExitKind::Usage, message)
            .hint(format!("--lock {LOCK} compares with it all the same"))
            .hint("--lock FILE names another"));
    }
    Ok(Some(lock))
}

/// The bytes of all tarballs that were read.
fn read(seeing: &Seeing) -> u64 {
    let archives = seeing.facts.archives.iter();
    archives
        .filter_map(|archive| Some(archive.bytes.there()?.size))
        .sum()
}

/// Writes what was found sound beside what was recorded before. What was recorded otherwise stays:
/// that it is another now is a finding, and to accept it a person's to say.
fn record(
    session: &Session,
    before: Option<Lock>,
    file: &Path,
    target: &Target,
    report: &Report,
) -> Result<(), Failure> {
    let mut lock = before.unwrap_or_default();
    if lock.target.is_empty() {
        lock.target = target.to_string();
    }
    let known = lock.digests.len();
    for (key, digest) in &report.sound {
        lock.digests.entry(key.clone()).or_insert(*digest);
    }
    let scratch = session.store.scratch()?;
    let path = scratch.path().join(LOCK);
    let mut content = sysfs::create_new(&path)?;
    content
        .write_all(lock.to_string().as_bytes())
        .map_err(sysfs::FsError::new("write", &path))?;
    // Delivered from its beginning, by a process that may only read.
    let name = file.file_name().map_or(Path::new(LOCK), Path::new);
    session.delivery.put(name, &sysfs::open(&path)?)?;
    let added = lock.digests.len() - known;
    let all = lock.digests.len();
    session.observer().note(format!(
        "{added} archives recorded in {}, {all} in all",
        file.display()
    ));
    Ok(())
}

fn tell(
    global: &Global,
    args: &cli::Verify,
    session: &Session,
    target: &Target,
    report: &Report,
    bytes: u64,
) -> Result<(), Failure> {
    let elapsed = session.started.elapsed();
    let newer = report.newer.len();
    if newer > 0 {
        let are = if newer == 1 {
            "archive is"
        } else {
            "archives are"
        };
        let note = format!("{newer} {are} newer than the index: run `pybuild index`");
        session.observer().note(note);
    }
    let verification = shown(args, target, report, bytes, elapsed);
    if global.json {
        let Report {
            checked,
            findings,
            unseen,
            uploads,
            newer,
            sound: _,
        } = report;
        ui::print_json(&serde_json::json!({
            "target": target.to_string(),
            "verdict": match report.verdict() {
                Verdict::Sound => "sound",
                Verdict::Wrong => "wrong",
                Verdict::Unknown => "unknown",
            },
            "summary": verification.headline(),
            "archives": checked.len(),
            "wrong": report.wrong_archives(),
            "bytes": bytes,
            "seconds": elapsed.as_secs_f64(),
            "findings": findings,
            "unseen": unseen,
            "checked": checked,
            "uploads_checked": uploads,
            "newer_than_index": newer,
        }))?;
    } else {
        ui::print(&verification.render(session.ui.palette()))?;
    }
    Ok(())
}

fn shown(
    args: &cli::Verify,
    target: &Target,
    report: &Report,
    bytes: u64,
    elapsed: std::time::Duration,
) -> Verification {
    let mut wrong: Vec<Wrong> = Vec::new();
    let mut elsewhere: Vec<Wrong> = Vec::new();
    for finding in &report.findings {
        let is_archive = report.checked.iter().any(|c| c.key == finding.key);
        let place = if is_archive {
            &mut wrong
        } else {
            &mut elsewhere
        };
        let detail = (finding.rule.row().name, finding.detail.clone());
        match place.last_mut() {
            Some(last) if last.key == finding.key => last.details.push(detail),
            _ => place.push(Wrong {
                key: finding.key.clone(),
                details: vec![detail],
            }),
        }
    }
    let unseen = report.unseen.iter();
    let is_unseen = |key: &str| report.unseen.iter().any(|unseen| unseen.key == key);
    let held = |rule| {
        if rule == Rule::Uploads && report.uploads {
            return report.checked.len();
        }
        let has = |checked: &&crate::verify::Checked| checked.rules.contains(&rule);
        report.checked.iter().filter(has).count()
    };
    Verification {
        target: target.to_string(),
        archives: report.checked.len(),
        bytes,
        manner: match (args.quick, args.digests) {
            (true, _) => Closeness::Headers,
            (false, true) => Closeness::Digests,
            (false, false) => Closeness::Whole,
        },
        wrong,
        elsewhere,
        unseen: unseen
            .map(|unseen| (unseen.key.clone(), unseen.why.clone()))
            .collect(),
        unseen_archives: report.checked.iter().filter(|c| is_unseen(&c.key)).count(),
        rules: rules::RULES
            .iter()
            .map(|row| (row.name, row.means, held(row.rule)))
            .collect(),
        elapsed,
    }
}

/// What to do about a target that cannot be used at all.
pub(super) fn of_target(error: PublishError) -> Failure {
    match error {
        PublishError::Interrupted(error) => error.into(),
        PublishError::Local(error) => {
            let failure = Failure::new(ExitKind::TryAgain, error);
            failure.hint("as root, pybuild reads as another uid: --run-as UID names one that may")
        }
        error if error.may_pass() => Failure::new(ExitKind::TryAgain, error),
        error @ PublishError::Protocol { .. } => Failure::new(ExitKind::TryAgain, error),
        error @ PublishError::TooLong { .. } => Failure::new(ExitKind::Usage, error),
        error => error.into(),
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Target(error) => of_target(error),
            error @ VerifyError::NoList { .. } => Self::new(ExitKind::Usage, error)
                .hint("`pybuild index` writes an index.json there, which says it")
                .hint("--list FILE names the keys that must be there, --lock FILE those recorded"),
            VerifyError::Fs(error) => error.into(),
            VerifyError::Store(error) => error.into(),
            VerifyError::Interrupted(error) => error.into(),
            VerifyError::Identity(error) => match *error {
                IdentityError::Proof(error) => (*error).into(),
                IdentityError::Formula(error) => (*error).into(),
                IdentityError::Fs(error) => error.into(),
                IdentityError::Interrupted(error) => error.into(),
                error @ IdentityError::Unknown(_) => Self::new(ExitKind::TryAgain, error),
            },
        }
    }
}
