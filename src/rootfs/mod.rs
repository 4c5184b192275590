//! Stack images: from a manifest to read-only layer directories in the store.

pub mod apt;
pub mod base;
mod catalog;
pub mod debian;
pub mod image;
mod installed;
mod layer;
pub mod manifest;
pub mod oci;
mod origin;
mod owner;
mod printed;
mod record;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::record::{ImageRecord, Record};
use crate::model::{Arch, Observer, Sha256, StackName};
use crate::net::Client;
use crate::sandbox::Host;
use crate::store::{Store, StoreError};
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

pub use catalog::{Catalog, CatalogError};
pub use debian::DebianError;
pub use manifest::{Manifest, ManifestError};
pub use origin::{Base, Debian, Made, Origin, Packages, Site, choose};
pub use record::Source;

/// Where this host's apt is configured.
const APT: &str = "/etc/apt";

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
    /// Says how registries are spoken to; asked when one has to be.
    pub access: &'a (dyn Fn() -> Result<oci::Access, oci::AccessError> + Sync),
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
    /// Which of the manifest's origins it was made from, in a few words.
    pub origin: Option<String>,
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
    /// Of what it was made of: of a bootstrapped one the manifest, every package's name, version
    /// and digest, the revision of the bootstrap; of another the content of its layers, the name
    /// and version of every package, the revision of how they were installed. The same on every
    /// host.
    pub digest: Sha256,
    /// What is installed, sorted by name.
    pub packages: Vec<Package>,
    /// What others made that it was made from.
    pub source: Option<Source>,
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
    /// None of its origins is any use on this host.
    #[error("nothing that the stack {stack} can be made from is on this host: {}", tried.join("; "))]
    Nowhere {
        /// The stack.
        stack: StackName,
        /// Its origins, in a few words.
        tried: Vec<String>,
    },
    /// Making it from what others made failed.
    #[error("the stack {stack} cannot be made: {source}")]
    Base {
        /// The stack.
        stack: StackName,
        /// Why.
        source: Box<base::BaseError>,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The layers of the build and of the run image, if this host has the stack already.
pub fn prepared_layers(
    manifest: &Manifest,
    arch: Arch,
    store: &Store,
) -> Result<Option<[Vec<PathBuf>; 2]>, RootfsError> {
    for key in keys(manifest, arch) {
        if let Some(layers) = record::layers(&key, store)? {
            return Ok(Some(layers));
        }
    }
    Ok(None)
}

/// The stack, if this host has it already: looks at a few files, asks nobody. What it was made from
/// counts, not what it would be made from today.
pub fn prepared(
    manifest: &Manifest,
    arch: Arch,
    store: &Store,
) -> Result<Option<Rootfs>, RootfsError> {
    for key in keys(manifest, arch) {
        if let Some(rootfs) = record::rootfs(&key, store)? {
            return Ok(Some(rootfs));
        }
    }
    Ok(None)
}

/// What the store files a stack under, by each of its origins.
fn keys(manifest: &Manifest, arch: Arch) -> impl Iterator<Item = Sha256> {
    let origins = manifest.origins().iter();
    origins.map(move |origin| key(origin, manifest.name(), arch))
}

fn key(origin: &Origin, stack: &StackName, arch: Arch) -> Sha256 {
    let digest = origin.digest(stack);
    match origin {
        Origin::Debian(_) => debian::key(&digest, arch),
        Origin::Made(_) => base::key(&digest, arch),
    }
}

/// The origin that a stack is made from on this host. `mirror` is the Debian mirror that was asked
/// for, if one was.
pub fn origin<'m>(manifest: &'m Manifest, mirror: Option<&str>) -> Result<&'m Origin, RootfsError> {
    let site = Site {
        debian_mirror: mirror.is_some() || debian::mirror::of_host(Path::new(APT)).is_some(),
        is_there: &|path| path.exists(),
    };
    choose(manifest.origins(), &site).ok_or_else(|| {
        let stack = manifest.name().clone();
        match manifest.origins() {
            [Origin::Debian(_)] => RootfsError::Debian {
                stack,
                source: Box::new(DebianError::NoMirror),
            },
            origins => RootfsError::Nowhere {
                stack,
                tried: origins.iter().map(ToString::to_string).collect(),
            },
        }
    })
}

/// The stack, made on this host if it is not there yet.
pub fn prepare(manifest: &Manifest, arch: Arch, tools: &Tools<'_>) -> Result<Rootfs, RootfsError> {
    let stack = manifest.name();
    if !manifest.architectures().contains(&arch) {
        let stack = stack.clone();
        return Err(RootfsError::Architecture { stack, arch });
    }
    if let Some(rootfs) = prepared(manifest, arch, tools.store)? {
        return Ok(rootfs);
    }
    let origin = origin(manifest, tools.mirror.as_deref())?;
    let key = key(origin, stack, arch);
    let _lock = tools
        .store
        .lock(&format!("rootfs-{key}"), tools.observer, tools.interrupt)?;
    // Whoever held the lock may have made it.
    if let Some(rootfs) = record::rootfs(&key, tools.store)? {
        return Ok(rootfs);
    }
    let [run, build] = make(origin, stack, arch, tools)?;
    let record = Record::new(stack.clone(), arch, origin.to_string(), build, run);
    record::write(&key, &record, tools.store)?;
    let vanished = || FsError {
        call: "open",
        path: tools.store.rootfs_path(&key),
        source: std::io::ErrorKind::NotFound.into(),
    };
    Ok(record::rootfs(&key, tools.store)?.ok_or_else(vanished)?)
}

/// The run image and the build image.
fn make(
    origin: &Origin,
    stack: &StackName,
    arch: Arch,
    tools: &Tools<'_>,
) -> Result<[ImageRecord; 2], RootfsError> {
    match origin {
        Origin::Debian(debian) => {
            let made = debian::prepare(debian, &origin.digest(stack), arch, tools);
            made.map_err(|source| RootfsError::Debian {
                stack: stack.clone(),
                source: Box::new(source),
            })
        }
        Origin::Made(made) => {
            let made = base::prepare(made, stack, arch, tools);
            made.map_err(|source| RootfsError::Base {
                stack: stack.clone(),
                source: Box::new(source),
            })
        }
    }
}
