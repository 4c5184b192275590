//! What layers show together, and what of it another has changed. Pure.

use std::collections::{BTreeMap, HashMap};

use super::super::tree::split;
use super::super::walk::{FileId, What};
use super::{Entry, Layer};

/// Several layers as the one tree that they show.
#[derive(Clone, Default)]
pub struct Merged(pub(super) BTreeMap<Vec<u8>, Entry>);

impl Merged {
    /// Puts a layer on top; gives the layer back, with what it has copied from below as it was
    /// meant there.
    #[must_use]
    pub fn add(&mut self, mut layer: Layer) -> Layer {
        for path in layer.whiteouts.iter().chain(&layer.opaque) {
            self.remove(path);
        }
        for (path, entry) in &mut layer.entries {
            match self.0.get(path) {
                Some(below) if is_dir(below) && is_dir(entry) => entry.continues(below),
                Some(below) => {
                    if !is_dir(below) && !is_dir(entry) {
                        entry.continues(below);
                    }
                    self.remove(path);
                }
                None => {}
            }
            self.0.insert(path.clone(), entry.clone());
        }
        layer
    }

    /// The layer that, put on top of `below`, gives this. `None` if it would have as much in it as
    /// this has.
    pub fn changed_from(&self, below: &Self) -> Option<Layer> {
        let mut layer = Layer::default();
        let mut shared = 0u64;
        for (path, entry) in &self.0 {
            if below.0.get(path).is_some_and(|other| same(entry, other)) {
                shared += entry.size();
                continue;
            }
            // Whose it is does not depend any more on what is below.
            let entry = Entry {
                said: true,
                copied: false,
                ..entry.clone()
            };
            layer.entries.insert(path.clone(), entry);
        }
        if shared == 0 {
            return None;
        }
        let is_left = |dir: &[u8]| self.0.get(dir).is_some_and(is_dir);
        for path in below.0.keys() {
            // What is gone with its directory needs no word of its own.
            if !self.0.contains_key(path) && is_left(split(path).0) {
                layer.whiteouts.insert(path.clone());
            }
        }
        Some(layer)
    }

    /// Bytes of its files. One with several names counts once for each.
    pub fn size(&self) -> u64 {
        self.0.values().map(Entry::size).sum()
    }

    /// The names of files, for those that link to one.
    pub(super) fn names(&self) -> HashMap<FileId, Vec<u8>> {
        let mut names = HashMap::new();
        for (path, entry) in &self.0 {
            if let What::File { id, .. } = entry.item.what {
                names.entry(id).or_insert_with(|| path.clone());
            }
        }
        names
    }

    fn remove(&mut self, path: &[u8]) {
        self.0.remove(path);
        let below = [path, b"/"].concat();
        let inside = self.0.range(below.clone()..);
        let inside = inside.take_while(|(path, _)| path.starts_with(&below));
        let inside: Vec<Vec<u8>> = inside.map(|(path, _)| path.clone()).collect();
        for path in inside {
            self.0.remove(&path);
        }
    }
}

impl Entry {
    pub(super) fn size(&self) -> u64 {
        match self.item.what {
            What::File { size, .. } => size,
            _ => 0,
        }
    }

    /// Takes over what the copy of something below does not say itself.
    fn continues(&mut self, below: &Self) {
        let kinds = (&self.item.what, &below.item.what);
        let alike = matches!(
            kinds,
            (What::Directory, What::Directory) | (What::File { .. }, What::File { .. })
        );
        if !alike || !self.copied || self.said {
            return;
        }
        let (mine, theirs) = (&mut self.item.attributes, &below.item.attributes);
        mine.uid = theirs.uid;
        mine.gid = theirs.gid;
        // A mode that was changed since is meant so.
        if self.disk == below.disk {
            mine.mode = theirs.mode;
        }
        for (name, value) in &theirs.xattrs {
            // `user.*` is on the disk, and was copied or removed there.
            if !name.starts_with(b"user.") {
                mine.xattrs.insert(name.clone(), value.clone());
            }
        }
    }
}

fn is_dir(entry: &Entry) -> bool {
    entry.item.what == What::Directory
}

/// Whether two entries of a path are the same file, or as good as that.
fn same(one: &Entry, other: &Entry) -> bool {
    one.item == other.item
}
