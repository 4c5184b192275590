//! Images in tar archives: what `docker save` writes, in its old form (`manifest.json`, a tar
//! archive for each layer) and in its newer one (an OCI layout).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use serde::Deserialize;

use super::document::{Config, Descriptor, DocumentError, LAYER_LIMIT, LayerRef, json};
use super::error::{ArchiveFailure, OciError, stream};
use super::layout::{check_version, root, same_name};
use super::tarball::Tarball;
use super::walk::{Image, Role, Source, verify, walk};
use super::{Resolved, Tools};
use crate::archive::{ArchiveError, Limits, decoder};
use crate::model::{Arch, Hasher, Quiet, Sha256};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;

/// An archive that has been looked at.
pub(super) struct Archive<'a> {
    file: &'a Path,
    shown: String,
    tar: Tarball<'a>,
}

/// An image as the old form lists it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What is in an archive.
pub(super) enum Inside {
    /// An image with a manifest.
    Image(Image),
    /// One that has none: its configuration's digest and the configuration, its layers.
    Bare(Sha256, Config, Vec<LayerRef>),
}

/// How a member becomes a blob.
#[derive(Clone, PartialEq, Eq)]
struct Wanted {
    digest: Sha256,
    /// As it lies there, or decompressed.
    raw: bool,
}

impl<'a> Archive<'a> {
    pub(super) fn open(
        file: &'a Path,
        shown: String,
        interrupt: &'a Interrupt,
    ) -> Result<Self, OciError> {
        let tar = Tarball::open(file, interrupt)?;
        Ok(Self { file, shown, tar })
    }

    /// The image of a name, or the only one.
    pub(super) fn resolve(&mut self, name: Option<&str>, arch: Arch) -> Result<Inside, OciError> {
        if self.is_layout()? {
            let index = self.tar.document("index.json")?;
            let root = root(&index, name, self)?;
            return walk(root, arch, self).map(Inside::Image);
        }
        let listed = self.listed(name)?;
        let bytes = self.tar.document(&listed.config)?;
        let config = Config::parse(&bytes, arch)
            .map_err(|source| self.wrong("the configuration", source))?;
        let (layers, diff_ids) = (listed.layers.len(), config.diff_ids.len());
        if layers != diff_ids {
            let error = DocumentError::Layers { layers, diff_ids };
            return Err(self.wrong("the file manifest.json", error));
        }
        if layers == 0 {
            let error = DocumentError::Refused("it has no layers");
            return Err(self.wrong("the file manifest.json", error));
        }
        let mut found = Vec::new();
        for (name, diff_id) in listed.layers.iter().zip(&config.diff_ids) {
            let (_, size) = self.tar.follow(name)?;
            // It is kept decompressed: by what it is known, and the archive says nothing else.
            found.push(LayerRef {
                digest: *diff_id,
                size,
                codec: None,
                diff_id: *diff_id,
                urls: Vec::new(),
            });
        }
        Ok(Inside::Bare(Sha256::of(&bytes), config, found))
    }

    fn is_layout(&self) -> Result<bool, OciError> {
        if !self.tar.has("oci-layout") || !self.tar.has("index.json") {
            return Ok(false);
        }
        let bytes = self.tar.document("oci-layout")?;
        check_version(&bytes).map_err(|error| self.wrong("the file oci-layout", error))?;
        Ok(true)
    }

    fn wrong(&self, what: &str, source: DocumentError) -> OciError {
        OciError::Document {
            what: format!("{what} of {}", self.shown),
            source,
        }
    }

    fn listed(&self, name: Option<&str>) -> Result<Listed, OciError> {
        let bytes = self.tar.document("manifest.json")?;
        let mut listed: Vec<Listed> = json(&bytes, "a list of images")
            .map_err(|error| self.wrong("the file manifest.json", error))?;
        let tags = |image: &Listed| image.repo_tags.clone().unwrap_or_default();
        let names = listed.iter().flat_map(tags).collect();
        listed.retain(|image| {
            name.is_none_or(|name| tags(image).iter().any(|tag| same_name(tag, name)))
        });
        match <[Listed; 1]>::try_from(listed) {
            Ok([one]) => Ok(one),
            Err(several) => Err(OciError::Which {
                place: self.shown.clone(),
                wanted: name.filter(|_| several.is_empty()).map(str::to_owned),
                names,
            }),
        }
    }

    /// Takes the layers out of the archive and into the store.
    pub(super) fn fetch(
        &self,
        name: Option<&str>,
        resolved: &Resolved,
        tools: &Tools<'_>,
        progress: &(dyn Fn(u64) + Sync),
        each: &(dyn Fn() + Sync),
    ) -> Result<(), OciError> {
        let wanted = self.wanted(name, resolved)?;
        let mut missing = Vec::new();
        for wanted in wanted.values() {
            if tools.store.blob(&wanted.digest).is_none() {
                missing.push(wanted.digest);
            }
        }
        self.tar.pass(&mut |entry, path, content| {
            let Some(wanted) = wanted.get(path) else {
                return Ok(());
            };
            if missing.contains(&wanted.digest) {
                deposit(wanted, content, entry.size, self.file, tools, progress)?;
                missing.retain(|digest| *digest != wanted.digest);
            } else {
                progress(entry.size);
            }
            each();
            Ok(())
        })?;
        match missing.first() {
            None => Ok(()),
            Some(digest) => Err(OciError::Place {
                place: self.shown.clone(),
                why: format!("its layer {digest} is not there any more"),
            }),
        }
    }

    /// Which members are to become which blobs.
    fn wanted(
        &self,
        name: Option<&str>,
        resolved: &Resolved,
    ) -> Result<BTreeMap<Vec<u8>, Wanted>, OciError> {
        let raw = self.is_layout()?;
        let names: Vec<String> = if raw {
            let blob = |layer: &LayerRef| format!("blobs/sha256/{}", layer.digest);
            resolved.layers.iter().map(blob).collect()
        } else {
            self.listed(name)?.layers
        };
        let mut wanted = BTreeMap::new();
        for (name, layer) in names.iter().zip(&resolved.layers) {
            let (path, size) = self.tar.follow(name)?;
            if size > LAYER_LIMIT || (raw && size != layer.size) {
                let error = DocumentError::Refused("a layer is not as large as it is said to be");
                return Err(self.wrong("the manifest", error));
            }
            let digest = layer.digest;
            let this = Wanted { digest, raw };
            let other = wanted.insert(path, this.clone());
            if other.is_some_and(|other| other != this) {
                let error = DocumentError::Refused("it gives one layer two diff ids");
                return Err(self.wrong("the configuration", error));
            }
        }
        Ok(wanted)
    }
}

impl Source for Archive<'_> {
    fn what(&self) -> String {
        self.shown.clone()
    }

    fn read(&mut self, descriptor: &Descriptor, role: Role) -> Result<Vec<u8>, OciError> {
        let name = format!("blobs/sha256/{}", descriptor.digest);
        let bytes = self.tar.document(&name)?;
        let what = format!("{} of {}", role.what(), self.shown);
        verify(&bytes, descriptor.digest, &what)?;
        Ok(bytes)
    }
}

/// Makes a blob of what a reader gives, if that is what it should be.
fn deposit(
    wanted: &Wanted,
    content: &mut (dyn Read + Send),
    size: u64,
    archive: &Path,
    tools: &Tools<'_>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), ArchiveFailure> {
    let Wanted { digest, raw } = wanted;
    let store = tools.store;
    let scratch = store.scratch().map_err(OciError::from)?;
    let path = scratch.path().join("layer");
    let mut file = sysfs::create_new(&path).map_err(OciError::from)?;
    let counted = Counted {
        inner: content,
        progress,
    };
    let limit = Limits::for_compressed(size).bytes;
    let found = if *raw {
        copy(counted, &mut file, limit, &path)?
    } else {
        let decoded = decoder(counted)?;
        copy(decoded, &mut file, limit, &path)?
    };
    if found != *digest {
        let what = format!("a layer in {}", archive.display());
        return Err(ArchiveFailure::Oci(OciError::Digest {
            what,
            expected: *digest,
            found,
        }));
    }
    let synced = file.sync_data().map_err(FsError::new("fsync", &path));
    synced.map_err(OciError::from)?;
    let key = format!("blob-{digest}");
    let _lock = store
        .lock(&key, &Quiet, tools.interrupt)
        .map_err(OciError::from)?;
    sysfs::rename_durably(&path, &store.blob_path(digest)).map_err(OciError::from)?;
    Ok(())
}

/// Copies everything, and gives its digest.
fn copy(
    mut from: impl Read,
    to: &mut File,
    limit: u64,
    path: &Path,
) -> Result<Sha256, ArchiveFailure> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut copied = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(stream(error).into()),
        };
        copied += read as u64;
        if copied > limit {
            let what = "bytes in a layer";
            return Err(ArchiveError::Limit { what, limit }.into());
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])
            .map_err(FsError::new("write", path))
            .map_err(OciError::from)?;
    }
}

/// Tells of what passes through.
struct Counted<'a> {
    inner: &'a mut (dyn Read + Send),
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        (self.progress)(read as u64);
        Ok(read)
    }
}
