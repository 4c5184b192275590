//! The files that formulae are made of: those built in, and a directory laid over them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};

use crate::sys::fs::{self as sysfs, FsError};

use super::error::FormulaError;

static FORMULAE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/formulae");
static PATCHES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/patches");

/// A file: what messages call it, and what is in it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) shown: String,
    pub(super) bytes: Cow<'static, [u8]>,
}

/// Every file by its path: `python.toml`, `python/check.py`, `patches/python/3.10/x.patch`.
pub(super) type Tree = BTreeMap<String, Entry>;

/// The built-in files, with those of `extra_dir` over them, file by file.
pub(super) fn load(extra_dir: Option<&Path>) -> Result<Tree, FormulaError> {
    let mut tree = Tree::new();
    add_built_in(&FORMULAE, "", "formulae/", &mut tree);
    add_built_in(&PATCHES, "patches/", "", &mut tree);
    if let Some(dir) = extra_dir {
        add_directory(dir, "", &mut tree)?;
    }
    Ok(tree)
}

fn add_built_in(dir: &Dir<'static>, below: &str, shown: &str, tree: &mut Tree) {
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(dir) => add_built_in(dir, below, shown, tree),
            DirEntry::File(file) => {
                let path = file.path().to_string_lossy();
                if path.split('/').all(|name| !is_litter(name)) {
                    let path = format!("{below}{path}");
                    let entry = Entry {
                        shown: format!("{shown}{path}"),
                        bytes: Cow::Borrowed(file.contents()),
                    };
                    tree.insert(path, entry);
                }
            }
        }
    }
}

fn add_directory(dir: &Path, below: &str, tree: &mut Tree) -> Result<(), FormulaError> {
    let entries = fs::read_dir(dir).map_err(FsError::new("opendir", dir))?;
    for entry in entries {
        let entry = entry.map_err(FsError::new("readdir", dir))?;
        let path: PathBuf = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            let why = "its name is not UTF-8";
            return Err(FormulaError::Directory { path, why });
        };
        if is_litter(&name) {
            continue;
        }
        let relative = format!("{below}{name}");
        // Follows symlinks: the directory is the caller's own.
        let kind = fs::metadata(&path).map_err(FsError::new("stat", &path))?;
        if kind.is_dir() {
            if below.matches('/').count() > 16 {
                let why = "it is nested too deeply";
                return Err(FormulaError::Directory { path, why });
            }
            add_directory(&path, &format!("{relative}/"), tree)?;
        } else if kind.is_file() {
            let entry = Entry {
                shown: path.display().to_string(),
                bytes: Cow::Owned(sysfs::read(&path)?),
            };
            tree.insert(relative, entry);
        } else {
            let why = "it is neither a file nor a directory";
            return Err(FormulaError::Directory { path, why });
        }
    }
    Ok(())
}

/// What editors and Python leave behind. It would change build ids for no reason.
fn is_litter(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~') || name == "__pycache__"
}
