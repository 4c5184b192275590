//! What a layer says of its files that files of one ordinary user cannot have: owners, setuid bits,
//! device nodes. It is kept beside the tree, so that the tree can be given on as it came.
//!
//! The file is JSON lines, sorted by path. The first line is `{"schema":1}`; each other one is one
//! path that differs from what lies on the disk:
//!
//! ```json
//! {"path":"usr/bin/sudo","mode":"4755"}
//! {"path":"var/mail","gid":8,"mode":"2775"}
//! {"path":"dev/null","mode":"666","device":{"block":false,"major":1,"minor":3}}
//! {"path":"usr/bin/ping","xattrs":{"security.capability":"AQAAAgAgAAAAAAAAAAAAAAAAAAA="}}
//! ```
//!
//! In `path`, bytes that are no printable ASCII, and `%`, are written `%XX`: names are bytes, JSON
//! is text. Owners that are missing are 0. A mode that is missing is that on the disk. Values of
//! attributes are base64. A path with a `device` is not on the disk. A path without a line is
//! root's, with the mode on the disk.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

const SCHEMA: u32 = 1;
/// Bytes in a line at most: a path of 4 KiB, escaped, and attributes of 64 KiB, as base64.
const LINE_LIMIT: u64 = 1 << 20;
/// Lines at most: as many as one layer may have members, for each of as many layers as are usual.
const LINES_LIMIT: usize = 16_000_000;

/// A device node that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceNode {
    /// Whether it is a block device; a character device otherwise.
    pub block: bool,
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
}

/// What a path would be if it could. The default is what it is: root's, with the mode on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owned {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The mode, setuid, setgid and sticky included, if the disk has another.
    pub mode: Option<u32>,
    /// What it is, if it is a device: then it is not on the disk.
    pub device: Option<DeviceNode>,
    /// Attributes that were not set: capabilities and access lists.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Of a tree: every path that is not what lies on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership(BTreeMap<Vec<u8>, Owned>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    schema: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    path: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    uid: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    gid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceNode>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
}

// Serde hands out a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(id: &u32) -> bool {
    *id == 0
}

impl Ownership {
    /// What a path, relative to the tree and without dots, would be; `None` if it is just that.
    pub fn get(&self, path: &[u8]) -> Option<&Owned> {
        self.0.get(path)
    }

    /// Every path that is not what lies on the disk, sorted by its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Owned)> {
        self.0.iter().map(|(path, owned)| (&path[..], owned))
    }

    /// Says what a path, relative to the tree and without dots, would be.
    pub fn set(&mut self, path: Vec<u8>, owned: Owned) {
        if owned == Owned::default() {
            self.0.remove(&path);
        } else {
            self.0.insert(path, owned);
        }
    }

    pub(super) fn remove(&mut self, path: &[u8]) {
        self.0.remove(path);
    }

    /// The devices at or below `path`: nothing on the disk stands for them.
    pub(super) fn devices(&self, path: &[u8]) -> impl Iterator<Item = &[u8]> {
        let below = {
            let mut below = path.to_vec();
            if !path.is_empty() {
                below.push(b'/');
            }
            below
        };
        let at = self.0.get_key_value(path);
        let range = self.0.range(below.clone()..);
        let range = range.take_while(move |(path, _)| path.starts_with(&below));
        at.into_iter()
            .chain(range)
            .filter(|(_, owned)| owned.device.is_some())
            .map(|(path, _)| &path[..])
    }

    /// Writes the file.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut line = |value: serde_json::Result<String>| writeln!(out, "{}", value?);
        line(serde_json::to_string(&Head { schema: SCHEMA }))?;
        for (path, owned) in &self.0 {
            let Owned {
                uid,
                gid,
                mode,
                device,
                xattrs,
            } = owned;
            line(serde_json::to_string(&Line {
                path: escape(path),
                uid: *uid,
                gid: *gid,
                mode: mode.map(|mode| format!("{mode:o}")),
                device: *device,
                xattrs: xattrs
                    .iter()
                    .map(|(name, value)| (name.clone(), STANDARD.encode(value)))
                    .collect(),
            }))?;
        }
        Ok(())
    }

    /// Reads the file. What [`Ownership::write`] would not have written is an error.
    pub fn read(file: &mut dyn BufRead) -> io::Result<Self> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        let head: Option<Head> = next(file)?;
        if head.is_none_or(|head| head.schema != SCHEMA) {
            return Err(wrong("it is of an unknown schema"));
        }
        let mut all = BTreeMap::new();
        while let Some(line) = next::<Line>(file)? {
            let path = unescape(&line.path).ok_or_else(|| wrong("a path is malformed"))?;
            let mode = line.mode.map(|mode| u32::from_str_radix(&mode, 8));
            let mode = mode.transpose().map_err(|_| wrong("a mode is not octal"))?;
            let xattrs = line.xattrs.into_iter().map(|(name, value)| {
                let value = STANDARD.decode(value);
                value.map(|value| (name, value))
            });
            let xattrs: Result<_, _> = xattrs.collect();
            let owned = Owned {
                uid: line.uid,
                gid: line.gid,
                mode,
                device: line.device,
                xattrs: xattrs.map_err(|_| wrong("an attribute is not base64"))?,
            };
            if all.insert(path, owned).is_some() || all.len() > LINES_LIMIT {
                return Err(wrong("a path comes twice, or there are too many"));
            }
        }
        Ok(Self(all))
    }
}

/// The next line of the file, or `None` at its end.
fn next<T: for<'a> Deserialize<'a>>(file: &mut dyn BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let read = io::Read::take(&mut *file, LINE_LIMIT).read_until(b'\n', &mut line)?;
    match (read, line.pop()) {
        (0, _) => Ok(None),
        (_, Some(b'\n')) => Ok(Some(serde_json::from_slice(&line)?)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a line is too long, or cut",
        )),
    }
}

fn escape(path: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(path.len());
    for byte in path {
        match byte {
            b' '..=b'~' if *byte != b'%' => text.push(char::from(*byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        path.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                u8::from_str_radix(digits, 16).ok()?
            }
            b' '..=b'~' => byte,
            _ => return None,
        });
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Ownership {
        let mut ownership = Ownership::default();
        let capability = ("security.capability".to_owned(), vec![1, 0, 0, 2]);
        let rows = [
            (
                &b"usr/bin/sudo"[..],
                Owned {
                    mode: Some(0o4755),
                    ..Owned::default()
                },
            ),
            (
                b"dev/null",
                Owned {
                    mode: Some(0o666),
                    device: Some(DeviceNode {
                        block: false,
                        major: 1,
                        minor: 3,
                    }),
                    ..Owned::default()
                },
            ),
            (
                b"caf\xe9\n100%",
                Owned {
                    uid: 1000,
                    gid: u32::MAX,
                    xattrs: [capability].into(),
                    ..Owned::default()
                },
            ),
        ];
        for (path, owned) in rows {
            ownership.set(path.to_vec(), owned);
        }
        ownership
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut file = Vec::new();
        example().write(&mut file).expect("memory");
        let text = String::from_utf8(file.clone()).expect("it is ASCII");
        assert_eq!(
            text,
            concat!(
                "{\"schema\":1}\n",
                "{\"path\":\"caf%E9%0A100%25\",\"uid\":1000,\"gid\":4294967295,",
                "\"xattrs\":{\"security.capability\":\"AQAAAg==\"}}\n",
                "{\"path\":\"dev/null\",\"mode\":\"666\",",
                "\"device\":{\"block\":false,\"major\":1,\"minor\":3}}\n",
                "{\"path\":\"usr/bin/sudo\",\"mode\":\"4755\"}\n",
            )
        );
        assert_eq!(Ownership::read(&mut &file[..]).expect("sound"), example());
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let table = [
            "",
            "{\"schema\":2}\n",
            "{\"schema\":1}",
            "{\"schema\":1}\n{}\n",
            "{\"schema\":1}\n{\"path\":\"a\"}",
            "{\"schema\":1}\n{\"path\":\"%4\"}\n",
            "{\"schema\":1}\n{\"path\":\"\\u00e9\"}\n",
            "{\"schema\":1}\n{\"path\":\"a\",\"mode\":\"9\"}\n",
            "{\"schema\":1}\n{\"path\":\"a\"}\n{\"path\":\"a\"}\n",
            "{\"schema\":1}\n{\"path\":\"a\",\"more\":1}\n",
        ];
        for text in table {
            assert!(Ownership::read(&mut text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn devices_are_found_at_and_below_a_path_only() {
        let found = |path: &[u8]| example().devices(path).count();
        assert_eq!((found(b""), found(b"dev"), found(b"dev/null")), (1, 1, 1));
        assert_eq!((found(b"de"), found(b"usr"), found(b"dev/nul")), (0, 0, 0));
    }
}
