//! Layers in the store: `layers/<key>/tree`; `layer.json`, which says what is in it;
//! `ownership.jsonl`, which says what of the tree cannot lie on the disk (see [`Ownership`]); and
//! `contents`, which says what every path of the tree is ([`mtree`]). A layer is there as a whole or
//! not at all.
//!
//! A layer without `layer.json` is none. So one that is found spoilt is withdrawn by giving that
//! file another name: whoever needs the layer makes it anew.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::syncfs;
use serde::{Deserialize, Serialize};

use super::{Package, Tools};
use crate::archive::Ownership;
use crate::archive::mtree::{self, ScanError};
use crate::model::Sha256;
use crate::store::{Store, StoreError};
use crate::sys::fs::{self as sysfs, FsError};

const OWNERSHIP: &str = "ownership.jsonl";
/// What every path of the tree is.
pub(super) const CONTENTS: &str = "contents";
const DESCRIPTION: &str = "layer.json";
/// What a spoilt layer has in place of `layer.json`.
const SPOILT: &str = "spoilt.json";

/// A layer that was made in the store's scratch room and is complete.
pub(super) struct Finished {
    /// Its key.
    pub(super) key: Sha256,
    /// The directory with `tree` in it.
    pub(super) path: PathBuf,
    /// What was installed in it.
    pub(super) packages: Vec<Package>,
    /// What of its tree does not lie on the disk as it is.
    pub(super) ownership: Ownership,
    /// How it was made.
    pub(super) making: Making,
    /// The blobs of the store that it was made from.
    pub(super) blobs: Vec<Sha256>,
}

/// How a layer was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Making {
    /// Packages were unpacked and configured.
    Bootstrap,
    /// An image, a tarball or a directory was unpacked.
    Image,
    /// The image's own apt installed packages.
    Packages,
}

impl fmt::Display for Making {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bootstrap => "bootstrapped",
            Self::Image => "unpacked",
            Self::Packages => "installed by apt",
        })
    }
}

/// What `layer.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    schema: u32,
    /// What was installed in it.
    pub packages: Vec<Package>,
    /// How it was made, since layers say so.
    #[serde(default)]
    pub making: Option<Making>,
    /// What it holds; none of one that an older pybuild made.
    #[serde(default)]
    pub contents: Option<Contents>,
    /// The blobs of the store that it was made from.
    #[serde(default)]
    pub blobs: Vec<Sha256>,
}

/// What a layer holds, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Paths of its tree.
    pub entries: u64,
    /// What it takes of the disk, in bytes, beside what it shares with layers that were there.
    pub bytes: u64,
    /// What it shares with them.
    pub shared: u64,
    /// The digests of the files beside the tree.
    pub files: BTreeMap<String, Sha256>,
}

/// What the store has of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is there.
    There(Layer),
    /// It was withdrawn, since it was found spoilt.
    Withdrawn(Layer),
    /// Nothing.
    Missing,
    /// Its `layer.json` cannot be understood: why.
    Garbled(String),
}

impl State {
    /// What the layer says of itself.
    pub fn layer(&self) -> Option<&Layer> {
        match self {
            Self::There(layer) | Self::Withdrawn(layer) => Some(layer),
            Self::Missing | Self::Garbled(_) => None,
        }
    }
}

/// The root of a layer's files.
pub(super) fn tree(layer: &Path) -> PathBuf {
    layer.join("tree")
}

/// Who owns what in a layer, and what else of its tree does not lie on the disk as it is: set-id
/// bits, devices. `layer` is the directory with `tree` in it. `None` if an older pybuild has made
/// the layer, which did not write it down.
pub fn ownership(layer: &Path) -> Result<Option<Ownership>, FsError> {
    let path = layer.join(OWNERSHIP);
    let file = match sysfs::open(&path) {
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let read = Ownership::read(&mut BufReader::new(file));
    read.map(Some).map_err(FsError::new("read", &path))
}

fn write_ownership(layer: &Path, ownership: &Ownership) -> Result<(), FsError> {
    let path = layer.join(OWNERSHIP);
    let mut file = BufWriter::new(sysfs::create_new(&path)?);
    let written = ownership.write(&mut file).and_then(|()| file.flush());
    written.map_err(FsError::new("write", &path))
}

/// Whether the store has a layer.
pub(super) fn is_there(store: &Store, key: &Sha256) -> bool {
    store.layer_path(key).join(DESCRIPTION).is_file()
}

/// Where the files of a layer are, if the store has it; it is not removed as long as `store` is
/// open.
pub(super) fn hold(store: &Store, key: &Sha256) -> Result<Option<PathBuf>, StoreError> {
    let is_held = store.hold(key)?;
    // Only now: it may have gone in between.
    Ok((is_held && is_there(store, key)).then(|| tree(&store.layer_path(key))))
}

/// What was installed in a layer, if the store has it.
pub(super) fn packages(store: &Store, key: &Sha256) -> Result<Option<Vec<Package>>, FsError> {
    let path = store.layer_path(key).join(DESCRIPTION);
    match sysfs::read(&path) {
        Ok(bytes) => {
            let layer: Layer =
                serde_json::from_slice(&bytes).map_err(FsError::new("read", &path))?;
            Ok(Some(layer.packages))
        }
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the store has of a layer.
pub fn state(store: &Store, key: &Sha256) -> Result<State, FsError> {
    let dir = store.layer_path(key);
    let read = |name| -> Result<Option<Layer>, Result<State, FsError>> {
        match sysfs::read(&dir.join(name)) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(layer) => Ok(Some(layer)),
                Err(error) => Err(Ok(State::Garbled(format!("its {name}: {error}")))),
            },
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Err(error)),
        }
    };
    let found = || -> Result<State, Result<State, FsError>> {
        Ok(match (read(DESCRIPTION)?, dir.is_dir()) {
            (Some(layer), _) => State::There(layer),
            (None, false) => State::Missing,
            (None, true) => match read(SPOILT)? {
                Some(layer) => State::Withdrawn(layer),
                None => State::Missing,
            },
        })
    };
    found().or_else(|other| other)
}

/// Sees to it that a layer is used no more. Its tree stays for whoever is using it.
pub(super) fn withdraw(store: &Store, key: &Sha256) -> Result<(), FsError> {
    let dir = store.layer_path(key);
    match sysfs::rename_durably(&dir.join(DESCRIPTION), &dir.join(SPOILT)) {
        Err(error) if error.source.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Puts layers in their places, the first first, so that none is there without those below it.
///
/// Before, the file system is synced as a whole, since one sync of each file would take longer by
/// far; what the trees hold is read meanwhile, of which most is still in memory.
pub(super) fn keep(tools: &Tools<'_>, layers: &[Finished]) -> Result<(), StoreError> {
    let store = tools.store;
    for Finished {
        path, ownership, ..
    } in layers
    {
        write_ownership(path, ownership)?;
    }
    let root = sysfs::open(store.root())?;
    std::thread::scope(|scope| {
        let synced = scope.spawn(|| syncfs(&root));
        let described = layers.iter().try_for_each(|layer| describe(layer, tools));
        let synced = synced.join().expect("a sync does not panic");
        synced.map_err(FsError::new("syncfs", store.root()))?;
        described
    })?;
    for layer in layers {
        let described = sysfs::open(&layer.path.join(DESCRIPTION))?;
        let written = [described, sysfs::open(&layer.path.join(CONTENTS))?];
        for file in written {
            file.sync_all()
                .map_err(FsError::new("fsync", &layer.path))?;
        }
        sysfs::sync_parent(&layer.path.join(DESCRIPTION))?;
        let to = store.layer_path(&layer.key);
        // A spoilt layer is in the way. Somebody may be using it still.
        if std::fs::symlink_metadata(&to).is_ok() {
            store.set_aside(&to)?;
        }
        sysfs::rename_durably(&layer.path, &to)?;
    }
    Ok(())
}

/// Writes down what is in a layer, without syncing it.
fn describe(layer: &Finished, tools: &Tools<'_>) -> Result<(), StoreError> {
    let Finished {
        key: _,
        path,
        packages,
        ownership: _, // written before
        making,
        blobs,
    } = layer;
    let scanned = scan(&tree(path), &|_| {}, tools)?;
    // What its owner may not read has no digest; anything else is a disk that fails.
    let failed = |errno: &&Errno| **errno != Errno::EACCES;
    if let Some(errno) = scanned.unreadable.values().find(failed) {
        return Err(FsError::new("read", &tree(path))(*errno).into());
    }
    write(
        &path.join(CONTENTS),
        mtree::write(&scanned.entries).as_bytes(),
    )?;
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(path).map_err(FsError::new("readdir", path))? {
        let entry = entry.map_err(FsError::new("readdir", path))?;
        let kind = entry.file_type().map_err(FsError::new("lstat", path))?;
        if kind.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, read_of(&entry.path(), u64::MAX)?.1);
        }
    }
    let description = Layer {
        schema: 1,
        packages: packages.clone(),
        making: Some(*making),
        contents: Some(Contents {
            entries: scanned.entries.len() as u64,
            bytes: scanned.own,
            shared: scanned.shared,
            files,
        }),
        blobs: blobs.clone(),
    };
    let to = path.join(DESCRIPTION);
    let json = serde_json::to_vec_pretty(&description).map_err(FsError::new("write", &to))?;
    Ok(write(&to, &json)?)
}

/// Reads a tree on all processors. A tree that nobody should be changing and somebody does is an
/// error of the file system's kind.
fn scan(
    tree: &Path,
    progress: &(dyn Fn(u64) + Sync),
    tools: &Tools<'_>,
) -> Result<mtree::Scanned, StoreError> {
    mtree::scan(tree, processors(), progress, tools.interrupt).map_err(|error| match error {
        ScanError::Fs(error) => error.into(),
        ScanError::Interrupted(error) => error.into(),
        ScanError::Changed(path) => {
            let changed = std::io::Error::other("it was changed while it was being read");
            FsError::new("read", &path)(changed).into()
        }
    })
}

/// How many threads read a tree.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let mut file = File::create(path).map_err(FsError::new("create", path))?;
    file.write_all(bytes).map_err(FsError::new("write", path))
}

/// A file beside a tree, and its digest. What is longer than `limit` is cut.
pub(super) fn read_of(path: &Path, limit: u64) -> Result<(Vec<u8>, Sha256), FsError> {
    let file = sysfs::open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(FsError::new("read", path))?;
    let digest = Sha256::of(&bytes);
    Ok((bytes, digest))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A layer that takes so many bytes and was made from these blobs.
    pub(in super::super) fn layer_of(bytes: u64, blobs: &[Sha256]) -> Layer {
        Layer {
            schema: 1,
            packages: Vec::new(),
            making: Some(Making::Image),
            contents: Some(Contents {
                entries: 1,
                bytes,
                shared: 0,
                files: BTreeMap::new(),
            }),
            blobs: blobs.to_vec(),
        }
    }

    #[test]
    fn what_older_pybuilds_wrote_is_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path()).expect("a store");
        let key = Sha256::of(b"layer");
        let state = || state(&store, &key).expect("readable");
        assert_eq!(state(), State::Missing);
        let layer = store.layer_path(&key);
        std::fs::create_dir(&layer).expect("mkdir");
        assert_eq!(state(), State::Missing);
        let older = r#"{"schema": 1, "packages": [{"name": "a", "version": "1", "arch": "all"}]}"#;
        std::fs::write(layer.join(DESCRIPTION), older).expect("written");
        let State::There(found) = state() else {
            panic!("it is there");
        };
        assert_eq!((found.packages.len(), found.contents), (1, None));
        std::fs::write(layer.join(DESCRIPTION), "{").expect("written");
        assert!(matches!(state(), State::Garbled(_)));
    }

    #[test]
    fn a_withdrawn_layer_is_none() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path()).expect("a store");
        let key = Sha256::of(b"layer");
        let layer = store.layer_path(&key);
        std::fs::create_dir(&layer).expect("mkdir");
        let json = serde_json::to_vec(&layer_of(1, &[])).expect("JSON");
        std::fs::write(layer.join(DESCRIPTION), json).expect("written");
        assert!(hold(&store, &key).expect("readable").is_some());
        for _ in 0..2 {
            withdraw(&store, &key).expect("withdrawn");
            assert_eq!(hold(&store, &key).expect("readable"), None);
            let found = state(&store, &key).expect("readable");
            assert_eq!(found, State::Withdrawn(layer_of(1, &[])));
        }
    }
}
