//! Extraction: what an archive says becomes files, as far as it may.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::sys::stat::futimens;

use super::changeset::Owned;
use super::members::{End, Kind, Member, Members};
use super::pax::Time;
use super::tree::{Tree, TreeError, spec};
use super::{ArchiveError, name};

/// How far an archive is trusted. Neither can write outside its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A package or layer of a root file system. Its names are relative to the root whatever they
    /// begin with; symlinks resolve inside the root, those of earlier layers too; what is there
    /// is replaced, except that a directory reached through a symlink stays; device nodes and
    /// pipes are skipped. Several may be extracted into one root at the same time.
    Layer,
    /// A source or artifact tarball, into a fresh directory: no absolute name, nothing twice,
    /// nothing through a symlink, no device nodes and pipes.
    Sealed,
}

/// What an archive may take up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Members.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            bytes: 16 << 30,
        }
    }
}

impl Limits {
    /// For an archive of so many compressed bytes: a hundred times that, which no compressor
    /// reaches on a tree of software, and at least 512 MiB.
    pub fn for_compressed(bytes: u64) -> Self {
        Self {
            bytes: bytes.saturating_mul(100).max(512 << 20),
            ..Self::default()
        }
    }
}

/// Where and how to extract.
#[derive(Debug, Clone)]
pub struct Extract<'a> {
    /// The directory; it must be there.
    pub into: &'a Path,
    /// How far the archive is trusted.
    pub trust: Trust,
    /// How many leading parts of each name to drop. What has no more than those is dropped if it
    /// is a directory, and an error otherwise.
    pub strip: usize,
    /// What it may take up.
    pub limits: Limits,
    /// Whether [`Extracted::paths`] and [`Extracted::owned`] are wanted.
    pub list: bool,
}

impl<'a> Extract<'a> {
    /// Everything, within the usual limits, without a list.
    pub fn new(into: &'a Path, trust: Trust) -> Self {
        Self {
            into,
            trust,
            strip: 0,
            limits: Limits::default(),
            list: false,
        }
    }
}

/// What was extracted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// Members of the archive.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Device nodes and pipes that were left out.
    pub skipped: u64,
    /// The newest member's time, in seconds since 1970; 0 if there is no member.
    pub newest_mtime: i64,
    /// What was extracted, in the archive's order, relative to the root and without dots; the
    /// root itself is left out. Empty unless [`Extract::list`] was set.
    pub paths: Vec<PathBuf>,
    /// What files and directories would be that are not root's or have a mode that was not given
    /// to them (setuid, say), and every directory with another mode than 755: with its mode. As
    /// empty as that.
    pub owned: Vec<(Vec<u8>, Owned)>,
}

/// Extracts a (decompressed) tar archive: ustar, pax or GNU. Modes keep their permission bits,
/// the owner can always read files and use directories; setuid, setgid, owners and extended
/// attributes are dropped; times are kept. Reads the stream to its end, so that a checksum at the
/// end of a compressed one is checked; nothing is synced.
pub fn extract(reader: impl Read, how: &Extract<'_>) -> Result<Extracted, ArchiveError> {
    let Extract {
        into,
        trust,
        strip,
        limits,
        list,
    } = how;
    let mut members = Members::new(reader, limits, End::Marked);
    let mut extraction = Extraction {
        tree: Tree::open(into, *trust)?,
        trust: *trust,
        strip: *strip,
        directories: BTreeMap::new(),
        newest: None,
        skipped: 0,
        paths: list.then(Vec::new),
        owned: Vec::new(),
    };
    while let Some(member) = members.next()? {
        extraction
            .member(&member, &mut members)
            .map_err(|error| error.of(&member))?;
    }
    extraction.finish(members.entries(), members.bytes())
}

struct Extraction {
    tree: Tree,
    trust: Trust,
    strip: usize,
    /// The directories that the archive names, with what becomes of them when nothing more is
    /// put into them: putting something in changes their time, and may need rights they lack.
    directories: BTreeMap<Vec<u8>, (u32, Time)>,
    newest: Option<i64>,
    skipped: u64,
    paths: Option<Vec<PathBuf>>,
    owned: Vec<(Vec<u8>, Owned)>,
}

/// A failure that does not yet know which member it is of.
pub(super) enum MemberError {
    Refused(&'static str),
    Other(ArchiveError),
}

impl From<TreeError> for MemberError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Refused(why) => Self::Refused(why),
            TreeError::Fs(error) => Self::Other(error.into()),
        }
    }
}

impl From<ArchiveError> for MemberError {
    fn from(error: ArchiveError) -> Self {
        Self::Other(error)
    }
}

impl MemberError {
    pub(super) fn of(self, member: &Member) -> ArchiveError {
        match self {
            Self::Refused(why) => ArchiveError::Refused {
                member: name::shown(&member.name),
                why,
            },
            Self::Other(error) => error,
        }
    }
}

/// What a member would be, if that is worth being said. A hard link is what its target is, and
/// whose a symlink is makes no difference to anyone.
fn owned(member: &Member) -> Option<Owned> {
    let mode = member.mode & 0o7777;
    let is_plain = match member.kind {
        Kind::File => mode == mode & 0o777 | 0o400,
        Kind::Directory => mode == 0o755,
        Kind::Symlink | Kind::HardLink | Kind::Special => return None,
    };
    // Names that are no numbers are root's, as tar takes them that knows none of them.
    let (uid, gid) = (member.uid.unwrap_or(0), member.gid.unwrap_or(0));
    (!is_plain || uid != 0 || gid != 0).then(|| Owned {
        uid,
        gid,
        mode: Some(mode),
        ..Owned::default()
    })
}

impl Extraction {
    fn member<R: Read>(
        &mut self,
        member: &Member,
        members: &mut Members<'_, R>,
    ) -> Result<(), MemberError> {
        let path = name::path(&member.name, self.trust, self.strip);
        let Some(path) = path.map_err(MemberError::Refused)? else {
            return match member.kind {
                Kind::Directory => Ok(()),
                _ => Err(MemberError::Refused("it lies outside the top directory")),
            };
        };
        match member.kind {
            Kind::File => {
                let file = self.tree.file(&path, member.mode)?;
                self.fill(&file, &path, member.mtime, members)?;
            }
            Kind::Directory => self.directory(&path, member)?,
            Kind::Symlink => {
                if member.link.is_empty() || member.link.len() >= 4096 {
                    return Err(MemberError::Refused("its target is empty or too long"));
                }
                self.tree.symlink(&path, &member.link, member.mtime)?;
            }
            Kind::HardLink => {
                let target = name::path(&member.link, self.trust, self.strip)
                    .ok()
                    .flatten()
                    .filter(|target| !target.is_empty());
                let target = target.ok_or(MemberError::Refused("it links outside"))?;
                self.tree.hard_link(&path, &target)?;
            }
            Kind::Special if self.trust == Trust::Layer => {
                self.skipped += 1;
                return Ok(());
            }
            Kind::Special => {
                return Err(MemberError::Refused("it is a device node or a pipe"));
            }
        }
        self.newest = self.newest.max(Some(member.mtime.0));
        if let Some(paths) = &mut self.paths
            && !path.is_empty()
        {
            let owned = owned(member).map(|owned| (path.clone(), owned));
            self.owned.extend(owned);
            paths.push(PathBuf::from(OsString::from_vec(path)));
        }
        Ok(())
    }

    fn directory(&mut self, path: &[u8], member: &Member) -> Result<(), MemberError> {
        self.tree.directory(path, member.mode)?;
        let before = self
            .directories
            .insert(path.to_vec(), (member.mode, member.mtime));
        match (before, self.trust) {
            (Some(_), Trust::Sealed) => Err(MemberError::Refused("it comes twice")),
            _ => Ok(()),
        }
    }

    fn fill<R: Read>(
        &self,
        mut file: &std::fs::File,
        path: &[u8],
        mtime: Time,
        members: &mut Members<'_, R>,
    ) -> Result<(), ArchiveError> {
        loop {
            let data = members.data()?;
            if data.is_empty() {
                break;
            }
            file.write_all(data)
                .map_err(self.tree.error("write", path))?;
        }
        let time = spec(mtime);
        futimens(file, &time, &time).map_err(self.tree.error("utimensat", path))?;
        Ok(())
    }

    fn finish(self, entries: u64, bytes: u64) -> Result<Extracted, ArchiveError> {
        for (path, (mode, mtime)) in self.directories.iter().rev() {
            self.tree
                .finish_directory(path, *mode, *mtime)
                .map_err(|error| match error {
                    TreeError::Refused(why) => ArchiveError::Refused {
                        member: name::shown(path),
                        why,
                    },
                    TreeError::Fs(error) => error.into(),
                })?;
        }
        Ok(Extracted {
            entries,
            bytes,
            skipped: self.skipped,
            newest_mtime: self.newest.unwrap_or(0),
            paths: self.paths.unwrap_or_default(),
            owned: self.owned,
        })
    }
}
