//! What the tests share: a store and a client in a place of their own, and things to download.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pybuild::model::Sha256;
use pybuild::net::{Client, Download, NetError, Settings, Trouble};
use pybuild::store::Store;
use pybuild::sys::interrupt::Interrupt;
use tempfile::TempDir;

pub(crate) const MIB: usize = 1 << 20;
pub(crate) const ETAG: &str = "ETag: \"v1\"";

/// Bytes that repeat nowhere near.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

pub(crate) fn settings() -> Settings {
    Settings {
        tries: 3,
        backoff: Duration::from_millis(2),
        backoff_max: Duration::from_millis(4),
        retry_after_max: Duration::from_millis(5),
        idle_timeout: Duration::from_millis(400),
        low_speed: 1,
        redirects: 4,
        proxy: false,
        ..Settings::default()
    }
}

/// A store, a client and someone who may interrupt.
pub(crate) struct Here {
    _dir: TempDir,
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) interrupt: Interrupt,
    progress: AtomicU64,
}

impl Here {
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    /// With a client of other settings.
    pub(crate) fn with(settings: Settings) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&dir.path().join("store")).expect("a store");
        Self {
            _dir: dir,
            store,
            client: Client::new(settings),
            interrupt: Interrupt::manual().expect("an eventfd"),
            progress: AtomicU64::new(0),
        }
    }

    pub(crate) fn fetch(&self, download: &Download) -> Result<PathBuf, NetError> {
        self.progress.store(0, Ordering::Relaxed);
        let progress = |bytes| {
            self.progress.fetch_add(bytes, Ordering::Relaxed);
        };
        self.client
            .fetch(download, &self.store, &self.interrupt, &progress)
    }

    pub(crate) fn fetch_sound(&self, download: &Download, content: &[u8]) {
        let blob = self.fetch(download).expect("fetched");
        assert_eq!(blob, self.store.blob_path(&download.digest));
        assert_eq!(fs::read(blob).expect("read"), content);
        assert_eq!(self.progress.load(Ordering::Relaxed), content.len() as u64);
        assert_eq!(self.files("partial"), Vec::<PathBuf>::new());
    }

    pub(crate) fn files(&self, room: &str) -> Vec<PathBuf> {
        fs::read_dir(self.store.root().join(room))
            .expect("readdir")
            .map(|entry| entry.expect("readdir").path())
            .collect()
    }
}

pub(crate) fn download(urls: &[String], content: &[u8]) -> Download {
    Download {
        what: "thing.tgz".to_owned(),
        urls: urls.to_vec(),
        digest: Sha256::of(content),
        size: Some(content.len() as u64),
    }
}

/// The only attempt's trouble.
pub(crate) fn trouble(error: &NetError) -> &Trouble {
    let (NetError::Failed { attempts, .. } | NetError::WrongDigest { attempts, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(attempts.0.len(), 1, "{error}");
    &attempts.0[0].trouble
}
