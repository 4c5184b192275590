//! Archives that scripts begin with: where they are looked for, and how far they are believed.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::Failure;
use super::make::Made;
use super::session::Session;
use crate::artifact::checksum::parse_sha256_line;
use crate::formula::Archive;
use crate::formula::bob::{highest, is_wildcard};
use crate::model::{Amount, Arch, FormulaRef, Sha256, StackName};
use crate::publish::{Found, Keys, PublishError, Remote, find, read_into};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;
use crate::ui::ExitKind;

/// The ending of what bob-builder publishes.
const ENDING: &str = ".tar.gz";
/// Of a file with a digest, in bytes.
const CHECKSUM: u64 = 64 << 10;

/// The places that are asked for archives, in this order.
pub(super) struct Places<'a> {
    pub(super) remotes: Vec<&'a Remote>,
    pub(super) stack: &'a StackName,
    pub(super) arch: Arch,
}

/// An archive that is somewhere.
pub(super) struct Located<'a> {
    remote: &'a Remote,
    keys: Keys,
    /// What it is called below its stack, without its ending.
    name: String,
    size: u64,
}

/// What says which bytes an archive should have.
enum Papers {
    /// Its record and its `.sha256`, or that alone.
    Digest(Sha256),
    /// Nothing.
    None,
}

impl<'a> Places<'a> {
    /// Where the archive is that a script calls so: in the first place that has one, below the
    /// stack's directory or, where a place is one stack's own, as bob-builder looks for it.
    pub(super) fn locate(
        &self,
        meant: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<Located<'a>>, Failure> {
        for remote in &self.remotes {
            for base in [format!("{}/", self.stack), String::new()] {
                let name = if is_wildcard(meant) {
                    highest_in(remote, &base, meant, interrupt)?
                } else {
                    Some(meant.to_owned())
                };
                let Some(name) = name else { continue };
                let keys = Keys::of(format!("{base}{name}{ENDING}"));
                if let Some(head) = remote.head(&keys.tarball, interrupt)? {
                    let (remote, size) = (*remote, head.size);
                    return Ok(Some(Located {
                        remote,
                        keys,
                        name,
                        size,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// Says that nobody has it.
    pub(super) fn missing(&self, script: &FormulaRef, meant: &str) -> Failure {
        let mut asked: Vec<String> = Vec::new();
        for remote in &self.remotes {
            let target = remote.target().to_string();
            if !asked.contains(&target) {
                asked.push(target);
            }
        }
        let message = format!(
            "{script} begins with the archive {meant}, which is not there: neither {}/{meant}{ENDING} \
             nor {meant}{ENDING} is in {}",
            self.stack,
            asked.join(", ")
        );
        let failure = Failure::new(ExitKind::BuildFailed, message);
        if is_wildcard(meant) {
            return failure.hint("publish one first, or ask for a script of that name before this");
        }
        let stack = self.stack;
        failure.hint(format!(
            "make it first: `pybuild sandbox {stack} {meant}` or `pybuild deploy {stack} {meant}`, \
             with the same --formulae"
        ))
    }

    /// What lies beside an archive says of it.
    fn papers(&self, located: &Located<'_>, interrupt: &Interrupt) -> Result<Papers, Failure> {
        let Located { remote, keys, .. } = located;
        let wrong = |why: String| {
            let what = located.shown();
            Failure::new(
                ExitKind::BuildFailed,
                format!("{what} cannot be used: {why}"),
            )
            .hint("`pybuild verify` says what is wrong with it")
        };
        if let Found::Whole(record) = find(remote, keys, interrupt)? {
            let (stack, arch) = (&record.product.stack, record.product.arch);
            if stack != self.stack || arch != self.arch {
                return Err(wrong(format!(
                    "its record says that it is for {stack} on {arch}"
                )));
            }
            return Ok(Papers::Digest(record.artifact.sha256));
        }
        let record = remote.head(&keys.record, interrupt)?;
        let checksum = remote.read_small(&keys.sha256, CHECKSUM, interrupt)?;
        match (record, checksum) {
            (None, None) => Ok(Papers::None),
            (None, Some(checksum)) => {
                match parse_sha256_line(&String::from_utf8_lossy(&checksum)) {
                    Ok((digest, file)) if file == keys.file_name() => Ok(Papers::Digest(digest)),
                    Ok((_, file)) => Err(wrong(format!("its .sha256 is of {file}"))),
                    Err(error) => Err(wrong(format!("its .sha256: {}", error.reason))),
                }
            }
            (Some(_), _) => Err(wrong("it and what lies beside it do not agree".to_owned())),
        }
    }
}

/// The highest name in a place that a pattern means.
fn highest_in(
    remote: &Remote,
    base: &str,
    meant: &str,
    interrupt: &Interrupt,
) -> Result<Option<String>, Failure> {
    let fixed = meant.split(['*', '?', '[']).next().unwrap_or_default();
    let directory = fixed.rfind('/').map_or("", |end| &fixed[..=end]);
    let Some(listed) = remote.list(&format!("{base}{directory}"), interrupt)? else {
        let message = format!("{} cannot be listed to find {meant}", remote.target());
        return Err(Failure::new(ExitKind::Usage, message)
            .hint("a place on the web takes names without wildcards"));
    };
    let names = listed.iter().filter_map(|object| {
        let name = object.key.strip_prefix(base)?;
        name.strip_suffix(ENDING)
    });
    Ok(highest(meant, names).map(str::to_owned))
}

impl Located<'_> {
    /// Where it is, for people.
    pub(super) fn shown(&self) -> String {
        format!("{}{}", self.remote.shown(), self.keys.tarball)
    }
}

/// The places, and what is taken from them.
pub(super) struct Shelf<'a> {
    pub(super) session: &'a Session,
    pub(super) places: Places<'a>,
}

impl Shelf<'_> {
    /// Has the archive in the store that a script calls so.
    pub(super) fn take(&self, script: &FormulaRef, meant: &str) -> Result<Archive, Failure> {
        let interrupt = &self.session.interrupt;
        let Some(located) = self.places.locate(meant, interrupt)? else {
            return Err(self.places.missing(script, meant));
        };
        let expected = match self.places.papers(&located, interrupt)? {
            Papers::Digest(digest) => Some(digest),
            Papers::None => None,
        };
        let sha256 = match expected.filter(|digest| self.has(digest)) {
            Some(digest) => digest,
            None => self.fetch(&located, expected)?,
        };
        if expected.is_none() {
            self.session.observer().warn(format!(
                "{} is taken as it is (SHA-256 {sha256}): nothing lies beside it that says what it \
                 should be",
                located.shown()
            ));
        }
        Ok(Archive {
            name: located.name,
            sha256,
        })
    }

    /// Keeps what this command has made as an archive that a script begins with.
    pub(super) fn keep(&self, name: &str, made: &Made) -> Result<Archive, Failure> {
        let sha256 = made.artifact.digest();
        if !self.has(&sha256) {
            let store = &self.session.store;
            let scratch = store.scratch()?;
            let (from, to) = (made.artifact.tarball(), scratch.path().join("archive"));
            fs::copy(&from, &to).map_err(FsError::new("copy", &from))?;
            self.file(&to, &sha256)?;
        }
        Ok(Archive {
            name: name.to_owned(),
            sha256,
        })
    }

    /// Whether the store has these bytes, which are read.
    fn has(&self, digest: &Sha256) -> bool {
        let blob = self.session.store.blob(digest);
        let read = blob.and_then(|blob| Sha256::of_reader(&mut sysfs::open(&blob).ok()?).ok());
        read.is_some_and(|(found, _)| found == *digest)
    }

    fn fetch(&self, located: &Located<'_>, expected: Option<Sha256>) -> Result<Sha256, Failure> {
        let session = self.session;
        let title = format!("fetching {}", located.shown());
        let phase = session.observer().phase(title, Amount::Bytes(located.size));
        let (remote, key) = (located.remote, &located.keys.tarball);
        let scratch = session.store.scratch()?;
        let path = scratch.path().join("archive");
        let mut file = sysfs::create_new(&path)?;
        let interrupt = &session.interrupt;
        let found = read_into(remote, key, u64::MAX, &mut file, &path, &phase, interrupt);
        let found = found.map_err(|error| match error {
            // bob-builder's own archives are for their owner alone.
            PublishError::Local(error) if error.source.kind() == ErrorKind::PermissionDenied => {
                let uid = nix::unistd::geteuid();
                Failure::new(ExitKind::Usage, error).hint(format!(
                    "it is read by the user that builds run as, uid {uid}: let that user read it"
                ))
            }
            error => error.into(),
        })?;
        let found = found.ok_or_else(|| PublishError::Changed {
            target: remote.shown().to_owned(),
            key: key.clone(),
        })?;
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(PublishError::Corrupted {
                what: located.shown(),
                expected,
                found,
            }
            .into());
        }
        self.file(&path, &found)?;
        phase.done();
        Ok(found)
    }

    /// Makes a file in scratch the blob of its digest.
    fn file(&self, path: &Path, digest: &Sha256) -> Result<(), Failure> {
        let store = &self.session.store;
        let file = sysfs::open(path)?;
        file.sync_all().map_err(FsError::new("fsync", path))?;
        sysfs::rename_durably(path, &store.blob_path(digest))?;
        Ok(())
    }
}
