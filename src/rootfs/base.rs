//! A stack's images, made of root file systems that others made: found, fetched, flattened, and
//! completed with packages.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::apt::{self, AptError, Order};
use super::image::{self, Flat, ImageError, LayerBlob, flatten};
use super::installed;
use super::lock::{Drift, LockedImage};
use super::oci::{self, AccessError, OciError, Place, Registries, Resolved};
use super::origin::{Base, Made};
use super::record::{ImageRecord, Source};
use super::{Package, Tools, Wanted};
use crate::archive::{self, ArchiveError, Codec, Pack};
use crate::model::{Amount, Arch, Hasher, HashingReader, Sha256, StackName};
use crate::net::{Download, NetError, redact};
use crate::store::StoreError;
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupted;

/// Counted up whenever the same origin would become other images.
const REVISION: u32 = 1;

/// Why images cannot be made of what others made.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The settings for registries cannot be understood.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// An image cannot be found or fetched.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// A tarball cannot be fetched.
    #[error(transparent)]
    Net(#[from] NetError),
    /// An image cannot be unpacked.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A tarball or a directory cannot be read.
    #[error("{what}: {source}")]
    Archive {
        /// Which.
        what: String,
        /// Why.
        source: ArchiveError,
    },
    /// It is not what was locked.
    #[error("it is not what it was when it was locked: {0}")]
    Drift(#[from] Drift),
    /// Packages cannot be installed on top.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// What identifies a stack on this host before it is known what it is made of.
pub(super) fn key(origin: &Sha256, arch: Arch) -> Sha256 {
    Sha256::of(format!("base {REVISION} {arch} {origin}").as_bytes())
}

/// An image that is being made: layers of the store, and what identifies them.
#[derive(Clone)]
pub(super) struct Draft {
    /// Keys of layers, the lowest first.
    pub(super) layers: Vec<Sha256>,
    /// Where their files are.
    pub(super) trees: Vec<PathBuf>,
    /// What they were made of, the versions of packages included.
    pub(super) digest: Sha256,
    /// What is installed.
    pub(super) packages: Vec<Package>,
    pub(super) source: Source,
}

/// Makes a stack's run image and its build image, in this order.
pub(super) fn prepare(
    made: &Made,
    stack: &StackName,
    arch: Arch,
    wanted: Wanted<'_>,
    tools: &Tools<'_>,
) -> Result<[ImageRecord; 2], BaseError> {
    let Made { base, packages } = made;
    let locked = wanted.images();
    let [run, build] = match base {
        Base::Images { build, run } => images(build, run, arch, locked, tools)?,
        Base::Tarball { urls, sha256 } => one(tarball(urls, sha256, tools)?),
        Base::Directory(path) => one(directory(path, tools)?),
    };
    let [locked_run, locked_build] = match locked {
        Some(locked) => locked.map(Some),
        None => [None, None],
    };
    check(&run.1, locked_run)?;
    check(&build.1, locked_build)?;
    let is_one = run.0.key == build.0.key;
    let order = |wanted, versions| Order {
        wanted,
        sources: &packages.sources,
        versions,
    };
    let of = |locked| wanted.versions(locked);
    let run = Draft::new(run, stack, arch)?;
    let run = apt::install(run, &order(&packages.run, of(locked_run)), tools)?;
    let build = if is_one {
        apt::install(
            run.clone(),
            &order(&packages.build, of(locked_build)),
            tools,
        )?
    } else {
        let build = Draft::new(build, stack, arch)?;
        let wanted = packages.of_build();
        apt::install(build, &order(&wanted, of(locked_build)), tools)?
    };
    Ok([run, build].map(Draft::into_record))
}

/// Fails unless what an image is made from has the layers that were locked.
fn check(found: &Source, locked: Option<&LockedImage>) -> Result<(), Drift> {
    match locked.map(|locked| &locked.source) {
        Some(locked) if locked.chain != found.chain => Err(Drift::Base {
            place: found.place.clone(),
            found: found.chain,
            locked: locked.chain,
        }),
        _ => Ok(()),
    }
}

/// What an image was made from is asked for by its digest, so that a tag that has moved does no harm.
fn pinned(place: &Place, locked: Option<&LockedImage>) -> Place {
    match (place, locked.and_then(|locked| locked.source.digest)) {
        (Place::Registry(reference), Some(digest)) => {
            Place::Registry(reference.clone().with_digest(digest))
        }
        _ => place.clone(),
    }
}

fn one(flat: (Flat, Source)) -> [(Flat, Source); 2] {
    [flat.clone(), flat]
}

impl Draft {
    pub(super) fn new(
        (flat, source): (Flat, Source),
        stack: &StackName,
        arch: Arch,
    ) -> Result<Self, FsError> {
        let trees = vec![flat.tree];
        let packages = installed::packages(&trees)?;
        let mut hasher = Hasher::new();
        let chain = flat.chain;
        hasher.update(format!("base {REVISION} {arch} {stack} {chain}\n").as_bytes());
        Ok(Self {
            layers: vec![flat.key],
            trees,
            digest: hasher.finish(),
            packages,
            source,
        })
    }

    fn into_record(self) -> ImageRecord {
        ImageRecord {
            layers: self.layers,
            digest: self.digest,
            packages: self.packages,
            source: Some(self.source),
        }
    }
}

/// The run image, then the build image: on top of the run image, if it continues it.
fn images(
    build: &Place,
    run: &Place,
    arch: Arch,
    locked: Option<[&LockedImage; 2]>,
    tools: &Tools<'_>,
) -> Result<[(Flat, Source); 2], BaseError> {
    let registries = Registries::new((tools.access)()?);
    let oci = tools.oci(&registries);
    let (lower, upper) = resolve(build, run, arch, locked, &oci)?;
    let run = bring(&lower, None, &oci, tools)?;
    let Some(upper) = upper else {
        return Ok(one(run));
    };
    let ids = |image: &Resolved| -> Vec<Sha256> {
        image.layers.iter().map(|layer| layer.diff_id).collect()
    };
    let base = ids(&upper)
        .starts_with(&ids(&lower))
        .then_some((&run.0, lower.layers.len()));
    let build = bring(&upper, base, &oci, tools)?;
    Ok([run, build])
}

/// Looks up the run image and, if it is another, the build image: both before anything large is
/// fetched, so that one that is missing is known at once.
pub(super) fn resolve(
    build: &Place,
    run: &Place,
    arch: Arch,
    locked: Option<[&LockedImage; 2]>,
    oci: &oci::Tools<'_>,
) -> Result<(Resolved, Option<Resolved>), BaseError> {
    let phase = oci
        .observer
        .phase(format!("looking up {run}"), Amount::Unknown);
    let locked = |n: usize| locked.map(|locked| locked[n]);
    let lower = look(run, arch, locked(0), oci)?;
    let upper = if build == run {
        None
    } else {
        phase.detail(build.to_string());
        Some(look(build, arch, locked(1), oci)?)
    };
    phase.done();
    Ok((lower, upper))
}

/// Looks up one image, and fails unless it has the layers that were locked.
fn look(
    place: &Place,
    arch: Arch,
    locked: Option<&LockedImage>,
    oci: &oci::Tools<'_>,
) -> Result<Resolved, BaseError> {
    let found = match oci::resolve(&pinned(place, locked), arch, oci) {
        // What was locked is gone. What is there instead has perhaps the same layers; if not, it
        // says how things have drifted.
        Err(gone) if locked.is_some() && gone.is_not_found() => {
            oci::resolve(place, arch, oci).map_err(|_| gone)?
        }
        found => found?,
    };
    check(&source(&found, chain(&found)?), locked)?;
    Ok(found)
}

/// The chain id of an image's layers.
pub(super) fn chain(image: &Resolved) -> Result<Sha256, ImageError> {
    image::chain(&image.layers).ok_or(ImageError::Empty)
}

/// What is said of an image that was found.
fn source(image: &Resolved, chain: Sha256) -> Source {
    Source {
        place: image.place.to_string(),
        digest: image.manifest,
        index: image.index,
        chain,
        size: image.size(),
    }
}

/// Fetches and flattens an image, unless the store has it; with a base, whose layers it begins
/// with, only what is above it.
fn bring(
    image: &Resolved,
    base: Option<(&Flat, usize)>,
    oci: &oci::Tools<'_>,
    tools: &Tools<'_>,
) -> Result<(Flat, Source), BaseError> {
    let (below, skipped) = base.map_or((None, 0), |(flat, count)| (Some(flat), count));
    let above = Resolved {
        layers: image.layers[skipped..].to_vec(),
        ..image.clone()
    };
    let diff_ids = above.layers.iter().map(|layer| &layer.diff_id);
    let chain = diff_ids.fold(below.map(|flat| flat.chain), |below, diff_id| {
        Some(image::chain_id(below.as_ref(), diff_id))
    });
    let chain = chain.ok_or(ImageError::Empty)?;
    let flat = match (image::flat(&chain, tools.store), below) {
        (Some(flat), _) => flat,
        // It adds nothing.
        (None, Some(below)) if above.layers.is_empty() => below.clone(),
        (None, _) => {
            let blobs = oci::fetch(&above, oci)?;
            let layers: Vec<LayerBlob> = blobs
                .into_iter()
                .zip(&above.layers)
                .map(|(blob, layer)| LayerBlob {
                    blob,
                    diff_id: layer.diff_id,
                })
                .collect();
            flatten(&layers, below, tools)?
        }
    };
    Ok((flat, source(image, chain)))
}

/// A tarball of a root file system is an image's only layer.
fn tarball(
    urls: &[String],
    sha256: &Sha256,
    tools: &Tools<'_>,
) -> Result<(Flat, Source), BaseError> {
    let name = urls.first().map_or_else(String::new, |url| redact(url));
    let download = Download {
        what: name.clone(),
        urls: urls.to_vec(),
        digest: *sha256,
        size: None,
    };
    let fetch = || {
        let phase = tools
            .observer
            .phase(format!("fetching {name}"), Amount::Bytes(0));
        let progress = |bytes| phase.advance(bytes);
        let (store, interrupt) = (tools.store, tools.interrupt);
        let blob = tools.client.fetch(&download, store, interrupt, &progress);
        phase.done();
        blob
    };
    let blob = fetch()?;
    let mut found = identify(&blob, &name, tools)?;
    if found.digest != *sha256 {
        let aside = tools.store.set_aside(&blob)?;
        let aside = aside.display();
        tools.observer.warn(format!(
            "{name} was spoilt in the store: it is at {aside}, and fetched again"
        ));
        found = identify(&fetch()?, &name, tools)?;
    }
    let layer = LayerBlob {
        blob,
        diff_id: found.diff_id,
    };
    let flat = flatten(&[layer], None, tools)?;
    let source = Source {
        place: name,
        digest: Some(*sha256),
        index: None,
        chain: flat.chain,
        size: found.size,
    };
    Ok((flat, source))
}

/// What a file is, compressed and decompressed.
struct Identity {
    digest: Sha256,
    diff_id: Sha256,
    size: u64,
}

fn identify(blob: &Path, name: &str, tools: &Tools<'_>) -> Result<Identity, BaseError> {
    let phase = tools
        .observer
        .phase(format!("reading {name}"), Amount::Unknown);
    let wrong = |source| match source {
        ArchiveError::Interrupted(interrupted) => BaseError::Interrupted(interrupted),
        source => BaseError::Archive {
            what: name.to_owned(),
            source,
        },
    };
    let file = archive::interruptible(sysfs::open(blob)?, tools.interrupt);
    let mut file = HashingReader::new(file);
    let decoded = {
        let mut tar = archive::decoder(&mut file).map_err(wrong)?;
        Sha256::of_reader(&mut tar)
    };
    tools.interrupt.check()?;
    // What a decoder has left unread belongs to the file all the same.
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)
        .map_err(FsError::new("read", blob))?;
    let (digest, size) = file.finish();
    let (diff_id, _) = decoded.map_err(|error| wrong(ArchiveError::Read(error)))?;
    phase.done();
    Ok(Identity {
        digest,
        diff_id,
        size,
    })
}

/// A directory of this host is copied: a build's inputs must not change under it, and what it holds
/// is known by a digest. It is packed as a layer would be, so that its content alone, its times
/// included, decides the digest.
pub(super) fn directory(path: &Path, tools: &Tools<'_>) -> Result<(Flat, Source), BaseError> {
    let name = path.display().to_string();
    let scratch = tools.store.scratch()?;
    let blob = scratch.path().join("directory.tar.gz");
    {
        let phase = tools
            .observer
            .phase(format!("copying {name}"), Amount::Unknown);
        let mut file = sysfs::create_new(&blob)?;
        let how = Pack {
            codec: Codec::Gzip,
            epoch: i64::MAX,
            threads: tools.jobs,
        };
        archive::pack(path, &how, &mut file, tools.interrupt).map_err(|source| match source {
            ArchiveError::Interrupted(interrupted) => BaseError::Interrupted(interrupted),
            ArchiveError::Fs(error) => BaseError::Fs(error),
            source => BaseError::Archive {
                what: name.clone(),
                source,
            },
        })?;
        phase.done();
    }
    let found = identify(&blob, &name, tools)?;
    let layer = LayerBlob {
        blob,
        diff_id: found.diff_id,
    };
    let flat = flatten(&[layer], None, tools)?;
    let source = Source {
        place: name,
        digest: None,
        index: None,
        chain: flat.chain,
        size: found.size,
    };
    Ok((flat, source))
}
