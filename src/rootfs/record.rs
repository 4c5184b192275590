//! What the store says of a stack that is on this host: `rootfs/<key>.json`.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Image, Package, Rootfs, layer};
use crate::model::{Arch, Sha256, StackName};
use crate::store::{Store, StoreError};
use crate::sys::fs::{self as sysfs, FsError};

const SCHEMA: u32 = 1;

/// What is said of a stack.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    schema: u32,
    pub(super) stack: StackName,
    pub(super) arch: Arch,
    #[serde(default)]
    pub(super) origin: Option<String>,
    pub(super) build: ImageRecord,
    pub(super) run: ImageRecord,
}

/// An image, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The keys of its layers in the store, the lowest first.
    pub layers: Vec<Sha256>,
    /// The digest of what it was made of (see [`Image::digest`]).
    pub digest: Sha256,
    /// What is installed, sorted by name.
    pub packages: Vec<Package>,
    /// What others made that it was made from.
    #[serde(default)]
    pub source: Option<Source>,
}

/// What others made that an image was made from, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it was.
    pub place: String,
    /// The digest of its OCI manifest, or of the tarball.
    pub digest: Option<Sha256>,
    /// The digest of the OCI index that named it.
    pub index: Option<Sha256>,
    /// The chain id of its layers: what its content is known by.
    pub chain: Sha256,
    /// Bytes that were to be fetched.
    pub size: u64,
}

/// What [`layers`] reads of a [`Record`].
#[derive(Deserialize)]
struct LayersRecord {
    schema: u32,
    build: ImageLayers,
    run: ImageLayers,
}

#[derive(Deserialize)]
struct ImageLayers {
    layers: Vec<Sha256>,
}

impl Record {
    pub(super) fn new(
        stack: StackName,
        arch: Arch,
        origin: String,
        build: ImageRecord,
        run: ImageRecord,
    ) -> Self {
        Self {
            schema: SCHEMA,
            stack,
            arch,
            origin: Some(origin),
            build,
            run,
        }
    }
}

/// Where the layers of the build and of the run image are, if all are there. They stay as long as
/// the store is open.
pub(super) fn layers(key: &Sha256, store: &Store) -> Result<Option<[Vec<PathBuf>; 2]>, StoreError> {
    let Some(record) = held::<LayersRecord>(key, store)?.filter(|it| it.schema == SCHEMA) else {
        return Ok(None);
    };
    let build = paths(&record.build.layers, store)?;
    let run = paths(&record.run.layers, store)?;
    Ok(build.zip(run).map(|(build, run)| [build, run]))
}

/// The stack, if all of it is there. It stays as long as the store is open.
pub(super) fn rootfs(key: &Sha256, store: &Store) -> Result<Option<Rootfs>, StoreError> {
    let Some(record) = held::<Record>(key, store)?.filter(|it| it.schema == SCHEMA) else {
        return Ok(None);
    };
    let build = image(record.build, store)?;
    let run = image(record.run, store)?;
    Ok(build.zip(run).map(|(build, run)| Rootfs {
        stack: record.stack,
        arch: record.arch,
        origin: record.origin,
        build,
        run,
    }))
}

/// What is said of a stack, whether all of it is there or not.
pub(super) fn any(key: &Sha256, store: &Store) -> Result<Option<Record>, FsError> {
    let record = read::<Record>(key, store)?;
    Ok(record.filter(|record| record.schema == SCHEMA))
}

/// Says that the stack is used before it reads what is said of it: from then on it is not removed.
fn held<R: DeserializeOwned>(key: &Sha256, store: &Store) -> Result<Option<R>, StoreError> {
    if !store.rootfs_path(key).exists() || !store.hold(key)? {
        return Ok(None);
    }
    Ok(read(key, store)?)
}

/// Writes it down.
pub(super) fn write(key: &Sha256, record: &Record, store: &Store) -> Result<(), FsError> {
    let path = store.rootfs_path(key);
    let json = serde_json::to_vec_pretty(record).map_err(FsError::new("write", &path))?;
    sysfs::write_atomically(&path, &json)
}

fn read<R: DeserializeOwned>(key: &Sha256, store: &Store) -> Result<Option<R>, FsError> {
    match sysfs::read(&store.rootfs_path(key)) {
        // What cannot be understood, another pybuild wrote, or no pybuild: it is written anew.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn image(record: ImageRecord, store: &Store) -> Result<Option<Image>, StoreError> {
    let layers = paths(&record.layers, store)?;
    Ok(layers.map(|layers| Image {
        layers,
        digest: record.digest,
        packages: record.packages,
        source: record.source,
    }))
}

/// Where the layers are, if all are there.
fn paths(keys: &[Sha256], store: &Store) -> Result<Option<Vec<PathBuf>>, StoreError> {
    keys.iter().map(|key| layer::hold(store, key)).collect()
}
