//! Where an image can be: a registry, a directory in OCI's layout, an archive. Pure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::reference::{Reference, ReferenceError};

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a registry: `heroku/heroku:20`, `docker://heroku/heroku:20`.
    Registry(Reference),
    /// In a directory of the OCI image layout: `oci:DIR`, `oci:DIR:NAME`.
    Layout {
        /// The directory.
        dir: PathBuf,
        /// Which image in it; not needed if there is but one.
        name: Option<String>,
    },
    /// In a tar archive as `docker save` writes it, compressed or not: `docker-archive:FILE`,
    /// `docker-archive:FILE:NAME`; an OCI layout in an archive, too (`oci-archive:FILE`).
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// Which image in it; not needed if there is but one.
        name: Option<String>,
    },
}

/// Why a text names no place of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// It is a name, but none of an image.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// It says no directory or file.
    #[error("`{0}` names no file")]
    Empty(String),
}

impl FromStr for Place {
    type Err = PlaceError;

    /// As skopeo reads it: a path ends at the first colon.
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (transport, rest) = text.split_once(':').unwrap_or_default();
        let path = || {
            let (path, name) = match rest.split_once(':') {
                None => (rest, None),
                Some((path, name)) => (path, Some(name)),
            };
            let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
            if path.is_empty() || path.contains('\0') {
                return Err(PlaceError::Empty(text.escape_debug().to_string()));
            }
            Ok((PathBuf::from(path), name))
        };
        match transport {
            "oci" => path().map(|(dir, name)| Self::Layout { dir, name }),
            "docker-archive" | "oci-archive" => {
                path().map(|(file, name)| Self::DockerArchive { file, name })
            }
            "docker" if rest.starts_with("//") => Ok(Self::Registry(rest[2..].parse()?)),
            _ => Ok(Self::Registry(text.parse()?)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, name) = match self {
            Self::Registry(reference) => {
                // An image that is called `oci` or so.
                let short = reference.to_string();
                if short.parse().as_ref() == Ok(self) {
                    return f.pad(&short);
                }
                return write!(f, "docker://{short}");
            }
            Self::Layout { dir, name } => ("oci", dir, name),
            Self::DockerArchive { file, name } => ("docker-archive", file, name),
        };
        write!(f, "{transport}:{}", path.display())?;
        name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_shown() {
        let registry = |text: &str| Place::Registry(text.parse().expect("a reference"));
        let layout = |dir: &str, name: Option<&str>| Place::Layout {
            dir: dir.into(),
            name: name.map(str::to_owned),
        };
        let archive = |file: &str, name: Option<&str>| Place::DockerArchive {
            file: file.into(),
            name: name.map(str::to_owned),
        };
        let table = [
            ("heroku/heroku:20", registry("heroku/heroku:20"), None),
            ("docker://debian", registry("debian"), Some("debian:latest")),
            (
                "docker://oci:x",
                registry("docker.io/library/oci:x"),
                Some("docker://oci:x"),
            ),
            (
                "docker:24",
                registry("docker.io/library/docker:24"),
                Some("docker:24"),
            ),
            ("oci:/srv/images", layout("/srv/images", None), None),
            ("oci:images:a:b", layout("images", Some("a:b")), None),
            ("oci:images:", layout("images", None), Some("oci:images")),
            ("docker-archive:a.tar", archive("a.tar", None), None),
            (
                "docker-archive:a.tar:debian:12",
                archive("a.tar", Some("debian:12")),
                None,
            ),
            (
                "oci-archive:a.tar",
                archive("a.tar", None),
                Some("docker-archive:a.tar"),
            ),
        ];
        for (text, place, shown) in table {
            assert_eq!(text.parse(), Ok(place.clone()), "{text}");
            assert_eq!(place.to_string(), shown.unwrap_or(text));
        }
        for text in [
            "oci:",
            "oci::name",
            "docker-archive:",
            "docker://",
            "oci:a\0b",
            "http://a/b",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
