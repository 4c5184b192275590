//! Reading what an index is made of: the listing of a target, and the sidecars of each tarball,
//! many at once. What does not agree is told, not listed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Entry, INDEX_LIMIT, Index};
use crate::archive::Codec;
use crate::model::{Amount, Observer, Phase};
use crate::publish::content::{Content, Mode, Object, Put};
use crate::publish::error::PublishError;
use crate::publish::flaw::{Flaw, agreed, misplaced};
use crate::publish::found::for_each;
use crate::publish::layout::{Keys, Role};
use crate::publish::remote::Remote;
use crate::publish::target::check_key;
use crate::publish::upload::SIDECAR;
use crate::sys::interrupt::Interrupt;

/// What one archive may take of an index; the largest real one has a fiftieth of it. A record may
/// have more, so that what is kept of many stays bounded.
const ENTRY: usize = 256 << 10;

/// What a target has, as far as an index goes.
#[derive(Debug)]
pub struct Surveyed {
    /// The index of what is sound.
    pub index: Index,
    /// What is not in it, by the tarball's key, and why.
    pub unlisted: Vec<(String, Flaw)>,
}

/// Whether a key is a tarball's, by its end.
pub(super) fn is_tarball(key: &str) -> bool {
    [Codec::Gzip, Codec::Xz, Codec::Zstd]
        .iter()
        .any(|codec| key.ends_with(&format!(".tar.{}", codec.extension())))
}

/// An archive that a listing shows something of.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    keys: Keys,
    /// The tarball, if it is there.
    tarball: Option<Object>,
    sha256: bool,
    record: bool,
}

/// The archives that a listing shows something of, by key. Pure.
fn candidates(listing: Vec<Object>) -> Vec<Candidate> {
    let mut found: BTreeMap<String, Candidate> = BTreeMap::new();
    for object in listing {
        let role = [Role::Sha256, Role::Record, Role::Tarball]
            .into_iter()
            .find_map(|role| {
                let tarball = object.key.strip_suffix(role.suffix())?;
                is_tarball(tarball).then(|| (tarball.to_owned(), role))
            });
        let Some((key, role)) = role else { continue };
        let candidate = found.entry(key.clone()).or_insert_with(|| Candidate {
            keys: Keys::of(key),
            tarball: None,
            sha256: false,
            record: false,
        });
        match role {
            Role::Tarball => candidate.tarball = Some(object),
            Role::Sha256 => candidate.sha256 = true,
            Role::Record => candidate.record = true,
        }
    }
    found.into_values().collect()
}

/// Looks at everything that a target has. None if it cannot be listed.
pub fn survey(
    remote: &Remote,
    observer: &dyn Observer,
    interrupt: &Interrupt,
) -> Result<Option<Surveyed>, PublishError> {
    let Some(listing) = remote.list("", interrupt)? else {
        return Ok(None);
    };
    let candidates = candidates(listing);
    let title = format!("reading the records in {}", remote.target());
    let phase = observer.phase(title, Amount::Items(candidates.len() as u64));
    let look = Look {
        remote,
        phase: &phase,
        interrupt,
        size: AtomicU64::new(0),
    };
    let looked = for_each(&candidates, &|candidate| look.one(candidate))?;
    let (mut archives, mut unlisted) = (Vec::new(), Vec::new());
    for (candidate, looked) in candidates.into_iter().zip(looked) {
        match looked {
            Ok(entry) => archives.push(entry),
            Err(flaw) => unlisted.push((candidate.keys.tarball, flaw)),
        }
    }
    phase.done_with(format!("{} archives", archives.len()));
    let index = Index::new(archives);
    Ok(Some(Surveyed { index, unlisted }))
}

struct Look<'a> {
    remote: &'a Remote,
    phase: &'a Phase<'a>,
    interrupt: &'a Interrupt,
    /// What the entries so far take.
    size: AtomicU64,
}

impl Look<'_> {
    /// The entry of an archive, or why it has none.
    fn one(&self, candidate: &Candidate) -> Result<Result<Entry, Flaw>, PublishError> {
        let entry = match self.entry(candidate)? {
            Ok(entry) => entry,
            Err(flaw) => return Ok(Err(flaw)),
        };
        // As it stands in the file, nearly.
        let size = serde_json::to_vec_pretty(&entry).map_or(usize::MAX, |json| json.len());
        if size > ENTRY {
            return Ok(Err(Flaw::Entry { size }));
        }
        let all = self.size.fetch_add(size as u64, Ordering::Relaxed) + size as u64;
        if all > INDEX_LIMIT {
            return Err(PublishError::TooLong {
                target: self.remote.shown().to_owned(),
                key: super::INDEX_JSON.to_owned(),
                limit: INDEX_LIMIT,
            });
        }
        self.phase.advance(1);
        Ok(Ok(entry))
    }

    fn entry(&self, candidate: &Candidate) -> Result<Result<Entry, Flaw>, PublishError> {
        let Candidate {
            keys,
            tarball,
            sha256,
            record,
        } = candidate;
        let Keys {
            tarball: key,
            sha256: sha256_key,
            record: record_key,
        } = keys;
        for key in [key, sha256_key, record_key] {
            if let Err(why) = check_key(key) {
                return Ok(Err(Flaw::Key(why.to_owned())));
            }
        }
        let missing = |tarball, sha256, record| Flaw::Missing {
            tarball,
            sha256,
            record,
        };
        let (Some(object), true, true) = (tarball, *sha256, *record) else {
            return Ok(Err(missing(tarball.is_none(), !sha256, !record)));
        };
        self.phase.detail(key);
        let read = |key: &str| match self.remote.read_small(key, SIDECAR, self.interrupt) {
            Err(PublishError::TooLong { limit, .. }) => Ok(Err(Flaw::TooLong { limit })),
            other => other.map(Ok),
        };
        let (record, checksum) = match (read(record_key)?, read(sha256_key)?) {
            (Ok(record), Ok(checksum)) => (record, checksum),
            (Err(flaw), _) | (_, Err(flaw)) => return Ok(Err(flaw)),
        };
        let head = self.remote.head(key, self.interrupt)?;
        let (Some(record), Some(checksum), Some(head)) = (&record, &checksum, &head) else {
            // Removed since it was listed.
            let gone = missing(head.is_none(), checksum.is_none(), record.is_none());
            return Ok(Err(gone));
        };
        Ok(agreed(keys, record, checksum, head)
            .and_then(|record| match misplaced(key, &record) {
                Some(flaw) => Err(flaw),
                None => Ok(record),
            })
            .map(|record| Entry::of(object, record)))
    }
}

/// Puts a document that may change, unless it is there with the same bytes.
pub fn replace(
    remote: &Remote,
    key: &str,
    bytes: &[u8],
    interrupt: &Interrupt,
) -> Result<Put, PublishError> {
    let put = |mode| remote.put(key, Content::Bytes(bytes), mode, &|_| {}, interrupt);
    match put(Mode::Create) {
        Err(PublishError::Exists { .. }) => put(Mode::Overwrite),
        other => other,
    }
}

#[cfg(test)]
mod tests;
