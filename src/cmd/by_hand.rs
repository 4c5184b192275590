//! A command that a person runs by hand in a fresh sandbox of a stack: what `run` and `shell` share.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::make::{Batch, Made, Manner, Workshop, batch};
use super::session::{Opened, Session, bootstrap, jobs, look, manifest, terminal};
use super::source::Mirrors;
use super::steward::Outlet;
use super::{Done, Failure, locking, registries};
use crate::archive::{self, Codec, Extract, Trust};
use crate::build::{self, BuildPlan};
use crate::cli::{self, Global, ImageKind, Inside};
use crate::model::{Amount, FormulaRef, GuestPath, Kind, StackName};
use crate::rootfs::Manifest;
use crate::sandbox::{
    self, Access, Bind, Changes, Command, End, Identity, Input, Launcher, Limits, Network, Output,
    Privileges, Root, SandboxSpec,
};
use crate::store::Scratch;
use crate::sys::fs::{self as sysfs, FsError};
use crate::ui::{self, ExitKind, Section};

/// Who the command is.
pub(super) const IDENTITY: Identity = Identity::BUILDER;
/// Where programs are, the first of which comes after those of `--with`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Where and how a command is run.
pub(super) struct ByHand<'a> {
    pub(super) global: &'a Global,
    pub(super) stack: &'a StackName,
    pub(super) inside: &'a Inside,
    pub(super) dry_run: bool,
}

/// Which network is seen.
pub(super) fn network(wanted: bool) -> Network {
    if wanted { Network::Host } else { Network::None }
}

impl ByHand<'_> {
    /// Runs what `finish` makes of a sandbox without a command, on this process's own standard
    /// streams, and passes its exit code on.
    pub(super) fn execute(
        &self,
        launcher: &Launcher,
        finish: impl FnOnce(&Session, &mut SandboxSpec) -> Result<(), Failure>,
    ) -> Result<Done, Failure> {
        let Self {
            global,
            stack,
            inside,
            dry_run,
        } = *self;
        let manifest = manifest(stack, &inside.sources.stacks)?;
        let batch = self.batch()?;
        if dry_run
            && locking::prepared(&manifest, &inside.sources.stacks, &look(global)?)?.is_none()
        {
            let then = "then run the command in a sandbox of it";
            let sections = [bootstrap(stack, then)];
            ui::print(&Section::render(&sections, terminal(global).palette()))?;
            return Ok(Done::Here);
        }
        registries::ahead(global, [&manifest], &inside.sources.stacks)?;
        let session = match Session::open_with(global, Outlet::Nothing, launcher)? {
            Opened::Session(session) => session,
            Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
        };
        let mut spec = spec(inside.network);
        // Looked at before anything is built, and mounted after it.
        let binds = binds(&inside.binds)?;
        let mut scratches = Vec::new();
        if dry_run {
            spec.root.layers = layers(&session, &manifest, inside)?;
        } else {
            spec.root.layers =
                self.install(&session, &manifest, &batch, &mut scratches, &mut spec)?;
        }
        if inside.network {
            spec.binds.extend(sandbox::host_names(&spec.root.layers));
        }
        finish(&session, &mut spec)?;
        spec.binds.extend(binds);
        let mut kept = || -> Result<Changes, Failure> {
            let scratch = session.store.scratch()?;
            let [upper, work] = ["upper", "work"].map(|name| scratch.path().join(name));
            sysfs::create_dir_all(&upper)?;
            sysfs::create_dir_all(&work)?;
            scratches.push(scratch);
            Ok(Changes::Kept { upper, work })
        };
        if dry_run {
            if !session.host.can_discard() {
                spec.root.changes = kept()?;
            }
            let plan = sandbox::plan(&spec, &session.host)?;
            let first = batch.recipes.iter().map(|recipe| {
                let what = format!("build {}, unless the store has it", recipe.reference);
                Section::new(what, ["put it into the sandbox, in its place"])
            });
            let mut sections: Vec<Section> = first.collect();
            sections.push(Section::new(format!("a sandbox of {stack}"), plan));
            ui::print(&Section::render(&sections, session.ui.palette()))?;
            return Ok(Done::Here);
        }
        let (input, output) = (Input::Inherit, Output::Inherit);
        let (host, interrupt) = (&session.host, &session.interrupt);
        let outcome = launcher.run_discarding(&spec, host, input, output, interrupt, kept)?;
        match outcome.end {
            End::Exited(code) => Ok(Done::Code(u8::try_from(code).unwrap_or(1))),
            End::Killed(signal) => Ok(Done::Code(ExitKind::Signal(signal).code())),
            end @ (End::TimedOut | End::OutOfMemory | End::TooMuchOutput) => Err(Failure::new(
                ExitKind::BuildFailed,
                format!("the command {end}"),
            )),
        }
    }

    /// What is to be there besides the stack, each after what it depends on.
    fn batch(&self) -> Result<Batch, Failure> {
        let Inside {
            with,
            profile,
            sources,
            ..
        } = self.inside;
        if with.is_empty() {
            return Ok(Batch::default());
        }
        batch(
            with,
            self.stack,
            sources.formulae_dir.as_deref(),
            profile.as_deref(),
        )
    }

    /// Has the stack and the formulae there; gives the layers of the image.
    fn install(
        &self,
        session: &Session,
        manifest: &Manifest,
        batch: &Batch,
        scratches: &mut Vec<Scratch>,
        spec: &mut SandboxSpec,
    ) -> Result<Vec<PathBuf>, Failure> {
        let Inside {
            image,
            sources,
            mirror,
            ..
        } = self.inside;
        if batch.recipes.is_empty() {
            return layers(session, manifest, self.inside);
        }
        let rootfs = session.rootfs(manifest, &sources.stacks)?;
        let debian = sources.stacks.debian_mirror.clone();
        let manner = Manner {
            mirrors: Mirrors::new(mirror.source_mirror.clone(), debian),
            limits: super::limits::usual(),
            jobs: jobs(None),
            shell_on_failure: false,
        };
        let workshop = Workshop {
            session,
            rootfs: &rootfs,
            manner: &manner,
        };
        let mut made: Vec<Made> = Vec::new();
        let mut path = Vec::new();
        for recipe in &batch.recipes {
            let one = workshop.make(recipe, &made, Codec::Gzip, false)?;
            if batch.asks_for(recipe) {
                let plans = workshop.plans(recipe, &made);
                for place in plans.first().into_iter().flat_map(dependencies) {
                    let found = made.iter().zip(&batch.recipes);
                    // What a training has learned is of use to nobody but the build.
                    let mut found = found.filter(|(_, it)| it.kind != Kind::Profile);
                    let found = found.find(|(made, _)| made.reference == place.0);
                    let found = found.map(|(made, _)| made);
                    if let Some(found) = found.filter(|_| !is_bound(spec, &place.1)) {
                        let source = unpack(session, found, scratches)?;
                        bind(spec, source, place.1, Access::ReadOnly);
                    }
                }
                let source = unpack(session, &one, scratches)?;
                path.push(format!("{}/bin:", recipe.prefix));
                bind(spec, source, recipe.prefix.clone(), Access::ReadWrite);
            }
            made.push(one);
        }
        let path = format!("{}{PATH}", path.concat());
        spec.command.env.insert("PATH".to_owned(), path);
        Ok(match image {
            ImageKind::Build => rootfs.build.layers,
            ImageKind::Run => rootfs.run.layers,
        })
    }
}

/// Where a build sees what it depends on.
fn dependencies(plan: &BuildPlan) -> impl Iterator<Item = (FormulaRef, GuestPath)> {
    plan.binds.iter().filter_map(|bind| match &bind.what {
        build::What::Dependency(reference) => Some((reference.clone(), bind.target.clone())),
        _ => None,
    })
}

fn is_bound(spec: &SandboxSpec, target: &GuestPath) -> bool {
    spec.binds.iter().any(|bind| bind.target == *target)
}

pub(super) fn bind(spec: &mut SandboxSpec, source: PathBuf, target: GuestPath, access: Access) {
    spec.binds.push(Bind {
        source,
        target,
        access,
    });
}

/// Unpacks an artifact into a directory that goes when the sandbox does.
fn unpack(
    session: &Session,
    made: &Made,
    scratches: &mut Vec<Scratch>,
) -> Result<PathBuf, Failure> {
    let title = format!("unpacking {}", made.reference);
    let phase = session.observer().phase(title, Amount::Unknown);
    let scratch = session.store.scratch()?;
    let into = scratch.path().join("prefix");
    sysfs::create_dir_all(&into)?;
    let tarball = made.artifact.tarball();
    let file = sysfs::open(&tarball)?;
    let how = Extract {
        limits: archive::Limits::for_compressed(made.artifact.size()),
        ..Extract::new(&into, Trust::Sealed)
    };
    archive::decoder(archive::interruptible(file, &session.interrupt))
        .and_then(|tar| archive::extract(tar, &how))?;
    phase.done();
    scratches.push(scratch);
    Ok(into)
}

/// The layers of the image, prepared if it is not there yet.
fn layers(
    session: &Session,
    manifest: &Manifest,
    inside: &Inside,
) -> Result<Vec<PathBuf>, Failure> {
    let prepared = locking::prepared_layers(manifest, &inside.sources.stacks, &session.store)?;
    let [build, run] = if let Some(layers) = prepared {
        layers
    } else {
        let rootfs = session.rootfs(manifest, &inside.sources.stacks)?;
        [rootfs.build.layers, rootfs.run.layers]
    };
    Ok(match inside.image {
        ImageKind::Build => build,
        ImageKind::Run => run,
    })
}

/// What is asked for of this host, if it is there.
fn binds(asked: &[cli::Bind]) -> Result<Vec<Bind>, Failure> {
    asked
        .iter()
        .map(|asked| {
            let cli::Bind {
                source,
                target,
                writable,
            } = asked;
            let source = absolute(source)?;
            let target = match target {
                Some(target) => target.clone(),
                None => source
                    .to_str()
                    .unwrap_or_default()
                    .parse()
                    .map_err(|error| {
                        Failure::new(ExitKind::Usage, error)
                            .hint("say where it is to be: --bind DIR:/TARGET")
                    })?,
            };
            let access = if *writable {
                Access::ReadWrite
            } else {
                Access::ReadOnly
            };
            Ok(Bind {
                source,
                target,
                access,
            })
        })
        .collect()
}

/// The absolute path of what is there, for whoever the sandbox is on the host.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(path).map_err(|error| {
        let is_denied = error.kind() == ErrorKind::PermissionDenied;
        let failure = Failure::new(ExitKind::Usage, FsError::new("stat", path)(error));
        if is_denied {
            let uid = nix::unistd::geteuid();
            failure.hint(format!(
                "it is looked at, as what is in a sandbox is run, by uid {uid}"
            ))
        } else {
            failure
        }
    })
}

/// A sandbox for a command, without one, and without a root.
fn spec(with_network: bool) -> SandboxSpec {
    SandboxSpec {
        root: Root {
            layers: Vec::new(),
            changes: Changes::Discarded,
        },
        binds: Vec::new(),
        identity: IDENTITY,
        privileges: Privileges::Build,
        network: network(with_network),
        limits: generous(),
        terminal: None,
        command: Command {
            argv: Vec::new(),
            env: environment(),
            cwd: guest("/"),
        },
    }
}

/// A path of pybuild's own.
pub(super) fn guest(path: &str) -> GuestPath {
    path.parse().expect("an absolute path")
}

/// What a command that a person runs by hand finds in its environment.
fn environment() -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = [
        ("HOME", "/tmp"),
        ("LC_ALL", "C.UTF-8"),
        ("PATH", PATH),
        ("TZ", "UTC"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    // The one thing of the host that a program on the user's own terminal must know.
    env.extend(sandbox::terminal::environment(|name| {
        std::env::var(name).ok()
    }));
    env
}

/// Whoever runs a command by hand watches it: only what could hurt the host is limited.
pub(super) fn generous() -> Limits {
    Limits {
        wall: Duration::from_secs(7 * 24 * 3600),
        memory: super::limits::host_memory(),
        processes: 32 * 1024,
        file_size: 1 << 40,
        output: u64::MAX,
        tmpfs: super::limits::host_memory() / 2,
    }
}
