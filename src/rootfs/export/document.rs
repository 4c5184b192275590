//! The documents of an image, as they are written (OCI image specification 1.1: `config.md`,
//! `manifest.md`, `image-index.md`). Pure: the same image gives the same bytes.

use serde_json::{Value, json};

use super::{About, Compression, LayerFile};
use crate::model::{Arch, Sha256};
use crate::rootfs::Image;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// What an image is called in a layout or an index.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Where programs are, for those that run the image otherwise.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What names a document or a layer (`descriptor.md`).
pub(in crate::rootfs) struct Descriptor(Value);

impl Descriptor {
    pub(super) fn of_manifest(manifest: &[u8], arch: Arch, name: &str) -> Self {
        Self(json!({
            "mediaType": MANIFEST,
            "digest": digest(&Sha256::of(manifest)),
            "size": manifest.len(),
            "platform": { "architecture": arch.as_str(), "os": "linux" },
            "annotations": { NAME: name },
        }))
    }
}

fn digest(digest: &Sha256) -> String {
    format!("sha256:{digest}")
}

pub(super) fn config(image: &Image, about: &About<'_>, layers: &[LayerFile]) -> Vec<u8> {
    let About { stack, arch, kind } = about;
    let diff_ids = layers.iter().map(|layer| digest(&layer.layered.diff_id));
    let diff_ids: Vec<String> = diff_ids.collect();
    let config = json!({
        "architecture": arch.as_str(),
        "os": "linux",
        "config": {
            "Env": [PATH],
            "Labels": {
                "org.opencontainers.image.title": format!("{stack}: {kind} image"),
                NAME: stack.as_str(),
                "pybuild.image.kind": kind,
                "pybuild.image.digest": digest(&image.digest),
            },
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    config.to_string().into_bytes()
}

pub(super) fn manifest(config: &[u8], layers: &[LayerFile], compression: Compression) -> Vec<u8> {
    let media_type = match compression {
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    };
    let layers = layers.iter().map(|layer| {
        json!({
            "mediaType": media_type,
            "digest": digest(&layer.layered.digest),
            "size": layer.layered.size,
        })
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": CONFIG,
            "digest": digest(&Sha256::of(config)),
            "size": config.len(),
        },
        "layers": layers.collect::<Vec<Value>>(),
    });
    manifest.to_string().into_bytes()
}

/// An index, with annotations of its own.
pub(in crate::rootfs) fn index(entries: &[Descriptor], annotations: &[(&str, String)]) -> Vec<u8> {
    let entries: Vec<&Value> = entries.iter().map(|entry| &entry.0).collect();
    let mut index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": entries,
    });
    let annotations = annotations.iter();
    let annotations: serde_json::Map<String, Value> = annotations
        .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
        .collect();
    if !annotations.is_empty() {
        index["annotations"] = annotations.into();
    }
    index.to_string().into_bytes()
}
