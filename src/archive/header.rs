//! One 512-byte tar header block, read strictly (POSIX.1-2017 `pax`, GNU tar's `tar.h`).

/// The size of a tar block.
pub(super) const BLOCK: usize = 512;

/// A tar block as it lies in the archive.
pub(super) type Block = [u8; BLOCK];

/// What a header block says, before extension headers have their say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) flag: u8,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) mtime: i64,
    /// Owner and group by number; `None` is what no system has.
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// A device node's major and minor number.
    pub(super) device: Option<(u32, u32)>,
}

/// Reads a header block; `None` is a block of zeros, two of which end an archive.
pub(super) fn parse(block: &Block) -> Result<Option<Header>, &'static str> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let sum = number(&block[148..156]).ok_or("its checksum is not a number")?;
    if sum != checksum(block) {
        return Err("its checksum is wrong");
    }
    // GNU tar keeps times in the bytes where POSIX keeps the path's prefix.
    let has_prefix = match &block[257..265] {
        b"ustar\x0000" => true,
        b"ustar  \0" | b"\0\0\0\0\0\0\0\0" => false,
        _ => return Err("its magic number is of no known tar format"),
    };
    let mut name = Vec::new();
    if has_prefix && block[345] != 0 {
        name.extend_from_slice(text(&block[345..500]));
        name.push(b'/');
    }
    name.extend_from_slice(text(&block[..100]));
    let mode = number(&block[100..108]).ok_or("its mode is not a number")?;
    let size = number(&block[124..136]).ok_or("its size is not a number")?;
    let small = |field| number(field).and_then(|value| u32::try_from(value).ok());
    Ok(Some(Header {
        name,
        link: text(&block[157..257]).to_vec(),
        flag: block[156],
        size: u64::try_from(size).map_err(|_| "its size is negative")?,
        mode: u32::try_from(mode & 0o7777).map_err(|_| "its mode is negative")?,
        mtime: number(&block[136..148]).ok_or("its time is not a number")?,
        uid: small(&block[108..116]),
        gid: small(&block[116..124]),
        device: small(&block[329..337]).zip(small(&block[337..345])),
    }))
}

/// The sum of all bytes, those of the checksum itself taken as spaces.
fn checksum(block: &Block) -> i64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>();
    sum(&block[..148]) + 8 * i64::from(b' ') + sum(&block[156..])
}

/// A text ends at its first NUL or fills its field.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits between spaces, ended by a space or NUL; or, if the first bit is set, GNU's
/// base 256. An empty field is zero: writers leave those blank that a member has no use for.
fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        return base256(first, rest);
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, b' ' | 0));
    let (digits, tail) = digits.split_at(end.unwrap_or(digits.len()));
    if tail.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Two's complement, the highest bit of the first byte being the mark and not the sign.
fn base256(first: u8, rest: &[u8]) -> Option<i64> {
    let start = match first {
        0x80 => 0,
        0xff => -1,
        _ => return None, // more than 64 bits, whichever field it is
    };
    rest.iter().try_fold(start, |value: i64, byte| {
        value.checked_mul(256)?.checked_add(i64::from(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(mut block: Block) -> Block {
        let sum = format!("{:06o}\0 ", checksum(&block));
        block[148..156].copy_from_slice(sum.as_bytes());
        block
    }

    fn posix() -> Block {
        let mut block = [0; BLOCK];
        block[..5].copy_from_slice(b"file\0");
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0001750\0");
        block[116..124].copy_from_slice(&[0xff; 8]);
        block[329..337].copy_from_slice(b"0000001\0");
        block[337..345].copy_from_slice(b"0000003\0");
        block[124..136].copy_from_slice(b"00000000012 ");
        block[136..148].copy_from_slice(b"14371573400\0");
        block[156] = b'0';
        block[257..265].copy_from_slice(b"ustar\x0000");
        block
    }

    #[test]
    fn numbers_are_octal_or_base_256() {
        let table: [(&[u8], Option<i64>); 14] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"00000000012 ", Some(10)),
            (b"77777777777", Some(0o77_777_777_777)),
            (b"\0\0\0\0", Some(0)),
            (b"    ", Some(0)),
            (b"8", None),
            (b"-1\0", None),
            (b"12\x003", None),
            (b"0x12", None),
            (&[0x80, 0, 0, 0, 2, 0, 0, 0, 0], Some(1 << 33)),
            (&[0xff; 12], Some(-1)),
            (&[0x81, 0, 0, 0], None),
            (&[0x80, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
        ];
        for (field, value) in table {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn a_header_is_read_and_a_damaged_one_refused() {
        let header = parse(&seal(posix())).expect("sound").expect("a member");
        assert_eq!((header.size, header.mode, header.flag), (10, 0o644, b'0'));
        assert_eq!(header.name, b"file");
        assert_eq!((header.uid, header.gid), (Some(0o1750), None));
        assert_eq!(header.device, Some((1, 3)));
        assert_eq!(parse(&[0; BLOCK]), Ok(None));

        let mut block = seal(posix());
        block[0] = b'F';
        assert_eq!(parse(&block), Err("its checksum is wrong"));
        let mut block = posix();
        block[257..265].copy_from_slice(b"zstar\x0000");
        assert!(parse(&seal(block)).is_err());
        let mut block = posix();
        block[124..136].copy_from_slice(&[0xff; 12]);
        assert_eq!(parse(&seal(block)), Err("its size is negative"));
    }

    #[test]
    fn only_posix_has_a_prefix() {
        for (magic, name) in [(b"ustar\x0000", &b"dir/file"[..]), (b"ustar  \0", b"file")] {
            let mut block = posix();
            block[345..348].copy_from_slice(b"dir");
            block[257..265].copy_from_slice(magic);
            let header = parse(&seal(block)).expect("sound").expect("a member");
            assert_eq!(header.name, name);
        }
    }
}
