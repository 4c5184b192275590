//! What a tree holds, against what it should hold. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use nix::errno::Errno;

use super::{Entry, Scanned, What};

/// A path that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Below the tree, without dots; empty for the tree itself.
    pub path: Vec<u8>,
    /// What is wrong with it.
    pub change: Change,
}

/// How a path differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is not there.
    Missing,
    /// It should not be there.
    Added,
    /// It is something else.
    Kind {
        /// What it should be, as mtree(5) calls it.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// Its permissions are others.
    Mode {
        /// What they should be.
        expected: u32,
        /// What they are.
        found: u32,
    },
    /// Its bytes are others.
    Content,
    /// A symlink that says something else, or another device.
    Target,
    /// Its extended attributes are others.
    Xattrs,
    /// It cannot be read.
    Unreadable(Errno),
}

/// What of a tree is not as it should be, sorted by path. Of something that cannot be read no more
/// is said than that: not that all below it is missing.
pub fn compare(expected: &[Entry], found: &Scanned) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut tell = |path: &[u8], change| {
        differences.push(Difference {
            path: path.to_vec(),
            change,
        });
    };
    let (mut left, mut right) = (expected.iter().peekable(), found.entries.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.path.cmp(&b.path),
        };
        let expected = left.next_if(|_| order.is_le());
        let present = right.next_if(|_| order.is_ge());
        match (expected, present) {
            (Some(a), None) if !is_below(&a.path, &found.unreadable) => {
                tell(&a.path, Change::Missing);
            }
            (None, Some(b)) => tell(&b.path, Change::Added),
            (Some(a), Some(b)) => {
                let unreadable = found.unreadable.get(&b.path);
                for change in changes(a, b, unreadable.copied()) {
                    tell(&a.path, change);
                }
            }
            _ => {}
        }
    }
    differences
}

/// Whether a path is below one of these.
fn is_below(path: &[u8], above: &BTreeMap<Vec<u8>, Errno>) -> bool {
    let slashes = path.iter().enumerate().rev();
    let slashes = slashes.filter_map(|(at, byte)| (*byte == b'/').then_some(at));
    !above.is_empty()
        && slashes
            .chain([0])
            .any(|at| above.contains_key(&path[..at]) && path.len() > at)
}

/// How one path differs. `unreadable` is why it could not be read, if so.
fn changes(expected: &Entry, found: &Entry, unreadable: Option<Errno>) -> Vec<Change> {
    let mut changes = Vec::new();
    if std::mem::discriminant(&expected.what) != std::mem::discriminant(&found.what) {
        changes.push(Change::Kind {
            expected: expected.what.word(),
            found: found.what.word(),
        });
        return changes;
    }
    if expected.mode != found.mode {
        changes.push(Change::Mode {
            expected: expected.mode,
            found: found.mode,
        });
    }
    match (&expected.what, &found.what) {
        (
            What::File {
                size: old,
                sha256: Some(expected),
            },
            What::File { size, sha256 },
        ) => match sha256 {
            Some(found) if old == size && expected == found => {}
            None if old == size => changes.extend(unreadable.map(Change::Unreadable)),
            _ => changes.push(Change::Content),
        },
        // There never was a digest: its size is all that can be compared.
        (What::File { size: old, .. }, What::File { size, .. }) if old != size => {
            changes.push(Change::Content);
        }
        (What::Symlink(_) | What::Device { .. }, _) if expected.what != found.what => {
            changes.push(Change::Target);
        }
        (What::Directory, _) => changes.extend(unreadable.map(Change::Unreadable)),
        _ => {}
    }
    if expected.xattrs != found.xattrs {
        changes.push(Change::Xattrs);
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;
    use crate::model::Sha256;

    /// A few lines, of which each is `PATH KIND [MODE] [CONTENT]`.
    fn entries(lines: &str) -> Vec<Entry> {
        let mut text = "#mtree\n".to_owned();
        for line in lines.split_terminator("; ") {
            let words: Vec<&str> = line.split(' ').collect();
            let line = match words[..] {
                [path, "file", mode, content] => format!(
                    "{path} type=file mode={mode} size={} sha256digest={}\n",
                    content.len(),
                    Sha256::of(content.as_bytes())
                ),
                [path, "link", target] => format!("{path} type=link link={target}\n"),
                [path, kind, mode] => format!("{path} type={kind} mode={mode}\n"),
                [path, kind, mode, rest] => format!("{path} type={kind} mode={mode} {rest}\n"),
                _ => panic!("{line}"),
            };
            text.push_str(&line);
        }
        text::read(&text).expect("sorted lines")
    }

    fn found(expected: &str, lines: &str) -> Vec<String> {
        let scanned = Scanned {
            entries: entries(lines),
            ..Scanned::default()
        };
        let differences = compare(&entries(expected), &scanned);
        let told = differences.iter().map(|difference| {
            format!("{} {:?}", difference.path.escape_ascii(), difference.change)
        });
        told.collect()
    }

    #[test]
    fn whatever_is_done_to_a_tree_is_found() {
        let before = ". dir 0755; ./a file 0644 one; ./b link a; ./c dir 0700; ./d char 0000 device=native,0,0";
        let with = |from: &str, to: &str| before.replace(from, to);
        let table = [
            (before.to_owned(), ""),
            (with("one", "two"), "a Content"),
            (with("one", "longer"), "a Content"),
            (
                with("0644", "4644"),
                "a Mode { expected: 420, found: 2468 }",
            ),
            (with("link a", "link x"), "b Target"),
            (with("native,0,0", "native,1,3"), "d Target"),
            (with("./a file 0644 one; ", ""), "a Missing"),
            (with("./c dir", "./bb fifo 0600; ./c dir"), "bb Added"),
            (
                with("file 0644 one", "link /etc/passwd"),
                "a Kind { expected: \"file\", found: \"link\" }",
            ),
            (
                with("./c dir 0700", "./c fifo 0700"),
                "c Kind { expected: \"dir\", found: \"fifo\" }",
            ),
            (
                with(
                    "./c dir 0700",
                    "./c dir 0700 xattr.user.overlay.opaque=eQ==",
                ),
                "c Xattrs",
            ),
            (
                with("file 0644 one", "file 0600 two"),
                "a Mode { expected: 420, found: 384 }, a Content",
            ),
        ];
        for (after, told) in table {
            assert_eq!(found(before, &after).join(", "), told, "{after}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_once() {
        let before = entries(
            ". dir 0755; ./a dir 0755; ./a/b file 0644 x; ./a/b/c fifo 0600; ./ab fifo 0600; ./f file 0644 x",
        );
        let mut scanned = Scanned {
            entries: entries(". dir 0755; ./a dir 0755; ./f file 0644 x"),
            ..Scanned::default()
        };
        if let What::File { sha256, .. } = &mut scanned.entries[2].what {
            *sha256 = None;
        }
        scanned.unreadable.insert(b"a".to_vec(), Errno::EACCES);
        scanned.unreadable.insert(b"f".to_vec(), Errno::EIO);
        let told = compare(&before, &scanned);
        let told: Vec<_> = told.iter().map(|d| (&d.path[..], &d.change)).collect();
        assert_eq!(
            told,
            [
                (&b"a"[..], &Change::Unreadable(Errno::EACCES)),
                (b"ab", &Change::Missing),
                (b"f", &Change::Unreadable(Errno::EIO)),
            ]
        );
        scanned.unreadable.insert(Vec::new(), Errno::EACCES);
        scanned.entries.truncate(1);
        assert_eq!(compare(&before, &scanned).len(), 1, "all is below the root");
    }
}
