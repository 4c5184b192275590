//! Where a member's name leads: the rules for paths, as a pure function.

use super::Trust;

/// Bytes in a path at most (Linux's `PATH_MAX`, its NUL included).
const PATH_LIMIT: usize = 4096;
/// Bytes between two slashes at most (Linux's `NAME_MAX`).
const NAME_LIMIT: usize = 255;
/// Directories below one another at most: whoever walks the tree later may do so by recursion.
const DEPTH_LIMIT: usize = 256;
/// Bytes of a name that a message shows at most.
const SHOWN: usize = 200;

/// Turns a name into a path below the root, without leading, double or trailing slashes and
/// without dots; empty is the root itself. `None` is a name that `strip` leaves nothing of.
pub(super) fn path(
    name: &[u8],
    trust: Trust,
    strip: usize,
) -> Result<Option<Vec<u8>>, &'static str> {
    if name.is_empty() {
        return Err("its name is empty");
    }
    if name.contains(&0) {
        return Err("its name holds a NUL");
    }
    if name.len() >= PATH_LIMIT {
        return Err("its name is too long");
    }
    if trust == Trust::Sealed && name.starts_with(b"/") {
        return Err("its name is absolute");
    }
    let mut parts = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("its name goes up by `..`"),
            _ if part.len() > NAME_LIMIT => return Err("a part of its name is too long"),
            _ => parts.push(part),
        }
    }
    if parts.len() > DEPTH_LIMIT {
        return Err("its name is too deep");
    }
    if strip > 0 && parts.len() <= strip {
        return Ok(None);
    }
    Ok(Some(parts[strip..].join(&b'/')))
}

/// What is said of a member that symlinks lead to a path longer than there may be.
pub(super) const TOO_LONG: &str = "it leads to a path that is too long";

/// Whether a path of the tree itself, which symlinks may have led to, is within the same bounds.
pub(super) fn bounded(path: &[u8]) -> Result<(), &'static str> {
    if path.len() >= PATH_LIMIT {
        return Err(TOO_LONG);
    }
    if path.split(|byte| *byte == b'/').count() > DEPTH_LIMIT {
        return Err("it leads too deep");
    }
    Ok(())
}

/// A name or path as a message shows it: what is not printable escaped, and cut if it is long. An
/// extension header can give a name of a megabyte.
pub fn shown(name: &[u8]) -> String {
    let (start, rest) = name.split_at(name.len().min(SHOWN));
    let more = if rest.is_empty() { "" } else { "…" };
    format!("{}{more}", start.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_below_the_root_or_nowhere() {
        use Trust::{Layer, Sealed};
        type Path = Option<&'static [u8]>;
        type Row = (&'static [u8], Trust, usize, Result<Path, ()>);
        let table: [Row; 20] = [
            (b"a/b", Sealed, 0, Ok(Some(b"a/b"))),
            (b"./a//b/", Sealed, 0, Ok(Some(b"a/b"))),
            (b"./a/./b/.", Layer, 0, Ok(Some(b"a/b"))),
            (b"./", Layer, 0, Ok(Some(b""))),
            (b".", Sealed, 0, Ok(Some(b""))),
            (b"/", Layer, 0, Ok(Some(b""))),
            (b"/etc/passwd", Layer, 0, Ok(Some(b"etc/passwd"))),
            (b"//etc", Layer, 0, Ok(Some(b"etc"))),
            (b"/etc/passwd", Sealed, 0, Err(())),
            (b"../x", Layer, 0, Err(())),
            (b"../x", Sealed, 0, Err(())),
            (b"a/../../x", Layer, 0, Err(())),
            (b"a/..", Sealed, 0, Err(())),
            (b"..", Sealed, 1, Err(())),
            (b"top/a/b", Sealed, 1, Ok(Some(b"a/b"))),
            (b"./top/a", Sealed, 1, Ok(Some(b"a"))),
            (b"top/", Sealed, 1, Ok(None)),
            (b"top", Sealed, 2, Ok(None)),
            (b"", Layer, 0, Err(())),
            (b"a\0b", Layer, 0, Err(())),
        ];
        for (name, trust, strip, expected) in table {
            let found = path(name, trust, strip);
            assert_eq!(
                found.as_ref().map(Option::as_deref).map_err(|_| ()),
                expected,
                "{}",
                name.escape_ascii()
            );
        }
        for long in [vec![b'a'; 256], b"a/".repeat(257), b"a/".repeat(2048)] {
            assert!(path(&long, Layer, 0).is_err());
        }
        assert_eq!(path(b"...", Layer, 0), Ok(Some(b"...".to_vec())));
    }

    #[test]
    fn messages_show_names_that_steer_nothing_and_end() {
        assert_eq!(shown(b"a/\xff\x1b[2J\n"), "a/\\xff\\x1b[2J\\n");
        assert_eq!(shown(&[b'a'; 200]), "a".repeat(200));
        assert_eq!(shown(&vec![b'a'; 1 << 20]), format!("{}…", "a".repeat(200)));
    }
}
