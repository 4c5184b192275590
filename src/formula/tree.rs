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

/// Where patches lie in the tree.
const PATCHES_DIR: &str = "patches";
/// Of helper files and patches.
const MAX_DEPTH: u8 = 16;
/// Of any file, in bytes. No formula comes near it.
const MAX_SIZE: u64 = 16 << 20;

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
        add_directory(dir, &mut tree)?;
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

/// Adds the formula files of `dir`, then the directories that belong to formulae. Others are left
/// alone: a directory of formulae may well be a whole repository.
fn add_directory(dir: &Path, tree: &mut Tree) -> Result<(), FormulaError> {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for (name, path) in list(dir)? {
        // Files may be symlinks: the directory is the caller's own.
        let kind = fs::metadata(&path).map_err(FsError::new("stat", &path))?;
        if kind.is_dir() {
            directories.push((name, path));
        } else if is_toml(&name) {
            files.push((name, path));
        }
    }
    for (name, path) in files {
        tree.insert(name, read(&path)?);
    }
    for (name, path) in directories {
        if name == PATCHES_DIR || tree.contains_key(&format!("{name}.toml")) {
            add_below(&path, &format!("{name}/"), 0, tree)?;
        }
    }
    Ok(())
}

/// Adds everything below a directory that belongs to a formula.
fn add_below(dir: &Path, below: &str, depth: u8, tree: &mut Tree) -> Result<(), FormulaError> {
    for (name, path) in list(dir)? {
        let unusable = |why| FormulaError::Directory {
            path: path.clone(),
            why,
        };
        let relative = format!("{below}{name}");
        let kind = fs::symlink_metadata(&path).map_err(FsError::new("lstat", &path))?;
        if kind.is_dir() {
            if depth == MAX_DEPTH {
                return Err(unusable("it is nested too deeply"));
            }
            add_below(&path, &format!("{relative}/"), depth + 1, tree)?;
        } else if kind.is_symlink() && path.is_dir() {
            // It could lead back to where it is.
            return Err(unusable("it is a symlink to a directory"));
        } else {
            tree.insert(relative, read(&path)?);
        }
    }
    Ok(())
}

/// What is in a directory, without litter.
fn list(dir: &Path) -> Result<Vec<(String, PathBuf)>, FormulaError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(FsError::new("opendir", dir))? {
        let entry = entry.map_err(FsError::new("readdir", dir))?;
        let path = entry.path();
        match entry.file_name().into_string() {
            Ok(name) if is_litter(&name) => {}
            Ok(name) => entries.push((name, path)),
            Err(_) => {
                let why = "its name is not UTF-8";
                return Err(FormulaError::Directory { path, why });
            }
        }
    }
    Ok(entries)
}

fn read(path: &Path) -> Result<Entry, FormulaError> {
    let unusable = |why| FormulaError::Directory {
        path: path.to_owned(),
        why,
    };
    let kind = fs::metadata(path).map_err(FsError::new("stat", path))?;
    if !kind.is_file() {
        // Opening a FIFO could wait forever.
        return Err(unusable("it is neither a file nor a directory"));
    }
    if kind.len() > MAX_SIZE {
        return Err(unusable("it is larger than 16 MiB"));
    }
    Ok(Entry {
        shown: path.display().to_string(),
        bytes: Cow::Owned(sysfs::read(path)?),
    })
}

fn is_toml(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "toml")
}

/// What editors and Python leave behind. It would change build ids for no reason.
fn is_litter(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~') || name == "__pycache__"
}
