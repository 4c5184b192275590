//! Where a stack's images can come from, and which of these places it is on a given host. Pure.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::oci::{Place, Reference};
use crate::model::{Sha256, StackName};

/// A place that a stack's images can come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A Debian suite, bootstrapped from a signed mirror.
    Debian(Debian),
    /// Root file systems that others made, and packages on top.
    Made(Made),
}

/// Suites of a Debian mirror, and the packages wanted of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Debian {
    /// By codename. Of a package in several the newest version is taken.
    pub suites: Vec<String>,
    /// `main` …
    pub components: Vec<String>,
    /// The keyring that the suites must be signed with.
    pub keyring: String,
    /// What is in that keyring.
    #[serde(skip)]
    pub keys: Cow<'static, [u8]>,
    /// What the run image has beside the essential packages.
    pub run: Vec<String>,
    /// What the build image has beside the run image.
    pub build: Vec<String>,
}

/// Root file systems that others made, and what is installed on top of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The root file systems.
    pub base: Base,
    /// What they lack.
    pub packages: Packages,
}

/// A root file system that others made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Images of a registry, a layout or an archive; both may be the same.
    Images {
        /// Has compilers and headers.
        build: Place,
        /// Is what the built software runs on.
        run: Place,
    },
    /// A tarball of a root file system, which is both.
    Tarball {
        /// Where it is, in order of preference: `http`, `https`, `file`.
        urls: Vec<String>,
        /// The digest of the file as it is fetched.
        sha256: Sha256,
    },
    /// A directory of this host, which is both. It is copied once.
    Directory(PathBuf),
}

/// Packages that an image's own apt installs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// What the run image and the build image lack.
    pub run: Vec<String>,
    /// What the build image lacks beside them.
    pub build: Vec<String>,
    /// Lines for apt's `sources.list` in place of the image's own (sources.list(5)).
    pub sources: Vec<String>,
}

/// What of a host decides where its stacks come from.
pub struct Site<'a> {
    /// Whether a Debian mirror is known.
    pub debian_mirror: bool,
    /// Whether something is at this path.
    pub is_there: &'a dyn Fn(&Path) -> bool,
}

/// The first of a stack's origins that this host can use.
pub fn choose<'o>(origins: &'o [Origin], site: &Site<'_>) -> Option<&'o Origin> {
    origins.iter().find(|origin| origin.is_usable(site))
}

impl Origin {
    /// Whether there is any use in trying. Who is far away is thought to be there.
    fn is_usable(&self, site: &Site<'_>) -> bool {
        let is_there = |place: &Place| match place {
            Place::Registry(_) => true,
            Place::Layout { dir: path, .. } | Place::DockerArchive { file: path, .. } => {
                (site.is_there)(path)
            }
        };
        match self {
            Self::Debian(_) => site.debian_mirror,
            Self::Made(made) => match &made.base {
                Base::Images { build, run } => is_there(build) && is_there(run),
                Base::Tarball { urls, .. } => urls.iter().any(|url| {
                    let file = url.strip_prefix("file://");
                    file.is_none_or(|path| (site.is_there)(Path::new(path)))
                }),
                Base::Directory(path) => (site.is_there)(path),
            },
        }
    }

    /// The images of registries that it names, each once.
    pub fn references(&self) -> Vec<&Reference> {
        let Self::Made(Made {
            base: Base::Images { build, run },
            ..
        }) = self
        else {
            return Vec::new();
        };
        let places: &[&Place] = if build == run { &[run] } else { &[run, build] };
        let references = places.iter().filter_map(|place| match place {
            Place::Registry(reference) => Some(reference),
            Place::Layout { .. } | Place::DockerArchive { .. } => None,
        });
        references.collect()
    }

    /// The digest of all that its manifest says of what comes from it.
    pub(super) fn digest(&self, stack: &StackName) -> Sha256 {
        let text = match self {
            Self::Debian(debian) => serde_json::json!({ "name": stack, "debian": debian }),
            Self::Made(Made { base, packages }) => {
                let base = match base {
                    Base::Images { build, run } => serde_json::json!({
                        "build": build.to_string(),
                        "run": run.to_string(),
                    }),
                    // Where it is fetched from does not matter.
                    Base::Tarball { urls: _, sha256 } => serde_json::json!({ "tarball": sha256 }),
                    Base::Directory(path) => serde_json::json!({ "directory": path }),
                };
                serde_json::json!({ "name": stack, "base": base, "packages": packages })
            }
        };
        Sha256::of(text.to_string().as_bytes())
    }

    /// Relative paths lead on from `dir`.
    pub(super) fn rooted(&mut self, dir: &Path) {
        let Self::Made(Made { base, .. }) = self else {
            return;
        };
        let place = |place: &mut Place| match place {
            Place::Registry(_) => {}
            Place::Layout { dir: path, .. } | Place::DockerArchive { file: path, .. } => {
                *path = dir.join(&*path);
            }
        };
        match base {
            Base::Images { build, run } => {
                place(build);
                place(run);
            }
            Base::Tarball { .. } => {} // URLs are absolute
            Base::Directory(path) => *path = dir.join(&*path),
        }
    }
}

impl fmt::Display for Origin {
    /// In a few words, for lists.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(debian) => write!(f, "Debian {}", debian.suites.join(", ")),
            Self::Made(made) => write!(f, "{}", made.base),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Images { build, run } if build == run => write!(f, "{run}"),
            Self::Images { build, run } => write!(f, "{build} and {run}"),
            Self::Tarball { urls, sha256 } => {
                let first = urls.first().map(|url| crate::net::redact(url));
                write!(f, "{}", first.unwrap_or_else(|| sha256.to_string()))
            }
            Self::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> Origin {
        Origin::Debian(Debian {
            suites: vec!["bookworm".to_owned()],
            components: vec!["main".to_owned()],
            keyring: "debian-archive".to_owned(),
            keys: Cow::Borrowed(b""),
            run: Vec::new(),
            build: Vec::new(),
        })
    }

    fn made(base: Base) -> Origin {
        let packages = Packages::default();
        Origin::Made(Made { base, packages })
    }

    fn images(build: &str, run: &str) -> Origin {
        let place = |text: &str| text.parse().expect("a place");
        made(Base::Images {
            build: place(build),
            run: place(run),
        })
    }

    fn tarball(urls: &[&str]) -> Origin {
        made(Base::Tarball {
            urls: urls.iter().map(|&url| url.to_owned()).collect(),
            sha256: Sha256::of(b""),
        })
    }

    #[test]
    fn the_first_that_this_host_can_use_is_chosen() {
        let hub = || images("debian:12", "debian:12-slim");
        let layout = |build: &str| images(build, "oci:/there/layout:run");
        let directory = |path: &str| made(Base::Directory(path.into()));
        // (the origins, whether a mirror is known, which of them it is)
        let table = [
            (vec![debian(), hub()], true, Some(0)),
            (vec![debian(), hub()], false, Some(1)),
            (vec![hub(), debian()], true, Some(0)),
            (vec![debian()], false, None),
            (vec![], true, None),
            (vec![layout("oci:/gone"), hub()], true, Some(1)),
            (
                vec![layout("docker-archive:/there/a.tar"), hub()],
                true,
                Some(0),
            ),
            (vec![layout("docker-archive:/gone/a.tar")], true, None),
            (vec![layout("debian:12"), hub()], true, Some(0)),
            (vec![directory("/gone"), directory("/there")], true, Some(1)),
            (vec![tarball(&["file:///gone/a.tar"]), hub()], true, Some(1)),
            (
                vec![tarball(&["file:///there/a.tar"]), hub()],
                true,
                Some(0),
            ),
            (
                vec![tarball(&[
                    "file:///gone/a.tar",
                    "https://example.org/a.tar",
                ])],
                true,
                Some(0),
            ),
        ];
        for (n, (origins, debian_mirror, which)) in table.into_iter().enumerate() {
            let site = Site {
                debian_mirror,
                is_there: &|path| path.starts_with("/there"),
            };
            let wanted = which.map(|which: usize| &origins[which]);
            assert_eq!(choose(&origins, &site), wanted, "line {n}");
        }
    }

    #[test]
    fn registries_are_asked_for_each_image_once() {
        let names = |origin: &Origin| -> Vec<String> {
            let references = origin.references().into_iter();
            references.map(ToString::to_string).collect()
        };
        assert_eq!(names(&images("a/b:1", "a/b:1")), ["a/b:1"]);
        assert_eq!(
            names(&images("a/b:1-build", "a/b:1")),
            ["a/b:1", "a/b:1-build"]
        );
        assert_eq!(names(&images("oci:x", "a/b:1")), ["a/b:1"]);
        assert_eq!(names(&debian()), [""; 0]);
        assert_eq!(names(&tarball(&[])), [""; 0]);
    }

    #[test]
    fn what_can_change_an_image_changes_an_origins_digest() {
        let stack: StackName = "ours-1".parse().expect("a name");
        let with = |packages| {
            let Origin::Made(Made { base, .. }) = images("a/b:1", "a/b:1") else {
                unreachable!()
            };
            Origin::Made(Made { base, packages })
        };
        let list = |text: &str| vec![text.to_owned()];
        let origins = [
            debian(),
            images("a/b:1", "a/b:1"),
            images("a/b:1-build", "a/b:1"),
            tarball(&["https://example.org/a"]),
            made(Base::Directory("/a".into())),
            made(Base::Directory("/b".into())),
            with(Packages {
                run: list("x"),
                ..Packages::default()
            }),
            with(Packages {
                build: list("x"),
                ..Packages::default()
            }),
            with(Packages {
                sources: list("x"),
                ..Packages::default()
            }),
        ];
        let digests: Vec<Sha256> = origins.iter().map(|o| o.digest(&stack)).collect();
        for (n, digest) in digests.iter().enumerate() {
            assert!(!digests[..n].contains(digest), "{:?}", origins[n]);
        }
        let elsewhere = tarball(&["https://mirror.example.org/a"]);
        assert_eq!(elsewhere.digest(&stack), digests[3]);
    }
}
