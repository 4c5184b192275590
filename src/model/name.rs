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
    /// A script's path has an empty part.
    #[error("`{text}` is not the path of a script: it looks like `runtimes/python-3.8.8`")]
    Path {
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

/// What is built, as one asks for it: a formula at a version (`python-3.8.8`), or a script for
/// bob-builder by its path (`runtimes/python-3.8.8`, `libraries/sqlite`), which may have none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormulaRef {
    /// Of a script: the directories that it lies in, below that of all scripts.
    directory: Option<String>,
    name: FormulaName,
    /// Of a formula always there.
    version: Option<Version>,
}

impl FormulaRef {
    /// A formula at a version.
    pub fn new(name: FormulaName, version: Version) -> Self {
        Self {
            directory: None,
            name,
            version: Some(version),
        }
    }

    /// What a record names: a formula at a version, unless it is a script's.
    pub(crate) fn named(name: FormulaName, version: Option<Version>) -> Self {
        Self {
            directory: None,
            name,
            version,
        }
    }

    /// Which formula; of a script, its name without directories and version.
    pub fn name(&self) -> &FormulaName {
        &self.name
    }

    /// Which version of it. A script may have none.
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    /// The formula and the version, if this is no script.
    pub fn release(&self) -> Option<(&FormulaName, &Version)> {
        match self.directory {
            None => Some((&self.name, self.version.as_ref()?)),
            Some(_) => None,
        }
    }

    /// The directories of a script: `runtimes`, `libraries/vendor`. None for a formula.
    pub fn directory(&self) -> Option<&str> {
        self.directory.as_deref()
    }

    /// Whether this is a script for bob-builder.
    pub fn is_script(&self) -> bool {
        self.directory.is_some()
    }

    /// Name and version, without directories: `python-3.8.8`, `sqlite`.
    pub fn stem(&self) -> String {
        match &self.version {
            Some(version) => format!("{}-{version}", self.name),
            None => self.name.to_string(),
        }
    }

    /// A script by its path.
    fn script(text: &str) -> Result<Self, NameError> {
        let (directory, last) = text.rsplit_once('/').unwrap_or(("", text));
        for part in directory.split('/').chain([last]) {
            if part.is_empty() {
                let text = text.to_owned();
                return Err(NameError::Path { text });
            }
            check("formula", part)?;
        }
        // What follows the last `-` is a version if it can be one.
        let split = last.rsplit_once('-').and_then(|(name, version)| {
            let digit = version.starts_with(|c: char| c.is_ascii_digit());
            let version = digit.then(|| version.parse::<Version>().ok())?;
            Some((name.parse().ok()?, Some(version?)))
        });
        let (name, version) = match split {
            Some(split) => split,
            None => (last.parse()?, None),
        };
        Ok(Self {
            directory: Some(directory.to_owned()),
            name,
            version,
        })
    }
}

impl fmt::Display for FormulaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.directory {
            Some(directory) => f.pad(&format!("{directory}/{}", self.stem())),
            None => f.pad(&self.stem()),
        }
    }
}

impl FromStr for FormulaRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains('/') {
            return Self::script(text);
        }
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
        Ok(Self::new(name.parse()?, version))
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
        assert_eq!(reference.version().map(Version::as_str), Some("3.8.8"));
        assert!(!reference.is_script());
        let reference: FormulaRef = "lib-memcached-1.0.18".parse().expect("a reference");
        assert_eq!(reference.name().as_str(), "lib-memcached");
        assert_eq!(reference.to_string(), "lib-memcached-1.0.18");
    }

    #[test]
    fn a_script_is_named_by_its_path() {
        let table = [
            ("runtimes/python-3.8.8", "runtimes", "python", Some("3.8.8")),
            (
                "runtimes/pypy3.6-7.3.2",
                "runtimes",
                "pypy3.6",
                Some("7.3.2"),
            ),
            ("libraries/sqlite", "libraries", "sqlite", None),
            (
                "libraries/vendor/libffi",
                "libraries/vendor",
                "libffi",
                None,
            ),
            (
                "runtimes/python-2.7.9-shared",
                "runtimes",
                "python-2.7.9-shared",
                None,
            ),
        ];
        for (text, directory, name, version) in table {
            let reference: FormulaRef = text.parse().expect(text);
            assert_eq!(reference.directory(), Some(directory), "{text}");
            assert_eq!(reference.name().as_str(), name, "{text}");
            assert_eq!(reference.version().map(Version::as_str), version, "{text}");
            assert_eq!(reference.to_string(), text);
            assert_eq!(reference.release(), None);
        }
        for text in ["/etc/passwd", "a/", "a//b", "../a", "a/../b", "a/.b", "A/b"] {
            assert!(text.parse::<FormulaRef>().is_err(), "{text}");
        }
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
