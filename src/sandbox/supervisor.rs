//! Answers the calls that one uid cannot make while a root is being prepared: changes of owner,
//! device nodes, capabilities. They succeed, and what they would have done is written on the file
//! ([`Stamp`]), for whoever keeps the root.
//!
//! It is pid 1 who does this, in the caller's namespaces and with the caller's rights, so nothing is
//! done here that the caller could not do, but for the attributes, which the filter keeps from it.
//! What is opened by a pid is used only if its call still waits then ([`notify::is_waiting`]): else
//! the number may be another process's by now. The magic links of `/proc` are not followed: pid 1
//! has a program of the host.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, fchmod, fstatat};
use nix::unistd::{Gid, Pid, Uid, fchownat};

use super::Owners;
use super::caller::{base, descriptor, open_link, own_descriptor, umask};
use super::request::{Place, Request};
use crate::model::{Stamp, StampedDevice};
use crate::sys::notify::{self, Notification};
use crate::sys::{mount, xattr};

/// Bytes of a path at most, its NUL included: `PATH_MAX`.
const PATH_LIMIT: usize = 4096;
/// Bytes of an attribute's name at most: `XATTR_NAME_MAX`.
const NAME_LIMIT: usize = 255;
const CAPABILITY: &[u8] = b"security.capability";
/// Bytes of a capability at most: `XATTR_CAPS_SZ` of `linux/capability.h`.
const CAPABILITY_LIMIT: u64 = 24;
/// How many of a program's descriptors are looked at.
const OPEN_LIMIT: usize = 64;
const HANDLE: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// Whoever answers.
pub(super) struct Supervisor {
    listener: OwnedFd,
    root: OwnedFd,
    /// The mount that the root is: what lies elsewhere is not kept.
    mount: u64,
    /// Calls that were said to have succeeded, and have left nothing.
    missed: u64,
}

/// Why a call has left nothing.
enum Not {
    /// The kernel would have said this.
    Done(Errno),
    /// It concerns nothing that is kept.
    Kept,
    /// It could not be found out, or not be written down.
    Known,
}

impl From<Errno> for Not {
    fn from(errno: Errno) -> Self {
        match errno {
            // The caller's own mistakes.
            Errno::EFAULT
            | Errno::EBADF
            | Errno::ENOTDIR
            | Errno::ENAMETOOLONG
            | Errno::EINVAL
            | Errno::EEXIST => Self::Done(errno),
            // A device of `/dev`, say: that it was made, is what was said before.
            Errno::ENOENT => Self::Kept,
            // `ELOOP` among them, which magic links give.
            _ => Self::Known,
        }
    }
}

impl Supervisor {
    /// Takes over what calls are announced by. `None` where the kernel lacks something: then the
    /// calls fail.
    pub(super) fn new(listener: OwnedFd) -> Option<Self> {
        notify::hasten(listener.as_fd());
        let root = open("/", HANDLE, Mode::empty()).ok()?;
        let mount = mount::id(root.as_fd()).ok()?;
        Some(Self {
            listener,
            root,
            mount,
            missed: 0,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// What is to be told in the end.
    pub(super) fn owners(&self) -> Owners {
        match self.missed {
            0 => Owners::Recorded,
            missed => Owners::Partly(missed),
        }
    }

    /// Answers one call. `false` if there will be none any more.
    pub(super) fn serve(&mut self) -> bool {
        let call = match notify::receive(self.listener.as_fd()) {
            Ok(Some(call)) => call,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let answer = match self.heed(&call) {
            Ok(()) | Err(Not::Kept) => Ok(()),
            Err(Not::Known) => {
                self.missed += 1;
                Ok(())
            }
            Err(Not::Done(errno)) => Err(errno),
        };
        notify::answer(self.listener.as_fd(), call.id, answer);
        true
    }

    fn heed(&self, call: &Notification) -> Result<(), Not> {
        match Request::of(call.call, &call.args).map_err(Not::Done)? {
            Request::Own { of, uid, gid } => {
                let stamp = Stamp {
                    uid,
                    gid,
                    ..Stamp::default()
                };
                self.own(call, of, stamp)
            }
            Request::Node {
                dir,
                path,
                mode,
                device,
            } => self.make_node(call, dir, path, mode, device),
            Request::Attribute { of, name, value } => self.set_attribute(call, of, name, value),
        }
    }

    fn own(&self, call: &Notification, of: Place, stamp: Stamp) -> Result<(), Not> {
        let file = self.find(call, of)?;
        let found = self.keepable(&file)?;
        let before = stamp_of(file.as_fd())?;
        let is_file = found.st_mode & libc::S_IFMT == libc::S_IFREG;
        if is_file {
            // As the kernel has it: with its owner a file loses what makes others its owner.
            if found.st_mode & 0o6000 != 0 {
                let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
                let _ = fchownat(&file, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH);
            }
            xattr::remove_by(file.as_fd(), Stamp::CAPABILITY)?;
        }
        let stamp = match of {
            Place::Open(_) if is_file && stamp == Stamp::of(0, 0) => {
                copied(call.pid, &file, &found)
            }
            _ => stamp,
        };
        let after = before.unwrap_or_default().then(stamp);
        if before != Some(after) {
            write(&file, Stamp::ATTRIBUTE, after.to_string().as_bytes())?;
        }
        Ok(())
    }

    /// An empty file stands for the device: it can be renamed, removed, and given away.
    fn make_node(
        &self,
        call: &Notification,
        dir: i32,
        path: u64,
        mode: u32,
        device: StampedDevice,
    ) -> Result<(), Not> {
        let path = notify::read_text(call.pid, path, PATH_LIMIT - 1)?;
        if path.is_empty() {
            return Err(Not::Done(Errno::ENOENT));
        }
        // What overlayfs takes for the mark of a file that is gone, and lets nobody make.
        if (device.block, device.major, device.minor) == (false, 0, 0) {
            return Err(Not::Done(Errno::EPERM));
        }
        let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
            None => (&b"."[..], &path[..]),
            Some(0) => (&b"/"[..], &path[1..]),
            Some(at) => (&path[..at], &path[at + 1..]),
        };
        let parent = self.resolve(call, dir, above, OFlag::O_DIRECTORY)?;
        self.keepable(&parent)?;
        match name {
            b"" => return Err(Not::Done(Errno::ENOENT)),
            b"." | b".." => return Err(Not::Done(Errno::EEXIST)),
            _ => {}
        }
        let mode = Mode::from_bits_truncate(mode & !umask(call.pid));
        self.check(call)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&parent, name, flags, Mode::S_IRUSR)?;
        fchmod(&file, mode)?;
        let stamp = Stamp {
            device: Some(device),
            ..Stamp::of(0, 0)
        };
        let written = write(&file, Stamp::ATTRIBUTE, stamp.to_string().as_bytes());
        if written.is_err() {
            // Nobody could tell it from a file then.
            let _ = nix::unistd::unlinkat(&parent, name, nix::unistd::UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Capabilities alone: `cp -p` sets a mode as an access control list, which is an extended
    /// attribute, and goes on to chmod only if there are none.
    fn set_attribute(
        &self,
        call: &Notification,
        of: Place,
        name: u64,
        (address, length): (u64, u64),
    ) -> Result<(), Not> {
        const NONE: Not = Not::Done(Errno::ENOTSUP);
        let name = notify::read_text(call.pid, name, NAME_LIMIT);
        if name.as_deref() != Ok(CAPABILITY) || length > CAPABILITY_LIMIT {
            return Err(NONE);
        }
        let mut value = vec![0; usize::try_from(length).unwrap_or(0)];
        notify::read_memory(call.pid, address, &mut value)?;
        let file = self.find(call, of)?;
        let found = self.keepable(&file).map_err(|_| NONE)?;
        if found.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(NONE);
        }
        write(&file, Stamp::CAPABILITY, &value).map_err(|_| NONE)
    }

    /// What a file is, if it is one that is kept and that can bear a stamp. A symlink cannot, nor
    /// a pipe: their owner is of no consequence.
    fn keepable(&self, file: &OwnedFd) -> Result<FileStat, Not> {
        if mount::id(file.as_fd()).map_err(|_| Not::Known)? != self.mount {
            return Err(Not::Kept);
        }
        let found = fstatat(file, "", AtFlags::AT_EMPTY_PATH)?;
        match found.st_mode & libc::S_IFMT {
            libc::S_IFREG | libc::S_IFDIR => Ok(found),
            _ => Err(Not::Kept),
        }
    }

    /// What a call is about.
    fn find(&self, call: &Notification, place: Place) -> Result<OwnedFd, Not> {
        let file = match place {
            Place::Open(fd) => open_link(&descriptor(call.pid, fd)?)?,
            Place::Path {
                dir,
                path,
                follow,
                empty,
            } => {
                let path = notify::read_text(call.pid, path, PATH_LIMIT - 1)?;
                let flags = if follow {
                    OFlag::empty()
                } else {
                    OFlag::O_NOFOLLOW
                };
                if let Some(fd) = own_descriptor(&path).filter(|_| follow) {
                    open_link(&descriptor(call.pid, fd)?)?
                } else if !path.is_empty() {
                    self.resolve(call, dir, &path, flags)?
                } else if empty {
                    open_link(&base(call.pid, dir)?)?
                } else {
                    return Err(Not::Kept);
                }
            }
        };
        self.check(call)?;
        Ok(file)
    }

    /// The path as the caller would resolve it.
    fn resolve(
        &self,
        call: &Notification,
        dir: i32,
        path: &[u8],
        flags: OFlag,
    ) -> Result<OwnedFd, Not> {
        let proc = PathBuf::from(format!("/proc/{}", call.pid));
        let root = open_link(&proc.join("root"))?;
        let from = if path.starts_with(b"/") {
            None
        } else {
            Some(open_link(&base(call.pid, dir)?)?)
        };
        let of = |fd: &OwnedFd| fstatat(fd, "", AtFlags::AT_EMPTY_PATH);
        let (theirs, ours) = (of(&root)?, of(&self.root)?);
        let is_same = (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino);
        // Who has another root (chroot(2)) must not be led out of it. What can only be told by
        // going through its root and back is not resolved.
        let resolve = match (is_same, &from) {
            (true, _) => ResolveFlag::empty(),
            (false, None) => ResolveFlag::RESOLVE_IN_ROOT,
            (false, Some(_)) => ResolveFlag::RESOLVE_BENEATH,
        };
        let how = OpenHow::new()
            .flags(HANDLE | flags)
            .resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        for _ in 0..16 {
            match openat2(from.as_ref().unwrap_or(&root), path, how) {
                // A rename raced with a `..`: openat2(2).
                Err(Errno::EAGAIN) => {}
                found => return Ok(found?),
            }
        }
        Err(Not::Known)
    }

    fn check(&self, call: &Notification) -> Result<(), Not> {
        let waits = notify::is_waiting(self.listener.as_fd(), call.id);
        // Nobody hears the answer then.
        waits.then_some(()).ok_or(Not::Kept)
    }
}

/// Whose a file is meant to become that is given to root by its descriptor: as programs do that
/// write a new file in the place of one, or a copy beside it, with the owner that stat(2) has told
/// them. Here that is root always, so the other file says who it would have been: the one that the
/// shadow suite names `shadow` where this is `shadow+` or `shadow-`, or the one beside it that the
/// program has open too, as `sed -i` has. (`cp -p` sees nothing to be changed, and asks for nothing.)
fn copied(pid: Pid, file: &OwnedFd, found: &FileStat) -> Stamp {
    let root = Stamp::of(0, 0);
    let path = std::fs::read_link(mount::fd_path(file.as_fd())).unwrap_or_default();
    let name = path.as_os_str().as_bytes();
    // dpkg knows whom it means.
    if name.ends_with(b".dpkg-new") {
        return root;
    }
    let unsure = Stamp {
        unsure: true,
        ..root
    };
    let owner = |file: &OwnedFd| match stamp_of(file.as_fd()) {
        Ok(Some(Stamp { uid, gid, .. })) if (uid, gid) != (Some(0), Some(0)) => {
            Stamp::of(uid.unwrap_or(0), gid.unwrap_or(0))
        }
        // Of a layer below, perhaps, of which nothing is known here.
        _ => unsure,
    };
    if let [original @ .., b'+' | b'-'] = name {
        let how = OpenHow::new().flags(HANDLE | OFlag::O_NOFOLLOW);
        let how = how.resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let original = openat2(nix::fcntl::AT_FDCWD, original, how).ok();
        return original.as_ref().map_or(unsure, owner);
    }
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return unsure;
    };
    let mut others = open.take(OPEN_LIMIT).filter_map(|entry| {
        let entry = entry.ok()?.path();
        let is_beside = std::fs::read_link(&entry).ok()?.parent() == path.parent();
        let other = is_beside.then(|| open_link(&entry).ok())??;
        let stat = fstatat(&other, "", AtFlags::AT_EMPTY_PATH).ok()?;
        let is_other = (stat.st_dev, stat.st_ino) != (found.st_dev, found.st_ino);
        let is_file = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        (is_other && is_file).then_some(other)
    });
    match (others.next(), others.next()) {
        (Some(other), None) => owner(&other),
        _ => unsure,
    }
}

fn write(file: &OwnedFd, name: &CStr, value: &[u8]) -> Result<(), Not> {
    xattr::set_by(file.as_fd(), name, value).map_err(|_| Not::Known)
}

fn stamp_of(file: BorrowedFd<'_>) -> Result<Option<Stamp>, Not> {
    let value = xattr::get_by(file, Stamp::ATTRIBUTE).map_err(|_| Not::Known)?;
    Ok(value.and_then(|value| Stamp::parse(&value)))
}
