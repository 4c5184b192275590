//! Images that others made: from a registry, a directory or an archive to verified layers in the
//! store.
//!
//! A [`Place`] is a name, pure. [`resolve`] reads the small documents and gives a [`Resolved`],
//! which names every layer by digest; [`fetch`] brings the layers.

mod access;
mod challenge;
mod credentials;
mod docker_archive;
mod document;
mod error;
mod helper;
mod layout;
mod media;
mod place;
mod reference;
mod registry;
mod tarball;
mod token;
mod walk;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::docker_archive::{Archive, Inside};
use self::document::Descriptor;
use self::layout::Layout;
use self::registry::Repository;
use self::walk::{Image, Role, Source, walk};
use crate::model::{Amount, Arch, Bytes, Observer, Sha256};
use crate::net::Client;
use crate::store::Store;
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;

pub use access::{Access, AccessError, Inputs, Told};
pub use credentials::Credential;
pub use document::{DocumentError, LayerRef};
pub use error::{AllTried, AuthError, OciError, Refusal, Tried};
pub use helper::HelperError;
pub use place::{Place, PlaceError};
pub use reference::{Reference, ReferenceError};
pub use registry::Registries;

/// What resolving and fetching work with.
pub struct Tools<'a> {
    /// Where layers are kept.
    pub store: &'a Store,
    /// Fetches.
    pub client: &'a Client,
    /// How registries are spoken to.
    pub registries: &'a Registries,
    /// Is told of the progress.
    pub observer: &'a dyn Observer,
    /// Says when to stop.
    pub interrupt: &'a Interrupt,
}

/// One image for one platform: what is to be fetched, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Where it is.
    pub place: Place,
    /// For which machines it is.
    pub arch: Arch,
    /// The digest of its manifest. `docker save`'s old form has none.
    pub manifest: Option<Sha256>,
    /// The digest of the index that the place named, if it named one.
    pub index: Option<Sha256>,
    /// The digest of its configuration, which is the image's identifier.
    pub config: Sha256,
    /// When it was made, as its configuration says (RFC 3339).
    pub created: Option<String>,
    /// The environment that its configuration asks for.
    pub env: Vec<(String, String)>,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// The layers, the lowest first. One may come twice.
    pub layers: Vec<LayerRef>,
}

impl Resolved {
    /// The layers, each once.
    fn unique(&self) -> Vec<LayerRef> {
        let mut unique: Vec<LayerRef> = Vec::new();
        for layer in &self.layers {
            if unique.iter().all(|other| other.digest != layer.digest) {
                unique.push(layer.clone());
            }
        }
        unique
    }

    /// How many bytes are to be fetched, if nothing is there.
    pub fn size(&self) -> u64 {
        self.unique().iter().map(|layer| layer.size).sum()
    }
}

/// Finds out what a place names, by its small documents alone.
pub fn resolve(place: &Place, arch: Arch, tools: &Tools<'_>) -> Result<Resolved, OciError> {
    let image = match place {
        Place::Registry(reference) => {
            let mut repository = Repository::new(reference, tools);
            let root = repository.root()?;
            walk(root, arch, &mut repository)?
        }
        Place::Layout { dir, name } => {
            let mut layout = Layout::open(dir, place.to_string())?;
            let root = layout.root(name.as_deref())?;
            walk(root, arch, &mut layout)?
        }
        Place::DockerArchive { file, name } => {
            let mut archive = Archive::open(file, place.to_string(), tools.interrupt)?;
            match archive.resolve(name.as_deref(), arch)? {
                Inside::Image(image) => image,
                Inside::Bare(config_digest, config, layers) => {
                    return Ok(Resolved {
                        place: place.clone(),
                        arch,
                        manifest: None,
                        index: None,
                        config: config_digest,
                        created: config.created,
                        env: config.env,
                        labels: config.labels,
                        layers,
                    });
                }
            }
        }
    };
    let Image {
        index,
        manifest,
        config_digest,
        config,
        layers,
    } = image;
    Ok(Resolved {
        place: place.clone(),
        arch,
        manifest: Some(manifest),
        index,
        config: config_digest,
        created: config.created,
        env: config.env,
        labels: config.labels,
        layers,
    })
}

/// An image that an index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The digest of its manifest.
    pub(super) manifest: Sha256,
    /// Its layers, the lowest first.
    pub(super) layers: Vec<LayerRef>,
}

/// Gives the document of this digest and size, of at most what documents may have, sure to have
/// that digest; the text says what it is.
pub(super) type ReadBlob<'a> = dyn FnMut(&Sha256, u64, &str) -> Result<Vec<u8>, OciError> + 'a;

/// The image that an index names so, wherever the documents are.
pub(super) fn named(
    index: &[u8],
    name: &str,
    arch: Arch,
    shown: &str,
    read: &mut ReadBlob<'_>,
) -> Result<Named, OciError> {
    let mut documents = Documents { shown, read };
    let root = layout::root(index, Some(name), &mut documents)?;
    let image = walk(root, arch, &mut documents)?;
    Ok(Named {
        manifest: image.manifest,
        layers: image.layers,
    })
}

/// Documents that somebody else knows how to read.
struct Documents<'a, 'r> {
    shown: &'a str,
    read: &'a mut ReadBlob<'r>,
}

impl Source for Documents<'_, '_> {
    fn what(&self) -> String {
        self.shown.to_owned()
    }

    fn read(&mut self, descriptor: &Descriptor, role: Role) -> Result<Vec<u8>, OciError> {
        (self.read)(&descriptor.digest, descriptor.size, role.what())
    }
}

/// Brings the layers into the store, several at a time, each verified by its digest; gives their
/// blobs in order, the lowest first.
pub fn fetch(resolved: &Resolved, tools: &Tools<'_>) -> Result<Vec<PathBuf>, OciError> {
    let layers = resolved.unique();
    for layer in &layers {
        check(layer, tools.store, tools.observer, tools.interrupt)?;
    }
    let place = &resolved.place;
    let size = resolved.size();
    let phase = tools
        .observer
        .phase(format!("fetching {place}"), Amount::Bytes(size));
    let there = AtomicUsize::new(0);
    let progress = |bytes| phase.advance(bytes);
    let each = || {
        let there = there.fetch_add(1, Ordering::Relaxed) + 1;
        phase.detail(format!("{there} of {} layers", layers.len()));
    };
    match place {
        Place::Registry(reference) => {
            Repository::new(reference, tools).fetch(resolved, &progress, &each)?;
        }
        Place::Layout { dir, .. } => {
            let layout = Layout::open(dir, place.to_string())?;
            layout.fetch(resolved, tools, &progress, &each)?;
        }
        Place::DockerArchive { file, name } => {
            let archive = Archive::open(file, place.to_string(), tools.interrupt)?;
            archive.fetch(name.as_deref(), resolved, tools, &progress, &each)?;
        }
    }
    phase.done_with(format!("{} layers, {}", layers.len(), Bytes(size)));
    let blob = |layer: &LayerRef| tools.store.blob_path(&layer.digest);
    Ok(resolved.layers.iter().map(blob).collect())
}

/// A layer that the store has kept from earlier is read again before it is believed. One that a
/// disk has spoilt is set aside, so that it is fetched anew.
pub(super) fn check(
    layer: &LayerRef,
    store: &Store,
    observer: &dyn Observer,
    interrupt: &Interrupt,
) -> Result<(), OciError> {
    let Some(blob) = store.blob(&layer.digest) else {
        return Ok(());
    };
    let file = sysfs::open(&blob)?;
    let mut file = crate::archive::interruptible(file, interrupt);
    let found = Sha256::of_reader(&mut file);
    interrupt.check()?;
    let (found, _) = found.map_err(FsError::new("read", &blob))?;
    if found == layer.digest {
        return Ok(());
    }
    let aside = store.set_aside(&blob)?;
    let aside = aside.display();
    observer.warn(format!(
        "a layer was spoilt in the store: it is at {aside}, and fetched again"
    ));
    Ok(())
}
