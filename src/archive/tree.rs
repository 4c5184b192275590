//! A directory that is being filled: every name is resolved by the kernel, below its descriptor.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{
    FileStat, Mode, UtimensatFlags, fchmod, fstatat, futimens, mkdirat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use super::pax::Time;
use super::{Trust, name};
use crate::sys::fs::FsError;

/// Why something is not in the tree now.
#[derive(Debug)]
pub(super) enum TreeError {
    /// What the archive asks for is not to be had.
    Refused(&'static str),
    /// The kernel said no.
    Fs(FsError),
}

impl From<FsError> for TreeError {
    fn from(error: FsError) -> Self {
        Self::Fs(error)
    }
}

/// The directory that an archive is extracted into. Paths are below it, without dots.
pub(super) struct Tree {
    root: OwnedFd,
    path: PathBuf,
    trust: Trust,
    /// The directory that the member before this one was put in: archives list a directory's
    /// members one after the other, so this saves most resolutions.
    parent: Option<Parent>,
    /// Permission bits that the kernel takes from what is created.
    umask: Mode,
}

/// A directory of the tree.
struct Parent {
    /// The path by which the archive names it.
    text: Vec<u8>,
    fd: OwnedFd,
    /// Its path without symlinks.
    path: Vec<u8>,
}

/// Below the root, and through no symlink.
const STRICTLY: ResolveFlag = ResolveFlag::RESOLVE_BENEATH
    .union(ResolveFlag::RESOLVE_NO_SYMLINKS)
    .union(ResolveFlag::RESOLVE_NO_MAGICLINKS);
const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_CLOEXEC);
const HANDLE: OFlag = DIRECTORY.union(OFlag::O_PATH);

impl Tree {
    pub(super) fn open(path: &Path, trust: Trust) -> Result<Self, FsError> {
        let root =
            nix::fcntl::open(path, DIRECTORY, Mode::empty()).map_err(FsError::new("open", path))?;
        Ok(Self {
            root,
            path: path.to_owned(),
            trust,
            parent: None,
            umask: umask(),
        })
    }

    /// Makes a file that is not there yet, or takes the place of what is.
    pub(super) fn file(&mut self, path: &[u8], mode: u32) -> Result<File, TreeError> {
        let mode = permissions(mode & 0o777 | 0o400);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let fd = self.put(path, "create", |parent, name| {
            openat(parent, name, flags | OFlag::O_NOFOLLOW, mode)
        })?;
        if mode.intersects(self.umask) {
            fchmod(&fd, mode).map_err(self.error("chmod", path))?;
        }
        Ok(File::from(fd))
    }

    /// Makes a symlink; in a layer, one that is there already and says the same is left alone.
    pub(super) fn symlink(
        &mut self,
        path: &[u8],
        target: &[u8],
        mtime: Time,
    ) -> Result<(), TreeError> {
        let shared = self.trust == Trust::Layer;
        self.put(path, "symlink", |parent, name| {
            match symlinkat(target, parent, name) {
                // Another archive may be extracted into the same root just now, and look at this.
                Err(Errno::EEXIST) if shared && same_link(parent, name, target) => Ok(()),
                other => other,
            }
        })?;
        let (parent, name) = self.parent(path)?;
        let time = spec(mtime);
        utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
            .map_err(self.error("utimensat", path))?;
        Ok(())
    }

    /// Gives a file inside the tree one more name.
    pub(super) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), TreeError> {
        let (above, name) = split(target);
        let from = match self.resolve(above, HANDLE) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG) => {
                Err(Errno::ENOENT)
            }
            other => other,
        };
        let source = from.and_then(|from| {
            let stat = fstatat(&from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            Ok((from, stat))
        });
        let (from, stat) = match source {
            Ok(found) => found,
            Err(Errno::ENOENT) => return Err(TreeError::Refused("it links to nothing")),
            Err(errno) => return Err(self.error("lstat", target)(errno).into()),
        };
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(TreeError::Refused("it links to something that is no file"));
        }
        // Without AT_SYMLINK_FOLLOW: a symlink that has taken the file's place is not followed.
        let shared = self.trust == Trust::Layer;
        self.put(path, "link", |parent, new| {
            match linkat(&from, name, parent, new, AtFlags::empty()) {
                Err(Errno::EEXIST) if shared && same_file(parent, new, &stat) => Ok(()),
                other => other,
            }
        })
    }

    /// Makes a directory, passable to its owner; one that is there is fine.
    pub(super) fn directory(&mut self, path: &[u8], mode: u32) -> Result<(), TreeError> {
        if path.is_empty() {
            return Ok(());
        }
        let mode = permissions(mode & 0o777 | 0o700);
        for _ in 0..TRIES {
            let (parent, name) = self.parent(path)?;
            match mkdirat(parent, name, mode) {
                Ok(()) => return Ok(()),
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(self.error("mkdir", path)(errno).into()),
            }
            // A layer's root may have a symlink here that leads to a directory inside (`lib` to
            // `usr/lib`); that is as good, and dpkg takes it so too.
            match (self.resolve(path, HANDLE), self.trust) {
                (Ok(_), _) => return Ok(()),
                (Err(Errno::ENOENT), Trust::Layer) => return Err(TreeError::Refused(DANGLING)),
                (Err(Errno::ENOTDIR | Errno::ELOOP), Trust::Layer) => self.remove(path)?,
                (Err(_), _) => return Err(TreeError::Refused(TWICE)),
            }
        }
        Err(TreeError::Refused(CONTENDED))
    }

    /// Gives a directory the mode and time that its own archive says.
    pub(super) fn finish_directory(
        &self,
        path: &[u8],
        mode: u32,
        mtime: Time,
    ) -> Result<(), TreeError> {
        let fd = self
            .resolve(path, DIRECTORY)
            .map_err(|errno| self.unresolved(path, errno))?;
        // setuid and setgid are dropped; sticky is what keeps /tmp from being everyone's.
        let mode = permissions(mode & 0o1777 | 0o700);
        fchmod(&fd, mode).map_err(self.error("chmod", path))?;
        let time = spec(mtime);
        futimens(&fd, &time, &time).map_err(self.error("utimensat", path))?;
        Ok(())
    }

    /// An error that names a path of the tree.
    pub(super) fn error<E: Into<std::io::Error>>(
        &self,
        call: &'static str,
        path: &[u8],
    ) -> impl FnOnce(E) -> FsError {
        move |source: E| FsError::new(call, &self.path(path))(source)
    }

    /// A path of the tree as the host sees it, for messages.
    pub(super) fn path(&self, path: &[u8]) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(path))
    }

    /// Does `make` where the last part of `path` goes, after making room for it if need be.
    fn put<T>(
        &mut self,
        path: &[u8],
        call: &'static str,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> nix::Result<T>,
    ) -> Result<T, TreeError> {
        for _ in 0..TRIES {
            let (parent, name) = self.parent(path)?;
            match (make(parent, name), self.trust) {
                (Ok(value), _) => return Ok(value),
                (Err(Errno::EEXIST), Trust::Layer) => self.remove(path)?,
                (Err(Errno::EEXIST), Trust::Sealed) => return Err(TreeError::Refused(TWICE)),
                (Err(errno), _) => return Err(self.error(call, path)(errno).into()),
            }
        }
        Err(TreeError::Refused(CONTENDED))
    }

    /// Removes what is in the way, but no directory that holds something: what dpkg does not
    /// replace either.
    fn remove(&mut self, path: &[u8]) -> Result<(), TreeError> {
        let (parent, name) = self.parent(path)?;
        let removed = match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => unlinkat(parent, name, UnlinkatFlags::RemoveDir),
            other => other,
        };
        let result = match removed {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => Err(TreeError::Refused(
                "a directory that holds something is in its place",
            )),
            Err(errno) => Err(self.error("unlink", path)(errno).into()),
        };
        // What was removed may have been the directory that is remembered, or a link to it.
        self.parent = None;
        result
    }

    /// The directory that `path` goes into, made if it is not there, and the name in it.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Result<(BorrowedFd<'_>, &'p [u8]), TreeError> {
        let (above, name) = split(path);
        if name.is_empty() {
            return Err(TreeError::Refused("it would replace the root"));
        }
        if above.is_empty() {
            return Ok((self.root.as_fd(), name));
        }
        let before = self.parent.take().filter(|before| before.text == above);
        let parent = match before {
            Some(before) => before,
            None => match self.enter(above) {
                Err(Errno::ENOENT) => self.make_all(above)?,
                other => other.map_err(|errno| self.unresolved(above, errno))?,
            },
        };
        let parent = self.parent.insert(parent);
        below(&parent.path, name)?;
        Ok((parent.fd.as_fd(), name))
    }

    /// Makes the directories of `path` one by one. Each is resolved from the root again: part of
    /// the way may lead through a symlink.
    fn make_all(&self, path: &[u8]) -> Result<Parent, TreeError> {
        let ends = path.iter().enumerate();
        let ends = ends.filter_map(|(at, byte)| (*byte == b'/').then_some(at));
        let mut above: Option<Parent> = None;
        for end in ends.chain([path.len()]) {
            let here = &path[..end];
            let (dir, at) = match &above {
                Some(above) => (above.fd.as_fd(), &above.path[..]),
                None => (self.root.as_fd(), &b""[..]),
            };
            let name = split(here).1;
            below(at, name)?;
            match mkdirat(dir, name, permissions(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(self.error("mkdir", here)(errno).into()),
            }
            let parent = self.enter(here);
            above = Some(parent.map_err(|errno| self.unresolved(here, errno))?);
        }
        above.ok_or(TreeError::Refused("it would replace the root"))
    }

    /// Opens a directory that something is to be put into, and finds out where it really is.
    fn enter(&self, path: &[u8]) -> nix::Result<Parent> {
        let text = path.to_vec();
        // Mostly there is no symlink on the way: then the text says where it is.
        match self.open_by(path, HANDLE, STRICTLY) {
            Ok(fd) => {
                let path = text.clone();
                return Ok(Parent { text, fd, path });
            }
            Err(Errno::ELOOP) if self.trust == Trust::Layer => {}
            Err(errno) => return Err(errno),
        }
        let fd = self.resolve(path, HANDLE)?;
        let link =
            |fd: &OwnedFd| nix::fcntl::readlink(&*format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let (root, place) = (link(&self.root)?, link(&fd)?);
        let path = Path::new(&place).strip_prefix(&root);
        // Someone has moved the root, or taken the directory away, just now.
        let path = path.map_err(|_| Errno::ESTALE)?;
        let path = path.as_os_str().as_bytes().to_vec();
        Ok(Parent { text, fd, path })
    }

    /// Opens something of the tree. In a layer, symlinks resolve as if the tree were the root
    /// of the file system; in a sealed tree none is walked through.
    pub(super) fn resolve(&self, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
        let rules = match self.trust {
            Trust::Layer => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            Trust::Sealed => STRICTLY,
        };
        self.open_by(path, flags, rules)
    }

    fn open_by(&self, path: &[u8], flags: OFlag, rules: ResolveFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new().flags(flags).resolve(rules);
        let path = if path.is_empty() { b"." } else { path };
        for _ in 0..TRIES {
            match openat2(&self.root, path, how) {
                // A rename anywhere while a `..` of a symlink was resolved: openat2(2).
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
        }
        Err(Errno::EAGAIN)
    }

    fn unresolved(&self, path: &[u8], errno: Errno) -> TreeError {
        match (errno, self.trust) {
            (Errno::ELOOP, Trust::Sealed) => {
                TreeError::Refused("it would be written through a symlink")
            }
            (Errno::ELOOP, Trust::Layer) => {
                TreeError::Refused("it would be written through symlinks without end")
            }
            (Errno::ENOTDIR, _) => TreeError::Refused("what it lies in is no directory"),
            (Errno::ENOENT, _) => TreeError::Refused(DANGLING),
            // Only symlinks lead to such names: the archive's own are bounded.
            (Errno::ENAMETOOLONG, _) => TreeError::Refused(name::TOO_LONG),
            _ => self.error("openat2", path)(errno).into(),
        }
    }
}

/// Enough to get past others that write into the same root; a loop must end.
const TRIES: usize = 64;
const TWICE: &str = "something of its name is there already";
const DANGLING: &str = "a symlink that leads nowhere is in its way";
const CONTENDED: &str = "its place keeps being taken by someone else";

/// The path of the directory above, and the last part.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Fails if `name` in the directory `path` of the tree would be too deep or too long.
fn below(path: &[u8], name: &[u8]) -> Result<(), TreeError> {
    let bounded = match path {
        b"" => Ok(()),
        path => name::bounded(&[path, name].join(&b'/')),
    };
    bounded.map_err(TreeError::Refused)
}

fn same_link(parent: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> bool {
    readlinkat(parent, name).is_ok_and(|found| found.as_bytes() == target)
}

fn same_file(parent: BorrowedFd<'_>, name: &[u8], file: &FileStat) -> bool {
    fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|found| (found.st_dev, found.st_ino) == (file.st_dev, file.st_ino))
}

fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode)
}

pub(super) fn spec((seconds, nanos): Time) -> TimeSpec {
    TimeSpec::new(seconds, i64::from(nanos))
}

/// The process's umask. umask(2) can only tell it by setting it, which other threads would see;
/// proc(5) just tells it. Where it cannot be read, everything is taken to be masked.
pub(super) fn umask() -> Mode {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let bits = line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
    permissions(bits.unwrap_or(0o777))
}
