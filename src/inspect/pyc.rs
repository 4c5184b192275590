//! Compiled Python modules: in what two `.pyc` files differ.

use super::marshal::{Layout, Module};
use super::text::moved;

/// Places of code that are told.
const PLACES: usize = 4;

/// What precedes the code (PEP 552, and what was before it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    /// Says which Python reads it.
    magic: u16,
    validity: Validity,
    /// Where the code begins.
    length: usize,
}

/// How it is found out whether the source has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Validity {
    /// By the source's time, and since 3.3 its size.
    Time { mtime: u32, size: Option<u32> },
    /// By the source's hash; flags say whether it is looked at.
    Hash { flags: u32, hash: u64 },
}

/// Magic numbers from which on a Python's code is laid out so (`Lib/importlib/_bootstrap_external.py`).
const SIZES: u16 = 3230;
const HASHES: u16 = 3392;
const POSITIONAL: u16 = 3410;
const LOCALS: u16 = 3450;
/// Those of 2.x are larger than any of 3.x.
const TWO: u16 = 20_000;

fn header(bytes: &[u8]) -> Option<Header> {
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let magic = half(0)?;
    if bytes.get(2..4)? != b"\r\n" {
        return None;
    }
    let (validity, length) = if !(SIZES..TWO).contains(&magic) {
        let mtime = word(4)?;
        (Validity::Time { mtime, size: None }, 8)
    } else if magic < HASHES {
        let (mtime, size) = (word(4)?, Some(word(8)?));
        (Validity::Time { mtime, size }, 12)
    } else {
        let (flags, low, high) = (word(4)?, word(8)?, word(12)?);
        let validity = if flags & 1 == 0 {
            let (mtime, size) = (low, Some(high));
            Validity::Time { mtime, size }
        } else {
            let hash = u64::from(low) | u64::from(high) << 32;
            Validity::Hash { flags, hash }
        };
        (validity, 16)
    };
    Some(Header {
        magic,
        validity,
        length,
    })
}

fn layout(magic: u16) -> Layout {
    match magic {
        TWO.. => Layout::Two,
        LOCALS.. => Layout::Locals,
        POSITIONAL.. => Layout::Positional,
        _ => Layout::Three,
    }
}

/// In what two compiled modules differ, each a sentence; none if one of them is no such file.
pub(super) fn differences(a: &[u8], b: &[u8]) -> Option<Vec<String>> {
    let (one, other) = (header(a)?, header(b)?);
    if one.magic != other.magic {
        let (from, to) = (one.magic.to_string(), other.magic.to_string());
        return Some(vec![format!(
            "compiled by another Python: magic number {}",
            moved(&from, &to)
        )]);
    }
    let mut told = Vec::new();
    match (one.validity, other.validity) {
        (a, b) if a == b => {}
        (Validity::Hash { flags, hash }, Validity::Hash { flags: f, hash: h }) => {
            if hash != h {
                told.push("compiled from another source: its hash differs".to_owned());
            }
            if flags != f {
                told.push(format!("flags {flags} → {f}"));
            }
        }
        (Validity::Time { mtime, size }, Validity::Time { mtime: m, size: s }) => {
            if mtime != m {
                told.push(format!("time of its source {mtime} → {m}"));
            }
            if size != s {
                let text = |size: Option<u32>| size.unwrap_or_default().to_string();
                let (from, to) = (text(size), text(s));
                told.push(format!("size of its source {}", moved(&from, &to)));
            }
        }
        (Validity::Hash { .. }, Validity::Time { .. }) => {
            told.push("its source is known by time, not by hash".to_owned());
        }
        (Validity::Time { .. }, Validity::Hash { .. }) => {
            told.push("its source is known by hash, not by time".to_owned());
        }
    }
    let (a, b) = (a.get(one.length..)?, b.get(other.length..)?);
    if a == b {
        return Some(told);
    }
    told.extend(code(a, b, layout(one.magic)));
    Some(told)
}

fn code(a: &[u8], b: &[u8], layout: Layout) -> Vec<String> {
    let read = Module::read(a, layout).and_then(|a| Ok((a, Module::read(b, layout)?)));
    let (a, b) = match read {
        Ok(both) => both,
        Err(why) => return vec![format!("other code, which cannot be read: {why}")],
    };
    match a.differences(&b, PLACES) {
        Ok(told) if told.is_empty() => {
            let why = "the same code, written down with other references or in another order";
            vec![why.to_owned()]
        }
        Ok(told) => told,
        Err(why) => vec![format!("other code: {why}")],
    }
}

#[cfg(test)]
mod tests;
