//! A directory target that only root may write to, as its worker has it: each call is an errand
//! that the steward runs.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::talk::{Answered, Reply, ToSteward, Wish};
use crate::archive::interruptible;
use crate::model::Sha256;
use crate::publish::{
    Conditional, Content, Head, Mode, Object, Place, PublishError, Put, Remote, StaleUpload, Target,
};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::{Interrupt, Interrupted};

/// What the steward is asked to do with the target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Errand {
    List(String),
    Head(String),
    /// The answer comes with a descriptor.
    Read(String),
    /// Comes with a descriptor.
    Put {
        key: String,
        size: u64,
        digest: Sha256,
        mode: Mode,
    },
    CheckWritable,
    StaleUploads,
    Abort(StaleUpload),
    Remove(String),
}

impl Errand {
    /// Whether it leaves everything as it is.
    pub(super) fn only_reads(&self) -> bool {
        match self {
            Self::List(_) | Self::Head(_) | Self::Read(_) | Self::StaleUploads => true,
            Self::Put { .. } | Self::CheckWritable | Self::Abort(_) | Self::Remove(_) => false,
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Done,
    Objects(Option<Vec<Object>>),
    Head(Option<Head>),
    /// Whether there is something to read.
    Read(bool),
    Put(Put),
    Conditional(Conditional),
    Uploads(Option<Vec<StaleUpload>>),
}

/// Why nothing came of it, as far as a directory can fail.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Trouble {
    Exists {
        key: String,
        theirs: Option<Sha256>,
        ours: Sha256,
    },
    Changed(String),
    Corrupted {
        what: String,
        expected: Sha256,
        found: Sha256,
    },
    Fs {
        call: String,
        path: PathBuf,
        errno: Option<i32>,
    },
    Interrupted(i32),
    Other(String),
}

/// Runs one errand, with whatever rights this process has.
pub(super) fn run(
    errand: Errand,
    content: Option<OwnedFd>,
    remote: &Remote,
    interrupt: &Interrupt,
) -> (Result<Answer, Trouble>, Option<File>) {
    let mut opened = None;
    let answer = attempt(errand, content, remote, interrupt, &mut opened);
    (answer.map_err(Trouble::from), opened)
}

fn attempt(
    errand: Errand,
    content: Option<OwnedFd>,
    remote: &Remote,
    interrupt: &Interrupt,
    opened: &mut Option<File>,
) -> Result<Answer, PublishError> {
    Ok(match errand {
        Errand::List(below) => Answer::Objects(remote.list(&below, interrupt)?),
        Errand::Head(key) => Answer::Head(remote.head(&key, interrupt)?),
        Errand::Read(key) => {
            // Asked first: it says whether the key is one, and whether a file is there.
            if let (Some(_), Target::Directory(root)) =
                (remote.head(&key, interrupt)?, remote.target())
            {
                *opened = Some(sysfs::open(&root.join(key))?);
            }
            Answer::Read(opened.is_some())
        }
        Errand::Put {
            key,
            size,
            digest,
            mode,
        } => {
            let file = content.map(File::from).ok_or_else(|| nonsense("put"))?;
            let content = Content::File {
                file: &file,
                size,
                digest,
            };
            Answer::Put(remote.put(&key, content, mode, &|_| {}, interrupt)?)
        }
        Errand::CheckWritable => Answer::Conditional(remote.check_writable(interrupt)?),
        Errand::StaleUploads => Answer::Uploads(remote.stale_uploads(interrupt)?),
        Errand::Abort(upload) => {
            remote.abort(&upload, interrupt)?;
            Answer::Done
        }
        Errand::Remove(key) => {
            remote.remove(&key, interrupt)?;
            Answer::Done
        }
    })
}

impl From<PublishError> for Trouble {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Exists {
                target: _, // the worker knows it
                key,
                theirs,
                ours,
            } => Self::Exists { key, theirs, ours },
            PublishError::Changed { target: _, key } => Self::Changed(key),
            PublishError::Corrupted {
                what,
                expected,
                found,
            } => Self::Corrupted {
                what,
                expected,
                found,
            },
            PublishError::Local(FsError { call, path, source }) => Self::Fs {
                call: call.to_owned(),
                path,
                errno: source.raw_os_error(),
            },
            PublishError::Interrupted(Interrupted(signal)) => Self::Interrupted(signal as i32),
            other => Self::Other(other.to_string()),
        }
    }
}

impl Trouble {
    fn into_error(self, shown: &str) -> PublishError {
        let target = shown.to_owned();
        match self {
            Self::Exists { key, theirs, ours } => PublishError::Exists {
                target,
                key,
                theirs,
                ours,
            },
            Self::Changed(key) => PublishError::Changed { target, key },
            Self::Corrupted {
                what,
                expected,
                found,
            } => PublishError::Corrupted {
                what,
                expected,
                found,
            },
            Self::Fs { call, path, errno } => PublishError::Local(FsError {
                call: known(&call),
                path,
                source: errno.map_or_else(
                    || io::Error::other("the steward does not say why"),
                    io::Error::from_raw_os_error,
                ),
            }),
            Self::Interrupted(signal) => {
                let signal = Signal::try_from(signal).unwrap_or(Signal::SIGTERM);
                PublishError::Interrupted(Interrupted(signal))
            }
            Self::Other(why) => PublishError::Rejected {
                what: target,
                why: format!("through the part of pybuild that is root: {why}"),
            },
        }
    }
}

/// The calls that a directory target makes, by name.
fn known(call: &str) -> &'static str {
    const CALLS: [&str; 14] = [
        "absolute", "create", "fsync", "link", "lstat", "mkdir", "open", "read", "readdir",
        "rename", "stat", "unlink", "write", "lseek",
    ];
    let found = CALLS.into_iter().find(|known| *known == call);
    found.unwrap_or("use")
}

fn nonsense(what: &str) -> PublishError {
    PublishError::Protocol {
        what: what.to_owned(),
        why: "the worker and the steward do not understand each other".to_owned(),
    }
}

/// The target as the worker has it.
pub(super) struct Errands {
    steward: Arc<ToSteward>,
    wish: fn(Errand) -> Wish,
    shown: String,
}

impl Errands {
    pub(super) fn new(steward: Arc<ToSteward>, target: &Target, wish: fn(Errand) -> Wish) -> Self {
        let shown = match target {
            Target::Directory(path) => path.join("").display().to_string(),
            other => other.to_string(),
        };
        Self {
            steward,
            wish,
            shown,
        }
    }

    fn ask(
        &self,
        errand: Errand,
        content: Option<&File>,
    ) -> Result<(Answer, Option<File>), PublishError> {
        let gone = |why: String| PublishError::Protocol {
            what: "asking the part of pybuild that is root".to_owned(),
            why,
        };
        let answered = self.steward.ask(&(self.wish)(errand), content);
        let Answered { reply, file } = answered.map_err(|error| gone(error.to_string()))?;
        match reply {
            Reply::Target(Ok(answer)) => Ok((answer, file)),
            Reply::Target(Err(trouble)) => Err(trouble.into_error(&self.shown)),
            other => Err(gone(format!("{other:?}"))),
        }
    }
}

/// What an answer must be, or the two do not understand each other.
macro_rules! expect {
    ($asked:expr, $pattern:pat => $value:expr) => {
        match $asked {
            ($pattern, _) => Ok($value),
            (other, _) => Err(nonsense(&format!("{other:?}"))),
        }
    };
}

impl Place for Errands {
    fn list(&self, below: &str, _: &Interrupt) -> Result<Option<Vec<Object>>, PublishError> {
        expect!(self.ask(Errand::List(below.to_owned()), None)?, Answer::Objects(found) => found)
    }

    fn head(&self, key: &str, _: &Interrupt) -> Result<Option<Head>, PublishError> {
        expect!(self.ask(Errand::Head(key.to_owned()), None)?, Answer::Head(found) => found)
    }

    fn read<'a>(
        &'a self,
        key: &str,
        _: Option<&str>,
        interrupt: &'a Interrupt,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, PublishError> {
        let file = self.file(key)?;
        Ok(file
            .map(|file| -> Box<dyn Read + Send + 'a> { Box::new(interruptible(file, interrupt)) }))
    }

    fn file(&self, key: &str) -> Result<Option<File>, PublishError> {
        match self.ask(Errand::Read(key.to_owned()), None)? {
            (Answer::Read(true), Some(file)) => Ok(Some(file)),
            (Answer::Read(false), _) => Ok(None),
            (other, _) => Err(nonsense(&format!("{other:?}"))),
        }
    }

    fn put(
        &self,
        key: &str,
        content: Content<'_>,
        mode: Mode,
        progress: &(dyn Fn(u64) + Sync),
        _: &Interrupt,
    ) -> Result<Put, PublishError> {
        let (size, digest) = (content.size(), content.digest());
        let errand = Errand::Put {
            key: key.to_owned(),
            size,
            digest,
            mode,
        };
        let asked = match content {
            Content::File { file, .. } => self.ask(errand, Some(file))?,
            Content::Bytes(bytes) => self.ask(errand, Some(&in_memory(bytes)?))?,
        };
        progress(size);
        expect!(asked, Answer::Put(put) => put)
    }

    fn check_writable(&self, _: &Interrupt) -> Result<Conditional, PublishError> {
        expect!(self.ask(Errand::CheckWritable, None)?, Answer::Conditional(found) => found)
    }

    fn stale_uploads(&self, _: &Interrupt) -> Result<Option<Vec<StaleUpload>>, PublishError> {
        expect!(self.ask(Errand::StaleUploads, None)?, Answer::Uploads(found) => found)
    }

    fn abort(&self, upload: &StaleUpload, _: &Interrupt) -> Result<(), PublishError> {
        expect!(self.ask(Errand::Abort(upload.clone()), None)?, Answer::Done => ())
    }

    fn remove(&self, key: &str, _: &Interrupt) -> Result<(), PublishError> {
        expect!(self.ask(Errand::Remove(key.to_owned()), None)?, Answer::Done => ())
    }
}

/// A small document as a file that can be handed over.
fn in_memory(bytes: &[u8]) -> Result<File, PublishError> {
    let path = Path::new("a file in memory");
    let file = memfd_create("pybuild", MFdFlags::MFD_CLOEXEC);
    let mut file = File::from(file.map_err(FsError::new("create", path))?);
    file.write_all(bytes).map_err(FsError::new("write", path))?;
    Ok(file)
}
