//! Stack images: from a manifest to read-only layer directories in the store.

pub mod apt;
pub mod base;
mod catalog;
pub mod debian;
pub mod export;
pub mod image;
mod installed;
mod inventory;
mod layer;
pub mod lock;
pub mod manifest;
mod merged;
mod mirror;
mod moved;
pub mod oci;
mod origin;
mod owner;
mod owners;
mod printed;
mod record;
pub mod removal;
pub mod soundness;
mod wanted;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::lock::{Drift, Locked, MadeOf};
use self::record::Record;
use crate::model::{Arch, Observer, Sha256, StackName};
use crate::net::Client;
use crate::sandbox::Host;
use crate::store::{STACKS, Store, StoreError};
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

pub use catalog::{Catalog, CatalogError};
pub use debian::DebianError;
pub use inventory::{Inventory, OnHost, Standing, size, standing};
pub use layer::{Contents, Layer, Making, State, ownership, state};
pub use manifest::{Manifest, ManifestError};
pub use merged::{MergedError, merged};
pub use mirror::{
    Blob, Content, Mirror, MirrorError, Mirrors, Open, Parcel, PlaceError, There, parcel, there,
};
pub use moved::{Moved, moved};
pub use origin::{
    Base, Debian, Fitness, Made, Origin, Packages, Site, StackMirror, choose, choose_all,
};
pub use record::{ImageRecord, Source};
pub use wanted::Wanted;

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
    /// Mirrors of whole stacks.
    pub mirrors: Mirrors<'a>,
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
    /// It cannot be what it was when it was locked.
    #[error("the stack {stack} is not what it was when it was locked: {drift}")]
    Drift {
        /// The stack.
        stack: StackName,
        /// What differs.
        drift: Drift,
    },
    /// What is on this host of it does not say what it was made from.
    #[error("what the stack {stack} was made from is not known")]
    Unlockable {
        /// The stack.
        stack: StackName,
    },
    /// Taking it from a mirror failed.
    #[error("the stack {stack} cannot be taken from {mirror}: {source}")]
    Mirror {
        /// The stack.
        stack: StackName,
        /// Which mirror, without secrets.
        mirror: String,
        /// Why.
        source: Box<MirrorError>,
    },
    /// No mirror has it, and there is nothing else.
    #[error("no mirror has the stack {stack}: {}", asked.join("; "))]
    NoMirror {
        /// The stack.
        stack: StackName,
        /// The mirrors that were asked.
        asked: Vec<String>,
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

impl RootfsError {
    fn debian(stack: &StackName, source: DebianError) -> Self {
        Self::Debian {
            stack: stack.clone(),
            source: Box::new(source),
        }
    }

    fn base(stack: &StackName, source: base::BaseError) -> Self {
        let stack = stack.clone();
        match source {
            base::BaseError::Drift(drift) | base::BaseError::Apt(apt::AptError::Drift(drift)) => {
                Self::Drift { stack, drift }
            }
            source => Self::Base {
                stack,
                source: Box::new(source),
            },
        }
    }

    fn drift(stack: &StackName) -> impl FnOnce(Drift) -> Self {
        let stack = stack.clone();
        |drift| Self::Drift { stack, drift }
    }
}

impl Tools<'_> {
    fn oci<'t>(&'t self, registries: &'t oci::Registries) -> oci::Tools<'t> {
        oci::Tools {
            store: self.store,
            client: self.client,
            registries,
            observer: self.observer,
            interrupt: self.interrupt,
        }
    }
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

/// The same, if it is what was locked.
pub fn prepared_as(
    locked: &Locked,
    manifest: &Manifest,
    arch: Arch,
    store: &Store,
) -> Result<Option<Rootfs>, RootfsError> {
    let own = locked.key(manifest.name(), arch);
    for key in keys(manifest, arch).chain([own]) {
        if let Some(rootfs) = record::rootfs(&key, store)?.filter(|rootfs| locked.is(rootfs)) {
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
        Origin::Mirror(_) => Sha256::of(format!("mirror {arch} {digest}").as_bytes()),
    }
}

/// What of this host decides where its stacks come from. `mirror` is the Debian mirror that was
/// asked for, if one was.
pub fn site(mirror: Option<&str>) -> Site<'static> {
    Site {
        debian_mirror: mirror.is_some() || debian::mirror::of_host(Path::new(APT)).is_some(),
        is_there: &|path| path.exists(),
    }
}

/// What the store files a stack under that is on this host as it is wanted, if nothing was locked.
pub fn filed(
    manifest: &Manifest,
    arch: Arch,
    wanted: Wanted<'_>,
    store: &Store,
) -> Result<Option<Sha256>, RootfsError> {
    if let Wanted::Locked(locked) = wanted {
        let origin = locked.origin(manifest).ok();
        return Ok(origin.map(|origin| key(origin, manifest.name(), arch)));
    }
    for key in keys(manifest, arch) {
        if record::rootfs(&key, store)?.is_some() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// The origin that a stack is made from on this host. `mirror` is the Debian mirror that was asked
/// for, if one was.
pub fn origin<'m>(manifest: &'m Manifest, mirror: Option<&str>) -> Result<&'m Origin, RootfsError> {
    let all = origins(manifest, mirror)?;
    all.first().copied().ok_or_else(|| nowhere(manifest))
}

/// The origins that are to be tried on this host, in order: see [`choose_all`].
pub fn origins<'m>(
    manifest: &'m Manifest,
    mirror: Option<&str>,
) -> Result<Vec<&'m Origin>, RootfsError> {
    let chosen = choose_all(manifest.origins(), &site(mirror));
    if chosen.is_empty() {
        return Err(nowhere(manifest));
    }
    Ok(chosen)
}

fn nowhere(manifest: &Manifest) -> RootfsError {
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
}

/// The stack as it is wanted, made on this host if it is not there yet.
pub fn prepare(
    manifest: &Manifest,
    arch: Arch,
    wanted: Wanted<'_>,
    tools: &Tools<'_>,
) -> Result<Rootfs, RootfsError> {
    let (stack, store) = (manifest.name(), tools.store);
    manifest.check(arch)?;
    let prepared = match wanted {
        Wanted::Here => prepared(manifest, arch, store)?,
        Wanted::Today => None,
        Wanted::Locked(locked) => prepared_as(locked, manifest, arch, store)?,
    };
    if let Some(rootfs) = prepared {
        return Ok(rootfs);
    }
    // Nothing is removed while it is not known yet what will be needed.
    let _stacks = store.lock_shared(STACKS, tools.observer, tools.interrupt)?;
    let mut asked = Vec::new();
    let keys: Vec<Sha256> = keys(manifest, arch).collect();
    if let Some((key, made)) = mirror::first(stack, arch, wanted, &keys, &mut asked, tools)? {
        let key = wanted.filed(key, stack, arch, store)?;
        return written(&key, stack, arch, made, store);
    }
    let origins = match wanted {
        Wanted::Here | Wanted::Today => origins(manifest, tools.mirror.as_deref())?,
        Wanted::Locked(locked) => {
            vec![locked.origin(manifest).map_err(RootfsError::drift(stack))?]
        }
    };
    for origin in origins {
        let key = wanted.filed(key(origin, stack, arch), stack, arch, store)?;
        let _lock = store.lock(&format!("rootfs-{key}"), tools.observer, tools.interrupt)?;
        // Whoever held the lock may have made it. What is to be replaced is not looked at, since
        // that would be to use it.
        if let Wanted::Here | Wanted::Locked(_) = wanted
            && let Some(rootfs) = record::rootfs(&key, store)?
            && wanted.is(&rootfs)
        {
            return Ok(rootfs);
        }
        let made = match origin {
            Origin::Mirror(mirror) => mirror::from(mirror, stack, arch, wanted, &mut asked, tools)?,
            Origin::Debian(suites) => {
                let digest = origin.digest(stack);
                let images = bootstrap(suites, &digest, stack, arch, wanted, tools)?;
                Some((origin.to_string(), images))
            }
            Origin::Made(made) => {
                let images = base::prepare(made, stack, arch, wanted, tools);
                let images = images.map_err(|source| RootfsError::base(stack, source))?;
                Some((origin.to_string(), images))
            }
        };
        let Some(made) = made else { continue };
        held(wanted, stack, &made.1)?;
        return written(&key, stack, arch, made, store);
    }
    let stack = stack.clone();
    Err(RootfsError::NoMirror { stack, asked })
}

/// Fails unless a stack's run image and build image are what is wanted.
fn held(
    wanted: Wanted<'_>,
    stack: &StackName,
    [run, build]: &[ImageRecord; 2],
) -> Result<(), RootfsError> {
    let Wanted::Locked(locked) = wanted else {
        return Ok(());
    };
    for (image, found, locked) in [
        ("run", run.digest, locked.run),
        ("build", build.digest, locked.build),
    ] {
        if found != locked {
            return Err(RootfsError::drift(stack)(Drift::Image {
                image,
                found,
                locked,
            }));
        }
    }
    Ok(())
}

/// The stack, once it is written down of what it was made and that all of it is there.
fn written(
    key: &Sha256,
    stack: &StackName,
    arch: Arch,
    (origin, [run, build]): (String, [ImageRecord; 2]),
    store: &Store,
) -> Result<Rootfs, RootfsError> {
    let record = Record::new(stack.clone(), arch, origin, build, run);
    record::write(key, &record, store)?;
    let vanished = || FsError {
        call: "open",
        path: store.rootfs_path(key),
        source: std::io::ErrorKind::NotFound.into(),
    };
    Ok(record::rootfs(key, store)?.ok_or_else(vanished)?)
}

/// The run image and the build image, bootstrapped.
fn bootstrap(
    suites: &Debian,
    digest: &Sha256,
    stack: &StackName,
    arch: Arch,
    wanted: Wanted<'_>,
    tools: &Tools<'_>,
) -> Result<[ImageRecord; 2], RootfsError> {
    let failed = |source| RootfsError::debian(stack, source);
    let Wanted::Locked(Locked {
        made_of: MadeOf::Debian(locked),
        ..
    }) = wanted
    else {
        let today = debian::today(suites, arch, tools).map_err(failed)?;
        return debian::prepare(&today.selection, digest, arch, tools).map_err(failed);
    };
    let made = debian::prepare(&locked.selection, digest, arch, tools);
    made.map_err(
        |error| match lock::explained(&error, suites, locked, arch, tools) {
            Some(drift) => RootfsError::drift(stack)(drift),
            None => failed(error),
        },
    )
}
