//! `--check-reproducible`: the same build again, elsewhere, later, with other jobs; the same bytes?

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::Failure;
use super::make::{Made, Workshop};
use crate::archive::{Codec, Pack, pack};
use crate::formula::Recipe;
use crate::model::{Amount, Sha256};
use crate::sys::fs::{self as sysfs, FsError};
use crate::ui::ExitKind;

/// How many differing files are named.
const NAMED: usize = 20;

/// Builds `recipe` again and compares the tarball's bytes with those of `first`.
pub(super) fn check(
    workshop: &Workshop<'_>,
    recipe: &Recipe,
    made: &[Made],
    first: &Made,
) -> Result<(), Failure> {
    let session = workshop.session;
    // One job orders everything; several leave the order to chance.
    let jobs = if workshop.manner.jobs == 1 { 2 } else { 1 };
    let again = workshop.make_again(recipe, made, jobs)?;
    let title = format!("comparing two builds of {}", recipe.reference);
    let phase = session.observer().phase(title, Amount::Unknown);
    let scratch = session.store.scratch()?;
    let mut out = sysfs::create_new(&scratch.path().join("again"))?;
    let how = Pack {
        codec: Codec::Gzip,
        epoch: recipe.released,
        threads: workshop.manner.jobs,
    };
    let packed = pack(&again.prefix(), &how, &mut out, &session.interrupt)?;
    if packed.digest == first.artifact.digest() {
        phase.done_with(format!("the same bytes, SHA-256 {}", packed.digest.short()));
        return Ok(());
    }
    drop(phase);
    let before = scratch.path().join("before");
    sysfs::create_dir_all(&before)?;
    first.artifact.unpack(&before, &session.interrupt)?;
    let differing = differing(&digests(&before)?, &digests(&again.prefix())?);
    let mut failure = Failure::new(
        ExitKind::BuildFailed,
        format!(
            "{} is not reproducible: {} the first time, {} the second",
            recipe.reference,
            first.artifact.digest(),
            packed.digest
        ),
    );
    for path in differing.iter().take(NAMED) {
        failure = failure.hint(format!("differs: {}", path.display()));
    }
    if differing.len() > NAMED {
        failure = failure.hint(format!("{} files differ in all", differing.len()));
    }
    Err(failure)
}

/// What each file of a tree holds, or each symlink, by its path below the tree.
fn digests(tree: &Path) -> Result<BTreeMap<PathBuf, Sha256>, FsError> {
    let mut found = BTreeMap::new();
    let mut rest = vec![tree.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in fs::read_dir(&dir).map_err(FsError::new("readdir", &dir))? {
            let path = entry.map_err(FsError::new("readdir", &dir))?.path();
            let kind = fs::symlink_metadata(&path)
                .map_err(FsError::new("lstat", &path))?
                .file_type();
            let digest = if kind.is_dir() {
                rest.push(path);
                continue;
            } else if kind.is_symlink() {
                let to = fs::read_link(&path).map_err(FsError::new("readlink", &path))?;
                Sha256::of(to.as_os_str().as_bytes())
            } else {
                let mut file = sysfs::open(&path)?;
                let digest = Sha256::of_reader(&mut file);
                digest.map_err(FsError::new("read", &path))?.0
            };
            let below = path.strip_prefix(tree).unwrap_or(&path).to_owned();
            found.insert(below, digest);
        }
    }
    Ok(found)
}

fn differing(a: &BTreeMap<PathBuf, Sha256>, b: &BTreeMap<PathBuf, Sha256>) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = a.keys().chain(b.keys()).cloned().collect();
    paths.sort();
    paths.dedup();
    paths.retain(|path| a.get(path) != b.get(path));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (tree, content) in [("a", "one"), ("b", "two")] {
            let tree = dir.path().join(tree);
            fs::create_dir_all(tree.join("lib/same")).expect("mkdir");
            fs::write(tree.join("lib/same/file"), "same").expect("written");
            fs::write(tree.join("lib/other"), content).expect("written");
            std::os::unix::fs::symlink(content, tree.join("link")).expect("a link");
        }
        fs::write(dir.path().join("b/more"), "").expect("written");
        let tree = |name| digests(&dir.path().join(name)).expect("readable");
        let named = ["lib/other", "link", "more"].map(PathBuf::from);
        assert_eq!(differing(&tree("a"), &tree("b")), named);
        assert_eq!(differing(&tree("a"), &tree("a")), Vec::<PathBuf>::new());
    }
}
