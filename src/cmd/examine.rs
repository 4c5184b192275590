//! Looking closely at what a target has: what `verify` and `promote` have in common.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::session::{Session, host_arch, jobs};
use super::{Failure, limits, registries};
use crate::artifact::proof;
use crate::cli::{Global, Limits, Selected, Sources, StackSources};
use crate::formula;
use crate::model::{Quiet, StackName};
use crate::publish::{Remote, Target};
use crate::rootfs;
use crate::sandbox::Launcher;
use crate::sys::fs as sysfs;
use crate::ui::ExitKind;
use crate::verify::{Depth, Identify, Lock, Options, Seeing, Selection, Tools, look, stacks};

/// Bytes of a list of keys that are read.
const LIST: u64 = 256 << 20;
/// How old an upload must be to be called stale, in seconds: none takes a day.
const STALE: i64 = 24 * 3600;
/// How many archives are looked at at once, at least, in a target that is not on this host: there
/// most of the time is spent waiting for answers.
const LOOKS: usize = 8;

/// What looking takes besides a target.
pub(super) struct Examiner<'a> {
    pub(super) formulae: formula::Catalog,
    stacks: rootfs::Catalog,
    sources: &'a StackSources,
    limits: &'a Limits,
    /// Whether what is inside is run.
    pub(super) identity: bool,
    pub(super) what: Selection,
    pub(super) lock: Option<Lock>,
    /// Keys that should be there.
    pub(super) expected: Vec<String>,
    pub(super) options: Options,
    /// How many archives at once, if somebody says.
    pub(super) jobs: Option<NonZeroUsize>,
}

impl<'a> Examiner<'a> {
    /// For all that a target has, as far as its listing says.
    pub(super) fn new(sources: &'a Sources, limits: &'a Limits) -> Result<Self, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        Ok(Self {
            formulae: formula::Catalog::load(sources.formulae_dir.as_deref())?,
            stacks: rootfs::Catalog::load(sources.stacks.manifests.as_deref())?,
            sources: &sources.stacks,
            limits,
            identity: false,
            what: Selection::default(),
            lock: None,
            expected: Vec::new(),
            options: Options {
                depth: Depth::Whole,
                record: false,
                jobs: jobs(None),
                stale_after: STALE,
                now,
            },
            jobs: None,
        })
    }

    /// Gathers who root is to registries, for the stacks that may have to be fetched: which a target
    /// has archives of is not known before it is looked at. To be called before a session is opened.
    pub(super) fn ahead(
        &self,
        global: &Global,
        selected: &Selected,
        is_built: bool,
    ) -> Result<(), Failure> {
        if !self.identity && !is_built {
            return Ok(());
        }
        let is_meant =
            |name: &&StackName| selected.stack.as_ref().is_none_or(|stack| stack == *name);
        let names = self.stacks.names().into_iter().filter(is_meant);
        let manifests = names.map(|name| self.stacks.get(name));
        let manifests = manifests.collect::<Result<Vec<_>, _>>()?;
        registries::ahead(global, manifests, self.sources)
    }

    /// Looks at everything that is selected.
    pub(super) fn look(&self, session: &Session, remote: &Remote) -> Result<Seeing, Failure> {
        let mut tools = Tools {
            lock: self.lock.as_ref(),
            expected: &self.expected,
            identify: None,
        };
        let images = if self.identity {
            self.images(session, remote, &tools)?
        } else {
            BTreeMap::new()
        };
        let launcher = Launcher::default();
        let identify = Identify {
            formulae: &self.formulae,
            images: &images,
            tools: proof::Tools {
                store: &session.store,
                host: &session.host,
                launcher: &launcher,
                observer: &Quiet,
                interrupt: &session.interrupt,
                jobs: jobs(None),
            },
            limits: limits::of(self.limits),
            arch: host_arch()?,
        };
        if self.identity {
            tools.identify = Some((&identify, &session.store));
        }
        let (observer, interrupt) = (session.observer(), &session.interrupt);
        // What is run takes the processors, wherever it comes from.
        let least = if self.identity { 1 } else { LOOKS };
        let options = Options {
            jobs: at_once(self.jobs, &[remote.target()], least),
            ..self.options
        };
        let what = &self.what;
        Ok(look(remote, what, &options, &tools, observer, interrupt)?)
    }

    /// The run images of the stacks that have archives, as far as there are manifests of them.
    fn images(
        &self,
        session: &Session,
        remote: &Remote,
        tools: &Tools<'_>,
    ) -> Result<BTreeMap<StackName, Vec<PathBuf>>, Failure> {
        let known = self.stacks.names();
        let mut images = BTreeMap::new();
        let (what, options, interrupt) = (&self.what, &self.options, &session.interrupt);
        for name in stacks(remote, what, options, tools, &known, interrupt)? {
            let rootfs = session.rootfs(self.stacks.get(name)?, self.sources)?;
            images.insert(name.clone(), rootfs.run.layers);
        }
        Ok(images)
    }
}

/// How many archives at once: as asked, else as many as there are processors, and at least so many
/// where one of the targets is not on this host.
pub(super) fn at_once(asked: Option<NonZeroUsize>, targets: &[&Target], least: usize) -> usize {
    let here = |target: &&Target| matches!(target, Target::Directory(_));
    if asked.is_some() || targets.iter().all(here) {
        jobs(asked)
    } else {
        jobs(None).max(least)
    }
}

/// Which archives are looked at.
pub(super) fn selection(selected: &Selected) -> Result<Selection, Failure> {
    let Selected { stack, formulae } = selected;
    let parse = |text: &String| {
        text.parse()
            .map_err(|error: String| Failure::new(ExitKind::Usage, error))
    };
    Ok(Selection {
        stack: stack.clone(),
        formulae: formulae.iter().map(parse).collect::<Result<_, _>>()?,
    })
}

/// What was recorded before of a target, if there is such a file.
pub(super) fn read_lock(file: &Path) -> Result<Option<Lock>, Failure> {
    let bytes = match sysfs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let wrong = |why: String| {
        let shown = file.display();
        Failure::new(ExitKind::Usage, format!("{shown} is not a lock: {why}"))
            .hint("restore it, or remove it and record anew with `pybuild verify --record`")
    };
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not text".to_owned()))?;
    let lock = Lock::parse(&text).map_err(|error| wrong(error.to_string()))?;
    Ok(Some(lock))
}

/// A lock that was given must be there.
pub(super) fn no_lock(file: &Path) -> Failure {
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    let error = sysfs::FsError::new("open", file)(missing);
    Failure::new(ExitKind::Usage, error).hint("`pybuild verify --record` writes a lock")
}

/// Whether a lock is of another target than this.
pub(super) fn is_of_another(lock: &Lock, target: &Target) -> bool {
    lock.target != target.to_string()
}

/// Keys, one a line.
pub(super) fn read_list(file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(LIST + 1).read_to_string(&mut text)
    } else {
        sysfs::open(file)?.take(LIST + 1).read_to_string(&mut text)
    };
    let wrong = |why: &dyn fmt::Display| {
        let message = format!("{} cannot be read: {why}", file.display());
        Failure::new(ExitKind::Usage, message)
    };
    read.map_err(|error| wrong(&error))?;
    if text.len() as u64 > LIST {
        // What is cut off would not be looked for.
        return Err(wrong(&format_args!("it has more than {LIST} bytes")));
    }
    let lines = text.lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(keys.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_done_at_once_where_answers_are_waited_for() {
        let target = |text: &str| text.parse::<Target>().expect("a target");
        let (here, bucket) = (target("dist"), target("s3://bucket/"));
        let web = target("https://example.org/dist/");
        let processors = jobs(None);
        let many = processors + 3;
        let asked = NonZeroUsize::new(many + 1);
        assert_eq!(at_once(None, &[&here], many), processors);
        assert_eq!(at_once(None, &[&here, &bucket], many), many);
        assert_eq!(at_once(None, &[&web], many), many);
        assert_eq!(at_once(None, &[&bucket], 1), processors);
        for target in [&here, &bucket] {
            assert_eq!(at_once(asked, &[target], many), many + 1);
            assert_eq!(at_once(NonZeroUsize::new(1), &[target], many), 1);
        }
    }
}
