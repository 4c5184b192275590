//! `--identity`: whether what is in a tarball is the software that its name says. It is unpacked
//! into scratch, its own files are asked for their version, and the proof that it passed before it
//! was packaged is repeated in the stack's run image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use crate::archive::{ArchiveError, Extract, Limits, Trust, decoder, extract, interruptible};
use crate::artifact::check::Check;
use crate::artifact::failure::Failure;
use crate::artifact::proof::{self, ProofError, Subject, prove};
use crate::artifact::record::Record;
use crate::build::{BuildOptions, BuildPlan, PlannedDependency, Platform, plan};
use crate::formula::{Catalog, FormulaError, Recipe};
use crate::model::{Arch, FormulaRef, GuestPath, Sha256, StackName};
use crate::sandbox::{self, Access, Bind};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupted;

use super::facts::Archive;

/// Where a runtime is if neither record nor formula says it.
const PREFIX: &str = "/app/.heroku/python";
/// Bytes of a header that are read for a version.
const HEADER: u64 = 16 << 20;
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

impl Identify<'_> {
    /// Everything about the tarball in `file` that is not as its name says.
    pub(super) fn look(
        &self,
        archive: &Archive,
        file: &mut File,
        room: &Path,
    ) -> Result<Vec<String>, IdentityError> {
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
        let recipe = formula.recipe(reference.version(), profile, &claim.stack);
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
        })
    }
}

/// What must hold in the run image.
struct Expected {
    prefix: GuestPath,
    checks: Vec<Check>,
    files: Vec<(String, Vec<u8>)>,
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
    let version = [claim.reference.version().as_str().to_owned()];
    Expected {
        checks: vec![
            python_check("version", &guest, &python, VERSION, &version),
            import(&guest, &python, &modules),
        ],
        prefix: guest,
        files: Vec::new(),
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

/// What the unpacked software's own headers say of its version, where they are another's.
fn own_version(prefix: &Path, claimed: &FormulaRef) -> Result<Vec<String>, IdentityError> {
    let mut wrong = Vec::new();
    for (file, version) in versions(prefix, claimed.name().as_str())? {
        if version != claimed.version().as_str() {
            let wanted = claimed.version();
            wrong.push(format!("its {file} is of {version}, not {wanted}"));
        }
    }
    Ok(wrong)
}

/// The versions that the headers of a prefix define, each with the header's path.
fn versions(prefix: &Path, name: &str) -> Result<Vec<(String, String)>, IdentityError> {
    let include = prefix.join("include");
    let (headers, macro_name) = match name {
        "python" => (pythons(&include)?, "PY_VERSION"),
        "sqlite" => (vec![PathBuf::from("sqlite3.h")], "SQLITE_VERSION"),
        _ => return Ok(Vec::new()),
    };
    let mut found = Vec::new();
    for header in headers {
        let path = include.join(&header);
        // What is no file there (a symlink, say) is not followed; the proof tells what is missing.
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            continue;
        }
        let mut bytes = Vec::new();
        let mut reader = sysfs::open(&path)?.take(HEADER);
        reader
            .read_to_end(&mut bytes)
            .map_err(FsError::new("read", &path))?;
        if let Some(version) = defined(&String::from_utf8_lossy(&bytes), macro_name) {
            found.push((format!("include/{}", header.display()), version));
        }
    }
    Ok(found)
}

/// `patchlevel.h` of every Python below `include`.
fn pythons(include: &Path) -> Result<Vec<PathBuf>, IdentityError> {
    if !fs::symlink_metadata(include).is_ok_and(|found| found.is_dir()) {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(include).map_err(FsError::new("readdir", include))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FsError::new("readdir", include))?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && entry.file_name().to_string_lossy().starts_with("python") {
            found.push(Path::new(&entry.file_name()).join("patchlevel.h"));
        }
    }
    found.sort();
    Ok(found)
}

/// The text that a C header defines a macro as: `#define PY_VERSION "3.11.2"`.
fn defined(header: &str, name: &str) -> Option<String> {
    header.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_it = words.next() == Some("#define") && words.next() == Some(name);
        let text = words.next().filter(|_| is_it)?;
        Some(text.trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_another_version_are_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let headers = [
            ("sqlite3.h", "#define SQLITE_VERSION        \"3.46.1\"\n"),
            ("python3.11/patchlevel.h", "#define PY_VERSION \"3.11.2\"\n"),
        ];
        for (name, text) in headers {
            let path = dir.path().join("include").join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, text).expect("written");
        }
        let told = |claimed: &str| {
            let claimed = claimed.parse().expect("a reference");
            own_version(dir.path(), &claimed).expect("readable")
        };
        for right in ["sqlite-3.46.1", "python-3.11.2", "tool-1.0"] {
            assert_eq!(told(right), [""; 0], "{right}");
        }
        let wrong = "its include/sqlite3.h is of 3.46.1, not 3.46.0";
        assert_eq!(told("sqlite-3.46.0"), [wrong]);
        let wrong = "its include/python3.11/patchlevel.h is of 3.11.2, not 3.11.3";
        assert_eq!(told("python-3.11.3"), [wrong]);
    }
}
