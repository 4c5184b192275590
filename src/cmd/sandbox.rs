//! `pybuild sandbox`: formulae to artifacts, on this host.

use std::path::{Path, PathBuf};

use super::make::{Made, Manner, Workshop, platform};
use super::reproduce;
use super::session::{Opened, Session, bootstrap, host_arch, jobs, look, manifest, terminal};
use super::source::{self, Mirrors};
use super::{Done, Failure, limits};
use crate::archive::Codec;
use crate::artifact::package::Artifact;
use crate::build::{self, BuildOptions, BuildPlan, PlannedDependency, plan};
use crate::cli::{Compression, Global, Sandbox};
use crate::formula::{Catalog, Recipe};
use crate::model::{Sha256, StackName};
use crate::rootfs::{self, Manifest, Rootfs};
use crate::sandbox::{self, Host, Limits};
use crate::store::Store;
use crate::sys::fs as sysfs;
use crate::ui::{self, Built, Section, Summary};

/// Builds what is asked for and what it needs, and delivers what is asked for.
pub(super) fn run(global: &Global, args: &Sandbox) -> Result<Done, Failure> {
    let manifest = manifest(&args.stack, &args.sources.stacks)?;
    let recipes = recipes(args)?;
    if args.dry_run {
        return dry_run(global, args, &manifest, &recipes);
    }
    let session = match Session::open(global, Some(&args.output))? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let manner = Manner {
        mirrors: Mirrors::of(args),
        limits: limits::of(&args.limits),
        jobs: jobs(args.jobs),
        shell_on_failure: args.shell_on_failure,
    };
    if rootfs::prepared(&manifest, host_arch()?, &session.store)?.is_none() {
        // What cannot be had is better known before a stack is bootstrapped than after.
        for recipe in &recipes {
            source::fetch(recipe, &manner.mirrors, &session)?;
        }
    }
    let rootfs = session.rootfs(&manifest, &args.sources.stacks)?;
    let workshop = Workshop {
        session: &session,
        rootfs: &rootfs,
        manner: &manner,
    };
    let made = make_all(&workshop, &recipes, args)?;
    let built = deliver(&session, args, &recipes, &made)?;
    report(global, args, &session, built)?;
    Ok(Done::Here)
}

/// What is built: the formulae asked for, each after what it depends on, each once.
fn recipes(args: &Sandbox) -> Result<Vec<Recipe>, Failure> {
    let catalog = Catalog::load(args.sources.formulae_dir.as_deref())?;
    let mut ordered: Vec<Recipe> = Vec::new();
    for reference in &args.formulae {
        for recipe in catalog.recipes(reference, &args.profile, &args.stack)? {
            if !ordered
                .iter()
                .any(|known| known.reference == recipe.reference)
            {
                ordered.push(recipe);
            }
        }
    }
    Ok(ordered)
}

fn is_asked_for(recipe: &Recipe, args: &Sandbox) -> bool {
    args.formulae.contains(&recipe.reference)
}

fn make_all(
    workshop: &Workshop<'_>,
    recipes: &[Recipe],
    args: &Sandbox,
) -> Result<Vec<Made>, Failure> {
    let mut made: Vec<Made> = Vec::new();
    for recipe in recipes {
        // Dependencies are always kept in one form, so that a record that names their digests
        // does not depend on the form that was asked for.
        let rebuild = args.rebuild && is_asked_for(recipe, args);
        let first = workshop.make(recipe, &made, Codec::Gzip, rebuild)?;
        if args.check_reproducible && is_asked_for(recipe, args) {
            reproduce::check(workshop, recipe, &made, &first)?;
        }
        made.push(first);
    }
    Ok(made)
}

fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::Gz => Codec::Gzip,
        Compression::Zst => Codec::Zstd,
        Compression::Xz => Codec::Xz,
    }
}

/// Puts what was asked for into the output directory, unless it is there already.
fn deliver(
    session: &Session,
    args: &Sandbox,
    recipes: &[Recipe],
    made: &[Made],
) -> Result<Vec<Built>, Failure> {
    let mut built = Vec::new();
    for (recipe, made) in recipes.iter().zip(made) {
        if !is_asked_for(recipe, args) {
            continue;
        }
        let artifact = made.compressed(session, codec(args.compress))?;
        let dir = PathBuf::from(args.stack.as_str()).join(recipe.kind.directory());
        let files = [
            artifact.tarball(),
            artifact.checksum_file(),
            artifact.record_file(),
        ];
        let there = is_delivered(&artifact, &args.output.join(&dir));
        if !there {
            // Readers trust in reverse: the record, the checksum, the tarball.
            for file in files.iter().rev() {
                session.delivery.remove(&dir.join(name(file)))?;
            }
            for file in &files {
                session
                    .delivery
                    .put(&dir.join(name(file)), &sysfs::open(file)?)?;
            }
        }
        built.push(Built {
            formula: made.reference.clone(),
            build: made.build_id,
            path: args.output.join(dir).join(name(&files[0])),
            size: artifact.size(),
            sha256: artifact.digest(),
            reused: made.reused && there,
        });
    }
    Ok(built)
}

fn name(path: &Path) -> &Path {
    path.file_name().map_or(path, Path::new)
}

/// Whether the output directory holds this very artifact. What cannot be read is not there.
fn is_delivered(artifact: &Artifact, dir: &Path) -> bool {
    let sidecar = |kept: &Path| {
        let delivered = sysfs::read(&dir.join(name(kept))).ok();
        delivered.is_some() && delivered == sysfs::read(kept).ok()
    };
    let tarball = || {
        let mut file = sysfs::open(&dir.join(name(&artifact.tarball()))).ok()?;
        Sha256::of_reader(&mut file).ok()
    };
    sidecar(&artifact.checksum_file())
        && sidecar(&artifact.record_file())
        && tarball() == Some((artifact.digest(), artifact.size()))
}

fn report(
    global: &Global,
    args: &Sandbox,
    session: &Session,
    built: Vec<Built>,
) -> Result<(), Failure> {
    let elapsed = session.started.elapsed();
    let summary = Summary::new(args.stack.clone(), built, session.ui.times(), elapsed);
    if global.json {
        ui::print_json(&summary)?;
    } else {
        ui::print(&summary.render(session.ui.palette()))?;
    }
    Ok(())
}

/// Prints the plans that would be executed.
fn dry_run(
    global: &Global,
    args: &Sandbox,
    manifest: &Manifest,
    recipes: &[Recipe],
) -> Result<Done, Failure> {
    let store = look(global)?;
    let prepared = rootfs::prepared(manifest, host_arch()?, &store)?;
    let mut sections = Vec::new();
    if prepared.is_none() {
        let more = "build ids below stand for a stack that is not there yet";
        sections.push(bootstrap(&args.stack, more));
    }
    let platform = match &prepared {
        Some(rootfs) => platform(rootfs),
        None => unprepared(&args.stack)?,
    };
    let mut planned: Vec<PlannedDependency> = Vec::new();
    for recipe in recipes {
        let source = recipe
            .sources
            .iter()
            .find(|source| store.blob(&source.sha256).is_some())
            .or(recipe.sources.first());
        let Some(source) = source else { continue };
        let dependencies: Vec<_> = planned
            .iter()
            .filter(|planned| recipe.dependencies.contains(&planned.reference))
            .cloned()
            .collect();
        let options = BuildOptions {
            jobs: jobs(args.jobs),
        };
        let plan = plan(recipe, source, &platform, &dependencies, &options);
        planned.push(PlannedDependency {
            reference: plan.reference.clone(),
            build_id: plan.build_id,
        });
        if let Some(rootfs) = &prepared {
            sections.extend(sandbox_section(
                &plan,
                rootfs,
                &store,
                limits::of(&args.limits),
            )?);
        }
        sections.push(Section::new(format!("build {}", recipe.reference), [plan]));
    }
    ui::print(&Section::render(&sections, terminal(global).palette()))?;
    Ok(Done::Here)
}

/// How the sandbox of a plan's steps is set up, told of the first: the others differ in nothing
/// but the command.
fn sandbox_section(
    plan: &BuildPlan,
    rootfs: &Rootfs,
    store: &Store,
    limits: Limits,
) -> Result<Option<Section>, Failure> {
    let Some(step) = plan.steps.first() else {
        return Ok(None);
    };
    let scratch = store.root().join("scratch");
    let host = Host::probe(store.root())?;
    let layers = &rootfs.build.layers;
    let spec = build::sandbox_of(plan, step, layers, limits, &scratch.join("NEW"));
    let ops = sandbox::plan(&spec, &host)?;
    let heading = format!("sandbox each step of {}", plan.reference);
    Ok(Some(Section::new(heading, ops)))
}

/// Stands for a stack that is not on this host yet.
fn unprepared(stack: &StackName) -> Result<build::Platform, Failure> {
    let unknown = Sha256::of(b"");
    Ok(build::Platform {
        stack: stack.clone(),
        arch: host_arch()?,
        build_image: unknown,
        run_image: unknown,
    })
}
