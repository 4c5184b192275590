//! A tree that begins as another one: directories are made anew, everything else is shared.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, fstatat,
    futimens, mkdirat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, mkfifoat, symlinkat};

use super::super::pax::Time;
use super::super::tree::umask;
use super::attributes::copy_xattrs;
use super::remove::names;
use super::{ArchiveError, Merge, Ownership};
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

const READ: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

impl Merge {
    /// Begins with what layers have made before in `base`, which never changes by it. The
    /// directory must be empty; on the same file system, files take no more room.
    pub fn on(
        base: &Path,
        ownership: Ownership,
        into: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, ArchiveError> {
        let mut this = Self::new(into)?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let from =
            nix::fcntl::open(base, flags, Mode::empty()).map_err(FsError::new("open", base))?;
        let to =
            nix::fcntl::open(into, flags, Mode::empty()).map_err(FsError::new("open", into))?;
        let mut sharing = Sharing {
            base,
            interrupt,
            umask: umask(),
            times: BTreeMap::new(),
        };
        sharing.directory(&from, &to, b"")?;
        this.times = sharing.times;
        this.ownership = ownership;
        this.above = true;
        Ok(this)
    }
}

struct Sharing<'a> {
    base: &'a Path,
    interrupt: &'a Interrupt,
    umask: Mode,
    times: BTreeMap<Vec<u8>, Time>,
}

impl Sharing<'_> {
    /// Gives `to` all that `from` has. Recursion is bounded, since the depth of such a tree is.
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, at: &[u8]) -> Result<(), ArchiveError> {
        self.interrupt.check()?;
        let stat = fstat(from).map_err(self.failed("fstat", at))?;
        // The sticky bit and what the umask took.
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
        fchmod(to, mode).map_err(self.failed("chmod", at))?;
        copy_xattrs(from.as_fd(), to.as_fd()).map_err(self.failed("setxattr", at))?;
        self.times.insert(at.to_vec(), time(&stat));
        let listed = from.try_clone().map_err(self.failed("dup", at))?;
        for name in names(listed).map_err(self.failed("readdir", at))? {
            let below = if at.is_empty() {
                name.clone()
            } else {
                [at, &name[..]].join(&b'/')
            };
            match linkat(from, &name[..], to, &name[..], AtFlags::empty()) {
                Ok(()) => continue,
                // A directory; or links are not to be had, or not one more of this file.
                Err(Errno::EPERM | Errno::EMLINK | Errno::EXDEV | Errno::ENOTSUP) => {}
                Err(errno) => return Err(self.failed("link", &below)(errno).into()),
            }
            let stat = fstatat(from, &name[..], AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(self.failed("lstat", &below))?;
            let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
            if kind != SFlag::S_IFDIR {
                self.copy(from.as_fd(), to.as_fd(), &name, &below, &stat)?;
                continue;
            }
            mkdirat(to, &name[..], Mode::S_IRWXU).map_err(self.failed("mkdir", &below))?;
            let open = |dir: &OwnedFd| openat(dir, &name[..], READ, Mode::empty());
            let inner = open(from).map_err(self.failed("open", &below))?;
            let outer = open(to).map_err(self.failed("open", &below))?;
            self.directory(&inner, &outer, &below)?;
        }
        Ok(())
    }

    /// Copies what cannot be linked.
    fn copy(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &[u8],
        at: &[u8],
        stat: &FileStat,
    ) -> Result<(), ArchiveError> {
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
        let (seconds, nanos) = time(stat);
        let time = TimeSpec::new(seconds, i64::from(nanos));
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => {
                let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let source = openat(from, name, read, Mode::empty());
                let mut source = File::from(source.map_err(self.failed("open", at))?);
                // To be given attributes it must be writable: xattr(7).
                let copy = openat(to, name, write, mode | Mode::S_IWUSR);
                let mut copy = File::from(copy.map_err(self.failed("create", at))?);
                io::copy(&mut source, &mut copy).map_err(self.failed("write", at))?;
                copy_xattrs(source.as_fd(), copy.as_fd()).map_err(self.failed("setxattr", at))?;
                fchmod(&copy, mode).map_err(self.failed("chmod", at))?;
                futimens(&copy, &time, &time).map_err(self.failed("utimensat", at))?;
                return Ok(());
            }
            SFlag::S_IFLNK => {
                let target = readlinkat(from, name).map_err(self.failed("readlink", at))?;
                symlinkat(&target[..], to, name).map_err(self.failed("symlink", at))?;
            }
            SFlag::S_IFIFO => {
                mkfifoat(to, name, mode).map_err(self.failed("mkfifo", at))?;
                if mode.intersects(self.umask) {
                    fchmodat(to, name, mode, FchmodatFlags::FollowSymlink)
                        .map_err(self.failed("chmod", at))?;
                }
            }
            _ => return Err(self.failed("link", at)(Errno::EPERM).into()),
        }
        let flags = UtimensatFlags::NoFollowSymlink;
        utimensat(to, name, &time, &time, flags).map_err(self.failed("utimensat", at))?;
        Ok(())
    }

    fn failed<E: Into<io::Error>>(
        &self,
        call: &'static str,
        at: &[u8],
    ) -> impl FnOnce(E) -> FsError + use<E> {
        use std::os::unix::ffi::OsStrExt as _;
        let path = self.base.join(std::ffi::OsStr::from_bytes(at));
        move |source: E| FsError::new(call, &path)(source)
    }
}

fn time(stat: &FileStat) -> Time {
    // The kernel gives nanoseconds below a thousand million.
    (
        stat.st_mtime,
        u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    )
}
