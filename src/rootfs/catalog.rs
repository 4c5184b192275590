//! The stacks that pybuild knows: those it ships, and those of a directory of one's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use super::manifest::{Keyrings, Manifest, ManifestError};
use crate::model::{StackName, nearest};
use crate::sys::fs::{self as sysfs, FsError};

static MANIFESTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/rootfs-manifests");
static KEYRINGS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/keyrings");

/// Stacks by name.
#[derive(Debug, Clone)]
pub struct Catalog(BTreeMap<StackName, Manifest>);

/// Why a stack cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] Box<ManifestError>),
    /// A manifest's file has another name than its stack.
    #[error("{file} describes the stack {name}: it must be named {name}.toml")]
    Misnamed {
        /// The file.
        file: String,
        /// The stack.
        name: StackName,
    },
    /// The directory of one's own cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// There is no such stack.
    #[error("no stack is named `{name}`{}", nearest.as_ref().map(|n| format!("; `{n}` is")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: StackName,
        /// What was probably meant.
        nearest: Option<StackName>,
        /// All there are.
        known: Vec<StackName>,
    },
}

impl Catalog {
    /// The shipped stacks, and those of `*.toml` in `extra_dir`, which win over shipped ones of
    /// the same name. Keyrings beside those (`*.gpg`) can be named by them.
    pub fn load(extra_dir: Option<&Path>) -> Result<Self, CatalogError> {
        let mut catalog = Self(BTreeMap::new());
        let mut keyrings = shipped_keyrings();
        for file in MANIFESTS.files() {
            let name = format!("rootfs-manifests/{}", file.path().display());
            let text = file.contents_utf8().unwrap_or_default();
            catalog.add(&name, text, &keyrings)?;
        }
        let Some(dir) = extra_dir else {
            return Ok(catalog);
        };
        for path in files(dir, "gpg")? {
            keyrings.insert(stem(&path).to_owned(), sysfs::read(&path)?.into());
        }
        for path in files(dir, "toml")? {
            let text = String::from_utf8_lossy(&sysfs::read(&path)?).into_owned();
            catalog.add(&path.display().to_string(), &text, &keyrings)?;
        }
        Ok(catalog)
    }

    /// A stack's manifest, without reading those of others where that tells nothing new.
    pub fn find(extra_dir: Option<&Path>, name: &StackName) -> Result<Manifest, CatalogError> {
        let shipped = MANIFESTS.get_file(format!("{name}.toml"));
        if let (None, Some(file)) = (extra_dir, shipped) {
            let text = file.contents_utf8().unwrap_or_default();
            let mut catalog = Self(BTreeMap::new());
            catalog.add(
                &format!("rootfs-manifests/{name}.toml"),
                text,
                &shipped_keyrings(),
            )?;
            if let Some(manifest) = catalog.0.remove(name) {
                return Ok(manifest);
            }
        }
        Ok(Self::load(extra_dir)?.get(name)?.clone())
    }

    fn add(&mut self, file: &str, text: &str, keyrings: &Keyrings) -> Result<(), CatalogError> {
        let manifest = Manifest::parse(file, text, keyrings).map_err(Box::new)?;
        let dir = Path::new(file).parent().unwrap_or(Path::new(""));
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let manifest = manifest.rooted(&dir);
        let name = manifest.name().clone();
        if stem(Path::new(file)) != name.as_str() {
            let file = file.to_owned();
            return Err(CatalogError::Misnamed { file, name });
        }
        self.0.insert(name, manifest);
        Ok(())
    }

    /// All stacks, sorted.
    pub fn names(&self) -> Vec<&StackName> {
        self.0.keys().collect()
    }

    /// A stack's manifest.
    pub fn get(&self, name: &StackName) -> Result<&Manifest, CatalogError> {
        self.0.get(name).ok_or_else(|| {
            let near = nearest(name.as_str(), self.0.keys().map(StackName::as_str));
            CatalogError::Unknown {
                name: name.clone(),
                nearest: near.and_then(|near| near.parse().ok()),
                known: self.0.keys().cloned().collect(),
            }
        })
    }
}

fn shipped_keyrings() -> Keyrings {
    let keyrings = KEYRINGS.files().filter(|file| is(file.path(), "gpg"));
    keyrings
        .map(|file| (stem(file.path()).to_owned(), file.contents().into()))
        .collect()
}

/// The files of a directory with this extension, sorted.
fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, FsError> {
    let entries = fs::read_dir(dir).map_err(FsError::new("readdir", dir))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(FsError::new("readdir", dir))?;
    paths.retain(|path| is(path, extension));
    paths.sort();
    Ok(paths)
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn stem(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StackName {
        text.parse().expect("a name")
    }

    #[test]
    fn the_shipped_manifests_are_right() {
        let catalog = Catalog::load(None).expect("the shipped manifests");
        let names: Vec<&str> = catalog.names().iter().map(|n| n.as_str()).collect();
        assert_eq!(
            names.join(" "),
            "cedar-14 cflinuxfs3 cflinuxfs4 debian-11 debian-12 debian-13 heroku-16 heroku-18 \
             heroku-20 heroku-22 heroku-24 heroku-26 ubuntu-22.04 ubuntu-24.04"
        );
    }

    #[test]
    fn an_unknown_stack_is_answered_with_the_nearest() {
        let catalog = Catalog::load(None).expect("the shipped manifests");
        let error = catalog.get(&name("debain-12")).expect_err("unknown");
        let found = Catalog::find(None, &name("debain-12")).expect_err("unknown");
        assert_eq!(found.to_string(), error.to_string());
        let known = name("debian-12");
        let found = Catalog::find(None, &known).expect("shipped");
        assert_eq!(&found, catalog.get(&known).expect("shipped"));
        assert_eq!(
            error.to_string(),
            "no stack is named `debain-12`; `debian-12` is"
        );
    }

    #[test]
    fn stacks_of_ones_own_are_added_and_win() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let shipped = MANIFESTS.get_file("debian-12.toml").expect("shipped");
        let text = shipped.contents_utf8().expect("UTF-8");
        let ours = text.replace("debian-12", "ours-1");
        fs::write(dir.path().join("ours-1.toml"), ours).expect("write");
        let again = text.replace("\"bookworm\"", "\"sid\"");
        fs::write(dir.path().join("debian-12.toml"), again).expect("write");
        let shipped = Catalog::load(None).expect("the shipped manifests");
        let catalog = Catalog::load(Some(dir.path())).expect("a catalogue");
        assert_eq!(catalog.names().len(), shipped.names().len() + 1);
        let digest = |c: &Catalog| c.get(&name("debian-12")).expect("there").digest();
        assert_ne!(digest(&catalog), digest(&shipped));

        fs::write(dir.path().join("other.toml"), text).expect("write");
        let error = Catalog::load(Some(dir.path())).expect_err("misnamed");
        assert!(error.to_string().ends_with("must be named debian-12.toml"));
    }
}
