//! Layers in the store: `layers/<key>/tree`, and `layer.json`, which says what is in it. A layer
//! is there as a whole or not at all.

use std::path::{Path, PathBuf};

use nix::unistd::syncfs;
use serde::{Deserialize, Serialize};

use super::Package;
use crate::model::Sha256;
use crate::store::Store;
use crate::sys::fs::{self as sysfs, FsError};

/// A layer that was made in the store's scratch room and is complete.
pub(super) struct Finished {
    /// Its key.
    pub(super) key: Sha256,
    /// The directory with `tree` in it.
    pub(super) path: PathBuf,
    /// What was installed in it.
    pub(super) packages: Vec<Package>,
}

/// What `layer.json` says.
#[derive(Serialize, Deserialize)]
struct Description {
    schema: u32,
    packages: Vec<Package>,
}

/// The root of a layer's files.
pub(super) fn tree(layer: &Path) -> PathBuf {
    layer.join("tree")
}

/// Whether the store has a layer.
pub(super) fn is_there(store: &Store, key: &Sha256) -> bool {
    store.layer_path(key).join("layer.json").is_file()
}

/// What was installed in a layer, if the store has it.
pub(super) fn packages(store: &Store, key: &Sha256) -> Result<Option<Vec<Package>>, FsError> {
    let path = store.layer_path(key).join("layer.json");
    match sysfs::read(&path) {
        Ok(bytes) => {
            let description: Description =
                serde_json::from_slice(&bytes).map_err(FsError::new("read", &path))?;
            Ok(Some(description.packages))
        }
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts layers in their places, the first first, so that none is there without those below it.
/// Synced before: one sync of the file system, since one of each file would take longer by far.
pub(super) fn keep(store: &Store, layers: &[Finished]) -> Result<(), FsError> {
    for Finished {
        key: _,
        path,
        packages,
    } in layers
    {
        let description = Description {
            schema: 1,
            packages: packages.clone(),
        };
        let json = serde_json::to_vec_pretty(&description)
            .map_err(FsError::new("write", &path.join("layer.json")))?;
        std::fs::write(path.join("layer.json"), json)
            .map_err(FsError::new("write", &path.join("layer.json")))?;
    }
    let root = sysfs::open(store.root())?;
    syncfs(&root).map_err(FsError::new("syncfs", store.root()))?;
    for layer in layers {
        let to = store.layer_path(&layer.key);
        // Something without a `layer.json` is no layer: it is in the way.
        sysfs::remove_tree(&to)?;
        sysfs::rename_durably(&layer.path, &to)?;
    }
    Ok(())
}
