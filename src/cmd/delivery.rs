//! Puts finished files where the user asked for them, whoever pybuild runs as meanwhile.
//!
//! An ordinary user's pybuild writes them itself. Root's pybuild builds as another uid, which may
//! not write to root's directories: there the steward does (see [`super::steward`]).

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};

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
}

/// Writes by itself.
#[derive(Debug)]
pub(crate) struct Direct {
    root: PathBuf,
}

impl Direct {
    /// Delivers below `root`, which is made when the first file comes.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    fn place(&self, relative: &Path) -> Result<PathBuf, DeliveryError> {
        let plain = relative
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        if plain && relative.file_name().is_some() {
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
