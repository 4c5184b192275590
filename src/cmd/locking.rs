//! Whether a stack is held to its lock, and which of its states is wanted therefore.

use std::path::{Path, PathBuf};

use super::Failure;
use super::session::host_arch;
use crate::cli::StackSources;
use crate::model::StackName;
use crate::rootfs::lock::{Drift, Lock, Locked};
use crate::rootfs::{self, Manifest, ManifestError, Rootfs, RootfsError, Wanted};
use crate::store::Store;
use crate::sys::fs as sysfs;
use crate::ui::ExitKind;

/// Where locks are if no directory of manifests is given.
const HERE: &str = "rootfs-manifests";

/// The directory that locks are in: that of the manifests.
pub(super) fn dir(sources: &StackSources) -> &Path {
    sources.manifests.as_deref().unwrap_or(Path::new(HERE))
}

/// The name of a stack's lock in that directory.
pub(super) fn file(name: &StackName) -> PathBuf {
    PathBuf::from(format!("{name}.lock"))
}

/// A stack's lock, if it has one.
pub(super) fn read(name: &StackName, sources: &StackSources) -> Result<Option<Lock>, Failure> {
    Ok(look(name, sources)??)
}

/// The same, and what is wrong with one that is there.
pub(super) fn look(
    name: &StackName,
    sources: &StackSources,
) -> Result<Result<Option<Lock>, ManifestError>, Failure> {
    let path = dir(sources).join(file(name));
    let bytes = match sysfs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(Ok(None)),
        Err(error) => {
            return Err(Failure::new(ExitKind::Usage, error)
                .hint("it may say what the stack has to be; --unlocked goes on without it"));
        }
    };
    let shown = path.display().to_string();
    let parsed = Lock::parse(&shown, &String::from_utf8_lossy(&bytes));
    Ok(match parsed {
        Ok(lock) if lock.stack() != name => {
            let message = format!("{shown} is the lock of the stack {}", lock.stack());
            return Err(Failure::new(ExitKind::Usage, message));
        }
        parsed => parsed.map(Some),
    })
}

/// What to say of a stack without a lock.
pub(super) fn missing(name: &StackName, sources: &StackSources) -> Failure {
    let path = dir(sources).join(file(name));
    let message = format!(
        "the stack {name} is not locked: there is no {}",
        path.display()
    );
    let failure = Failure::new(ExitKind::Usage, message);
    failure.hint(format!("`pybuild stack lock {name}` writes it"))
}

/// Whether a stack is held to its lock. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// If it has one.
    IfLocked,
    /// It must have one.
    Always,
    /// Whether it has one or not.
    Never,
}

impl Held {
    fn choose(sources: &StackSources, ci: Option<&str>) -> Self {
        match (sources.locked, sources.unlocked) {
            (true, _) => Self::Always,
            (false, true) => Self::Never,
            (false, false) => match ci {
                None | Some("" | "0" | "false") => Self::Never,
                Some(_) => Self::IfLocked,
            },
        }
    }
}

/// What the stack is held to, if it is.
pub(super) fn locked(
    manifest: &Manifest,
    sources: &StackSources,
) -> Result<Option<Locked>, Failure> {
    let ci = std::env::var("CI").ok();
    let held = Held::choose(sources, ci.as_deref());
    if held == Held::Never {
        return Ok(None);
    }
    let (stack, arch) = (manifest.name(), host_arch()?);
    match (read(stack, sources)?, held) {
        (Some(lock), _) => match lock.part(arch) {
            Some(locked) => Ok(Some(locked.clone())),
            None => Err(RootfsError::Drift {
                stack: stack.clone(),
                drift: Drift::Architecture { arch },
            }
            .into()),
        },
        (None, Held::Always) => Err(missing(stack, sources)),
        (None, _) => Ok(None),
    }
}

/// Which state of it is wanted.
pub(super) fn wanted(locked: Option<&Locked>) -> Wanted<'_> {
    locked.map_or(Wanted::Here, Wanted::Locked)
}

/// The stack, if this host has it in the state that is wanted.
pub(super) fn prepared(
    manifest: &Manifest,
    sources: &StackSources,
    store: &Store,
) -> Result<Option<Rootfs>, Failure> {
    let arch = host_arch()?;
    Ok(match locked(manifest, sources)? {
        Some(locked) => rootfs::prepared_as(&locked, manifest, arch, store)?,
        None => rootfs::prepared(manifest, arch, store)?,
    })
}

/// The layers of its build image and of its run image, if this host has it in the state that is
/// wanted.
pub(super) fn prepared_layers(
    manifest: &Manifest,
    sources: &StackSources,
    store: &Store,
) -> Result<Option<[Vec<PathBuf>; 2]>, Failure> {
    let arch = host_arch()?;
    Ok(match locked(manifest, sources)? {
        Some(locked) => rootfs::prepared_as(&locked, manifest, arch, store)?
            .map(|rootfs| [rootfs.build.layers, rootfs.run.layers]),
        // A command by hand is to start at once: nothing but layers is read.
        None => rootfs::prepared_layers(manifest, arch, store)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_holds_where_it_is_asked_for_and_in_ci() {
        let held = |locked, unlocked, ci| {
            let sources = StackSources {
                manifests: None,
                debian_mirror: None,
                stack_mirror: None,
                locked,
                unlocked,
            };
            Held::choose(&sources, ci)
        };
        assert_eq!(held(false, false, None), Held::Never);
        assert_eq!(held(false, false, Some("")), Held::Never);
        assert_eq!(held(false, false, Some("false")), Held::Never);
        assert_eq!(held(false, false, Some("true")), Held::IfLocked);
        assert_eq!(held(false, false, Some("1")), Held::IfLocked);
        assert_eq!(held(false, true, Some("true")), Held::Never);
        assert_eq!(held(true, false, None), Held::Always);
        assert_eq!(held(true, false, Some("true")), Held::Always);
    }
}
