//! The build id: SHA-256 over everything that can change an artifact's bytes or what it has
//! proven.
//!
//! What is hashed is a JSON document of one line: the [`Identity`] below, its fields in their
//! order here, without spaces, tables sorted by key. In it are
//! - [`BUILD_REVISION`], which a change of how builds are made must raise;
//! - the stack, the architecture, and what both images were made of;
//! - the recipe with its placeholders filled in, except that `{jobs}` stays unfilled;
//! - the digest of the source that is used, of every patch and every helper file;
//! - the build ids of the dependencies, and of what was trained the digest, too; the digests of the
//!   archives that a script begins with;
//! - the proofs, and the modules that must import: an id promises that they held.
//!
//! Not in it are how many jobs run, paths of the host, URLs, file names of sources, users and
//! times: none of them may change a byte.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::artifact::check::Check;
use crate::formula::FileContent;
use crate::model::{Arch, Glob, Link, Sha256};

use super::planned::{BuildPlan, PlannedStep};

/// Raised whenever pybuild itself would build other bytes of the same recipe: another directory
/// for the source, another base environment, another rule for the prefix or the archive.
pub const BUILD_REVISION: u32 = 4;

/// What is filled in for `{jobs}`. No argument of a command can hold it.
pub(super) const UNFILLED_JOBS: &str = "\0jobs\0";

#[derive(Serialize)]
struct Identity<'a> {
    revision: u32,
    reference: String,
    kind: &'a str,
    profile: &'a str,
    stack: &'a str,
    arch: Arch,
    build_image: Sha256,
    run_image: Sha256,
    prefix: &'a str,
    released: i64,
    source: Sha256,
    flavour: &'a str,
    patches: Vec<(&'a str, Sha256)>,
    files: BTreeMap<&'a str, Sha256>,
    dependencies: BTreeMap<String, Sha256>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    archives: Vec<(&'a str, Sha256)>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    trained: BTreeMap<String, Sha256>,
    steps: Vec<Command<'a>>,
    prune: Vec<&'a str>,
    links: &'a [Link],
    checks: Vec<Command<'a>>,
    modules: &'a [String],
    network: bool,
}

/// A command as far as it matters. Its name does not.
#[derive(Serialize)]
struct Command<'a> {
    argv: &'a [String],
    cwd: &'a str,
    env: &'a BTreeMap<String, String>,
}

/// The canonical document of a plan whose `{jobs}` are [`UNFILLED_JOBS`].
pub(super) fn document(plan: &BuildPlan) -> String {
    // Taken apart without `..`: a new field must be put into the id, or left out on purpose.
    let BuildPlan {
        build_id: _,
        reference,
        kind,
        profile,
        platform,
        prefix,
        released,
        source,
        patches,
        files,
        dependencies,
        archives,
        binds: _,          // follow from the rest
        portable_steps: _, // are `steps` here
        steps,
        prune,
        links,
        checks,
        modules,
        network,
    } = plan;
    let identity = Identity {
        revision: BUILD_REVISION,
        reference: reference.to_string(),
        kind: kind.as_str(),
        profile,
        stack: platform.stack.as_str(),
        arch: platform.arch,
        build_image: platform.build_image,
        run_image: platform.run_image,
        prefix: prefix.as_str(),
        released: *released,
        source: source.sha256,
        flavour: &source.name,
        patches: patches.iter().map(named_digest).collect(),
        files: files.iter().map(named_digest).collect(),
        dependencies: dependencies
            .iter()
            .map(|dependency| (dependency.reference.to_string(), dependency.build_id))
            .collect(),
        archives: (archives.iter())
            .map(|archive| (archive.name.as_str(), archive.sha256))
            .collect(),
        trained: dependencies
            .iter()
            .filter_map(|dependency| Some((dependency.reference.to_string(), dependency.trained?)))
            .collect(),
        steps: steps.iter().map(step).collect(),
        prune: prune.iter().map(Glob::as_str).collect(),
        links,
        checks: checks.iter().map(check).collect(),
        modules,
        network: *network,
    };
    serde_json::to_string(&identity).expect("strings, numbers and tables with string keys")
}

fn named_digest(file: &FileContent) -> (&str, Sha256) {
    (file.path(), file.digest())
}

fn step(step: &PlannedStep) -> Command<'_> {
    let PlannedStep {
        name: _,
        argv,
        cwd,
        env,
    } = step;
    Command {
        argv,
        cwd: cwd.as_str(),
        env,
    }
}

fn check(check: &Check) -> Command<'_> {
    let Check {
        name: _,
        prefix: _, // its place is in argv, if it matters
        argv,
        cwd,
        env,
    } = check;
    Command {
        argv,
        cwd: cwd.as_str(),
        env,
    }
}
