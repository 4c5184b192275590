//! The records of a pax extended header (POSIX.1-2017 `pax`, "pax Extended Header").

use std::collections::BTreeMap;

/// A time stamp: seconds since 1970, and nanoseconds after those.
pub(super) type Time = (i64, u32);

/// What extended headers can say that matters here. Names of owners and comments are read past:
/// nothing that is extracted has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// Extended attributes, as star and Go's archive/tar write them (`SCHILY.xattr.NAME`). Of one
    /// that comes twice the last counts.
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";

/// Reads the records `LENGTH KEYWORD=VALUE\n`. A keyword that decides where content begins or
/// goes may come once only: readers disagree on which of two wins.
pub(super) fn parse(mut data: &[u8]) -> Result<Extension, &'static str> {
    let mut found = Extension::default();
    while !data.is_empty() {
        let (keyword, value, rest) = record(data).ok_or("a pax record is malformed")?;
        data = rest;
        match keyword {
            b"path" => once(&mut found.path, name(value)?)?,
            b"linkpath" => once(&mut found.link, name(value)?)?,
            b"size" => {
                let size = decimal(value).ok_or("a pax size is not a number")?;
                once(&mut found.size, size)?;
            }
            b"mtime" => {
                let mtime = time(value).ok_or("a pax time is not a number")?;
                once(&mut found.mtime, mtime)?;
            }
            b"uid" => once(&mut found.uid, owner(value)?)?,
            b"gid" => once(&mut found.gid, owner(value)?)?,
            _ if keyword.starts_with(XATTR) => {
                let name = keyword[XATTR.len()..].to_vec();
                found.xattrs.insert(name, value.to_vec());
            }
            _ if keyword.starts_with(b"GNU.sparse.") || keyword == b"SCHILY.realsize" => {
                return Err("it is a sparse file");
            }
            _ => {}
        }
    }
    Ok(found)
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("a pax keyword comes twice"),
    }
}

fn name(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    if value.is_empty() || value.contains(&0) {
        return Err("a pax path is empty or holds a NUL");
    }
    Ok(value.to_vec())
}

fn owner(value: &[u8]) -> Result<u32, &'static str> {
    decimal(value)
        .and_then(|id| u32::try_from(id).ok())
        .ok_or("a pax owner is not a number")
}

/// Splits off the first record.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&data[..space])?).ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let keyword = Some(&body[..equals]).filter(|keyword| !keyword.is_empty())?;
    Some((keyword, &body[equals + 1..], rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `[-]SECONDS[.FRACTION]`, as many digits as the writer likes; those past the ninth are cut off.
fn time(value: &[u8]) -> Option<Time> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let point = value.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = value.split_at(point.unwrap_or(value.len()));
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let mut nanos = 0;
    let fraction = fraction.strip_prefix(b".").unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    for place in 0..9 {
        let digit = fraction.get(place).map_or(0, |byte| byte - b'0');
        nanos = nanos * 10 + u32::from(digit);
    }
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let data = b"14 path=a/b/c\n21 linkpath=../x y=z\n11 size=12\n19 mtime=1700000.5\n22 SCHILY.xattr.a=b\nc\n12 uid=1000\n18 gid=3000000000\n";
        let found = parse(data).expect("sound");
        assert_eq!(found.path.as_deref(), Some(&b"a/b/c"[..]));
        assert_eq!(found.link.as_deref(), Some(&b"../x y=z"[..]));
        assert_eq!(found.size, Some(12));
        assert_eq!(found.mtime, Some((1_700_000, 500_000_000)));
        assert_eq!((found.uid, found.gid), (Some(1000), Some(3_000_000_000)));
        assert_eq!(found.xattrs[&b"a"[..]], b"b\nc");
    }

    #[test]
    fn what_is_malformed_or_ambiguous_is_refused() {
        let table: [&[u8]; 16] = [
            b"8 uid=x\n",
            b"18 gid=4294967296\n",
            b"x",
            b"10 path=ab",
            b"12 path=ab\n",
            b"9 path=ab\n",
            b"99 path=ab\n",
            b"-1 path=ab\n",
            b"2 \n",
            b"6 =ab\n",
            b"8 path=\n",
            b"11 path=\0b\n",
            b"11 path=ab\n11 path=cd\n",
            b"11 size=-2\n",
            b"11 size=1x\n",
            b"21 GNU.sparse.major=1\n",
        ];
        for data in table {
            assert!(parse(data).is_err(), "{}", data.escape_ascii());
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        let table: [(&[u8], Option<Time>); 8] = [
            (b"0", Some((0, 0))),
            (b"1.5", Some((1, 500_000_000))),
            (b"1.1234567899", Some((1, 123_456_789))),
            (b"-1", Some((-1, 0))),
            (b"-1.25", Some((-2, 750_000_000))),
            (b"", None),
            (b"1.x", None),
            (b"99999999999999999999", None),
        ];
        for (value, expected) in table {
            assert_eq!(time(value), expected, "{}", value.escape_ascii());
        }
    }
}
