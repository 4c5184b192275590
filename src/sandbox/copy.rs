//! The root file system as a copy of its layers, where no overlay can be mounted.
//!
//! What overlayfs would show is made: whiteouts and opaque directories of a layer hide what those
//! below it have. Where the file system can, copies share their blocks (`copy_file_range(2)`).

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::{self, DirEntry, FileTimes, Metadata, Permissions};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use super::wire::Failure;
use crate::sys::fs::{FsError, remove_tree};
use crate::sys::xattr;

/// Set on directories that hide what is below them, by unprivileged overlay mounts:
/// `filesystems/overlayfs.rst`.
const OPAQUE: &CStr = c"user.overlay.opaque";
/// No set-id bits: nothing in the sandbox would gain from them, and they would lie about.
const MODE_BITS: u32 = 0o1777;

/// Copies the layers, the lowest first, into `upper`. A copy that an earlier run has finished is
/// left as it is, with what that run has changed; one that was not finished is made anew.
pub(super) fn layers(
    layers: &[PathBuf],
    upper: &Path,
    work: &Path,
    launcher: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let finished = work.join("copied");
    if finished.exists() {
        return Ok(());
    }
    let mut copy = Copy {
        launcher,
        links: HashMap::new(),
    };
    let copied = (|| {
        for entry in read_dir(upper)? {
            remove_tree(&entry.path())?;
        }
        for layer in layers {
            copy.links.clear();
            copy.dir(layer, upper)?;
        }
        fs::write(&finished, "").map_err(FsError::new("write", &finished))
    })();
    copied.map_err(|error| Failure::Other(error.to_string()))
}

struct Copy<'s> {
    launcher: BorrowedFd<'s>,
    /// Where the files of this layer that have several names were first copied to.
    links: HashMap<u64, PathBuf>,
}

/// Whether a directory hides those of the layers below.
fn is_opaque(dir: &Path) -> bool {
    xattr::get(dir, OPAQUE).is_ok_and(|value| value.as_deref() == Some(b"y"))
}

impl Copy<'_> {
    fn dir(&mut self, from: &Path, to: &Path) -> Result<(), FsError> {
        for entry in read_dir(from)? {
            self.entry(&entry, &to.join(entry.file_name()))?;
        }
        let found = lstat(from)?;
        set_mode(to, &found)?;
        set_times(to, &found)
    }

    fn entry(&mut self, entry: &DirEntry, to: &Path) -> Result<(), FsError> {
        self.heed_launcher(to)?;
        let from = entry.path();
        let found = lstat(&from)?;
        let kind = found.file_type();
        if kind.is_dir() {
            let there = to.symlink_metadata().is_ok_and(|there| there.is_dir());
            if !there || is_opaque(&from) {
                remove_tree(to)?;
                fs::create_dir(to).map_err(FsError::new("mkdir", to))?;
            }
            return self.dir(&from, to);
        }
        remove_tree(to)?;
        if kind.is_symlink() {
            let target = fs::read_link(&from).map_err(FsError::new("readlink", &from))?;
            return symlink(target, to).map_err(FsError::new("symlink", to));
        }
        if kind.is_file() {
            return self.file(&from, &found, to);
        }
        if kind.is_fifo() {
            nix::unistd::mkfifo(to, Mode::S_IRUSR).map_err(FsError::new("mkfifo", to))?;
            return set_mode(to, &found);
        }
        // A whiteout (a character device 0/0), whose work is done; or a device or a socket, which
        // no layer of ours has, and nobody could use here.
        Ok(())
    }

    fn file(&mut self, from: &Path, found: &Metadata, to: &Path) -> Result<(), FsError> {
        if found.nlink() > 1
            && let Some(first) = self.links.get(&found.ino())
        {
            return fs::hard_link(first, to).map_err(FsError::new("link", to));
        }
        fs::copy(from, to).map_err(FsError::new("copy", from))?;
        set_mode(to, found)?;
        set_times(to, found)?;
        if found.nlink() > 1 {
            self.links.insert(found.ino(), to.to_owned());
        }
        Ok(())
    }

    /// Copying takes long enough to be interrupted.
    fn heed_launcher(&self, to: &Path) -> Result<(), FsError> {
        let mut fds = [PollFd::new(self.launcher, PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(0) => Ok(()),
            _ => Err(FsError::new("copy", to)(io::Error::from(
                io::ErrorKind::Interrupted,
            ))),
        }
    }
}

fn read_dir(path: &Path) -> Result<Vec<DirEntry>, FsError> {
    fs::read_dir(path)
        .and_then(Iterator::collect)
        .map_err(FsError::new("readdir", path))
}

fn lstat(path: &Path) -> Result<Metadata, FsError> {
    path.symlink_metadata().map_err(FsError::new("lstat", path))
}

fn set_mode(path: &Path, as_in: &Metadata) -> Result<(), FsError> {
    let mode = as_in.permissions().mode() & MODE_BITS;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(FsError::new("chmod", path))
}

fn set_times(path: &Path, as_in: &Metadata) -> Result<(), FsError> {
    let set = || {
        let times = FileTimes::new()
            .set_accessed(as_in.accessed()?)
            .set_modified(as_in.modified()?);
        fs::File::open(path)?.set_times(times)
    };
    set().map_err(FsError::new("utimensat", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::time::{Duration, UNIX_EPOCH};

    /// What is in a tree: paths, and what they hold.
    fn listing(root: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in read_dir(&dir).expect("readdir") {
                let path = entry.path();
                let found = lstat(&path).expect("lstat");
                let mode = found.permissions().mode() & 0o7777;
                let name = path
                    .strip_prefix(root)
                    .expect("below")
                    .display()
                    .to_string();
                lines.push(if found.is_symlink() {
                    format!(
                        "{name} -> {}",
                        fs::read_link(&path).expect("readlink").display()
                    )
                } else if found.is_dir() {
                    dirs.push(path);
                    format!("{name}/ {mode:o}")
                } else {
                    let text = fs::read_to_string(&path).expect("read");
                    format!("{name} {mode:o} {text}")
                });
            }
        }
        lines.sort();
        lines
    }

    fn put(path: &Path, text: &str, mode: u32) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, text).expect("write");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    }

    #[test]
    fn layers_are_merged_as_overlayfs_shows_them() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |path: &str| dir.path().join(path);
        put(&at("low/kept"), "low", 0o640);
        put(&at("low/changed"), "low", 0o644);
        put(&at("low/suid"), "low", 0o4755);
        put(&at("low/gone"), "low", 0o644);
        put(&at("low/opaque/gone"), "low", 0o644);
        put(&at("low/merged/low"), "low", 0o644);
        put(&at("low/dir-to-file/x"), "low", 0o644);
        fs::hard_link(at("low/kept"), at("low/link")).expect("link");
        symlink("/outside", at("low/link-to-dir")).expect("symlink");
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let kept = fs::File::options()
            .write(true)
            .open(at("low/kept"))
            .expect("open");
        kept.set_modified(time).expect("utimensat");

        put(&at("high/changed"), "high", 0o600);
        put(&at("high/opaque/new"), "high", 0o644);
        put(&at("high/merged/high"), "high", 0o644);
        put(&at("high/dir-to-file"), "high", 0o644);
        put(&at("high/link-to-dir/file"), "high", 0o644);
        whiteout(&at("high/gone"));
        xattr::set(&at("high/opaque"), OPAQUE, b"y").expect("setxattr");

        fs::create_dir(at("upper")).expect("mkdir");
        fs::create_dir(at("work")).expect("mkdir");
        put(&at("upper/half-copied"), "x", 0o644);
        let (ours, _theirs) = crate::sys::socket::pair().expect("a pair");
        let copy = || {
            layers(
                &[at("low"), at("high")],
                &at("upper"),
                &at("work"),
                ours.as_fd(),
            )
        };
        copy().expect("copied");
        insta::assert_snapshot!(listing(&at("upper")).join("\n"), @r"
        changed 600 high
        dir-to-file 644 high
        kept 640 low
        link 640 low
        link-to-dir/ 755
        link-to-dir/file 644 high
        merged/ 755
        merged/high 644 high
        merged/low 644 low
        opaque/ 755
        opaque/new 644 high
        suid 755 low
        ");
        let copied = lstat(&at("upper/kept")).expect("lstat");
        assert_eq!(copied.modified().expect("a time"), time);
        assert_eq!(copied.nlink(), 2);

        put(&at("upper/changed"), "later", 0o644);
        copy().expect("left as it is");
        assert_eq!(
            fs::read_to_string(at("upper/changed")).expect("read"),
            "later"
        );
    }

    fn whiteout(path: &Path) {
        use nix::sys::stat::{SFlag, mknod};
        mknod(path, SFlag::S_IFCHR, Mode::empty(), 0).expect("a whiteout needs no privilege");
    }

    #[test]
    fn a_launcher_that_is_gone_ends_the_copying() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |path: &str| dir.path().join(path);
        put(&at("low/file"), "low", 0o644);
        fs::create_dir(at("upper")).expect("mkdir");
        fs::create_dir(at("work")).expect("mkdir");
        let (ours, theirs) = crate::sys::socket::pair().expect("a pair");
        drop(theirs);
        assert!(layers(&[at("low")], &at("upper"), &at("work"), ours.as_fd()).is_err());
        assert!(!at("work/copied").exists());
    }
}
