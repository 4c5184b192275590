//! A directory of scripts: everything in it, since scripts read one another.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use crate::model::{FormulaRef, nearest};
use crate::sys::fs::{self as sysfs, FsError};

use super::super::recipe::FileContent;
use super::ScriptError;
use super::script::Script;

/// Of a file, and of all together, in bytes; of files; and of directories inside one another. No
/// directory of scripts comes near any of these.
const MAX_FILE: u64 = 16 << 20;
const MAX_BYTES: u64 = 128 << 20;
const MAX_FILES: usize = 20_000;
const MAX_DEPTH: u8 = 32;

/// A directory of scripts as it was when it was read.
#[derive(Debug, Clone)]
pub struct Workspace {
    directory: PathBuf,
    /// By their paths, in order.
    files: Vec<FileContent>,
    left_out: Vec<String>,
}

impl Workspace {
    /// Reads everything below a directory, but for what version control and editors keep there.
    pub fn read(directory: &Path) -> Result<Self, ScriptError> {
        let real = fs::canonicalize(directory).map_err(FsError::new("realpath", directory))?;
        let mut walk = Walk {
            workspace: Self {
                directory: directory.to_owned(),
                files: Vec::new(),
                left_out: Vec::new(),
            },
            root: &real,
            bytes: 0,
        };
        walk.directory(&real, "", 0)?;
        let mut workspace = walk.workspace;
        workspace.files.sort_by(|a, b| a.path().cmp(b.path()));
        workspace.left_out.sort();
        Ok(workspace)
    }

    /// The script of this path.
    pub fn script(&self, reference: &FormulaRef) -> Result<Script, ScriptError> {
        let path = reference.to_string();
        let found = self.files.iter().find(|file| file.path() == path);
        let Some(file) = found.filter(|_| reference.is_script()) else {
            let others = self.files.iter().map(FileContent::path);
            let near = nearest(&path, others.filter(|path| path.contains('/')));
            return Err(ScriptError::Missing {
                reference: Box::new(reference.clone()),
                directory: self.directory.clone(),
                nearest: near.map(str::to_owned),
            });
        };
        Script::new(reference, file, self.files.clone())
    }

    /// Every file, by its path, in order.
    pub fn files(&self) -> &[FileContent] {
        &self.files
    }

    /// What scripts do not see of it: links that lead out of it or to directories, and what is
    /// neither a file nor a directory.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }
}

struct Walk<'a> {
    workspace: Workspace,
    root: &'a Path,
    bytes: u64,
}

impl Walk<'_> {
    fn directory(&mut self, dir: &Path, below: &str, depth: u8) -> Result<(), ScriptError> {
        if depth == MAX_DEPTH {
            return Err(self.too_much(format!("{below} is nested too deeply")));
        }
        for entry in fs::read_dir(dir).map_err(FsError::new("opendir", dir))? {
            let entry = entry.map_err(FsError::new("readdir", dir))?;
            let path = entry.path();
            let name = match entry.file_name().into_string() {
                Ok(name) if is_litter(&name) => continue,
                Ok(name) => name,
                Err(name) => {
                    let shown = format!("{below}{}", name.to_string_lossy());
                    self.workspace.left_out.push(shown);
                    continue;
                }
            };
            let relative = format!("{below}{name}");
            let kind = fs::symlink_metadata(&path).map_err(FsError::new("lstat", &path))?;
            if kind.is_dir() {
                self.directory(&path, &format!("{relative}/"), depth + 1)?;
            } else if let Some(path) = self.file(&path, kind.is_symlink()) {
                self.add(&path, relative)?;
            } else {
                self.workspace.left_out.push(relative);
            }
        }
        Ok(())
    }

    /// Where the file is, if there is one that may be read: behind a link, only inside the root.
    fn file(&self, path: &Path, is_link: bool) -> Option<PathBuf> {
        let real = if is_link {
            let real = fs::canonicalize(path).ok()?;
            real.starts_with(self.root).then_some(real)?
        } else {
            path.to_owned()
        };
        // Opening a pipe could wait forever.
        let is_file = fs::symlink_metadata(&real).is_ok_and(|found| found.is_file());
        is_file.then_some(real)
    }

    fn add(&mut self, path: &Path, relative: String) -> Result<(), ScriptError> {
        let found = fs::symlink_metadata(path).map_err(FsError::new("lstat", path))?;
        self.bytes += found.len();
        if found.len() > MAX_FILE {
            return Err(self.too_much(format!("{relative} is larger than 16 MiB")));
        }
        if self.bytes > MAX_BYTES {
            return Err(self.too_much("more than 128 MiB".to_owned()));
        }
        if self.workspace.files.len() == MAX_FILES {
            return Err(self.too_much(format!("more than {MAX_FILES} files")));
        }
        let bytes = sysfs::read(path)?;
        let file = FileContent::new(relative, Cow::Owned(bytes));
        self.workspace.files.push(file);
        Ok(())
    }

    fn too_much(&self, what: String) -> ScriptError {
        ScriptError::TooMuch {
            path: self.workspace.directory.clone(),
            what,
        }
    }
}

/// What is nobody's script. It would change build ids for no reason.
fn is_litter(name: &str) -> bool {
    name.ends_with('~') || [".git", ".hg", ".svn", "__pycache__", ".DS_Store"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("mkdir");
        fs::write(path, text).expect("written");
    }

    #[test]
    fn everything_is_there_but_what_leads_out() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        write(dir.path(), "outside", "secret");
        let root = dir.path().join("builds");
        write(&root, "runtimes/python-3.8.8", "echo 3.8.8");
        write(&root, "runtimes/python3", "helper");
        write(&root, ".git/config", "x");
        write(&root, "runtimes/python3~", "x");
        symlink("python-3.8.8", root.join("runtimes/python-3.8")).expect("symlink");
        symlink("../../outside", root.join("runtimes/out")).expect("symlink");
        symlink("..", root.join("runtimes/up")).expect("symlink");
        symlink("nothing", root.join("runtimes/none")).expect("symlink");
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        let workspace = Workspace::read(&root).expect("readable");
        let paths: Vec<&str> = workspace.files().iter().map(FileContent::path).collect();
        assert_eq!(
            paths,
            [
                "runtimes/python-3.8",
                "runtimes/python-3.8.8",
                "runtimes/python3"
            ]
        );
        assert_eq!(
            workspace.left_out(),
            ["pipe", "runtimes/none", "runtimes/out", "runtimes/up"]
        );
    }

    #[test]
    fn a_script_that_is_not_there_is_told_with_the_nearest() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        write(dir.path(), "runtimes/python-3.8.8", "");
        write(dir.path(), "README", "");
        let workspace = Workspace::read(dir.path()).expect("readable");
        let asked = "runtimes/python-3.8.9".parse().expect("a path");
        let Err(ScriptError::Missing { nearest, .. }) = workspace.script(&asked) else {
            panic!("there is no such script");
        };
        assert_eq!(nearest.as_deref(), Some("runtimes/python-3.8.8"));
    }
}
