//! A recipe: how one version is built with one profile on one stack, before the build is planned.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;

use crate::model::{FormulaRef, Glob, GuestPath, Kind, Link, Sha256};

use super::placeholder::{PathTemplate, Template};

/// How one version is built with one profile on one stack. Strings that are known once the
/// formula is read are filled in; the rest are [`Template`]s, filled in by the build's plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// What is built.
    pub reference: FormulaRef,
    /// What it is.
    pub kind: Kind,
    /// The profile it is built with.
    pub profile: String,
    /// Where it is installed.
    pub prefix: GuestPath,
    /// When upstream released it, in seconds since 1970: midnight UTC of that day.
    pub released: i64,
    /// The last day on which upstream mends its series, if that is known.
    pub end_of_life: Option<Date>,
    /// The same software from several places or in several forms, the preferred first.
    /// At least one.
    pub sources: Vec<Source>,
    /// What must be built before, each unpacked at `{deps.NAME}`.
    pub dependencies: Vec<FormulaRef>,
    /// Of a script: the archives that are unpacked into the prefix before it begins, in this order.
    pub archives: Vec<Archive>,
    /// Applied with `patch -p1` in the source, in this order.
    pub patches: Vec<FileContent>,
    /// The formula's helper files, seen at `{files}`.
    pub files: Vec<FileContent>,
    /// Environment of every step.
    pub env: BTreeMap<String, Template>,
    /// What is run, in this order.
    pub steps: Vec<Step>,
    /// What is removed from the prefix after the steps.
    pub prune: Vec<Glob>,
    /// Symlinks made in the prefix after that.
    pub links: Vec<Link>,
    /// Proofs run in the run image.
    pub checks: Vec<Check>,
    /// Modules that a runtime must import.
    pub modules: Vec<String>,
    /// Whether the steps see the host's network.
    pub network: bool,
}

impl Recipe {
    /// The directory below its stack that the result is published in.
    pub fn directory(&self) -> &str {
        let own = self.reference.directory();
        own.unwrap_or_else(|| self.kind.directory())
    }
}

/// One form of the source of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The flavour: `tgz`, `autoconf`, `tree`.
    pub name: String,
    /// Where upstream has it, the preferred first. May be empty if `pool` is there.
    pub urls: Vec<String>,
    /// Where a Debian mirror has it, below the mirror's root.
    pub pool: Option<String>,
    /// What it must be.
    pub sha256: Sha256,
    /// Its file name, as upstream (else the pool) has it.
    pub file: String,
}

/// An archive that was published before, by whomever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// What it is called below its stack, without its ending: `libraries/sqlite`.
    pub name: String,
    /// The digest of its bytes.
    pub sha256: Sha256,
}

/// A command of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What a person calls it.
    pub name: String,
    /// The program and its arguments. At least one.
    pub run: Vec<Template>,
    /// Where it starts; the source if nothing is said.
    pub cwd: Option<PathTemplate>,
    /// Environment of this step alone.
    pub env: BTreeMap<String, Template>,
    /// Run only if the source is of this flavour.
    pub only: Option<String>,
}

/// A proof that a prefix is what it should be: a command that must exit with 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What a person calls it.
    pub name: String,
    /// The program and its arguments. At least one.
    pub run: Vec<Template>,
    /// Whether it must hold from a moved location too.
    pub moved: bool,
}

/// A patch or a helper file. Builds see it with mode 0644: scripts are run by naming their
/// interpreter.
#[derive(Clone, PartialEq, Eq)]
pub struct FileContent {
    path: String,
    bytes: Arc<Cow<'static, [u8]>>,
    digest: Sha256,
}

impl FileContent {
    /// A file at `path`, which is relative, without `.` or `..`, and separated by `/`.
    pub(super) fn new(path: String, bytes: Cow<'static, [u8]>) -> Self {
        let digest = Sha256::of(&bytes);
        Self {
            path,
            bytes: Arc::new(bytes),
            digest,
        }
    }

    /// Where it lies below the formula's helper files or the patches.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of what is in it.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path, self.digest.short())
    }
}
