//! An object from one target to another, byte for byte: by the store itself where both are beside
//! each other, else by way of this host.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use super::content::{Content, Head, Mode, Put};
use super::error::PublishError;
use super::remote::Remote;
use crate::model::{Hasher, Sha256};
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

const BUFFER: usize = 256 << 10;

impl Remote {
    /// Copies the object of this key, which `head` was said of, from another target.
    pub fn copy_from(
        &self,
        from: &Remote,
        key: &str,
        head: &Head,
        mode: Mode,
        interrupt: &Interrupt,
    ) -> Result<Put, PublishError> {
        let Some((bucket, other)) = self.bucket().zip(from.bucket()) else {
            return self.stream_from(from, key, mode, interrupt);
        };
        if !bucket.is_beside(other) {
            return self.stream_from(from, key, mode, interrupt);
        }
        if mode == Mode::Create && self.head(key, interrupt)?.is_some() {
            return self.compare_with(from, key, interrupt);
        }
        if !bucket.copy(other, key, mode == Mode::Create, interrupt)? {
            return self.compare_with(from, key, interrupt);
        }
        let copied = self
            .head(key, interrupt)?
            .ok_or_else(|| self.changed(key))?;
        match (copied.sha256, head.sha256) {
            (Some(found), Some(expected)) if found != expected => Err(PublishError::Corrupted {
                what: format!("{}{key}", self.shown()),
                expected,
                found,
            }),
            _ if copied.size != head.size => Err(self.changed(key)),
            _ => Ok(Put::Written),
        }
    }

    /// The digest of an object: the store's own, else by reading it.
    pub fn digest(&self, key: &str, interrupt: &Interrupt) -> Result<Option<Sha256>, PublishError> {
        if let Some(Head {
            sha256: Some(sha256),
            ..
        }) = self.head(key, interrupt)?
        {
            return Ok(Some(sha256));
        }
        let mut hasher = Hasher::new();
        let each = |bytes: &[u8]| {
            hasher.update(bytes);
            Ok(())
        };
        Ok(self
            .each_chunk(key, interrupt, each)?
            .then(|| hasher.finish()))
    }

    fn compare_with(
        &self,
        from: &Remote,
        key: &str,
        interrupt: &Interrupt,
    ) -> Result<Put, PublishError> {
        let theirs = self.digest(key, interrupt)?;
        let ours = from.digest(key, interrupt)?;
        match (theirs, ours) {
            (Some(theirs), Some(ours)) if theirs == ours => Ok(Put::AlreadySame),
            (Some(_), Some(ours)) => Err(PublishError::Exists {
                target: self.shown().to_owned(),
                key: key.to_owned(),
                theirs,
                ours,
            }),
            (None, _) => Err(self.changed(key)),
            (_, None) => Err(from.changed(key)),
        }
    }

    /// By way of a file without a name.
    fn stream_from(
        &self,
        from: &Remote,
        key: &str,
        mode: Mode,
        interrupt: &Interrupt,
    ) -> Result<Put, PublishError> {
        let dir = std::env::temp_dir();
        let mut file: File = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .mode(0o600)
            .open(&dir)
            .map_err(FsError::new("create", &dir))?;
        let mut hasher = Hasher::new();
        let mut size = 0;
        let each = |bytes: &[u8]| {
            hasher.update(bytes);
            size += bytes.len() as u64;
            file.write_all(bytes).map_err(FsError::new("write", &dir))
        };
        if !from.each_chunk(key, interrupt, each)? {
            return Err(from.changed(key));
        }
        let content = Content::File {
            file: &file,
            size,
            digest: hasher.finish(),
        };
        self.put(key, content, mode, &|_| {}, interrupt)
    }

    /// Reads an object from its beginning to its end; false if there is none.
    fn each_chunk(
        &self,
        key: &str,
        interrupt: &Interrupt,
        mut each: impl FnMut(&[u8]) -> Result<(), FsError>,
    ) -> Result<bool, PublishError> {
        let Some(mut reader) = self.read(key, interrupt)? else {
            return Ok(false);
        };
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = reader.read(&mut buffer);
            interrupt.check()?;
            match read.map_err(|error| self.read_error(key, error))? {
                0 => return Ok(true),
                read => each(&buffer[..read])?,
            }
        }
    }

    fn changed(&self, key: &str) -> PublishError {
        PublishError::Changed {
            target: self.shown().to_owned(),
            key: key.to_owned(),
        }
    }
}
