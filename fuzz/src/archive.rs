//! Tar archives as fuzzers change them: member by member, with checksums that are right, since
//! hardly any input would get further than those otherwise.

/// A tar block.
pub const BLOCK: usize = 512;

/// Where header fields begin and end.
const NAME: (usize, usize) = (0, 100);
const LINK: (usize, usize) = (157, 257);
const PREFIX: (usize, usize) = (345, 500);
const SIZE: (usize, usize) = (124, 136);
const FIELDS: [(usize, usize); 13] = [
    NAME,
    (100, 108), // mode
    (108, 116), // uid
    (116, 124), // gid
    SIZE,
    (136, 148), // mtime
    (156, 157), // type
    LINK,
    (257, 265), // magic
    (329, 337), // device
    (337, 345),
    PREFIX,
    (148, 156), // checksum: put right again, so nothing
];

const NAMES: [&[u8]; 30] = [
    b"a",
    b"b",
    b"a/b",
    b"l",
    b"l/kept",
    b"a/l",
    b"./",
    b"/",
    b"..",
    b"../outside/kept",
    b"//a",
    b"a/../b",
    b"a//b/.",
    b".wh.a",
    b".wh.l",
    b".wh..wh..opq",
    b"a/.wh..wh..opq",
    b"a/.wh.b",
    b".wh...",
    b".wh.",
    b".wh..wh.aufs",
    b".wh.a/b",
    b"\xff\xfe",
    b"a\nb",
    b"d/d/d/d",
    b"...",
    b"/proc/self/root",
    b"d/kept",
    b"a/",
    b"",
];
const LINKS: [&[u8]; 16] = [
    b"a",
    b"b",
    b"../outside",
    b"../outside/kept",
    b"/",
    b".",
    b"..",
    b"../..",
    b"a/b",
    b"l",
    b"/proc/self/fd",
    b"../../../../../../outside",
    b"a/../..",
    b"d/d/d/d/d/d/d/d",
    b"l/l/l",
    b"/dev/shm",
];
const FLAGS: &[u8] = b"0012555223467xxgLKSVMND\0s";
const MAGIC: [&[u8; 8]; 4] = [
    b"ustar\x0000",
    b"ustar  \0",
    b"\0\0\0\0\0\0\0\0",
    b"ustar\x0099",
];
const KEYS: [&[u8]; 16] = [
    b"path",
    b"linkpath",
    b"size",
    b"mtime",
    b"uid",
    b"gid",
    b"SCHILY.xattr.user.a",
    b"SCHILY.xattr.user.overlay.opaque",
    b"SCHILY.xattr.security.capability",
    b"SCHILY.xattr.user.containers.override_stat",
    b"SCHILY.xattr.",
    b"GNU.sparse.major",
    b"GNU.sparse.name",
    b"SCHILY.realsize",
    b"hdrcharset",
    b"comment",
];
const VALUES: [&[u8]; 14] = [
    b"0",
    b"1",
    b"512",
    b"-1",
    b"1.5",
    b"-1.5",
    b"8589934592",
    b"18446744073709551615",
    b"9223372036854775807",
    b"4294967295",
    b"y",
    b"",
    b"a\0b",
    b"BINARY",
];

/// A generator of numbers that are as good as any (xorshift).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed) << 1 | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap_or(0) % bound
    }

    fn of<'a>(&mut self, choices: &[&'a [u8]]) -> &'a [u8] {
        choices[self.below(choices.len())]
    }
}

/// Takes an archive apart at its members: each a header and what belongs to it.
pub fn members(mut archive: &[u8]) -> Vec<Vec<u8>> {
    let mut members = Vec::new();
    while archive.len() >= BLOCK {
        let length = match content(&archive[..BLOCK]) {
            Some(length) => (BLOCK + length).min(archive.len()),
            None => BLOCK,
        };
        let (member, rest) = archive.split_at(length);
        members.push(member.to_vec());
        archive = rest;
    }
    if !archive.is_empty() {
        members.push(archive.to_vec());
    }
    members
}

/// Bytes of content and padding that a header announces.
fn content(header: &[u8]) -> Option<usize> {
    let digits: String = header[SIZE.0..SIZE.1]
        .iter()
        .skip_while(|byte| **byte == b' ')
        .take_while(|byte| byte.is_ascii_digit())
        .map(|byte| char::from(*byte))
        .collect();
    let size = usize::from_str_radix(&digits, 8).ok()?;
    (size < 1 << 24).then(|| size.next_multiple_of(BLOCK))
}

/// Puts every header's checksum right.
pub fn seal(members: &mut [Vec<u8>]) {
    for member in members {
        if member.len() >= BLOCK && member[..BLOCK].iter().any(|byte| *byte != 0) {
            member[148..156].copy_from_slice(b"        ");
            let sum: u32 = member[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
            member[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

/// One record of a pax header: `LENGTH KEYWORD=VALUE\n`.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// A member with a header that is sound.
pub fn member(name: &[u8], flag: u8, link: &[u8], data: &[u8]) -> Vec<u8> {
    let mut header = vec![0; BLOCK];
    put(&mut header, NAME, name);
    put(&mut header, LINK, link);
    header[100..108].copy_from_slice(b"0000755\0");
    header[SIZE.0..SIZE.1].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    header[136..148].copy_from_slice(b"14371573400\0");
    header[156] = flag;
    header[257..265].copy_from_slice(MAGIC[0]);
    header.extend_from_slice(data);
    header.resize(header.len().next_multiple_of(BLOCK), 0);
    header
}

fn put(header: &mut [u8], (start, end): (usize, usize), text: &[u8]) {
    let field = &mut header[start..end];
    let length = text.len().min(field.len());
    field.fill(0);
    field[..length].copy_from_slice(&text[..length]);
}

/// A name of the archive or of the table, or two of them joined.
fn name(dice: &mut Dice, members: &[Vec<u8>], table: &[&[u8]]) -> Vec<u8> {
    let one = |dice: &mut Dice| {
        let at = dice.below(members.len() + table.len());
        match members.get(at) {
            Some(member) if member.len() >= BLOCK => {
                let field = if dice.below(4) == 0 { LINK } else { NAME };
                let text = &member[field.0..field.1];
                let end = text.iter().position(|byte| *byte == 0);
                text[..end.unwrap_or(text.len())].to_vec()
            }
            _ => dice.of(table).to_vec(),
        }
    };
    let first = one(dice);
    match dice.below(6) {
        0 => [first, one(dice)].join(&b'/'),
        1 => {
            let times = 1 + dice.below(300);
            [first, b"/".to_vec()].concat().repeat(times)
        }
        _ => first,
    }
}

fn number(dice: &mut Dice, width: usize) -> Vec<u8> {
    let value = match dice.below(5) {
        0 => 0,
        1 => dice.below(1024) as u64,
        2 => 1 << dice.below(64),
        3 => u64::MAX >> dice.below(64),
        _ => dice.below(1 << 20) as u64,
    };
    let text = match dice.below(4) {
        0 => {
            let first = [0x80, 0xff, 0x81][dice.below(3)];
            let bytes = value.to_be_bytes();
            let mut field = vec![if first == 0xff { 0xff } else { 0 }; width];
            let length = bytes.len().min(width - 1);
            field[width - length..].copy_from_slice(&bytes[8 - length..]);
            field[0] = first;
            return field;
        }
        1 => format!("{value:o} "),
        2 => format!("{value:>width$o}", width = width - 1),
        _ => format!("{value:o}\0"),
    };
    text.into_bytes()
}

/// Changes one thing about an archive.
pub fn change(members: &mut Vec<Vec<u8>>, dice: &mut Dice) {
    if members.is_empty() {
        members.push(member(b"a", b'0', b"", b"x"));
    }
    let at = dice.below(members.len());
    let pool = members.clone();
    if members[at].len() < BLOCK {
        members[at].resize(BLOCK, 0);
    }
    match dice.below(13) {
        0 => put(&mut members[at], NAME, &name(dice, &pool, &NAMES)),
        1 => put(&mut members[at], LINK, &name(dice, &pool, &LINKS)),
        2 => members[at][156] = FLAGS[dice.below(FLAGS.len())],
        3 => {
            // Both a mode and whatever else is a number.
            let field = FIELDS[[1, 1, 2, 3, 4, 5, 9, 10][dice.below(8)]];
            let value = number(dice, field.1 - field.0);
            put(&mut members[at], field, &value);
        }
        4 => members[at][257..265].copy_from_slice(MAGIC[dice.below(MAGIC.len())]),
        5 => put(&mut members[at], PREFIX, &name(dice, &pool, &NAMES)),
        6 => drop(members.remove(at)),
        7 => {
            let other = dice.below(members.len());
            members.swap(at, other);
        }
        8 => members.insert(dice.below(pool.len() + 1), pool[at].clone()),
        9 => {
            let mut data = Vec::new();
            for _ in 0..=dice.below(3) {
                let key = dice.of(&KEYS);
                let value = match key {
                    b"path" => name(dice, &pool, &NAMES),
                    b"linkpath" => name(dice, &pool, &LINKS),
                    _ => dice.of(&VALUES).to_vec(),
                };
                data.extend(record(key, &value));
            }
            let flag = if dice.below(5) == 0 { b'g' } else { b'x' };
            members.insert(at, member(b"pax", flag, b"", &data));
        }
        10 => {
            let mut data = name(dice, &pool, &NAMES);
            data.push(0);
            let flag = [b'L', b'K'][dice.below(2)];
            members.insert(at, member(b"././@LongLink", flag, b"", &data));
        }
        11 => {
            // A member that is sound: what makes the strange ones beside it matter.
            let flag = b"0125236"[dice.below(7)];
            let link = match flag {
                b'1' => name(dice, &pool, &NAMES),
                b'2' => name(dice, &pool, &LINKS),
                _ => Vec::new(),
            };
            let data = if flag == b'0' { &b"content"[..] } else { b"" };
            let name = name(dice, &pool, &NAMES);
            members.insert(at, member(&name, flag, &link, data));
        }
        _ => {
            // One byte of a field, or of what comes behind the header.
            let field = FIELDS[dice.below(FIELDS.len())];
            let end = if dice.below(3) == 0 {
                members[at].len()
            } else {
                field.1
            };
            let place = field.0 + dice.below(end - field.0);
            members[at][place] = u8::try_from(dice.below(256)).unwrap_or(0);
        }
    }
}
