//! What would be built: the plans that would be executed, shown instead.

use super::make::platform;
use super::scripts::{self, Scripts};
use super::session::{bootstrap, host_arch, look};
use super::shelf::Places;
use super::{Failure, limits, locking};
use crate::build::{self, BuildOptions, BuildPlan, PlannedDependency, plan};
use crate::cli::{Building, Global};
use crate::formula::Recipe;
use crate::model::{Sha256, StackName};
use crate::rootfs::{Manifest, Rootfs};
use crate::sandbox::{self, Host, Limits};
use crate::store::Store;
use crate::sys::interrupt::Interrupt;
use crate::ui::{ExitKind, Section};

/// The plans of recipes for a stack, and what else would be done before.
pub(super) fn sections(
    global: &Global,
    args: &Building,
    jobs: usize,
    manifest: &Manifest,
    recipes: &[Recipe],
) -> Result<Vec<Section>, Failure> {
    let store = look(global)?;
    let stack = manifest.name();
    let prepared = locking::prepared(manifest, &args.sources.stacks, &store)?;
    let mut sections = Vec::new();
    if prepared.is_none() {
        let more = "build ids below stand for a stack that is not there yet";
        sections.push(bootstrap(stack, more));
    }
    let platform = match &prepared {
        Some(rootfs) => platform(rootfs),
        None => unprepared(stack)?,
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
        let options = BuildOptions { jobs };
        let plan = plan(recipe, source, &platform, &dependencies, &options);
        planned.push(PlannedDependency {
            reference: plan.reference.clone(),
            build_id: plan.build_id,
            // What a training learns is not known before.
            trained: None,
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
    Ok(sections)
}

/// Where scripts would find the archives that they begin with, and how they would be run.
pub(super) fn scripts(
    scripts: &Scripts,
    before: &[Recipe],
    places: &Places<'_>,
) -> Result<(Vec<Section>, Vec<Recipe>), Failure> {
    let interrupt = Interrupt::manual()
        .map_err(|errno| Failure::new(ExitKind::TryAgain, format!("eventfd: {errno}")))?;
    let (mut sections, mut recipes): (Vec<Section>, Vec<Recipe>) = (Vec::new(), Vec::new());
    for (script, recipe) in scripts.unread()? {
        let mut found = Vec::new();
        for name in script.dependencies() {
            let own = before.iter().chain(&recipes);
            let own = own.map(|one| format!("{}/{}", one.directory(), one.reference.stem()));
            found.push(match scripts::meant(name, &own.collect::<Vec<_>>()) {
                Some(own) => format!("{own}, which is made before"),
                None => match places.locate(name, &interrupt)? {
                    Some(located) => located.shown(),
                    None => return Err(places.missing(script.reference(), name)),
                },
            });
        }
        if !found.is_empty() {
            let heading = format!("unpack into the prefix of {}", script.reference());
            let more = "the build id below stands for archives that were not read";
            sections.push(Section::new(
                heading,
                found.into_iter().chain([more.to_owned()]),
            ));
        }
        recipes.push(recipe);
    }
    Ok((sections, recipes))
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
