//! A planned build: everything that it does, as data.

use std::collections::BTreeMap;

use crate::artifact::check::Check;
use crate::formula::{Archive, FileContent, Source};
use crate::model::{Arch, FormulaRef, Glob, GuestPath, Kind, Link, Sha256, StackName};
use crate::sandbox::Access;

/// What a build is made on: a stack's images, by what they were made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The stack.
    pub stack: StackName,
    /// The architecture.
    pub arch: Arch,
    /// The digest of the image that steps run in.
    pub build_image: Sha256,
    /// The digest of the image that checks run in.
    pub run_image: Sha256,
}

/// A dependency that has been planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedDependency {
    /// What it is.
    pub reference: FormulaRef,
    /// The id that it is filed under.
    pub build_id: Sha256,
    /// Its tarball's digest, where that does not follow from its id: no two trainings learn quite
    /// the same ([`Kind::Profile`]).
    pub trained: Option<Sha256>,
}

/// Everything that a build does. [`std::fmt::Display`] shows it as commands to paste.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildPlan {
    /// Under what the result is filed.
    pub build_id: Sha256,
    /// What is built.
    pub reference: FormulaRef,
    /// What it is.
    pub kind: Kind,
    /// The profile.
    pub profile: String,
    /// What it is built on.
    pub platform: Platform,
    /// Where it is installed.
    pub prefix: GuestPath,
    /// When it was released: the time that files and archives bear, in seconds since 1970.
    pub released: i64,
    /// The source that is used.
    pub source: Source,
    /// What is applied to the source; each is at `patches/` below [`What::Files`] under its path.
    pub patches: Vec<FileContent>,
    /// What is put into [`What::Files`].
    pub files: Vec<FileContent>,
    /// What must be there before.
    pub dependencies: Vec<PlannedDependency>,
    /// What is unpacked into the prefix before the first step, in this order.
    pub archives: Vec<Archive>,
    /// What the steps see besides the build image.
    pub binds: Vec<Bind>,
    /// What is run in the build image, patches first.
    pub steps: Vec<PlannedStep>,
    /// The same as on any host: with `{jobs}` for the number of jobs. For the record.
    pub portable_steps: Vec<PlannedStep>,
    /// What is removed from the prefix after that.
    pub prune: Vec<Glob>,
    /// The symlinks that are made after that.
    pub links: Vec<Link>,
    /// What is run in the run image.
    pub checks: Vec<Check>,
    /// The modules that a runtime must import.
    pub modules: Vec<String>,
    /// Whether the steps see the host's network.
    pub network: bool,
}

/// A directory that the steps see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// What is in it.
    pub what: What,
    /// Where the steps see it.
    pub target: GuestPath,
    /// Whether they may write to it.
    pub access: Access,
}

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The unpacked source; for a script nothing, at first: it is where it works.
    Source,
    /// The helper files, and the patches in `patches/`.
    Files,
    /// The unpacked artifact of a dependency.
    Dependency(FormulaRef),
    /// The build's home directory, empty at first.
    Home,
    /// The prefix, empty at first but for archives: the result.
    Prefix,
}

/// A command run in the build image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// What a person calls it.
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it starts.
    pub cwd: GuestPath,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
}
