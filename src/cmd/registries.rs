//! Who pybuild is to registries: found out by whoever started it, who may not be who does the work.
//!
//! Where pybuild gives up being root, root's credentials for the images that are going to be
//! fetched are read before, and its helpers asked; nothing is read or asked where no image is. A
//! worker is told by its steward.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use nix::unistd::geteuid;

use super::Failure;
use super::session::{host_arch, store_root};
use super::steward;
use super::target::keep_secrets;
use crate::cli::{Global, StackSources};
use crate::model::Arch;
use crate::rootfs::oci::{AccessError, Inputs, Reference};
use crate::rootfs::{self, Manifest};
use crate::store::Store;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

/// What was gathered while this process was still root.
static AHEAD: OnceLock<Inputs> = OnceLock::new();

/// Gathers what these stacks need, if this process is root and will not be for long. To be called
/// before a session is opened.
pub(super) fn ahead<'m>(
    global: &Global,
    manifests: impl IntoIterator<Item = &'m Manifest>,
    sources: &StackSources,
) -> Result<(), Failure> {
    if !geteuid().is_root() || steward::steward().is_some() {
        return Ok(());
    }
    let store = Store::look(&store_root(global)?)?;
    let arch = host_arch()?;
    let mut wanted = Vec::new();
    for manifest in manifests {
        wanted.extend(needed(manifest, arch, sources, &store)?);
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

/// The images that are going to be asked for. What is wrong with a stack is told when it is made.
fn needed(
    manifest: &Manifest,
    arch: Arch,
    sources: &StackSources,
    store: &Store,
) -> Result<Vec<Reference>, Failure> {
    if rootfs::prepared_layers(manifest, arch, store)?.is_some() {
        return Ok(Vec::new());
    }
    let origin = rootfs::origin(manifest, sources.debian_mirror.as_deref());
    let references = origin.map(rootfs::Origin::references).unwrap_or_default();
    Ok(references.into_iter().cloned().collect())
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
