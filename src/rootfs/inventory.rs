//! What a store has of stacks, as it is written down: no tree is walked.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::layer::{self, State};
use super::lock::Locked;
use super::record::{self, ImageRecord};
use super::{Catalog, keys};
use crate::model::{Arch, Sha256, StackName};
use crate::store::Store;
use crate::sys::fs::FsError;

/// All stacks of a store.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Those that can be understood, sorted by name.
    pub stacks: Vec<OnHost>,
    /// The keys of those that cannot: another pybuild wrote them, or a disk has spoilt them.
    pub garbled: Vec<Sha256>,
}

/// A stack that a store has, or had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnHost {
    /// What the store files it under.
    pub key: Sha256,
    /// Its name.
    pub stack: StackName,
    /// For which machines.
    pub arch: Arch,
    /// What it was made from, in a few words.
    pub origin: Option<String>,
    /// When it was.
    pub prepared: Option<SystemTime>,
    /// With compilers and headers.
    pub build: ImageRecord,
    /// What the built software runs on.
    pub run: ImageRecord,
    /// What the store has of its layers: those of the run image, then what the build image has
    /// beside them.
    pub layers: Vec<(Sha256, State)>,
}

impl OnHost {
    /// Whether all of its layers are there.
    pub fn is_whole(&self) -> bool {
        let is_there = |(_, state): &(Sha256, State)| matches!(state, State::There(_));
        self.layers.iter().all(is_there)
    }
}

impl Inventory {
    /// Reads what is written down.
    pub fn read(store: &Store) -> Result<Self, FsError> {
        let mut this = Self::default();
        for key in store.stacks()? {
            let Some(record) = record::any(&key, store)? else {
                this.garbled.push(key);
                continue;
            };
            let mut seen = BTreeSet::new();
            let keys = record.run.layers.iter().chain(&record.build.layers);
            let keys = keys.filter(|key| seen.insert(**key));
            let layers = keys.map(|key| Ok((*key, layer::state(store, key)?)));
            let layers = layers.collect::<Result<Vec<_>, FsError>>()?;
            let written = std::fs::metadata(store.rootfs_path(&key));
            this.stacks.push(OnHost {
                key,
                stack: record.stack,
                arch: record.arch,
                origin: record.origin,
                prepared: written.and_then(|found| found.modified()).ok(),
                build: record.build,
                run: record.run,
                layers,
            });
        }
        this.stacks
            .sort_by(|a, b| (&a.stack, a.arch, a.key).cmp(&(&b.stack, b.arch, b.key)));
        Ok(this)
    }
}

/// What layers take of the disk together, each counted once; `None` if one of them is of an older
/// pybuild, which did not write it down.
pub fn size<'a>(layers: impl IntoIterator<Item = &'a (Sha256, State)>) -> Option<u64> {
    let mut seen = BTreeSet::new();
    let each = layers.into_iter().filter(|(key, _)| seen.insert(*key));
    each.map(|(_, state)| match state {
        State::Missing => Some(0),
        state => Some(state.layer()?.contents.as_ref()?.bytes),
    })
    .sum()
}

/// What a stack of the store is to the manifests that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is what its manifest's name means on this host.
    Used,
    /// It was made from a place that its manifest names, and another that is here comes first.
    Beside,
    /// Its manifest says something else now.
    Changed,
    /// There is no manifest of its name.
    Gone,
    /// It is what the lock of its name says, and was made to be.
    Locked,
}

/// What a stack of the store is to the manifests that there are, and to the lock of its name, if it
/// has one. Pure.
pub fn standing(
    stack: &OnHost,
    all: &[OnHost],
    catalog: &Catalog,
    lock: Option<&Locked>,
) -> Standing {
    if lock.is_some_and(|lock| lock.key(&stack.stack, stack.arch) == stack.key) {
        return Standing::Locked;
    }
    let Ok(manifest) = catalog.get(&stack.stack) else {
        return Standing::Gone;
    };
    let keys: Vec<Sha256> = keys(manifest, stack.arch).collect();
    let is_here = |key: &&Sha256| {
        let mut here = all.iter().filter(|other| other.key == **key);
        here.any(OnHost::is_whole)
    };
    let first = keys.iter().find(is_here);
    match first {
        Some(first) if *first == stack.key => Standing::Used,
        _ if !keys.contains(&stack.key) => Standing::Changed,
        Some(_) => Standing::Beside,
        None => Standing::Used,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::layer::tests::layer_of;
    use super::*;

    pub(in super::super) fn on_host(name: &str, key: Sha256, layers: &[(Sha256, State)]) -> OnHost {
        let image = ImageRecord {
            layers: layers.iter().map(|(key, _)| *key).collect(),
            digest: key,
            packages: Vec::new(),
            source: None,
        };
        OnHost {
            key,
            stack: name.parse().expect("a name"),
            arch: Arch::Amd64,
            origin: None,
            prepared: None,
            build: image.clone(),
            run: image,
            layers: layers.to_vec(),
        }
    }

    #[test]
    fn a_manifest_says_which_of_its_stacks_is_used() {
        let catalog = Catalog::load(None).expect("the shipped manifests");
        let name: StackName = "debian-12".parse().expect("a name");
        let manifest = catalog.get(&name).expect("shipped");
        let keys: Vec<Sha256> = keys(manifest, Arch::Amd64).collect();
        let [first, second, ..] = keys[..] else {
            panic!("it can come from two places");
        };
        let layer = |state| [(Sha256::of(b"layer"), state)];
        let there = layer(State::There(layer_of(1, &[])));
        let missing = layer(State::Missing);
        let of = |key, layers: &[_]| on_host("debian-12", key, layers);
        let (one, two) = (of(first, &there), of(second, &there));
        let broken = of(first, &missing);
        let old = of(Sha256::of(b"old"), &there);
        let other = on_host("none-1", first, &there);
        // (which, those there are, what it is to the manifests)
        let table: [(&OnHost, &[&OnHost], Standing); 8] = [
            (&one, &[&one], Standing::Used),
            (&two, &[&two], Standing::Used),
            (&two, &[&one, &two], Standing::Beside),
            (&two, &[&broken, &two], Standing::Used),
            (&broken, &[&broken, &two], Standing::Beside),
            (&broken, &[&broken], Standing::Used),
            (&old, &[&old, &one], Standing::Changed),
            (&other, &[&other], Standing::Gone),
        ];
        for (n, (stack, all, expected)) in table.into_iter().enumerate() {
            let all: Vec<OnHost> = all.iter().map(|&stack| stack.clone()).collect();
            assert_eq!(standing(stack, &all, &catalog, None), expected, "line {n}");
        }
    }

    #[test]
    fn a_layer_that_is_shared_counts_once_and_an_old_one_makes_the_sum_unknown() {
        let of = |name: &str, state| (Sha256::of(name.as_bytes()), state);
        let one = of("a", State::There(layer_of(100, &[])));
        let two = of("b", State::There(layer_of(20, &[])));
        let missing = of("c", State::Missing);
        let mut older = layer_of(1, &[]);
        older.contents = None;
        let older = of("d", State::There(older));
        assert_eq!(size([&one, &two, &one, &missing]), Some(120));
        assert_eq!(size([&one, &older]), None);
        assert_eq!(size([]), Some(0));
    }
}
