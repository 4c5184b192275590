//! From what a name gives to one image for one platform: index, manifest, configuration. The same
//! wherever the documents are.

use super::document::{
    Config, Descriptor, Document, DocumentError, LIMIT, LayerRef, choose, layers,
};
use super::error::OciError;
use crate::model::{Arch, Sha256};

/// How many indexes may lie in one another. Those that are in use have one.
const DEPTH: usize = 4;

/// What a document is wanted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// An index or a manifest.
    Manifest,
    /// A configuration.
    Config,
}

impl Role {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Manifest => "the manifest",
            Self::Config => "the configuration",
        }
    }
}

/// Where documents are: a registry, a directory, an archive.
pub(super) trait Source {
    /// What is resolved, for messages.
    fn what(&self) -> String;
    /// The document of a descriptor whose size is within [`LIMIT`], sure to have its digest.
    fn read(&mut self, descriptor: &Descriptor, role: Role) -> Result<Vec<u8>, OciError>;
}

/// What a name gives.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) document: Document,
    pub(super) digest: Sha256,
}

/// An image.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) index: Option<Sha256>,
    pub(super) manifest: Sha256,
    pub(super) config_digest: Sha256,
    pub(super) config: Config,
    pub(super) layers: Vec<LayerRef>,
}

/// Goes from the root to the image.
pub(super) fn walk(root: Root, wanted: Arch, source: &mut dyn Source) -> Result<Image, OciError> {
    let Root {
        mut document,
        mut digest,
    } = root;
    let mut index = None;
    let name = source.what();
    let wrong = |what: &str, source| OciError::Document {
        what: format!("{what} of {name}"),
        source,
    };
    for _ in 0..=DEPTH {
        match document {
            Document::Index(entries) => {
                index.get_or_insert(digest);
                let chosen = choose(&entries, wanted).map_err(|error| wrong("the index", error))?;
                let bytes = read(source, chosen, Role::Manifest)?;
                document = Document::parse(&bytes, Some(&chosen.media_type))
                    .map_err(|error| wrong("the manifest", error))?;
                digest = chosen.digest;
            }
            Document::Manifest(manifest) => {
                let bytes = read(source, &manifest.config, Role::Config)?;
                let config = Config::parse(&bytes, wanted)
                    .map_err(|error| wrong("the configuration", error))?;
                let layers =
                    layers(&manifest, &config).map_err(|error| wrong("the manifest", error))?;
                return Ok(Image {
                    index,
                    manifest: digest,
                    config_digest: manifest.config.digest,
                    config,
                    layers,
                });
            }
        }
    }
    let deep = DocumentError::Refused("its indexes lie too deep in one another");
    Err(wrong("the index", deep))
}

fn read(source: &mut dyn Source, descriptor: &Descriptor, role: Role) -> Result<Vec<u8>, OciError> {
    let wrong = |source: &dyn Source, why| OciError::Document {
        what: format!("{} of {}", role.what(), source.what()),
        source: DocumentError::Refused(why),
    };
    if descriptor.size > LIMIT {
        return Err(wrong(source, "it is too large"));
    }
    let bytes = source.read(descriptor, role)?;
    if bytes.len() as u64 != descriptor.size {
        return Err(wrong(source, "it is not as large as it is said to be"));
    }
    Ok(bytes)
}

/// Fails unless bytes have the digest that they should have.
pub(super) fn verify(bytes: &[u8], expected: Sha256, what: &str) -> Result<(), OciError> {
    let found = Sha256::of(bytes);
    if found == expected {
        return Ok(());
    }
    Err(OciError::Digest {
        what: what.to_owned(),
        expected,
        found,
    })
}
