//! `pybuild sandbox`: formulae to artifacts, on this host.

use std::path::{Path, PathBuf};

use super::make::{Batch, Made, Manner, Workshop, batch, codec};
use super::scripts::{self, Scripts};
use super::session::{Opened, Session, host_arch, jobs, manifest, terminal};
use super::shelf::{Places, Shelf};
use super::steward::Outlet;
use super::target::Outlets;
use super::{Done, Failure, dry_run, registries, reproduce, source};
use crate::archive::Codec;
use crate::artifact::package::Artifact;
use crate::cli::{Global, Sandbox};
use crate::formula::Recipe;
use crate::model::Sha256;
use crate::publish::Remote;
use crate::sandbox::Launcher;
use crate::sys::fs as sysfs;
use crate::ui::{self, Built, Section, Summary};

/// Builds what is asked for and what it needs, and delivers what is asked for.
pub(super) fn run(global: &Global, args: &Sandbox) -> Result<Done, Failure> {
    let building = &args.building;
    let manifest = manifest(&args.stack, &building.sources.stacks)?;
    let mut batch = batch(
        &scripts::formulae(&args.formulae),
        &args.stack,
        building.sources.formulae_dir.as_deref(),
        building.profile.as_deref(),
    )?;
    let wanted = Wanted::of(args)?;
    if args.dry_run {
        let jobs = jobs(args.jobs);
        let recipes = &batch.recipes;
        let mut sections = dry_run::sections(global, building, jobs, &manifest, recipes)?;
        if let Some(Wanted { outlets, scripts }) = &wanted {
            let shelves = outlets.shelves(&args.output)?;
            let places = places(&shelves, args)?;
            let (looked, recipes) = dry_run::scripts(scripts, recipes, &places)?;
            sections.extend(looked);
            sections.extend(dry_run::sections(
                global, building, jobs, &manifest, &recipes,
            )?);
        }
        ui::print(&Section::render(&sections, terminal(global).palette()))?;
        return Ok(Done::Here);
    }
    registries::ahead(global, [&manifest], &building.sources.stacks)?;
    let inputs = wanted.as_ref().map(|wanted| wanted.outlets.inputs());
    let output = Outlet::Directory(&args.output, inputs);
    let session = match Session::open_with(global, output, &Launcher::default())? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let manner = Manner {
        shell_on_failure: args.shell_on_failure,
        ..Manner::of(building, jobs(args.jobs))
    };
    let shelves = match &wanted {
        Some(wanted) => wanted.outlets.shelves(&args.output)?,
        None => Vec::new(),
    };
    let shelf = Shelf {
        session: &session,
        places: places(&shelves, args)?,
    };
    let ready = match &wanted {
        Some(wanted) => wanted.scripts.ready(&batch.recipes, &shelf)?,
        None => Vec::new(),
    };
    let stacks = &building.sources.stacks;
    let rootfs = source::stack_for(
        &batch.recipes,
        &manner.mirrors,
        &session,
        (&manifest, stacks),
    )?;
    let workshop = Workshop {
        session: &session,
        rootfs: &rootfs,
        manner: &manner,
    };
    let mut made = Vec::new();
    for recipe in &batch.recipes {
        make(&workshop, recipe, &mut made, batch.asks_for(recipe), args)?;
    }
    for ready in &ready {
        let recipe = ready.recipe(&made, &shelf)?;
        make(&workshop, &recipe, &mut made, true, args)?;
        batch.add(recipe);
    }
    let built = deliver(&session, args, &batch, &made)?;
    report(global, args, &session, built)?;
    Ok(Done::Here)
}

/// The scripts that are asked for, and where they find what they begin with.
struct Wanted {
    outlets: Outlets,
    scripts: Scripts,
}

impl Wanted {
    /// None if no script is asked for: then nobody's files are read for them.
    fn of(args: &Sandbox) -> Result<Option<Self>, Failure> {
        let asked = scripts::asked(&args.formulae);
        if asked.is_empty() {
            return Ok(None);
        }
        let outlets = Outlets::to_read()?;
        let directory = args.building.sources.formulae_dir.as_deref();
        let scripts = Scripts::read(&asked, directory, outlets.inputs(), None)?;
        Ok(Some(Self { outlets, scripts }))
    }
}

fn places<'a>(shelves: &'a [Remote], args: &'a Sandbox) -> Result<Places<'a>, Failure> {
    Ok(Places {
        remotes: shelves.iter().collect(),
        stack: &args.stack,
        arch: host_arch()?,
    })
}

fn make(
    workshop: &Workshop<'_>,
    recipe: &Recipe,
    made: &mut Vec<Made>,
    is_asked_for: bool,
    args: &Sandbox,
) -> Result<(), Failure> {
    // Dependencies are always kept in one form, so that a record that names their digests
    // does not depend on the form that was asked for.
    let rebuild = args.rebuild && is_asked_for;
    let first = workshop.make(recipe, made, Codec::Gzip, rebuild)?;
    if args.check_reproducible && is_asked_for {
        reproduce::check(workshop, recipe, made, &first)?;
    }
    made.push(first);
    Ok(())
}

/// Puts what was asked for into the output directory, unless it is there already.
fn deliver(
    session: &Session,
    args: &Sandbox,
    batch: &Batch,
    made: &[Made],
) -> Result<Vec<Built>, Failure> {
    let mut built = Vec::new();
    for (recipe, made) in batch.recipes.iter().zip(made) {
        if !batch.asks_for(recipe) {
            continue;
        }
        let artifact = made.compressed(session, codec(args.compress))?;
        let dir = PathBuf::from(args.stack.as_str()).join(recipe.directory());
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
