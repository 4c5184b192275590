//! What a target has of an artifact already: for knowing before anything is compiled, and for
//! taking a dependency from there.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::PublishError;
use super::flaw::agreed;
use super::layout::Keys;
use super::remote::Remote;
use super::upload::SIDECAR;
use crate::artifact::record::Record;
use crate::model::{HashingReader, Phase, Sha256};
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

/// How many requests are under way at once where a target must be asked key by key.
const AT_ONCE: usize = 32;

/// What a target has of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Some of its three objects, or all but they do not agree: an upload that was killed, say.
    Part,
    /// A tarball of the right size, and sidecars that agree with it and with each other.
    Whole(Box<Record>),
}

/// What there is of one artifact. The tarball itself is not read.
pub fn find(remote: &Remote, keys: &Keys, interrupt: &Interrupt) -> Result<Found, PublishError> {
    let record = remote.read_small(&keys.record, SIDECAR, interrupt)?;
    let checksum = remote.read_small(&keys.sha256, SIDECAR, interrupt)?;
    let tarball = remote.head(&keys.tarball, interrupt)?;
    let (record, checksum, tarball) = match (record, checksum, tarball) {
        (None, None, None) => return Ok(Found::Nothing),
        (Some(record), Some(checksum), Some(tarball)) => (record, checksum, tarball),
        _ => return Ok(Found::Part),
    };
    let agreed = agreed(keys, &record, &checksum, &tarball);
    Ok(agreed.map_or(Found::Part, |record| Found::Whole(Box::new(record))))
}

/// Calls `ask` for each of `items`, many at once, and gives the answers in the same order. The
/// first error ends it.
pub(super) fn for_each<T: Sync, R: Send>(
    items: &[T],
    ask: &(dyn Fn(&T) -> Result<R, PublishError> + Sync),
) -> Result<Vec<R>, PublishError> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<Option<Result<R, PublishError>>>> =
        Mutex::new(items.iter().map(|_| None).collect());
    let work = || {
        while let Some((n, item)) = {
            let n = next.fetch_add(1, Ordering::Relaxed);
            items.get(n).map(|item| (n, item))
        } {
            let answer = ask(item);
            if answer.is_err() {
                next.fetch_add(items.len(), Ordering::Relaxed);
            }
            answers.lock().unwrap_or_else(PoisonError::into_inner)[n] = Some(answer);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(items.len()) {
            scope.spawn(work);
        }
        work();
    });
    let answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Where one is missing another is an error.
    answers.into_iter().flatten().collect()
}

/// Of which artifacts all three objects are there, in the order of `keys`: by one listing below
/// each directory where the target can be listed and we may, else by asking for each. Nothing is
/// read, so it is quick for thousands.
pub fn are_there(
    remote: &Remote,
    keys: &[Keys],
    interrupt: &Interrupt,
) -> Result<Vec<bool>, PublishError> {
    let mut directories: Vec<&str> = keys.iter().map(|keys| top(&keys.tarball)).collect();
    directories.sort_unstable();
    directories.dedup();
    let lists = for_each(&directories, &|below| match remote.list(below, interrupt) {
        // Whoever may not list may still be allowed to look at what they can name.
        Err(PublishError::Denied { .. }) => Ok(None),
        answer => answer,
    })?;
    let lists: Option<Vec<_>> = lists.into_iter().collect();
    let Some(lists) = lists else {
        return for_each(keys, &|keys| {
            for key in [&keys.record, &keys.sha256, &keys.tarball] {
                if remote.head(key, interrupt)?.is_none() {
                    return Ok(false);
                }
            }
            Ok(true)
        });
    };
    let listed: std::collections::HashSet<&str> = lists
        .iter()
        .flatten()
        .map(|object| object.key.as_str())
        .collect();
    let all = |keys: &Keys| {
        [&keys.record, &keys.sha256, &keys.tarball]
            .into_iter()
            .all(|key| listed.contains(key.as_str()))
    };
    Ok(keys.iter().map(all).collect())
}

/// What a key begins with that is worth a listing of its own: the stack's directory.
fn top(key: &str) -> &str {
    key.find('/').map_or("", |end| &key[..=end])
}

/// Reads a tarball that was found into a file, and makes sure that it is what its record says.
/// False if it has gone by now.
pub fn fetch(
    remote: &Remote,
    keys: &Keys,
    record: &Record,
    into: &mut File,
    path: &Path,
    phase: &Phase<'_>,
    interrupt: &Interrupt,
) -> Result<bool, PublishError> {
    // One byte more than there should be is enough to know that it is another.
    let limit = record.artifact.size.saturating_add(1);
    let Some(found) = read_into(remote, &keys.tarball, limit, into, path, phase, interrupt)? else {
        return Ok(false);
    };
    let expected = record.artifact.sha256;
    if found == expected {
        return Ok(true);
    }
    Err(PublishError::Corrupted {
        what: format!("{}{}", remote.shown(), keys.tarball),
        expected,
        found,
    })
}

/// Reads at most so many bytes of an object into a file, and gives their digest. None if it is not
/// there.
pub fn read_into(
    remote: &Remote,
    key: &str,
    limit: u64,
    into: &mut File,
    path: &Path,
    phase: &Phase<'_>,
    interrupt: &Interrupt,
) -> Result<Option<Sha256>, PublishError> {
    let Some(reader) = remote.read(key, interrupt)? else {
        return Ok(None);
    };
    let mut reader = HashingReader::new(reader.take(limit));
    let mut buffer = vec![0; 256 << 10];
    loop {
        interrupt.check()?;
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(remote.read_error(key, error)),
        };
        into.write_all(&buffer[..read])
            .map_err(FsError::new("write", path))?;
        phase.advance(read as u64);
    }
    into.sync_all().map_err(FsError::new("fsync", path))?;
    let (found, _) = reader.finish();
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_what_is_listed() {
        assert_eq!(top("debian-12/runtimes/python-3.11.2.tar.gz"), "debian-12/");
        assert_eq!(top("python-3.11.2-debian-12-amd64.tar.zst"), "");
    }

    #[test]
    fn answers_come_in_the_order_of_the_questions_and_an_error_ends_it() {
        let items: Vec<u32> = (0..500).collect();
        let doubled = for_each(&items, &|n| Ok(n * 2)).expect("no error");
        assert_eq!(doubled, items.iter().map(|n| n * 2).collect::<Vec<_>>());
        let asked = AtomicUsize::new(0);
        let failed = for_each(&items, &|n| {
            asked.fetch_add(1, Ordering::Relaxed);
            if *n < 3 {
                return Ok(());
            }
            Err(PublishError::Client(n.to_string()))
        });
        assert!(matches!(failed, Err(PublishError::Client(_))));
        assert!(asked.into_inner() < 500);
        assert_eq!(for_each(&[0; 0], &|_| Ok(())).expect("nothing"), []);
    }
}
