//! Items as tar headers: ustar, with a pax header where ustar cannot say it. Nothing gets in but
//! what the item says.

use super::DeviceNode;
use super::header::BLOCK;
use super::walk::{Attributes, Item, What};

/// What ustar's eleven octal digits can say.
const SIZE_LIMIT: u64 = 1 << 33;
/// What its seven can.
const NUMBER_LIMIT: u32 = 1 << 21;
/// How GNU tar, star and Go's archive/tar write extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// The header blocks of an item.
pub(super) fn headers(item: &Item, epoch: i64) -> Vec<u8> {
    let Item {
        path,
        what,
        mtime,
        attributes,
    } = item;
    let Attributes {
        uid,
        gid,
        mode,
        xattrs,
    } = attributes;
    let mut name = path.clone();
    let none: &[u8] = &[];
    let (flag, size, link) = match what {
        What::Directory => {
            // The root itself has no name.
            let end: &[u8] = if name.is_empty() { b"./" } else { b"/" };
            name.extend_from_slice(end);
            (b'5', 0, none)
        }
        What::File { size, .. } => (b'0', *size, none),
        What::Marker => (b'0', 0, none),
        // The mode is the file's own again: some readers set it once more.
        What::HardLink { target } => (b'1', 0, target.as_slice()),
        What::Symlink(target) => (b'2', 0, target.as_slice()),
        What::Device(DeviceNode { block: false, .. }) => (b'3', 0, none),
        What::Device(DeviceNode { block: true, .. }) => (b'4', 0, none),
        What::Fifo => (b'6', 0, none),
    };
    // Clamped: what is newer than the sources was made by the build, whenever that was.
    let mtime = (*mtime).min(epoch).max(0).unsigned_abs();
    let mut header = Header::new(flag, mode & 0o7777, size.min(SIZE_LIMIT - 1), mtime);
    let mut records = Vec::new();
    // ustar says nothing about names that are not ASCII. Those that are not even UTF-8 go into
    // pax as they are, as GNU tar does it, which warns of POSIX's `hdrcharset=BINARY`.
    if !(name.is_ascii() && header.name(&name)) {
        records.extend(record(b"path", &name));
    }
    if !(link.is_ascii() && header.link(link)) {
        records.extend(record(b"linkpath", link));
    }
    if size >= SIZE_LIMIT {
        records.extend(record(b"size", size.to_string().as_bytes()));
    }
    for (keyword, at, id) in [(&b"uid"[..], 108, *uid), (b"gid", 116, *gid)] {
        if !header.number(at, id) {
            records.extend(record(keyword, id.to_string().as_bytes()));
        }
    }
    if let What::Device(DeviceNode { major, minor, .. }) = what {
        // Linux has no numbers that would not fit: 12 bits and 20.
        header.number(329, *major);
        header.number(337, *minor);
    }
    for (name, value) in xattrs {
        records.extend(record(&[XATTR, name].concat(), value));
    }
    if records.is_empty() {
        return header.seal().to_vec();
    }
    // For readers that know no pax: a short name that is not the wrong file's.
    let mut pax = Header::new(b'x', 0o644, records.len() as u64, mtime);
    pax.name(b"PaxHeader");
    let mut blocks = pax.seal().to_vec();
    blocks.extend(&records);
    blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    blocks.extend(header.seal());
    blocks
}

/// A header block under construction.
struct Header([u8; BLOCK]);

impl Header {
    fn new(flag: u8, mode: u32, size: u64, mtime: u64) -> Self {
        let mut this = Self([0; BLOCK]);
        this.put(100, format!("{mode:07o}").as_bytes());
        this.put(108, b"0000000"); // uid
        this.put(116, b"0000000"); // gid
        this.put(124, format!("{size:011o}").as_bytes());
        this.put(
            136,
            format!("{:011o}", mtime.min(SIZE_LIMIT - 1)).as_bytes(),
        );
        this.put(156, &[flag]);
        this.put(257, b"ustar\x0000");
        this.put(329, b"0000000"); // device numbers
        this.put(337, b"0000000");
        this
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Puts a name in, split between prefix and name if need be; if it does not fit, its end.
    fn name(&mut self, name: &[u8]) -> bool {
        if name.len() <= 100 {
            self.put(0, name);
            return true;
        }
        // The slash between the two is not stored, and the name must not be empty.
        let split = (1..name.len() - 1)
            .filter(|at| name[*at] == b'/')
            .find(|at| *at <= 155 && name.len() - at - 1 <= 100);
        let Some(at) = split else {
            self.put(0, &name[name.len() - 100..]);
            return false;
        };
        self.put(345, &name[..at]);
        self.put(0, &name[at + 1..]);
        true
    }

    /// Puts an owner or a device's number in, or, if it does not fit, nothing.
    fn number(&mut self, at: usize, number: u32) -> bool {
        let fits = number < NUMBER_LIMIT;
        if fits {
            self.put(at, format!("{number:07o}").as_bytes());
        }
        fits
    }

    fn link(&mut self, target: &[u8]) -> bool {
        self.put(157, &target[..target.len().min(100)]);
        target.len() <= 100
    }

    fn seal(mut self) -> [u8; BLOCK] {
        self.put(148, b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// `LENGTH KEYWORD=VALUE\n`, where the length counts its own digits.
fn record(keyword: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(keyword);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::archive::Limits;
    use crate::archive::members::{End, Kind, Member, Members};

    fn read_back(item: &Item, epoch: i64) -> (Member, usize) {
        let mut archive = headers(item, epoch);
        let length = archive.len();
        // The content itself is not needed: only the header is read.
        archive.resize(length + 1024, 0);
        let limits = Limits {
            bytes: u64::MAX,
            ..Limits::default()
        };
        let mut members = Members::new(&archive[..], &limits, End::Marked);
        let member = members.next().expect("sound").expect("a member");
        (member, length)
    }

    fn item(path: &[u8], what: What) -> Item {
        Item {
            path: path.to_vec(),
            what,
            mtime: 2_000_000_000,
            attributes: Attributes {
                mode: 0o755,
                ..Attributes::default()
            },
        }
    }

    #[test]
    fn names_of_every_length_and_kind_are_read_back() {
        let mut paths: Vec<(Vec<u8>, bool)> = vec![
            (b"bin".to_vec(), false),
            ([vec![b'd'; 100], vec![b'f'; 99]].join(&b'/'), false),
            ([vec![b'd'; 155], vec![b'f'; 100]].join(&b'/'), false),
            ([vec![b'd'; 156], vec![b'f'; 100]].join(&b'/'), true),
            ([vec![b'd'; 100], vec![b'f'; 101]].join(&b'/'), true),
            ("lib/grün".as_bytes().to_vec(), true),
            (b"lib/\xff\xfe".to_vec(), true),
        ];
        paths.extend((90..110).map(|length| (vec![b'x'; length], length > 100)));
        for (path, pax) in paths {
            let file = What::File {
                size: 7,
                id: (0, 0),
            };
            let (member, length) = read_back(&item(&path, file), 1000);
            assert_eq!((&member.name, member.kind), (&path, Kind::File));
            assert_eq!(
                (member.size, member.mode, member.mtime),
                (7, 0o755, (1000, 0))
            );
            assert_eq!(length > BLOCK, pax, "{}", path.escape_ascii());

            let (member, _) = read_back(&item(b"l", What::Symlink(path.clone())), 1000);
            assert_eq!((&member.link, member.kind), (&path, Kind::Symlink));
        }
    }

    #[test]
    fn large_files_and_odd_times_are_read_back() {
        for size in [SIZE_LIMIT - 1, SIZE_LIMIT, 1 << 40] {
            let file = What::File { size, id: (0, 0) };
            let (member, _) = read_back(&item(b"f", file), 5);
            assert_eq!((member.size, member.mode), (size, 0o755));
        }
        for (mtime, epoch, expected) in [(7, 9, 7), (9, 7, 7), (-5, 7, 0), (7, -5, 0)] {
            let item = Item {
                mtime,
                ..item(b"d", What::Directory)
            };
            let (member, _) = read_back(&item, epoch);
            assert_eq!(member.mtime, (expected, 0));
            assert_eq!((member.name.as_slice(), member.mode), (&b"d/"[..], 0o755));
        }
    }

    #[test]
    fn owners_modes_devices_and_attributes_are_read_back() {
        let device = DeviceNode {
            block: true,
            major: 8,
            minor: 1,
        };
        for (uid, gid) in [(0, 8), (65534, 100), (NUMBER_LIMIT, u32::MAX - 1)] {
            for what in [What::Fifo, What::Device(device), What::Directory] {
                let xattrs = BTreeMap::from([(b"user.a".to_vec(), b"\n=\0\xff".to_vec())]);
                let attributes = Attributes {
                    uid,
                    gid,
                    mode: 0o7755,
                    xattrs: xattrs.clone(),
                };
                let item = Item {
                    attributes,
                    ..item(b"d", what.clone())
                };
                let (member, _) = read_back(&item, 9);
                assert_eq!((member.uid, member.gid), (Some(uid), Some(gid)));
                assert_eq!((member.mode, &member.xattrs), (0o7755, &xattrs));
                let numbers = member.device.map(|found| (found.block, found.number));
                let is_device = matches!(what, What::Device(_));
                assert_eq!(numbers, is_device.then_some((true, (8, 1))));
            }
        }
        let (member, _) = read_back(&item(b"", What::Directory), 9);
        assert_eq!(member.name, b"./");
        let (member, length) = read_back(&item(b"a/.wh.b", What::Marker), 9);
        assert_eq!((member.kind, member.size, length), (Kind::File, 0, BLOCK));
    }

    #[test]
    fn records_count_themselves() {
        for length in 0..1100 {
            let record = record(b"path", &vec![b'x'; length]);
            let text = String::from_utf8(record.clone()).expect("ASCII");
            let (count, _) = text.split_once(' ').expect("a count");
            assert_eq!(count.parse(), Ok(record.len()));
        }
    }
}
