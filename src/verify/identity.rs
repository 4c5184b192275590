//! `--identity`: whether what is in a tarball is the software that its name says. It is unpacked
//! into scratch, its own files are asked for their version, and the proof that it passed before it
//! was packaged is repeated in the stack's run image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Seek as _;
use std::path::{Path, PathBuf};

use crate::archive::{ArchiveError, Extract, Limits, Trust, decoder, extract, interruptible};
use crate::artifact::check::Check;
use crate::artifact::failure::Failure;
use crate::artifact::proof::{self, ProofError, Subject, prove};
use crate::artifact::record::Record;
use crate::build::{BuildOptions, BuildPlan, PlannedDependency, Platform, plan};
use crate::formula::{Catalog, FormulaError, Recipe};
use crate::model::{Arch, FormulaRef, GuestPath, Kind, Sha256, StackName};
use crate::sandbox::{self, Access, Bind};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupted;

use super::facts::Archive;
use super::headers::own_version;

/// Where a runtime is if neither record nor formula says it.
const PREFIX: &str = "/app/.heroku/python";
/// What every build of `CPython` for this platform has been able to import.
const MODULES: [&str; 14] = [
    "_ssl", "bz2", "ctypes", "curses", "hashlib", "json", "math", "pyexpat", "readline", "select",
    "socket", "sqlite3", "ssl", "zlib",
];
/// Says on stderr what cannot be imported. For every version that there is.
const IMPORT: &str = "\
import sys, warnings
warnings.simplefilter('ignore')
failed = 0
for name in sys.argv[1:]:
    try:
        __import__(name)
    except Exception:
        failed = 1
        sys.stderr.write('%s: %s\\n' % (name, sys.exc_info()[1]))
sys.exit(failed)
";
/// Says on stderr if it is another version than it should be.
const VERSION: &str = "\
import sys
found = '%d.%d.%d' % sys.version_info[:3]
if sys.version_info[3] != 'final':
    found += {'alpha': 'a', 'beta': 'b'}.get(sys.version_info[3], 'rc') + str(sys.version_info[4])
if found != sys.argv[1]:
    sys.stderr.write('it is %s, not %s\\n' % (found, sys.argv[1]))
    sys.exit(1)
";

/// What identities are told with.
pub struct Identify<'a> {
    /// How software is built, and so how it is checked.
    pub formulae: &'a Catalog,
    /// The run image of each stack that could be had.
    pub images: &'a BTreeMap<StackName, Vec<PathBuf>>,
    /// What proofs work with.
    pub tools: proof::Tools<'a>,
    /// What each check may use up.
    pub limits: sandbox::Limits,
    /// The machine that checks run on.
    pub arch: Arch,
}

/// Why nobody knows what is in a tarball.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Nothing says what it should be, or it cannot be tried here.
    #[error("its identity cannot be told: {0}")]
    Unknown(String),
    /// It cannot be unpacked or looked at, for a reason of this host.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The proof could not be tried.
    #[error(transparent)]
    Proof(Box<ProofError>),
    /// The formula cannot be used.
    #[error(transparent)]
    Formula(#[from] Box<FormulaError>),
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// What a tarball should hold, by its name or else its record.
struct Claim<'a> {
    reference: FormulaRef,
    stack: StackName,
    record: Option<&'a Record>,
}

/// Whether it is what a training gave, by its name and its record: nothing in it can be run.
fn is_profile(archive: &Archive) -> bool {
    let named = archive.named.as_ref().and_then(|named| named.kind);
    let record = archive.sound_record();
    record.is_some_and(|record| record.product.kind == Kind::Profile)
        && named.is_none_or(|kind| kind == Kind::Profile)
}

impl Identify<'_> {
    /// Everything about the tarball in `file` that is not as its name says.
    pub(super) fn look(
        &self,
        archive: &Archive,
        file: &mut File,
        room: &Path,
    ) -> Result<Vec<String>, IdentityError> {
        if is_profile(archive) {
            return Ok(Vec::new());
        }
        let claim = self.claim(archive)?;
        let prefix = room.join("prefix");
        sysfs::create_dir_all(&prefix)?;
        if let Some(why) = self.unpack(file, &prefix)? {
            return Ok(vec![why]);
        }
        let mut wrong = own_version(&prefix, &claim.reference)?;
        wrong.extend(self.prove(&claim, &prefix, room)?);
        Ok(wrong)
    }

    fn claim<'a>(&self, archive: &'a Archive) -> Result<Claim<'a>, IdentityError> {
        let unknown = |why: String| IdentityError::Unknown(why);
        let record = archive.sound_record();
        let named = archive.named.as_ref();
        let reference = named
            .map(|named| named.reference.clone())
            .or_else(|| record.map(Record::reference))
            .ok_or_else(|| unknown("neither its name nor a record says what it is".to_owned()))?;
        let machine = named.and_then(|named| named.arch);
        if let Some(arch) = machine.or_else(|| record.map(|record| record.product.arch))
            && arch != self.arch
        {
            let here = self.arch;
            return Err(unknown(format!(
                "it is for {arch}, and this host is {here}"
            )));
        }
        let fits = |stack: &&StackName| super::selection::is_on(archive, stack);
        let recorded = record.map(|record| &record.product.stack).filter(fits);
        let known = || self.images.keys().find(fits);
        let stack = recorded
            .or_else(known)
            .filter(|stack| self.images.contains_key(stack));
        let stack = stack
            .cloned()
            .ok_or_else(|| unknown("there is no run image of its stack to try it in".to_owned()))?;
        Ok(Claim {
            reference,
            stack,
            record,
        })
    }

    /// Unpacks the tarball; what of it forbids that.
    fn unpack(&self, file: &mut File, prefix: &Path) -> Result<Option<String>, IdentityError> {
        file.rewind().map_err(FsError::new("lseek", prefix))?;
        let size = file
            .metadata()
            .map_err(FsError::new("fstat", prefix))?
            .len();
        let how = Extract {
            limits: Limits::for_compressed(size),
            ..Extract::new(prefix, Trust::Sealed)
        };
        let unpacked = decoder(interruptible(file, self.tools.interrupt))
            .and_then(|reader| extract(reader, &how));
        match unpacked {
            Ok(_) => Ok(None),
            Err(ArchiveError::Interrupted(interrupted)) => Err(interrupted.into()),
            Err(ArchiveError::Fs(error)) => Err(error.into()),
            Err(error) => Ok(Some(format!("it cannot be unpacked: {error}"))),
        }
    }

    fn prove(
        &self,
        claim: &Claim<'_>,
        prefix: &Path,
        room: &Path,
    ) -> Result<Vec<String>, IdentityError> {
        let expected = self.expected(claim, prefix)?;
        let files = room.join("files");
        for (path, bytes) in &expected.files {
            let path = files.join(path);
            let dir = path.parent().unwrap_or(&files);
            sysfs::create_dir_all(dir)?;
            fs::write(&path, bytes).map_err(FsError::new("write", &path))?;
        }
        let binds: Vec<Bind> = (!expected.files.is_empty())
            .then(|| Bind {
                source: files,
                target: BuildPlan::files_target(),
                access: Access::ReadOnly,
            })
            .into_iter()
            .collect();
        let subject = Subject {
            name: &claim.reference.to_string(),
            prefix,
            guest: &expected.prefix,
            arch: self.arch,
            run_layers: &self.images[&claim.stack],
            library_path: &expected.library_path,
            forbidden: &[],
            checks: &expected.checks,
            binds: &binds,
            limits: &self.limits,
        };
        match prove(&subject, &self.tools) {
            Ok(_) => Ok(Vec::new()),
            Err(ProofError::Failed(failed)) => {
                // What pybuild has not made was never held to the rules for prefixes; those that
                // concern safety are another rule's of ours.
                let ours = claim.record.is_some();
                let failures = failed.failures.iter();
                let told = failures.filter(|failure| ours || !matches!(failure, Failure::Rule(_)));
                Ok(told
                    .map(short)
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect())
            }
            Err(ProofError::Interrupted(interrupted)) => Err(interrupted.into()),
            Err(ProofError::Fs(error)) => Err(error.into()),
            Err(error) => Err(IdentityError::Proof(Box::new(error))),
        }
    }

    /// What must hold of the claimed software in its run image.
    fn expected(&self, claim: &Claim<'_>, prefix: &Path) -> Result<Expected, IdentityError> {
        let reference = &claim.reference;
        if let Some(record) = claim
            .record
            .filter(|record| record.product.script.is_some())
        {
            return Ok(of_script(record));
        }
        let Some((_, version)) = reference.release() else {
            let why = format!("only the script {reference} knows what it makes");
            return Err(IdentityError::Unknown(why));
        };
        let formula = match self.formulae.get(reference.name()) {
            Ok(formula) => formula,
            Err(_) if is_python(reference) => return Ok(foreign(claim, prefix, None)),
            Err(_) => {
                let why = format!("there is no formula `{}`", reference.name());
                return Err(IdentityError::Unknown(why));
            }
        };
        let profile = claim
            .record
            .map_or("plain", |record| &record.product.profile);
        let recipe = formula.recipe(version, profile, &claim.stack);
        if let Ok(recipe) = recipe {
            return self.of_recipe(&recipe, claim);
        }
        if is_python(reference) {
            return Ok(foreign(claim, prefix, Some(formula.prefix())));
        }
        // A version that is not built here: what is checked of another, asked of this one.
        let other = formula
            .versions()
            .filter_map(|version| formula.recipe(version, profile, &claim.stack).ok())
            .last();
        let Some(mut recipe) = other else {
            let why = format!("{} cannot be built on {}", reference.name(), claim.stack);
            return Err(IdentityError::Unknown(why));
        };
        recipe.reference = reference.clone();
        self.of_recipe(&recipe, claim)
    }

    fn of_recipe(&self, recipe: &Recipe, claim: &Claim<'_>) -> Result<Expected, IdentityError> {
        let Some(source) = recipe.sources.first() else {
            let why = format!("{} has no source", recipe.reference);
            return Err(IdentityError::Unknown(why));
        };
        // Checks depend on neither images nor dependencies' builds.
        let nothing = Sha256::of(b"");
        let platform = Platform {
            stack: claim.stack.clone(),
            arch: self.arch,
            build_image: nothing,
            run_image: nothing,
        };
        let dependencies: Vec<PlannedDependency> = recipe
            .dependencies
            .iter()
            .map(|reference| PlannedDependency {
                reference: reference.clone(),
                build_id: nothing,
                trained: None,
            })
            .collect();
        let options = BuildOptions { jobs: 1 };
        let plan = plan(recipe, source, &platform, &dependencies, &options);
        let mut checks = plan.checks;
        // What it was proven to import when it was made, whatever today's formula asks for.
        if let Some(record) = claim.record
            && !record.making.modules.is_empty()
        {
            let python = plan.prefix.join("bin/python");
            checks
                .extend(python.map(|python| import(&plan.prefix, &python, &record.making.modules)));
        }
        let files = plan.files.iter();
        Ok(Expected {
            prefix: plan.prefix,
            checks,
            files: files
                .map(|file| (file.path().to_owned(), file.bytes().to_vec()))
                .collect(),
            library_path: Vec::new(),
        })
    }
}

/// What must hold in the run image.
struct Expected {
    prefix: GuestPath,
    checks: Vec<Check>,
    files: Vec<(String, Vec<u8>)>,
    /// Where the platform has libraries looked for too.
    library_path: Vec<GuestPath>,
}

fn is_python(reference: &FormulaRef) -> bool {
    reference.name().as_str() == "python"
}

/// A `CPython` that no formula knows the version of: what can be said of each there ever was.
fn foreign(claim: &Claim<'_>, prefix: &Path, usual: Option<&GuestPath>) -> Expected {
    let recorded = claim.record.map(|record| &record.product.prefix);
    let guest = recorded.or(usual).cloned();
    let guest = guest.unwrap_or_else(|| PREFIX.parse().expect("an absolute path"));
    let program = ["bin/python", "bin/python3", "bin/python2"]
        .into_iter()
        .find(|name| fs::symlink_metadata(prefix.join(name)).is_ok());
    let python = guest
        .join(program.unwrap_or("bin/python"))
        .unwrap_or(guest.clone());
    let modules: Vec<String> = match claim.record {
        Some(record) if !record.making.modules.is_empty() => record.making.modules.clone(),
        _ => MODULES.map(str::to_owned).into(),
    };
    let version = claim.reference.version().map(|version| {
        let version = [version.to_string()];
        python_check("version", &guest, &python, VERSION, &version)
    });
    let imports = import(&guest, &python, &modules);
    Expected {
        checks: version.into_iter().chain([imports]).collect(),
        prefix: guest,
        files: Vec::new(),
        library_path: Vec::new(),
    }
}

/// What a script has made: nobody but itself says what must hold, but of a Python its version.
fn of_script(record: &Record) -> Expected {
    let Record {
        product, making, ..
    } = record;
    let python = product.prefix.join("bin/python");
    let python = python
        .ok()
        .filter(|_| product.name.as_str() == "python" && product.kind == Kind::Runtime);
    let mut checks = Vec::new();
    if let (Some(python), Some(version)) = (&python, &product.version) {
        let version = [version.to_string()];
        checks.push(python_check(
            "version",
            &product.prefix,
            python,
            VERSION,
            &version,
        ));
    }
    if let Some(python) = python.filter(|_| !making.modules.is_empty()) {
        checks.push(import(&product.prefix, &python, &making.modules));
    }
    let library_path: Vec<GuestPath> = product.prefix.join("lib").into_iter().collect();
    for check in &mut checks {
        let told = library_path.iter().map(GuestPath::to_string);
        check
            .env
            .extend(told.map(|dir| ("LD_LIBRARY_PATH".to_owned(), dir)));
    }
    Expected {
        prefix: product.prefix.clone(),
        checks,
        files: Vec::new(),
        library_path,
    }
}

fn import(prefix: &GuestPath, python: &GuestPath, modules: &[String]) -> Check {
    python_check("imports", prefix, python, IMPORT, modules)
}

fn python_check(
    name: &str,
    prefix: &GuestPath,
    python: &GuestPath,
    script: &str,
    arguments: &[String],
) -> Check {
    let fixed = [python.as_str(), "-E", "-s", "-B", "-c", script];
    let fixed = fixed.map(str::to_owned).into_iter();
    let env = [
        ("LC_ALL", "C.UTF-8"),
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/tmp"),
    ];
    Check {
        name: name.to_owned(),
        prefix: prefix.clone(),
        argv: fixed.chain(arguments.iter().cloned()).collect(),
        cwd: "/tmp".parse().expect("an absolute path"),
        env: env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    }
}

/// A failure in one line: which check, and what it said last.
fn short(failure: &Failure) -> String {
    match failure {
        Failure::Check { check, how, output } => {
            let said: Vec<&str> = output.iter().map(|line| line.trim()).collect();
            let said = if said.is_empty() {
                how.clone()
            } else {
                said.join("; ")
            };
            format!("the check {} at {}: {said}", check.name, check.prefix)
        }
        other => other.to_string(),
    }
}
