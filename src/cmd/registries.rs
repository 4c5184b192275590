//! Who pybuild is to registries: found out by whoever started it, who may not be who does the work.
//!
//! Where pybuild gives up being root, root's credentials for the images that are going to be
//! fetched are read before, and its helpers asked; nothing is read or asked where no image is. A
//! worker is told by its steward.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use nix::unistd::geteuid;

use super::session::store_root;
use super::target::keep_secrets;
use super::{Failure, locking, mirrors, steward};
use crate::cli::{Global, StackSources};
use crate::rootfs::oci::{AccessError, Inputs, Reference};
use crate::rootfs::{self, Manifest};
use crate::store::Store;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

/// What was gathered while this process was still root.
static AHEAD: OnceLock<Inputs> = OnceLock::new();

/// Gathers what these stacks and their mirrors need, if this process is root and will not be for
/// long. To be called before a session is opened.
pub(super) fn ahead<'m>(
    global: &Global,
    manifests: impl IntoIterator<Item = &'m Manifest>,
    sources: &StackSources,
) -> Result<(), Failure> {
    if !steps_down() {
        return Ok(());
    }
    let store = Store::look(&store_root(global)?)?;
    let mut missing = Vec::new();
    for manifest in manifests {
        if locking::prepared_layers(manifest, sources, &store)?.is_none() {
            missing.push(manifest);
        }
    }
    mirrors::ahead(&missing, sources)?;
    gather_for(&store, missing, |manifest| needed(manifest, sources))
}

/// The same, for a command that looks stacks up whether this host has them or not.
pub(super) fn ahead_of_today<'m>(
    global: &Global,
    manifests: impl IntoIterator<Item = &'m Manifest>,
    sources: &StackSources,
) -> Result<(), Failure> {
    if !steps_down() {
        return Ok(());
    }
    let store = Store::look(&store_root(global)?)?;
    let manifests: Vec<&Manifest> = manifests.into_iter().collect();
    mirrors::ahead(&manifests, sources)?;
    let mirror = sources.debian_mirror.as_deref();
    gather_for(&store, manifests, |manifest| {
        Ok(references(
            rootfs::origins(manifest, mirror).unwrap_or_default(),
        ))
    })
}

/// Whether this process is root and will not be for long.
fn steps_down() -> bool {
    geteuid().is_root() && steward::steward().is_none()
}

fn gather_for<'m>(
    store: &Store,
    manifests: impl IntoIterator<Item = &'m Manifest>,
    needed: impl Fn(&'m Manifest) -> Result<Vec<Reference>, Failure>,
) -> Result<(), Failure> {
    let mut wanted = Vec::new();
    for manifest in manifests {
        wanted.extend(needed(manifest)?);
    }
    if wanted.is_empty() {
        return Ok(());
    }
    keep_secrets();
    let interrupt = Interrupt::manual().map_err(FsError::new("eventfd", store.root()))?;
    let inputs = gather()?.settled(&wanted, &interrupt)?;
    AHEAD.get_or_init(|| inputs);
    Ok(())
}

/// The images that may be asked for. What is wrong with a stack is told when it is made.
fn needed(manifest: &Manifest, sources: &StackSources) -> Result<Vec<Reference>, Failure> {
    let mirror = sources.debian_mirror.as_deref();
    let origins = match locking::locked(manifest, sources)? {
        Some(locked) => locked.origin(manifest).into_iter().collect(),
        None => rootfs::origins(manifest, mirror).unwrap_or_default(),
    };
    Ok(references(origins))
}

fn references(origins: Vec<&rootfs::Origin>) -> Vec<Reference> {
    let references = origins.into_iter().flat_map(rootfs::Origin::references);
    references.cloned().collect()
}

/// What was gathered ahead, for a worker.
pub(super) fn gathered() -> Option<&'static Inputs> {
    AHEAD.get()
}

/// Who pybuild is to registries: as it was gathered ahead, here or by the steward, else as this
/// process finds it.
pub(super) fn inputs() -> Result<Inputs, AccessError> {
    if let Some(inputs) = AHEAD.get() {
        return Ok(inputs.clone());
    }
    let told = steward::steward().and_then(|steward| steward.registries().ok());
    match told {
        Some(inputs) => {
            keep_secrets();
            Ok(AHEAD.get_or_init(|| inputs).clone())
        }
        None => gather(),
    }
}

fn gather() -> Result<Inputs, AccessError> {
    let env: BTreeMap<_, _> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect();
    Inputs::gather(env)
}
