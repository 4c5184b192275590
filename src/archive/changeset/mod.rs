//! Layers of an image, applied one after the other to one tree, as the OCI image specification
//! says (layer.md, "Applying Changesets").
//!
//! ```text
//! meaning of a name (`whiteout`) ─▶ where it leads (`walk`) ─▶ put there (`put`)
//!                                                          └▶ taken away (`remove`)
//! ```
//!
//! Everything in the tree belongs to whoever applies the layers. What that cannot express is dropped
//! and recorded ([`Ownership`]). What an entry would be put over is removed first, whatever it is;
//! only a directory over a directory keeps what it holds. So nothing that is there is ever written
//! to, and a file may be shared with another tree by hard link.
//!
//! A whiteout takes away what lower layers have, wherever in its layer it comes. It cannot do so
//! any more once its own layer has written through the symlink that it takes away; that is refused.
//!
//! The same layers give the same tree, times included: a directory has the time that its entry
//! says, or that of the layer below, or zero if no entry names it.

mod attributes;
mod base;
mod ownership;
mod put;
mod remove;
mod walk;
mod whiteout;

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{UtimensatFlags, utimensat};

use super::extract::MemberError;
use super::members::{End, Kind, Member, Members};
use super::pax::Time;
use super::tree::{TreeError, spec, split};
use super::{ArchiveError, Limits, Trust, name, pipe};
use crate::model::Sha256;
use crate::sys::fs::FsError;

pub(super) use attributes::{Fate, fate};
pub use ownership::{DeviceNode, Owned, Ownership};
use walk::{Missing, Walk};
pub(super) use whiteout::{Meaning, meaning};

/// A tree that layers are being applied to, the lowest first. If one fails, the tree is of no use.
pub struct Merge {
    walk: Walk,
    /// Where hard links lead: a walk of its own, so that the other stays where it is.
    links: Walk,
    ownership: Ownership,
    /// Every directory of the tree, and the time that it gets at the end: what is put into it
    /// changes it until then.
    times: BTreeMap<Vec<u8>, Time>,
    /// Whether there is anything from below this layer.
    above: bool,
    /// What this layer has put there.
    touched: HashSet<Vec<u8>>,
    /// The symlinks through which this layer has put something.
    followed: HashSet<Vec<u8>>,
    dropped: Dropped,
}

/// What of a layer is not in the tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Device nodes.
    pub devices: u64,
    /// Files and directories with setuid or setgid bits.
    pub setids: u64,
    /// Extended attributes.
    pub xattrs: u64,
}

/// A layer that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The digest of its decompressed bytes: what the image's configuration calls its diff id.
    pub diff_id: Sha256,
    /// Its members.
    pub entries: u64,
    /// Bytes of all its files together.
    pub bytes: u64,
    /// What of it is not in the tree. [`Ownership`] has the devices, the modes, and of the
    /// attributes the capabilities and access lists.
    pub dropped: Dropped,
}

impl Merge {
    /// Begins with nothing. The directory must be empty.
    pub fn new(into: &Path) -> Result<Self, ArchiveError> {
        let mut this = Self {
            walk: Walk::open(into)?,
            links: Walk::open(into)?,
            ownership: Ownership::default(),
            times: BTreeMap::from([(Vec::new(), (0, 0))]),
            above: false,
            touched: HashSet::new(),
            followed: HashSet::new(),
            dropped: Dropped::default(),
        };
        let root = this.walk.open_dir(b"")?.ok_or(Errno::ENOENT);
        let root = root.map_err(FsError::new("open", into))?;
        if !remove::names(root)
            .map_err(FsError::new("readdir", into))?
            .is_empty()
        {
            return Err(FsError::new("open", into)(Errno::ENOTEMPTY).into());
        }
        this.attributes_of_dir(b"", 0o755, &BTreeMap::new())?;
        Ok(this)
    }

    /// Applies the next layer: a tar archive, plain or compressed. Decompression and hashing have
    /// threads of their own. The caller compares the digest before it uses the tree.
    pub fn apply(
        &mut self,
        blob: impl Read + Send,
        limits: &Limits,
    ) -> Result<Applied, ArchiveError> {
        self.touched.clear();
        self.followed.clear();
        self.dropped = Dropped::default();
        let ((entries, bytes), diff_id) = pipe::hashed(blob, |tar| {
            let mut members = Members::new(tar, limits, End::Anywhere);
            while let Some(member) = members.next()? {
                self.member(&member, &mut members)
                    .map_err(|error| error.of(&member))?;
            }
            Ok((members.entries(), members.bytes()))
        })?;
        self.above = true;
        Ok(Applied {
            diff_id,
            entries,
            bytes,
            dropped: self.dropped,
        })
    }

    /// Ends it: gives the directories their times. Nothing is synced.
    pub fn finish(mut self) -> Result<Ownership, ArchiveError> {
        for (path, time) in std::mem::take(&mut self.times) {
            let (dir, name) = split(&path);
            let failed = |error| match error {
                TreeError::Refused(why) => ArchiveError::Refused {
                    member: name::shown(&path),
                    why,
                },
                TreeError::Fs(error) => error.into(),
            };
            self.walk.go(dir, Missing::Leave).map_err(failed)?;
            let at = if name.is_empty() { b"." } else { name };
            let time = spec(time);
            let flags = UtimensatFlags::NoFollowSymlink;
            utimensat(self.walk.here(), at, &time, &time, flags)
                .map_err(self.walk.failed("utimensat", name))?;
        }
        Ok(self.ownership)
    }

    fn member<R: Read>(
        &mut self,
        member: &Member,
        members: &mut Members<'_, R>,
    ) -> Result<(), MemberError> {
        let path = name::path(&member.name, Trust::Layer, 0);
        let path = path.map_err(MemberError::Refused)?.unwrap_or_default();
        let (dir, name) = split(&path);
        match meaning(&path).map_err(MemberError::Refused)? {
            Meaning::Ignored => Ok(()),
            Meaning::Opaque => Ok(self.opaque(dir)?),
            Meaning::Whiteout(name) => Ok(self.whiteout(dir, name)?),
            Meaning::Entry if name.is_empty() && member.kind != Kind::Directory => {
                Err(MemberError::Refused("it would replace the root"))
            }
            Meaning::Entry => {
                self.go(dir, Missing::Make)?;
                self.entry(name, member, members)
            }
        }
    }

    /// Goes to the directory `text`, for an entry (which makes it) or for a whiteout (which does
    /// not): false if it is not there.
    fn go(&mut self, text: &[u8], missing: Missing) -> Result<bool, TreeError> {
        let Some(way) = self.walk.go(text, missing)? else {
            return Ok(false);
        };
        for made in way.made {
            self.times.insert(made.clone(), (0, 0));
            self.ownership.remove(&made); // it may have been a device
            self.touch(made);
        }
        let ours = |link: &Vec<u8>| self.touched.contains(link);
        match missing {
            // What lower layers had there is gone since the symlink is there. umoci writes such
            // whiteouts where a directory has become a symlink.
            Missing::Leave if way.followed.iter().any(ours) => Ok(false),
            Missing::Make if self.above => {
                self.followed.extend(way.followed);
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    /// Remembers that this layer has put something there.
    fn touch(&mut self, path: Vec<u8>) {
        if self.above {
            self.touched.insert(path);
        }
    }
}
