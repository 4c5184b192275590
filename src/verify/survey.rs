//! What there is to look at: what a target lists, and what should be there by lists and locks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::model::{StackKey, StackName};
use crate::publish::{INDEX_HTML, INDEX_JSON, INDEX_LIMIT, Index, PublishError, Remote};
use crate::sys::interrupt::Interrupt;

use super::facts::{Archive, Indexed, Seen};
use super::gather::{Options, Tools, VerifyError};
use super::report::Unseen;
use super::selection::{Selection, is_on};

/// What lies in a target and is no archive's: what `pybuild index` and `--record` write.
const OURS: [&str; 3] = [INDEX_JSON, INDEX_HTML, "checksums.lock"];

/// Which of the `known` stacks have archives among those selected: whose identity can be told.
pub fn stacks<'a>(
    remote: &Remote,
    what: &Selection,
    options: &Options,
    tools: &Tools<'_>,
    known: &[&'a StackName],
    interrupt: &Interrupt,
) -> Result<Vec<&'a StackName>, VerifyError> {
    let Survey { archives, .. } = survey(remote, what, options, tools, interrupt)?;
    let has = |stack: &&&StackName| archives.iter().any(|archive| is_on(archive, stack));
    Ok(known.iter().filter(has).copied().collect())
}

/// What there is to look at.
pub(super) struct Survey {
    pub(super) archives: Vec<Archive>,
    pub(super) strays: Vec<String>,
    pub(super) listable: bool,
    pub(super) index: Read,
}

/// What became of reading `index.json`.
pub(super) enum Read {
    /// None is there, or it was not needed.
    Nothing,
    /// What it names, by key.
    Sound(BTreeMap<String, Indexed>),
    /// It is there, and no index or not to be read.
    Wrong(String),
    /// Nobody knows.
    Unseen(String),
}

pub(super) fn survey(
    remote: &Remote,
    what: &Selection,
    options: &Options,
    tools: &Tools<'_>,
    interrupt: &Interrupt,
) -> Result<Survey, VerifyError> {
    let listed = remote.list("", interrupt)?;
    let locked = tools.lock.map(|lock| &lock.digests);
    let listable = listed.is_some();
    let told = locked.is_some_and(|locked| !locked.is_empty()) || !tools.expected.is_empty();
    let index = match &listed {
        Some(listed) if listed.iter().any(|object| object.key == INDEX_JSON) => {
            read_index(remote, false, interrupt)?
        }
        None if !told => read_index(remote, true, interrupt)?,
        _ => Read::Nothing,
    };
    let nothing = BTreeMap::new();
    let indexed = match &index {
        Read::Sound(named) => named,
        Read::Nothing | Read::Wrong(_) | Read::Unseen(_) => &nothing,
    };
    let mut there: BTreeMap<String, u64> = BTreeMap::new();
    for object in listed.unwrap_or_default() {
        there.insert(object.key, object.size);
    }
    let mut tarballs: BTreeSet<&str> = BTreeSet::new();
    let mut strays = Vec::new();
    let locked_keys = locked.into_iter().flat_map(BTreeMap::keys);
    let named = tools
        .expected
        .iter()
        .chain(locked_keys)
        .chain(indexed.keys());
    for key in there.keys().chain(named) {
        // The marker that consoles put where they show a directory. Stacks are nobody's artifacts:
        // who takes one verifies all of it.
        if OURS.contains(&&**key) || key.ends_with('/') || key.parse::<StackKey>().is_ok() {
            continue;
        }
        match tarball_of(key) {
            Some(tarball) => drop(tarballs.insert(tarball)),
            None if what.takes_stray(key) => strays.push(key.clone()),
            None => {}
        }
    }
    strays.sort();
    strays.dedup();
    let mut archives = Vec::new();
    for key in tarballs {
        let Some(mut archive) = Archive::of(key) else {
            continue;
        };
        if !what.takes(&archive) {
            continue;
        }
        archive.listed = there.get(key).copied();
        archive.locked = locked.and_then(|digests| digests.get(key)).copied();
        archive.indexed = indexed.get(key).copied();
        archive.recording = options.record;
        if listable {
            let absent = |suffix: &str| !there.contains_key(&format!("{key}{suffix}"));
            if absent("") {
                archive.head = Seen::Absent;
            }
            if absent(".sha256") {
                archive.checksum = Seen::Absent;
            }
            if absent(".json") {
                archive.record = Seen::Absent;
            }
        }
        archives.push(archive);
    }
    Ok(Survey {
        archives,
        strays,
        listable,
        index,
    })
}

/// Reads the index. Where it is `needed`, nothing else says what should be there.
fn read_index(remote: &Remote, needed: bool, interrupt: &Interrupt) -> Result<Read, VerifyError> {
    let no_list = || VerifyError::NoList {
        target: remote.target().to_string(),
    };
    match remote.read_small(INDEX_JSON, INDEX_LIMIT, interrupt) {
        Ok(Some(bytes)) => Ok(match Index::parse(&bytes) {
            Ok(index) => Read::Sound(named(&index)),
            Err(error) => Read::Wrong(format!("it is not an index: {error}")),
        }),
        // Buckets that show themselves on the web deny what is not there.
        Ok(None) | Err(PublishError::Denied { .. }) if needed => Err(no_list()),
        // It was listed, and has been removed since.
        Ok(None) => Ok(Read::Nothing),
        Err(error) if needed && !matches!(error, PublishError::TooLong { .. }) => Err(error.into()),
        Err(error) => match trouble(error) {
            Trouble::Wrong(why) => Ok(Read::Wrong(format!("it cannot be read: {why}"))),
            Trouble::Unseen(why) => Ok(Read::Unseen(why)),
            Trouble::Over(error) => Err(*error),
        },
    }
}

fn named(index: &Index) -> BTreeMap<String, Indexed> {
    let entries = index.archives().iter();
    let said = entries.map(|entry| {
        let (size, sha256) = (entry.size, entry.sha256);
        (entry.key.clone(), Indexed { size, sha256 })
    });
    said.collect()
}

/// The tarball that a key is of, or beside.
fn tarball_of(key: &str) -> Option<&str> {
    [".sha256", ".json", ""]
        .into_iter()
        .filter_map(|suffix| key.strip_suffix(suffix))
        .find(|tarball| Archive::of(tarball).is_some())
}

pub(super) fn uploads(
    remote: &Remote,
    options: &Options,
    interrupt: &Interrupt,
    unseen: &mut Vec<Unseen>,
) -> Result<Option<Vec<(String, i64)>>, VerifyError> {
    match remote.stale_uploads(interrupt) {
        Ok(found) => Ok(found.map(|found| {
            // One that was begun just now may be under way.
            let found = found.into_iter();
            let stale = found.filter(|one| options.now - one.started >= options.stale_after);
            stale.map(|upload| (upload.key, upload.started)).collect()
        })),
        Err(error) => match trouble(error) {
            Trouble::Over(error) => Err(*error),
            Trouble::Wrong(why) | Trouble::Unseen(why) => {
                let key = ".".to_owned();
                let why = format!("unfinished uploads cannot be listed: {why}");
                unseen.push(Unseen { key, why });
                Ok(None)
            }
        },
    }
}

/// What an error says of what it happened to.
pub(super) enum Trouble {
    /// It is there and cannot be had: that is a finding.
    Wrong(String),
    /// Nobody knows.
    Unseen(String),
    /// Nothing else can be looked at either.
    Over(Box<VerifyError>),
}

pub(super) fn trouble(error: PublishError) -> Trouble {
    let text = error.to_string();
    match error {
        PublishError::Interrupted(interrupted) => Trouble::Over(Box::new(interrupted.into())),
        PublishError::Local(error) => match error.source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => Trouble::Wrong(text),
            _ => Trouble::Unseen(text),
        },
        PublishError::Denied { .. }
        | PublishError::Rejected { .. }
        | PublishError::Corrupted { .. }
        | PublishError::TooLong { .. }
        | PublishError::Key { .. } => Trouble::Wrong(text),
        PublishError::Unreachable { .. }
        | PublishError::Busy { .. }
        | PublishError::Changed { .. }
        | PublishError::Protocol { .. } => Trouble::Unseen(text),
        error => Trouble::Over(Box::new(error.into())),
    }
}
