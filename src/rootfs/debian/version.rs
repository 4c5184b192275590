//! Debian version numbers in order, as deb-version(7) and Debian policy 5.6.12 define it.

use std::cmp::Ordering;

/// Which of two Debian versions is the later one.
///
/// Takes any text: what is no valid version still has a place in the order, as it has for dpkg's
/// own comparison once a version is parsed.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (parts(a), parts(b));
    number(a.0, b.0)
        .then_with(|| fragment(a.1, b.1))
        .then_with(|| fragment(a.2, b.2))
}

/// Epoch, upstream version, revision. A missing epoch or revision is `0`.
fn parts(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    (epoch, upstream, revision)
}

/// Alternately a run of non-digits, by [`weight`], and a run of digits, by number.
fn fragment(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !(a.is_empty() && b.is_empty()) {
        let (a_text, a_rest) = split_at_first(a, |c| c.is_ascii_digit());
        let (b_text, b_rest) = split_at_first(b, |c| c.is_ascii_digit());
        let (a_digits, a_after) = split_at_first(a_rest, |c| !c.is_ascii_digit());
        let (b_digits, b_after) = split_at_first(b_rest, |c| !c.is_ascii_digit());
        let order = text(a_text, b_text).then_with(|| number(a_digits, b_digits));
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_after, b_after);
    }
    Ordering::Equal
}

fn split_at_first(text: &str, is: impl Fn(&u8) -> bool) -> (&str, &str) {
    let at = text.bytes().position(|c| is(&c));
    // A position before an ASCII digit, or after one, is a character boundary.
    text.split_at(at.unwrap_or(text.len()))
}

fn text(a: &str, b: &str) -> Ordering {
    let longest = a.len().max(b.len());
    let at = |text: &str, i: usize| weight(text.as_bytes().get(i).copied());
    (0..longest)
        .map(|i| at(a, i).cmp(&at(b, i)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// `~` sorts before the end of a fragment, that before letters, and letters before all else.
fn weight(c: Option<u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(c),
        Some(c) => i32::from(c) + 256,
    }
}

/// Digits of any length, as a number.
fn number(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_dpkg_sorts_them() {
        use Ordering::{Equal, Greater, Less};
        // From the cases of dpkg's own t-version.c, and of policy's text.
        let table = [
            ("0:0-0", "0-0", Equal),
            ("0:0-00", "00-0", Equal),
            ("0", "0-0", Equal),
            ("0:1-1", "1:0-0", Less),
            ("1:0-0", "2:0-0", Less),
            ("1:0-0", "1:1-1", Less),
            ("0:a-0", "0:b-0", Less),
            ("0:0-1", "0:0-2", Less),
            ("0:0-a", "0:0-b", Less),
            ("1.2.3", "1.2.3", Equal),
            ("1.2.3", "1.2.4", Less),
            ("4.4.3-2", "4.4.3-10", Less),
            ("1.0~beta1~svn1245", "1.0~beta1", Less),
            ("1.0~beta1", "1.0", Less),
            ("1.0", "1.0a", Less),
            ("1.0a", "1.0+", Less),
            ("1.0-1", "1.0-1+b1", Less),
            ("1.0-1~bpo1", "1.0-1", Less),
            ("~~", "~~a", Less),
            ("~~a", "~", Less),
            ("~", "", Less),
            ("", "a", Less),
            ("1.0a", "1.0.1", Less),
            ("1:1.2.13.dfsg-1", "1.2.13.dfsg-1", Greater),
            ("2.36-9+deb12u9", "2.36-9+deb12u14", Less),
            ("0:0.0.1-1", "0:0.0.01-1", Equal),
            ("18446744073709551616", "18446744073709551617", Less),
            ("1-2-3", "1-2-4", Less),
        ];
        for (a, b, order) in table {
            assert_eq!(compare(a, b), order, "{a} {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} {a}");
        }
    }
}
