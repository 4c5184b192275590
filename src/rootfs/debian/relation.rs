//! What a package says of others: `Depends`, `Provides`, `Conflicts` … (Debian policy 7.1).

use std::cmp::Ordering;
use std::fmt;

use super::version;

/// How a version must compare to the one named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<<`
    Earlier,
    /// `<=`
    AtMost,
    /// `=`
    Exactly,
    /// `>=`
    AtLeast,
    /// `>>`
    Later,
}

/// One package, at some versions: `libc6 (>= 2.14)`, `python3:any`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The package.
    pub name: &'a str,
    /// What follows the colon: `any`, `native`, or an architecture.
    pub qualifier: Option<&'a str>,
    /// Which versions, if not all.
    pub versions: Option<(Comparison, &'a str)>,
}

/// Why a text is not a list of relations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a relation between packages")]
pub struct RelationError {
    text: String,
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Earlier => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Exactly => order.is_eq(),
            Self::AtLeast => order.is_ge(),
            Self::Later => order.is_gt(),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::AtMost => "<=",
            Self::Exactly => "=",
            Self::AtLeast => ">=",
            Self::Later => ">>",
        }
    }
}

impl Relation<'_> {
    /// Whether a package of this version is meant.
    pub fn admits(&self, version: &str) -> bool {
        self.versions
            .is_none_or(|(comparison, bound)| comparison.holds(version::compare(version, bound)))
    }

    /// Whether a package that provides the name, at `version` if it says one, is meant. An
    /// unversioned `Provides` answers no versioned relation (policy 7.5).
    pub fn admits_provided(&self, version: Option<&str>) -> bool {
        match version {
            Some(version) => self.admits(version),
            None => self.versions.is_none(),
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        if let Some((comparison, version)) = self.versions {
            write!(f, " ({} {version})", comparison.sign())?;
        }
        Ok(())
    }
}

/// The relations of a field: groups that all must hold, of alternatives of which one must.
pub fn parse(value: &str) -> Result<Vec<Vec<Relation<'_>>>, RelationError> {
    value
        .split(',')
        .filter(|group| !group.trim().is_empty())
        .map(|group| group.split('|').map(one).collect())
        .collect()
}

fn one(text: &str) -> Result<Relation<'_>, RelationError> {
    let wrong = || RelationError {
        text: text.trim().to_owned(),
    };
    let (name, versions) = match text.split_once('(') {
        None => (text.trim(), None),
        Some((name, bound)) => {
            let bound = bound.trim().strip_suffix(')').ok_or_else(wrong)?;
            (name.trim(), Some(constraint(bound).ok_or_else(wrong)?))
        }
    };
    let (name, qualifier) = match name.split_once(':') {
        None => (name, None),
        Some((name, qualifier)) => (name, Some(qualifier)),
    };
    let of_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
    if name.is_empty() || !name.bytes().all(of_name) {
        return Err(wrong());
    }
    Ok(Relation {
        name,
        qualifier,
        versions,
    })
}

fn constraint(text: &str) -> Option<(Comparison, &str)> {
    let text = text.trim();
    // `<` and `>` alone are the deprecated spellings of `<=` and `>=`; dpkg still reads them so.
    [
        ("<<", Comparison::Earlier),
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        (">>", Comparison::Later),
        ("=", Comparison::Exactly),
        ("<", Comparison::AtMost),
        (">", Comparison::AtLeast),
    ]
    .into_iter()
    .find_map(|(sign, comparison)| Some((comparison, text.strip_prefix(sign)?.trim())))
    .filter(|(_, version)| !version.is_empty() && !version.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read_and_written() {
        let table = [
            ("", ""),
            ("libc6", "libc6"),
            (
                "libc6 (>= 2.14), debconf (>=0.5)|debconf-2.0 ,\n python3:any(<< 4)",
                "libc6 (>= 2.14), debconf (>= 0.5) | debconf-2.0, python3:any (<< 4)",
            ),
            ("a (> 1), b (< 1:2-3)", "a (>= 1), b (<= 1:2-3)"),
        ];
        for (text, written) in table {
            let groups = parse(text).expect(text);
            let groups: Vec<String> = groups
                .iter()
                .map(|g| {
                    let alternatives: Vec<String> = g.iter().map(ToString::to_string).collect();
                    alternatives.join(" | ")
                })
                .collect();
            assert_eq!(groups.join(", "), written);
        }
        for text in [
            "a b",
            "a (1)",
            "a (>= 1",
            "a (>=)",
            "|",
            "a |",
            "a (>= 1 2)",
            "\u{e9}",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn versions_are_admitted_or_not() {
        let relation = |text: &'static str| parse(text).expect(text)[0][0];
        assert!(relation("a").admits("1"));
        assert!(relation("a (= 1-0)").admits("1"));
        assert!(!relation("a (>> 1)").admits("1"));
        assert!(relation("a").admits_provided(None));
        assert!(!relation("a (>= 1)").admits_provided(None));
        assert!(relation("a (>= 1)").admits_provided(Some("2")));
    }
}
