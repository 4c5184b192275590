//! Reading a tree that somebody else has filled, and may be filling: symlinks are not followed,
//! pipes and devices not opened, and what is read is what was looked at.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, major, minor};

use super::{Entry, What};
use crate::model::{Hasher, Sha256};
use crate::sys::fs::FsError;
use crate::sys::interrupt::{Interrupt, Interrupted};
use crate::sys::xattr;

/// What was found in a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Every path, sorted by its bytes.
    pub entries: Vec<Entry>,
    /// Files without a digest, and directories that were not entered: why they could not be read.
    pub unreadable: BTreeMap<Vec<u8>, Errno>,
    /// Bytes on the disk of what has no name outside the tree.
    pub own: u64,
    /// Bytes on the disk of what has names elsewhere too.
    pub shared: u64,
}

/// Why a tree cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Somebody is changing it.
    #[error("{} was changed while it was being read", .0.display())]
    Changed(PathBuf),
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Device and inode.
type Id = (u64, u64);
type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

const BUFFER: usize = 256 * 1024;
/// What the kernel takes of a path at once (`PATH_MAX` without its NUL).
const PATH_MAX: usize = 4095;

/// Reads a whole tree, its files on so many threads. `progress` hears of the bytes that were read.
pub fn scan(
    tree: &Path,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
    interrupt: &Interrupt,
) -> Result<Scanned, ScanError> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open(tree, flags, Mode::empty()).map_err(FsError::new("open", tree))?;
    let root = Root { fd, tree };
    let mut walk = Walk {
        root: &root,
        scanned: Scanned::default(),
        inodes: HashMap::new(),
    };
    walk.all(interrupt)?;
    let Walk {
        mut scanned,
        inodes,
        ..
    } = walk;
    for inode in inodes.values() {
        if inode.links > inode.names {
            scanned.shared += inode.bytes;
        } else {
            scanned.own += inode.bytes;
        }
    }
    let jobs: Vec<(Id, Inode)> = inodes
        .into_iter()
        .filter(|(_, inode)| !inode.files.is_empty())
        .collect();
    let reading = Reading {
        root: &root,
        entries: &scanned.entries,
        jobs: &jobs,
        next: AtomicUsize::new(0),
        progress,
        interrupt,
    };
    let contents = reading.all(threads)?;
    for (job, content) in contents {
        for &at in &jobs[job].1.files {
            let entry = &mut scanned.entries[at];
            match (&content, &mut entry.what) {
                (Ok(content), What::File { sha256, .. }) => {
                    *sha256 = Some(content.sha256);
                    entry.xattrs.clone_from(&content.xattrs);
                }
                (Err(errno), _) => {
                    scanned.unreadable.insert(entry.path.clone(), *errno);
                }
                _ => {}
            }
        }
    }
    scanned.entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(scanned)
}

/// Bytes on the disk that removing all of these, trees and files, would free. What is not there
/// takes none.
pub fn disk_usage(paths: &[PathBuf], interrupt: &Interrupt) -> Result<u64, ScanError> {
    let (mut own, mut inodes) = (0, HashMap::new());
    for path in paths {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match nix::fcntl::open(path, flags, Mode::empty()) {
            Err(Errno::ENOENT) => continue,
            fd => fd.map_err(FsError::new("open", path))?,
        };
        let stat = fstat(&fd).map_err(FsError::new("fstat", path))?;
        let root = Root { fd, tree: path };
        let mut walk = Walk {
            root: &root,
            scanned: Scanned::default(),
            inodes,
        };
        if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            walk.all(interrupt)?;
        } else {
            walk.entry(Vec::new(), What::Pipe, &stat);
        }
        own += walk.scanned.own;
        inodes = walk.inodes;
    }
    let freed = inodes.values().filter(|inode| inode.links <= inode.names);
    Ok(own + freed.map(|inode| inode.bytes).sum::<u64>())
}

/// The tree that is read.
struct Root<'a> {
    fd: OwnedFd,
    tree: &'a Path,
}

impl Root<'_> {
    /// Opens something below it, whatever the length of its path, for reading alone. Without
    /// `O_NOATIME` every file that is read would be one to write.
    fn open(&self, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut above: Option<OwnedFd> = None;
        let mut rest = path;
        while rest.len() > PATH_MAX {
            let cut = rest[..PATH_MAX].iter().rposition(|byte| *byte == b'/');
            let cut = cut.ok_or(Errno::ENAMETOOLONG)?;
            let from = above.as_ref().unwrap_or(&self.fd).as_fd();
            above = Some(below(from, &rest[..cut], OFlag::O_PATH | OFlag::O_CLOEXEC)?);
            rest = &rest[cut + 1..];
        }
        let from = above.as_ref().unwrap_or(&self.fd).as_fd();
        match below(from, rest, flags | OFlag::O_NOATIME) {
            // For its owner alone.
            Err(Errno::EPERM) => below(from, rest, flags),
            other => other,
        }
    }

    fn path(&self, path: &[u8]) -> PathBuf {
        self.tree.join(std::ffi::OsStr::from_bytes(path))
    }

    fn failed(&self, call: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> FsError {
        move |errno| FsError::new(call, &self.path(path))(errno)
    }
}

fn below(from: BorrowedFd<'_>, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
    let rules = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(flags).resolve(rules);
    let path = if path.is_empty() { b"." } else { path };
    loop {
        match openat2(from, path, how) {
            // A rename somewhere raced with it: openat2(2) says to try again.
            Err(Errno::EAGAIN) => {}
            other => return other,
        }
    }
}

/// What has one or more names in the tree, and is no directory.
struct Inode {
    /// Its names in the tree.
    names: u64,
    /// Its names anywhere.
    links: u64,
    /// What it takes of the disk.
    bytes: u64,
    /// The entries that it is, if it is a file.
    files: Vec<usize>,
}

/// The walk over the directories.
struct Walk<'a> {
    root: &'a Root<'a>,
    scanned: Scanned,
    inodes: HashMap<Id, Inode>,
}

impl Walk<'_> {
    fn all(&mut self, interrupt: &Interrupt) -> Result<(), ScanError> {
        let root = self.root;
        let stat = fstat(&root.fd).map_err(root.failed("fstat", b""))?;
        self.entry(Vec::new(), What::Directory, &stat);
        // Each directory is opened from the root: neither depth nor breadth costs descriptors.
        let mut directories = vec![0];
        while let Some(at) = directories.pop() {
            interrupt.check()?;
            self.directory(at, &mut directories)?;
        }
        Ok(())
    }

    fn directory(&mut self, at: usize, next: &mut Vec<usize>) -> Result<(), ScanError> {
        let root = self.root;
        let path = self.scanned.entries[at].path.clone();
        let fd = match root.open(&path, OFlag::O_DIRECTORY) {
            Ok(fd) => fd,
            Err(errno @ (Errno::EACCES | Errno::EIO | Errno::EUCLEAN)) => {
                self.scanned.unreadable.insert(path, errno);
                return Ok(());
            }
            Err(errno) => return Err(changed(root, &path, "open", errno)),
        };
        self.scanned.entries[at].xattrs =
            xattrs(fd.as_fd()).map_err(root.failed("getxattr", &path))?;
        let mut dir = Dir::from_fd(fd).map_err(root.failed("opendir", &path))?;
        let names: Result<Vec<_>, Errno> = dir
            .iter()
            .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
            .collect();
        let names = match names {
            Ok(names) => names,
            Err(errno @ (Errno::EIO | Errno::EUCLEAN)) => {
                self.scanned.unreadable.insert(path, errno);
                return Ok(());
            }
            Err(errno) => return Err(root.failed("readdir", &path)(errno).into()),
        };
        for name in names {
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let mut below = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name.to_bytes());
            let stat = fstatat(dir.as_fd(), name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(|errno| changed(root, &below, "lstat", errno))?;
            let device = |block| What::Device {
                block,
                major: major(stat.st_rdev),
                minor: minor(stat.st_rdev),
            };
            let what = match stat.st_mode & libc::S_IFMT {
                libc::S_IFDIR => {
                    next.push(self.scanned.entries.len());
                    What::Directory
                }
                libc::S_IFREG => What::File {
                    size: stat.st_size.unsigned_abs(),
                    sha256: None,
                },
                libc::S_IFLNK => {
                    let target = readlinkat(dir.as_fd(), name.as_c_str())
                        .map_err(|errno| changed(root, &below, "readlink", errno))?;
                    What::Symlink(target.into_vec())
                }
                libc::S_IFIFO => What::Pipe,
                libc::S_IFSOCK => What::Socket,
                libc::S_IFBLK => device(true),
                _ => device(false),
            };
            self.entry(below, what, &stat);
        }
        Ok(())
    }

    fn entry(&mut self, path: Vec<u8>, what: What, stat: &FileStat) {
        // In units of 512 bytes, whatever those of the file system are (stat(3type)).
        let bytes = stat.st_blocks.unsigned_abs() * 512;
        if what == What::Directory {
            self.scanned.own += bytes;
        } else {
            let id = (stat.st_dev, stat.st_ino);
            let inode = self.inodes.entry(id).or_insert(Inode {
                names: 0,
                links: stat.st_nlink,
                bytes,
                files: Vec::new(),
            });
            inode.names += 1;
            if matches!(what, What::File { .. }) {
                inode.files.push(self.scanned.entries.len());
            }
        }
        let mode = match what {
            What::Symlink(_) => 0,
            _ => stat.st_mode & 0o7777,
        };
        self.scanned.entries.push(Entry {
            path,
            what,
            mode,
            xattrs: Xattrs::new(),
        });
    }
}

/// Something that was there a moment ago and is not now was changed; anything else is the disk's.
fn changed(root: &Root<'_>, path: &[u8], call: &'static str, errno: Errno) -> ScanError {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV | Errno::EINVAL => {
            ScanError::Changed(root.path(path))
        }
        errno => root.failed(call, path)(errno).into(),
    }
}

/// What is in a file.
struct Content {
    sha256: Sha256,
    xattrs: Xattrs,
}

/// The reading of the files.
struct Reading<'a> {
    root: &'a Root<'a>,
    entries: &'a [Entry],
    jobs: &'a [(Id, Inode)],
    next: AtomicUsize,
    progress: &'a (dyn Fn(u64) + Sync),
    interrupt: &'a Interrupt,
}

/// What came of each job, or why it could not be read.
type Contents = Vec<(usize, Result<Content, Errno>)>;

impl Reading<'_> {
    fn all(&self, threads: usize) -> Result<Contents, ScanError> {
        let mut all = Vec::with_capacity(self.jobs.len());
        std::thread::scope(|scope| {
            let workers = (1..threads).map(|_| scope.spawn(|| self.work()));
            let workers: Vec<_> = workers.collect();
            let mut results = vec![self.work()];
            for worker in workers {
                results.push(worker.join().expect("a reader does not panic"));
            }
            for result in results {
                all.extend(result?);
            }
            Ok(all)
        })
    }

    fn work(&self) -> Result<Contents, ScanError> {
        let mut buffer = vec![0; BUFFER];
        let mut contents = Vec::new();
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((id, inode)) = self.jobs.get(n) else {
                return Ok(contents);
            };
            let path = &self.entries[inode.files[0]].path;
            contents.push((n, self.file(path, *id, &mut buffer)?));
        }
    }

    fn file(
        &self,
        path: &[u8],
        id: Id,
        buffer: &mut [u8],
    ) -> Result<Result<Content, Errno>, ScanError> {
        self.interrupt.check()?;
        let root = self.root;
        let fd = match root.open(path, OFlag::O_RDONLY) {
            Ok(fd) => fd,
            Err(errno @ (Errno::EACCES | Errno::EIO | Errno::EUCLEAN)) => return Ok(Err(errno)),
            // Something else has taken its place: a socket, a device that is not there.
            Err(Errno::ENXIO) => return Err(ScanError::Changed(root.path(path))),
            Err(errno) => return Err(changed(root, path, "open", errno)),
        };
        let stat = fstat(&fd).map_err(root.failed("fstat", path))?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG || (stat.st_dev, stat.st_ino) != id {
            return Err(ScanError::Changed(root.path(path)));
        }
        let xattrs = match xattrs(fd.as_fd()) {
            Ok(xattrs) => xattrs,
            Err(errno @ Errno::EIO) => return Ok(Err(errno)),
            Err(errno) => return Err(root.failed("getxattr", path)(errno).into()),
        };
        let mut file = File::from(fd);
        let mut hasher = Hasher::new();
        loop {
            match file.read(buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    (self.progress)(count as u64);
                    if count == buffer.len() {
                        self.interrupt.check()?;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(errno @ (Errno::EIO | Errno::EUCLEAN | Errno::EBADMSG)) => {
                        return Ok(Err(errno));
                    }
                    _ => return Err(FsError::new("read", &root.path(path))(error).into()),
                },
            }
        }
        let sha256 = hasher.finish();
        Ok(Ok(Content { sha256, xattrs }))
    }
}

/// The attributes that decide what a build sees.
fn xattrs(fd: BorrowedFd<'_>) -> nix::Result<Xattrs> {
    const OTHERS: [&[u8]; 3] = [
        b"security.capability",
        b"system.posix_acl_access",
        b"system.posix_acl_default",
    ];
    let mut found = Xattrs::new();
    for name in xattr::list_of(fd)? {
        let bytes = name.to_bytes();
        if bytes.starts_with(b"user.") || OTHERS.contains(&bytes) {
            found.insert(bytes.to_vec(), xattr::get_of(fd, &name)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
