//! The documents that images are made of, as others wrote them: index, manifest, configuration.
//! Read strictly: what two readers could read in two ways is refused. Pure.
//!
//! Formats: the OCI image specification 1.1 (`image-index.md`, `manifest.md`, `config.md`), and
//! Docker's image manifest version 2, schema 2.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::media::{self, Media};
use crate::archive::Codec;
use crate::model::{Arch, Sha256};

/// Bytes of a document at most. The OCI distribution specification asks registries to take
/// manifests of 4 MiB.
pub(super) const LIMIT: u64 = 4 << 20;
/// Layers of an image at most. Docker's limit is 127.
const LAYERS: usize = 512;
/// Bytes of a layer at most, as it lies in a registry.
pub(super) const LAYER_LIMIT: u64 = 32 << 30;
/// Entries of an index at most.
const ENTRIES: usize = 4096;

/// Why a document is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON, or not the JSON of such a document.
    #[error("is not the JSON of {what}: {why}, line {line}, column {column}")]
    Json {
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        why: &'static str,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// It is a manifest of Docker's first schema.
    #[error(
        "is a manifest of Docker's schema 1, which was given up in 2017: the image must be pushed again by a newer Docker"
    )]
    SchemaOne,
    /// It says to be something else than it was announced to be, or than it looks like.
    #[error("is announced as `{announced}` but is {found}")]
    Ambiguous {
        /// The media type.
        announced: String,
        /// What it is.
        found: String,
    },
    /// It is something that is no image.
    #[error("is `{0}`, which is no image's")]
    Media(String),
    /// A digest cannot be used.
    #[error("has the digest `{0}`: it takes sha256 and 64 hexadecimal digits")]
    Digest(String),
    /// It is inconsistent or too much.
    #[error("is refused: {0}")]
    Refused(&'static str),
    /// It has another number of layers than its configuration says.
    #[error("has {layers} layers, but its configuration has {diff_ids} diff ids")]
    Layers {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// There is no image of this platform.
    #[error("has no image for linux/{wanted}{}", offered(.found))]
    Platform {
        /// What was asked for.
        wanted: Arch,
        /// What there is.
        found: Vec<String>,
    },
}

fn offered(found: &[String]) -> String {
    match found {
        [] => String::new(),
        found => format!(", it is for {}", found.join(", ")),
    }
}

/// What names a blob or a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Sha256,
    pub(super) size: u64,
    /// Where it may be had besides.
    pub(super) urls: Vec<String>,
    pub(super) platform: Option<Platform>,
    /// The names that a layout gives it.
    pub(super) names: Vec<String>,
}

/// What an entry of an index is for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// What a registry or a layout gives for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Document {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
}

/// An image, as far as its manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// What an image is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) created: Option<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) diff_ids: Vec<Sha256>,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRef {
    /// Of the layer as it is fetched.
    pub digest: Sha256,
    /// How many bytes that is.
    pub size: u64,
    /// How it is compressed, by its media type; `None` is plain tar.
    pub codec: Option<Codec>,
    /// Of the layer's tar archive, decompressed.
    pub diff_id: Sha256,
    /// Where it may be had if the registry does not have it: anybody's servers, which are told
    /// nothing of who asks.
    pub urls: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    created: Option<String>,
    config: Option<RawSettings>,
    rootfs: RawRootfs,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawSettings {
    env: Option<Vec<String>>,
    labels: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default, rename = "type")]
    kind: String,
    diff_ids: Option<Vec<String>>,
}

/// Reads JSON. The library's message may quote what is in it, which is nobody's to print.
pub(super) fn json<T: DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(|error| DocumentError::Json {
        what,
        why: match error.classify() {
            serde_json::error::Category::Data => "something is missing or of another type",
            serde_json::error::Category::Eof => "it ends too early",
            _ => "no JSON",
        },
        line: error.line(),
        column: error.column(),
    })
}

/// A digest as documents write it.
pub(super) fn digest(text: &str) -> Result<Sha256, DocumentError> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    let lower = !hex.bytes().any(|byte| byte.is_ascii_uppercase());
    let digest = hex.parse().ok().filter(|_| lower);
    digest.ok_or_else(|| DocumentError::Digest(shown(text)))
}

impl Document {
    /// Reads an index or a manifest that was announced with this media type, if with any. All
    /// that is known of what it is must agree (CVE-2021-41190).
    pub(super) fn parse(bytes: &[u8], announced: Option<&str>) -> Result<Self, DocumentError> {
        let raw: RawDocument = json(bytes, "an image's manifest or index")?;
        let said = raw.media_type.as_deref();
        let is_old = raw.schema_version == Some(1) || raw.fs_layers.is_some();
        let medias = [announced, said].map(|text| text.and_then(media::of));
        if is_old || medias.contains(&Some(Media::SchemaOne)) {
            return Err(DocumentError::SchemaOne);
        }
        if raw.schema_version != Some(2) {
            return Err(DocumentError::Refused("its schema's version is not 2"));
        }
        let (found, shape) = match (&raw.manifests, &raw.config, &raw.layers) {
            (Some(_), None, None) => (Media::Index, "an index"),
            (None, Some(_), Some(_)) => (Media::Manifest, "a manifest"),
            (Some(_), _, _) => {
                return Err(DocumentError::Refused("it is index and manifest at once"));
            }
            _ => return Err(DocumentError::Refused("it is neither index nor manifest")),
        };
        for (text, media) in [(announced, medias[0]), (said, medias[1])] {
            let (Some(text), Some(media)) = (text, media) else {
                continue;
            };
            if media != found {
                return Err(DocumentError::Ambiguous {
                    announced: shown(text),
                    found: shape.to_owned(),
                });
            }
        }
        // What was announced may be `application/json`; what it says of itself is meant.
        if let (Some(text), None) = (said, medias[1]) {
            return Err(DocumentError::Media(shown(text)));
        }
        if let (Some(announced), Some(said), Some(_)) = (announced, said, medias[0])
            && bare(announced) != bare(said)
        {
            return Err(DocumentError::Ambiguous {
                announced: shown(announced),
                found: format!("`{}`", shown(said)),
            });
        }
        match (raw.manifests, raw.config, raw.layers) {
            (Some(entries), _, _) => index(entries).map(Self::Index),
            (None, Some(config), Some(layers)) => manifest(config, layers).map(Self::Manifest),
            _ => Err(DocumentError::Refused("it is neither index nor manifest")),
        }
    }
}

fn bare(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// What a document says, as a message shows it: without what would steer a terminal, and cut.
pub(super) fn shown(text: &str) -> String {
    let start: String = text.chars().take(100).collect();
    start.escape_debug().to_string()
}

fn index(entries: Vec<RawDescriptor>) -> Result<Vec<Descriptor>, DocumentError> {
    if entries.len() > ENTRIES {
        return Err(DocumentError::Refused("it has too many entries"));
    }
    // What else is in an index (signatures, say, of other digests) is nothing to us.
    let known = |entry: &RawDescriptor| {
        let media = entry.media_type.as_deref().and_then(media::of);
        matches!(media, Some(Media::Index | Media::Manifest))
    };
    entries.into_iter().filter(known).map(descriptor).collect()
}

fn descriptor(raw: RawDescriptor) -> Result<Descriptor, DocumentError> {
    let annotations = raw.annotations.unwrap_or_default();
    let names = [
        "org.opencontainers.image.ref.name",
        "io.containerd.image.name",
    ];
    Ok(Descriptor {
        digest: digest(&raw.digest)?,
        media_type: raw.media_type.unwrap_or_default(),
        size: raw.size,
        urls: raw.urls.unwrap_or_default(),
        platform: raw.platform,
        names: names
            .iter()
            .filter_map(|name| annotations.get(*name).cloned())
            .collect(),
    })
}

fn manifest(config: RawDescriptor, layers: Vec<RawDescriptor>) -> Result<Manifest, DocumentError> {
    let config = descriptor(config)?;
    if media::of(&config.media_type) != Some(Media::Config) {
        return Err(DocumentError::Media(shown(&config.media_type)));
    }
    if config.size > LIMIT {
        return Err(DocumentError::Refused("its configuration is too large"));
    }
    if layers.len() > LAYERS {
        return Err(DocumentError::Refused("it has too many layers"));
    }
    let layers = layers.into_iter().map(descriptor);
    let layers: Vec<Descriptor> = layers.collect::<Result<_, _>>()?;
    for (n, layer) in layers.iter().enumerate() {
        if layer.size == 0 {
            return Err(DocumentError::Refused("it has a layer of no bytes"));
        }
        if layer.size > LAYER_LIMIT {
            return Err(DocumentError::Refused("it has a layer that is too large"));
        }
        let same = layers[..n]
            .iter()
            .find(|other| other.digest == layer.digest);
        if same.is_some_and(|other| other.size != layer.size) {
            return Err(DocumentError::Refused("it gives one layer two sizes"));
        }
    }
    Ok(Manifest { config, layers })
}

impl Config {
    /// Reads a configuration, which must be one for this platform.
    pub(super) fn parse(bytes: &[u8], wanted: Arch) -> Result<Self, DocumentError> {
        let raw: RawConfig = json(bytes, "an image's configuration")?;
        if raw.os != "linux" || raw.architecture != wanted.as_str() {
            let found = shown(&format!("{}/{}", raw.os, raw.architecture));
            return Err(DocumentError::Platform {
                wanted,
                found: vec![found],
            });
        }
        if raw.rootfs.kind != "layers" {
            return Err(DocumentError::Refused(
                "its root file system is not made of layers",
            ));
        }
        let diff_ids = raw.rootfs.diff_ids.unwrap_or_default();
        let diff_ids: Vec<Sha256> = diff_ids
            .iter()
            .map(|text| digest(text))
            .collect::<Result<_, _>>()?;
        let (env, labels) = raw.config.map_or_else(Default::default, |config| {
            (
                config.env.unwrap_or_default(),
                config.labels.unwrap_or_default(),
            )
        });
        if env.iter().any(|entry| entry.contains('\0')) {
            return Err(DocumentError::Refused("its environment holds a NUL"));
        }
        let pair = |entry: &String| {
            let (name, value) = entry.split_once('=')?;
            (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
        };
        Ok(Self {
            created: raw.created,
            env: env.iter().filter_map(pair).collect(),
            labels: labels.into_iter().collect(),
            diff_ids,
        })
    }
}

/// A manifest and its configuration, put together.
pub(super) fn layers(manifest: &Manifest, config: &Config) -> Result<Vec<LayerRef>, DocumentError> {
    let diff_ids = &config.diff_ids;
    if manifest.layers.len() != diff_ids.len() {
        return Err(DocumentError::Layers {
            layers: manifest.layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    if diff_ids.is_empty() {
        return Err(DocumentError::Refused("it has no layers"));
    }
    let pairs = manifest.layers.iter().zip(diff_ids);
    let mut layers: Vec<LayerRef> = Vec::new();
    for (layer, diff_id) in pairs {
        let Some(Media::Layer { codec, foreign }) = media::of(&layer.media_type) else {
            return Err(DocumentError::Media(shown(&layer.media_type)));
        };
        let same = layers.iter().find(|other| other.digest == layer.digest);
        if same.is_some_and(|other| other.diff_id != *diff_id) {
            return Err(DocumentError::Refused("it gives one layer two diff ids"));
        }
        layers.push(LayerRef {
            digest: layer.digest,
            size: layer.size,
            codec,
            diff_id: *diff_id,
            urls: if foreign {
                layer.urls.clone()
            } else {
                Vec::new()
            },
        });
    }
    Ok(layers)
}

/// The entry of an index that is for this platform, or that may lead to it. An image for the
/// oldest processors comes first: what this host is, nobody here knows.
pub(super) fn choose(entries: &[Descriptor], wanted: Arch) -> Result<&Descriptor, DocumentError> {
    let rank = |entry: &&Descriptor| match &entry.platform {
        // An image without a platform says in its configuration what it is for.
        None => Some(10),
        Some(Platform {
            os,
            architecture,
            variant,
        }) => {
            if os != "linux" || architecture != wanted.as_str() {
                return None;
            }
            match (wanted, variant.as_deref().unwrap_or_default()) {
                (_, "") | (Arch::Amd64, "v1") | (Arch::Arm64, "v8") => Some(0),
                // x86-64-v3, say: not for every host of this architecture.
                _ => None,
            }
        }
    };
    let ranked = entries
        .iter()
        .filter_map(|entry| Some((rank(&entry)?, entry)));
    // The first of the best, as the specification has it.
    let best = ranked.min_by_key(|(rank, _)| *rank);
    best.map(|(_, entry)| entry).ok_or_else(|| {
        let platforms = entries.iter().filter_map(|entry| entry.platform.as_ref());
        let mut found: Vec<String> = platforms
            .map(|platform| {
                let variant = platform.variant.as_deref();
                let variant = variant.map(|variant| format!("/{variant}"));
                let (os, architecture) = (&platform.os, &platform.architecture);
                shown(&format!(
                    "{os}/{architecture}{}",
                    variant.unwrap_or_default()
                ))
            })
            .filter(|platform| platform != "unknown/unknown") // attestations
            .collect();
        found.dedup();
        found.truncate(20);
        DocumentError::Platform { wanted, found }
    })
}

#[cfg(test)]
mod tests;
