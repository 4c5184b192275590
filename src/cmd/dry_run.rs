//! What would be built: the plans that would be executed, shown instead.

use super::Failure;
use super::limits;
use super::make::platform;
use super::session::{bootstrap, host_arch, look};
use crate::build::{self, BuildOptions, BuildPlan, PlannedDependency, plan};
use crate::cli::{Building, Global};
use crate::formula::Recipe;
use crate::model::{Sha256, StackName};
use crate::rootfs::{self, Manifest, Rootfs};
use crate::sandbox::{self, Host, Limits};
use crate::store::Store;
use crate::ui::Section;

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
    let prepared = rootfs::prepared(manifest, host_arch()?, &store)?;
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
