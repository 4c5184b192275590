//! Directories for work under way, which no death of a process leaves behind for long.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::StoreError;
use crate::sys::fs::{self as sysfs, FileLock, FsError};

/// A directory of one's own in the store, removed when this is dropped. Beside it lies its lock:
/// while that is held the directory belongs to a living process, afterwards `sweep` takes it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock: PathBuf,
    _held: FileLock,
}

impl Scratch {
    pub(super) fn create(room: &Path) -> Result<Self, StoreError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = room.join(format!("{}-{n}", std::process::id()));
            let lock = path.with_extension("lock");
            let Some(held) = FileLock::try_exclusive(&lock)? else {
                continue; // a process of this number in another pid namespace
            };
            // A sweeper may have removed the lock file between its opening and its locking.
            if !lock.exists() {
                continue;
            }
            match fs::create_dir(&path) {
                Ok(()) => {}
                // The dead left it, and the sweeper has not been here yet.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    sysfs::remove_tree(&path)?;
                    sysfs::create_dir_all(&path)?;
                }
                Err(error) => return Err(FsError::new("mkdir", &path)(error).into()),
            }
            return Ok(Self {
                path,
                lock,
                _held: held,
            });
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next sweep.
        if sysfs::remove_tree(&self.path).is_ok() {
            let _ = fs::remove_file(&self.lock);
        }
    }
}

pub(super) fn sweep(room: &Path) -> Result<(), StoreError> {
    let entries = match fs::read_dir(room) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(FsError::new("readdir", room))?,
    };
    for entry in entries {
        let lock = entry.map_err(FsError::new("readdir", room))?.path();
        if lock.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Some(_held) = FileLock::try_exclusive(&lock)? else {
            continue;
        };
        sysfs::remove_tree(&lock.with_extension(""))?;
        match fs::remove_file(&lock) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FsError::new("unlink", &lock)(error).into());
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_left_alone_and_the_dead_are_swept() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let living = Scratch::create(dir.path()).expect("a scratch");
        let dead = dir.path().join("1-0");
        fs::create_dir_all(dead.join("deep/er")).expect("mkdir");
        fs::write(dead.with_extension("lock"), "").expect("write");
        sweep(dir.path()).expect("swept");
        assert!(living.path().is_dir());
        assert!(!dead.exists() && !dead.with_extension("lock").exists());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(dir.path()).expect("readdir").count(), 0);
        sweep(&dir.path().join("none")).expect("nothing is there");
    }
}
