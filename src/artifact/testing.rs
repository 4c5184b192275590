//! Random trees full of symlinks, and what the kernel says of paths in them.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use proptest::prelude::*;

/// An entry to be made: at this path, a link to that or else a directory or a file.
#[derive(Debug, Clone)]
pub(super) enum Made {
    Directory,
    File,
    Link(String),
}

/// Few names, so that paths meet.
pub(super) fn target() -> impl Strategy<Value = String> {
    "/?((\\.\\.|[abc])/){0,4}(\\.\\.|[abc])"
}

pub(super) fn entries() -> impl Strategy<Value = Vec<(String, Made)>> {
    let made = prop_oneof![
        2 => Just(Made::Directory),
        1 => Just(Made::File),
        3 => target().prop_map(Made::Link),
    ];
    prop::collection::vec(("([abc]/){0,3}[abc]", made), 0..14)
}

/// Makes the entries, as far as they do not get in each other's way.
pub(super) fn tree(entries: &[(String, Made)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (path, made) in entries {
        let path = dir.path().join(path);
        let parent = path.parent().expect("a parent");
        // Never through a link, which could lead to anywhere on this host.
        let real = parent
            .ancestors()
            .take_while(|above| *above != dir.path())
            .all(|above| fs::symlink_metadata(above).map_or(true, |found| found.is_dir()));
        if !real || fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        fs::create_dir_all(parent).expect("mkdir");
        match made {
            Made::Directory => fs::create_dir(&path).expect("mkdir"),
            Made::File => fs::write(&path, "x").expect("write"),
            Made::Link(to) => symlink(to, &path).expect("symlink"),
        }
    }
    dir
}

/// Where a path leads below `root`: openat2(2), which every kernel since 5.6 has.
pub(super) fn kernel(root: &Path, path: &Path, how: ResolveFlag) -> Result<PathBuf, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root_fd = open(root, flags | OFlag::O_DIRECTORY, Mode::empty()).expect("open");
    let found = openat2(&root_fd, path, OpenHow::new().flags(flags).resolve(how))?;
    let place = |fd: i32| fs::read_link(format!("/proc/self/fd/{fd}")).expect("readlink");
    let (root, found) = (place(root_fd.as_raw_fd()), place(found.as_raw_fd()));
    Ok(found.strip_prefix(root).expect("it is below").to_owned())
}
