//! Reading a mirror: nothing is believed but what has the digest that it was named by.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::PathBuf;

use serde::Deserialize;

use super::record::{ANNOTATION, Record};
use super::{Mirror, MirrorError};
use crate::model::{Arch, Hasher, Phase, Sha256, StackKey, StackName};
use crate::rootfs::Tools;
use crate::rootfs::oci::{self, LayerRef, Named, OciError};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;

/// Bytes of an index, a manifest or a configuration at most.
const DOCUMENT: u64 = 4 << 20;
/// Bytes of a record at most. One of 3,000 packages has a hundredth of it.
const RECORD: u64 = 16 << 20;
/// What the images are called in the index.
pub(super) const RUN: &str = "run";
pub(super) const BUILD: &str = "build";

/// A mirror that is being read.
pub(super) struct Reader<'a> {
    pub(super) mirror: &'a dyn Mirror,
    pub(super) interrupt: &'a Interrupt,
}

/// What a mirror says of a stack, by its small documents alone.
pub(super) struct Described {
    /// The digest of the index.
    pub(super) index: Sha256,
    pub(super) record: Record,
    pub(super) run: Named,
    pub(super) build: Named,
    /// What the index leads to, but for the index itself: digests and sizes.
    pub(super) objects: Vec<(Sha256, u64)>,
}

#[derive(Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

impl Reader<'_> {
    /// What there is of a stack; of this very index, if its digest is known.
    pub(super) fn describe(
        &self,
        stack: &StackName,
        arch: Arch,
        digest: Option<&Sha256>,
    ) -> Result<Option<Described>, MirrorError> {
        let key = match digest {
            Some(digest) => StackKey::Blob(*digest),
            None => StackKey::Index(stack.clone(), arch),
        };
        let what = self.what(&key);
        let Some(index) = self.small(&key, DOCUMENT)? else {
            return Ok(None);
        };
        let found = Sha256::of(&index);
        if let Some(expected) = digest {
            is(&what, *expected, found)?;
        }
        let (record_digest, record) = self.record(&index, &what)?;
        if (&record.stack, record.arch) != (stack, arch) {
            return Err(MirrorError::Other {
                what,
                stack: record.stack,
                arch: record.arch,
            });
        }
        let mut objects = vec![record_digest];
        let [run, build] = [RUN, BUILD].map(|name| {
            let mut read = |digest: &Sha256, size: u64, role: &str| {
                objects.push((*digest, size));
                let bytes = self.named(digest, DOCUMENT, role);
                bytes.map_err(|error| OciError::Mirror(Box::new(error)))
            };
            let shown = format!("{what} ({name})");
            oci::named(&index, name, arch, &shown, &mut read).map_err(MirrorError::from)
        });
        let (run, build) = (run?, build?);
        for layer in run.layers.iter().chain(&build.layers) {
            objects.push((layer.digest, layer.size));
        }
        objects.sort_unstable();
        objects.dedup();
        Ok(Some(Described {
            index: found,
            record,
            run,
            build,
            objects,
        }))
    }

    /// The record that an index names, and what names it.
    fn record(&self, index: &[u8], what: &str) -> Result<((Sha256, u64), Record), MirrorError> {
        let wrong = |why: &str| MirrorError::Document {
            what: what.to_owned(),
            why: why.to_owned(),
        };
        let annotated: Annotated =
            serde_json::from_slice(index).map_err(|_| wrong("it is no index"))?;
        let named = annotated.annotations.get(ANNOTATION);
        let digest = named.and_then(|text| text.strip_prefix("sha256:")?.parse().ok());
        let digest = digest.ok_or_else(|| wrong("it names no record"))?;
        let bytes = self.named(&digest, RECORD, "the index")?;
        let record = Record::parse(&bytes).map_err(|why| MirrorError::Document {
            what: self.what(&StackKey::Blob(digest)),
            why,
        })?;
        Ok(((digest, bytes.len() as u64), record))
    }

    /// A small document of this digest.
    fn named(&self, digest: &Sha256, limit: u64, role: &str) -> Result<Vec<u8>, MirrorError> {
        let key = StackKey::Blob(*digest);
        let bytes = self.small(&key, limit)?;
        let bytes = bytes.ok_or_else(|| MirrorError::Missing {
            what: self.what(&key),
            by: if role == "the configuration" {
                "the manifest"
            } else {
                "the index"
            },
        })?;
        is(&self.what(&key), *digest, Sha256::of(&bytes))?;
        Ok(bytes)
    }

    fn small(&self, key: &StackKey, limit: u64) -> Result<Option<Vec<u8>>, MirrorError> {
        let Some(reader) = self.open(key)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = reader.take(limit + 1).read_to_end(&mut bytes);
        self.interrupt.check()?;
        read.map_err(self.failed(key))?;
        if bytes.len() as u64 > limit {
            let (what, expected) = (self.what(key), limit);
            return Err(MirrorError::Size { what, expected });
        }
        Ok(Some(bytes))
    }

    /// Brings a layer into the store, verified while it comes.
    pub(super) fn bring(
        &self,
        layer: &LayerRef,
        phase: &Phase<'_>,
        tools: &Tools<'_>,
    ) -> Result<PathBuf, MirrorError> {
        let LayerRef { digest, size, .. } = layer;
        let store = tools.store;
        let key = format!("blob-{digest}");
        let _lock = store.lock(&key, tools.observer, tools.interrupt)?;
        oci::check(layer, store, tools.observer, tools.interrupt)?;
        if let Some(blob) = store.blob(digest) {
            phase.advance(*size);
            return Ok(blob);
        }
        let key = StackKey::Blob(*digest);
        let reader = self.open(&key)?.ok_or_else(|| MirrorError::Missing {
            what: self.what(&key),
            by: "the manifest",
        })?;
        let scratch = store.scratch()?;
        let path = scratch.path().join("layer");
        let mut file = sysfs::create_new(&path)?;
        let found = self.copy(reader, (&mut file, &path), *size, &key, phase)?;
        is(&self.what(&key), *digest, found)?;
        file.sync_all().map_err(FsError::new("fsync", &path))?;
        let blob = store.blob_path(digest);
        sysfs::rename_durably(&path, &blob)?;
        Ok(blob)
    }

    /// Reads no more than there should be, and one byte.
    fn copy(
        &self,
        mut reader: Box<dyn Read + Send + '_>,
        (file, path): (&mut File, &std::path::Path),
        size: u64,
        key: &StackKey,
        phase: &Phase<'_>,
    ) -> Result<Sha256, MirrorError> {
        let (mut hasher, mut length) = (Hasher::new(), 0u64);
        let mut buffer = vec![0; 256 << 10];
        loop {
            self.interrupt.check()?;
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(key)(error)),
            };
            length += read as u64;
            if length > size {
                break;
            }
            hasher.update(&buffer[..read]);
            let write = file.write_all(&buffer[..read]);
            write.map_err(FsError::new("write", path))?;
            phase.advance(read as u64);
        }
        if length != size {
            let (what, expected) = (self.what(key), size);
            return Err(MirrorError::Size { what, expected });
        }
        Ok(hasher.finish())
    }

    fn open(&self, key: &StackKey) -> Result<Option<Box<dyn Read + Send + '_>>, MirrorError> {
        let opened = self.mirror.read(&key.to_string(), self.interrupt);
        // Whatever it failed with: the wish to stop is not the mirror's fault.
        self.interrupt.check()?;
        opened.map_err(MirrorError::Place)
    }

    fn failed(&self, key: &StackKey) -> impl FnOnce(io::Error) -> MirrorError + use<> {
        let what = self.what(key);
        move |source| MirrorError::Read { what, source }
    }

    fn what(&self, key: &StackKey) -> String {
        format!("{}{key}", self.mirror.shown())
    }
}

fn is(what: &str, expected: Sha256, found: Sha256) -> Result<(), MirrorError> {
    if expected == found {
        return Ok(());
    }
    Err(MirrorError::Digest {
        what: what.to_owned(),
        expected,
        found,
    })
}
