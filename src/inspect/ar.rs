//! Static libraries, which are `ar` archives (ar(5), in the form of System V and GNU): their members.

/// Members of one library.
const MEMBERS: usize = 1 << 16;
const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

/// The members of a static library with their contents, in order; none if it is no sound one.
pub(super) fn members(data: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let mut rest = data.strip_prefix(MAGIC)?;
    let mut names: &[u8] = &[];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (header, content) = rest.split_at_checked(HEADER)?;
        let size: usize = str::from_utf8(&header[48..58]).ok()?.trim().parse().ok()?;
        let (content, after) = content.split_at_checked(size)?;
        // Members begin at even places.
        rest = after.get(size % 2..).unwrap_or_default();
        let name = header[..16].trim_ascii_end();
        match name {
            b"//" => names = content,
            // The table of symbols, which is made of the members.
            b"/" | b"/SYM64/" => found.push(("its symbol table".to_owned(), content)),
            _ => found.push((name_of(name, names)?, content)),
        }
        if found.len() > MEMBERS {
            return None;
        }
    }
    Some(found)
}

/// A short name ends in a slash; a long one is a place in the table of names.
fn name_of(name: &[u8], names: &[u8]) -> Option<String> {
    let name = match name.strip_prefix(b"/") {
        Some(place) => {
            let place: usize = str::from_utf8(place).ok()?.parse().ok()?;
            let rest = names.get(place..)?;
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'/'));
            &rest[..end.unwrap_or(rest.len()).min(256)]
        }
        None => name.strip_suffix(b"/").unwrap_or(name),
    };
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, content: &str) -> String {
        let pad = if content.len() % 2 == 1 { "\n" } else { "" };
        format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n{content}{pad}",
            0,
            0,
            0,
            644,
            content.len()
        )
    }

    #[test]
    fn members_are_found_by_their_names() {
        let long = "a_very_long_name_indeed.o";
        let library = format!(
            "!<arch>\n{}{}{}{}",
            member("/", "\0\0\0\0"),
            member("//", &format!("{long}/\n")),
            member("/0", "one"),
            member("short.o/", "four"),
        );
        let found = members(library.as_bytes()).expect("a library");
        let found: Vec<(&str, &[u8])> = found.iter().map(|(n, c)| (n.as_str(), *c)).collect();
        let expected: [(&str, &[u8]); 3] = [
            ("its symbol table", b"\0\0\0\0"),
            (long, b"one"),
            ("short.o", b"four"),
        ];
        assert_eq!(found, expected);
        for cut in 9..library.len() - 1 {
            let _ = members(&library.as_bytes()[..cut]); // does not panic
        }
        assert_eq!(members(b"text"), None);
        assert_eq!(members(&library.as_bytes()[..library.len() - 2]), None);
    }
}
