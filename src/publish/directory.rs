//! A directory as a target: an object is there whole or not at all, even after a kill.
//!
//! A new file has no name while it is written (`O_TMPFILE`), so a killed process leaves nothing.
//! Where the file system cannot do that it has a name that no listing shows.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

use super::content::{Conditional, Content, Head, Mode, Object, Put, StaleUpload};
use super::error::PublishError;
use super::remote::{Place, hidden_name, is_hidden};
use crate::archive::interruptible;
use crate::model::{Hasher, Sha256};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;

const BUFFER: usize = 256 << 10;

/// A directory as a target.
pub(super) struct Directory {
    root: PathBuf,
    shown: String,
}

impl Directory {
    pub(super) fn new(root: &Path, shown: &str) -> Self {
        Self {
            root: root.to_owned(),
            shown: shown.to_owned(),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// What a key is of, unless nothing or a directory is there.
    fn stat(&self, key: &str) -> Result<Option<Metadata>, PublishError> {
        let path = self.path(key);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(Some(found)),
            Ok(_) => Ok(None),
            Err(error) if is_nothing(&error) => Ok(None),
            Err(error) => Err(FsError::new("stat", &path)(error).into()),
        }
    }

    /// Calls `each` with the key, the name and the metadata of every file whose key begins so.
    /// Links to files are files; links to directories are not followed, since they may lead back.
    fn walk(
        &self,
        below: &str,
        interrupt: &Interrupt,
        each: &mut dyn FnMut(String, &str, &Metadata),
    ) -> Result<(), PublishError> {
        let start = below.rsplit_once('/').map_or("", |(start, _)| start);
        let mut directories = vec![start.to_owned()];
        while let Some(directory) = directories.pop() {
            interrupt.check()?;
            let path = self.path(&directory);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if is_nothing(&error) => continue,
                Err(error) => return Err(FsError::new("readdir", &path)(error).into()),
            };
            for entry in entries {
                let entry = entry.map_err(FsError::new("readdir", &path))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let key = if directory.is_empty() {
                    name.clone()
                } else {
                    format!("{directory}/{name}")
                };
                let kind = entry.file_type().map_err(FsError::new("lstat", &path))?;
                if kind.is_dir() {
                    if key.starts_with(below) || below.starts_with(&format!("{key}/")) {
                        directories.push(key);
                    }
                } else if key.starts_with(below)
                    && let Ok(found) = fs::metadata(entry.path())
                    && found.is_file()
                {
                    each(key, &name, &found);
                }
            }
        }
        Ok(())
    }

    /// Whether the same is there; an error if something else is.
    fn compare(
        &self,
        key: &str,
        content: &Content<'_>,
        interrupt: &Interrupt,
    ) -> Result<Option<Put>, PublishError> {
        let path = self.path(key);
        let Some(found) = self.stat(key)? else {
            // A directory, or a link to nowhere.
            return match fs::symlink_metadata(&path) {
                Ok(_) => Err(FsError::new("create", &path)(Errno::EEXIST).into()),
                Err(_) => Ok(None),
            };
        };
        let ours = content.digest();
        let exists = |theirs| PublishError::Exists {
            target: self.shown.clone(),
            key: key.to_owned(),
            theirs,
            ours,
        };
        if found.len() != content.size() {
            return Err(exists(None));
        }
        let mut reader = interruptible(sysfs::open(&path)?, interrupt);
        let theirs = Sha256::of_reader(&mut reader);
        interrupt.check()?;
        let (theirs, _) = theirs.map_err(FsError::new("read", &path))?;
        if theirs == ours {
            Ok(Some(Put::AlreadySame))
        } else {
            Err(exists(Some(theirs)))
        }
    }
}

impl Place for Directory {
    fn list(
        &self,
        below: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<Vec<Object>>, PublishError> {
        let mut objects = Vec::new();
        self.walk(below, interrupt, &mut |key, name, found| {
            if !is_hidden(name) {
                objects.push(Object {
                    key,
                    size: found.len(),
                    modified: found.mtime(),
                });
            }
        })?;
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Some(objects))
    }

    fn head(&self, key: &str, _: &Interrupt) -> Result<Option<Head>, PublishError> {
        Ok(self.stat(key)?.map(|found| Head {
            size: found.len(),
            sha256: None,
            parts: None,
            etag: None,
        }))
    }

    fn read<'a>(
        &'a self,
        key: &str,
        _: Option<&str>,
        interrupt: &'a Interrupt,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, PublishError> {
        if self.stat(key)?.is_none() {
            return Ok(None);
        }
        let file = sysfs::open(&self.path(key))?;
        Ok(Some(Box::new(interruptible(file, interrupt))))
    }

    fn file(&self, key: &str) -> Result<Option<File>, PublishError> {
        match self.stat(key)? {
            Some(_) => Ok(Some(sysfs::open(&self.path(key))?)),
            None => Ok(None),
        }
    }

    fn put(
        &self,
        key: &str,
        content: Content<'_>,
        mode: Mode,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Put, PublishError> {
        let compare = || self.compare(key, &content, interrupt);
        if mode == Mode::Create
            && let Some(put) = compare()?
        {
            return Ok(put);
        }
        let path = self.path(key);
        let parent = path.parent().unwrap_or(&self.root);
        create_dirs_durably(parent)?;
        let mut beside = Beside::create(parent)?;
        beside.fill(&content, progress, interrupt)?;
        match mode {
            Mode::Overwrite => beside.replace(&path)?,
            Mode::Create => {
                if !beside.link(&path)? {
                    // Somebody else was faster.
                    return compare()?.ok_or_else(|| PublishError::Changed {
                        target: self.shown.clone(),
                        key: key.to_owned(),
                    });
                }
            }
        }
        sysfs::sync_parent(&path)?;
        Ok(Put::Written)
    }

    /// Makes a file where the next one would be made.
    fn check_writable(&self, _: &Interrupt) -> Result<Conditional, PublishError> {
        let absolute =
            std::path::absolute(&self.root).map_err(FsError::new("absolute", &self.root))?;
        let there = absolute.ancestors().find(|path| path.exists());
        Beside::create(there.unwrap_or(&absolute))?;
        Ok(Conditional::Honoured)
    }

    fn stale_uploads(
        &self,
        interrupt: &Interrupt,
    ) -> Result<Option<Vec<StaleUpload>>, PublishError> {
        let mut stale = Vec::new();
        self.walk("", interrupt, &mut |key, name, found| {
            if is_hidden(name) {
                stale.push(StaleUpload {
                    id: key.clone(),
                    key,
                    started: found.mtime(),
                });
            }
        })?;
        Ok(Some(stale))
    }

    fn abort(&self, upload: &StaleUpload, interrupt: &Interrupt) -> Result<(), PublishError> {
        let name = upload.id.rsplit('/').next().unwrap_or_default();
        if !is_hidden(name) {
            let key = upload.id.clone();
            let why = "it is not the name of an unfinished upload";
            return Err(PublishError::Key { key, why });
        }
        self.remove(&upload.id, interrupt)
    }

    fn remove(&self, key: &str, _: &Interrupt) -> Result<(), PublishError> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(error) if !is_nothing(&error) => Err(FsError::new("unlink", &path)(error).into()),
            _ => Ok(()),
        }
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Makes a directory and those above it so that they survive a loss of power.
fn create_dirs_durably(path: &Path) -> Result<(), FsError> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    sysfs::create_dir_all(path)?;
    missing.into_iter().rev().try_for_each(sysfs::sync_parent)
}

/// A file under way, in the directory that it is to be in.
struct Beside {
    file: File,
    directory: PathBuf,
    /// Its name for the time being, if it has one.
    name: Option<PathBuf>,
}

impl Beside {
    fn create(directory: &Path) -> Result<Self, FsError> {
        let nameless = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .mode(0o644)
            .open(directory);
        let (file, name) = match nameless {
            Ok(file) => (file, None),
            // What file systems and kernels say that know nothing of it.
            Err(error)
                if matches!(
                    error.raw_os_error().map(Errno::from_raw),
                    Some(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL)
                ) =>
            {
                let name = hidden(directory);
                (sysfs::create_new(&name)?, Some(name))
            }
            Err(error) => return Err(FsError::new("create", directory)(error)),
        };
        let directory = directory.to_owned();
        Ok(Self {
            file,
            directory,
            name,
        })
    }

    /// Writes the content and makes sure that it is what it should be.
    fn fill(
        &mut self,
        content: &Content<'_>,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<(), PublishError> {
        let directory = &self.directory;
        match *content {
            Content::Bytes(bytes) => {
                let written = self.file.write_all(bytes);
                written.map_err(FsError::new("write", directory))?;
                progress(bytes.len() as u64);
            }
            Content::File {
                file,
                size: _, // the digest answers for it
                digest,
            } => {
                let mut hasher = Hasher::new();
                let mut buffer = vec![0; BUFFER];
                let mut at = 0;
                loop {
                    interrupt.check()?;
                    let read = file.read_at(&mut buffer, at);
                    let read = read.map_err(FsError::new("read", Path::new("the artifact")))?;
                    if read == 0 {
                        break;
                    }
                    hasher.update(&buffer[..read]);
                    let written = self.file.write_all(&buffer[..read]);
                    written.map_err(FsError::new("write", directory))?;
                    at += read as u64;
                    progress(read as u64);
                }
                let found = hasher.finish();
                if found != digest {
                    return Err(PublishError::Corrupted {
                        what: "the artifact".to_owned(),
                        expected: digest,
                        found,
                    });
                }
            }
        }
        self.file
            .sync_all()
            .map_err(FsError::new("fsync", directory))?;
        Ok(())
    }

    /// Gives it a name unless something has it.
    fn link(&self, to: &Path) -> Result<bool, FsError> {
        let linked = if let Some(name) = &self.name {
            linkat(AT_FDCWD, name, AT_FDCWD, to, AtFlags::empty())
        } else {
            let proc = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let follow = AtFlags::AT_SYMLINK_FOLLOW;
            linkat(AT_FDCWD, proc.as_str(), AT_FDCWD, to, follow)
        };
        match linked {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => Err(FsError::new("link", to)(errno)),
        }
    }

    /// Gives it a name, whatever has it.
    fn replace(&mut self, to: &Path) -> Result<(), FsError> {
        let name = match self.name.take() {
            Some(name) => name,
            None => loop {
                let name = hidden(&self.directory);
                if self.link(&name)? {
                    break name;
                }
            },
        };
        let renamed = fs::rename(&name, to);
        self.name = renamed.is_err().then_some(name);
        renamed.map_err(FsError::new("rename", to))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // It is not in the way, and a listing of stale uploads shows it.
            let _ = fs::remove_file(name);
        }
    }
}

fn hidden(directory: &Path) -> PathBuf {
    directory.join(hidden_name())
}
