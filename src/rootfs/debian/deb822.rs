//! Stanzas of fields, as Debian's control files, indexes and apt's `.sources` have them
//! (deb822(5)): read in place, without a copy.

/// One stanza: its lines, the blank lines around it left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stanza<'a>(&'a str);

/// The stanzas of a text, in order.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let line = first_line(rest);
            if !line.trim().is_empty() {
                break;
            }
            rest = after(rest, line.len());
        }
        let mut end = 0;
        while end < rest.len() {
            let line = first_line(&rest[end..]);
            if line.trim().is_empty() {
                break;
            }
            end = (end + line.len() + 1).min(rest.len());
        }
        let (stanza, next) = rest.split_at(end);
        rest = next;
        Some(Stanza(stanza))
    })
}

fn first_line(text: &str) -> &str {
    &text[..text.find('\n').unwrap_or(text.len())]
}

fn after(text: &str, line: usize) -> &str {
    &text[(line + 1).min(text.len())..]
}

impl<'a> Stanza<'a> {
    /// The fields in order: the name, and the value with the line breaks of its continuation
    /// lines in it, trimmed at both ends. Lines that begin with `#` are comments.
    pub fn fields(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                let first = first_line(rest);
                let mut end = (first.len() + 1).min(rest.len());
                let colon = first
                    .find(':')
                    .filter(|_| !first.starts_with(['#', ' ', '\t']));
                let Some(colon) = colon else {
                    rest = &rest[end..];
                    continue;
                };
                // A comment belongs to the value only if the value goes on after it.
                let mut next = end;
                while rest[next..].starts_with([' ', '\t', '#']) {
                    let continues = !rest[next..].starts_with('#');
                    next = (next + first_line(&rest[next..]).len() + 1).min(rest.len());
                    if continues {
                        end = next;
                    }
                }
                let field = (&rest[..colon], rest[colon + 1..end].trim());
                rest = &rest[next..];
                return Some(field);
            }
        })
    }

    /// The value of a field; the case of names does not matter.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.fields()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The stanza as it was written, its last line break included.
    pub fn text(self) -> &'a str {
        self.0
    }
}

/// The lines of a value that are no comments, trimmed, the empty ones left out.
pub fn lines(value: &str) -> impl Iterator<Item = &str> {
    value
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::trim)
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_and_fields_are_told_apart() {
        let text = "\n\nPackage: a\nDepends: b,\n c\n#comment\n d\nEmpty:\n\n \t\nPackage: e\n# x\nX-Y: 1:2";
        let found: Vec<Vec<_>> = stanzas(text).map(|s| s.fields().collect()).collect();
        assert_eq!(
            found,
            [
                vec![
                    ("Package", "a"),
                    ("Depends", "b,\n c\n#comment\n d"),
                    ("Empty", "")
                ],
                vec![("Package", "e"), ("X-Y", "1:2")],
            ]
        );
        let first = stanzas(text).next().expect("a stanza");
        assert_eq!(first.get("package"), Some("a"));
        assert_eq!(first.get("e"), None);
        let depends = first.get("depends").expect("the field");
        assert_eq!(lines(depends).collect::<Vec<_>>(), ["b,", "c", "d"]);
    }

    #[test]
    fn nonsense_is_no_field_and_no_panic() {
        for text in [
            "",
            "\n",
            ":",
            "a",
            " a: b\n",
            "#",
            "\u{e9}: \u{e9}\n \u{e9}",
        ] {
            for stanza in stanzas(text) {
                for (name, value) in stanza.fields() {
                    assert!(text.contains(name) && text.contains(value));
                }
            }
        }
    }
}
