//! Paths inside a directory that someone else has filled: symlinks never lead out of it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use super::call::CallError;

/// As many symlinks as the kernel follows: `path_resolution(7)`.
const MOST_LINKS: u32 = 40;

/// What a symlink on the way means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It is resolved as if the directory were the root file system.
    Inside,
    /// It is an error (`ELOOP`).
    Refused,
}

/// Opens `path` below `root` with `O_PATH`: to be mounted on, or walked from.
pub fn open(root: BorrowedFd<'_>, path: &Path, links: Links) -> Result<OwnedFd, CallError> {
    open_with(root, path, links, OFlag::O_PATH)
}

fn open_with(
    root: BorrowedFd<'_>,
    path: &Path,
    links: Links,
    flags: OFlag,
) -> Result<OwnedFd, CallError> {
    let resolve = match links {
        Links::Inside => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        Links::Refused => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS,
    };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(resolve);
    loop {
        match openat2(root, path, how) {
            // The kernel could not rule out that a rename raced with a `..`: openat2(2) says to
            // try again.
            Err(Errno::EAGAIN) => {}
            Err(Errno::ENOSYS) => return walk(root, path, links, flags),
            result => return result.map_err(CallError::path("openat2", path)),
        }
    }
}

/// What `openat2(2)` does, step by step, for kernels before 5.6. A magic link of `/proc` is
/// followed as the text that it shows, which leads nowhere outside either.
fn walk(
    root: BorrowedFd<'_>,
    path: &Path,
    links: Links,
    flags: OFlag,
) -> Result<OwnedFd, CallError> {
    let failed = || CallError::path("openat", path);
    let step = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let here = || openat(root, ".", step, Mode::empty()).map_err(failed());
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut at = here()?;
    let mut left: VecDeque<OsString> = names(path).collect();
    let mut followed = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            at = match above.pop() {
                Some(parent) => parent,
                None => here()?,
            };
            continue;
        }
        let next = openat(&at, name.as_os_str(), step, Mode::empty()).map_err(failed())?;
        match kind(next.as_fd())? {
            SFlag::S_IFLNK => {
                followed += 1;
                if links == Links::Refused || followed > MOST_LINKS {
                    return Err(failed()(Errno::ELOOP));
                }
                let target = readlinkat(&next, "").map_err(CallError::path("readlinkat", path))?;
                let target = PathBuf::from(target);
                if target.is_absolute() {
                    above.clear();
                    at = here()?;
                }
                for name in names(&target).rev() {
                    left.push_front(name);
                }
            }
            SFlag::S_IFDIR => above.push(std::mem::replace(&mut at, next)),
            _ if left.is_empty() && !flags.contains(OFlag::O_DIRECTORY) => return Ok(next),
            _ => return Err(failed()(Errno::ENOTDIR)),
        }
    }
    Ok(at)
}

/// The components that lead somewhere else.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn kind(fd: BorrowedFd<'_>) -> Result<SFlag, CallError> {
    let stat = fstat(fd).map_err(CallError::new("fstat", "a descriptor"))?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT)
}

/// Opens a directory below `root`, making it and those above it if they are not there.
pub fn open_or_make_dir(
    root: BorrowedFd<'_>,
    path: &Path,
    links: Links,
) -> Result<OwnedFd, CallError> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match open_with(root, path, links, directory) {
        Err(error) if error.errno == Errno::ENOENT => {}
        result => return result,
    }
    let (parent, name) = make_parent(root, path, links)?;
    match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
        // Another sandbox with this root may have just made it.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(CallError::path("mkdirat", path)(errno)),
    }
    open_with(root, path, links, directory)
}

/// Opens what is at `path` below `root` if it is no directory, making an empty file if nothing is
/// there.
pub fn open_or_make_file(
    root: BorrowedFd<'_>,
    path: &Path,
    links: Links,
) -> Result<OwnedFd, CallError> {
    let found = match open(root, path, links) {
        Err(error) if error.errno == Errno::ENOENT => {
            let (parent, name) = make_parent(root, path, links)?;
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            openat(&parent, name, flags, Mode::from_bits_truncate(0o644))
                .map_err(CallError::path("openat", path))?;
            open(parent.as_fd(), name, Links::Refused)?
        }
        result => result?,
    };
    if is_dir(found.as_fd())? {
        return Err(CallError::path("open", path)(Errno::EISDIR));
    }
    Ok(found)
}

fn make_parent<'p>(
    root: BorrowedFd<'_>,
    path: &'p Path,
    links: Links,
) -> Result<(OwnedFd, &'p Path), CallError> {
    let name = path
        .file_name()
        .ok_or(Errno::ENOENT)
        .map_err(CallError::path("mkdirat", path))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => open_or_make_dir(root, parent, links)?,
        _ => open(root, Path::new("."), links)?,
    };
    Ok((parent, Path::new(name)))
}

/// Whether a descriptor refers to a directory.
pub fn is_dir(fd: BorrowedFd<'_>) -> Result<bool, CallError> {
    Ok(kind(fd)? == SFlag::S_IFDIR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    type Open = fn(BorrowedFd<'_>, &Path, Links, OFlag) -> Result<OwnedFd, CallError>;

    /// The kernel's way and ours must agree.
    const WAYS: [(&str, Open); 2] = [("openat2", open_with), ("walk", walk)];

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("usr/lib")).expect("mkdir");
        fs::create_dir_all(root.join("outside")).expect("mkdir");
        fs::create_dir(dir.path().join("outside")).expect("mkdir");
        fs::write(root.join("usr/lib/file"), "inside").expect("write");
        fs::write(root.join("outside/file"), "inside").expect("write");
        fs::write(dir.path().join("outside/file"), "outside").expect("write");
        let links = [
            ("usr/lib", "lib"),
            ("/usr/lib", "absolute"),
            ("../outside", "relative-out"),
            ("/../../outside", "absolute-out"),
            ("loop", "loop"),
            ("usr/lib/file", "to-file"),
        ];
        for (to, from) in links {
            symlink(to, root.join(from)).expect("symlink");
        }
        dir
    }

    #[test]
    fn symlinks_stay_inside_whichever_way_they_are_resolved() {
        use Links::{Inside, Refused};
        let dir = tree();
        let root = fs::File::open(dir.path().join("root")).expect("open");
        let table: [(&str, Links, Result<&str, Errno>); 14] = [
            ("usr/lib/file", Inside, Ok("inside")),
            ("lib/file", Inside, Ok("inside")),
            ("absolute/file", Inside, Ok("inside")),
            ("to-file", Inside, Ok("inside")),
            ("relative-out/file", Inside, Ok("inside")),
            ("absolute-out/file", Inside, Ok("inside")),
            ("../../outside/file", Inside, Ok("inside")),
            ("/usr/lib/../lib/file", Inside, Ok("inside")),
            ("loop/file", Inside, Err(Errno::ELOOP)),
            ("usr/nothing", Inside, Err(Errno::ENOENT)),
            ("usr/lib/file/below", Inside, Err(Errno::ENOTDIR)),
            ("usr/lib/file", Refused, Ok("inside")),
            ("lib/file", Refused, Err(Errno::ELOOP)),
            ("to-file", Refused, Err(Errno::ELOOP)),
        ];
        for (path, links, expected) in table {
            for (name, way) in WAYS {
                let found = way(root.as_fd(), Path::new(path), links, OFlag::O_PATH)
                    .map(|fd| {
                        let path = super::super::mount::fd_path(fd.as_fd());
                        fs::read_to_string(path).expect("a file")
                    })
                    .map_err(|error| error.errno);
                let expected = expected.map(str::to_owned);
                assert_eq!(found, expected, "{name} {path} {links:?}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_made_inside() {
        let dir = tree();
        let root = fs::File::open(dir.path().join("root")).expect("open");
        let made = [
            ("absolute-out/a/b", "outside/a/b"),
            ("lib/python/x", "usr/lib/python/x"),
        ];
        for (path, at) in made {
            open_or_make_dir(root.as_fd(), Path::new(path), Links::Inside).expect(path);
            assert!(dir.path().join("root").join(at).is_dir(), "{path}");
        }
        open_or_make_file(root.as_fd(), Path::new("etc/hosts"), Links::Inside).expect("a file");
        assert!(dir.path().join("root/etc/hosts").is_file());
        assert_eq!(
            fs::read_dir(dir.path().join("outside"))
                .expect("readdir")
                .count(),
            1
        );
        let taken = open_or_make_file(root.as_fd(), Path::new("usr"), Links::Inside);
        assert_eq!(
            taken.map_err(|error| error.errno).err(),
            Some(Errno::EISDIR)
        );
    }
}
