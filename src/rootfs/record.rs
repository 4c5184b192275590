//! What the store says of a stack that is on this host: `rootfs/<key>.json`.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Image, Package, Rootfs, layer};
use crate::model::{Arch, Sha256, StackName};
use crate::store::Store;
use crate::sys::fs::{self as sysfs, FsError};

const SCHEMA: u32 = 1;

/// What is said of a stack.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    schema: u32,
    stack: StackName,
    arch: Arch,
    #[serde(default)]
    origin: Option<String>,
    build: ImageRecord,
    run: ImageRecord,
}

/// An image: the keys of its layers in the store, its digest, and what is in it.
#[derive(Serialize, Deserialize)]
pub(super) struct ImageRecord {
    pub(super) layers: Vec<Sha256>,
    pub(super) digest: Sha256,
    pub(super) packages: Vec<Package>,
    #[serde(default)]
    pub(super) source: Option<Source>,
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

/// Where the layers of the build and of the run image are, if all are there.
pub(super) fn layers(key: &Sha256, store: &Store) -> Result<Option<[Vec<PathBuf>; 2]>, FsError> {
    let record = read::<LayersRecord>(key, store)?;
    Ok(record
        .filter(|record| record.schema == SCHEMA)
        .and_then(|record| {
            let build = paths(&record.build.layers, store)?;
            Some([build, paths(&record.run.layers, store)?])
        }))
}

/// The stack, if all of it is there.
pub(super) fn rootfs(key: &Sha256, store: &Store) -> Result<Option<Rootfs>, FsError> {
    let record = read::<Record>(key, store)?;
    Ok(record
        .filter(|record| record.schema == SCHEMA)
        .and_then(|record| {
            Some(Rootfs {
                stack: record.stack,
                arch: record.arch,
                origin: record.origin,
                build: image(record.build, store)?,
                run: image(record.run, store)?,
            })
        }))
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

fn image(record: ImageRecord, store: &Store) -> Option<Image> {
    Some(Image {
        layers: paths(&record.layers, store)?,
        digest: record.digest,
        packages: record.packages,
        source: record.source,
    })
}

/// Where the layers are, if all are there.
fn paths(keys: &[Sha256], store: &Store) -> Option<Vec<PathBuf>> {
    keys.iter()
        .map(|key| layer::is_there(store, key).then(|| layer::tree(&store.layer_path(key))))
        .collect()
}
