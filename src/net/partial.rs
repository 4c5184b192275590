//! A download under way: bytes in the store, hashed as they come, resumed or discarded.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::transfer::{Failure, Halt, Resume, Sink};
use super::{Download, NetError, Trouble};
use crate::model::{Hasher, Sha256};
use crate::store::Store;
use crate::sys::fs::{FsError, write_atomically};

/// Downloads smaller than this begin anew: remembering how to resume them costs more.
const WORTH_RESUMING: u64 = 1 << 20;
/// What a download of unknown size may have: a server that never ends must not fill the disk.
const UNKNOWN_SIZE_LIMIT: u64 = 8 << 30;

/// What there is of a blob. Whoever has this holds the blob's lock.
pub(super) struct Partial<'a> {
    store: &'a Store,
    download: &'a Download,
    progress: &'a (dyn Fn(u64) + Sync),
    path: PathBuf,
    file: Option<File>,
    hasher: Hasher,
    length: u64,
    /// Where the bytes came from, and what names their version there.
    origin: Option<(Sha256, String)>,
    /// Whether some of the bytes came in an earlier transfer.
    resumed: bool,
    /// The URL that gave the first of them, if this process has seen it.
    giver: Option<Sha256>,
    /// Whether bytes of several transfers have been found not to fit together: from then on each
    /// URL goes on from its own alone, so that one that lies cannot spoil what others give.
    distrust: bool,
    /// The furthest that any transfer got, as told to `progress`.
    furthest: u64,
}

impl<'a> Partial<'a> {
    /// Takes up what an earlier process left, if it left it so that it can be resumed.
    pub(super) fn open(
        store: &'a Store,
        download: &'a Download,
        halt: &Halt<'_>,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> Result<Self, NetError> {
        let path = store.partial_path(&download.digest);
        let mut this = Self {
            store,
            download,
            progress,
            path,
            file: None,
            hasher: Hasher::new(),
            length: 0,
            origin: None,
            resumed: false,
            giver: None,
            distrust: false,
            furthest: 0,
        };
        this.take_up(halt)?;
        Ok(this)
    }

    fn take_up(&mut self, halt: &Halt<'_>) -> Result<(), NetError> {
        let Ok(found) = fs::symlink_metadata(&self.path) else {
            return Ok(());
        };
        let whole = Some(found.len()) == self.download.size;
        self.origin = fs::read_to_string(self.origin_path())
            .ok()
            .and_then(|text| {
                let (url, validator) = text.trim_end().split_once('\n')?;
                Some((url.parse().ok()?, validator.to_owned()))
            });
        let too_long = self.download.size.is_some_and(|size| found.len() > size);
        let named = self.download.urls.iter().any(|url| self.is_named(url));
        if too_long || !found.is_file() || !(whole || named || self.origin.is_some()) {
            return self.discard();
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&self.path)
            .map_err(FsError::new("open", &self.path))?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            halt.check()?;
            let read = file
                .read(&mut buffer)
                .map_err(FsError::new("read", &self.path))?;
            if read == 0 {
                break;
            }
            self.hasher.update(&buffer[..read]);
            self.length += read as u64;
        }
        self.file = Some(file);
        self.resumed = true;
        self.tell();
        Ok(())
    }

    /// Whether the URL names the content itself, as those of registries' blobs do: whatever came
    /// from anywhere can be gone on from there, since the digest has the last word.
    fn is_named(&self, url: &str) -> bool {
        url.contains(&self.download.digest.to_string())
    }

    /// How far the furthest transfer got.
    pub(super) fn furthest(&self) -> u64 {
        self.furthest
    }

    /// Whether there is nothing more to be had.
    pub(super) fn is_whole(&self) -> bool {
        Some(self.length) == self.download.size && self.file.is_some()
    }

    /// Makes what has come the blob, if it is the right thing. If not, nothing of it stays.
    pub(super) fn finish(&mut self) -> Result<PathBuf, Failure> {
        if let Some(expected) = self.download.size
            && self.length < expected
        {
            let received = self.length;
            return Err(Trouble::Short { received, expected }.into());
        }
        let found = std::mem::take(&mut self.hasher).finish();
        if found != self.download.digest {
            let resumed = self.resumed;
            self.distrust |= resumed;
            self.discard()?;
            let trouble = if resumed {
                Trouble::Unfit
            } else {
                Trouble::Digest(found)
            };
            return Err(trouble.into());
        }
        if let Some(file) = self.file.take() {
            file.sync_data()
                .map_err(FsError::new("fsync", &self.path))
                .map_err(|error| self.local(error))?;
        }
        self.forget_origin()?;
        let blob = self.store.promote_partial(&self.download.digest);
        blob.map_err(|error| NetError::from(error).into())
    }

    /// Removes everything.
    pub(super) fn discard(&mut self) -> Result<(), NetError> {
        self.file = None;
        self.hasher = Hasher::new();
        self.length = 0;
        self.resumed = false;
        self.forget_origin()?;
        remove(&self.path)
    }

    fn origin_path(&self) -> PathBuf {
        self.path.with_extension("origin")
    }

    fn forget_origin(&mut self) -> Result<(), NetError> {
        self.origin = None;
        remove(&self.origin_path())
    }

    fn tell(&mut self) {
        if self.length > self.furthest {
            (self.progress)(self.length - self.furthest);
            self.furthest = self.length;
        }
    }

    /// A failure of this host. When the disk is full, what came does not stay to fill it.
    fn local(&mut self, error: FsError) -> NetError {
        let error = NetError::from(error);
        if matches!(error, NetError::Full(_)) {
            // It is the full disk that is worth telling.
            let _ = self.discard();
        }
        error
    }
}

impl Sink for Partial<'_> {
    fn expected(&self) -> Option<u64> {
        self.download.size
    }

    fn resume(&self, url: &str) -> Option<Resume> {
        let had = self.length;
        let own = || self.giver == Some(Sha256::of(url.as_bytes()));
        if had > 0 && self.is_named(url) && (!self.distrust || own()) {
            let validator = None;
            return Some(Resume { had, validator });
        }
        let (origin, validator) = self.origin.as_ref()?;
        let usable = had > 0 && *origin == Sha256::of(url.as_bytes());
        let validator = Some(validator.clone());
        usable.then_some(Resume { had, validator })
    }

    fn restart(
        &mut self,
        url: &str,
        length: Option<u64>,
        validator: Option<String>,
    ) -> Result<(), Failure> {
        if self.file.is_some() || self.origin.is_some() {
            self.discard()?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&self.path)
            .map_err(FsError::new("create", &self.path))
            .map_err(|error| self.local(error))?;
        self.file = Some(file);
        self.giver = Some(Sha256::of(url.as_bytes()));
        let large = length.or(self.download.size);
        if let Some(validator) = validator
            && large.is_none_or(|size| size >= WORTH_RESUMING)
        {
            // The URL itself may hold a secret, and only its identity matters.
            let url = Sha256::of(url.as_bytes());
            let text = format!("{url}\n{validator}\n");
            write_atomically(&self.origin_path(), text.as_bytes())
                .map_err(|error| self.local(error))?;
            self.origin = Some((url, validator));
        }
        Ok(())
    }

    fn resumed(&mut self) {
        self.resumed = true;
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let length = self.length + bytes.len() as u64;
        let most = self.download.size.unwrap_or(UNKNOWN_SIZE_LIMIT);
        if length > most {
            self.discard()?;
            return Err(Trouble::TooLong(most).into());
        }
        let Some(file) = &mut self.file else {
            return Err(Failure::Trouble(Trouble::Protocol(
                "content before it began",
            )));
        };
        if let Err(error) = file.write_all(bytes) {
            let error = FsError::new("write", &self.path)(error);
            return Err(self.local(error).into());
        }
        self.hasher.update(bytes);
        self.length = length;
        self.tell();
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), NetError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FsError::new("unlink", path)(error).into())
        }
        _ => Ok(()),
    }
}
