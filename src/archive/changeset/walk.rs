//! Where a layer's paths lead in the tree below: symlinks are resolved as if the tree were the root
//! of the file system, one step at a time, each step without following.
//!
//! openat2(2) would do it in one call, but says only where it got to, not by which way. Here the
//! way matters: what is put and what is taken away is remembered by its path without symlinks, and
//! that path's depth is bounded, however the layer wrote it. Nobody else writes to the tree. Since
//! layers list directories in order, most of the way is there from the member before.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};

use super::super::name;
use super::super::tree::{TreeError, umask};
use crate::sys::fs::FsError;

/// As many symlinks as the kernel follows: `path_resolution(7)`.
const MOST_LINKS: u32 = 40;
/// A directory to go through, itself no symlink.
const STEP: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
/// A directory to read.
const READ: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
/// What a directory gets that no entry names.
const IMPLIED: u32 = 0o755;

/// What to do about directories that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// They are made.
    Make,
    /// Then there is nothing to be done there.
    Leave,
}

/// A way that was gone.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Directories that had to be made.
    pub(super) made: Vec<Vec<u8>>,
    /// Symlinks that were followed.
    pub(super) followed: Vec<Vec<u8>>,
}

/// A place in the tree: a directory, and the directories above it.
pub(super) struct Walk {
    root: OwnedFd,
    /// From the root's child to here; none of them is a symlink.
    steps: Vec<(Vec<u8>, OwnedFd)>,
    /// The text that led here, if it would still do so, and the symlinks on its way.
    text: Option<(Vec<u8>, Vec<Vec<u8>>)>,
    umask: Mode,
}

impl Walk {
    pub(super) fn open(path: &Path) -> Result<Self, FsError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root =
            nix::fcntl::open(path, flags, Mode::empty()).map_err(FsError::new("open", path))?;
        Ok(Self {
            root,
            steps: Vec::new(),
            text: None,
            umask: umask(),
        })
    }

    /// The directory where the walk is.
    pub(super) fn here(&self) -> BorrowedFd<'_> {
        self.steps
            .last()
            .map_or(self.root.as_fd(), |(_, fd)| fd.as_fd())
    }

    /// The path, without symlinks, of `name` here; of this directory if it is empty.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let steps = self.steps.iter().map(|(name, _)| &name[..]);
        let name = Some(name).filter(|name| !name.is_empty());
        steps.chain(name).collect::<Vec<_>>().join(&b'/')
    }

    /// Permission bits that the kernel takes from what is created.
    pub(super) fn masked(&self, mode: Mode) -> bool {
        mode.intersects(self.umask)
    }

    /// Something was removed, so a text may lead elsewhere now.
    pub(super) fn forget(&mut self) {
        self.text = None;
    }

    /// A directory somewhere was removed, so the steps may be gone.
    pub(super) fn restart(&mut self) {
        self.text = None;
        self.steps.clear();
    }

    /// Goes to the directory `text`. `None`: it is not there, and was not to be made.
    pub(super) fn go(&mut self, text: &[u8], missing: Missing) -> Result<Option<Way>, TreeError> {
        let mut way = Way::default();
        if let Some((before, followed)) = &self.text
            && before == text
        {
            way.followed.clone_from(followed);
            return Ok(Some(way));
        }
        self.text = None;
        let mut left: VecDeque<Vec<u8>> = names(text).map(<[u8]>::to_vec).collect();
        // What the steps have in common with the text is directories, so the text leads there too.
        let same = self.steps.iter().zip(&left);
        let same = same.take_while(|((step, _), name)| step == *name).count();
        self.steps.truncate(same);
        left.drain(..same);
        while let Some(name) = left.pop_front() {
            if name == b".." {
                self.steps.pop();
                continue;
            }
            // Before it is made: what is refused is not there either.
            name::bounded(&self.path_of(&name)).map_err(TreeError::Refused)?;
            let fd = match openat(self.here(), &name[..], STEP, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::ENOENT | Errno::ENAMETOOLONG) if missing == Missing::Leave => {
                    return Ok(None);
                }
                Err(Errno::ENOENT) => {
                    let fd = self.make(&name)?;
                    way.made.push(self.path_of(&name));
                    fd
                }
                // Only a symlink's target has parts that no directory can have as a name.
                Err(Errno::ENAMETOOLONG) => return Err(TreeError::Refused(name::TOO_LONG)),
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    let target = match readlinkat(self.here(), &name[..]) {
                        Ok(target) => target,
                        // No symlink, then.
                        Err(Errno::EINVAL) if missing == Missing::Leave => return Ok(None),
                        Err(Errno::EINVAL) => {
                            return Err(TreeError::Refused("what it lies in is no directory"));
                        }
                        Err(errno) => return Err(self.failed("readlink", &name)(errno).into()),
                    };
                    way.followed.push(self.path_of(&name));
                    if way.followed.len() > MOST_LINKS as usize {
                        return Err(TreeError::Refused(
                            "it would be written through symlinks without end",
                        ));
                    }
                    let target = target.as_bytes();
                    if target.starts_with(b"/") {
                        self.steps.clear();
                    }
                    let names: Vec<Vec<u8>> = names(target).map(<[u8]>::to_vec).collect();
                    for name in names.into_iter().rev() {
                        left.push_front(name);
                    }
                    continue;
                }
                Err(errno) => return Err(self.failed("open", &name)(errno).into()),
            };
            self.steps.push((name, fd));
        }
        self.text = Some((text.to_vec(), way.followed.clone()));
        Ok(Some(way))
    }

    fn make(&self, name: &[u8]) -> Result<OwnedFd, TreeError> {
        let mode = Mode::from_bits_truncate(IMPLIED);
        mkdirat(self.here(), name, mode).map_err(self.failed("mkdir", name))?;
        if self.masked(mode) {
            fchmodat(self.here(), name, mode, FchmodatFlags::FollowSymlink)
                .map_err(self.failed("chmod", name))?;
        }
        let new = openat(self.here(), name, STEP, Mode::empty());
        Ok(new.map_err(self.failed("open", name))?)
    }

    /// Opens a directory here to be read, or to have its attributes changed; `None` if `name` is
    /// no directory. Empty is this directory itself.
    pub(super) fn open_dir(&self, name: &[u8]) -> Result<Option<OwnedFd>, FsError> {
        let at = if name.is_empty() { b"." } else { name };
        match openat(self.here(), at, READ, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.failed("open", name)(errno)),
        }
    }

    /// An error about `name` here.
    pub(super) fn failed<E: Into<std::io::Error>>(
        &self,
        call: &'static str,
        name: &[u8],
    ) -> impl FnOnce(E) -> FsError + use<E> {
        let path = self.path_of(name);
        move |source: E| FsError::new(call, Path::new(std::ffi::OsStr::from_bytes(&path)))(source)
    }
}

/// The parts of a path that lead somewhere else.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
}
