//! An object from one target to another, byte for byte and no other than was read before: by the
//! store itself where both are beside each other, else by way of this host.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;

use serde::Serialize;

use super::content::{Content, Head, Mode, Put};
use super::error::PublishError;
use super::remote::Remote;
use super::s3::Original;
use crate::model::{Hasher, Sha256};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;

const BUFFER: usize = 256 << 10;

/// Which way an object came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The store has copied it.
    Store,
    /// By way of this host.
    Host,
}

impl Remote {
    /// Copies an object from another target. It has been read there: `head` was said of it then,
    /// and `digest` is what it had. If it is another by now that is an error, and nothing is put.
    ///
    /// What has to come by way of a file does so below `scratch`, where it stays for as long as
    /// this takes. `progress` is told of bytes as they are there.
    #[allow(clippy::too_many_arguments)] // two targets, what, how, and with what
    pub fn copy_from(
        &self,
        from: &Remote,
        key: &str,
        (head, digest): (&Head, Sha256),
        mode: Mode,
        scratch: &Path,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<(Put, Way), PublishError> {
        if let Some((bucket, other)) = self.bucket().zip(from.bucket())
            && bucket.is_beside(other)
        {
            let what = Original { key, head, digest };
            if let Some(put) = bucket.copy(other, &what, mode, interrupt)? {
                progress(head.size);
                return Ok((put, Way::Store));
            }
        }
        let size = head.size;
        let file = match from.file(key)? {
            Some(file) => file,
            None => fetched(from, key, (head, digest), scratch, interrupt)?,
        };
        let found = file.metadata();
        let found = found.map_err(FsError::new("stat", Path::new(key)))?;
        if found.len() != size {
            return Err(from.changed(key));
        }
        let content = Content::File {
            file: &file,
            size,
            digest,
        };
        match self.put(key, content, mode, progress, interrupt) {
            Ok(put) => Ok((put, Way::Host)),
            // It is hashed as it is put.
            Err(PublishError::Corrupted { expected, .. }) if expected == digest => {
                Err(from.changed(key))
            }
            Err(error) => Err(error),
        }
    }

    /// The digest of an object: the store's own, else by reading it.
    pub fn digest(&self, key: &str, interrupt: &Interrupt) -> Result<Option<Sha256>, PublishError> {
        let Some(head) = self.head(key, interrupt)? else {
            return Ok(None);
        };
        if head.sha256.is_some() {
            return Ok(head.sha256);
        }
        let mut hasher = Hasher::new();
        let each = |bytes: &[u8]| {
            hasher.update(bytes);
            Ok(())
        };
        Ok(self
            .each_chunk(key, &head, interrupt, each)?
            .then(|| hasher.finish()))
    }

    /// Reads an object from its beginning to its end; false if there is none.
    fn each_chunk(
        &self,
        key: &str,
        head: &Head,
        interrupt: &Interrupt,
        mut each: impl FnMut(&[u8]) -> Result<(), FsError>,
    ) -> Result<bool, PublishError> {
        let Some(mut reader) = self.read_as(key, head, interrupt)? else {
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

/// The object as a file that has no name any more.
fn fetched(
    from: &Remote,
    key: &str,
    (head, digest): (&Head, Sha256),
    scratch: &Path,
    interrupt: &Interrupt,
) -> Result<File, PublishError> {
    let path = scratch.join(Sha256::of(key.as_bytes()).to_string());
    let mut file = sysfs::create_new(&path)?;
    fs::remove_file(&path).map_err(FsError::new("unlink", &path))?;
    let (mut hasher, mut size) = (Hasher::new(), 0);
    let each = |bytes: &[u8]| {
        hasher.update(bytes);
        size += bytes.len() as u64;
        file.write_all(bytes).map_err(FsError::new("write", &path))
    };
    if from.each_chunk(key, head, interrupt, each)?
        && size == head.size
        && hasher.finish() == digest
    {
        Ok(file)
    } else {
        Err(from.changed(key))
    }
}
