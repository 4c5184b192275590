//! The file itself: written in one way only, and read only if it could have been written so.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Entry, What};

const HEAD: &str = "#mtree";

/// Why a file is no list of what a tree holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the list of contents {why}")]
pub struct MtreeError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The text for these entries, which are sorted by path.
pub fn write(entries: &[Entry]) -> String {
    let mut out = format!("{HEAD}\n");
    for entry in entries {
        line(&mut out, entry);
        out.push('\n');
    }
    out
}

fn line(out: &mut String, entry: &Entry) {
    let Entry {
        path,
        what,
        mode,
        xattrs,
    } = entry;
    out.push('.');
    if !path.is_empty() {
        out.push('/');
        escape(out, path);
    }
    // Writing to a String cannot fail.
    let _ = write!(out, " type={}", what.word());
    if !matches!(what, What::Symlink(_)) {
        let _ = write!(out, " mode={mode:04o}");
    }
    match what {
        What::File { size, sha256 } => {
            let _ = write!(out, " size={size}");
            if let Some(sha256) = sha256 {
                let _ = write!(out, " sha256digest={sha256}");
            }
        }
        What::Symlink(target) => {
            out.push_str(" link=");
            escape(out, target);
        }
        What::Device { major, minor, .. } => {
            let _ = write!(out, " device=native,{major},{minor}");
        }
        What::Directory | What::Pipe | What::Socket => {}
    }
    for (name, value) in xattrs {
        out.push_str(" xattr.");
        escape(out, name);
        let _ = write!(out, "={}", STANDARD.encode(value));
    }
}

/// Reads what [`write()`] has written.
pub fn read(text: &str) -> Result<Vec<Entry>, MtreeError> {
    let mut lines = text.lines().enumerate();
    if lines.next().is_none_or(|(_, head)| head != HEAD) {
        let why = "is not `#mtree`";
        return Err(MtreeError { line: 1, why });
    }
    let mut entries: Vec<Entry> = Vec::new();
    for (n, line) in lines {
        let wrong = |why| MtreeError { line: n + 1, why };
        let entry = parse(line).ok_or_else(|| wrong("cannot be understood"))?;
        if entries.last().is_some_and(|last| last.path >= entry.path) {
            return Err(wrong("is out of order"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn parse(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let path = match words.next()? {
        "." => Vec::new(),
        path => unescape(path.strip_prefix("./")?)?,
    };
    let mut known: BTreeMap<&str, &str> = BTreeMap::new();
    let mut xattrs = BTreeMap::new();
    for word in words {
        let (name, value) = word.split_once('=')?;
        let twice = match name.strip_prefix("xattr.") {
            Some(name) => {
                let value = STANDARD.decode(value).ok()?;
                xattrs.insert(unescape(name)?, value).is_some()
            }
            None => known.insert(name, value).is_some(),
        };
        if twice {
            return None;
        }
    }
    let mut take = |name: &str| known.remove(name);
    let kind = take("type")?;
    let what = match kind {
        "dir" => What::Directory,
        "file" => What::File {
            size: take("size")?.parse().ok()?,
            sha256: match take("sha256digest") {
                Some(digest) => Some(digest.parse().ok()?),
                None => None,
            },
        },
        "link" => What::Symlink(unescape(take("link")?)?),
        "fifo" => What::Pipe,
        "socket" => What::Socket,
        "block" | "char" => {
            let numbers = take("device")?.strip_prefix("native,")?;
            let (major, minor) = numbers.split_once(',')?;
            What::Device {
                block: kind == "block",
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            }
        }
        _ => return None,
    };
    let mode = match what {
        What::Symlink(_) => 0,
        _ => u32::from_str_radix(take("mode")?, 8).ok()?,
    };
    known.is_empty().then_some(Entry {
        path,
        what,
        mode,
        xattrs,
    })
}

fn escape(out: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_graphic() && !b"\\#=*?[".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "\\{byte:03o}");
        }
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'\\' {
            let digits = std::str::from_utf8(rest.get(..3)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 8).ok()?);
            rest = &rest[3..];
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sha256;

    fn entry(path: &[u8], what: What, mode: u32) -> Entry {
        Entry {
            path: path.to_vec(),
            what,
            mode,
            xattrs: BTreeMap::new(),
        }
    }

    fn all() -> Vec<Entry> {
        let file = |size, sha256| What::File { size, sha256 };
        let device = |block, major, minor| What::Device {
            block,
            major,
            minor,
        };
        let mut opaque = entry(b"opaque", What::Directory, 0o755);
        opaque
            .xattrs
            .insert(b"user.overlay.opaque".to_vec(), b"y".to_vec());
        opaque.xattrs.insert(b"user.a b".to_vec(), Vec::new());
        vec![
            entry(b"", What::Directory, 0o1777),
            entry(b"a \xff\n=#\\", file(3, Some(Sha256::of(b"abc"))), 0o4755),
            entry(b"dark", file(1, None), 0),
            entry(b"disk", device(true, 8, 1), 0o660),
            entry(b"gone", device(false, 0, 0), 0),
            entry(b"link", What::Symlink(b"../a b".to_vec()), 0),
            opaque,
            entry(b"pipe", What::Pipe, 0o600),
            entry(b"sock", What::Socket, 0o700),
        ]
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = write(&all());
        insta::assert_snapshot!(text, @r"
        #mtree
        . type=dir mode=1777
        ./a\040\377\012\075\043\134 type=file mode=4755 size=3 sha256digest=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
        ./dark type=file mode=0000 size=1
        ./disk type=block mode=0660 device=native,8,1
        ./gone type=char mode=0000 device=native,0,0
        ./link type=link link=../a\040b
        ./opaque type=dir mode=0755 xattr.user.a\040b= xattr.user.overlay.opaque=eQ==
        ./pipe type=fifo mode=0600
        ./sock type=socket mode=0700
        ");
        assert_eq!(read(&text), Ok(all()));
    }

    #[test]
    fn what_could_not_have_been_written_is_refused() {
        let table = [
            ("", 1, "is not `#mtree`"),
            ("#mtree v2.0\n", 1, "is not `#mtree`"),
            ("#mtree\n\n", 2, "cannot be understood"),
            ("#mtree\n/a type=dir mode=0755\n", 2, "cannot be understood"),
            ("#mtree\n. type=dir\n", 2, "cannot be understood"),
            (
                "#mtree\n. type=dir mode=0755 uid=0\n",
                2,
                "cannot be understood",
            ),
            (
                "#mtree\n. type=dir mode=0755 mode=0755\n",
                2,
                "cannot be understood",
            ),
            (
                "#mtree\n./a type=file mode=0644 size=1 sha256digest=00\n",
                2,
                "cannot be understood",
            ),
            (
                "#mtree\n./a\\9 type=dir mode=0755\n",
                2,
                "cannot be understood",
            ),
            (
                "#mtree\n./b type=fifo mode=0600\n./a type=fifo mode=0600\n",
                3,
                "is out of order",
            ),
            (
                "#mtree\n./a type=fifo mode=0600\n./a type=fifo mode=0600\n",
                3,
                "is out of order",
            ),
        ];
        for (text, line, why) in table {
            assert_eq!(read(text), Err(MtreeError { line, why }), "{text:?}");
        }
    }
}
