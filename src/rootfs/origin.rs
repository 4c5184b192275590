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
    /// The stack as another host has prepared and pushed it.
    Mirror(StackMirror),
}

/// A target that stacks were pushed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackMirror {
    /// Which: `s3://bucket/prefix`, a directory, `https://…`.
    pub at: String,
    /// The digest of the index of the stack's images, if no other will do.
    pub digest: Option<Sha256>,
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

impl Packages {
    /// What a build image lacks that is not the run image and more.
    pub fn of_build(&self) -> Vec<String> {
        [&self.run[..], &self.build].concat()
    }
}

/// What of a host decides where its stacks come from.
pub struct Site<'a> {
    /// Whether a Debian mirror is known.
    pub debian_mirror: bool,
    /// Whether something is at this path.
    pub is_there: &'a dyn Fn(&Path) -> bool,
}

/// Whether there is any use in trying an origin on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitness {
    /// There is.
    Usable,
    /// No Debian mirror is known.
    NoMirror,
    /// Nothing is at this path.
    NotThere(PathBuf),
}

impl fmt::Display for Fitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable => f.write_str("it can be used"),
            Self::NoMirror => f.write_str("no Debian mirror is known"),
            Self::NotThere(path) => write!(f, "{} is not there", path.display()),
        }
    }
}

/// The first of a stack's origins that this host can use.
pub fn choose<'o>(origins: &'o [Origin], site: &Site<'_>) -> Option<&'o Origin> {
    choose_all(origins, site).first().copied()
}

/// Those that are to be tried, in order: mirrors, which may not have the stack, and the first that
/// needs no asking.
pub fn choose_all<'o>(origins: &'o [Origin], site: &Site<'_>) -> Vec<&'o Origin> {
    let mut chosen = Vec::new();
    for origin in origins
        .iter()
        .filter(|origin| origin.fitness(site) == Fitness::Usable)
    {
        chosen.push(origin);
        if !matches!(origin, Origin::Mirror(_)) {
            break;
        }
    }
    chosen
}

impl Origin {
    /// Whether there is any use in trying. Who is far away is thought to be there.
    pub fn fitness(&self, site: &Site<'_>) -> Fitness {
        fn path(place: &Place) -> Option<&Path> {
            match place {
                Place::Registry(_) => None,
                Place::Layout { dir: path, .. } | Place::DockerArchive { file: path, .. } => {
                    Some(path)
                }
            }
        }
        let missing = |path: &&Path| !(site.is_there)(path);
        let lacks = match self {
            Self::Debian(_) if site.debian_mirror => None,
            Self::Debian(_) => return Fitness::NoMirror,
            // Whether it has the stack is found out by asking.
            Self::Mirror(_) => None,
            Self::Made(made) => match &made.base {
                Base::Images { build, run } => {
                    let paths = [build, run].into_iter().filter_map(path);
                    paths.into_iter().find(missing)
                }
                // Any of them will do.
                Base::Tarball { urls, .. } => {
                    let files: Option<Vec<&Path>> = urls
                        .iter()
                        .map(|url| url.strip_prefix("file://").map(Path::new))
                        .collect();
                    files.and_then(|files| {
                        let is_none = files.iter().all(missing);
                        files.first().copied().filter(|_| is_none)
                    })
                }
                Base::Directory(path) => Some(path.as_path()).filter(missing),
            },
        };
        lacks.map_or(Fitness::Usable, |path| Fitness::NotThere(path.to_owned()))
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
            Self::Mirror(StackMirror { at, digest }) => {
                serde_json::json!({ "name": stack, "mirror": at, "digest": digest })
            }
        };
        Sha256::of(text.to_string().as_bytes())
    }

    /// What of it is left when its layers are known: which packages are put on top, or, of a Debian
    /// suite, all. The same wherever the layers come from.
    pub fn recipe(&self, stack: &StackName) -> Sha256 {
        let (base, packages) = match self {
            Self::Debian(_) => return self.digest(stack),
            Self::Made(Made { base, packages }) => (base, packages),
            Self::Mirror(_) => {
                let text = serde_json::json!({ "name": stack, "base": "mirror" });
                return Sha256::of(text.to_string().as_bytes());
            }
        };
        let kind = match base {
            Base::Images { .. } => "images",
            Base::Tarball { .. } => "tarball",
            Base::Directory(_) => "directory",
        };
        let text = serde_json::json!({ "name": stack, "base": kind, "packages": packages });
        Sha256::of(text.to_string().as_bytes())
    }

    /// Relative paths lead on from `dir`.
    pub(super) fn rooted(&mut self, dir: &Path) {
        let base = match self {
            Self::Debian(_) => return,
            Self::Mirror(StackMirror { at, .. }) => {
                if !at.contains("://") {
                    *at = dir.join(&*at).display().to_string();
                }
                return;
            }
            Self::Made(Made { base, .. }) => base,
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
            Self::Mirror(StackMirror { at, .. }) => {
                write!(f, "the mirror {}", crate::net::redact(at))
            }
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

    fn mirror(at: &str, digest: Option<Sha256>) -> Origin {
        let at = at.to_owned();
        Origin::Mirror(StackMirror { at, digest })
    }

    #[test]
    fn mirrors_are_tried_until_something_needs_no_asking() {
        let hub = || images("debian:12", "debian:12-slim");
        let (one, other) = (|| mirror("s3://bucket", None), || mirror("/mirror", None));
        let table = [
            (vec![one(), other(), debian(), hub()], true, vec![0, 1, 2]),
            (vec![one(), debian(), other(), hub()], false, vec![0, 2, 3]),
            (vec![debian(), one()], true, vec![0]),
            (vec![debian(), one()], false, vec![1]),
        ];
        for (n, (origins, debian_mirror, which)) in table.into_iter().enumerate() {
            let site = Site {
                debian_mirror,
                is_there: &|_| false,
            };
            let wanted: Vec<&Origin> = which.iter().map(|n: &usize| &origins[*n]).collect();
            assert_eq!(choose_all(&origins, &site), wanted, "line {n}");
        }
    }

    #[test]
    fn why_an_origin_is_of_no_use_is_told() {
        let site = Site {
            debian_mirror: false,
            is_there: &|path| path.starts_with("/there"),
        };
        let table = [
            (debian(), "no Debian mirror is known"),
            (images("oci:/gone:a", "debian:12"), "/gone is not there"),
            (images("debian:12", "debian:12"), "it can be used"),
            (
                tarball(&["file:///gone/a", "file:///gone/b"]),
                "/gone/a is not there",
            ),
            (
                tarball(&["file:///gone/a", "file:///there/b"]),
                "it can be used",
            ),
            (made(Base::Directory("/gone".into())), "/gone is not there"),
        ];
        for (origin, why) in table {
            assert_eq!(origin.fitness(&site).to_string(), why, "{origin}");
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
            mirror("s3://bucket", None),
            mirror("s3://other", None),
            mirror("s3://bucket", Some(Sha256::of(b""))),
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
