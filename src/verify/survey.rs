//! What there is to look at: what a target lists, and what should be there by lists and locks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::model::StackName;
use crate::publish::{PublishError, Remote};
use crate::sys::interrupt::Interrupt;

use super::facts::{Archive, Seen};
use super::gather::{Options, Tools, VerifyError};
use super::report::Unseen;
use super::selection::{Selection, is_on};

/// What lies in a target and is no archive's: what `pybuild index` and `--record` write.
const OURS: [&str; 3] = ["index.json", "index.html", "checksums.lock"];

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
    if listed.is_none() && locked.is_none_or(BTreeMap::is_empty) && tools.expected.is_empty() {
        let target = remote.target().to_string();
        return Err(VerifyError::NoList { target });
    }
    let listable = listed.is_some();
    let mut there: BTreeMap<String, u64> = BTreeMap::new();
    for object in listed.unwrap_or_default() {
        there.insert(object.key, object.size);
    }
    let mut tarballs: BTreeSet<&str> = BTreeSet::new();
    let mut strays = Vec::new();
    let locked_keys = locked.into_iter().flat_map(BTreeMap::keys);
    for key in there.keys().chain(tools.expected).chain(locked_keys) {
        // The marker that consoles put where they show a directory.
        if OURS.contains(&&**key) || key.ends_with('/') {
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
    })
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
