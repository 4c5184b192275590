//! Whether a layer on this host is what it was when it was made.

use std::fs;

use nix::errno::Errno;

use super::layer::{self, CONTENTS, State};
use crate::archive::mtree::{self, Change, Difference, MtreeError, ScanError};
use crate::model::Sha256;
use crate::store::Store;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

/// More than any list of contents is long.
const LONGEST: u64 = 4 << 30;

/// What became of looking at a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Which layer.
    pub key: Sha256,
    /// Paths that were compared.
    pub entries: u64,
    /// What was found.
    pub verdict: Verdict,
}

/// What was found of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is what it was.
    Sound,
    /// Nobody can tell: an older pybuild made it, and did not write down what it holds.
    Unknown,
    /// It is not what it was.
    Spoilt(Vec<Wrong>),
}

/// Something that is wrong with a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// It is not there.
    Missing,
    /// It was found spoilt earlier, and is not used any more.
    Withdrawn,
    /// Its `layer.json` cannot be understood: why.
    Garbled(String),
    /// A file beside the tree is missing, changed, or cannot be read.
    Beside(String, &'static str),
    /// The list of contents cannot be understood, though its digest is right.
    List(MtreeError),
    /// A path of its tree.
    Path(Difference),
}

/// Holds a layer against what was written down when it was made. `progress` hears of the bytes of
/// files that were read.
pub fn check(
    store: &Store,
    key: &Sha256,
    progress: &(dyn Fn(u64) + Sync),
    interrupt: &Interrupt,
) -> Result<Checked, ScanError> {
    let found = |verdict, entries| {
        Ok(Checked {
            key: *key,
            entries,
            verdict,
        })
    };
    let spoilt = |wrong| found(Verdict::Spoilt(vec![wrong]), 0);
    let contents = match layer::state(store, key)? {
        State::There(layer) => match layer.contents {
            Some(contents) => contents,
            None => return found(Verdict::Unknown, 0),
        },
        State::Withdrawn(_) => return spoilt(Wrong::Withdrawn),
        State::Missing => return spoilt(Wrong::Missing),
        State::Garbled(why) => return spoilt(Wrong::Garbled(why)),
    };
    let dir = store.layer_path(key);
    let mut wrong = Vec::new();
    for (name, expected) in &contents.files {
        let read = layer::read_of(&dir.join(name), LONGEST);
        let why = match read {
            Ok((text, digest)) if digest == *expected => {
                if name == CONTENTS {
                    let text = String::from_utf8_lossy(&text);
                    match mtree::read(&text) {
                        Ok(expected) => {
                            wrong.extend(differences(store, key, &expected, progress, interrupt)?);
                        }
                        Err(error) => wrong.push(Wrong::List(error)),
                    }
                }
                continue;
            }
            Ok(_) => "was changed",
            Err(error) => of_error(error)?,
        };
        wrong.push(Wrong::Beside(name.clone(), why));
    }
    if !contents.files.contains_key(CONTENTS) {
        wrong.push(Wrong::Beside(CONTENTS.to_owned(), "is not known"));
    }
    let verdict = if wrong.is_empty() {
        Verdict::Sound
    } else {
        Verdict::Spoilt(wrong)
    };
    found(verdict, contents.entries)
}

fn differences(
    store: &Store,
    key: &Sha256,
    expected: &[mtree::Entry],
    progress: &(dyn Fn(u64) + Sync),
    interrupt: &Interrupt,
) -> Result<Vec<Wrong>, ScanError> {
    let tree = layer::tree(&store.layer_path(key));
    let root = |change| {
        Ok(vec![Wrong::Path(Difference {
            path: Vec::new(),
            change,
        })])
    };
    match fs::symlink_metadata(&tree) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return root(Change::Kind {
                expected: "dir",
                found: "something else",
            });
        }
        Err(_) => return root(Change::Missing),
    }
    let scanned = mtree::scan(&tree, layer::processors(), progress, interrupt)?;
    let differences = mtree::compare(expected, &scanned);
    Ok(differences.into_iter().map(Wrong::Path).collect())
}

/// What a file beside the tree that cannot be read says of the layer; other errors say nothing of
/// it.
fn of_error(error: FsError) -> Result<&'static str, FsError> {
    match error.source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => Ok("is missing"),
        Some(Errno::ELOOP | Errno::EINVAL | Errno::ENXIO | Errno::EISDIR) => Ok("is no file"),
        Some(Errno::EIO | Errno::EUCLEAN | Errno::EBADMSG | Errno::EACCES) => Ok("cannot be read"),
        _ => Err(error),
    }
}

/// Sees to it that a layer that was found spoilt is used no more: whoever needs it makes it anew.
/// Its files stay where they are, for whoever uses them just now.
pub fn withdraw(store: &Store, key: &Sha256) -> Result<(), FsError> {
    layer::withdraw(store, key)
}
