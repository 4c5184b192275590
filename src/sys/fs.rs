//! Files: write beside and rename, lock, and remove trees that resist.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, RenameFlags, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A file operation that failed: which, on what, why.
#[derive(Debug, thiserror::Error)]
#[error("{call}({}): {source}", path.display())]
pub struct FsError {
    /// The operation (`open`, `rename`, `fsync` …).
    pub call: &'static str,
    /// The path it was tried on.
    pub path: PathBuf,
    /// The kernel's answer.
    pub source: io::Error,
}

impl FsError {
    /// For `map_err`: names the operation and the path.
    pub fn new<E: Into<io::Error>>(call: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self {
            call,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// Whether the disk, or the quota, is full.
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.raw_os_error().map(Errno::from_raw),
            Some(Errno::ENOSPC | Errno::EDQUOT)
        )
    }

    /// Whether the file system cannot be written to.
    pub fn is_read_only(&self) -> bool {
        matches!(
            self.source.raw_os_error().map(Errno::from_raw),
            Some(Errno::EROFS | Errno::EACCES | Errno::EPERM)
        )
    }
}

/// Makes a directory and those above it; one that is there is fine.
pub fn create_dir_all(path: &Path) -> Result<(), FsError> {
    fs::create_dir_all(path).map_err(FsError::new("mkdir", path))
}

/// Creates a file that must not be there yet.
pub fn create_new(path: &Path) -> Result<File, FsError> {
    OpenOptions::new()
        .write(true)
        .read(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .map_err(FsError::new("create", path))
}

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File, FsError> {
    File::open(path).map_err(FsError::new("open", path))
}

/// Opens a regular file for reading, and nothing else: a symlink is not followed (`ELOOP`), a pipe
/// not waited for, of anything that is no file there is `EINVAL`.
pub fn open_regular(path: &Path) -> Result<File, FsError> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .map_err(FsError::new("open", path))?;
    let found = file.metadata().map_err(FsError::new("fstat", path))?;
    if !found.is_file() {
        return Err(FsError::new("open", path)(Errno::EINVAL));
    }
    Ok(file)
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, FsError> {
    fs::read(path).map_err(FsError::new("read", path))
}

/// Puts a finished file or directory in its place, durably: `rename`, then `fsync` of the
/// directory. The content must have been synced before.
pub fn rename_durably(from: &Path, to: &Path) -> Result<(), FsError> {
    fs::rename(from, to).map_err(FsError::new("rename", to))?;
    sync_parent(to)
}

/// `fsync` of the directory that holds `path`.
pub fn sync_parent(path: &Path) -> Result<(), FsError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    open(parent)?
        .sync_all()
        .map_err(FsError::new("fsync", parent))
}

/// Writes a small file so that readers see the old content or the new, never half of it.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), FsError> {
    use std::io::Write as _;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let result = (|| {
        let mut file = File::create(&beside).map_err(FsError::new("create", &beside))?;
        file.write_all(content)
            .map_err(FsError::new("write", &beside))?;
        file.sync_all().map_err(FsError::new("fsync", &beside))?;
        rename_durably(&beside, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&beside);
    }
    result
}

/// A lock on a file, held until it is dropped or its process dies.
#[derive(Debug)]
pub struct FileLock(#[allow(dead_code)] Flock<File>);

fn lock_file(path: &Path) -> Result<File, FsError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o644)
        .open(path)
        .map_err(FsError::new("open", path))
}

impl FileLock {
    /// Takes the lock if it is free.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>, FsError> {
        match Flock::lock(lock_file(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(FsError::new("flock", path)(errno)),
        }
    }

    /// Takes the lock unless somebody holds it exclusively; others may hold it so too.
    pub fn try_shared(path: &Path) -> Result<Option<Self>, FsError> {
        match Flock::lock(lock_file(path)?, FlockArg::LockSharedNonblock) {
            Ok(lock) => Ok(Some(Self(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(FsError::new("flock", path)(errno)),
        }
    }
}

/// How deep [`remove_tree`] goes before it moves what is deeper up: each level holds a descriptor.
const DEEPEST: usize = 64;

/// Removes a tree, whatever modes its directories have and however deep it is, without following
/// symlinks: each directory is walked by its descriptor. What is not there is fine.
pub fn remove_tree(path: &Path) -> Result<(), FsError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FsError::new("lstat", path)(error)),
        Ok(found) if !found.is_dir() => {
            return fs::remove_file(path).map_err(FsError::new("unlink", path));
        }
        Ok(found) if found.permissions().mode() & 0o700 == 0o700 => {}
        Ok(_) => fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(FsError::new("chmod", path))?,
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let top = nix::fcntl::open(path, flags, Mode::empty()).map_err(FsError::new("open", path))?;
    let mut removal = Removal {
        top: top.as_fd(),
        path,
        moved: 0,
    };
    loop {
        let before = removal.moved;
        let again = nix::fcntl::openat(&top, ".", flags, Mode::empty());
        removal.empty(again.map_err(FsError::new("open", path))?, path, 0)?;
        if removal.moved == before {
            break;
        }
    }
    fs::remove_dir(path).map_err(FsError::new("rmdir", path))
}

/// The removal of what is below `top`.
struct Removal<'a> {
    top: BorrowedFd<'a>,
    path: &'a Path,
    /// How many directories were moved to `top`, to be removed on the next round.
    moved: u64,
}

impl Removal<'_> {
    /// Empties the directory `fd`, which is known as `path`.
    fn empty(&mut self, fd: OwnedFd, path: &Path, depth: usize) -> Result<(), FsError> {
        let mut dir = Dir::from_fd(fd).map_err(FsError::new("opendir", path))?;
        let names = dir
            .iter()
            .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(FsError::new("readdir", path))?;
        for name in names {
            if !matches!(name.to_bytes(), b"." | b"..") {
                self.remove(dir.as_fd(), &name, path, depth)?;
            }
        }
        Ok(())
    }

    fn remove(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), FsError> {
        let at = path.join(name.to_string_lossy().as_ref());
        match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => return Ok(()),
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return Err(FsError::new("unlink", &at)(errno)),
        }
        let stat =
            fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(FsError::new("lstat", &at))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
            return Err(FsError::new("unlink", &at)(Errno::EPERM));
        }
        if stat.st_mode & 0o700 != 0o700 {
            fchmodat(dir, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)
                .map_err(FsError::new("chmod", &at))?;
        }
        if depth == DEEPEST {
            return self.move_up(dir, name);
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let below = nix::fcntl::openat(dir, name, flags, Mode::empty())
            .map_err(FsError::new("open", &at))?;
        self.empty(below, &at, depth + 1)?;
        match unlinkat(dir, name, UnlinkatFlags::RemoveDir) {
            Err(errno) => Err(FsError::new("rmdir", &at)(errno)),
            Ok(()) => Ok(()),
        }
    }

    /// Moves a directory to the top under a name that nothing there has.
    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), FsError> {
        loop {
            self.moved += 1;
            let to = format!(".deep-{}", self.moved);
            match renameat2(
                dir,
                name,
                self.top,
                to.as_str(),
                RenameFlags::RENAME_NOREPLACE,
            ) {
                Err(Errno::EEXIST) => {}
                result => return result.map_err(FsError::new("rename", &self.path.join(to))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn trees_that_resist_are_removed_and_links_are_not_followed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).expect("mkdir");
        fs::write(outside.join("kept"), "x").expect("write");
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).expect("mkdir");
        fs::write(tree.join("a/b/file"), "x").expect("write");
        symlink(&outside, tree.join("a/link")).expect("symlink");
        fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o0)).expect("chmod");
        remove_tree(&tree).expect("removed");
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        remove_tree(&tree).expect("what is not there is fine");
    }

    #[test]
    fn no_tree_is_too_deep_to_be_removed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).expect("mkdir");
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut at = nix::fcntl::open(&tree, flags, Mode::empty()).expect("open");
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&at, "d", Mode::S_IRWXU).expect("mkdir");
            at = nix::fcntl::openat(&at, "d", flags, Mode::empty()).expect("open");
        }
        remove_tree(&tree).expect("removed");
        assert!(!tree.exists());
    }

    #[test]
    fn a_lock_is_held_once_and_freed_by_drop() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("lock");
        let held = FileLock::try_exclusive(&path).expect("flock");
        assert!(held.is_some());
        assert!(FileLock::try_exclusive(&path).expect("flock").is_none());
        drop(held);
        assert!(FileLock::try_exclusive(&path).expect("flock").is_some());
    }

    #[test]
    fn a_shared_lock_keeps_out_only_who_wants_it_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("lock");
        let one = FileLock::try_shared(&path).expect("flock");
        let other = FileLock::try_shared(&path).expect("flock");
        assert!(one.is_some() && other.is_some());
        drop(one);
        assert!(FileLock::try_exclusive(&path).expect("flock").is_none());
        drop(other);
        let alone = FileLock::try_exclusive(&path).expect("flock");
        assert!(alone.is_some());
        assert!(FileLock::try_shared(&path).expect("flock").is_none());
    }

    #[test]
    fn only_a_file_is_opened_as_one() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").expect("write");
        symlink("file", at("link")).expect("symlink");
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).expect("mkfifo");
        assert!(open_regular(&at("file")).is_ok());
        for name in ["link", "pipe", ".", "none"] {
            assert!(open_regular(&at(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        write_atomically(&path, b"one").expect("write");
        write_atomically(&path, b"two").expect("write");
        assert_eq!(read(&path).expect("read"), b"two");
        assert_eq!(fs::read_dir(dir.path()).expect("readdir").count(), 1);
    }
}
