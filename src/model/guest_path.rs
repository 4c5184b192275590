//! Absolute paths as a sandbox sees them: never to be mistaken for a path of the host.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An absolute, normalised path inside a sandbox: no `.`, no `..`, no trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GuestPath(String);

/// Why a text is not a path of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a path inside a sandbox: {reason}")]
pub struct GuestPathError {
    text: String,
    reason: &'static str,
}

impl GuestPath {
    /// The path with its leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path relative to the sandbox's root: what to walk from a directory descriptor.
    /// The root itself is `.`.
    pub fn relative(&self) -> &Path {
        match &self.0[1..] {
            "" => Path::new("."),
            inner => Path::new(inner),
        }
    }

    /// The path of `self` below the host directory `root`.
    ///
    /// Only for trees that pybuild itself has made: symlinks are not resolved inside `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        root.join(&self.0[1..])
    }

    /// A path one or more components below this one.
    pub fn join(&self, below: &str) -> Result<Self, GuestPathError> {
        format!("{}/{below}", self.0.trim_end_matches('/')).parse()
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        Path::new(&self.0).starts_with(&other.0)
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for GuestPath {
    type Err = GuestPathError;

    fn from_str(text: &str) -> Result<Self, GuestPathError> {
        let wrong = |reason| GuestPathError {
            text: text.to_owned(),
            reason,
        };
        if !text.starts_with('/') {
            return Err(wrong("it must begin with `/`"));
        }
        if text.contains(['\0', '\n']) {
            return Err(wrong("it holds a NUL or a line break"));
        }
        let mut normal = String::new();
        for component in Path::new(text).components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    normal.push('/');
                    normal.push_str(name.to_str().ok_or_else(|| wrong("it is not UTF-8"))?);
                }
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(wrong("it holds `..`"));
                }
            }
        }
        if normal.is_empty() {
            normal.push('/');
        }
        Ok(Self(normal))
    }
}

impl TryFrom<String> for GuestPath {
    type Error = GuestPathError;

    fn try_from(text: String) -> Result<Self, GuestPathError> {
        text.parse()
    }
}

impl From<GuestPath> for String {
    fn from(path: GuestPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised() {
        for (text, normal) in [
            ("/", "/"),
            ("/app//.heroku/./python/", "/app/.heroku/python"),
            ("/a", "/a"),
        ] {
            assert_eq!(text.parse::<GuestPath>().expect(text).as_str(), normal);
        }
    }

    #[test]
    fn paths_that_could_leave_are_refused() {
        for text in ["", "a", "./a", "/a/../b", "/..", "/a\nb", "/a\0b"] {
            assert!(text.parse::<GuestPath>().is_err(), "{text:?}");
        }
        let app: GuestPath = "/app".parse().expect("a path");
        assert!(app.join("../etc").is_err());
        assert!(app.join("x").expect("a path").is_within(&app));
        assert!(
            !"/apple"
                .parse::<GuestPath>()
                .expect("a path")
                .is_within(&app)
        );
    }
}
