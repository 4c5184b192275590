//! Names with wildcards, and which of several versions is the highest.

use std::cmp::Ordering;

/// Whether a name stands for others: bob-builder asks for a `*`, and only then are `?` and `[…]`
/// wildcards too.
pub fn is_wildcard(name: &str) -> bool {
    name.contains('*')
}

/// The highest of the names that `pattern` matches, in the order in which a person counts:
/// `foo-1.10` is higher than `foo-1.9`.
///
/// bob-builder sorts whole keys, so that its `foo-1.2.tar.gz` is higher than `foo-1.2.1.tar.gz`;
/// names are given here without their ending.
pub fn highest<'a>(pattern: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let pattern: Vec<char> = pattern.chars().collect();
    let matching = names.into_iter().filter(|name| {
        let name: Vec<char> = name.chars().collect();
        matches(&pattern, &name)
    });
    matching.max_by(|a, b| naturally(a, b))
}

/// As Python's `fnmatch` has it: a `*` stands for slashes too.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on if what follows the last `*` does not match.
    let mut back: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some('*') => {
                back = Some((p + 1, n));
                p += 1;
                continue;
            }
            None if n == name.len() => return true,
            None => None,
            Some(_) => name.get(n).and_then(|c| one(&pattern[p..], *c)),
        };
        if let Some(taken) = step {
            p += taken;
            n += 1;
            continue;
        }
        match back {
            Some((after, from)) if from < name.len() => {
                back = Some((after, from + 1));
                (p, n) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// How much of a pattern that does not begin with `*` matches this character.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern[0] {
        '?' => Some(1),
        '[' => {
            let not = usize::from(pattern.get(1) == Some(&'!'));
            let begin = 1 + not;
            // A bracket right at the beginning is one of those that are meant.
            let end = (begin + 1..pattern.len()).find(|at| pattern[*at] == ']');
            let Some(end) = end else {
                return (c == '[').then_some(1);
            };
            let meant = among(&pattern[begin..end], c);
            (meant != (not == 1)).then_some(end + 1)
        }
        same => (same == c).then_some(1),
    }
}

fn among(set: &[char], c: char) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set.get(at + 1) == Some(&'-') && at + 2 < set.len() {
            if (set[at]..=set[at + 2]).contains(&c) {
                return true;
            }
            at += 3;
        } else if set[at] == c {
            return true;
        } else {
            at += 1;
        }
    }
    false
}

/// Text and numbers by turns, text first; a name that ends earlier is lower.
fn naturally(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let (text, other);
        (text, a) = split(a, |c| !c.is_ascii_digit());
        (other, b) = split(b, |c| !c.is_ascii_digit());
        let order = text.cmp(other);
        if order.is_ne() {
            return order;
        }
        let (number, other);
        (number, a) = split(a, |c| c.is_ascii_digit());
        (other, b) = split(b, |c| c.is_ascii_digit());
        let (number, other) = (
            number.trim_start_matches('0'),
            other.trim_start_matches('0'),
        );
        let order = number.len().cmp(&other.len()).then(number.cmp(other));
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

fn split(text: &str, takes: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !takes(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        let table = [
            ("*", "", true),
            ("*", "a/b", true),
            ("libraries/foo-*", "libraries/foo-1.2", true),
            ("libraries/foo-*", "libraries/foo", false),
            ("foo-1.*", "foo-1.2/bar", true),
            ("a*b*c", "axxbxbxc", true),
            ("a*b*c", "axxbxbx", false),
            ("foo-?.*", "foo-1.2", true),
            ("foo-[12].*", "foo-2.0", true),
            ("foo-[!12].*", "foo-2.0", false),
            ("foo-[!12].*", "foo-3.0", true),
            ("foo-[0-3]*", "foo-2", true),
            ("[]]*", "]x", true),
            ("[*", "[x", true),
            ("**a", "bba", true),
        ];
        for (pattern, name, expected) in table {
            let found = highest(pattern, [name]).is_some();
            assert_eq!(found, expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_highest_is_what_a_person_takes_for_it() {
        let table: [(&[&str], &str); 6] = [
            (&["foo-1.9", "foo-1.10", "foo-1.2"], "foo-1.10"),
            (&["foo-1.2", "foo-1.2.1"], "foo-1.2.1"),
            (&["foo-1.2.1", "foo-1.2"], "foo-1.2.1"),
            (&["foo-2", "foo-10", "foo-9.9"], "foo-10"),
            (&["foo-3.9.0rc1", "foo-3.10.0"], "foo-3.10.0"),
            (
                &["foo-99999999999999999999998", "foo-99999999999999999999999"],
                "foo-99999999999999999999999",
            ),
        ];
        for (names, expected) in table {
            assert_eq!(highest("foo-*", names.iter().copied()), Some(expected));
        }
        assert_eq!(highest("bar-*", ["foo-1"]), None);
    }
}
