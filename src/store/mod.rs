//! pybuild's own directory on this host: safe for many processes, safe to kill at any point.
//!
//! ```text
//! blobs/<digest>        downloads, by their SHA-256; never changed once there
//! partial/<digest>      downloads under way: resumed by the next run
//! layers/<key>/         root filesystem layers: `tree/`, what it holds, and `layer.json`
//! rootfs/<key>.json     which layers make a stack, and what they were made of
//! artifacts/<build id>/ packaged prefixes and their records
//! logs/<build id>.log   what a build printed
//! scratch/<name>/       work under way; its lock dies with its process, then it is swept
//! set-aside/            what did not match its digest: kept to be looked at, never used
//! locks/                one lock file a key; `use-<key>` is shared by whoever uses a stack or a
//!                       layer, `stacks` by whoever prepares a stack
//! ```
//!
//! Everything is written beside, synced, renamed into place, and its directory synced.

mod scratch;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Observer, Sha256};
use crate::sys::fs::{self as sysfs, FileLock, FsError};
use crate::sys::interrupt::{Interrupt, Interrupted};

pub use scratch::Scratch;

/// The layout's version, in the file `layout`.
const LAYOUT: &str = "1\n";
const ROOMS: [&str; 9] = [
    "blobs",
    "partial",
    "layers",
    "rootfs",
    "artifacts",
    "logs",
    "scratch",
    "set-aside",
    "locks",
];

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Another pybuild made it.
    #[error("the store {} has layout {found:?}, this pybuild writes {LAYOUT:?}", path.display())]
    Layout {
        /// The store.
        path: PathBuf,
        /// What its `layout` file says.
        found: String,
    },
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// The lock that whoever prepares a stack shares, and whoever removes one has alone.
pub const STACKS: &str = "stacks";

/// The store of one host.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// What this process uses of it, until the last clone goes; `None` if it is only looked at.
    used: Option<Arc<Mutex<BTreeMap<Sha256, FileLock>>>>,
}

/// Where the store is when nobody says: `$PYBUILD_HOME`, else `/var/cache/pybuild` as root, else
/// below `$XDG_CACHE_HOME`, else below `$HOME`. Pure: takes the environment as a function.
pub fn default_root(is_root: bool, env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(home) = set("PYBUILD_HOME") {
        return Some(PathBuf::from(home));
    }
    if is_root {
        return Some(PathBuf::from("/var/cache/pybuild"));
    }
    // The XDG base directory specification says that a relative path is to be ignored.
    let cache = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    cache
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .map(|cache| cache.join("pybuild"))
}

impl Store {
    /// Opens a store, making it where it is not there yet.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let this = Self {
            root: root.to_owned(),
            used: Some(Arc::default()),
        };
        if !this.is_there()? {
            for room in ROOMS {
                sysfs::create_dir_all(&root.join(room))?;
            }
            sysfs::write_atomically(&this.layout_path(), LAYOUT.as_bytes())?;
        }
        Ok(this)
    }

    /// A store only to look at, which makes nothing: one that is not there has nothing.
    pub fn look(root: &Path) -> Result<Self, StoreError> {
        let this = Self {
            root: root.to_owned(),
            used: None,
        };
        this.is_there()?;
        Ok(this)
    }

    fn layout_path(&self) -> PathBuf {
        self.root.join("layout")
    }

    fn is_there(&self) -> Result<bool, StoreError> {
        match fs::read_to_string(self.layout_path()) {
            Ok(found) if found == LAYOUT => Ok(true),
            Ok(found) => Err(StoreError::Layout {
                path: self.root.clone(),
                found,
            }),
            Err(_) => Ok(false),
        }
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the blob of this digest is, or would be.
    pub fn blob_path(&self, digest: &Sha256) -> PathBuf {
        self.root.join("blobs").join(digest.to_string())
    }

    /// The blob of this digest, if the store has it.
    pub fn blob(&self, digest: &Sha256) -> Option<PathBuf> {
        Some(self.blob_path(digest)).filter(|path| path.is_file())
    }

    /// Where a download of this digest collects its bytes until it is whole.
    pub fn partial_path(&self, digest: &Sha256) -> PathBuf {
        self.root.join("partial").join(digest.to_string())
    }

    /// Makes a whole, verified and synced partial download the blob of its digest.
    pub fn promote_partial(&self, digest: &Sha256) -> Result<PathBuf, StoreError> {
        let blob = self.blob_path(digest);
        sysfs::rename_durably(&self.partial_path(digest), &blob)?;
        Ok(blob)
    }

    /// Where the layer of this key is, or would be.
    pub fn layer_path(&self, key: &Sha256) -> PathBuf {
        self.root.join("layers").join(key.to_string())
    }

    /// The keys of all layers, sorted.
    pub fn layers(&self) -> Result<Vec<Sha256>, FsError> {
        self.keys("layers", "")
    }

    /// The digests of all blobs, sorted.
    pub fn blobs(&self) -> Result<Vec<Sha256>, FsError> {
        self.keys("blobs", "")
    }

    /// The keys of all prepared root filesystems, sorted.
    pub fn stacks(&self) -> Result<Vec<Sha256>, FsError> {
        self.keys("rootfs", ".json")
    }

    /// The keys in a room, in names that end so; none in a room that is not there.
    fn keys(&self, room: &str, end: &str) -> Result<Vec<Sha256>, FsError> {
        let room = self.root.join(room);
        let entries = match fs::read_dir(&room) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(FsError::new("readdir", &room))?,
        };
        let mut keys = Vec::new();
        for entry in entries {
            let name = entry.map_err(FsError::new("readdir", &room))?.file_name();
            let key = name.to_str().and_then(|name| name.strip_suffix(end));
            keys.extend(key.and_then(|key| key.parse::<Sha256>().ok()));
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// Where the description of a prepared root filesystem is, or would be.
    pub fn rootfs_path(&self, key: &Sha256) -> PathBuf {
        self.root.join("rootfs").join(format!("{key}.json"))
    }

    /// Where the artifact of this build is, or would be.
    pub fn artifact_path(&self, build: &Sha256) -> PathBuf {
        self.root.join("artifacts").join(build.to_string())
    }

    /// Where the log of this build is, or would be.
    pub fn log_path(&self, build: &Sha256) -> PathBuf {
        self.root.join("logs").join(format!("{build}.log"))
    }

    /// A fresh directory for work under way, removed when it is dropped.
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        Scratch::create(&self.root.join("scratch"))
    }

    /// Removes what killed processes left behind. Cheap when there is nothing.
    pub fn sweep(&self) -> Result<(), StoreError> {
        scratch::sweep(&self.root.join("scratch"))
    }

    /// Takes the lock of `key`, waiting for whoever holds it, and saying so.
    pub fn lock(
        &self,
        key: &str,
        observer: &dyn Observer,
        interrupt: &Interrupt,
    ) -> Result<FileLock, StoreError> {
        self.wait(key, FileLock::try_exclusive, observer, interrupt)
    }

    /// The same, beside others who take it so.
    pub fn lock_shared(
        &self,
        key: &str,
        observer: &dyn Observer,
        interrupt: &Interrupt,
    ) -> Result<FileLock, StoreError> {
        self.wait(key, FileLock::try_shared, observer, interrupt)
    }

    /// Takes the lock of `key` if nobody has it.
    pub fn try_lock(&self, key: &str) -> Result<Option<FileLock>, StoreError> {
        Ok(FileLock::try_exclusive(&self.lock_path(key))?)
    }

    fn wait(
        &self,
        key: &str,
        take: fn(&Path) -> Result<Option<FileLock>, FsError>,
        observer: &dyn Observer,
        interrupt: &Interrupt,
    ) -> Result<FileLock, StoreError> {
        let path = self.lock_path(key);
        let mut told = false;
        loop {
            interrupt.check()?;
            if let Some(lock) = take(&path)? {
                return Ok(lock);
            }
            if !told {
                observer.note(format!("waiting for another pybuild that holds {key}"));
                told = true;
            }
            interrupt.sleep(Duration::from_millis(50))?;
        }
    }

    fn lock_path(&self, key: &str) -> PathBuf {
        self.root.join("locks").join(key)
    }

    /// Says that this process uses the stack or the layer of this key, until this store and its
    /// clones are gone; false if it is being removed just now. Whoever only looks says nothing.
    pub fn hold(&self, key: &Sha256) -> Result<bool, StoreError> {
        let Some(used) = &self.used else {
            return Ok(true);
        };
        let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.contains_key(key) {
            return Ok(true);
        }
        let lock = FileLock::try_shared(&self.lock_path(&usage(key)))?;
        let is_held = lock.is_some();
        used.extend(lock.map(|lock| (*key, lock)));
        Ok(is_held)
    }

    /// What must be had for a stack or a layer to be removed; `None` if somebody uses it.
    pub fn claim(&self, key: &Sha256) -> Result<Option<FileLock>, StoreError> {
        self.try_lock(&usage(key))
    }

    /// Puts something that does not match its digest where nobody uses it, and says where.
    pub fn set_aside(&self, path: &Path) -> Result<PathBuf, StoreError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let room = self.root.join("set-aside");
        let mut n = 0u32;
        let to = loop {
            let to = room.join(format!("{name}.{n}"));
            if fs::symlink_metadata(&to).is_err() {
                break to;
            }
            n += 1;
        };
        sysfs::rename_durably(path, &to)?;
        Ok(to)
    }
}

fn usage(key: &Sha256) -> String {
    format!("use-{key}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Quiet;

    #[test]
    fn what_is_used_cannot_be_claimed_until_the_last_user_is_gone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let open = || Store::open(dir.path()).expect("a store");
        let (key, other) = (Sha256::of(b"a"), Sha256::of(b"b"));
        let (one, two) = (open(), open());
        assert!(one.hold(&key).expect("held") && two.hold(&key).expect("held"));
        assert!(one.hold(&key).expect("held"), "a second time");
        assert!(two.claim(&other).expect("free").is_some());
        let clone = one.clone();
        drop((one, two));
        assert!(open().claim(&key).expect("looked at").is_none());
        drop(clone);
        let remover = open();
        let claimed = remover.claim(&key).expect("free");
        assert!(claimed.is_some());
        assert!(!open().hold(&key).expect("looked at"), "it is going");
        let looking = Store::look(dir.path()).expect("a store");
        assert!(looking.hold(&key).expect("nothing is done"));
    }

    #[test]
    fn the_store_is_where_the_environment_says() {
        type Env = &'static [(&'static str, &'static str)];
        let env = |pairs: Env| {
            move |name: &str| {
                let found = pairs.iter().find(|(key, _)| *key == name)?;
                Some(found.1.to_owned())
            }
        };
        let home = &[("HOME", "/home/u"), ("XDG_CACHE_HOME", "")][..];
        let table: [(bool, Env, Option<&str>); 6] = [
            (true, &[("PYBUILD_HOME", "/p")], Some("/p")),
            (true, &[("HOME", "/root")], Some("/var/cache/pybuild")),
            (
                false,
                &[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")],
                Some("/c/pybuild"),
            ),
            (
                false,
                &[("XDG_CACHE_HOME", "c"), ("HOME", "/h")],
                Some("/h/.cache/pybuild"),
            ),
            (false, home, Some("/home/u/.cache/pybuild")),
            (false, &[], None),
        ];
        for (is_root, pairs, root) in table {
            assert_eq!(default_root(is_root, env(pairs)), root.map(PathBuf::from));
        }
    }

    #[test]
    fn a_store_of_another_layout_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Store::open(dir.path()).expect("a new store");
        Store::open(dir.path()).expect("the same store again");
        fs::write(dir.path().join("layout"), "2\n").expect("write");
        for opened in [Store::open(dir.path()), Store::look(dir.path())] {
            assert!(matches!(opened, Err(StoreError::Layout { .. })));
        }
    }

    #[test]
    fn looking_makes_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("store");
        let store = Store::look(&root).expect("nothing is wrong with it");
        assert_eq!(store.blob(&Sha256::of(b"")), None);
        assert!(!root.exists());
    }

    #[test]
    fn what_is_set_aside_never_replaces_what_was() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path()).expect("a new store");
        let path = dir.path().join("blobs/bad");
        for n in 0..2 {
            fs::write(&path, n.to_string()).expect("write");
            let to = store.set_aside(&path).expect("set aside");
            assert_eq!(fs::read_to_string(to).expect("read"), n.to_string());
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_held_lock_is_waited_for() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path()).expect("a new store");
        let interrupt = Interrupt::manual().expect("an eventfd");
        let held = store.lock("k", &Quiet, &interrupt).expect("free");
        let waiter = std::thread::spawn({
            let (store, interrupt) = (store.clone(), interrupt.clone());
            move || store.lock("k", &Quiet, &interrupt).map(drop)
        });
        interrupt.raise(nix::sys::signal::Signal::SIGINT);
        assert!(matches!(
            waiter.join().expect("no panic"),
            Err(StoreError::Interrupted(_))
        ));
        drop(held);
    }
}
