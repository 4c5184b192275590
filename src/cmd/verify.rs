//! `pybuild verify`: whether a target holds what it says it holds.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::session::{Opened, Session, host_arch, jobs};
use super::source::Mirrors;
use super::steward::Outlet;
use super::{Done, Failure, keeper, limits, rebuild, target};
use crate::artifact::proof;
use crate::cli::{self, Global};
use crate::formula;
use crate::model::StackName;
use crate::publish::{Inputs, PublishError, Remote, Target};
use crate::rootfs;
use crate::sandbox::Launcher;
use crate::sys::fs as sysfs;
use crate::ui::{self, Closeness, ExitKind, Verification, Wrong};
use crate::verify::{
    Depth, Identify, IdentityError, Lock, Options, Report, Rule, Seeing, Selection, Tools, Verdict,
    VerifyError, look, rules, stacks,
};

/// Where what was recorded is kept, if nobody says.
const LOCK: &str = "checksums.lock";
/// Bytes of a list of keys that are read.
const LIST: u64 = 256 << 20;
/// How old an upload must be to be called stale, in seconds: none takes a day.
const STALE: i64 = 24 * 3600;

/// Verifies, tells, and ends as that came out.
pub(super) fn run(global: &Global, args: &cli::Verify) -> Result<Done, Failure> {
    let inputs = inputs(args)?;
    let settings = keeper::settings(&inputs)?;
    let target = settings.target().clone();
    let what = selection(args)?;
    let lock_file = args.lock.clone().unwrap_or_else(|| PathBuf::from(LOCK));
    let lock = read_lock(args, &lock_file, &target)?;
    let expected = read_list(args.list.as_deref())?;
    let formulae = formula::Catalog::load(args.sources.formulae_dir.as_deref())?;
    let stacks = rootfs::Catalog::load(args.sources.stacks.manifests.as_deref())?;
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
    let options = options(args);
    let mut tools = Tools {
        lock: lock.as_ref(),
        expected: &expected,
        identify: None,
    };
    let images = if args.identity {
        images(&session, args, &stacks, &remote, &what, &options, &tools)?
    } else {
        BTreeMap::new()
    };
    let launcher = Launcher::default();
    let identify = Identify {
        formulae: &formulae,
        images: &images,
        tools: proof::Tools {
            store: &session.store,
            host: &session.host,
            launcher: &launcher,
            observer: &crate::model::Quiet,
            interrupt: &session.interrupt,
            jobs: jobs(None),
        },
        limits: limits::of(&args.limits),
        arch: host_arch()?,
    };
    if args.identity {
        tools.identify = Some((&identify, &session.store));
    }
    let interrupt = &session.interrupt;
    let mut seeing = look(
        &remote,
        &what,
        &options,
        &tools,
        session.observer(),
        interrupt,
    )?;
    if args.rebuild {
        let mirrors = Mirrors::new(
            args.source_mirror.clone(),
            args.sources.stacks.debian_mirror.clone(),
        );
        rebuild::all(&session, args, mirrors, &formulae, &mut seeing)?;
    }
    let bytes = read(&seeing);
    let report = seeing.report();
    if args.record {
        record(&session, lock, &lock_file, &target, &report)?;
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

fn selection(args: &cli::Verify) -> Result<Selection, Failure> {
    let parse = |text: &String| {
        text.parse()
            .map_err(|error: String| Failure::new(ExitKind::Usage, error))
    };
    Ok(Selection {
        stack: args.stack.clone(),
        formulae: args.formulae.iter().map(parse).collect::<Result<_, _>>()?,
    })
}

fn options(args: &cli::Verify) -> Options {
    let depth = match (args.quick, args.digests) {
        (true, _) => Depth::Headers,
        (false, true) => Depth::Digests,
        (false, false) => Depth::Whole,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    Options {
        depth,
        record: args.record,
        jobs: jobs(args.jobs),
        stale_after: STALE,
        now,
    }
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
fn read_lock(args: &cli::Verify, file: &Path, target: &Target) -> Result<Option<Lock>, Failure> {
    let given = args.lock.is_some();
    let bytes = match sysfs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
            return if given && !args.record {
                Err(Failure::new(ExitKind::Usage, error).hint("--record writes a lock"))
            } else {
                Ok(None)
            };
        }
        Err(error) => return Err(error.into()),
    };
    let wrong = |why: String| {
        let shown = file.display();
        Failure::new(ExitKind::Usage, format!("{shown} is not a lock: {why}"))
            .hint("restore it, or remove it and record anew with --record")
    };
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not text".to_owned()))?;
    let lock = Lock::parse(&text).map_err(|error| wrong(error.to_string()))?;
    if !given && lock.target != target.to_string() {
        let message = format!("{} is of {}, not of {target}", file.display(), lock.target);
        return Err(Failure::new(ExitKind::Usage, message)
            .hint(format!("--lock {LOCK} compares with it all the same"))
            .hint("--lock FILE names another"));
    }
    Ok(Some(lock))
}

/// Keys, one a line.
fn read_list(file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(LIST).read_to_string(&mut text)
    } else {
        sysfs::open(file)?.take(LIST).read_to_string(&mut text)
    };
    read.map_err(|error| {
        Failure::new(
            ExitKind::Usage,
            format!("{} cannot be read: {error}", file.display()),
        )
    })?;
    let lines = text.lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(keys.map(str::to_owned).collect())
}

/// The run images of the stacks that have archives, as far as there are manifests of them.
fn images(
    session: &Session,
    args: &cli::Verify,
    catalog: &rootfs::Catalog,
    remote: &Remote,
    what: &Selection,
    options: &Options,
    tools: &Tools<'_>,
) -> Result<BTreeMap<StackName, Vec<PathBuf>>, Failure> {
    let known = catalog.names();
    let mut images = BTreeMap::new();
    for name in stacks(remote, what, options, tools, &known, &session.interrupt)? {
        let rootfs = session.rootfs(catalog.get(name)?, &args.sources.stacks)?;
        images.insert(name.clone(), rootfs.run.layers);
    }
    Ok(images)
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
fn of_target(error: PublishError) -> Failure {
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
