//! What is asked for: which versions of which formulae.

use std::fmt;
use std::str::FromStr;

use super::name::{FormulaName, FormulaRef, NameError};

/// The word that stands for what upstream still mends.
const SUPPORTED: &str = "supported";

/// One word that says which versions of a formula are meant. What it comes to, the catalog of
/// formulae knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `python-3.11.2`: this one. `python-3.11`: the newest release that begins so.
    Version(FormulaRef),
    /// `python-3.9.*`: every release that begins so. A pre-release must be named.
    Range {
        /// The formula.
        name: FormulaName,
        /// What its versions begin with.
        numbers: Vec<u32>,
    },
    /// `python-supported`: the newest release of each series whose end of life has not come.
    /// `supported`: those of every runtime.
    Supported(Option<FormulaName>),
}

/// Why a word asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    /// It names no formula at a version.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It has a star, and is no range.
    #[error("`{text}` is not a range of versions: write it as `python-3.9.*`")]
    Range {
        /// The word.
        text: String,
    },
}

impl FromStr for Wanted {
    type Err = WantedError;

    fn from_str(word: &str) -> Result<Self, WantedError> {
        if word == SUPPORTED {
            return Ok(Self::Supported(None));
        }
        let name = word.strip_suffix(SUPPORTED);
        if let Some(name) = name.and_then(|name| name.strip_suffix('-')) {
            return Ok(Self::Supported(Some(name.parse()?)));
        }
        let Some(begin) = word.strip_suffix('*') else {
            return Ok(Self::Version(word.parse()?));
        };
        let wrong = || WantedError::Range {
            text: word.to_owned(),
        };
        let (name, version) = begin.rsplit_once('-').ok_or_else(wrong)?;
        let numbers = match version.strip_suffix('.') {
            Some(version) => version.split('.').map(str::parse).collect::<Result<_, _>>(),
            None if version.is_empty() => Ok(Vec::new()),
            // `python-3.1*` would mean 3.1 and 3.10 to one person and not to another.
            None => return Err(wrong()),
        };
        Ok(Self::Range {
            name: name.parse()?,
            numbers: numbers.map_err(|_| wrong())?,
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(reference) => write!(f, "{reference}"),
            Self::Range { name, numbers } => {
                write!(f, "{name}-")?;
                numbers
                    .iter()
                    .try_for_each(|number| write!(f, "{number}."))?;
                f.write_str("*")
            }
            Self::Supported(Some(name)) => write!(f, "{name}-{SUPPORTED}"),
            Self::Supported(None) => f.write_str(SUPPORTED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shown_as_they_were_written() {
        for word in [
            "python-3.11.2",
            "python-3.11",
            "python-3.9.*",
            "python-*",
            "lib-memcached-1.*",
            "python-supported",
            "supported",
        ] {
            let wanted: Wanted = word.parse().expect(word);
            assert_eq!(wanted.to_string(), word);
        }
    }

    #[test]
    fn what_asks_for_nothing_is_refused() {
        let table = [
            ("python", "names no version"),
            ("*", "is not a range"),
            ("python-3.1*", "is not a range"),
            ("python-3.x.*", "is not a range"),
            ("-supported", "is not the name of a formula"),
            ("Python-3.9.*", "is not the name of a formula"),
        ];
        for (word, expected) in table {
            let said = word.parse::<Wanted>().expect_err(word).to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}
