//! Stacks go from a store, with the layers and downloads that nothing else refers to.
//!
//! What a stack's record says goes first, then the downloads, since its layers say which those are,
//! then its layers, each at once (into the scratch room, where a sweep finds what a killed process
//! leaves). So at any point the stack is there or it is not; layers that nothing refers to any more
//! are found by the next removal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::layer;
use super::record;
use crate::archive::mtree::{self, ScanError};
use crate::model::{Sha256, StackName};
use crate::store::{STACKS, Store, StoreError};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;

/// What a store has, as far as it matters to a removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Stacks by key: their names, where they can be understood, and all digests that their
    /// records mention.
    pub stacks: BTreeMap<Sha256, (Option<StackName>, BTreeSet<Sha256>)>,
    /// Layers by key, and the blobs that they were made from.
    pub layers: BTreeMap<Sha256, Vec<Sha256>>,
    /// The blobs that are there.
    pub blobs: BTreeSet<Sha256>,
}

/// What is to go, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// The stacks, by key.
    pub stacks: BTreeMap<Sha256, StackName>,
    /// Layers that only these refer to, or nobody.
    pub layers: Vec<Sha256>,
    /// Blobs that only these layers were made from.
    pub blobs: Vec<Sha256>,
}

/// What came of a removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// What is gone.
    pub removal: Removal,
    /// Bytes of the disk that were freed.
    pub bytes: u64,
    /// Layers that somebody still uses, though nothing refers to them: the next removal takes them.
    pub used: Vec<Sha256>,
}

/// Why stacks cannot be removed. Then none of them is.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// Another process uses it.
    #[error("the stack {0} is in use by another pybuild")]
    Used(StackName),
    /// Another process prepares a stack, or removes one.
    #[error("another pybuild is preparing or removing a stack")]
    Busy,
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The layers cannot be looked at.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

impl From<FsError> for RemovalError {
    fn from(error: FsError) -> Self {
        Self::Store(error.into())
    }
}

impl Removal {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self {
            stacks,
            layers,
            blobs,
        } = self;
        stacks.is_empty() && layers.is_empty() && blobs.is_empty()
    }

    /// What goes with stacks of these names. Layers that nothing refers to go along, whatever left
    /// them; if `among` says which, only those. Pure.
    pub fn plan(
        holdings: &Holdings,
        names: &[StackName],
        among: Option<&BTreeSet<Sha256>>,
    ) -> Self {
        let Holdings {
            stacks,
            layers,
            blobs,
        } = holdings;
        let goes = |name: &Option<StackName>| name.clone().filter(|name| names.contains(name));
        let going = stacks
            .iter()
            .filter_map(|(key, (name, _))| Some((*key, goes(name)?)));
        let staying = stacks.values().filter(|(name, _)| goes(name).is_none());
        let referred: BTreeSet<&Sha256> = staying.flat_map(|(_, digests)| digests).collect();
        let may_go = |key: &Sha256| among.is_none_or(|among| among.contains(key));
        let (stay, go): (Vec<_>, Vec<_>) = layers
            .iter()
            .partition(|(key, _)| referred.contains(key) || !may_go(key));
        let needed: BTreeSet<&Sha256> = stay.iter().flat_map(|(_, blobs)| *blobs).collect();
        let is_free = |blob: &&Sha256| blobs.contains(*blob) && !needed.contains(*blob);
        let free: BTreeSet<&Sha256> = go.iter().flat_map(|(_, blobs)| *blobs).collect();
        Self {
            stacks: going.collect(),
            layers: go.iter().map(|(key, _)| **key).collect(),
            blobs: free.into_iter().filter(is_free).copied().collect(),
        }
    }

    /// Bytes of the disk that would be freed.
    pub fn bytes(&self, store: &Store, interrupt: &Interrupt) -> Result<u64, ScanError> {
        let layers = self.layers.iter().map(|key| store.layer_path(key));
        let blobs = self.blobs.iter().map(|key| store.blob_path(key));
        let all: Vec<PathBuf> = layers.chain(blobs).collect();
        mtree::disk_usage(&all, interrupt)
    }
}

impl Holdings {
    /// Looks at a store.
    pub fn read(store: &Store) -> Result<Self, FsError> {
        let mut this = Self::default();
        for key in store.stacks()? {
            let path = store.rootfs_path(&key);
            let text = match sysfs::read(&path) {
                Err(error) if error.source.kind() == ErrorKind::NotFound => continue,
                text => text?,
            };
            let name = record::any(&key, store)?.map(|record| record.stack);
            this.stacks.insert(key, (name, digests(&text)));
        }
        for key in store.layers()? {
            let state = layer::state(store, &key)?;
            let blobs = state.layer().map(|layer| layer.blobs.clone());
            this.layers.insert(key, blobs.unwrap_or_default());
        }
        this.blobs = store.blobs()?.into_iter().collect();
        Ok(this)
    }
}

/// Everything in a text that looks like a digest: so that what another pybuild has written refers
/// to its layers, too.
fn digests(text: &[u8]) -> BTreeSet<Sha256> {
    let words = text.split(|byte| !byte.is_ascii_hexdigit());
    let words = words.filter_map(|word| std::str::from_utf8(word).ok());
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Removes all stacks of these names, and what removals that were killed have left.
pub fn remove(
    store: &Store,
    names: &[StackName],
    interrupt: &Interrupt,
) -> Result<Removed, RemovalError> {
    go(store, names, None, interrupt)
}

/// Removes those of these layers that nothing refers to any more.
pub fn prune(
    store: &Store,
    layers: &BTreeSet<Sha256>,
    interrupt: &Interrupt,
) -> Result<Removed, RemovalError> {
    go(store, &[], Some(layers), interrupt)
}

fn go(
    store: &Store,
    names: &[StackName],
    among: Option<&BTreeSet<Sha256>>,
    interrupt: &Interrupt,
) -> Result<Removed, RemovalError> {
    let _alone = store.try_lock(STACKS)?.ok_or(RemovalError::Busy)?;
    let mut removal = Removal::plan(&Holdings::read(store)?, names, among);
    let claims = removal.stacks.iter().map(|(key, name)| {
        let claim = store.claim(key)?;
        claim.ok_or_else(|| RemovalError::Used(name.clone()))
    });
    let claims = claims.collect::<Result<Vec<_>, _>>()?;
    let mut used = Vec::new();
    let mut held = Vec::new();
    for key in std::mem::take(&mut removal.layers) {
        match store.claim(&key)? {
            Some(claim) => {
                held.push(claim);
                removal.layers.push(key);
            }
            None => used.push(key),
        }
    }
    let bytes = removal.bytes(store, interrupt)?;
    // The last that could stop it.
    for key in removal.stacks.keys() {
        let path = store.rootfs_path(key);
        fs::remove_file(&path).map_err(FsError::new("unlink", &path))?;
        sysfs::sync_parent(&path)?;
    }
    drop(claims);
    for blob in &removal.blobs {
        let path = store.blob_path(blob);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(FsError::new("unlink", &path)(error).into());
            }
            _ => {}
        }
    }
    let scratch = store.scratch()?;
    for key in &removal.layers {
        let to = scratch.path().join(key.to_string());
        sysfs::rename_durably(&store.layer_path(key), &to)?;
    }
    sysfs::remove_tree(scratch.path())?;
    Ok(Removed {
        removal,
        bytes,
        used,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Sha256 {
        Sha256::of(name.as_bytes())
    }

    /// `NAME: DIGEST…` for stacks, `LAYER: BLOB…` for layers, and blobs.
    fn holdings(stacks: &[&str], layers: &[&str], blobs: &str) -> Holdings {
        let split = |text: &str| -> (String, Vec<Sha256>) {
            let (name, rest) = text.split_once(':').expect("a colon");
            let rest = rest.split_whitespace().map(digest).collect();
            (name.to_owned(), rest)
        };
        let stacks = stacks.iter().map(|text| {
            let (name, digests) = split(text);
            (
                digest(text),
                (name.parse().ok(), digests.into_iter().collect()),
            )
        });
        let layers = layers.iter().map(|text| {
            let (name, blobs) = split(text);
            (digest(&name), blobs)
        });
        Holdings {
            stacks: stacks.collect(),
            layers: layers.collect(),
            blobs: blobs.split_whitespace().map(digest).collect(),
        }
    }

    #[test]
    fn only_what_nothing_else_refers_to_goes() {
        let two = || {
            holdings(
                &["a-1: run build-a", "b-1: run build-b"],
                &["run: 1 2", "build-a: 2 3 x", "build-b: 4"],
                "1 2 3 4 source",
            )
        };
        // (what there is, which stacks go, layers that go, blobs that go)
        let table: [(Holdings, &[&str], &str, &str); 7] = [
            (two(), &["a-1"], "build-a", "3"),
            (two(), &["b-1"], "build-b", "4"),
            (two(), &["a-1", "b-1"], "run build-a build-b", "1 2 3 4"),
            (two(), &["c-1"], "", ""),
            // what a killed removal has left goes with the next, whatever that is of
            (
                holdings(&["b-1: run"], &["run: 1", "lost: 1 2"], "1 2"),
                &[],
                "lost",
                "2",
            ),
            // what cannot be understood refers to its layers all the same
            (
                holdings(&["a-1: run", "???: run"], &["run: 1"], "1"),
                &["a-1"],
                "",
                "",
            ),
            // of one name there may be several
            (
                holdings(&["a-1: x", "a-1: y"], &["x:", "y:"], ""),
                &["a-1"],
                "x y",
                "",
            ),
        ];
        for (n, (holdings, names, layers, blobs)) in table.into_iter().enumerate() {
            let names: Vec<StackName> = names
                .iter()
                .map(|name| name.parse().expect("a name"))
                .collect();
            let plan = Removal::plan(&holdings, &names, None);
            let sorted = |text: &str| {
                let mut all: Vec<Sha256> = text.split_whitespace().map(digest).collect();
                all.sort();
                all
            };
            assert_eq!(plan.layers, sorted(layers), "line {n}");
            assert_eq!(plan.blobs, sorted(blobs), "line {n}");
            assert!(plan.stacks.values().all(|name| names.contains(name)));
        }
    }

    #[test]
    fn of_what_nothing_refers_to_some_may_go() {
        let holdings = holdings(&["a-1: run"], &["run: 1", "old: 1 2", "other: 3"], "1 2 3");
        let among = BTreeSet::from([digest("run"), digest("old"), digest("none")]);
        let plan = Removal::plan(&holdings, &[], Some(&among));
        assert_eq!(plan.layers, [digest("old")]);
        assert_eq!(plan.blobs, [digest("2")]);
    }

    #[test]
    fn whatever_wrote_a_record_its_digests_are_seen() {
        let (a, b) = (digest("a"), digest("b"));
        let text = format!("{{\"layers\":[\"{a}\"],\"x\":\"sha256:{b}\",\"y\":\"{a}0\"");
        assert_eq!(digests(text.as_bytes()), BTreeSet::from([a, b]));
        assert_eq!(digests(b"\xff\x00"), BTreeSet::new());
    }
}
