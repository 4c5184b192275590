//! Names of stacks and formulae.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::version::{Version, VersionError};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The characters are wrong.
    #[error(
        "`{text}` is not the name of a {what}: names take lower-case letters, digits, `-`, `_` and `.`, and begin with a letter"
    )]
    Characters {
        /// What was asked for: `stack` or `formula`.
        what: &'static str,
        /// What was given.
        text: String,
    },
    /// A formula was asked for without a version.
    #[error("`{text}` names no version: write it as `{text}-VERSION`")]
    NoVersion {
        /// What was given.
        text: String,
    },
    /// The part behind the last `-` is not a version.
    #[error("`{text}` names no version")]
    Version {
        /// What was given.
        text: String,
        /// Why not.
        source: VersionError,
    },
}

fn check(what: &'static str, text: &str) -> Result<String, NameError> {
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = text
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    if begins && rest && text.len() <= 64 {
        Ok(text.to_owned())
    } else {
        Err(NameError::Characters {
            what,
            text: text.to_owned(),
        })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// The name of a stack: `heroku-20`, `debian-12`.
    StackName,
    "stack"
);
name!(
    /// The name of a formula without a version: `python`, `sqlite`.
    FormulaName,
    "formula"
);

/// A formula at a version, as one asks for it: `python-3.8.8`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormulaRef {
    name: FormulaName,
    version: Version,
}

impl FormulaRef {
    /// A formula at a version.
    pub fn new(name: FormulaName, version: Version) -> Self {
        Self { name, version }
    }

    /// Which formula.
    pub fn name(&self) -> &FormulaName {
        &self.name
    }

    /// Which version of it.
    pub fn version(&self) -> &Version {
        &self.version
    }
}

impl fmt::Display for FormulaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.name, self.version))
    }
}

impl FromStr for FormulaRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some((name, version)) = text
            .rsplit_once('-')
            .filter(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()))
        else {
            check("formula", text)?;
            return Err(NameError::NoVersion {
                text: text.to_owned(),
            });
        };
        let version = version.parse().map_err(|source| NameError::Version {
            text: text.to_owned(),
            source,
        })?;
        Ok(Self {
            name: name.parse()?,
            version,
        })
    }
}

impl Serialize for FormulaRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FormulaRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_reference_splits_at_its_version() {
        let reference: FormulaRef = "python-3.8.8".parse().expect("a reference");
        assert_eq!(reference.name().as_str(), "python");
        assert_eq!(reference.version().to_string(), "3.8.8");
        let reference: FormulaRef = "lib-memcached-1.0.18".parse().expect("a reference");
        assert_eq!(reference.name().as_str(), "lib-memcached");
        assert_eq!(reference.to_string(), "lib-memcached-1.0.18");
    }

    #[test]
    fn what_is_missing_is_named() {
        let said = |text: &str| text.parse::<FormulaRef>().expect_err(text).to_string();
        assert_eq!(
            said("python"),
            "`python` names no version: write it as `python-VERSION`"
        );
        assert!(said("Python-3.8.8").contains("lower-case"));
        assert!(said("python-3..8").contains("names no version"));
        assert!("../etc".parse::<StackName>().is_err());
        assert!("".parse::<StackName>().is_err());
    }
}
