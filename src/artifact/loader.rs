//! Whether everything that a prefix's ELF files need is there, decided as ld.so(8) decides it.
//!
//! For each file the loader's own walk is done: breadth first from the file, each needed library
//! looked up by its requester's search paths and then in the image's directories, symbol versions
//! compared. `LD_LIBRARY_PATH` counts only where the platform is known to set it. Left out is what
//! a promise cannot be built on: the cache (its directories are searched instead), and the libraries for special hardware below `glibc-hwcaps`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::elf::{Elf, Machine, Role};
use super::image::{Found, Image};
use crate::model::{Glob, GuestPath};
use crate::sys::fs::FsError;

/// Larger files are no `ld.so.conf`, and larger libraries none that a stack has.
const CONF_LIMIT: u64 = 1 << 20;
const LIBRARY_LIMIT: u64 = 1 << 29;

/// Something that the loader would not find.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unresolved {
    /// The file of the prefix that cannot be loaded.
    pub file: PathBuf,
    /// What is missing for it.
    pub missing: Missing,
    /// The library in between whose need it is, as a path of the image.
    pub through: Option<PathBuf>,
}

/// What the loader misses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// A library.
    Library(String),
    /// A version of a library that is there: it is too old.
    Version {
        /// The library.
        library: String,
        /// The version wanted.
        version: String,
    },
    /// The program's interpreter.
    Interpreter(String),
    /// Nothing: the file is for another machine than the image.
    Machine(u16),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| text.escape_debug().to_string();
        write!(f, "{}", shown(&self.file.to_string_lossy()))?;
        match &self.missing {
            Missing::Library(name) => write!(f, " needs {}, which is not there", shown(name))?,
            Missing::Version { library, version } => write!(
                f,
                " needs {} of {}, which is older",
                shown(version),
                shown(library)
            )?,
            Missing::Interpreter(path) => {
                write!(f, " needs the loader {}, which is not there", shown(path))?;
            }
            Missing::Machine(number) => {
                write!(f, " is for another machine (ELF machine {number})")?;
            }
        }
        match &self.through {
            Some(path) => write!(f, " (by {})", path.display()),
            None => Ok(()),
        }
    }
}

/// What came of looking up everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolution {
    /// What is not there, by file.
    pub unresolved: Vec<Unresolved>,
    /// The libraries of the run image that files of the prefix ask for themselves: by the name
    /// they ask by, where that is in the image.
    pub libraries: BTreeMap<String, PathBuf>,
}

/// Looks up what all `elves` of a prefix need, the prefix being at `guest` of `image` (see
/// [`Image::with_mount`]), on a machine of the kind `machine` whose platform sets
/// `LD_LIBRARY_PATH` to `library_path`.
pub fn resolve(
    elves: &[Elf],
    image: &Image,
    guest: &GuestPath,
    library_path: &[GuestPath],
    machine: Machine,
) -> Result<Resolution, FsError> {
    let mut loader = Loader {
        image,
        library_path: library_path.iter().map(|dir| dir.as_str().into()).collect(),
        defaults: default_dirs(image, machine)?,
        machine,
        known: HashMap::new(),
    };
    let home = Path::new(guest.as_str());
    let mut resolution = Resolution::default();
    let mut missing: BTreeSet<Unresolved> = BTreeSet::new();
    // What the prefix's own programs have loaded before they load an extension module.
    let mut provided: BTreeSet<String> = BTreeSet::new();
    let role = |wanted: Role| elves.iter().filter(move |elf| elf.role == wanted);
    for elf in role(Role::Program).chain(role(Role::Library)) {
        if elf.machine != machine {
            missing.insert(Unresolved {
                file: elf.path.clone(),
                missing: Missing::Machine(elf.machine.number),
                through: None,
            });
            continue;
        }
        let outcome = loader.load(elf, home)?;
        for (name, object) in &outcome.direct {
            if !object.starts_with(home) {
                resolution.libraries.insert(name.clone(), object.clone());
            }
        }
        let is_program = elf.role == Role::Program;
        if is_program {
            provided.extend(outcome.names);
        }
        for (needing, what) in outcome.missing {
            let own = needing == home.join(&elf.path);
            // Another file of the prefix answers for itself, unless only this program's paths
            // could have found it.
            if !own && !is_program && needing.starts_with(home) {
                continue;
            }
            if !is_program && matches!(&what, Missing::Library(name) if provided.contains(name)) {
                continue;
            }
            missing.insert(Unresolved {
                file: elf.path.clone(),
                missing: what,
                through: (!own).then_some(needing),
            });
        }
    }
    resolution.unresolved = missing.into_iter().collect();
    Ok(resolution)
}

/// What loading one file brought.
struct Outcome {
    /// The names that are loaded afterwards.
    names: BTreeSet<String>,
    /// What the file asked for itself, and where that was found.
    direct: Vec<(String, PathBuf)>,
    /// What was not found, and the path in the image of the file that needs it.
    missing: Vec<(PathBuf, Missing)>,
}

struct Object {
    elf: Rc<Elf>,
    /// Where it is in the image, links resolved.
    path: PathBuf,
    /// Whose need brought it here.
    loader: Option<usize>,
}

struct Loader<'a> {
    image: &'a Image,
    library_path: Vec<PathBuf>,
    defaults: Vec<PathBuf>,
    machine: Machine,
    /// What is at a path of the image, if it is a library for this machine.
    known: HashMap<PathBuf, Option<(Rc<Elf>, PathBuf)>>,
}

impl Loader<'_> {
    fn load(&mut self, elf: &Elf, home: &Path) -> Result<Outcome, FsError> {
        let mut outcome = Outcome {
            names: BTreeSet::new(),
            direct: Vec::new(),
            missing: Vec::new(),
        };
        let mut objects = vec![Object {
            elf: Rc::new(elf.clone()),
            path: home.join(&elf.path),
            loader: None,
        }];
        let mut by_name: HashMap<String, usize> = HashMap::new();
        by_name.extend(elf.soname.clone().map(|name| (name, 0)));
        if let Some(interpreter) = &elf.interpreter {
            match self.open(Path::new(interpreter))? {
                Some((elf, path)) => {
                    let name = elf.soname.clone();
                    outcome
                        .direct
                        .extend(name.clone().map(|n| (n, path.clone())));
                    by_name.extend(name.map(|name| (name, objects.len())));
                    objects.push(Object {
                        elf,
                        path,
                        loader: Some(0),
                    });
                }
                None => outcome.missing.push((
                    objects[0].path.clone(),
                    Missing::Interpreter(interpreter.clone()),
                )),
            }
        }
        let mut at = 0;
        while at < objects.len() {
            for name in objects[at].elf.clone().needed.clone() {
                let found = match by_name.get(&name) {
                    Some(index) => Some(*index),
                    None => self.bring(&name, at, &mut objects, &mut by_name)?,
                };
                match found {
                    Some(index) if at == 0 => {
                        outcome.direct.push((name, objects[index].path.clone()));
                    }
                    Some(_) => {}
                    None => {
                        let needing = objects[at].path.clone();
                        outcome.missing.push((needing, Missing::Library(name)));
                    }
                }
            }
            at += 1;
        }
        for object in &objects {
            missing_versions(object, &objects, &by_name, &mut outcome.missing);
        }
        outcome.names.extend(by_name.into_keys());
        Ok(outcome)
    }

    /// Finds the library that `objects[at]` needs as `name`, and adds it.
    fn bring(
        &mut self,
        name: &str,
        at: usize,
        objects: &mut Vec<Object>,
        by_name: &mut HashMap<String, usize>,
    ) -> Result<Option<usize>, FsError> {
        for candidate in self.candidates(name, at, objects) {
            let Some((elf, path)) = self.open(&candidate)? else {
                continue;
            };
            // The same file by another name is not loaded twice.
            let index = objects.iter().position(|object| object.path == path);
            let index = index.unwrap_or(objects.len());
            by_name.insert(name.to_owned(), index);
            if index == objects.len() {
                if let Some(soname) = &elf.soname {
                    by_name.entry(soname.clone()).or_insert(index);
                }
                objects.push(Object {
                    elf,
                    path,
                    loader: Some(at),
                });
            }
            return Ok(Some(index));
        }
        Ok(None)
    }

    /// Where the loader looks for `name` on behalf of `objects[at]`, in order.
    fn candidates(&self, name: &str, at: usize, objects: &[Object]) -> Vec<PathBuf> {
        let asking = &objects[at];
        if name.contains('/') {
            // With a slash it is a path; a relative one depends on where one stands.
            let path = expand(name, &asking.path, self.machine);
            return path.into_iter().collect();
        }
        let (mut dirs, mut last) = (Vec::new(), Vec::new());
        if asking.elf.runpath.is_empty() {
            // Those of everyone in the chain that asked, as far as they have no runpath.
            let mut link = Some(at);
            while let Some(index) = link {
                let object = &objects[index];
                if object.elf.runpath.is_empty() {
                    dirs.extend(object.elf.rpath.iter().map(|dir| (dir, &object.path)));
                }
                link = object.loader;
            }
        }
        last.extend(asking.elf.runpath.iter().map(|dir| (dir, &asking.path)));
        let expanded = |(dir, origin): (&String, &PathBuf)| expand(dir, origin, self.machine);
        let dirs = dirs.into_iter().filter_map(expanded);
        dirs.chain(self.library_path.iter().cloned())
            .chain(last.into_iter().filter_map(expanded))
            .chain(self.defaults.iter().cloned())
            .map(|dir| dir.join(name))
            .collect()
    }

    fn open(&mut self, path: &Path) -> Result<Option<(Rc<Elf>, PathBuf)>, FsError> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        let found = match self.image.find(path)? {
            Found::File { guest, .. } => {
                let content = self.image.read(&guest, LIBRARY_LIMIT)?.unwrap_or_default();
                let elf = Elf::parse(&guest, &content).ok().flatten();
                // One for another machine is passed over, as the loader does.
                elf.filter(|elf| elf.machine == self.machine)
                    .map(|elf| (Rc::new(elf), guest))
            }
            Found::Directory { .. } | Found::Nothing => None,
        };
        self.known.insert(path.to_owned(), found.clone());
        Ok(found)
    }
}

/// The versions that `object` needs and that what was loaded does not have.
fn missing_versions(
    object: &Object,
    objects: &[Object],
    by_name: &HashMap<String, usize>,
    missing: &mut Vec<(PathBuf, Missing)>,
) {
    for needed in &object.elf.versions_needed {
        let Some(index) = by_name.get(&needed.library) else {
            continue; // missing as a whole
        };
        let defined = &objects[*index].elf.versions_defined;
        // A library without any version at all is taken as it is, with a warning.
        if needed.weak || defined.is_empty() || defined.contains(&needed.version) {
            continue;
        }
        missing.push((
            object.path.clone(),
            Missing::Version {
                library: needed.library.clone(),
                version: needed.version.clone(),
            },
        ));
    }
}

/// Fills in `$ORIGIN`, `$LIB` and `$PLATFORM`. `None` if the result depends on the current
/// directory.
fn expand(dir: &str, asking: &Path, machine: Machine) -> Option<PathBuf> {
    let origin = asking.parent()?.to_str()?;
    let lib = multiarch(machine).map_or_else(|| "lib".to_owned(), |name| format!("lib/{name}"));
    let platform = match machine.number {
        62 => "x86_64",
        183 => "aarch64",
        _ => "",
    };
    let mut text = dir.to_owned();
    for (name, value) in [("ORIGIN", origin), ("LIB", &lib), ("PLATFORM", platform)] {
        text = text
            .replace(&format!("${{{name}}}"), value)
            .replace(&format!("${name}"), value);
    }
    Some(PathBuf::from(text)).filter(|path| path.is_absolute())
}

/// Debian's name for a machine in library directories.
fn multiarch(machine: Machine) -> Option<&'static str> {
    match (machine.number, machine.wide) {
        (62, true) => Some("x86_64-linux-gnu"),
        (183, true) => Some("aarch64-linux-gnu"),
        (3, false) => Some("i386-linux-gnu"),
        _ => None,
    }
}

/// Where the loader looks when nobody says: what `/etc/ld.so.conf` lists, which is what is in the
/// cache, then its built-in directories.
fn default_dirs(image: &Image, machine: Machine) -> Result<Vec<PathBuf>, FsError> {
    let mut dirs = Vec::new();
    conf_dirs(image, Path::new("/etc/ld.so.conf"), 0, &mut dirs)?;
    if let Some(name) = multiarch(machine) {
        dirs.push(PathBuf::from("/lib").join(name));
        dirs.push(PathBuf::from("/usr/lib").join(name));
    }
    if machine.wide {
        dirs.extend(["/lib64", "/usr/lib64"].map(PathBuf::from));
    }
    dirs.extend(["/lib", "/usr/lib"].map(PathBuf::from));
    let mut seen = BTreeSet::new();
    dirs.retain(|dir| seen.insert(dir.clone()));
    Ok(dirs)
}

/// Reads an `ld.so.conf` (ldconfig(8)) with what it includes.
fn conf_dirs(
    image: &Image,
    path: &Path,
    depth: usize,
    dirs: &mut Vec<PathBuf>,
) -> Result<(), FsError> {
    const DEPTH_LIMIT: usize = 8;
    let Some(content) = image.read(path, CONF_LIMIT)? else {
        return Ok(());
    };
    for line in String::from_utf8_lossy(&content).lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include ").map(str::trim) {
            let parent = path.parent().unwrap_or(Path::new("/"));
            for included in matching(image, &parent.join(pattern))? {
                if depth < DEPTH_LIMIT {
                    conf_dirs(image, &included, depth + 1, dirs)?;
                }
            }
        } else if line.starts_with('/') {
            let listed = line.split(|c: char| c.is_whitespace() || matches!(c, ',' | ':'));
            // `dir=TYPE` is an old way to say which C library a directory is for.
            let listed = listed.filter_map(|dir| dir.split('=').next());
            dirs.extend(listed.filter(|dir| !dir.is_empty()).map(PathBuf::from));
        }
    }
    Ok(())
}

/// The files of the image that an absolute pattern names, where only its last component holds
/// wildcards, as in every `ld.so.conf` there is.
fn matching(image: &Image, pattern: &Path) -> Result<Vec<PathBuf>, FsError> {
    let (Some(dir), Some(last)) = (pattern.parent(), pattern.file_name()) else {
        return Ok(Vec::new());
    };
    let Some(glob) = last.to_str().and_then(|text| text.parse::<Glob>().ok()) else {
        return Ok(vec![pattern.to_owned()]);
    };
    let names = image.list(dir)?;
    let chosen = names.iter().filter(|name| glob.matches(Path::new(name)));
    Ok(chosen.map(|name| dir.join(name)).collect())
}

#[cfg(test)]
mod tests;
