//! The targets of a command: where they are said to be, and opened by whoever has the rights.

use std::collections::BTreeMap;
use std::path::Path;

use nix::sys::resource::{Resource, setrlimit};

use super::session::{Opened, Session, store_root};
use super::steward::{self, Outlet};
use super::{Failure, keeper};
use crate::cli::{Global, Targets};
use crate::publish::{Inputs, PublishError, Remote, Settings, SettingsError, Target, overlap};
use crate::sandbox::Launcher;
use crate::sys::process::set_dumpable;
use crate::ui::ExitKind;

/// Reads what settings are resolved from, while this process still has the rights to. A worker is
/// told by its steward: its own environment holds no secrets, and nothing of where to publish.
pub(super) fn inputs(
    target: Option<String>,
    upstream: Option<String>,
    env_file: Option<&Path>,
) -> Result<Inputs, Failure> {
    keep_secrets();
    if let Some(steward) = steward::steward() {
        let inputs = steward.inputs();
        return inputs.map_err(|error| Failure::new(ExitKind::TryAgain, error));
    }
    let env: BTreeMap<_, _> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect();
    let cwd = std::env::current_dir().map_err(|error| Failure::new(ExitKind::Usage, error))?;
    Ok(Inputs::gather(target, upstream, env_file, env, &cwd)?)
}

/// Makes sure that nobody else of this user sees what this process knows from now on.
pub(super) fn keep_secrets() {
    // A core would hold the secrets that are read now. The limit does not hold for those that the
    // kernel pipes to a program (core(5)); who is not dumpable makes none, nor do others of this
    // user see its memory or its environment. Neither call can fail with these arguments.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = set_dumpable(false);
}

/// What a command's targets are, before they are opened.
pub(super) struct Outlets {
    inputs: Inputs,
    settings: Settings,
}

impl Outlets {
    /// Resolves what [`inputs`] has read.
    fn resolve(args: &Targets) -> Result<Self, Failure> {
        let (target, upstream) = (args.target.clone(), args.upstream.clone());
        let inputs = inputs(target, upstream, args.env_file.as_deref())?;
        let settings = keeper::settings(&inputs)?;
        Ok(Self { inputs, settings })
    }

    /// The same, for a command that publishes.
    pub(super) fn to_publish(args: &Targets) -> Result<Self, Failure> {
        let outlets = Self::resolve(args)?;
        match outlets.target() {
            Target::S3 { .. } | Target::Directory(_) => Ok(outlets),
            target @ Target::Web(_) => Err(PublishError::ReadOnly {
                target: target.to_string(),
            }
            .into()),
        }
    }

    /// Where the environment says that things are published, for a command that reads there.
    pub(super) fn to_read() -> Result<Self, Failure> {
        Self::resolve(&Targets::default())
    }

    /// Opens what archives are read from, in this order: a directory, the target, the upstream
    /// target. By whoever this process is.
    pub(super) fn shelves(&self, first: &Path) -> Result<Vec<Remote>, Failure> {
        let first = Target::Directory(first.to_owned());
        let rest = [Some(self.settings.target()), self.settings.upstream()];
        let rest = rest.into_iter().flatten().filter(|other| **other != first);
        let all = std::iter::once(&first).chain(rest);
        all.map(|target| Ok(Remote::open(target, &self.settings)?))
            .collect()
    }

    /// What the settings were resolved from.
    pub(super) fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// What copying from one target to another takes.
    pub(super) fn to_promote(
        from: &str,
        to: &str,
        env_file: Option<&Path>,
    ) -> Result<Self, Failure> {
        for (name, text) in [("FROM", from), ("TO", to)] {
            let wrong = |source| SettingsError::Target {
                from: name.to_owned(),
                source,
            };
            text.parse::<Target>().map_err(wrong)?;
        }
        let (target, upstream) = (Some(to.to_owned()), Some(from.to_owned()));
        let is_directory = |text: &str| matches!(text.parse(), Ok(Target::Directory(_)));
        // Directories take no credentials: nobody's files are read for them.
        let inputs = if is_directory(from) && is_directory(to) {
            Inputs {
                target,
                upstream,
                ..Inputs::default()
            }
        } else {
            inputs(target, upstream, env_file)?
        };
        let settings = keeper::settings(&inputs)?;
        if let target @ Target::Web(_) = settings.target() {
            let target = target.to_string();
            return Err(PublishError::ReadOnly { target }.into());
        }
        if overlap(&settings) {
            let message = format!("{from} and {to} are one place, or one is inside the other");
            let failure = Failure::new(ExitKind::Usage, message);
            return Err(failure.hint("what is promoted goes from one target to another"));
        }
        Ok(Self { inputs, settings })
    }

    /// Opens a session that may read from the one and write to the other. Root becomes another uid
    /// in place unless one of them is a directory, which that uid may not be able to use.
    pub(super) fn session_to_promote(&self, global: &Global) -> Result<Opened, Failure> {
        let (Self { settings, inputs }, launcher) = (self, Launcher::default());
        let (mut from, mut to) = (None, None);
        if let Some(Target::Directory(_)) = settings.upstream() {
            from = Remote::open_upstream(settings);
        }
        if let Target::Directory(_) = settings.target() {
            to = Some(Remote::open(settings.target(), settings)?);
        }
        let (from, to) = (from.as_ref(), to.as_ref());
        let outlet = match (from, to) {
            (None, None) => Outlet::Nothing,
            _ => Outlet::Copies { from, to, inputs },
        };
        Session::open_with(global, outlet, &launcher)
    }

    /// Opens what is copied from. In a session, by now.
    pub(super) fn source(&self) -> Result<Remote, Failure> {
        let upstream = self.settings.upstream();
        if let (Some(steward), Some(from @ Target::Directory(_))) = (steward::steward(), upstream) {
            return Ok(steward.source(from));
        }
        let remote = Remote::open_upstream(&self.settings);
        remote.ok_or_else(|| Failure::new(ExitKind::Usage, "there is nothing to copy from"))
    }

    /// Which target is published to.
    pub(super) fn target(&self) -> &Target {
        self.settings.target()
    }

    /// Opens a session that may write to the target. Root becomes another uid in place, except
    /// for a directory, which that uid may not be able to write to.
    pub(super) fn session(&self, global: &Global) -> Result<Opened, Failure> {
        let launcher = Launcher::default();
        match self.target() {
            Target::Directory(_) => {
                let remote = Remote::open(self.target(), &self.settings)?;
                Session::open_with(global, Outlet::Target(&remote, &self.inputs), &launcher)
            }
            Target::S3 { .. } | Target::Web(_) => {
                Session::open_with(global, Outlet::Nothing, &launcher)
            }
        }
    }

    /// Opens the target. In a session, by now.
    pub(super) fn remote(&self) -> Result<Remote, Failure> {
        match (steward::steward(), self.target()) {
            (Some(steward), Target::Directory(_)) => Ok(steward.remote(self.target())),
            _ => Ok(Remote::open(self.target(), &self.settings)?),
        }
    }

    /// Opens the target only to look at it: nothing is made on this host, and a server is not
    /// talked to as root.
    pub(super) fn look(&self, global: &Global) -> Result<Remote, Failure> {
        if !matches!(self.target(), Target::Directory(_)) {
            steward::step_down(&store_root(global)?, global.run_as)?;
        }
        Ok(Remote::open(self.target(), &self.settings)?)
    }

    /// Opens the upstream target, if there is one besides the target.
    pub(super) fn upstream(&self) -> Result<Option<Remote>, Failure> {
        let upstream = self.settings.upstream();
        let other = upstream.filter(|upstream| *upstream != self.target());
        other
            .map(|upstream| Remote::open(upstream, &self.settings).map_err(Failure::from))
            .transpose()
    }
}
