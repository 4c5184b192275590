//! What an entry of a layer puts into the tree, at the walk's place.

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, mkdirat, utimensat,
};
use nix::unistd::{linkat, mkfifoat, symlinkat};

use super::super::extract::MemberError;
use super::super::members::{Device, Kind, Member, Members};
use super::super::tree::{TreeError, spec, split};
use super::super::{ArchiveError, Trust, name};
use super::walk::Missing;
use super::{DeviceNode, Merge, Owned, attributes};

/// Bytes in a symlink at most (Linux's `PATH_MAX`, its NUL included).
const LINK_LIMIT: usize = 4096;

impl Merge {
    /// Puts an entry under `name` in the directory where the walk is; an empty name is the root.
    pub(super) fn entry<R: Read>(
        &mut self,
        name: &[u8],
        member: &Member,
        members: &mut Members<'_, R>,
    ) -> Result<(), MemberError> {
        let at = self.walk.path_of(name);
        name::bounded(&at).map_err(MemberError::Refused)?;
        let mut owned = self.owned(member)?;
        match (member.kind, member.device) {
            (Kind::Directory, _) => self.directory(name, &at, member)?,
            (Kind::File, _) => self.file(name, member, members)?,
            (Kind::Symlink, _) => {
                self.without_xattrs(member);
                self.symlink(name, member)?;
            }
            (Kind::HardLink, _) => owned = self.hard_link(name, &at, &member.link)?,
            (Kind::Special, None) => {
                self.without_xattrs(member);
                self.fifo(name, member)?;
            }
            (Kind::Special, Some(Device { block, number })) => {
                self.without_xattrs(member);
                self.remove(name)?;
                self.dropped.devices += 1;
                let (major, minor) = number;
                owned.device = Some(DeviceNode {
                    block,
                    major,
                    minor,
                });
            }
        }
        self.ownership.set(at.clone(), owned);
        self.touch(at);
        Ok(())
    }

    /// Symlinks and pipes can have no `user.*` attributes: xattr(7).
    fn without_xattrs(&mut self, member: &Member) {
        let names = member.xattrs.keys();
        let kept = names.filter(|name| attributes::fate(name) == attributes::Fate::Kept);
        self.dropped.xattrs += kept.count() as u64;
    }

    fn file<R: Read>(
        &mut self,
        name: &[u8],
        member: &Member,
        members: &mut Members<'_, R>,
    ) -> Result<(), MemberError> {
        let mode = permissions(attributes::mode(Kind::File, member.mode));
        // Who may not write to a file may not give it attributes either: xattr(7).
        let first = if member.xattrs.is_empty() {
            mode
        } else {
            mode | Mode::S_IWUSR
        };
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let fd = self.put(name, "create", |dir, name| openat(dir, name, flags, first))?;
        let mut file = File::from(fd);
        loop {
            let data = members.data()?;
            if data.is_empty() {
                break;
            }
            file.write_all(data)
                .map_err(|error| ArchiveError::from(self.walk.failed("write", name)(error)))?;
        }
        if !member.xattrs.is_empty() {
            let set = self.set_xattrs(file.as_fd(), name, &member.xattrs);
            set.map_err(TreeError::from)?;
        }
        let failed = |call| {
            let failed = self.walk.failed(call, name);
            move |errno: Errno| TreeError::from(failed(errno))
        };
        if self.walk.masked(mode) || first != mode {
            fchmod(&file, mode).map_err(failed("chmod"))?;
        }
        let time = spec(member.mtime);
        futimens(&file, &time, &time).map_err(failed("utimensat"))?;
        Ok(())
    }

    fn directory(&mut self, name: &[u8], at: &[u8], member: &Member) -> Result<(), TreeError> {
        let mode = attributes::mode(Kind::Directory, member.mode);
        let is_new = !self.times.contains_key(at);
        if is_new {
            let bits = permissions(mode);
            self.put(name, "mkdir", |dir, name| mkdirat(dir, name, bits))?;
        }
        self.times.insert(at.to_vec(), member.mtime);
        // One that is there keeps what it holds; its attributes are replaced.
        if is_new && member.xattrs.is_empty() && !self.walk.masked(permissions(mode)) {
            return Ok(());
        }
        Ok(self.attributes_of_dir(name, mode, &member.xattrs)?)
    }

    fn symlink(&mut self, name: &[u8], member: &Member) -> Result<(), TreeError> {
        let target = &member.link[..];
        if target.is_empty() || target.len() >= LINK_LIMIT {
            return Err(TreeError::Refused("its target is empty or too long"));
        }
        self.put(name, "symlink", |dir, name| symlinkat(target, dir, name))?;
        self.time(name, member)
    }

    /// A pipe does nothing until someone opens it, and nobody does here.
    fn fifo(&mut self, name: &[u8], member: &Member) -> Result<(), TreeError> {
        let mode = permissions(attributes::mode(Kind::Special, member.mode));
        self.put(name, "mkfifo", |dir, name| mkfifoat(dir, name, mode))?;
        if self.walk.masked(mode) {
            // What was just made is no symlink.
            fchmodat(self.walk.here(), name, mode, FchmodatFlags::FollowSymlink)
                .map_err(self.walk.failed("chmod", name))?;
        }
        self.time(name, member)
    }

    fn time(&self, name: &[u8], member: &Member) -> Result<(), TreeError> {
        let time = spec(member.mtime);
        let flags = UtimensatFlags::NoFollowSymlink;
        utimensat(self.walk.here(), name, &time, &time, flags)
            .map_err(self.walk.failed("utimensat", name))?;
        Ok(())
    }

    /// Gives what is at `target`, of this layer or of one below, one more name. The entry's own
    /// mode and times say nothing that the target's do not, and what it shares must not change.
    fn hard_link(&mut self, name: &[u8], at: &[u8], target: &[u8]) -> Result<Owned, TreeError> {
        const NOTHING: TreeError = TreeError::Refused("it links to nothing");
        let path = name::path(target, Trust::Layer, 0).ok().flatten();
        let path = path.filter(|path| !path.is_empty());
        let path = path.ok_or(TreeError::Refused("it links outside"))?;
        let (dir, last) = split(&path);
        let Some(way) = self.links.go(dir, Missing::Leave)? else {
            return Err(NOTHING);
        };
        if self.above {
            self.followed.extend(way.followed);
        }
        // Without symlinks, one of which may be what this entry replaces.
        let (from, source) = (self.links.path_of(b""), self.links.path_of(last));
        let owned = self.ownership.get(&source).cloned().unwrap_or_default();
        if self.times.contains_key(&source) {
            return Err(TreeError::Refused("it links to a directory"));
        }
        if owned.device.is_some() {
            self.remove(name)?;
            self.dropped.devices += 1;
            return Ok(owned);
        }
        loop {
            // Without AT_SYMLINK_FOLLOW: a symlink itself gets the name, as the layer says.
            let flags = AtFlags::empty();
            match linkat(self.links.here(), last, self.walk.here(), name, flags) {
                Ok(()) => return Ok(owned),
                // A link to itself, which some builders write.
                Err(Errno::EEXIST) if source == at => return Ok(owned),
                // What is in the way may have held the target.
                Err(Errno::EEXIST) => {
                    self.remove(name)?;
                    if self.links.go(&from, Missing::Leave)?.is_none() {
                        return Err(NOTHING);
                    }
                }
                Err(Errno::ENOENT) => return Err(NOTHING),
                Err(errno) => return Err(self.walk.failed("link", name)(errno).into()),
            }
        }
    }

    /// Does `make`, after removing what is in the way.
    fn put<T>(
        &mut self,
        name: &[u8],
        call: &'static str,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> nix::Result<T>,
    ) -> Result<T, TreeError> {
        match make(self.walk.here(), name) {
            Err(Errno::EEXIST) => self.remove(name)?,
            other => return Ok(other.map_err(self.walk.failed(call, name))?),
        }
        Ok(make(self.walk.here(), name).map_err(self.walk.failed(call, name))?)
    }
}

fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode)
}
