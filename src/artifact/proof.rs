//! The proof that a prefix is what it is filed as, and runs where it is going to run.
//!
//! Rules, build paths and needed libraries are looked at from outside; then each check of the
//! formula runs in a sandbox of the *run* image, without network, the prefix read-only in one
//! place. Everything that fails is collected. What passes is a [`Proven`], and nothing else makes
//! one, so that nothing unproven can be packaged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::check::Check;
use super::contents::{Contents, contents};
use super::elf::{Elf, Machine, elves};
use super::failure::{Failed, Failure, Tail};
use super::image::Image;
use super::loader::{Resolution, Unresolved, resolve};
use super::record::Needs;
use super::rules::rules_of;
use super::scan::{ScanError, scan};
use super::tree::{Tree, TreeError};
use crate::model::{Amount, Arch, GuestPath, Observer, Phase};
use crate::sandbox::{
    Access, Bind, Changes, Command, End, Host, Identity, Input, Launcher, Limits, Network, Output,
    Privileges, Root, SandboxError, SandboxSpec,
};
use crate::store::{Scratch, Store, StoreError};
use crate::sys::fs::{FsError, create_dir_all};
use crate::sys::interrupt::{Interrupt, Interrupted};

/// What is to be proven.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What it is filed as, for people: `python-3.11.2`.
    pub name: &'a str,
    /// The prefix on this host, put in order. The way to it must be the caller's own.
    pub prefix: &'a Path,
    /// Where it was built to be.
    pub guest: &'a GuestPath,
    /// The machine it was built for.
    pub arch: Arch,
    /// The layers of the run image, the lowest first.
    pub run_layers: &'a [PathBuf],
    /// Where the platform has libraries looked for too (`LD_LIBRARY_PATH`).
    pub library_path: &'a [GuestPath],
    /// What no file of it may hold: where it was built, in the sandbox and on this host.
    pub forbidden: &'a [String],
    /// What must hold in the run image.
    pub checks: &'a [Check],
    /// What else of this host the checks see: the formula's helper files.
    pub binds: &'a [Bind],
    /// What each check may use up.
    pub limits: &'a Limits,
}

/// What a proof works with.
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
    /// How much may go on at once.
    pub jobs: usize,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The prefix is not what it should be.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// It cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A check could not be tried.
    #[error("the check {check} cannot be run: {source}")]
    Sandbox {
        /// Which.
        check: String,
        /// Why.
        source: SandboxError,
    },
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<ScanError> for ProofError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Fs(error) => Self::Fs(error),
            ScanError::Interrupted(interrupted) => Self::Interrupted(interrupted),
        }
    }
}

/// A prefix that was proven. Only [`prove`] makes one.
#[derive(Debug)]
pub struct Proven {
    prefix: PathBuf,
    facts: Facts,
}

impl Proven {
    /// The prefix on this host.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// What the proof has found out.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// What a proof finds out about a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What it needs of the run image.
    pub needs: Needs,
    /// What it holds, but for the sizes of its directories.
    pub contents: Contents,
    /// Where in the run image each of those libraries is.
    pub libraries: BTreeMap<String, PathBuf>,
    /// How many ELF files it has.
    pub elf_files: usize,
    /// How many regular files it has.
    pub files: usize,
    /// The bytes of its regular files.
    pub bytes: u64,
    /// The same by top-level directory (or file).
    pub sizes: BTreeMap<String, u64>,
    /// The checks that were run, and how long each took: the sandbox's start and end included.
    pub checks: Vec<(Check, Duration)>,
}

/// Proves a prefix, or tells everything that is wrong with it.
pub fn prove(subject: &Subject<'_>, tools: &Tools<'_>) -> Result<Proven, ProofError> {
    let observer = tools.observer;
    let count = subject.checks.len() as u64;
    let phase = observer.phase(format!("proving {}", subject.name), Amount::Items(count));
    phase.detail("looking at its files");
    let tree = Tree::read(subject.prefix)?;
    let mut failures: Vec<Failure> = rules_of(&tree).into_iter().map(Failure::Rule).collect();
    let needles: Vec<&str> = subject.forbidden.iter().map(String::as_str).collect();
    let hits = scan(&tree, &needles, tools.jobs, tools.interrupt)?;
    failures.extend(hits.into_iter().map(Failure::Leak));
    let (sound, broken) = elves(&tree)?;
    failures.extend(broken.into_iter().map(Failure::Elf));
    let held = contents(&tree, &sound)?;
    let held = held.map_err(|why| failures.push(Failure::Components(why)));
    let resolution = resolve_everywhere(subject, &sound, &mut failures)?;
    let mut passed = Vec::new();
    for (check, result) in subject.checks.iter().zip(run_all(subject, tools, &phase)?) {
        match result {
            Ok(wall) => passed.push((check.clone(), wall)),
            Err(failure) => failures.push(failure),
        }
    }
    if !failures.is_empty() {
        let subject = subject.name.to_owned();
        return Err(Failed { subject, failures }.into());
    }
    phase.done_with(format!("{} checks", passed.len()));
    Ok(Proven {
        prefix: subject.prefix.to_owned(),
        facts: facts(&tree, &sound, held.unwrap_or_default(), resolution, passed),
    })
}

/// Looks up the needed libraries at the prefix's own place and at each that a check moves it to.
fn resolve_everywhere(
    subject: &Subject<'_>,
    elves: &[Elf],
    failures: &mut Vec<Failure>,
) -> Result<Resolution, FsError> {
    let at = |guest: &GuestPath| {
        let image = Image::new(subject.run_layers).with_mount(guest, subject.prefix);
        resolve(
            elves,
            &image,
            guest,
            subject.library_path,
            Machine::of(subject.arch),
        )
    };
    let home = at(subject.guest)?;
    let mut told: BTreeSet<Unresolved> = BTreeSet::new();
    let mut tell = |guest: &GuestPath, unresolved: &[Unresolved]| {
        for what in unresolved {
            if told.insert(what.clone()) {
                failures.push(Failure::Unresolved {
                    at: guest.clone(),
                    what: what.clone(),
                });
            }
        }
    };
    tell(subject.guest, &home.unresolved);
    let places: BTreeSet<&GuestPath> = subject.checks.iter().map(|check| &check.prefix).collect();
    for guest in places.into_iter().filter(|guest| *guest != subject.guest) {
        tell(guest, &at(guest)?.unresolved);
    }
    Ok(home)
}

type Verdict = Result<Duration, Failure>;

/// Runs every check, as many at once as there are jobs, and gives the verdicts in their order.
fn run_all(
    subject: &Subject<'_>,
    tools: &Tools<'_>,
    phase: &Phase<'_>,
) -> Result<Vec<Verdict>, ProofError> {
    let scratch = tools.store.scratch()?;
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let verdicts: Mutex<BTreeMap<usize, Result<Verdict, ProofError>>> = Mutex::default();
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(check) = subject.checks.get(index) else {
                break;
            };
            phase.detail(format!("{} at {}", check.name, check.prefix));
            let verdict = run_one(subject, check, &scratch, index, tools);
            // One that could not be tried at all: the others would fare the same.
            stopped.fetch_or(verdict.is_err(), Ordering::Relaxed);
            phase.advance(1);
            let mut verdicts = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
            verdicts.insert(index, verdict);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..tools.jobs.min(subject.checks.len()) {
            scope.spawn(work);
        }
        work();
    });
    let verdicts = verdicts
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    verdicts.into_values().collect()
}

fn run_one(
    subject: &Subject<'_>,
    check: &Check,
    scratch: &Scratch,
    index: usize,
    tools: &Tools<'_>,
) -> Result<Verdict, ProofError> {
    let room = scratch.path().join(index.to_string());
    let spec = spec(subject, check);
    let mut tail = Tail::default();
    let mut take = |bytes: &[u8]| tail.take(bytes);
    let output = Output::Lines(&mut take);
    let result = tools.launcher.run_discarding(
        &spec,
        tools.host,
        Input::Null,
        output,
        tools.interrupt,
        || kept(&room, tools.host),
    );
    let failed = |how: String, tail: Tail| Failure::Check {
        check: check.clone(),
        how,
        output: tail.into_lines(),
    };
    match result {
        Ok(outcome) if outcome.end == End::Exited(0) => Ok(Ok(outcome.wall)),
        Ok(outcome) => Ok(Err(failed(how(outcome.end, &spec.limits), tail))),
        Err(Untried::Sandbox(SandboxError::Interrupted(interrupted))) => Err(interrupted.into()),
        // The program is not there: that is the prefix's failure, not the sandbox's.
        Err(Untried::Sandbox(error @ SandboxError::Command(_))) => {
            Ok(Err(failed(error.to_string(), tail)))
        }
        Err(Untried::Sandbox(source)) => Err(ProofError::Sandbox {
            check: check.name.clone(),
            source,
        }),
        Err(Untried::Fs(error)) => Err(error.into()),
    }
}

/// Why a check did not run to its end.
#[derive(Debug, thiserror::Error)]
enum Untried {
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// Directories for what a check changes, on a host that cannot hold it in memory.
fn kept(room: &Path, host: &Host) -> Result<Changes, Untried> {
    let [upper, work] = ["upper", "work"].map(|name| room.join(name));
    for dir in [&upper, &work] {
        create_dir_all(dir)?;
        if host.is_root() {
            let Identity { uid, gid } = host.outside();
            std::os::unix::fs::lchown(dir, Some(uid), Some(gid))
                .map_err(FsError::new("chown", dir))?;
        }
    }
    Ok(Changes::Kept { upper, work })
}

/// The sandbox of one check. Pure.
fn spec(subject: &Subject<'_>, check: &Check) -> SandboxSpec {
    let prefix = Bind {
        source: subject.prefix.to_owned(),
        target: check.prefix.clone(),
        access: Access::ReadOnly,
    };
    SandboxSpec {
        root: Root {
            layers: subject.run_layers.to_vec(),
            changes: Changes::Discarded,
        },
        binds: subject.binds.iter().cloned().chain([prefix]).collect(),
        identity: Identity::BUILDER,
        privileges: Privileges::Build,
        network: Network::None,
        limits: *subject.limits,
        terminal: None,
        command: Command {
            argv: check.argv.clone(),
            env: check.env.clone(),
            cwd: check.cwd.clone(),
        },
    }
}

fn how(end: End, limits: &Limits) -> String {
    match end {
        End::Exited(status) => format!("it exited with status {status}"),
        End::Killed(signal) => match nix::sys::signal::Signal::try_from(signal) {
            Ok(signal) => format!("it was killed by {signal}"),
            Err(_) => format!("it was killed by signal {signal}"),
        },
        End::TimedOut => format!("it took longer than {} s", limits.wall.as_secs()),
        End::OutOfMemory => format!("it used more than {} bytes of memory", limits.memory),
        End::TooMuchOutput => format!("it printed more than {} bytes", limits.output),
    }
}

fn facts(
    tree: &Tree,
    elves: &[Elf],
    contents: Contents,
    resolution: Resolution,
    checks: Vec<(Check, Duration)>,
) -> Facts {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for (path, node) in tree.files() {
        let top = path.iter().next().unwrap_or_default();
        *sizes.entry(top.to_string_lossy().into_owned()).or_default() += node.size;
    }
    Facts {
        needs: Needs {
            glibc_floor: elves.iter().filter_map(Elf::glibc_floor).max(),
            libraries: resolution.libraries.keys().cloned().collect(),
        },
        contents,
        libraries: resolution.libraries,
        elf_files: elves.len(),
        files: tree.files().count(),
        bytes: sizes.values().sum(),
        sizes,
        checks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::elf::{NeededVersion, Role};

    #[test]
    fn the_most_demanding_file_says_which_glibc_is_needed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tree = Tree::read(dir.path()).expect("a tree");
        let elf = |versions: &[&str]| Elf {
            path: PathBuf::from("file"),
            role: Role::Library,
            machine: Machine::of(Arch::Amd64),
            interpreter: None,
            soname: None,
            needed: Vec::new(),
            rpath: Vec::new(),
            runpath: Vec::new(),
            versions_needed: versions
                .iter()
                .map(|version| NeededVersion {
                    library: "libc.so.6".to_owned(),
                    version: (*version).to_owned(),
                    weak: false,
                })
                .collect(),
            versions_defined: BTreeSet::new(),
            compilers: BTreeSet::new(),
        };
        let elves = [
            elf(&["GLIBC_2.2.5"]),
            elf(&["GLIBC_2.9", "GLIBC_2.34", "GLIBC_2.17"]),
            elf(&["GLIBC_2.28"]),
            elf(&[]),
        ];
        let facts = facts(
            &tree,
            &elves,
            Contents::default(),
            Resolution::default(),
            Vec::new(),
        );
        assert_eq!(facts.needs.glibc_floor, "2.34".parse().ok());
    }
}
