//! Running tests: each in a sandbox of its own, several at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::outcome::{Ending, Outcome};
use super::spool::Spool;
use crate::model::{Amount, GuestPath, Observer, Phase, TestName};
use crate::sandbox::{
    Access, Bind, Changes, Command, End, Host, Identity, Input, Launcher, Limits, Network, Output,
    Privileges, Root, SandboxError, SandboxSpec,
};
use crate::store::{Scratch, Store, StoreError};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;

/// How many tests there may be.
const TESTS: usize = 5000;

/// What is tested, and how.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// For people: `python-3.11.2`.
    pub name: &'a str,
    /// The unpacked artifact, at its own place in a directory that is nothing else: a layer.
    pub layer: &'a Path,
    /// Its own place, where the sandboxes see it.
    pub guest: &'a GuestPath,
    /// What else they see.
    pub binds: &'a [Bind],
    /// The layers of the run image, the lowest first.
    pub run_layers: &'a [PathBuf],
    /// What a test may use up.
    pub limits: &'a Limits,
    /// The command that tells which tests there are.
    pub list: &'a [String],
    /// The command that runs the one whose name follows.
    pub run: &'a [String],
}

/// What tests are run with.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Where the sandboxes' scratch is.
    pub store: &'a Store,
    /// What this host can do.
    pub host: &'a Host,
    /// What starts the sandboxes.
    pub launcher: &'a Launcher,
    /// Who is told of the progress.
    pub observer: &'a dyn Observer,
    /// The wish to stop.
    pub interrupt: &'a Interrupt,
    /// How many tests run at once.
    pub jobs: usize,
}

/// How often a test has been run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// All tests, as many at once as there are jobs.
    First,
    /// Those that ended worse than before, one by one: what is short of time beside others may pass
    /// alone.
    Again,
}

impl Round {
    fn title(self, subject: &Subject<'_>) -> String {
        match self {
            Self::First => format!("testing {}", subject.name),
            Self::Again => format!("testing {} again, one by one", subject.name),
        }
    }

    fn jobs(self, jobs: usize) -> usize {
        match self {
            Self::First => jobs,
            Self::Again => 1,
        }
    }

    /// Where what they print is kept: below the scratch.
    fn room(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Again => "again",
        }
    }
}

/// One test that has been run.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub wall: Duration,
    /// The last lines that it printed.
    pub tail: Vec<String>,
    /// Everything that it printed, if it did not pass; as long as the scratch lives.
    pub output: PathBuf,
}

/// Why tests cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The command that tells which there are did not do so.
    #[error("it cannot be told which tests {subject} has: {why}")]
    List {
        /// What is tested.
        subject: String,
        /// Why.
        why: String,
        /// What was printed last.
        tail: Vec<String>,
    },
    /// A sandbox cannot be made, or was interrupted.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which tests there are. What puts them in their place writes to the prefix: all tests see that.
pub fn list(
    subject: &Subject<'_>,
    scratch: &Scratch,
    tools: &Tools<'_>,
) -> Result<BTreeSet<TestName>, SuiteError> {
    let title = format!("looking which tests {} has", subject.name);
    let phase = tools.observer.phase(title, Amount::Unknown);
    let path = scratch.path().join("list");
    let prefix = Bind {
        source: subject.layer.join(subject.guest.relative()),
        target: subject.guest.clone(),
        access: Access::ReadWrite,
    };
    let binds = subject.binds.iter().cloned().chain([prefix]);
    let mut spec = spec(subject, subject.list.to_vec());
    spec.binds = binds.collect();
    let (end, _, last, mut tail) = execute(&spec, &path, tools)?;
    tail.push(String::from_utf8_lossy(&last).into_owned());
    let failed = |why: String| SuiteError::List {
        subject: subject.name.to_owned(),
        why,
        tail: tail.clone(),
    };
    if end != End::Exited(0) {
        return Err(failed(format!("`{}` {end}", subject.list.join(" "))));
    }
    let longest = TESTS * (TestName::LONGEST + 1);
    let size = fs::metadata(&path).map_err(FsError::new("stat", &path))?;
    if size.len() > longest as u64 {
        return Err(failed(format!("it says more than {longest} bytes")));
    }
    let text = fs::read(&path).map_err(FsError::new("read", &path))?;
    let tests = names(&text).map_err(failed)?;
    phase.done_with(format!("{} tests", tests.len()));
    Ok(tests)
}

/// The names of tests, one a line.
fn names(text: &[u8]) -> Result<BTreeSet<TestName>, String> {
    let text = String::from_utf8_lossy(text);
    let mut tests = BTreeSet::new();
    for line in text.lines() {
        let name = line
            .parse::<TestName>()
            .map_err(|error| error.to_string())?;
        if tests.contains(&name) {
            return Err(format!("it says `{name}` twice"));
        }
        tests.insert(name);
    }
    match tests.len() {
        0 => Err("it says none".to_owned()),
        1..=TESTS => Ok(tests),
        _ => Err(format!("it says more than {TESTS}")),
    }
}

/// Runs tests, in this order.
pub fn run(
    subject: &Subject<'_>,
    tests: &[TestName],
    round: Round,
    scratch: &Scratch,
    tools: &Tools<'_>,
) -> Result<BTreeMap<TestName, Ran>, SuiteError> {
    if tests.is_empty() {
        return Ok(BTreeMap::new());
    }
    let room = scratch.path().join(round.room());
    sysfs::create_dir_all(&room)?;
    let total = Amount::Items(tests.len() as u64);
    let phase = tools.observer.phase(round.title(subject), total);
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let all: Mutex<Vec<(TestName, Result<Ran, SuiteError>)>> = Mutex::default();
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            phase.detail(test.as_str());
            let ran = run_one(subject, test, &room, tools);
            // One that could not be tried at all: the others would fare the same.
            stopped.fetch_or(ran.is_err(), Ordering::Relaxed);
            if let Ok(ran) = &ran {
                tell(&phase, test, ran);
            }
            phase.advance(1);
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.push((test.clone(), ran));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..round.jobs(tools.jobs).min(tests.len()) {
            scope.spawn(work);
        }
        work();
    });
    let all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    let ran: BTreeMap<TestName, Ran> = all
        .into_iter()
        .map(|(name, ran)| Ok((name, ran?)))
        .collect::<Result<_, SuiteError>>()?;
    phase.done_with(format!("{} tests", ran.len()));
    Ok(ran)
}

fn tell(phase: &Phase<'_>, test: &TestName, ran: &Ran) {
    if !matches!(ran.outcome.ending, Ending::Passed | Ending::Skipped) {
        phase.detail(format!("{test} {}", ran.outcome.ending));
    }
}

fn run_one(
    subject: &Subject<'_>,
    test: &TestName,
    room: &Path,
    tools: &Tools<'_>,
) -> Result<Ran, SuiteError> {
    let argv = subject.run.iter().cloned().chain([test.to_string()]);
    let mut spec = spec(subject, argv.collect());
    // What it writes below the prefix it alone sees.
    spec.root.layers.push(subject.layer.to_owned());
    let output = room.join(format!("{test}.out"));
    let (end, wall, last, mut tail) = execute(&spec, &output, tools)?;
    let outcome = Outcome::read(end, &last);
    match outcome.ending {
        Ending::Passed | Ending::Skipped => {
            fs::remove_file(&output).map_err(FsError::new("unlink", &output))?;
        }
        Ending::Failed => {}
        // What was printed last is no result, and may say why.
        Ending::TimedOut | Ending::Crashed => {
            let last = String::from_utf8_lossy(&last[..last.len().min(400)]).into_owned();
            tail.extend(Some(last).filter(|last| !last.is_empty()));
        }
    }
    Ok(Ran {
        outcome,
        wall,
        tail,
        output,
    })
}

/// How a command ended, after how long, the last line that it printed and those before.
type Ended = (End, Duration, Vec<u8>, Vec<String>);

/// What is printed goes to `output`, in a scratch; what is changed may go beside it.
fn execute(spec: &SandboxSpec, output: &Path, tools: &Tools<'_>) -> Result<Ended, SuiteError> {
    let mut spool = Spool::create(output)?;
    let mut take = |bytes: &[u8]| spool.take(bytes);
    let room = output.with_extension("changes");
    let kept = || -> Result<Changes, SuiteError> {
        let [upper, work] = ["upper", "work"].map(|name| room.join(name));
        sysfs::create_dir_all(&upper)?;
        sysfs::create_dir_all(&work)?;
        Ok(Changes::Kept { upper, work })
    };
    let lines = Output::Lines(&mut take);
    let (host, interrupt) = (tools.host, tools.interrupt);
    let outcome = tools
        .launcher
        .run_discarding(spec, host, Input::Null, lines, interrupt, kept)?;
    if room.exists() {
        sysfs::remove_tree(&room)?;
    }
    let (last, tail) = spool.end()?;
    Ok((outcome.end, outcome.wall, last, tail))
}

/// The sandbox of a command, without the prefix. Pure.
fn spec(subject: &Subject<'_>, argv: Vec<String>) -> SandboxSpec {
    let env = [
        ("HOME", "/tmp"),
        ("LC_ALL", "C.UTF-8"),
        (
            "PATH",
            "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        ),
        ("TMPDIR", "/tmp"),
        ("TZ", "UTC"),
    ];
    SandboxSpec {
        root: Root {
            layers: subject.run_layers.to_vec(),
            changes: Changes::Discarded,
        },
        binds: subject.binds.to_vec(),
        identity: Identity::BUILDER,
        privileges: Privileges::Build,
        network: Network::None,
        limits: *subject.limits,
        terminal: None,
        command: Command {
            argv,
            env: env
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            cwd: "/tmp".parse().expect("an absolute path"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_run_again_is_run_alone_and_kept_apart() {
        assert_eq!(Round::First.jobs(8), 8);
        assert_eq!(Round::Again.jobs(8), 1);
        assert_ne!(Round::First.room(), Round::Again.room());
    }

    #[test]
    fn which_tests_there_are_is_read_strictly() {
        let read = |text: &str| -> Result<Vec<String>, String> {
            let names = names(text.as_bytes())?;
            Ok(names.iter().map(TestName::to_string).collect())
        };
        assert_eq!(
            read("test_b\ntest_a\n"),
            Ok(vec!["test_a".to_owned(), "test_b".to_owned()])
        );
        let many: Vec<String> = (0..=TESTS).map(|n| format!("t{n}")).collect();
        let many = many.join("\n");
        let table = [
            ("", "none"),
            ("test_a\n\ntest_b\n", "not the name of a test"),
            ("test_a\n--help\n", "not the name of a test"),
            ("a/../../b\n", "not the name of a test"),
            ("test_a\ntest_a\n", "twice"),
            (many.as_str(), "more than"),
        ];
        for (text, said) in table {
            let why = read(text).expect_err(said);
            assert!(why.contains(said), "{why}");
        }
    }
}
