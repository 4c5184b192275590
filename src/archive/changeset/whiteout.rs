//! What a name means in a layer: something to put there, or to take away (OCI image specification,
//! layer.md, "Whiteouts"). Pure.

const PREFIX: &[u8] = b".wh.";
/// aufs' own files, which old images hold.
const METADATA: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a path of a layer means.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::archive) enum Meaning<'a> {
    /// Something is put there.
    Entry,
    /// What lower layers have beside it, under this name, is taken away.
    Whiteout(&'a [u8]),
    /// All that lower layers have beside it is taken away.
    Opaque,
    /// What aufs kept for itself: nothing to anyone else.
    Ignored,
}

/// Reads a path without dots (see `name::path`).
pub(in crate::archive) fn meaning(path: &[u8]) -> Result<Meaning<'_>, &'static str> {
    let mut parts = path.split(|byte| *byte == b'/');
    let last = parts.next_back().unwrap_or_default();
    for above in parts {
        if above.starts_with(METADATA) {
            return Ok(Meaning::Ignored);
        }
        // No file system made of layers can have such a directory, says the specification.
        if above.starts_with(PREFIX) {
            return Err("it lies below a whiteout");
        }
    }
    if last == OPAQUE {
        return Ok(Meaning::Opaque);
    }
    if last.starts_with(METADATA) {
        return Ok(Meaning::Ignored);
    }
    match last.strip_prefix(PREFIX) {
        None => Ok(Meaning::Entry),
        // The directory itself, or the one above: rm -r of either is not what a layer may ask for.
        Some(b"" | b"." | b"..") => Err("it is a whiteout of nothing that has a name"),
        Some(name) => Ok(Meaning::Whiteout(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_the_specification_says() {
        use Meaning::{Entry, Ignored, Opaque, Whiteout};
        let table: [(&str, Result<Meaning<'_>, ()>); 16] = [
            ("a/b", Ok(Entry)),
            ("a/.whb", Ok(Entry)),
            ("a/x.wh.b", Ok(Entry)),
            ("a/.wh", Ok(Entry)),
            (".wh.a", Ok(Whiteout(b"a"))),
            ("a/.wh.b", Ok(Whiteout(b"b"))),
            ("a/.wh....", Ok(Whiteout(b"..."))),
            (".wh..wh", Ok(Whiteout(b".wh"))),
            (".wh..wh..opq", Ok(Opaque)),
            ("a/.wh..wh..opq", Ok(Opaque)),
            (".wh..wh.plnk/12.34", Ok(Ignored)),
            (".wh..wh.aufs", Ok(Ignored)),
            ("a/.wh.", Err(())),
            (".wh..", Err(())),
            ("a/.wh...", Err(())),
            (".wh.a/b", Err(())),
        ];
        for (path, expected) in table {
            assert_eq!(meaning(path.as_bytes()).map_err(|_| ()), expected, "{path}");
        }
    }
}
