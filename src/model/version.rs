//! Upstream versions and ranges of them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An upstream version: dotted numbers, with a pre-release mark at the end where there is one
/// (`3.8.8`, `3.15.0rc1`, `3.7.6.2`).
///
/// A pre-release sorts before the release (`3.15.0a7` < `3.15.0b1` < `3.15.0rc2` < `3.15.0`), and
/// missing numbers count as zero (`3.9` = `3.9.0` in order, though not as text).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    numbers: Vec<u32>,
    pre: Option<(Stage, u32)>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Alpha,
    Beta,
    Candidate,
}

/// Why a text is not a version or a range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}")]
pub struct VersionError {
    what: &'static str,
    text: String,
}

impl Version {
    /// The dotted numbers: `[3, 8, 8]`.
    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Whether this is an alpha, beta or release candidate.
    pub fn is_prerelease(&self) -> bool {
        self.pre.is_some()
    }

    /// The first `count` numbers, dotted: `3.8` of `3.8.8`.
    pub fn prefix(&self, count: usize) -> String {
        let numbers: Vec<String> = self
            .numbers
            .iter()
            .take(count)
            .map(u32::to_string)
            .collect();
        numbers.join(".")
    }

    /// The version as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let wrong = || VersionError {
            what: "version",
            text: text.to_owned(),
        };
        let numeric_end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (numeric, mark) = text.split_at(numeric_end);
        let numbers = numeric
            .split('.')
            .map(|n| n.parse().map_err(|_| wrong()))
            .collect::<Result<Vec<u32>, _>>()?;
        let pre = if mark.is_empty() {
            None
        } else {
            let (stage, number) = [
                ("rc", Stage::Candidate),
                ("a", Stage::Alpha),
                ("b", Stage::Beta),
            ]
            .into_iter()
            .find_map(|(name, stage)| Some((stage, mark.strip_prefix(name)?)))
            .ok_or_else(wrong)?;
            if !number.bytes().all(|b| b.is_ascii_digit()) {
                return Err(wrong());
            }
            Some((stage, number.parse().map_err(|_| wrong())?))
        };
        Ok(Self {
            numbers,
            pre,
            text: text.to_owned(),
        })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let longest = self.numbers.len().max(other.numbers.len());
        let at = |numbers: &[u32], i: usize| numbers.get(i).copied().unwrap_or(0);
        (0..longest)
            .map(|i| at(&self.numbers, i).cmp(&at(&other.numbers, i)))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| match (&self.pre, &other.pre) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(a), Some(b)) => a.cmp(b),
            })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl std::hash::Hash for Version {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let used = self
            .numbers
            .iter()
            .rposition(|n| *n != 0)
            .map_or(0, |i| i + 1);
        self.numbers[..used].hash(state);
        self.pre
            .map(|(stage, number)| (stage as u8, number))
            .hash(state);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.text
    }
}

/// A range of versions: comparisons joined by commas, all of which must hold (`>=3.10, <3.12`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionRange {
    bounds: Vec<(Comparison, Version)>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Exactly,
    AtLeast,
    Greater,
}

impl VersionRange {
    /// Whether `version` lies in the range.
    pub fn contains(&self, version: &Version) -> bool {
        self.bounds.iter().all(|(comparison, bound)| {
            let order = version.cmp(bound);
            match comparison {
                Comparison::Less => order.is_lt(),
                Comparison::AtMost => order.is_le(),
                Comparison::Exactly => order.is_eq(),
                Comparison::AtLeast => order.is_ge(),
                Comparison::Greater => order.is_gt(),
            }
        })
    }
}

impl FromStr for VersionRange {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let bound = |part: &str| {
            let part = part.trim();
            [
                (">=", Comparison::AtLeast),
                ("<=", Comparison::AtMost),
                (">", Comparison::Greater),
                ("<", Comparison::Less),
                ("=", Comparison::Exactly),
            ]
            .into_iter()
            .find_map(|(sign, comparison)| Some((comparison, part.strip_prefix(sign)?)))
            .and_then(|(comparison, version)| Some((comparison, version.trim().parse().ok()?)))
            .ok_or_else(|| VersionError {
                what: "range of versions (`>=3.10, <3.12`)",
                text: text.to_owned(),
            })
        };
        Ok(Self {
            bounds: text.split(',').map(bound).collect::<Result<_, _>>()?,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for VersionRange {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<VersionRange> for String {
    fn from(range: VersionRange) -> Self {
        range.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect(text)
    }

    #[test]
    fn versions_sort_as_upstream_releases_them() {
        let sorted = [
            "2.7.9",
            "2.7.18",
            "3.4.0",
            "3.9.2",
            "3.10.0",
            "3.15.0a7",
            "3.15.0b1",
            "3.15.0rc2",
            "3.15.0",
            "3.15.1",
        ];
        for pair in sorted.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        assert_eq!(version("3.9"), version("3.9.0"));
    }

    #[test]
    fn texts_that_are_no_version_are_refused() {
        for text in [
            "", ".", "3.", "3..8", "v3", "3.8-1", "3.8rc", "3.8rc+1", "3.8 ",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let range: VersionRange = ">=3.10, <3.12".parse().expect("a range");
        for (text, inside) in [
            ("3.9.20", false),
            ("3.10.0rc1", false),
            ("3.10", true),
            ("3.11.9", true),
            ("3.12.0", false),
        ] {
            assert_eq!(range.contains(&version(text)), inside, "{text}");
        }
        for text in ["", "3.10", ">=", ">=3.10,,<4", "~3"] {
            assert!(text.parse::<VersionRange>().is_err(), "{text:?}");
        }
    }
}
