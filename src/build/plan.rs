//! Plans a build: from a recipe and what it is built on to the very commands that are run.

use std::collections::BTreeMap;

use crate::artifact::check::Check;
use crate::formula::{self, FileContent, Recipe, Source, Step, Template, Values};
use crate::model::{GuestPath, Sha256};
use crate::sandbox::Access;

use super::identity::{self, UNFILLED_JOBS};
use super::planned::{Bind, BuildPlan, PlannedDependency, PlannedStep, Platform, What};

/// Where the source is unpacked, without its top directory.
const SOURCE: &str = "/build/source";
/// Where the formula's helper files are, and its patches in `patches/`.
const FILES: &str = "/build/files";
/// Where the dependencies are, each under its name.
const DEPENDENCIES: &str = "/build/deps";
/// Where `HOME` points.
const HOME: &str = "/build/home";
/// Where a proof finds a prefix that was moved, under the last name of its path.
const MOVED: &str = "/tmp/moved";
/// Nothing of the host's: the stack's own programs.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// What the caller may choose without changing a byte of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildOptions {
    /// How many jobs a step may run at once. At least one.
    pub jobs: usize,
}

/// Plans how `recipe` is built from `source`, which is one of its sources.
///
/// `dependencies` are the recipe's, planned.
pub fn plan(
    recipe: &Recipe,
    source: &Source,
    platform: &Platform,
    dependencies: &[PlannedDependency],
    options: &BuildOptions,
) -> BuildPlan {
    let jobs = options.jobs.max(1).to_string();
    let mut plan = fill(recipe, source, platform, dependencies, &jobs);
    let unfilled = fill(recipe, source, platform, dependencies, UNFILLED_JOBS);
    plan.build_id = Sha256::of(identity::document(&unfilled).as_bytes());
    plan.portable_steps = unfilled.steps.into_iter().map(with_jobs_unfilled).collect();
    plan
}

/// A step whose jobs are [`UNFILLED_JOBS`], with the formula's own word for them.
fn with_jobs_unfilled(step: PlannedStep) -> PlannedStep {
    let told = |text: String| text.replace(UNFILLED_JOBS, "{jobs}");
    PlannedStep {
        name: step.name,
        argv: step.argv.into_iter().map(told).collect(),
        cwd: step.cwd,
        env: step
            .env
            .into_iter()
            .map(|(name, value)| (name, told(value)))
            .collect(),
    }
}

impl BuildPlan {
    /// Where the steps, and the checks, see the formula's helper files.
    pub fn files_target() -> GuestPath {
        guest(FILES)
    }
}

/// The plan with `jobs` for `{jobs}`, its build id and portable steps still to be told.
fn fill(
    recipe: &Recipe,
    source: &Source,
    platform: &Platform,
    dependencies: &[PlannedDependency],
    jobs: &str,
) -> BuildPlan {
    let Recipe {
        reference,
        kind,
        profile,
        prefix,
        released,
        end_of_life: _, // of no weight for what is made
        sources: _,     // one of them is `source`
        dependencies: references,
        archives,
        patches,
        files,
        env,
        steps,
        prune,
        links,
        checks,
        modules,
        network,
    } = recipe;
    let places = Places::new();
    let values = Values {
        prefix,
        jobs,
        source: &places.source,
        files: &places.files,
        dependencies: &places.dependencies,
        references,
        version: reference.version(),
        stack: &platform.stack,
        arch: platform.arch,
    };
    let mut build_env = base_env(&places.home, *released);
    build_env.extend(filled_env(env, &values));
    let patch_steps = patches.iter().map(|patch| PlannedStep {
        name: format!("patch {}", patch.path()),
        argv: patch_argv(patch),
        cwd: places.source.clone(),
        env: build_env.clone(),
    });
    let own_steps = steps
        .iter()
        .filter(|step| step.only.as_ref().is_none_or(|only| *only == source.name))
        .map(|step| planned_step(step, &build_env, &values));
    BuildPlan {
        build_id: Sha256::of(b""),
        reference: reference.clone(),
        kind: *kind,
        profile: profile.clone(),
        platform: platform.clone(),
        prefix: prefix.clone(),
        released: *released,
        source: source.clone(),
        patches: patches.clone(),
        files: files.clone(),
        dependencies: dependencies.to_vec(),
        archives: archives.clone(),
        binds: binds(&places, prefix, dependencies),
        steps: patch_steps.chain(own_steps).collect(),
        portable_steps: Vec::new(),
        prune: prune.clone(),
        links: links.clone(),
        checks: checks
            .iter()
            .flat_map(|check| planned_checks(check, *released, &values))
            .collect(),
        modules: modules.clone(),
        network: *network,
    }
}

/// The fixed places of a build.
struct Places {
    source: GuestPath,
    files: GuestPath,
    dependencies: GuestPath,
    home: GuestPath,
}

impl Places {
    fn new() -> Self {
        Self {
            source: guest(SOURCE),
            files: guest(FILES),
            dependencies: guest(DEPENDENCIES),
            home: guest(HOME),
        }
    }
}

fn guest(path: &str) -> GuestPath {
    path.parse().expect("an absolute path without `..`")
}

fn binds(places: &Places, prefix: &GuestPath, dependencies: &[PlannedDependency]) -> Vec<Bind> {
    let bind = |what, target: &GuestPath, access| Bind {
        what,
        target: target.clone(),
        access,
    };
    let mut binds = vec![
        bind(What::Source, &places.source, Access::ReadWrite),
        bind(What::Files, &places.files, Access::ReadOnly),
        bind(What::Home, &places.home, Access::ReadWrite),
    ];
    binds.extend(
        dependencies
            .iter()
            .map(|PlannedDependency { reference, .. }| {
                let target = places.dependencies.join(reference.name().as_str());
                Bind {
                    what: What::Dependency(reference.clone()),
                    target: target.expect("a formula's name is one component"),
                    access: Access::ReadOnly,
                }
            }),
    );
    binds.push(bind(What::Prefix, prefix, Access::ReadWrite));
    binds
}

/// Why each is set: builds must not see the host's language, time zone or user, and what they
/// write must not depend on the time or on the order of a hash table.
fn base_env(home: &GuestPath, released: i64) -> BTreeMap<String, String> {
    let pairs = [
        ("HOME", home.as_str()),
        ("LC_ALL", "C.UTF-8"),
        ("PATH", PATH),
        ("PYTHONHASHSEED", "0"),
        ("SOURCE_DATE_EPOCH", &released.to_string()),
        ("TMPDIR", "/tmp"),
        ("TZ", "UTC"),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pairs.into()
}

fn filled_env(env: &BTreeMap<String, Template>, values: &Values<'_>) -> BTreeMap<String, String> {
    env.iter()
        .map(|(name, value)| (name.clone(), value.fill(values)))
        .collect()
}

fn filled_argv(run: &[Template], values: &Values<'_>) -> Vec<String> {
    run.iter().map(|arg| arg.fill(values)).collect()
}

fn patch_argv(patch: &FileContent) -> Vec<String> {
    let file = format!("{FILES}/patches/{}", patch.path());
    let argv = ["patch", "-p1", "--no-backup-if-mismatch", "-i", &file];
    argv.map(str::to_owned).into()
}

fn planned_step(
    step: &Step,
    build_env: &BTreeMap<String, String>,
    values: &Values<'_>,
) -> PlannedStep {
    let Step {
        name,
        run,
        cwd,
        env,
        only: _, // has been asked
    } = step;
    let mut whole_env = build_env.clone();
    whole_env.extend(filled_env(env, values));
    PlannedStep {
        name: name.clone(),
        argv: filled_argv(run, values),
        cwd: cwd
            .as_ref()
            .map_or_else(|| values.source.clone(), |cwd| cwd.fill(values)),
        env: whole_env,
    }
}

/// A check where the prefix is installed, and where it has been moved to if it must hold there.
fn planned_checks(check: &formula::Check, released: i64, values: &Values<'_>) -> Vec<Check> {
    let formula::Check { name, run, moved } = check;
    let tmp = guest("/tmp");
    let at = |prefix: &GuestPath, name: String| Check {
        name,
        prefix: prefix.clone(),
        argv: filled_argv(run, &Values { prefix, ..*values }),
        cwd: tmp.clone(),
        // The variables of the build (compilers' flags) have no say in what was built.
        env: base_env(&tmp, released),
    };
    let mut checks = vec![at(values.prefix, name.clone())];
    if *moved {
        checks.push(at(&moved_to(values.prefix), format!("{name}, moved")));
    }
    checks
}

fn moved_to(prefix: &GuestPath) -> GuestPath {
    let name = prefix.as_str().rsplit('/').next().unwrap_or_default();
    guest(&format!("{MOVED}/{name}"))
}
