//! Looking: what a target lists, and then each archive with what lies beside it, several at once.
//! What cannot be looked at is kept apart from what is wrong.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{Amount, Observer, Phase, Sha256};
use crate::publish::{INDEX_JSON, PublishError, Remote};
use crate::store::{Scratch, Store, StoreError};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::{Interrupt, Interrupted};

use super::facts::{self, Archive, Facts, Seen, Sidecar};
use super::identity::{Identify, IdentityError};
use super::lock::Lock;
use super::report::{Report, Unseen};
use super::rules;
use super::selection::Selection;
use super::stream::{Inside, Pass, PassError, pass};
use super::survey::{Read, Survey, Trouble, survey, trouble, uploads};

/// Bytes of a `.sha256` or a record at most; the largest real record has a hundredth of it.
const SIDECAR: u64 = 4 << 20;
/// Archives in a row that cannot be reached before the others are not tried any more.
const GIVE_UP: usize = 4;
/// How closely tarballs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Not at all: sizes and digests as the store tells them, and the sidecars.
    Headers,
    /// Their bytes are compared with every digest that is known.
    Digests,
    /// They are decompressed too, and their members looked at.
    Whole,
}

/// How to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How closely.
    pub depth: Depth,
    /// Whether what has no record is to be adopted, and so need not have one.
    pub record: bool,
    /// How many archives are looked at at once.
    pub jobs: usize,
    /// How old an upload must be to count as stale, in seconds.
    pub stale_after: i64,
    /// Now, in seconds since 1970.
    pub now: i64,
}

/// What verifying works with.
#[derive(Clone, Copy, Default)]
pub struct Tools<'a> {
    /// What was recorded before.
    pub lock: Option<&'a Lock>,
    /// Keys that should be there: a list from elsewhere. Where a target cannot be listed, this
    /// and the lock are all that is known.
    pub expected: &'a [String],
    /// Tells identities, and has scratch for it.
    pub identify: Option<(&'a Identify<'a>, &'a Store)>,
}

/// Why nothing can be said of a target.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The target cannot be used at all.
    #[error(transparent)]
    Target(#[from] PublishError),
    /// The target cannot be listed, and nothing else says what should be there.
    #[error("{target} cannot be listed, and nothing says what should be there")]
    NoList {
        /// The target.
        target: String,
    },
    /// A file operation of this host failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Identities cannot be told on this host.
    #[error(transparent)]
    Identity(Box<IdentityError>),
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Everything that was seen, before it is judged.
#[derive(Debug, Default)]
pub struct Seeing {
    /// What was seen.
    pub facts: Facts,
    /// What could not be looked at.
    pub unseen: Vec<Unseen>,
    /// Whether there is an index that says what should be there.
    pub has_index: bool,
}

/// Looks at everything that was selected, and judges it.
pub fn verify(
    remote: &Remote,
    what: &Selection,
    options: &Options,
    tools: &Tools<'_>,
    observer: &dyn Observer,
    interrupt: &Interrupt,
) -> Result<Report, VerifyError> {
    look(remote, what, options, tools, observer, interrupt).map(Seeing::report)
}

/// Looks at everything that was selected.
pub fn look(
    remote: &Remote,
    what: &Selection,
    options: &Options,
    tools: &Tools<'_>,
    observer: &dyn Observer,
    interrupt: &Interrupt,
) -> Result<Seeing, VerifyError> {
    let found = survey(remote, what, options, tools, interrupt)?;
    let Survey {
        archives,
        strays,
        listable,
        index,
    } = found;
    let bytes = archives.iter().filter_map(|archive| archive.listed).sum();
    let amount = match options.depth {
        Depth::Headers => Amount::Items(archives.len() as u64),
        _ if listable => Amount::Bytes(bytes),
        _ => Amount::Unknown,
    };
    let phase = observer.phase(format!("examining {}", remote.target()), amount);
    let look = Look {
        remote,
        options,
        tools,
        interrupt,
        phase: &phase,
        listable,
        scratch: match tools.identify {
            Some((_, store)) => Some(store.scratch()?),
            None => None,
        },
        unseen: Mutex::default(),
        in_a_row: AtomicUsize::new(0),
    };
    let archives = look.all(archives)?;
    let mut unseen = look
        .unseen
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let uploads = uploads(remote, options, interrupt, &mut unseen)?;
    let unmatched = what.unmatched(&archives);
    let has_index = matches!(index, Read::Sound(_));
    let index = match index {
        Read::Nothing | Read::Sound(_) => None,
        Read::Wrong(why) => Some(why),
        Read::Unseen(why) => {
            let key = INDEX_JSON.to_owned();
            unseen.push(Unseen { key, why });
            None
        }
    };
    let facts = Facts {
        archives,
        strays,
        uploads,
        unmatched,
        index,
    };
    phase.done_with(format!("{} archives", facts.archives.len()));
    Ok(Seeing {
        facts,
        unseen,
        has_index,
    })
}

impl Seeing {
    /// Judges what was seen.
    pub fn report(self) -> Report {
        let Self {
            facts,
            mut unseen,
            has_index,
        } = self;
        unseen.sort_by(|a, b| (&a.key, &a.why).cmp(&(&b.key, &b.why)));
        let findings = rules::judge(&facts);
        let is_sound = |archive: &Archive| {
            let is_of = |key: &str| key == archive.key;
            !findings.iter().any(|finding| is_of(&finding.key))
                && !unseen.iter().any(|unseen| is_of(&unseen.key))
        };
        let digest = |archive: &Archive| Some((archive.key.clone(), archive.bytes.there()?.sha256));
        let sound = facts.archives.iter().filter(|archive| is_sound(archive));
        // What the next index would name.
        let newer = sound.clone().filter(|archive| {
            let papers = archive.sound_checksum().zip(archive.sound_record());
            has_index && archive.indexed.is_none() && papers.is_some()
        });
        Report {
            uploads: facts.uploads.is_some(),
            newer: newer.map(|archive| archive.key.clone()).collect(),
            sound: sound.filter_map(digest).collect(),
            checked: facts.archives.iter().map(rules::checked).collect(),
            findings,
            unseen,
        }
    }
}

/// Why an archive is given up half-way.
enum Stop {
    Unseen(String),
    Over(Box<VerifyError>),
}

impl<E: Into<VerifyError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Over(Box::new(error.into()))
    }
}

struct Look<'a> {
    remote: &'a Remote,
    options: &'a Options,
    tools: &'a Tools<'a>,
    interrupt: &'a Interrupt,
    phase: &'a Phase<'a>,
    listable: bool,
    scratch: Option<Scratch>,
    unseen: Mutex<Vec<Unseen>>,
    in_a_row: AtomicUsize,
}

impl Look<'_> {
    /// Looks at all of them, the largest first, so that none is left alone at the end.
    fn all(&self, archives: Vec<Archive>) -> Result<Vec<Archive>, VerifyError> {
        let mut queue = archives;
        queue.sort_by_key(|archive| archive.listed);
        let queue = Mutex::new(queue);
        let done: Mutex<Vec<Archive>> = Mutex::default();
        let over: Mutex<Option<VerifyError>> = Mutex::default();
        let stopped = AtomicBool::new(false);
        let work = || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(mut archive) = held(&queue).pop() else {
                    break;
                };
                match self.one(&mut archive) {
                    Ok(()) => self.in_a_row.store(0, Ordering::Relaxed),
                    Err(Stop::Unseen(why)) => self.not_seen(&archive, why),
                    Err(Stop::Over(error)) => {
                        stopped.store(true, Ordering::Relaxed);
                        held(&over).get_or_insert(*error);
                    }
                }
                held(&done).push(archive);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.options.jobs {
                scope.spawn(work);
            }
            work();
        });
        if let Some(error) = over.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(done)
    }

    fn not_seen(&self, archive: &Archive, why: String) {
        let key = archive.key.clone();
        held(&self.unseen).push(Unseen { key, why });
    }

    fn one(&self, archive: &mut Archive) -> Result<(), Stop> {
        self.interrupt.check()?;
        if self.in_a_row.load(Ordering::Relaxed) >= GIVE_UP {
            let why = "it was not tried, since others could not be reached";
            return Err(Stop::Unseen(why.to_owned()));
        }
        self.phase.detail(&archive.key);
        let key = archive.key.clone();
        if !matches!(archive.checksum, Seen::Absent) {
            archive.checksum = self.small(&format!("{key}.sha256"), facts::checksum)?;
        }
        if !matches!(archive.record, Seen::Absent) {
            archive.record = self.small(&format!("{key}.json"), facts::record)?;
        }
        if !matches!(archive.head, Seen::Absent) {
            archive.head = self.seen(self.remote.head(&key, self.interrupt), |head| head)?;
        }
        if self.options.depth == Depth::Headers {
            self.phase.advance(1);
            return Ok(());
        }
        if matches!(archive.head, Seen::Absent) {
            return Ok(());
        }
        match self.tools.identify {
            None => archive.bytes = self.bytes(archive, None)?,
            Some((identify, _)) => self.identity(archive, identify)?,
        }
        Ok(())
    }

    /// What becomes of an answer.
    fn seen<T, U>(
        &self,
        answer: Result<Option<T>, PublishError>,
        read: impl FnOnce(T) -> U,
    ) -> Result<Seen<U>, Stop> {
        match answer {
            Ok(Some(found)) => Ok(Seen::There(read(found))),
            Ok(None) => Ok(Seen::Absent),
            Err(error) => self.refused(error),
        }
    }

    fn refused<U>(&self, error: PublishError) -> Result<Seen<U>, Stop> {
        match trouble(error) {
            Trouble::Wrong(why) => Ok(Seen::Unreadable(why)),
            Trouble::Unseen(why) => {
                self.in_a_row.fetch_add(1, Ordering::Relaxed);
                Err(Stop::Unseen(why))
            }
            Trouble::Over(error) => Err(Stop::Over(error)),
        }
    }

    fn small<T>(
        &self,
        key: &str,
        read: impl FnOnce(&[u8]) -> Sidecar<T>,
    ) -> Result<Seen<Sidecar<T>>, Stop> {
        let answer = self.remote.read_small(key, SIDECAR, self.interrupt);
        if let Err(PublishError::TooLong { limit, .. }) = answer {
            let why = format!("it has more than {limit} bytes");
            return Ok(Seen::There(Sidecar::Wrong(why)));
        }
        self.seen(answer, |bytes| read(&bytes))
    }

    /// Reads a tarball to its end.
    fn bytes(
        &self,
        archive: &Archive,
        keep: Option<&File>,
    ) -> Result<Seen<super::stream::Stream>, Stop> {
        let reader = match archive.head.there() {
            Some(head) => self.remote.read_as(&archive.key, head, self.interrupt),
            None => self.remote.read(&archive.key, self.interrupt),
        };
        let mut reader = match reader {
            Ok(Some(reader)) => reader,
            Ok(None) => return Ok(Seen::Absent),
            Err(error) => return self.refused(error),
        };
        let head = archive.head.there().map(|head| head.size);
        let how = Pass {
            expected: head.or(archive.listed).unwrap_or(0),
            decode: self.options.depth == Depth::Whole || keep.is_some(),
            keep,
            progress: &|bytes| {
                if self.listable {
                    self.phase.advance(bytes);
                }
                self.interrupt.check().map_err(io::Error::other)
            },
        };
        match pass(&mut *reader, &how) {
            Ok(stream) => Ok(Seen::There(stream)),
            Err(PassError::Keep(error)) => {
                Err(FsError::new("write", Path::new("scratch"))(error).into())
            }
            Err(PassError::Read(error)) => {
                self.interrupt.check()?;
                match PublishError::from_reader(error) {
                    Ok(error) => self.refused(error),
                    Err(error) => Err(Stop::Unseen(format!("it cannot be read: {error}"))),
                }
            }
        }
    }

    /// Reads a tarball to its end and tells what is in it.
    fn identity(&self, archive: &mut Archive, identify: &Identify<'_>) -> Result<(), Stop> {
        let Some(scratch) = &self.scratch else {
            return Ok(());
        };
        let room = scratch
            .path()
            .join(Sha256::of(archive.key.as_bytes()).short());
        sysfs::create_dir_all(&room)?;
        let path = room.join("tarball");
        let mut file = sysfs::create_new(&path)?;
        archive.bytes = self.bytes(archive, Some(&file))?;
        let whole = archive
            .bytes
            .there()
            .and_then(|stream| stream.inside.as_ref());
        let told = match whole {
            Some(Inside::Whole { .. }) => Some(identify.look(archive, &mut file, &room)),
            // What it is not, other findings tell.
            Some(Inside::Broken(_)) | None => None,
        };
        sysfs::remove_tree(&room)?;
        match told {
            None => Ok(()),
            Some(Ok(wrong)) => {
                archive.identity = Seen::There(wrong);
                Ok(())
            }
            Some(Err(IdentityError::Unknown(why))) => {
                let why = format!("its identity cannot be told: {why}");
                self.not_seen(archive, why);
                Ok(())
            }
            Some(Err(IdentityError::Interrupted(interrupted))) => Err(interrupted.into()),
            Some(Err(error)) => Err(Stop::Over(Box::new(VerifyError::Identity(Box::new(error))))),
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
