//! A store, layers in files, and trees to compare.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pybuild::model::{Quiet, Sha256};
use pybuild::net::{Client, Settings};
use pybuild::rootfs::image::{Flat, ImageError, LayerBlob, flatten};
use pybuild::rootfs::oci::Access;
use pybuild::rootfs::{Mirrors, Tools};
use pybuild::sandbox::Host;
use pybuild::store::Store;
use pybuild::sys::interrupt::Interrupt;
use tempfile::TempDir;

/// A store, and a place for blobs beside it.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    client: Client,
    host: Host,
    pub(crate) interrupt: Interrupt,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // As root, the files belong to another user, who must get through.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
        let store = Store::open(&dir.path().join("store")).expect("a store");
        Self {
            host: Host::probe(dir.path()).expect("a host"),
            client: Client::new(Settings::default()),
            interrupt: Interrupt::manual().expect("an eventfd"),
            store,
            dir,
        }
    }

    /// The same place, with its store opened at `root`.
    pub(crate) fn at(root: &Path) -> Self {
        let place = Self::new();
        let store = Store::open(root).expect("a store");
        Self { store, ..place }
    }

    pub(crate) fn flatten(
        &self,
        layers: &[LayerBlob],
        base: Option<&Flat>,
    ) -> Result<Flat, ImageError> {
        flatten(
            layers,
            base,
            &Tools {
                store: &self.store,
                client: &self.client,
                host: &self.host,
                observer: &Quiet,
                interrupt: &self.interrupt,
                mirrors: Mirrors::none(),
                mirror: None,
                access: &|| Ok(Access::default()),
                jobs: 1,
            },
        )
    }

    /// A layer in a file: the first ones as gzip, zstd, plain, and so on.
    pub(crate) fn layer(&self, tar: &[u8]) -> LayerBlob {
        let diff_id = Sha256::of(tar);
        let packed = match diff_id.as_bytes()[0] % 3 {
            0 => gzip(tar),
            1 => zstd::encode_all(tar, 1).expect("memory"),
            _ => tar.to_vec(),
        };
        let blob = self.dir.path().join(diff_id.to_string());
        fs::write(&blob, packed).expect("write");
        LayerBlob { blob, diff_id }
    }

    pub(crate) fn layers(&self, tars: &[Vec<u8>]) -> Vec<LayerBlob> {
        tars.iter().map(|tar| self.layer(tar)).collect()
    }

    /// What work under way has left behind.
    pub(crate) fn scratch_is_empty(&self) -> bool {
        let scratch = self.store.root().join("scratch");
        fs::read_dir(scratch).expect("readdir").next().is_none()
    }
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

/// All of a file that two trees can have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) time: (i64, i64),
    /// A file's digest, a symlink's target.
    pub(crate) content: Vec<u8>,
    /// The first path, in their order, that is the same inode.
    pub(crate) same_as: Vec<u8>,
}

/// A tree, by path.
pub(crate) fn look(root: &Path) -> BTreeMap<Vec<u8>, Found> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("readdir") {
            let path = entry.expect("readdir").path();
            if fs::symlink_metadata(&path).expect("lstat").is_dir() {
                dirs.push(path.clone());
            }
            paths.push(path);
        }
        if dir == root {
            paths.push(dir);
        }
    }
    paths.sort();
    let mut first: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut tree = BTreeMap::new();
    for path in paths {
        let name = path.strip_prefix(root).expect("below");
        let name = name.as_os_str().as_bytes().to_vec();
        let stat = fs::symlink_metadata(&path).expect("lstat");
        let kind = stat.file_type();
        let (kind, content) = if kind.is_dir() {
            ("directory", Vec::new())
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).expect("readlink");
            ("symlink", target.as_os_str().as_bytes().to_vec())
        } else if kind.is_fifo() {
            ("pipe", Vec::new())
        } else {
            assert!(kind.is_file(), "{}", path.display());
            let content = Sha256::of(&fs::read(&path).expect("read"));
            ("file", content.to_string().into_bytes())
        };
        let found = Found {
            kind,
            mode: stat.mode() & 0o7777,
            time: (stat.mtime(), stat.mtime_nsec()),
            content,
            same_as: first.entry(stat.ino()).or_insert(name.clone()).clone(),
        };
        tree.insert(name, found);
    }
    tree
}
