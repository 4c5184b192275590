//! Stack images: from a manifest to read-only layer directories in the store.

mod catalog;
pub mod debian;
pub mod image;
mod layer;
pub mod manifest;
pub mod oci;
mod owner;

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::{Arch, Observer, Sha256, StackName};
use crate::net::Client;
use crate::sandbox::Host;
use crate::store::{Store, StoreError};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;

pub use catalog::{Catalog, CatalogError};
pub use debian::DebianError;
pub use manifest::{Manifest, ManifestError, Origin};

/// What the preparing of a stack works with.
pub struct Tools<'a> {
    /// Where downloads and layers are kept.
    pub store: &'a Store,
    /// Fetches.
    pub client: &'a Client,
    /// What sandboxes this host can make.
    pub host: &'a Host,
    /// Is told of the progress.
    pub observer: &'a dyn Observer,
    /// Says when to stop.
    pub interrupt: &'a Interrupt,
    /// The Debian mirror (`PYBUILD_DEBIAN_MIRROR`); without it that of the host's apt.
    pub mirror: Option<String>,
    /// How many packages to unpack at once.
    pub jobs: usize,
}

/// A stack on this host: two images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootfs {
    /// Which stack.
    pub stack: StackName,
    /// For which machines.
    pub arch: Arch,
    /// With compilers and headers.
    pub build: Image,
    /// With what the built software needs at run time.
    pub run: Image,
}

/// A root file system, ready to be run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Directories of this host, the lowest first.
    pub layers: Vec<PathBuf>,
    /// Of what it was made of: the manifest, every package's name, version and digest, the
    /// revision of the bootstrap. The same on every host.
    pub digest: Sha256,
    /// What is installed, sorted by name.
    pub packages: Vec<Package>,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub arch: String,
}

/// Why a stack cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// The stack does not exist for this architecture.
    #[error("the stack {stack} does not exist for {arch}")]
    Architecture {
        /// The stack.
        stack: StackName,
        /// What was asked for.
        arch: Arch,
    },
    /// The Debian bootstrap failed.
    #[error("the stack {stack} cannot be bootstrapped: {source}")]
    Debian {
        /// The stack.
        stack: StackName,
        /// Why.
        source: Box<DebianError>,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What `rootfs/<key>.json` says.
#[derive(Serialize, Deserialize)]
struct Record {
    schema: u32,
    stack: StackName,
    arch: Arch,
    build: ImageRecord,
    run: ImageRecord,
}

#[derive(Serialize, Deserialize)]
struct ImageRecord {
    layers: Vec<Sha256>,
    digest: Sha256,
    packages: Vec<Package>,
}

const RECORD_SCHEMA: u32 = 1;

/// What [`prepared_layers`] reads of a [`Record`].
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

/// The layers of the build and of the run image, if this host has the stack already.
pub fn prepared_layers(
    manifest: &Manifest,
    arch: Arch,
    store: &Store,
) -> Result<Option<[Vec<PathBuf>; 2]>, RootfsError> {
    let Some(record) = record::<LayersRecord>(manifest, arch, store)? else {
        return Ok(None);
    };
    if record.schema != RECORD_SCHEMA {
        return Ok(None);
    }
    let (build, run) = (
        layers(&record.build.layers, store),
        layers(&record.run.layers, store),
    );
    Ok(build.zip(run).map(|(build, run)| [build, run]))
}

/// The stack, if this host has it already: looks at a few files, asks nobody.
pub fn prepared(
    manifest: &Manifest,
    arch: Arch,
    store: &Store,
) -> Result<Option<Rootfs>, RootfsError> {
    let Some(record) = record::<Record>(manifest, arch, store)? else {
        return Ok(None);
    };
    if record.schema != RECORD_SCHEMA {
        return Ok(None);
    }
    let (build, run) = (image(record.build, store), image(record.run, store));
    Ok(build.zip(run).map(|(build, run)| Rootfs {
        stack: record.stack,
        arch: record.arch,
        build,
        run,
    }))
}

/// What the store says of a stack.
fn record<R: DeserializeOwned>(
    manifest: &Manifest,
    arch: Arch,
    store: &Store,
) -> Result<Option<R>, RootfsError> {
    let path = store.rootfs_path(&key(manifest, arch));
    match sysfs::read(&path) {
        // What cannot be understood, another pybuild wrote, or no pybuild: it is written anew.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn image(record: ImageRecord, store: &Store) -> Option<Image> {
    Some(Image {
        layers: layers(&record.layers, store)?,
        digest: record.digest,
        packages: record.packages,
    })
}

/// Where the layers are, if all are there.
fn layers(keys: &[Sha256], store: &Store) -> Option<Vec<PathBuf>> {
    keys.iter()
        .map(|key| layer::is_there(store, key).then(|| layer::tree(&store.layer_path(key))))
        .collect()
}

/// The stack, made on this host if it is not there yet.
pub fn prepare(manifest: &Manifest, arch: Arch, tools: &Tools<'_>) -> Result<Rootfs, RootfsError> {
    if !manifest.architectures().contains(&arch) {
        return Err(RootfsError::Architecture {
            stack: manifest.name().clone(),
            arch,
        });
    }
    if let Some(rootfs) = prepared(manifest, arch, tools.store)? {
        return Ok(rootfs);
    }
    let key = key(manifest, arch);
    let _lock = tools
        .store
        .lock(&format!("rootfs-{key}"), tools.observer, tools.interrupt)?;
    // Whoever held the lock may have made it.
    if let Some(rootfs) = prepared(manifest, arch, tools.store)? {
        return Ok(rootfs);
    }
    let Origin::Debian(debian) = manifest.origin();
    let made = debian::prepare(manifest, debian, arch, tools);
    let [run, build] = made.map_err(|source| RootfsError::Debian {
        stack: manifest.name().clone(),
        source: Box::new(source),
    })?;
    let [run, build] = [run, build].map(|made| ImageRecord {
        layers: made.layers,
        digest: made.digest,
        packages: made.packages,
    });
    let record = Record {
        schema: RECORD_SCHEMA,
        stack: manifest.name().clone(),
        arch,
        build,
        run,
    };
    let path = tools.store.rootfs_path(&key);
    let json = serde_json::to_vec_pretty(&record).map_err(FsError::new("write", &path))?;
    sysfs::write_atomically(&path, &json)?;
    let vanished = || FsError {
        call: "open",
        path: path.clone(),
        source: std::io::ErrorKind::NotFound.into(),
    };
    Ok(prepared(manifest, arch, tools.store)?.ok_or_else(vanished)?)
}

/// What the store files a stack under.
fn key(manifest: &Manifest, arch: Arch) -> Sha256 {
    match manifest.origin() {
        Origin::Debian(_) => debian::key(manifest, arch),
    }
}
