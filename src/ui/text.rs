//! Text from outside made fit for a screen: control sequences out, secrets out, cut to a width.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// More of one line than any screen shows; what is longer is cut before it is looked at, so that
/// a build that prints a gigabyte without a line break costs nothing.
const LONGEST: usize = 16 * 1024;

/// How many columns of a terminal `text` takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// One line that only prints: terminal control sequences (ECMA-48), control characters and the
/// Unicode marks that reorder or break lines are taken out, a tab becomes a space.
///
/// What stands before the last carriage return is left out, as a terminal would have overwritten
/// it. The result holds no line break.
pub fn clean(text: &str) -> String {
    let text = start(text, LONGEST);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.trim_end_matches(['\r', '\n']).chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => skip_escape(&mut rest),
            '\u{9b}' => skip_csi(&mut rest),
            // The 8-bit forms of DCS, SOS, OSC, PM and APC.
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut rest),
            '\t' | '\n' | '\u{2028}' | '\u{2029}' => out.push(' '),
            '\r' => out.clear(),
            c if c.is_control() || reorders(c) => {}
            c => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// The first `length` bytes, less what would split a character.
fn start(text: &str, length: usize) -> &str {
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Marks that change the order in which text is shown, so that a line reads other than it is.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn skip_escape(rest: &mut std::str::Chars<'_>) {
    let mut ahead = rest.clone();
    match ahead.next() {
        Some('[') => {
            *rest = ahead;
            skip_csi(rest);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            *rest = ahead;
            skip_string(rest);
        }
        // nF: intermediate bytes, then one final byte (`ESC ( B`).
        Some(' '..='/') => {
            while matches!(ahead.clone().next(), Some(' '..='/')) {
                ahead.next();
            }
            if matches!(ahead.clone().next(), Some('0'..='~')) {
                ahead.next();
            }
            *rest = ahead;
        }
        Some('0'..='~') => *rest = ahead,
        _ => {}
    }
}

/// Parameters and intermediates up to the final byte. What cannot be part of the sequence ends
/// it and is kept, so that a broken sequence does not swallow the line.
fn skip_csi(rest: &mut std::str::Chars<'_>) {
    loop {
        let mut ahead = rest.clone();
        match ahead.next() {
            Some(' '..='?') => *rest = ahead,
            Some('@'..='~') => {
                *rest = ahead;
                return;
            }
            _ => return,
        }
    }
}

/// A string sequence ends at BEL or ST; one that never ends takes the rest of the line, as it
/// does on a terminal.
fn skip_string(rest: &mut std::str::Chars<'_>) {
    while let Some(c) = rest.next() {
        match c {
            '\x07' | '\u{9c}' => return,
            '\x1b' => {
                let mut ahead = rest.clone();
                if ahead.next() == Some('\\') {
                    *rest = ahead;
                }
                return;
            }
            _ => {}
        }
    }
}

/// `text` in at most `width` columns, with `…` at the end if some had to go.
pub fn truncate(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let mut out = String::new();
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used + 1 > width {
            break;
        }
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// What a URL holds beside its address, taken out of every URL in `text`: user information and
/// the values of query parameters that sign or authorise.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || c.is_control() || "\"'`<>{}|\\^".contains(c))
            .unwrap_or(after.len());
        let (url, behind) = after.split_at(end);
        redact_url(url, &mut out);
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn redact_url(url: &str, out: &mut String) {
    let authority_end = url.find(['/', '?', '#']).unwrap_or(url.len());
    // A password may hold an unescaped `@`; the host never does, so the last one counts.
    let (authority, rest) = url.split_at(authority_end);
    match authority.rsplit_once('@') {
        Some((_, host)) => {
            out.push_str("***@");
            out.push_str(host);
        }
        None => out.push_str(authority),
    }
    let Some((path, query)) = rest.split_once('?') else {
        out.push_str(rest);
        return;
    };
    out.push_str(path);
    for (n, pair) in query.split('&').enumerate() {
        out.push(if n == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                out.push_str(name);
                out.push_str("=***");
            }
            _ => out.push_str(pair),
        }
    }
}

fn is_secret(parameter: &str) -> bool {
    let name = parameter.to_ascii_lowercase();
    [
        "sig",
        "token",
        "secret",
        "pass",
        "credential",
        "key",
        "auth",
    ]
    .iter()
    .any(|part| name.contains(part))
}

/// A phase's title (`configuring python-3.11.2`) as one says it afterwards
/// (`configured python-3.11.2`).
pub fn past(title: &str) -> String {
    const IRREGULAR: [(&str, &str); 12] = [
        ("building", "built"),
        ("making", "made"),
        ("running", "ran"),
        ("reading", "read"),
        ("writing", "wrote"),
        ("finding", "found"),
        ("getting", "got"),
        ("putting", "put"),
        ("setting", "set"),
        ("taking", "took"),
        ("stripping", "stripped"),
        ("trying", "tried"),
    ];
    let verb = title.split(' ').next().unwrap_or_default();
    let rest = &title[verb.len()..];
    if let Some((_, past)) = IRREGULAR.iter().find(|(present, _)| *present == verb) {
        return format!("{past}{rest}");
    }
    let Some(stem) = verb.strip_suffix("ing").filter(|stem| stem.len() > 1) else {
        return title.to_owned();
    };
    match stem.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ied{rest}"),
        _ => format!("{stem}ed{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_prints_cannot_steer_the_terminal() {
        let table = [
            ("gcc -c a.c", "gcc -c a.c"),
            ("\x1b[31;1merror\x1b[0m: x", "error: x"),
            ("\x1b]0;owned\x07title", "title"),
            ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1bP1$r0m\x1b\\x", "x"),
            ("\x1b(Bx\x1b=y\x1b7z\x1bc", "xyz"),
            ("\u{9b}2Jx\u{9d}0;t\u{9c}y", "xy"),
            ("\x1b[2", ""),
            ("\x1b[2é", "é"),
            ("\x1b", ""),
            ("a\x1b\x1b[1mb", "ab"),
            ("\x1b]never ended", ""),
            ("10%\r20%\r100%\r\n", "100%"),
            ("a\tb\nc", "a b c"),
            ("bell\x07 back\x08 nul\0 del\x7f", "bell back nul del"),
            ("ab\u{202e}cd\u{2066}\u{200f}", "abcd"),
            ("one\u{2028}two", "one two"),
            ("Größe 字", "Größe 字"),
        ];
        for (raw, cleaned) in table {
            assert_eq!(clean(raw), cleaned, "{raw:?}");
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        assert_eq!(clean(&"é".repeat(LONGEST)).len(), LONGEST);
    }

    proptest::proptest! {
        #[test]
        fn nothing_cleaned_controls(text in "\\PC*|[\\x00-\\x9f\\[\\]a-z;0-9]*|.*") {
            let cleaned = clean(&text);
            proptest::prop_assert!(!cleaned.chars().any(|c| c.is_control() || reorders(c)));
        }

        #[test]
        fn nothing_truncated_is_wider(text in "\\PC*", width in 0usize..40) {
            proptest::prop_assert!(columns(&truncate(&text, width)) <= width);
        }
    }

    #[test]
    fn text_is_cut_by_columns_not_by_characters() {
        let table = [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("字字字", 6, "字字字"),
            ("字字字", 5, "字字…"),
            ("字字字", 4, "字…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ];
        for (text, width, cut) in table {
            assert_eq!(truncate(text, width), cut);
        }
    }

    #[test]
    fn urls_lose_what_authorises_and_keep_what_identifies() {
        let table = [
            ("no url", "no url"),
            (
                "get https://example.org/a?b=c#d: 404",
                "get https://example.org/a?b=c#d: 404",
            ),
            (
                "https://user:pa@ss@example.org:8443/x",
                "https://***@example.org:8443/x",
            ),
            ("`http://u@example.org`", "`http://***@example.org`"),
            (
                "https://b.example.org/k?X-Amz-Signature=abc&partNumber=2&X-Amz-Credential=AK%2F1",
                "https://b.example.org/k?X-Amz-Signature=***&partNumber=2&X-Amz-Credential=***",
            ),
            (
                "(https://example.org/?token=t) and s3://k:s@bucket/p",
                "(https://example.org/?token=*** and s3://***@bucket/p",
            ),
            ("https://example.org/a@b", "https://example.org/a@b"),
            (
                "http://a@example.org?sig=1",
                "http://***@example.org?sig=***",
            ),
        ];
        for (text, redacted) in table {
            assert_eq!(redact(text), redacted);
        }
    }

    #[test]
    fn titles_read_well_afterwards() {
        let table = [
            ("configuring python-3.11.2", "configured python-3.11.2"),
            ("building sqlite-3.46.1", "built sqlite-3.46.1"),
            ("bootstrapping debian-12", "bootstrapped debian-12"),
            ("verifying 2 files", "verified 2 files"),
            ("applying x", "applied x"),
            ("deploying x", "deployed x"),
            ("packaging", "packaged"),
            ("unpacking 143 packages", "unpacked 143 packages"),
            ("make: python-3.11.2", "make: python-3.11.2"),
            ("ing", "ing"),
            ("", ""),
        ];
        for (title, said) in table {
            assert_eq!(past(title), said);
        }
    }
}
