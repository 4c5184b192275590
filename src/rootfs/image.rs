//! An image's layers as one layer of the store.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::layer::{self, Finished, Making};
use super::oci::LayerRef;
use super::{Tools, owner};
use crate::archive::{self, ArchiveError, Limits, Merge, Ownership};
use crate::model::{Amount, Phase, Sha256};
use crate::store::{Scratch, Store, StoreError};
use crate::sys::fs::{self as sysfs, FsError};

/// What is unpacked is filed under this beside its chain id: another way of unpacking gives
/// another tree.
const REVISION: u32 = 1;
/// Members of all layers together, at most.
const ENTRIES_LIMIT: u64 = 4_000_000;

/// A layer of an image, on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// The file: a tar archive, plain or compressed.
    pub blob: PathBuf,
    /// The digest that its decompressed bytes must have.
    pub diff_id: Sha256,
}

/// An image as one layer of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flat {
    /// What the store files it under.
    pub key: Sha256,
    /// The chain id of its uppermost layer (OCI image specification, `config.md`, `ChainID`).
    pub chain: Sha256,
    /// Its files.
    pub tree: PathBuf,
}

/// Why an image cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// An image without layers has no files.
    #[error("the image has no layers")]
    Empty,
    /// A layer is not what it should be, or more than there may be.
    #[error("the layer {diff_id} cannot be applied: {source}")]
    Layer {
        /// Which layer.
        diff_id: Sha256,
        /// What is wrong.
        source: ArchiveError,
    },
    /// A layer's content is not what the image's configuration says.
    #[error("the layer in {} has the diff id {found}, not {expected}", blob.display())]
    DiffId {
        /// The file.
        blob: PathBuf,
        /// What the image's configuration says.
        expected: Sha256,
        /// What it is.
        found: Sha256,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The tree that this image continues cannot be shared.
    #[error("the image below cannot be built on: {0}")]
    Base(#[source] ArchiveError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The chain id of a layer on top of what has the chain id `below`.
pub fn chain_id(below: Option<&Sha256>, diff_id: &Sha256) -> Sha256 {
    match below {
        None => *diff_id,
        Some(below) => Sha256::of(format!("sha256:{below} sha256:{diff_id}").as_bytes()),
    }
}

/// The chain id of layers, the lowest first; none has none.
pub(super) fn chain(layers: &[LayerRef]) -> Option<Sha256> {
    layers.iter().fold(None, |below: Option<Sha256>, layer| {
        Some(chain_id(below.as_ref(), &layer.diff_id))
    })
}

/// An image of this chain id, if the store has it.
pub fn flat(chain: &Sha256, store: &Store) -> Option<Flat> {
    let key = key(chain);
    layer::is_there(store, &key).then(|| at(key, *chain, store))
}

fn key(chain: &Sha256) -> Sha256 {
    Sha256::of(format!("pybuild image {REVISION} sha256:{chain}").as_bytes())
}

fn at(key: Sha256, chain: Sha256, store: &Store) -> Flat {
    let tree = layer::tree(&store.layer_path(&key));
    Flat { key, chain, tree }
}

/// What of a flattened image is not as it lies on the disk: owners, devices, modes.
pub fn ownership(flat: &Flat, store: &Store) -> Result<Ownership, FsError> {
    // Every pybuild that made such a layer has written it.
    Ok(layer::ownership(&store.layer_path(&flat.key))?.unwrap_or_default())
}

/// Makes one layer of the store of an image's layers, the lowest first, unless the store has it.
/// With a `base`, the layers are those above it; what they leave alone is shared with it.
///
/// Each layer's diff id is computed while it is unpacked, and nothing is kept if one is wrong.
pub fn flatten(
    layers: &[LayerBlob],
    base: Option<&Flat>,
    tools: &Tools<'_>,
) -> Result<Flat, ImageError> {
    let chain = layers
        .iter()
        .map(|layer| &layer.diff_id)
        .fold(base.map(|base| base.chain), |below, diff_id| {
            Some(chain_id(below.as_ref(), diff_id))
        });
    let chain = chain.ok_or(ImageError::Empty)?;
    let store = tools.store;
    if let Some(flat) = flat(&chain, store) {
        return Ok(flat);
    }
    let key = key(&chain);
    let _lock = store.lock(&format!("layer-{key}"), tools.observer, tools.interrupt)?;
    // Whoever held the lock may have made it.
    if let Some(flat) = flat(&chain, store) {
        return Ok(flat);
    }
    store.sweep()?;
    let scratch = store.scratch()?;
    let (path, ownership) = make(layers, base, &scratch, tools)?;
    let phase = tools.observer.phase("writing to disk", Amount::Unknown);
    let finished = Finished {
        key,
        path,
        packages: Vec::new(),
        ownership,
        making: Making::Image,
        blobs: layers
            .iter()
            .filter_map(|layer| kept(layer, store))
            .collect(),
    };
    layer::keep(tools, &[finished])?;
    phase.done();
    Ok(at(key, chain, store))
}

/// The blob of the store that a layer is unpacked from, if it is one.
fn kept(layer: &LayerBlob, store: &Store) -> Option<Sha256> {
    let digest = layer.blob.file_name()?.to_str()?.parse().ok()?;
    (store.blob_path(&digest) == layer.blob).then_some(digest)
}

/// Unpacks into the scratch: the directory with `tree` in it, and what of it is only recorded.
fn make(
    layers: &[LayerBlob],
    base: Option<&Flat>,
    scratch: &Scratch,
    tools: &Tools<'_>,
) -> Result<(PathBuf, Ownership), ImageError> {
    let path = scratch.path().join("image");
    let tree = layer::tree(&path);
    owner::create_dir(&path, tools.host)?;
    owner::create_dir(&tree, tools.host)?;
    let ownership = match base {
        Some(base) => {
            let below = ownership(base, tools.store)?;
            apply(layers, Some((base, below)), &tree, tools)?
        }
        None => apply(layers, None, &tree, tools)?,
    };
    Ok((path, ownership))
}

fn apply(
    layers: &[LayerBlob],
    base: Option<(&Flat, Ownership)>,
    tree: &Path,
    tools: &Tools<'_>,
) -> Result<Ownership, ImageError> {
    let sizes = layers.iter().map(|layer| size(&layer.blob));
    let sizes = sizes.collect::<Result<Vec<u64>, FsError>>()?;
    let title = match layers.len() {
        1 => "unpacking a layer".to_owned(),
        count => format!("unpacking {count} layers"),
    };
    let total = Amount::Bytes(sizes.iter().sum());
    let phase = tools.observer.phase(title, total);
    // What is unpacked is the sandboxes' user's. A blob may be in a layout of whoever started this,
    // and is opened as that.
    let as_owner = || owner::assume(tools.host);
    let mut merge = {
        let _owner = as_owner();
        match base {
            Some((base, ownership)) => Merge::on(&base.tree, ownership, tree, tools.interrupt),
            None => Merge::new(tree),
        }
        .map_err(ImageError::Base)?
    };
    let mut entries = ENTRIES_LIMIT;
    for (LayerBlob { blob, diff_id }, size) in layers.iter().zip(sizes) {
        let usual = Limits::for_compressed(size);
        let limits = Limits {
            entries: usual.entries.min(entries),
            ..usual
        };
        let file = Progress(sysfs::open(blob)?, &phase);
        let _owner = as_owner();
        let applied = merge
            .apply(archive::interruptible(file, tools.interrupt), &limits)
            .map_err(|source| ImageError::Layer {
                diff_id: *diff_id,
                source,
            })?;
        if applied.diff_id != *diff_id {
            return Err(ImageError::DiffId {
                blob: blob.clone(),
                expected: *diff_id,
                found: applied.diff_id,
            });
        }
        entries -= applied.entries;
    }
    let _owner = as_owner();
    let ownership = merge.finish().map_err(ImageError::Base)?;
    phase.done();
    Ok(ownership)
}

fn size(blob: &Path) -> Result<u64, FsError> {
    let found = std::fs::metadata(blob).map_err(FsError::new("stat", blob))?;
    Ok(found.len())
}

/// A file that tells how far it has been read.
struct Progress<'a>(File, &'a Phase<'a>);

impl Read for Progress<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buf)?;
        self.1.advance(read as u64);
        Ok(read)
    }
}
