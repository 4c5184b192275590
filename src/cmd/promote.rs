//! `pybuild promote`: what a target has, verified, and copied to another as far as it is sound.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::examine::{Examiner, at_once, no_lock, read_list, read_lock, selection};
use super::publisher::check_writable;
use super::session::{Opened, Session};
use super::target::Outlets;
use super::{Done, Failure};
use crate::cli::{Global, Promote};
use crate::farm::{Crew, Ended, run as work_off};
use crate::model::{Amount, Phase};
use crate::publish::{
    Keys, Mode, Plan, PublishError, Put, Remote, Role, There, Verified, Way, plan,
};
use crate::store::Scratch;
use crate::ui::{self, ExitKind, Outcome, Promoted, Promotion};
use crate::verify::facts::{Archive, Seen};
use crate::verify::{Depth, Report};

/// Archives in a row that cannot be copied for reasons that may pass, before the others are not
/// tried any more.
const GIVE_UP: usize = 4;
/// How many archives are copied at once, at least, where one of the targets is not on this host.
const COPIES: usize = 4;

/// Verifies, copies what is sound, tells, and ends as that came out.
pub(super) fn run(global: &Global, args: &Promote) -> Result<Done, Failure> {
    let outlets = Outlets::to_promote(&args.from, &args.to, args.env_file.as_deref())?;
    let examiner = examiner(args)?;
    examiner.ahead(global, &args.selected, false)?;
    let session = match outlets.session_to_promote(global)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let (from, to) = (outlets.source()?, outlets.remote()?);
    if !args.dry_run {
        check_writable(&session, &to)?;
    }
    let seeing = examiner.look(&session, &from)?;
    let read: Vec<_> = seeing.facts.archives.iter().map(verified).collect();
    let report = seeing.report();
    let mut promoted: Vec<Promoted> = (0..read.len())
        .map(|n| before(&report, n, &read[n]))
        .collect();
    let sound = |n: &usize| promoted[*n].why.is_empty();
    let sound: Vec<(usize, &Verified)> = (0..read.len())
        .filter(sound)
        .filter_map(|n| Some((n, read[n].as_ref().ok()?)))
        .collect();
    let copying = Copying {
        session: &session,
        from: &from,
        to: &to,
        args,
        scratch: session.store.scratch()?,
        in_a_row: AtomicUsize::new(0),
    };
    let jobs = at_once(args.jobs, &[from.target(), to.target()], COPIES);
    let mut failures = copying.all(&sound, jobs, &mut promoted);
    let failure = (!failures.is_empty()).then(|| failures.remove(0));
    let targets = (&from, &to);
    tell(global, args, &session, targets, &report, promoted, failure)
}

/// What is looked at, and how closely.
fn examiner(args: &Promote) -> Result<Examiner<'_>, Failure> {
    let mut examiner = Examiner::new(&args.sources, &args.limits)?;
    examiner.what = selection(&args.selected)?;
    if let Some(file) = &args.witnesses.lock {
        examiner.lock = Some(read_lock(file)?.ok_or_else(|| no_lock(file))?);
    }
    examiner.expected = read_list(args.witnesses.list.as_deref())?;
    examiner.identity = args.identity;
    examiner.jobs = args.jobs;
    if args.digests {
        examiner.options.depth = Depth::Digests;
    }
    // What is unfinished where it is copied from is in nobody's way.
    examiner.options.stale_after = i64::MAX;
    Ok(examiner)
}

/// An archive as it was read, with its papers; or what it lacks.
fn verified(archive: &Archive) -> Result<Verified, &'static str> {
    let (Some(head), Some(stream)) = (archive.head.there(), archive.bytes.there()) else {
        return Err("present: it was not read");
    };
    let lacks = |seen: bool, what| if seen { Err(what) } else { Ok(()) };
    // A lock may do without them, but who reads what was promoted cannot.
    lacks(
        matches!(archive.checksum, Seen::Absent),
        "sidecars: it has no .sha256, without which nothing is promoted",
    )?;
    lacks(
        matches!(archive.record, Seen::Absent),
        "sidecars: it has no record, without which nothing is promoted",
    )?;
    let (Some(checksum), Some(record)) = (archive.sound_checksum(), archive.sound_record()) else {
        return Err("sidecars: they cannot be read");
    };
    Ok(Verified {
        keys: Keys::of(archive.key.clone()),
        head: head.clone(),
        digest: stream.sha256,
        sha256: checksum.line.clone().into_bytes(),
        // Verifying has compared it with what is there.
        record: record.to_json().into_bytes(),
    })
}

/// What is known of an archive before anything is copied. One with a reason is not copied.
fn before(report: &Report, n: usize, verified: &Result<Verified, &'static str>) -> Promoted {
    let checked = &report.checked[n];
    let mut promoted = Promoted {
        key: checked.key.clone(),
        size: checked.size,
        sha256: checked.sha256,
        outcome: Outcome::Stopped,
        by_store: None,
        why: Vec::new(),
    };
    let findings = report.of(&checked.key);
    promoted.why = findings
        .map(|finding| format!("{}: {}", finding.rule, finding.detail))
        .collect();
    let unseen = report.unseen.iter().filter(|it| it.key == checked.key);
    let unseen: Vec<String> = unseen.map(|unseen| unseen.why.clone()).collect();
    if !promoted.why.is_empty() {
        promoted.outcome = Outcome::Unsound;
    } else if !unseen.is_empty() {
        promoted.outcome = Outcome::Failed;
        promoted.why = unseen;
    } else if let Err(why) = verified {
        promoted.outcome = Outcome::Unsound;
        promoted.why.push((*why).to_owned());
    }
    promoted
}

/// What has become of one archive: how it ended, which way its tarball came, and what is in the
/// way.
type Copied = (Outcome, Option<Way>, Vec<String>);

/// What copying takes.
struct Copying<'a> {
    session: &'a Session,
    from: &'a Remote,
    to: &'a Remote,
    args: &'a Promote,
    scratch: Scratch,
    in_a_row: AtomicUsize,
}

impl Copying<'_> {
    /// Copies all of them, so many at once, and gives why those failed that did.
    fn all(
        &self,
        sound: &[(usize, &Verified)],
        at_once: usize,
        promoted: &mut [Promoted],
    ) -> Vec<Failure> {
        if sound.is_empty() {
            return Vec::new();
        }
        let bytes = sound.iter().map(|(_, verified)| verified.head.size).sum();
        let title = format!("copying to {}", self.to.target());
        let observer = self.session.observer();
        let phase = observer.phase(title, Amount::Bytes(bytes));
        let needs = vec![Vec::new(); sound.len()];
        let crew = Crew {
            at_once,
            processors: at_once,
        };
        let interrupt = &self.session.interrupt;
        let ended = work_off(&needs, crew, interrupt, &|n, _, _| {
            if self.in_a_row.load(Ordering::Relaxed) >= GIVE_UP {
                return Ok(None);
            }
            let verified = sound[n].1;
            phase.detail(&verified.keys.tarball);
            let copied = self.one(verified, &phase);
            match &copied {
                Err(error) if error.may_pass() => self.in_a_row.fetch_add(1, Ordering::Relaxed),
                _ => self.in_a_row.swap(0, Ordering::Relaxed),
            };
            copied.map(Some)
        });
        let mut failures = Vec::new();
        for ((n, _), ended) in sound.iter().zip(ended) {
            let it = &mut promoted[*n];
            match ended {
                Ended::Done(Some((outcome, way, why))) => {
                    it.outcome = outcome;
                    it.by_store = way.map(|way| way == Way::Store);
                    it.why = why;
                }
                Ended::Done(None) => {
                    it.why = vec!["others could not be copied either".to_owned()];
                }
                Ended::Failed(PublishError::Interrupted(error)) => it.why = vec![error.to_string()],
                // Somebody has put something there meanwhile.
                Ended::Failed(error @ PublishError::Exists { .. }) => {
                    it.outcome = Outcome::Refused;
                    it.why = vec![error.to_string()];
                }
                Ended::Failed(error) => {
                    it.outcome = Outcome::Failed;
                    it.why = vec![error.to_string()];
                    failures.push(error.into());
                }
                Ended::Stopped(_) => it.why = vec!["the run was stopped before".to_owned()],
            }
        }
        phase.done();
        failures
    }

    fn one(&self, verified: &Verified, phase: &Phase<'_>) -> Result<Copied, PublishError> {
        let interrupt = &self.session.interrupt;
        let has = verified.look(self.to, interrupt)?;
        let steps = match plan(&has, self.args.overwrite) {
            Plan::Put(steps) => steps,
            Plan::Nothing => {
                phase.advance(verified.head.size);
                return Ok((Outcome::There, None, Vec::new()));
            }
            Plan::Refused(others) => {
                let why = others.into_iter().map(another).map(str::to_owned);
                return Ok((Outcome::Refused, None, why.collect()));
            }
        };
        let outcome = if steps.iter().any(|(_, mode)| *mode == Mode::Overwrite) {
            Outcome::Replaced
        } else if has.iter().any(|(_, there)| *there != There::Nothing) {
            Outcome::Completed
        } else {
            Outcome::Published
        };
        if self.args.dry_run {
            return Ok((outcome, None, Vec::new()));
        }
        let targets = (self.from, self.to);
        let progress = |bytes| phase.advance(bytes);
        let scratch = self.scratch.path();
        let (put, way) = verified.put(targets, &steps, scratch, &progress, interrupt)?;
        Ok(match put {
            Put::Written => (outcome, way, Vec::new()),
            // Somebody else was faster.
            Put::AlreadySame => (Outcome::There, None, Vec::new()),
        })
    }
}

fn another(role: Role) -> &'static str {
    match role {
        Role::Tarball => "the tarball that is there has other bytes",
        Role::Sha256 => "the .sha256 that is there says something else",
        Role::Record => "the record that is there is of something else",
    }
}

/// The table, and what the program ends with: what a person must look at comes before what may
/// pass.
fn tell(
    global: &Global,
    args: &Promote,
    session: &Session,
    (from, to): (&Remote, &Remote),
    report: &Report,
    promoted: Vec<Promoted>,
    failure: Option<Failure>,
) -> Result<Done, Failure> {
    let elsewhere = report.elsewhere();
    let elsewhere = elsewhere.map(|finding| (finding.key.clone(), finding.detail.clone()));
    let promotion = Promotion::new(
        (from.target().to_string(), to.target().to_string()),
        args.dry_run,
        promoted,
        elsewhere.collect(),
        session.started.elapsed(),
    );
    if global.json {
        ui::print_json(&promotion)?;
    } else {
        ui::print(&promotion.render(session.ui.palette()))?;
    }
    session.interrupt.check()?;
    let has = |outcome| promotion.count(outcome) > 0;
    let found = has(Outcome::Unsound) || has(Outcome::Refused) || !promotion.elsewhere.is_empty();
    if found {
        return Ok(Done::Code(ExitKind::Found.code()));
    }
    let missing = promotion.count(Outcome::Failed) + promotion.count(Outcome::Stopped);
    match failure {
        // What may pass is told with the archive; what must be changed, with how.
        Some(failure) if failure.exit() != ExitKind::TryAgain => Err(failure),
        _ if missing > 0 => {
            let all = promotion.archives.len();
            let message = format!("{missing} of {all} archives are not copied");
            Err(Failure::new(ExitKind::TryAgain, message)
                .hint("run the same command again: what is there by now is not copied again"))
        }
        _ => Ok(Done::Here),
    }
}
