//! Layers as tar archives: the same bytes for the same files, wherever and whenever.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};

use super::super::ArchiveError;
use super::super::codec::Codec;
use super::super::pack::{Compress, Zstd, compressed, write_items};
use super::super::tree::{Tree, split};
use super::super::walk::{Attributes, FileId, Item, What, link};
use super::{Entry, Layer, Merged};
use crate::model::{Hasher, Sha256};
use crate::sys::interrupt::Interrupt;

/// Fast, and a tenth smaller than gzip all the same.
const ZSTD: Zstd = Zstd {
    level: 6,
    reach: None,
    job: 16 << 20,
    overlap: 7,
};

/// How to pack a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackLayer {
    /// What to compress with; nothing leaves it as it is.
    pub codec: Option<Codec>,
    /// Threads that compress. The bytes do not depend on it.
    pub threads: usize,
}

/// A layer that was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layered {
    /// The digest of the file.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of the tar archive in it (OCI image specification, `config.md`, diff id).
    pub diff_id: Sha256,
    /// Members.
    pub entries: u64,
}

impl PackLayer {
    /// Packs a layer as the OCI image specification has it (`layer.md`), to where `out` stands.
    /// What it takes away from lower layers comes before what it puts there. `below` is what they
    /// show: a file that has a name there already is linked to that. `progress` is told of bytes
    /// of files. Nothing is synced.
    pub fn layer(
        &self,
        layer: &Layer,
        below: &Merged,
        out: &mut File,
        progress: &dyn Fn(u64),
        interrupt: &Interrupt,
    ) -> Result<Layered, ArchiveError> {
        let mut entries: Vec<Entry> = layer.entries.values().cloned().collect();
        if let Some(any) = entries.first().cloned() {
            let whiteouts = layer.whiteouts.iter().map(|path| whiteout(path));
            let opaque = layer.opaque.iter().map(|dir| opaque(dir));
            let markers = whiteouts.chain(opaque).map(|path| marker(path, &any));
            entries.extend(markers.collect::<Vec<_>>());
        }
        entries.sort_by(|a, b| order(&a.item.path).cmp(order(&b.item.path)));
        // Of what is below, only what stays as it is.
        let mut names = below.names();
        names.retain(|_, path| !layer.hides(path));
        self.write(entries, names, out, progress, interrupt)
    }

    /// Packs all that layers show together, sorted by the bytes of the paths.
    pub fn merged(
        &self,
        merged: &Merged,
        out: &mut File,
        progress: &dyn Fn(u64),
        interrupt: &Interrupt,
    ) -> Result<Layered, ArchiveError> {
        let entries = merged.0.values().cloned().collect();
        self.write(entries, HashMap::new(), out, progress, interrupt)
    }

    fn write(
        &self,
        mut entries: Vec<Entry>,
        names: HashMap<FileId, Vec<u8>>,
        out: &mut File,
        progress: &dyn Fn(u64),
        interrupt: &Interrupt,
    ) -> Result<Layered, ArchiveError> {
        link(entries.iter_mut().map(|entry| &mut entry.item), names);
        let compress = Compress {
            codec: self.codec,
            zstd: ZSTD,
            threads: self.threads,
        };
        let (size, digest, diff_id) = compressed(&compress, out, |out| {
            let mut tar = Hashed(out, Hasher::new());
            let items = entries.iter();
            let items = items.map(|entry| -> (&Tree, &Item) { (&entry.tree, &entry.item) });
            write_items(items, i64::MAX, &mut tar, progress, interrupt)?;
            Ok(tar.1.finish())
        })?;
        Ok(Layered {
            digest,
            size,
            diff_id,
            entries: entries.len() as u64,
        })
    }
}

impl Layer {
    /// Whether something of a lower layer is not what this one shows there.
    fn hides(&self, path: &[u8]) -> bool {
        let mut above = path;
        loop {
            let replaced = match self.entries.get(above) {
                Some(entry) => above == path || entry.item.what != What::Directory,
                None => false,
            };
            let opaque = above != path && self.opaque.contains(above);
            if replaced || opaque || self.whiteouts.contains(above) {
                return true;
            }
            if above.is_empty() {
                return false;
            }
            above = split(above).0;
        }
    }
}

const PREFIX: &[u8] = b".wh.";

fn whiteout(path: &[u8]) -> Vec<u8> {
    let (dir, name) = split(path);
    let name = [PREFIX, name].concat();
    if dir.is_empty() {
        return name;
    }
    [dir, &name].join(&b'/')
}

fn opaque(dir: &[u8]) -> Vec<u8> {
    let name = b".wh..wh..opq";
    if dir.is_empty() {
        return name.to_vec();
    }
    [dir, name].join(&b'/')
}

fn marker(path: Vec<u8>, any: &Entry) -> Entry {
    Entry {
        item: Item {
            path,
            what: What::Marker,
            mtime: 0,
            attributes: Attributes {
                mode: 0o644,
                ..Attributes::default()
            },
        },
        tree: std::sync::Arc::clone(&any.tree),
        disk: 0o644,
        said: true,
        copied: false,
    }
}

/// A directory before what is in it, and in a directory whiteouts before everything else, as the
/// specification asks for.
fn order(path: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    let parts = path.split(|byte| *byte == b'/');
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(|part| (!part.starts_with(PREFIX), part))
}

/// Hashes what passes by.
struct Hashed<'w>(&'w mut dyn Write, Hasher);

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
