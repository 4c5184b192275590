//! Puts finished files where the user asked for them, whoever pybuild runs as meanwhile.
//!
//! An ordinary user's pybuild writes them itself. Root's pybuild builds as another uid, which may
//! not write to root's directories: there the steward does (see [`super::steward`]).

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag};

use crate::sys::fs::{self as sysfs, FsError};

/// Why a file could not be delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// A file operation failed.
    #[error("cannot write to the output directory")]
    Fs(#[from] FsError),
    /// Not a path below the output directory.
    #[error("`{}` does not lie below the output directory", .0.display())]
    Outside(PathBuf),
    /// Something is there that would be replaced.
    #[error("{} is there already, and is not replaced", .0.display())]
    Taken(PathBuf),
    /// Somebody else is at it.
    #[error("another pybuild is writing {}", .0.display())]
    Busy(PathBuf),
    /// The steward went away or said something that makes no sense.
    #[error("cannot reach the part of pybuild that writes the output")]
    Steward(#[source] io::Error),
    /// The steward could not do it.
    #[error("cannot write to the output directory: {0}")]
    Refused(String),
}

/// Takes finished files to the output directory.
pub(crate) trait Delivery {
    /// Puts `content`, read from its beginning, at `relative` below the output directory: whole
    /// or not at all, replacing what is there.
    fn put(&self, relative: &Path, content: &File) -> Result<(), DeliveryError>;

    /// Removes `relative`; what is not there is fine.
    fn remove(&self, relative: &Path) -> Result<(), DeliveryError>;

    /// Shows what was put, where that has waited for the last of it.
    fn finish(&self) -> Result<(), DeliveryError>;
}

/// Writes by itself.
#[derive(Debug, Clone)]
pub(crate) struct Direct {
    root: PathBuf,
    /// The only name that anything is put under, if there is but one.
    only: Option<PathBuf>,
    /// What `root` becomes in the end.
    whole: Option<Arc<Whole>>,
}

impl Direct {
    /// Delivers below `root`, which is made when the first file comes.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            only: None,
            whole: None,
        }
    }

    /// Delivers one file, which must not be there yet, or be empty.
    pub(crate) fn file(path: &Path) -> Result<Self, DeliveryError> {
        let (path, name) = named(path)?;
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(found) if found.is_file() && found.len() == 0 => {}
            Ok(_) => return Err(DeliveryError::Taken(path)),
            Err(error) => return Err(FsError::new("lstat", &path)(error).into()),
        }
        Ok(Self {
            root: path.parent().unwrap_or(&path).to_owned(),
            only: Some(name),
            whole: None,
        })
    }

    /// Delivers a directory, which must not be there yet, or be empty. It is filled beside its
    /// place and gets there when it is finished.
    pub(crate) fn whole(path: &Path) -> Result<Self, DeliveryError> {
        let (path, _) = named(path)?;
        match fs::read_dir(&path).map(|mut entries| entries.next().is_none()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(true) => {}
            Ok(false) => return Err(DeliveryError::Taken(path)),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(DeliveryError::Taken(path));
            }
            Err(error) => return Err(FsError::new("readdir", &path)(error).into()),
        }
        let whole = Whole::claim(path)?;
        Ok(Self {
            root: whole.beside.clone(),
            only: None,
            whole: Some(Arc::new(whole)),
        })
    }

    fn place(&self, relative: &Path) -> Result<PathBuf, DeliveryError> {
        let plain = relative
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        let allowed = self.only.as_deref().is_none_or(|only| only == relative);
        if plain && allowed && relative.file_name().is_some() {
            Ok(self.root.join(relative))
        } else {
            Err(DeliveryError::Outside(relative.to_owned()))
        }
    }
}

impl Delivery for Direct {
    fn put(&self, relative: &Path, content: &File) -> Result<(), DeliveryError> {
        let to = self.place(relative)?;
        let dir = to.parent().unwrap_or(&self.root);
        sysfs::create_dir_all(dir)?;
        let named = beside(&to);
        let copied = copy_nameless(dir, content).and_then(|file| name(&file, &named));
        match copied {
            Ok(()) => {}
            // Not every file system has nameless files.
            Err(error) if error.source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                copy_named(&named, content)?;
            }
            Err(error) => return Err(error.into()),
        }
        sysfs::rename_durably(&named, &to).inspect_err(|_| {
            let _ = fs::remove_file(&named);
        })?;
        Ok(())
    }

    fn remove(&self, relative: &Path) -> Result<(), DeliveryError> {
        let path = self.place(relative)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FsError::new("unlink", &path)(error).into())
            }
            _ => Ok(()),
        }
    }

    fn finish(&self) -> Result<(), DeliveryError> {
        self.whole.as_ref().map_or(Ok(()), |whole| whole.finish())
    }
}

/// The absolute path of something that is to be made, and its name.
fn named(path: &Path) -> Result<(PathBuf, PathBuf), DeliveryError> {
    let path = std::path::absolute(path).map_err(FsError::new("absolute", path))?;
    match path.file_name().map(PathBuf::from) {
        Some(name) => Ok((path, name)),
        None => Err(DeliveryError::Taken(path)),
    }
}

/// A directory that is filled beside its place. Dropped before it is finished, it is gone.
#[derive(Debug)]
struct Whole {
    beside: PathBuf,
    to: PathBuf,
    finished: AtomicBool,
    /// Held as long as this lives: whoever finds the directory unlocked takes it over.
    _lock: Flock<File>,
}

impl Whole {
    fn claim(to: PathBuf) -> Result<Self, DeliveryError> {
        let beside = beside(&to);
        loop {
            sysfs::create_dir_all(&beside)?;
            let dir = match sysfs::open(&beside) {
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => continue,
                dir => dir?,
            };
            let lock = match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((_, Errno::EWOULDBLOCK)) => return Err(DeliveryError::Busy(to)),
                Err((_, errno)) => return Err(FsError::new("flock", &beside)(errno).into()),
            };
            // Whoever had the lock may have put the directory in its place meanwhile.
            let id = |found: fs::Metadata| (found.dev(), found.ino());
            let locked = lock.metadata().map_err(FsError::new("fstat", &beside))?;
            if fs::symlink_metadata(&beside).map(id).ok() != Some(id(locked)) {
                continue;
            }
            // What a killed run has left.
            for entry in fs::read_dir(&beside).map_err(FsError::new("readdir", &beside))? {
                let entry = entry.map_err(FsError::new("readdir", &beside))?;
                sysfs::remove_tree(&entry.path())?;
            }
            return Ok(Self {
                beside,
                to,
                finished: AtomicBool::new(false),
                _lock: lock,
            });
        }
    }

    fn finish(&self) -> Result<(), DeliveryError> {
        // Nothing but an empty directory is replaced: rename(2).
        sysfs::rename_durably(&self.beside, &self.to)?;
        self.finished.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if !self.finished.load(Ordering::SeqCst) {
            // What cannot be removed is taken over by the next run.
            let _ = sysfs::remove_tree(&self.beside);
        }
    }
}

/// The name that a file bears for an instant before it replaces `to`. It is the same for every
/// run, so that a kill in that instant leaves nothing that the next run does not take over.
fn beside(to: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(to.file_name().unwrap_or_default());
    name.push(".new");
    to.with_file_name(name)
}

/// A copy of `content` in `dir` that has no name yet: a kill leaves nothing of it.
fn copy_nameless(dir: &Path, content: &File) -> Result<File, FsError> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .mode(0o644)
        .custom_flags(OFlag::O_TMPFILE.bits())
        .open(dir)
        .map_err(FsError::new("open", dir))?;
    fill(&mut file, content, dir)?;
    Ok(file)
}

/// A copy of `content` at `path`, in the place of what is there: a symlink is not followed, since
/// who may put one there need not be who this process is.
fn copy_named(path: &Path, content: &File) -> Result<(), FsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(FsError::new("unlink", path)(error));
        }
        _ => {}
    }
    fill(&mut sysfs::create_new(path)?, content, path)
}

fn fill(file: &mut File, mut content: &File, path: &Path) -> Result<(), FsError> {
    content.rewind().map_err(FsError::new("lseek", path))?;
    io::copy(&mut content, file).map_err(FsError::new("write", path))?;
    file.sync_all().map_err(FsError::new("fsync", path))
}

/// Gives a nameless file a name (open(2), `O_TMPFILE`).
fn name(file: &File, path: &Path) -> Result<(), FsError> {
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = || {
        nix::unistd::linkat(
            nix::fcntl::AT_FDCWD,
            from.as_str(),
            nix::fcntl::AT_FDCWD,
            path,
            AtFlags::AT_SYMLINK_FOLLOW,
        )
    };
    match link() {
        Err(Errno::EEXIST) => {
            fs::remove_file(path).map_err(FsError::new("unlink", path))?;
            link().map_err(FsError::new("link", path))
        }
        other => other.map_err(FsError::new("link", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        io::Write::write_all(&mut file, text.as_bytes()).expect("written");
        file
    }

    #[test]
    fn files_are_put_whole_and_replaced() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let delivery = Direct::new(&dir.path().join("dist"));
        let to = Path::new("debian-12/runtimes/python-3.11.2.tar.gz");
        fs::create_dir_all(dir.path().join("dist/debian-12/runtimes")).expect("mkdir");
        // What a kill between naming and renaming leaves.
        let left = dir
            .path()
            .join("dist/debian-12/runtimes/.python-3.11.2.tar.gz.new");
        fs::write(left, "half").expect("written");
        for text in ["one", "two"] {
            delivery.put(to, &content(text)).expect("delivered");
            let found = fs::read_to_string(dir.path().join("dist").join(to)).expect("there");
            assert_eq!(found, text);
        }
        let beside = fs::read_dir(dir.path().join("dist/debian-12/runtimes")).expect("a directory");
        assert_eq!(beside.count(), 1);
        delivery.remove(to).expect("removed");
        delivery.remove(to).expect("what is not there is fine");
        assert!(!dir.path().join("dist").join(to).exists());
    }

    #[test]
    fn symlinks_in_the_place_of_a_file_are_replaced() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let outside = dir.path().join("outside");
        fs::write(&outside, "kept").expect("written");
        let root = dir.path().join("dist");
        fs::create_dir(&root).expect("mkdir");
        for name in ["file", ".file.new", "named"] {
            symlink(&outside, root.join(name)).expect("symlink");
        }
        let delivery = Direct::new(&root);
        delivery
            .put(Path::new("file"), &content("new"))
            .expect("delivered");
        // As on a file system without nameless files.
        copy_named(&root.join("named"), &content("new")).expect("written");
        for name in ["file", "named"] {
            let found = fs::symlink_metadata(root.join(name)).expect("there");
            assert!(found.is_file(), "{name}");
            assert_eq!(fs::read_to_string(root.join(name)).expect("a file"), "new");
        }
        assert_eq!(fs::read_to_string(&outside).expect("there"), "kept");
    }

    #[test]
    fn a_directory_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (to, beside) = (dir.path().join("a/out"), dir.path().join("a/.out.new"));
        fs::create_dir_all(beside.join("of/a/killed")).expect("mkdir");
        let whole = Direct::whole(&to).expect("nothing is there");
        whole.put(Path::new("b/c"), &content("c")).expect("put");
        assert!(!to.exists());
        let other = Direct::whole(&to).expect_err("it is locked");
        assert!(matches!(other, DeliveryError::Busy(_)), "{other}");
        whole.finish().expect("finished");
        drop(whole);
        assert_eq!(fs::read_to_string(to.join("b/c")).expect("there"), "c");
        assert!(!beside.exists() && !to.join("of").exists());
        let taken = Direct::whole(&to).expect_err("it is there");
        assert!(matches!(taken, DeliveryError::Taken(_)), "{taken}");
        // An empty directory is as good as none; one that is given up leaves it so.
        fs::remove_dir_all(&to).expect("removed");
        fs::create_dir(&to).expect("mkdir");
        let whole = Direct::whole(&to).expect("it is empty");
        whole.put(Path::new("b"), &content("b")).expect("put");
        drop(whole);
        assert_eq!(fs::read_dir(&to).expect("there").count(), 0);
        assert!(!beside.exists());
    }

    #[test]
    fn of_one_file_nothing_else_is_put() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let to = dir.path().join("out.tar");
        let file = Direct::file(&to).expect("nothing is there");
        let refused = file.put(Path::new("other"), &content("x"));
        assert!(matches!(refused, Err(DeliveryError::Outside(_))));
        file.put(Path::new("out.tar"), &content("x")).expect("put");
        file.finish().expect("nothing is left to do");
        for path in [&to, dir.path()] {
            let taken = Direct::file(path).expect_err("it is there");
            assert!(matches!(taken, DeliveryError::Taken(_)), "{taken}");
        }
        fs::write(&to, "").expect("written");
        Direct::file(&to).expect("it is empty");
    }

    #[test]
    fn nothing_is_put_outside() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let delivery = Direct::new(&dir.path().join("dist"));
        for path in ["../x", "/x", "", ".", "a/../../x"] {
            let error = delivery
                .put(Path::new(path), &content("x"))
                .expect_err(path);
            assert!(
                matches!(error, DeliveryError::Outside(_)),
                "{path}: {error}"
            );
        }
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
    }
}
