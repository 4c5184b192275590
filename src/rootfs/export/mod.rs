//! A stack's images for others: their layers as tar archives, with the owners and modes that are
//! meant, and the documents that make images of them.
//!
//! ```text
//! Image ─▶ layers with their ownership (archive::Layer) ─▶ files in a scratch directory
//!                                                           ─▶ configuration, manifest, index
//! ```

pub(super) mod document;

use std::fs::File;
use std::path::{Path, PathBuf};

use self::document::Descriptor;
use super::{Image, Rootfs, layer};
use crate::archive::{ArchiveError, Codec, Layer, Layered, Merged, PackLayer};
use crate::model::{Amount, Arch, Bytes, Observer, Sha256, StackName};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::{Interrupt, Interrupted};

/// Why an image cannot be given on.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A layer cannot be read or packed.
    #[error("the layer {} cannot be packed: {source}", tree.display())]
    Layer {
        /// Where its files are.
        tree: PathBuf,
        /// Why.
        source: ArchiveError,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// What giving images on works with.
pub struct Exporter<'a> {
    /// Where packed layers are put: they are left there.
    pub scratch: &'a Path,
    /// What layers are compressed with.
    pub compression: Compression,
    /// Threads that compress. The bytes do not depend on it.
    pub threads: usize,
    /// Is told of the progress.
    pub observer: &'a dyn Observer,
    /// Says when to stop.
    pub interrupt: &'a Interrupt,
}

/// What the layers of an image may be compressed with (`layer.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip: read by everything that reads images.
    Gzip,
    /// Zstandard: smaller, and faster to unpack.
    Zstd,
}

impl Compression {
    fn codec(self) -> Codec {
        match self {
            Self::Gzip => Codec::Gzip,
            Self::Zstd => Codec::Zstd,
        }
    }
}

/// An image, packed.
#[derive(Debug, Clone)]
pub struct Exported {
    /// Its layers, the lowest first.
    pub layers: Vec<LayerFile>,
    /// Its configuration (OCI image specification, `config.md`).
    pub config: Vec<u8>,
    /// Its manifest (`manifest.md`).
    pub manifest: Vec<u8>,
}

/// A layer, packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub layered: Layered,
}

/// What an image is called, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The stack.
    pub stack: &'a StackName,
    /// For which machines it is.
    pub arch: Arch,
    /// `build` or `run`.
    pub kind: &'a str,
}

impl Rootfs {
    /// What its images are called where they are given on.
    pub fn about<'a>(&'a self, kind: &'a str) -> About<'a> {
        About {
            stack: &self.stack,
            arch: self.arch,
            kind,
        }
    }
}

/// What lies on top of each other, and the files that it was packed to.
#[derive(Clone, Default)]
struct Pile {
    merged: Merged,
    files: Vec<LayerFile>,
}

impl Exporter<'_> {
    /// Packs an image, layer by layer.
    pub fn image(&self, image: &Image, about: &About<'_>) -> Result<Exported, ExportError> {
        let mut pile = Pile::default();
        for (n, tree) in image.layers.iter().enumerate() {
            let title = format!("packing layer {} of {}", n + 1, image.layers.len());
            self.put(&mut pile, self.read(tree)?, tree, title)?;
        }
        Ok(self.exported(pile, image, about))
    }

    /// Packs a stack's run image and its build image, in this order: the build image begins with
    /// the run image's layers, if it has them or shares files with them.
    pub fn pair(&self, rootfs: &Rootfs) -> Result<[Exported; 2], ExportError> {
        let Rootfs { run, build, .. } = rootfs;
        let mut pile = Pile::default();
        for tree in &run.layers {
            let title = format!("packing {}'s run image", rootfs.stack);
            self.put(&mut pile, self.read(tree)?, tree, title)?;
        }
        let title = format!("packing {}'s build image", rootfs.stack);
        let lower = self.exported(pile.clone(), run, &rootfs.about("run"));
        if let Some(above) = build.layers.strip_prefix(&run.layers[..]) {
            for tree in above {
                self.put(&mut pile, self.read(tree)?, tree, title.clone())?;
            }
        } else {
            let mut whole = Merged::default();
            let mut layers = Vec::new();
            for tree in &build.layers {
                layers.push((whole.add(self.read(tree)?), tree));
            }
            if let (Some(changes), Some(tree)) =
                (whole.changed_from(&pile.merged), build.layers.last())
            {
                self.put(&mut pile, changes, tree, title)?;
            } else {
                pile = Pile::default();
                for (layer, tree) in layers {
                    self.put(&mut pile, layer, tree, title.clone())?;
                }
            }
        }
        let upper = self.exported(pile, build, &rootfs.about("build"));
        Ok([lower, upper])
    }

    /// Packs all of an image as one tarball, to where `out` stands. Nothing is synced.
    pub fn tarball(
        &self,
        image: &Image,
        codec: Option<Codec>,
        out: &mut File,
    ) -> Result<Layered, ExportError> {
        let mut merged = Merged::default();
        for tree in &image.layers {
            drop(merged.add(self.read(tree)?));
        }
        let total = Amount::Bytes(merged.size());
        let phase = self.observer.phase("packing the root file system", total);
        let progress = |bytes| phase.advance(bytes);
        let how = PackLayer {
            codec,
            threads: self.threads,
        };
        let packed = how.merged(&merged, out, &progress, self.interrupt);
        let whole = image.layers.last().map_or(Path::new(""), |tree| tree);
        let packed = packed.map_err(|source| failed(whole, source))?;
        phase.done_with(Bytes(packed.size).to_string());
        Ok(packed)
    }

    fn read(&self, tree: &Path) -> Result<Layer, ExportError> {
        let ownership = layer::ownership(tree.parent().unwrap_or(tree))?;
        let read = Layer::read(tree, ownership.as_ref(), self.interrupt);
        read.map_err(|source| failed(tree, source))
    }

    fn put(
        &self,
        pile: &mut Pile,
        layer: Layer,
        tree: &Path,
        title: String,
    ) -> Result<(), ExportError> {
        let below = pile.merged.clone();
        let layer = pile.merged.add(layer);
        let path = self.free();
        let mut file = sysfs::create_new(&path)?;
        let phase = self.observer.phase(title, Amount::Bytes(layer.size()));
        let progress = |bytes| phase.advance(bytes);
        let how = PackLayer {
            codec: Some(self.compression.codec()),
            threads: self.threads,
        };
        let layered = how
            .layer(&layer, &below, &mut file, &progress, self.interrupt)
            .map_err(|source| failed(tree, source))?;
        phase.done_with(Bytes(layered.size).to_string());
        pile.files.push(LayerFile { path, layered });
        Ok(())
    }

    /// A name in the scratch directory that nothing has.
    fn free(&self) -> PathBuf {
        let names = (0..).map(|n: u32| self.scratch.join(format!("layer-{n}")));
        let mut free = names.skip_while(|path| path.exists());
        free.next().unwrap_or_default()
    }

    fn exported(&self, pile: Pile, image: &Image, about: &About<'_>) -> Exported {
        let layers = pile.files;
        let config = document::config(image, about, &layers);
        let manifest = document::manifest(&config, &layers, self.compression);
        Exported {
            layers,
            config,
            manifest,
        }
    }
}

impl Exported {
    /// What names it in an index.
    pub(super) fn descriptor(&self, about: &About<'_>, name: &str) -> Descriptor {
        Descriptor::of_manifest(&self.manifest, about.arch, name)
    }

    /// The `index.json` of an OCI image layout that has this image alone (`image-layout.md`).
    pub fn index(&self, about: &About<'_>) -> Vec<u8> {
        let name = about.stack.as_str();
        document::index(&[self.descriptor(about, name)], &[])
    }

    /// The digest of its manifest.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.manifest)
    }
}

/// What the file `oci-layout` says (`image-layout.md`).
pub const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

fn failed(tree: &Path, source: ArchiveError) -> ExportError {
    match source {
        ArchiveError::Interrupted(interrupted) => interrupted.into(),
        ArchiveError::Fs(error) => error.into(),
        source => ExportError::Layer {
            tree: tree.to_owned(),
            source,
        },
    }
}
