//! Doing what a plan says: a workspace, the steps in their sandboxes, a prefix at the end.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::log::{BuildLog, LogHead};
use super::planned::{self, BuildPlan, PlannedStep, What};
use crate::archive::{self, ArchiveError, Extract, Trust};
use crate::formula::FileContent;
use crate::model::{Amount, FormulaRef, Observer, Phase};
use crate::sandbox::{
    self, Bind, Changes, Command, End, Host, Identity, Input, Limits, Network, Outcome, Output,
    Privileges, Root, SandboxError, SandboxSpec,
};
use crate::store::{Scratch, Store, StoreError};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;

/// Why a build came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A tarball cannot be unpacked.
    #[error("cannot unpack {what}")]
    Unpack {
        /// Which tarball.
        what: String,
        /// Why.
        source: ArchiveError,
    },
    /// The sandbox cannot be made, or was interrupted.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A step's program cannot be executed.
    #[error("{step} of {what}: {source}")]
    Command {
        /// What was being built.
        what: Box<FormulaRef>,
        /// Which step.
        step: String,
        /// Why.
        source: Box<SandboxError>,
    },
    /// A step failed.
    #[error("{} of {} {}", .0.step, .0.what, .0.end)]
    Step(Box<FailedStep>),
}

/// A step that failed.
#[derive(Debug)]
pub struct FailedStep {
    /// What was being built.
    pub what: FormulaRef,
    /// Which step.
    pub step: String,
    /// Its command, as one would paste it.
    pub command: String,
    /// How it ended.
    pub end: End,
    /// The last meaningful lines it printed.
    pub excerpt: Vec<String>,
    /// The whole log.
    pub log: PathBuf,
}

/// What a plan's digests and names are on this host.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The source tarball. A script brings its own.
    pub source: Option<&'a Path>,
    /// The archives that are unpacked into the prefix, in the plan's order.
    pub archives: &'a [PathBuf],
    /// The dependencies' tarballs, in the plan's order.
    pub dependencies: &'a [PathBuf],
    /// The build image's layers, the lowest first.
    pub layers: &'a [PathBuf],
}

/// What a build is done with.
pub struct Tools<'a> {
    /// Where it works.
    pub store: &'a Store,
    /// What this host can do.
    pub host: &'a Host,
    /// Hears how it goes.
    pub observer: &'a dyn Observer,
    /// Ends it early.
    pub interrupt: &'a Interrupt,
}

/// How a build is done, as far as that changes nothing in what it gives.
#[derive(Debug, Clone, Copy)]
pub struct Conduct {
    /// What each step may use up.
    pub limits: Limits,
    /// Whether to open a shell where a step failed.
    pub shell_on_failure: bool,
}

/// A prefix as the steps left it, in a scratch directory that lives as long as this.
#[derive(Debug)]
pub struct Built {
    workspace: Workspace,
    /// How long each step took.
    pub steps: Vec<(String, Duration)>,
}

impl Built {
    /// The directory that the sandbox saw as the prefix.
    pub fn prefix(&self) -> PathBuf {
        self.workspace.layout.place(&What::Prefix)
    }

    /// The directory with the formula's helper files, which its checks need too.
    pub fn files(&self) -> PathBuf {
        self.workspace.layout.place(&What::Files)
    }
}

/// Runs a plan's steps.
pub fn run(
    plan: &BuildPlan,
    inputs: &Inputs<'_>,
    conduct: Conduct,
    tools: &Tools<'_>,
) -> Result<Built, BuildError> {
    let head = LogHead {
        build: plan.build_id,
        stack: plan.platform.stack.clone(),
        reference: plan.reference.clone(),
        profile: plan.profile.clone(),
    };
    let mut log = BuildLog::create(&tools.store.log_path(&plan.build_id), &head)?;
    let workspace = Workspace::prepare(plan, inputs, tools)?;
    let mut steps = Vec::new();
    for step in &plan.steps {
        let spec = workspace
            .layout
            .spec(plan, step, inputs.layers, conduct.limits);
        let title = format!("{}: {}", plan.reference, step.name);
        let phase = tools.observer.phase(title, Amount::Unknown);
        let outcome = run_step(step, &spec, &mut log, &phase, tools);
        let outcome = outcome.map_err(|error| match error {
            BuildError::Sandbox(source @ SandboxError::Command(_)) => BuildError::Command {
                what: Box::new(plan.reference.clone()),
                step: step.name.clone(),
                source: Box::new(source),
            },
            other => other,
        })?;
        if outcome.end != End::Exited(0) {
            drop(phase);
            if conduct.shell_on_failure {
                open_shell(&spec, step, tools)?;
            }
            return Err(BuildError::Step(Box::new(FailedStep {
                what: plan.reference.clone(),
                step: step.name.clone(),
                command: step.command_line(),
                end: outcome.end,
                excerpt: log.excerpt(),
                log: log.path().to_owned(),
            })));
        }
        steps.push((step.name.clone(), phase.done()));
    }
    Ok(Built { workspace, steps })
}

fn run_step(
    step: &PlannedStep,
    spec: &SandboxSpec,
    log: &mut BuildLog,
    phase: &Phase<'_>,
    tools: &Tools<'_>,
) -> Result<Outcome, BuildError> {
    log.begin(&step.name, &step.command_line())?;
    let mut written = Ok(());
    let mut throttle = Throttle::new();
    let mut take = |bytes: &[u8]| {
        if written.is_ok() {
            written = log.output(bytes, |line| {
                if throttle.lets_pass() {
                    phase.detail(line);
                }
            });
        }
    };
    let output = Output::Lines(&mut take);
    let outcome = sandbox::run(spec, tools.host, Input::Null, output, tools.interrupt)?;
    written?;
    log.end(&outcome.end.to_string(), outcome.wall)?;
    Ok(outcome)
}

/// A shell in the sandbox of a failed step, on the user's own terminal.
fn open_shell(spec: &SandboxSpec, step: &PlannedStep, tools: &Tools<'_>) -> Result<(), BuildError> {
    tools.observer.note(format!(
        "a shell in the sandbox where {} failed; the command was: {}",
        step.name,
        step.command_line()
    ));
    let mut spec = spec.clone();
    spec.command.argv = vec!["/bin/sh".to_owned(), "-i".to_owned()];
    spec.terminal = sandbox::terminal::here();
    let terminal = sandbox::terminal::environment(|name| std::env::var(name).ok());
    spec.command.env.extend(terminal);
    spec.limits.wall = Duration::from_secs(24 * 3600);
    let input = Input::Inherit;
    sandbox::run(&spec, tools.host, input, Output::Inherit, tools.interrupt)?;
    Ok(())
}

/// The directories of one build on this host.
#[derive(Debug)]
struct Workspace {
    /// Keeps them until this is dropped.
    _scratch: Scratch,
    layout: Layout,
}

impl Workspace {
    /// Makes them, and unpacks what the plan wants to see there.
    fn prepare(
        plan: &BuildPlan,
        inputs: &Inputs<'_>,
        tools: &Tools<'_>,
    ) -> Result<Self, BuildError> {
        let title = format!("{}: unpack", plan.reference);
        let phase = tools.observer.phase(title, Amount::Unknown);
        let scratch = tools.store.scratch()?;
        let layout = Layout(scratch.path().to_owned());
        for room in ["upper", "work"] {
            sysfs::create_dir_all(&layout.at(room))?;
        }
        let mut tarballs = inputs.dependencies.iter();
        for planned::Bind { what, .. } in &plan.binds {
            let into = layout.place(what);
            sysfs::create_dir_all(&into)?;
            match what {
                What::Source => {
                    if let Some(source) = inputs.source {
                        unpack(&plan.source.file, source, &into, 1, tools)?;
                    }
                }
                What::Dependency(reference) => {
                    let tarball = tarballs.next().expect("one tarball for each dependency");
                    unpack(&reference.to_string(), tarball, &into, 0, tools)?;
                }
                What::Files => {
                    write_files(&into, &plan.files, plan.reference.is_script())?;
                    write_files(&into.join("patches"), &plan.patches, false)?;
                }
                What::Prefix => {
                    for (archive, path) in plan.archives.iter().zip(inputs.archives) {
                        lay(&archive.name, path, &into, tools)?;
                    }
                }
                What::Home => {}
            }
        }
        phase.done();
        Ok(Self {
            _scratch: scratch,
            layout,
        })
    }
}

/// Where in a scratch directory what a build sees lies.
#[derive(Debug)]
struct Layout(PathBuf);

/// The sandbox that a step of `plan` would run in, if its scratch directory were `scratch`.
pub fn sandbox_of(
    plan: &BuildPlan,
    step: &PlannedStep,
    layers: &[PathBuf],
    limits: Limits,
    scratch: &Path,
) -> SandboxSpec {
    Layout(scratch.to_owned()).spec(plan, step, layers, limits)
}

impl Layout {
    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where on this host a directory of the plan is.
    fn place(&self, what: &What) -> PathBuf {
        match what {
            What::Source => self.at("source"),
            What::Files => self.at("files"),
            What::Home => self.at("home"),
            What::Prefix => self.at("prefix"),
            What::Dependency(reference) => self.at("deps").join(reference.name().as_str()),
        }
    }

    fn spec(
        &self,
        plan: &BuildPlan,
        step: &PlannedStep,
        layers: &[PathBuf],
        limits: Limits,
    ) -> SandboxSpec {
        let bind = |bind: &planned::Bind| Bind {
            source: self.place(&bind.what),
            target: bind.target.clone(),
            access: bind.access,
        };
        let names = if plan.network {
            sandbox::host_names(layers)
        } else {
            Vec::new()
        };
        SandboxSpec {
            root: Root {
                layers: layers.to_vec(),
                changes: Changes::Kept {
                    upper: self.at("upper"),
                    work: self.at("work"),
                },
            },
            binds: plan.binds.iter().map(bind).chain(names).collect(),
            identity: Identity::BUILDER,
            privileges: Privileges::Build,
            network: if plan.network {
                Network::Host
            } else {
                Network::None
            },
            limits,
            terminal: None,
            command: Command {
                argv: step.argv.clone(),
                env: step.env.clone(),
                cwd: step.cwd.clone(),
            },
        }
    }
}

fn unpack(
    what: &str,
    tarball: &Path,
    into: &Path,
    strip: usize,
    tools: &Tools<'_>,
) -> Result<(), BuildError> {
    extract(what, tarball, (into, Trust::Sealed, strip), tools)
}

/// Unpacks an archive that somebody has published over what is there already, as others were
/// before it. What lies at one place in several is of the last.
fn lay(what: &str, tarball: &Path, into: &Path, tools: &Tools<'_>) -> Result<(), BuildError> {
    extract(what, tarball, (into, Trust::Layer, 0), tools)
}

fn extract(
    what: &str,
    tarball: &Path,
    (into, trust, strip): (&Path, Trust, usize),
    tools: &Tools<'_>,
) -> Result<(), BuildError> {
    let file = sysfs::open(tarball)?;
    let size = file
        .metadata()
        .map_err(FsError::new("stat", tarball))?
        .len();
    let how = Extract {
        strip,
        limits: archive::Limits::for_compressed(size),
        ..Extract::new(into, trust)
    };
    archive::decoder(archive::interruptible(file, tools.interrupt))
        .and_then(|tar| archive::extract(tar, &how))
        .map(drop)
        .map_err(|source| BuildError::Unpack {
            what: what.to_owned(),
            source,
        })
}

/// Helper files are the same in every build: what the umask says is not. All that lies beside a
/// script may be executed: whether it may where it comes from is not asked.
fn write_files(dir: &Path, files: &[FileContent], executable: bool) -> Result<(), BuildError> {
    let mode = if executable { 0o755 } else { 0o644 };
    for file in files {
        let path = dir.join(file.path());
        if let Some(parent) = path.parent() {
            sysfs::create_dir_all(parent)?;
        }
        fs::write(&path, file.bytes()).map_err(FsError::new("write", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .map_err(FsError::new("chmod", &path))?;
    }
    Ok(())
}

/// Lets a build that prints thousands of lines a second show only some of them.
struct Throttle {
    window: Instant,
    passed: u32,
}

impl Throttle {
    const WINDOW: Duration = Duration::from_millis(50);
    const LINES: u32 = 50;

    fn new() -> Self {
        Self {
            window: Instant::now(),
            passed: 0,
        }
    }

    fn lets_pass(&mut self) -> bool {
        if self.window.elapsed() > Self::WINDOW {
            *self = Self::new();
        }
        self.passed += 1;
        self.passed <= Self::LINES
    }
}
