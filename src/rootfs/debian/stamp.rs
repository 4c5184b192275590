//! What packages say of their members, and one user cannot do: written on the files before the
//! packages' scripts run, who may rename, copy or remove them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstatat};

use super::dpkg::Unpacked;
use crate::archive::Owned;
use crate::model::Stamp;
use crate::rootfs::owners::{Below, seen_below};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::inroot::{self, Links};
use crate::sys::xattr;

/// Writes on the files of `tree`, into which `packages` were unpacked, what they say of them; on
/// directories that layers below have too, what those say: dpkg leaves what is there as it is.
pub(super) fn stamp(tree: &Path, packages: &[Unpacked], below: &[Below]) -> Result<(), FsError> {
    let stamping = Stamping {
        tree,
        root: sysfs::open(tree)?.into(),
    };
    for (path, owned) in said(packages) {
        stamping.member(path, &owned)?;
    }
    if !below.is_empty() {
        stamping.inherit(below)?;
    }
    Ok(())
}

/// What becomes of each member that is not plain. Of a directory the package that comes first says
/// it, as with dpkg.
fn said(packages: &[Unpacked]) -> BTreeMap<&[u8], Owned> {
    let all = || packages.iter().flat_map(|package| &package.owned);
    let special: HashSet<&[u8]> = all().map(|(path, _)| &path[..]).collect();
    let mut first: HashMap<&[u8], &Unpacked> = HashMap::new();
    for package in packages {
        for path in &package.paths {
            if special.contains(path.as_bytes()) {
                first.entry(path.as_bytes()).or_insert(package);
            }
        }
    }
    let of = |(path, package): (_, &Unpacked)| {
        let owned = package.owned.iter().find(|(special, _)| special == path);
        // Plain there, and not in a later package.
        let plain = || Owned {
            mode: Some(0o755),
            ..Owned::default()
        };
        (path, owned.map_or_else(plain, |(_, owned)| owned.clone()))
    };
    first.into_iter().map(of).collect()
}

struct Stamping<'a> {
    tree: &'a Path,
    root: OwnedFd,
}

impl Stamping<'_> {
    fn member(&self, path: &[u8], owned: &Owned) -> Result<(), FsError> {
        let at = Path::new(OsStr::from_bytes(path));
        let (parent, name) = (
            at.parent().unwrap_or(at),
            at.file_name().unwrap_or_default(),
        );
        let parent = match inroot::open(self.root.as_fd(), parent, Links::Inside) {
            Err(error) if error.errno == Errno::ENOENT => return Ok(()),
            opened => opened.map_err(|error| self.failed(at, "open", error.errno))?,
        };
        // A configuration file waits beside its place.
        let mut beside = name.to_owned();
        beside.push(".dpkg-new");
        for name in [name, &beside] {
            if self.put(&parent, name, at, owned)? {
                break;
            }
        }
        Ok(())
    }

    /// What is called `name` in `parent` becomes what `owned` says; `false` if nothing is.
    fn put(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        at: &Path,
        owned: &Owned,
    ) -> Result<bool, FsError> {
        let failed = |call| move |errno| self.failed(at, call, errno);
        let stat = match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(false),
            stat => stat.map_err(failed("lstat"))?,
        };
        let write = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => 0o600,
            libc::S_IFDIR => 0o700,
            // A directory that became a symlink to one, say.
            _ => return Ok(true),
        };
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(parent, name, flags, Mode::empty()).map_err(failed("open"))?;
        let bits = Mode::from_bits_truncate;
        let stamp = Stamp::of(owned.uid, owned.gid);
        if (owned.uid, owned.gid) != (0, 0) {
            fchmod(&file, bits(write)).map_err(failed("chmod"))?;
            let text = stamp.to_string();
            xattr::set_of(file.as_fd(), Stamp::ATTRIBUTE, text.as_bytes())
                .map_err(failed("setxattr"))?;
        }
        let mode = owned.mode.unwrap_or(stat.st_mode) & 0o7777;
        fchmod(&file, bits(mode)).map_err(failed("chmod"))?;
        Ok(true)
    }

    fn inherit(&self, below: &[Below]) -> Result<(), FsError> {
        let mut open = vec![PathBuf::new()];
        while let Some(dir) = open.pop() {
            let path = self.tree.join(&dir);
            let Some((owned, there)) = seen_below(below, dir.as_os_str().as_bytes()) else {
                continue; // new, and so is all below it
            };
            let said = Owned {
                mode: owned.mode.or(Some(there.mode() & 0o7777)),
                ..owned
            };
            let here = std::fs::symlink_metadata(&path).map_err(FsError::new("lstat", &path))?;
            let is_plain = (said.uid, said.gid) == (0, 0);
            let is_so = is_plain && said.mode == Some(here.mode() & 0o7777);
            if !dir.as_os_str().is_empty() && !is_so {
                self.member(dir.as_os_str().as_bytes(), &said)?;
            }
            for entry in std::fs::read_dir(&path).map_err(FsError::new("readdir", &path))? {
                let entry = entry.map_err(FsError::new("readdir", &path))?;
                let kind = entry.file_type().map_err(FsError::new("lstat", &path))?;
                if kind.is_dir() {
                    open.push(dir.join(entry.file_name()));
                }
            }
        }
        Ok(())
    }

    fn failed(&self, at: &Path, call: &'static str, errno: Errno) -> FsError {
        FsError::new(call, &self.tree.join(at))(errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn owned(gid: u32, mode: u32) -> Owned {
        Owned {
            gid,
            mode: Some(mode),
            ..Owned::default()
        }
    }

    fn package(paths: &[&str], owned: &[(&str, Owned)]) -> Unpacked {
        Unpacked {
            name: "a".to_owned(),
            arch: "all".to_owned(),
            control: BTreeMap::new(),
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
            owned: owned
                .iter()
                .map(|(path, owned)| (path.as_bytes().to_vec(), owned.clone()))
                .collect(),
        }
    }

    #[test]
    fn the_first_package_says_what_a_directory_is() {
        let packages = [
            package(&["d", "d/f"], &[("d/f", owned(42, 0o2755))]),
            package(
                &["d", "e"],
                &[("d", owned(8, 0o2775)), ("e", owned(5, 0o700))],
            ),
            package(&["e"], &[("e", owned(0, 0o711))]),
        ];
        let said = said(&packages);
        let found: Vec<_> = said.iter().map(|(path, owned)| (*path, owned)).collect();
        let expected = [
            (&b"d"[..], &owned(0, 0o755)),
            (b"d/f", &owned(42, 0o2755)),
            (b"e", &owned(5, 0o700)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_said_is_put_where_the_files_are_by_now() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tree = dir.path();
        std::fs::create_dir_all(tree.join("usr/bin")).expect("mkdir");
        std::os::unix::fs::symlink("usr/bin", tree.join("bin")).expect("symlink");
        for name in ["usr/bin/su", "usr/bin/conf.dpkg-new", "usr/bin/ro"] {
            std::fs::write(tree.join(name), "x").expect("write");
        }
        let paths = ["bin/su", "bin/conf", "bin/ro", "bin/gone", "bin"];
        let all = [
            ("bin/su", owned(0, 0o4755)),
            ("bin/conf", owned(42, 0o440)),
            ("bin/ro", owned(7, 0o400)),
            ("bin/gone", owned(7, 0o400)),
            ("bin", owned(7, 0o2770)),
        ];
        stamp(tree, &[package(&paths, &all)], &[]).expect("stamped");
        let mode = |name: &str| {
            let found = std::fs::symlink_metadata(tree.join(name)).expect(name);
            found.permissions().mode() & 0o7777
        };
        let value = |name: &str| xattr::get(&tree.join(name), Stamp::ATTRIBUTE).expect(name);
        assert_eq!(mode("usr/bin/su"), 0o4755);
        assert_eq!(value("usr/bin/su"), None);
        assert_eq!(mode("usr/bin/conf.dpkg-new"), 0o440);
        assert_eq!(value("usr/bin/conf.dpkg-new"), Some(b"0:42".to_vec()));
        assert_eq!(mode("usr/bin/ro"), 0o400);
        assert_eq!(value("usr/bin/ro"), Some(b"0:7".to_vec()));
        // What the package has as a directory is a symlink here, and its target another's.
        assert_eq!((mode("usr/bin"), value("usr/bin")), (0o755, None));
    }
}
