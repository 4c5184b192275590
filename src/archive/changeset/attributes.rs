//! Modes, owners and extended attributes: what of them a file gets, and what is only recorded.
//!
//! Of the extended attributes `user.*` are kept: they are content, a program put them there. Not
//! those of them that overlayfs and fuse-overlayfs would obey, who would take a file of the image
//! for removed, or as someone else's: no layer may say so. What is in the other name spaces is the
//! kernel's to obey and needs rights that nobody has here. Capabilities and access lists are
//! recorded; security labels and `trusted.*` are of the host that the layer was made on.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};

use super::super::extract::MemberError;
use super::super::members::{Kind, Member};
use super::{Merge, Owned};
use crate::sys::fs::FsError;
use crate::sys::xattr;

pub(super) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// What becomes of an extended attribute.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::archive) enum Fate {
    Kept,
    Recorded,
    Dropped,
}

pub(in crate::archive) fn fate(name: &[u8]) -> Fate {
    const OBEYED: [&[u8]; 4] = [
        b"user.overlay.",
        b"user.fuseoverlayfs.",
        b"user.containers.",
        b"user.rootlesscontainers",
    ];
    const RECORDED: [&[u8]; 3] = [
        b"security.capability",
        b"system.posix_acl_access",
        b"system.posix_acl_default",
    ];
    let kept = name.starts_with(b"user.") && !OBEYED.iter().any(|obeyed| name.starts_with(obeyed));
    if kept {
        Fate::Kept
    } else if RECORDED.contains(&name) {
        Fate::Recorded
    } else {
        Fate::Dropped
    }
}

/// The mode that something gets: no setuid or setgid, sticky for directories alone (it is what
/// keeps `/tmp` from being everyone's), and its owner can read it, and use it if it is a directory:
/// the store must be able to read what it holds.
pub(super) fn mode(kind: Kind, said: u32) -> u32 {
    match kind {
        Kind::Directory => said & 0o1777 | 0o700,
        _ => said & 0o777 | 0o400,
    }
}

impl Merge {
    /// What a member would be, if it could.
    pub(super) fn owned(&mut self, member: &Member) -> Result<Owned, MemberError> {
        const SETID: u32 = 0o6000;
        let (Some(uid), Some(gid)) = (member.uid, member.gid) else {
            return Err(MemberError::Refused("its owner is not a number"));
        };
        let said = match member.kind {
            // A symlink has no mode, and a hard link has that of its target.
            Kind::Symlink | Kind::HardLink => false,
            kind => member.device.is_some() || member.mode != mode(kind, member.mode),
        };
        if said && member.mode & SETID != 0 {
            self.dropped.setids += 1;
        }
        let recorded = member
            .xattrs
            .iter()
            .filter(|(name, _)| fate(name) == Fate::Recorded)
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.clone()));
        let owned = Owned {
            uid,
            gid,
            mode: said.then_some(member.mode),
            device: None,
            xattrs: recorded.collect(),
        };
        let dropped = |name: &&Vec<u8>| fate(name) != Fate::Kept;
        self.dropped.xattrs += member.xattrs.keys().filter(dropped).count() as u64;
        Ok(owned)
    }

    /// Gives a directory of the walk's place its mode, and these extended attributes alone.
    pub(super) fn attributes_of_dir(
        &mut self,
        name: &[u8],
        mode: u32,
        xattrs: &Xattrs,
    ) -> Result<(), FsError> {
        let failed = self.walk.failed("open", name);
        let dir = self.walk.open_dir(name)?.ok_or(Errno::ENOENT);
        let dir = dir.map_err(failed)?;
        fchmod(&dir, Mode::from_bits_truncate(mode)).map_err(self.walk.failed("chmod", name))?;
        clear_xattrs(dir.as_fd()).map_err(self.walk.failed("removexattr", name))?;
        self.set_xattrs(dir.as_fd(), name, xattrs)
    }

    /// Sets those of the attributes that are kept. Where the file system has none, or no room for
    /// them, they are dropped: an image is of use without.
    pub(super) fn set_xattrs(
        &mut self,
        fd: BorrowedFd<'_>,
        name: &[u8],
        xattrs: &Xattrs,
    ) -> Result<(), FsError> {
        for (key, value) in xattrs {
            if fate(key) != Fate::Kept {
                continue;
            }
            let set = CString::new(&key[..])
                .map_err(|_| Errno::EINVAL)
                .and_then(|key| xattr::set_of(fd, &key, value));
            match set {
                Ok(()) => {}
                Err(
                    Errno::ENOTSUP
                    | Errno::ENOSPC
                    | Errno::E2BIG
                    | Errno::ERANGE
                    | Errno::EINVAL
                    | Errno::EPERM,
                ) => self.dropped.xattrs += 1,
                Err(errno) => return Err(self.walk.failed("setxattr", name)(errno)),
            }
        }
        Ok(())
    }
}

/// Takes away the attributes that a layer may have given.
pub(super) fn clear_xattrs(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    for name in xattr::list_of(fd)? {
        if fate(name.to_bytes()) == Fate::Kept {
            xattr::remove_of(fd, &name)?;
        }
    }
    Ok(())
}

/// Copies the attributes that a layer may have given.
pub(super) fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    for name in xattr::list_of(from)? {
        if fate(name.to_bytes()) == Fate::Kept {
            xattr::set_of(to, &name, &xattr::get_of(from, &name)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlays_obey_is_dropped_and_what_programs_wrote_is_kept() {
        let table = [
            ("user.mime_type", Fate::Kept),
            ("user.overlayx", Fate::Kept),
            ("user.pax.flags", Fate::Kept),
            ("user.overlay.opaque", Fate::Dropped),
            ("user.overlay.whiteout", Fate::Dropped),
            ("user.fuseoverlayfs.opaque", Fate::Dropped),
            ("user.containers.override_stat", Fate::Dropped),
            ("user.rootlesscontainers", Fate::Dropped),
            ("trusted.overlay.opaque", Fate::Dropped),
            ("security.selinux", Fate::Dropped),
            ("security.capability", Fate::Recorded),
            ("system.posix_acl_access", Fate::Recorded),
            ("user", Fate::Dropped),
            ("", Fate::Dropped),
        ];
        for (name, expected) in table {
            assert_eq!(fate(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn modes_are_what_the_store_can_have() {
        use Kind::{Directory, File};
        let table = [
            (Directory, 0o1777, 0o1777),
            (Directory, 0o2775, 0o775),
            (Directory, 0o555, 0o755),
            (Directory, 0, 0o700),
            (File, 0o4755, 0o755),
            (File, 0o6711, 0o711),
            (File, 0o1644, 0o644),
            (File, 0, 0o400),
        ];
        for (kind, said, given) in table {
            assert_eq!(mode(kind, said), given, "{kind:?} {said:o}");
        }
    }
}
