//! What is put to a mirror, and whether it is there already.

use std::path::PathBuf;

use super::read::{BUILD, Described, RUN, Reader};
use super::record::{ANNOTATION, Record};
use super::{Mirror, MirrorError};
use crate::model::{Sha256, StackKey};
use crate::rootfs::Rootfs;
use crate::rootfs::export::{ExportError, Exported, Exporter, document};
use crate::sys::interrupt::Interrupt;

/// Everything that is to be put for a stack.
#[derive(Debug)]
pub struct Parcel {
    /// What goes first, by digest: layers, configurations, manifests, the record, and the index.
    pub blobs: Vec<Blob>,
    /// What goes last, under the stack's name.
    pub index: Vec<u8>,
}

/// Something that is known by its digest.
#[derive(Debug)]
pub struct Blob {
    /// Its digest.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes.
    pub content: Content,
}

/// The bytes of a blob.
#[derive(Debug)]
pub enum Content {
    /// A layer, in a file.
    File(PathBuf),
    /// A document.
    Bytes(Vec<u8>),
}

impl Blob {
    fn document(bytes: Vec<u8>) -> Self {
        Self {
            digest: Sha256::of(&bytes),
            size: bytes.len() as u64,
            content: Content::Bytes(bytes),
        }
    }
}

/// Packs a stack. `key` is what the store files it under.
pub fn parcel(
    rootfs: &Rootfs,
    key: Sha256,
    exporter: &Exporter<'_>,
) -> Result<Parcel, ExportError> {
    let images = exporter.pair(rootfs)?;
    let record = Record::new(rootfs, key);
    // Its fields are texts and numbers.
    let record = serde_json::to_vec(&record).unwrap_or_default();
    let entries: Vec<_> = [RUN, BUILD]
        .into_iter()
        .zip(&images)
        .map(|(kind, image)| image.descriptor(&rootfs.about(kind), kind))
        .collect();
    let named = format!("sha256:{}", Sha256::of(&record));
    let index = document::index(&entries, &[(ANNOTATION, named)]);
    let mut blobs: Vec<Blob> = Vec::new();
    let mut put = |blob: Blob| {
        if blobs.iter().all(|other| other.digest != blob.digest) {
            blobs.push(blob);
        }
    };
    for layer in images.iter().flat_map(|image| &image.layers) {
        put(Blob {
            digest: layer.layered.digest,
            size: layer.layered.size,
            content: Content::File(layer.path.clone()),
        });
    }
    let [run, build] = images;
    let documents = |image: Exported| [image.config, image.manifest];
    for document in documents(run).into_iter().chain(documents(build)) {
        put(Blob::document(document));
    }
    put(Blob::document(record));
    put(Blob::document(index.clone()));
    Ok(Parcel { blobs, index })
}

/// What a mirror has under a stack's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct There {
    /// The digest of the index.
    pub index: Sha256,
    /// Whether its images are the stack's own: they have the same digests, and were made for the
    /// same manifest.
    pub is_same: bool,
    /// The objects that belong to it, and their sizes in bytes: whether they are there has not been
    /// looked at, but for the small ones.
    pub objects: Vec<(StackKey, u64)>,
}

/// What a mirror has of a stack already, by its small documents.
pub fn there(
    mirror: &dyn Mirror,
    rootfs: &Rootfs,
    key: Sha256,
    interrupt: &Interrupt,
) -> Result<Option<There>, MirrorError> {
    let reader = Reader { mirror, interrupt };
    let described = reader.describe(&rootfs.stack, rootfs.arch, None)?;
    Ok(described.map(|described| {
        let Described {
            index,
            record,
            objects,
            ..
        } = described;
        let ours = (rootfs.build.digest, rootfs.run.digest, key);
        let is_same = (record.build.digest, record.run.digest, record.key) == ours;
        let objects = objects.into_iter();
        There {
            index,
            is_same,
            objects: objects
                .map(|(digest, size)| (StackKey::Blob(digest), size))
                .collect(),
        }
    }))
}
