//! `pybuild sandbox`: formulae to artifacts, on this host.

use std::path::{Path, PathBuf};

use super::make::{Made, Manner, Workshop, codec, recipes};
use super::session::{Opened, Session, host_arch, jobs, manifest, terminal};
use super::{Done, Failure, dry_run, registries, reproduce, source};
use crate::archive::Codec;
use crate::artifact::package::Artifact;
use crate::cli::{Global, Sandbox};
use crate::formula::Recipe;
use crate::model::Sha256;
use crate::rootfs;
use crate::sys::fs as sysfs;
use crate::ui::{self, Built, Section, Summary};

/// Builds what is asked for and what it needs, and delivers what is asked for.
pub(super) fn run(global: &Global, args: &Sandbox) -> Result<Done, Failure> {
    let building = &args.building;
    let manifest = manifest(&args.stack, &building.sources.stacks)?;
    let recipes = recipes(
        &args.formulae,
        &args.stack,
        building.sources.formulae_dir.as_deref(),
        &building.profile,
    )?;
    if args.dry_run {
        let sections = dry_run::sections(global, building, jobs(args.jobs), &manifest, &recipes)?;
        ui::print(&Section::render(&sections, terminal(global).palette()))?;
        return Ok(Done::Here);
    }
    registries::ahead(global, [&manifest], &building.sources.stacks)?;
    let session = match Session::open(global, Some(&args.output))? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let manner = Manner {
        shell_on_failure: args.shell_on_failure,
        ..Manner::of(building, jobs(args.jobs))
    };
    if rootfs::prepared(&manifest, host_arch()?, &session.store)?.is_none() {
        // What cannot be had is better known before a stack is bootstrapped than after.
        for recipe in &recipes {
            source::fetch(recipe, &manner.mirrors, &session)?;
        }
    }
    let rootfs = session.rootfs(&manifest, &building.sources.stacks)?;
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
