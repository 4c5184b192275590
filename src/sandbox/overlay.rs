//! What overlayfs and tmpfs are told when they are mounted.

use std::fmt::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use super::wire::Failure;
use crate::sys::call::CallError;
use crate::sys::{fs, mount};

pub(super) fn open_all(layers: &[PathBuf]) -> Result<Vec<OwnedFd>, CallError> {
    layers.iter().map(|layer| mount::open_path(layer)).collect()
}

/// By descriptor: no path of the host is seen in the sandbox's mountinfo, none has to be escaped,
/// and two hundred layers fit into the one page that mount(2) takes.
pub(super) fn overlay_options(
    layers: &[OwnedFd],
    upper: &OwnedFd,
    work: &OwnedFd,
    more: &str,
) -> String {
    let mut options = format!("userxattr,index=off,metacopy=off{more},lowerdir=");
    for (n, layer) in layers.iter().rev().enumerate() {
        let colon = if n == 0 { "" } else { ":" };
        let _ = write!(
            options,
            "{colon}{}",
            mount::fd_path(layer.as_fd()).display()
        );
    }
    let _ = write!(
        options,
        ",upperdir={},workdir={}",
        mount::fd_path(upper.as_fd()).display(),
        mount::fd_path(work.as_fd()).display(),
    );
    options
}

pub(super) fn tmpfs_options(size: u64, mode: u16) -> String {
    // An inode costs the kernel memory too: as many as there are pages.
    let inodes = (size / 4096).max(64);
    format!("size={size},nr_inodes={inodes},mode={mode:o}")
}

/// A work directory that no mount has used yet. A volatile mount leaves a mark in its own against
/// being mounted again after a crash; whoever hands `upper` in again says that there was none. To
/// take a new one is quicker than to clean up, which waits for the disk.
pub(super) fn unused_work(work: &Path) -> Result<PathBuf, Failure> {
    let is_used = |dir: &Path| dir.join("work").symlink_metadata().is_ok();
    if !is_used(work) {
        return Ok(work.to_owned());
    }
    let mut numbers = 1u32..;
    let unused = numbers.find_map(|n| Some(work.join(n.to_string())).filter(|dir| !is_used(dir)));
    let unused = unused.unwrap_or_else(|| work.to_owned());
    fs::create_dir_all(&unused).map_err(|error| Failure::Other(error.to_string()))?;
    Ok(unused)
}
