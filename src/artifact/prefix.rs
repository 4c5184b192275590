//! What is done to a prefix between the build's last step and its proof: prune, link, relink.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::rules::{Place, place_of};
use super::tree::{DEPTH_LIMIT, Kind, Tree, TreeError, names, open_dir};
use crate::model::{Glob, GuestPath, Link};
use crate::sys::fs::FsError;

/// Why a prefix could not be put in order.
#[derive(Debug, thiserror::Error)]
pub enum PrefixError {
    /// It cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A link is wanted where something else is.
    #[error("the link {link} cannot be made: the build has put something else there")]
    Occupied {
        /// The link, as the formula has it.
        link: Link,
    },
    /// A link is wanted to what is not there.
    #[error("the link {link} cannot be made: it would point at nothing in the prefix")]
    NoTarget {
        /// The link, as the formula has it.
        link: Link,
    },
    /// A link's path or target is not a relative path that stays in the prefix.
    #[error("the link {link} cannot be made: both sides must be relative and stay in the prefix")]
    Leaves {
        /// The link, as the formula has it.
        link: Link,
    },
    /// Something to be removed lies too deep.
    #[error("{} lies more than {DEPTH_LIMIT} directories deep", path.display())]
    TooDeep {
        /// The path below the prefix.
        path: PathBuf,
    },
}

/// What [`prune`] took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Files, links and directories.
    pub entries: u64,
    /// Bytes of the regular files among them.
    pub bytes: u64,
}

/// Removes from the prefix whatever a glob matches, directories with all they hold. Walks by
/// directory descriptors and follows no symlink: a link that matches goes, its target stays.
pub fn prune(prefix: &Path, globs: &[Glob]) -> Result<Pruned, PrefixError> {
    let root = open_dir(nix::fcntl::AT_FDCWD, prefix).map_err(FsError::new("open", prefix))?;
    let mut walk = Prune {
        prefix,
        globs,
        pruned: Pruned::default(),
    };
    if !globs.is_empty() {
        walk.directory(root, Path::new(""), false, 0)?;
    }
    Ok(walk.pruned)
}

struct Prune<'a> {
    prefix: &'a Path,
    globs: &'a [Glob],
    pruned: Pruned,
}

impl Prune<'_> {
    fn directory(
        &mut self,
        fd: OwnedFd,
        below: &Path,
        all: bool,
        depth: usize,
    ) -> Result<(), PrefixError> {
        let mut dir = Dir::from_fd(fd).map_err(self.failed("opendir", below))?;
        let names = names(&mut dir).map_err(self.failed("readdir", below))?;
        for name in names {
            let path = below.join(OsStr::from_bytes(name.to_bytes()));
            let goes = all || self.globs.iter().any(|glob| glob.matches(&path));
            self.entry(dir.as_fd(), &name, path, goes, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CString,
        path: PathBuf,
        goes: bool,
        depth: usize,
    ) -> Result<(), PrefixError> {
        let stat = fstatat(dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(self.failed("lstat", &path))?;
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        if kind != SFlag::S_IFDIR {
            if goes {
                unlinkat(dir, name.as_c_str(), UnlinkatFlags::NoRemoveDir)
                    .map_err(self.failed("unlink", &path))?;
                self.pruned.entries += 1;
                if kind == SFlag::S_IFREG {
                    self.pruned.bytes += u64::try_from(stat.st_size).unwrap_or(0);
                }
            }
            return Ok(());
        }
        if depth + 1 == DEPTH_LIMIT {
            // What stays is for the rules to report.
            return if goes {
                Err(PrefixError::TooDeep { path })
            } else {
                Ok(())
            };
        }
        if goes && stat.st_mode & 0o700 != 0o700 {
            // It is a directory, no link, and nobody else is at work in here any more.
            fchmodat(
                dir,
                name.as_c_str(),
                Mode::S_IRWXU,
                FchmodatFlags::FollowSymlink,
            )
            .map_err(self.failed("chmod", &path))?;
        }
        match open_dir(dir, Path::new(OsStr::from_bytes(name.to_bytes()))) {
            Ok(fd) => self.directory(fd, &path, goes, depth + 1)?,
            // It stays; the rules report that it cannot be read.
            Err(Errno::EACCES) if !goes => return Ok(()),
            Err(errno) => return Err(self.failed("open", &path)(errno).into()),
        }
        if goes {
            unlinkat(dir, name.as_c_str(), UnlinkatFlags::RemoveDir)
                .map_err(self.failed("rmdir", &path))?;
            self.pruned.entries += 1;
        }
        Ok(())
    }

    fn failed(&self, call: &'static str, below: &Path) -> impl FnOnce(Errno) -> FsError + use<> {
        let path = self.prefix.join(below);
        move |errno| FsError::new(call, &path)(errno)
    }
}

/// Makes the symlinks that a formula wants. Nothing is replaced; a link that is there already and
/// holds the same is fine.
pub fn link(prefix: &Path, links: &[Link]) -> Result<(), PrefixError> {
    for link in links {
        let tree = Tree::read(prefix)?;
        let path = Path::new(&link.path);
        let plain = |path: &Path| {
            path.components()
                .all(|component| matches!(component, Component::Normal(_)))
        };
        if !plain(path) || link.path.is_empty() || link.to.is_empty() {
            return Err(PrefixError::Leaves { link: link.clone() });
        }
        match tree.get(path).map(|node| &node.kind) {
            None => {}
            Some(Kind::Link(to)) if to == OsStr::new(&link.to) => continue,
            Some(_) => return Err(PrefixError::Occupied { link: link.clone() }),
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        match place_of(&tree, parent, Path::new(&link.to)) {
            Place::Inside(_) => {}
            Place::Nowhere | Place::Loop => {
                return Err(PrefixError::NoTarget { link: link.clone() });
            }
            Place::Outside => return Err(PrefixError::Leaves { link: link.clone() }),
        }
        let dir = parent_of(prefix, parent)?;
        let name = path.file_name().unwrap_or_default();
        symlinkat(Path::new(&link.to), dir, name)
            .map_err(FsError::new("symlink", &prefix.join(path)))?;
    }
    Ok(())
}

/// Makes absolute symlinks that point into the prefix relative, so that they still hold when the
/// prefix is unpacked elsewhere, and gives the paths of those it changed. Other absolute links are
/// left to the rules.
///
/// `make install` of many a package writes such links; they are meant well, and right only in the
/// one place that the prefix was built for.
pub fn relink(prefix: &Path, guest: &GuestPath) -> Result<Vec<PathBuf>, PrefixError> {
    let tree = Tree::read(prefix)?;
    let mut changed = Vec::new();
    for (path, node) in tree.nodes() {
        let Kind::Link(to) = &node.kind else { continue };
        let Some(relative) = relative_target(path, Path::new(to), guest) else {
            continue;
        };
        let dir = parent_of(prefix, path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or_default();
        let whole = prefix.join(path);
        // No need to be atomic: a prefix that is still being put in order is lost with its scratch.
        unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir).map_err(FsError::new("unlink", &whole))?;
        symlinkat(relative.as_path(), &dir, name).map_err(FsError::new("symlink", &whole))?;
        changed.push(path.clone());
    }
    Ok(changed)
}

/// What the link at `path` below the prefix must hold to say relatively what it says absolutely.
/// `None` if it does not point into the prefix, or goes up on its way.
fn relative_target(path: &Path, to: &Path, guest: &GuestPath) -> Option<PathBuf> {
    if !to.is_absolute() || to.components().any(|c| c == Component::ParentDir) {
        return None;
    }
    let inner = to.strip_prefix(guest.as_str()).ok()?;
    let mut relative = PathBuf::new();
    let up = path
        .parent()
        .map_or(0, |parent| parent.components().count());
    for _ in 0..up {
        relative.push("..");
    }
    relative.push(inner);
    if relative.as_os_str().is_empty() {
        relative.push(".");
    }
    Some(relative)
}

/// The directory `below` of the prefix, opened component by component without following links.
fn parent_of(prefix: &Path, below: &Path) -> Result<OwnedFd, FsError> {
    let whole = prefix.join(below);
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut fd = open_dir(nix::fcntl::AT_FDCWD, prefix).map_err(FsError::new("open", prefix))?;
    for component in below.components() {
        fd = openat(&fd, component.as_os_str(), flags, Mode::empty())
            .map_err(FsError::new("open", &whole))?;
    }
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn globs(texts: &[&str]) -> Vec<Glob> {
        texts
            .iter()
            .map(|text| text.parse().expect("a glob"))
            .collect()
    }

    fn make(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, "12345").expect("write");
        }
    }

    #[test]
    fn what_matches_goes_and_is_counted_and_the_rest_stays() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let outside = dir.path().join("outside");
        make(&outside, &["kept"]);
        let prefix = dir.path().join("prefix");
        make(
            &prefix,
            &[
                "lib/python3.11/test/a.py",
                "lib/python3.11/test/deep/b.py",
                "lib/python3.11/os.py",
                "lib/python3.11/sqlite3/test/c.py",
                "share/x.la",
            ],
        );
        symlink(&outside, prefix.join("lib/python3.11/tests")).expect("symlink");
        symlink(&outside, prefix.join("lib/python3.11/test/out")).expect("symlink");
        let resists = prefix.join("lib/python3.11/test/deep");
        fs::set_permissions(&resists, fs::Permissions::from_mode(0o0)).expect("chmod");
        let pruned = prune(
            &prefix,
            &globs(&["lib/python*/test", "lib/python*/**/tests", "**/*.la"]),
        )
        .expect("pruned");
        // test, test/a.py, test/deep, test/deep/b.py, test/out, tests, x.la
        assert_eq!((pruned.entries, pruned.bytes), (7, 15));
        assert!(outside.join("kept").exists());
        assert!(prefix.join("lib/python3.11/os.py").exists());
        assert!(prefix.join("lib/python3.11/sqlite3/test/c.py").exists());
        assert!(!prefix.join("lib/python3.11/test").exists());
        assert!(fs::symlink_metadata(prefix.join("lib/python3.11/tests")).is_err());
    }

    #[test]
    fn a_directory_that_is_a_symlink_is_not_walked_through() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        make(dir.path(), &["outside/tests/kept", "prefix/bin/x"]);
        let prefix = dir.path().join("prefix");
        symlink("../outside", prefix.join("lib")).expect("symlink");
        let pruned = prune(&prefix, &globs(&["lib/tests", "lib/**"])).expect("pruned");
        assert_eq!(pruned, Pruned::default());
        assert!(dir.path().join("outside/tests/kept").exists());
    }

    #[test]
    fn links_are_made_and_nothing_is_replaced() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        make(dir.path(), &["bin/python3.11", "lib/x", "bin/taken"]);
        let link_to = |path: &str, to: &str| {
            let link_ = Link {
                path: path.to_owned(),
                to: to.to_owned(),
            };
            link(dir.path(), &[link_])
        };
        link_to("bin/python3", "python3.11").expect("linked");
        link_to("bin/python", "python3").expect("linked");
        link_to("bin/python", "python3").expect("it is there already");
        link_to("bin/x", "../lib/x").expect("linked");
        let to = fs::read_link(dir.path().join("bin/python")).expect("a link");
        assert_eq!(to, Path::new("python3"));
        for path in ["bin/taken", "bin/python"] {
            assert!(matches!(
                link_to(path, "python3.11"),
                Err(PrefixError::Occupied { .. })
            ));
        }
        assert!(matches!(
            link_to("bin/y", "none"),
            Err(PrefixError::NoTarget { .. })
        ));
        for (path, to) in [
            ("../y", "x"),
            ("/y", "x"),
            ("", "x"),
            ("bin/y", "/etc"),
            ("bin/y", "../../x"),
            ("bin/y", ""),
        ] {
            let found = link_to(path, to);
            assert!(
                matches!(found, Err(PrefixError::Leaves { .. })),
                "{path} {to}"
            );
        }
    }

    #[test]
    fn a_link_is_not_made_through_a_symlink_that_leads_out() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        make(dir.path(), &["prefix/x", "outside/x"]);
        let prefix = dir.path().join("prefix");
        symlink("../outside", prefix.join("bin")).expect("symlink");
        let link_ = Link {
            path: "bin/python".to_owned(),
            to: "x".to_owned(),
        };
        assert!(link(&prefix, &[link_]).is_err());
        assert!(fs::symlink_metadata(dir.path().join("outside/python")).is_err());
    }

    #[test]
    fn absolute_links_into_the_prefix_become_relative() {
        let guest: GuestPath = "/app/.heroku/python".parse().expect("a path");
        let table = [
            (
                "bin/python",
                "/app/.heroku/python/bin/python3",
                Some("../bin/python3"),
            ),
            ("top", "/app/.heroku/python/lib", Some("lib")),
            ("top", "/app/.heroku/python", Some(".")),
            ("a/b/c", "/app/.heroku/python", Some("../..")),
            ("a", "/app/.heroku/python3/x", None),
            ("a", "/etc/passwd", None),
            ("a", "/app/.heroku/python/../../x", None),
            ("a", "b", None),
        ];
        for (path, to, expected) in table {
            assert_eq!(
                relative_target(Path::new(path), Path::new(to), &guest),
                expected.map(PathBuf::from),
                "{path} {to}"
            );
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        make(dir.path(), &["bin/python3"]);
        symlink(
            "/app/.heroku/python/bin/python3",
            dir.path().join("bin/python"),
        )
        .expect("symlink");
        symlink("/etc/passwd", dir.path().join("bin/out")).expect("symlink");
        let changed = relink(dir.path(), &guest).expect("relinked");
        assert_eq!(changed, [PathBuf::from("bin/python")]);
        assert!(dir.path().join("bin/python").exists());
        assert_eq!(
            fs::read_dir(dir.path().join("bin"))
                .expect("readdir")
                .count(),
            3
        );
        let out = fs::read_link(dir.path().join("bin/out")).expect("a link");
        assert_eq!(out, Path::new("/etc/passwd"));
    }
}
