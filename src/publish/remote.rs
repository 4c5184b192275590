//! One open target: what is there, read and put, the same way for every kind of target.

use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::Read;

use super::content::{Conditional, Content, Head, Mode, Object, Put, StaleUpload};
use super::directory::Directory;
use super::error::PublishError;
use super::s3::S3;
use super::settings::{Settings, Whose};
use super::target::{Target, check_key};
use super::web::Web;
use crate::sys::interrupt::Interrupt;

/// How much of a document is asked for at once.
const CHUNK: usize = 64 << 10;

/// An open target. Shared between threads; its calls block.
pub struct Remote {
    target: Target,
    shown: String,
    kind: Kind,
}

enum Kind {
    Directory(Directory),
    S3(Box<S3>),
    Web(Box<Web>),
    Other(Box<dyn Place + Send + Sync>),
}

/// What every kind of target can be asked. Keys are relative to it and have been checked.
/// [`Remote`] says what is promised of each.
#[allow(missing_docs)] // each is what the method of this name of `Remote` is
pub trait Place {
    fn list(&self, below: &str, interrupt: &Interrupt)
    -> Result<Option<Vec<Object>>, PublishError>;
    fn head(&self, key: &str, interrupt: &Interrupt) -> Result<Option<Head>, PublishError>;
    fn read<'a>(
        &'a self,
        key: &str,
        etag: Option<&str>,
        interrupt: &'a Interrupt,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, PublishError>;
    /// The object as a file of this host, where it is one.
    fn file(&self, _key: &str) -> Result<Option<File>, PublishError> {
        Ok(None)
    }
    fn put(
        &self,
        key: &str,
        content: Content<'_>,
        mode: Mode,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Put, PublishError>;
    fn check_writable(&self, interrupt: &Interrupt) -> Result<Conditional, PublishError>;
    fn stale_uploads(
        &self,
        interrupt: &Interrupt,
    ) -> Result<Option<Vec<StaleUpload>>, PublishError>;
    fn abort(&self, upload: &StaleUpload, interrupt: &Interrupt) -> Result<(), PublishError>;
    fn remove(&self, key: &str, interrupt: &Interrupt) -> Result<(), PublishError>;
}

impl Remote {
    /// Opens a target. Connects to nothing yet.
    pub fn open(target: &Target, settings: &Settings) -> Result<Self, PublishError> {
        Ok(Self::open_as(target, settings, settings.whose(target)))
    }

    /// Opens the upstream target, if there is one. Connects to nothing yet.
    pub fn open_upstream(settings: &Settings) -> Option<Self> {
        let open = |target| Self::open_as(target, settings, Whose::Upstream);
        settings.upstream().map(open)
    }

    fn open_as(target: &Target, settings: &Settings, whose: Whose) -> Self {
        let shown = shown(target);
        let kind = match target {
            Target::Directory(path) => Kind::Directory(Directory::new(path, &shown)),
            Target::S3 { bucket, prefix } => {
                let (s3, keeper) = (settings.s3(whose).clone(), settings.keeper(whose));
                let patience = settings.patience();
                Kind::S3(Box::new(S3::new(bucket, prefix, s3, patience, keeper)))
            }
            Target::Web(url) => Kind::Web(Box::new(Web::new(url, settings.patience()))),
        };
        Self {
            target: target.clone(),
            shown,
            kind,
        }
    }

    /// A target that somebody else opens: a process with the rights to it.
    pub fn through(target: &Target, place: Box<dyn Place + Send + Sync>) -> Self {
        Self {
            target: target.clone(),
            shown: shown(target),
            kind: Kind::Other(place),
        }
    }

    /// How this target is shown in front of a key.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Which target this is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    fn place(&self) -> &dyn Place {
        match &self.kind {
            Kind::Directory(directory) => directory,
            Kind::S3(s3) => &**s3,
            Kind::Web(web) => &**web,
            Kind::Other(place) => &**place,
        }
    }

    pub(super) fn bucket(&self) -> Option<&S3> {
        match &self.kind {
            Kind::S3(s3) => Some(s3),
            Kind::Directory(_) | Kind::Web(_) | Kind::Other(_) => None,
        }
    }

    /// All objects whose keys begin with `below`, sorted by key; none if this kind of target
    /// cannot be listed (the web).
    pub fn list(
        &self,
        below: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<Vec<Object>>, PublishError> {
        if !below.is_empty() {
            check(below.strip_suffix('/').unwrap_or(below))?;
        }
        self.place().list(below, interrupt)
    }

    /// What the target says of an object, if there is one.
    pub fn head(&self, key: &str, interrupt: &Interrupt) -> Result<Option<Head>, PublishError> {
        check(key)?;
        self.place().head(key, interrupt)
    }

    /// Reads a small document of at most `limit` bytes, if it is there.
    pub fn read_small(
        &self,
        key: &str,
        limit: u64,
        interrupt: &Interrupt,
    ) -> Result<Option<Vec<u8>>, PublishError> {
        let Some(reader) = self.read(key, interrupt)? else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(CHUNK.min(usize::try_from(limit).unwrap_or(CHUNK)));
        let read = reader.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        interrupt.check()?;
        read.map_err(|error| self.read_error(key, error))?;
        if bytes.len() as u64 > limit {
            return Err(PublishError::TooLong {
                target: self.shown.clone(),
                key: key.to_owned(),
                limit,
            });
        }
        Ok(Some(bytes))
    }

    /// Reads an object, if there is one. A connection that breaks is resumed, as long as the
    /// object stays the same; what the reader fails with can be had by
    /// [`PublishError::from_reader`].
    pub fn read<'a>(
        &'a self,
        key: &str,
        interrupt: &'a Interrupt,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, PublishError> {
        check(key)?;
        self.place().read(key, None, interrupt)
    }

    /// The same, of the very object that `head` was said of: of another it is an error. A target
    /// that does not name its objects' bytes gives whatever is there.
    pub fn read_as<'a>(
        &'a self,
        key: &str,
        head: &Head,
        interrupt: &'a Interrupt,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, PublishError> {
        check(key)?;
        self.place().read(key, head.etag.as_deref(), interrupt)
    }

    /// The object as a file of this host, where it is one.
    pub(super) fn file(&self, key: &str) -> Result<Option<File>, PublishError> {
        check(key)?;
        self.place().file(key)
    }

    /// What a reader of this remote failed with.
    pub(super) fn read_error(&self, key: &str, error: std::io::Error) -> PublishError {
        PublishError::from_reader(error).unwrap_or_else(|error| PublishError::Protocol {
            what: format!("reading {}{key}", self.shown),
            why: error.to_string(),
        })
    }

    /// Puts an object. `progress` is told of bytes as they are there; of a file that did not have
    /// to be sent it is told nothing. Whoever looks sees what was there before or all of it.
    pub fn put(
        &self,
        key: &str,
        content: Content<'_>,
        mode: Mode,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Put, PublishError> {
        check(key)?;
        interrupt.check()?;
        self.place().put(key, content, mode, progress, interrupt)
    }

    /// Fails unless objects can be put here, and says whether they can be put only where nothing
    /// is. Leaves nothing behind.
    pub fn check_writable(&self, interrupt: &Interrupt) -> Result<Conditional, PublishError> {
        self.place().check_writable(interrupt)
    }

    /// The uploads that were begun and neither finished nor given up, those under way just now
    /// among them; none if the target cannot list them.
    pub fn stale_uploads(
        &self,
        interrupt: &Interrupt,
    ) -> Result<Option<Vec<StaleUpload>>, PublishError> {
        self.place().stale_uploads(interrupt)
    }

    /// Gives an upload up. One that is gone is fine.
    pub fn abort(&self, upload: &StaleUpload, interrupt: &Interrupt) -> Result<(), PublishError> {
        self.place().abort(upload, interrupt)
    }

    /// Removes an object; what is not there is fine. For what pybuild itself put there to try
    /// something out: artifacts are never removed.
    pub fn remove(&self, key: &str, interrupt: &Interrupt) -> Result<(), PublishError> {
        check(key)?;
        self.place().remove(key, interrupt)
    }
}

/// What the names begin and end with of what is no artifact's: what is under way, or was put there
/// to try whether that may be. No listing shows it, but for the one of unfinished uploads.
pub(super) const HIDDEN: (&str, &str) = (".pybuild-", ".part");

pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with(HIDDEN.0) && name.ends_with(HIDDEN.1)
}

/// Such a name that nobody else has.
pub(super) fn hidden_name() -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("{}{random:016x}{}", HIDDEN.0, HIDDEN.1)
}

/// A target as it stands in front of a key.
fn shown(target: &Target) -> String {
    match target {
        Target::Directory(path) => path.join("").display().to_string(),
        other => other.to_string(),
    }
}

fn check(key: &str) -> Result<(), PublishError> {
    check_key(key).map_err(|why| PublishError::Key {
        key: key.to_owned(),
        why,
    })
}
