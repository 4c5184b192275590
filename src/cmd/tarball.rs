//! One tarball that is to be read, wherever it is, with what lies beside it.
//!
//! Files are opened by whoever started pybuild. Root is given up before the first byte of them is
//! looked at, and before anything is asked of a server.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use super::session::store_root;
use super::{Failure, keeper, steward, target};
use crate::artifact::checksum::parse_sha256_line;
use crate::artifact::record::Record;
use crate::cli::Global;
use crate::inspect::{Eye, Inventory, Pass, Tarball, read};
use crate::model::{Amount, Observer, Sha256, decode_path};
use crate::publish::{PublishError, Remote, Role, Settings, Target};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;
use crate::ui::ExitKind;

/// Bytes of a `.sha256` or a record at most; the largest real record has a hundredth of it.
const SIDECAR: u64 = 4 << 20;

/// Where a tarball is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Object { target: Target, key: String },
}

/// A tarball that is open.
pub(super) struct Source {
    /// As it was named.
    pub(super) shown: String,
    /// The name of its file.
    pub(super) name: String,
    kind: Kind,
}

enum Kind {
    File {
        tarball: File,
        checksum: Option<Vec<u8>>,
        record: Option<Vec<u8>>,
    },
    Object {
        remote: Box<Remote>,
        key: String,
    },
}

/// What lies beside a tarball, as far as it is there: what it says, or what is wrong with it.
pub(super) struct Papers {
    pub(super) checksum: Option<Result<(Sha256, String), String>>,
    pub(super) record: Option<Result<Box<Record>, String>>,
}

/// Opens tarballs, and is nobody's but an ordinary user's process from then on.
pub(super) fn open(
    global: &Global,
    names: &[&str],
    env_file: Option<&Path>,
) -> Result<Vec<Source>, Failure> {
    let places: Vec<Place> = names
        .iter()
        .map(|name| place(name))
        .collect::<Result<_, _>>()?;
    let buckets: Vec<&Target> = places
        .iter()
        .filter_map(|place| match place {
            Place::Object { target, .. } if matches!(target, Target::S3 { .. }) => Some(target),
            _ => None,
        })
        .collect();
    // Of two the first is read as what is promoted from is.
    let settings = match buckets[..] {
        [] => Settings::default(),
        [only] => resolved(only, None, env_file)?,
        [first, .., last] => resolved(last, Some(first), env_file)?,
    };
    let opened = names.iter().zip(places).map(|(name, place)| {
        let shown = (*name).to_owned();
        Ok(match place {
            Place::File(path) => file(shown, &path)?,
            Place::Object { target, key } => Source {
                shown,
                name: key.clone(),
                kind: Kind::Object {
                    remote: Box::new(Remote::open(&target, &settings)?),
                    key,
                },
            },
        })
    });
    let opened = opened.collect::<Result<_, Failure>>()?;
    if nix::unistd::geteuid().is_root() {
        steward::step_down(&store_root(global)?, global.run_as)?;
    }
    Ok(opened)
}

fn resolved(
    target: &Target,
    upstream: Option<&Target>,
    env_file: Option<&Path>,
) -> Result<Settings, Failure> {
    let upstream = upstream.filter(|upstream| *upstream != target);
    let (target, upstream) = (target.to_string(), upstream.map(ToString::to_string));
    keeper::settings(&target::inputs(Some(target), upstream, env_file)?)
}

/// Reads where a tarball is said to be. Pure.
fn place(name: &str) -> Result<Place, Failure> {
    let usage = |why: String| Failure::new(ExitKind::Usage, why);
    for role in [Role::Sha256, Role::Record] {
        if let Some(tarball) = name.strip_suffix(role.suffix())
            && tarball.contains(".tar.")
        {
            let failure = usage(format!("{name} lies beside a tarball and is none"));
            return Err(failure.hint(format!("give the tarball: {tarball}")));
        }
    }
    let is_web = name.starts_with("https://") || name.starts_with("http://");
    if !is_web && !name.starts_with("s3://") {
        if !name.starts_with("file://") {
            return Ok(Place::File(PathBuf::from(name)));
        }
        return match name.parse() {
            Ok(Target::Directory(path)) => Ok(Place::File(path)),
            _ => Err(usage("the URL names no file of this host".to_owned())),
        };
    }
    // Behind the scheme: a bucket or a host alone holds no slash.
    let (_, rest) = name.split_once("://").unwrap_or(("", name));
    let (_, key) = rest.rsplit_once('/').unwrap_or((rest, ""));
    let parent = &name[..name.len() - key.len()];
    // A query may hold what authorises, so it is not repeated.
    if is_web && key.contains(['?', '#']) {
        return Err(usage("the URL has a query or a fragment".to_owned())
            .hint("download the tarball and give the file"));
    }
    let target: Target = parent.parse().map_err(|error| usage(format!("{error}")))?;
    let key = if is_web {
        decode_path(key).ok_or_else(|| usage("the URL is not well escaped".to_owned()))?
    } else {
        key.to_owned()
    };
    if key.is_empty() {
        return Err(usage(format!("{target} names no tarball"))
            .hint("`pybuild verify` and `pybuild index` look at all that a target has"));
    }
    Ok(Place::Object { target, key })
}

fn file(shown: String, path: &Path) -> Result<Source, Failure> {
    let failed = |error: FsError| {
        let is_missing = error.source.kind() == io::ErrorKind::NotFound;
        let exit = if is_missing {
            ExitKind::Usage
        } else {
            ExitKind::TryAgain
        };
        Failure::new(exit, error)
    };
    if path.is_dir() {
        let failure = Failure::new(ExitKind::Usage, format!("{shown} is a directory"));
        return Err(failure.hint("`pybuild verify --target DIR` looks at all that it has"));
    }
    let beside = |role: Role| -> Result<Option<Vec<u8>>, Failure> {
        let mut name = path.as_os_str().to_owned();
        name.push(role.suffix());
        let file = match regular(Path::new(&name)) {
            Ok(file) => file,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        // One more than it may have: then it is seen to be too long.
        file.take(SIDECAR + 1)
            .read_to_end(&mut bytes)
            .map_err(FsError::new("read", Path::new(&name)))?;
        Ok(Some(bytes))
    };
    let name = path.file_name().unwrap_or_default();
    Ok(Source {
        shown,
        name: name.to_string_lossy().into_owned(),
        kind: Kind::File {
            tarball: regular(path).map_err(failed)?,
            checksum: beside(Role::Sha256)?,
            record: beside(Role::Record)?,
        },
    })
}

/// Opens a file, or what a symlink leads to. Something else is not waited for.
fn regular(path: &Path) -> Result<File, FsError> {
    let real = std::fs::canonicalize(path).map_err(FsError::new("open", path))?;
    sysfs::open_regular(&real)
}

impl Source {
    /// What lies beside it.
    pub(super) fn papers(&self, interrupt: &Interrupt) -> Result<Papers, Failure> {
        let (checksum, record) = match &self.kind {
            Kind::File {
                checksum, record, ..
            } => (checksum.clone().map(Ok), record.clone().map(Ok)),
            Kind::Object { remote, key } => {
                let beside = |role: Role| {
                    let key = format!("{key}{}", role.suffix());
                    match remote.read_small(&key, SIDECAR, interrupt) {
                        Err(PublishError::TooLong { .. }) => Ok(Some(Err(too_long()))),
                        // A bucket that may not be listed says so of what is not there.
                        Err(PublishError::Denied { .. }) => Ok(None),
                        other => Ok::<_, Failure>(other?.map(Ok)),
                    }
                };
                (beside(Role::Sha256)?, beside(Role::Record)?)
            }
        };
        Ok(Papers {
            checksum: checksum.map(|bytes| {
                let bytes: Vec<u8> = bytes?;
                parse_sha256_line(text(&bytes)?).map_err(|error| error.to_string())
            }),
            record: record.map(|bytes| {
                let bytes: Vec<u8> = bytes?;
                let record = Record::parse(text(&bytes)?);
                record.map(Box::new).map_err(|error| error.to_string())
            }),
        })
    }

    /// Reads it to its end, as often as that is called.
    pub(super) fn read(
        &self,
        observer: &dyn Observer,
        interrupt: &Interrupt,
        eye: &mut dyn Eye,
    ) -> Result<(Tarball, Inventory), Failure> {
        let title = format!("reading {}", self.name);
        match &self.kind {
            Kind::File { tarball, .. } => {
                let path = Path::new(&self.shown);
                let found = tarball.metadata().map_err(FsError::new("stat", path))?;
                let mut reader = tarball;
                reader.rewind().map_err(FsError::new("lseek", path))?;
                let look = Look {
                    title,
                    size: found.len(),
                    observer,
                    interrupt,
                };
                let read = look.at(&mut reader, eye);
                read.map_err(|error| FsError::new("read", path)(error).into())
            }
            Kind::Object { remote, key } => {
                let missing = || {
                    let why = format!("{}{key} is not there", remote.shown());
                    Failure::new(ExitKind::Usage, why)
                };
                let head = remote.head(key, interrupt)?.ok_or_else(missing)?;
                let reader = remote.read_as(key, &head, interrupt)?;
                let mut reader = reader.ok_or_else(missing)?;
                let look = Look {
                    title,
                    size: head.size,
                    observer,
                    interrupt,
                };
                look.at(&mut *reader, eye)
                    .map_err(|error| match PublishError::from_reader(error) {
                        Ok(error) => error.into(),
                        Err(error) => Failure::new(
                            ExitKind::TryAgain,
                            format!("{}{key} cannot be read: {error}", remote.shown()),
                        ),
                    })
            }
        }
        .and_then(|found| {
            interrupt.check()?;
            Ok(found)
        })
    }
}

/// How a tarball is read just now.
struct Look<'a> {
    title: String,
    size: u64,
    observer: &'a dyn Observer,
    interrupt: &'a Interrupt,
}

impl Look<'_> {
    fn at(
        self,
        reader: &mut (dyn Read + Send),
        eye: &mut dyn Eye,
    ) -> io::Result<(Tarball, Inventory)> {
        let phase = self.observer.phase(self.title, Amount::Bytes(self.size));
        let pass = Pass {
            expected: self.size,
            progress: &|bytes| {
                phase.advance(bytes);
                self.interrupt.check().map_err(io::Error::other)
            },
        };
        let read = read(reader, &pass, eye)?;
        phase.done();
        Ok(read)
    }
}

fn too_long() -> String {
    format!("it has more than {SIDECAR} bytes")
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    if bytes.len() as u64 > SIDECAR {
        return Err(too_long());
    }
    str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tarball_is_found_where_it_is_said_to_be() {
        let file = |path: &str| Place::File(PathBuf::from(path));
        let object = |target: &str, key: &str| Place::Object {
            target: target.parse().expect("a target"),
            key: key.to_owned(),
        };
        for (name, expected) in [
            ("dist/a.tar.gz", file("dist/a.tar.gz")),
            ("/a b.tar.gz", file("/a b.tar.gz")),
            ("file:///a%20b.tar.gz", file("/a b.tar.gz")),
            ("s3://bucket/a.tar.gz", object("s3://bucket", "a.tar.gz")),
            (
                "s3://bucket/x/a.tar.gz",
                object("s3://bucket/x", "a.tar.gz"),
            ),
            (
                "https://example.org/x/a%20b.tar.gz",
                object("https://example.org/x", "a b.tar.gz"),
            ),
        ] {
            assert_eq!(place(name).ok(), Some(expected), "{name}");
        }
        for name in [
            "a.tar.gz.json",
            "https://example.org/a.tar.gz.sha256",
            "s3://bucket/",
            "s3://a.tar.gz",
            "https://example.org/",
            "https://example.org/a.tar.gz?token=canary",
            "https://user:canary@example.org/a.tar.gz",
            "file://elsewhere/a.tar.gz",
        ] {
            let failure = place(name).expect_err(name);
            assert_eq!(failure.exit(), ExitKind::Usage);
            let message = failure.message();
            assert!(!message.contains("canary"), "{message}");
        }
    }
}
