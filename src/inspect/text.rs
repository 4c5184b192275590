//! How differences are put into words.

/// How many of many are named.
const FEW: usize = 6;

/// `a → b`, with `none` for nothing.
pub(super) fn moved(from: &str, to: &str) -> String {
    let or_none = |text: &str| if text.is_empty() { "none" } else { text }.to_owned();
    format!("{} → {}", or_none(from), or_none(to))
}

/// The first few of some names, and how many more there are.
pub(super) fn few(names: &[&str]) -> String {
    let shown = names[..names.len().min(FEW)].join(", ");
    match names.len().saturating_sub(FEW) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A line of a text that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Only(&'a str),
    Other(&'a str),
}

/// Lines that are compared one with each: more are told of as a whole.
const CELLS: usize = 1 << 22;

/// The lines that are in one text alone, in their order.
pub(super) fn lines<'a>(a: &'a str, b: &'a str) -> Vec<Line<'a>> {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[start..], &b[start..]);
    let end = a.iter().rev().zip(b.iter().rev());
    let end = end.take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
    let only = a.iter().map(|line| Line::Only(line));
    let other = b.iter().map(|line| Line::Other(line));
    if a.len().saturating_mul(b.len()) > CELLS {
        return only.chain(other).collect();
    }
    // How long the longest common subsequence of what follows both is.
    let width = b.len() + 1;
    let mut common = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut told = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == b.len()
            || (i < a.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            told.push(Line::Only(a[i]));
            i += 1;
        } else {
            told.push(Line::Other(b[j]));
            j += 1;
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_are_found() {
        let told = |a: &str, b: &str| {
            let lines = lines(a, b).into_iter();
            let lines = lines.map(|line| match line {
                Line::Only(line) => format!("-{line}"),
                Line::Other(line) => format!("+{line}"),
            });
            lines.collect::<Vec<_>>().join(" ")
        };
        for (a, b, expected) in [
            ("a\nb\nc\n", "a\nb\nc\n", ""),
            ("a\nb\nc\n", "a\nx\nc\n", "-b +x"),
            ("a\nb\nc\nd\ne\n", "a\nc\nd\nx\ne\n", "-b +x"),
            ("", "a\n", "+a"),
            ("a\n", "", "-a"),
            ("a\na\na\n", "a\na\n", "-a"),
            ("1\n2\n3\n4\n", "4\n3\n2\n1\n", "-1 -2 -3 +3 +2 +1"),
        ] {
            let found = told(a, b);
            if expected.starts_with("-1") {
                assert_eq!(found.split(' ').count(), 6, "{found}");
            } else {
                assert_eq!(found, expected, "{a:?} {b:?}");
            }
        }
        let long = |c: &str| format!("{c}\n").repeat(3000);
        assert_eq!(lines(&long("a"), &long("b")).len(), 6000);
    }

    #[test]
    fn many_names_are_not_all_told() {
        assert_eq!(few(&["a", "b"]), "a, b");
        assert_eq!(
            few(&["a", "b", "c", "d", "e", "f", "g", "h"]),
            "a, b, c, d, e, f and 2 more"
        );
        assert_eq!(moved("", "x"), "none → x");
    }
}
