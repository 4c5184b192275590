//! What every command works with: the terminal, the store, the host, the wish to stop.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Instant;

use super::delivery::Delivery;
use super::steward::{self, Outlet, Role};
use super::{locking, mirrors, registries};
use crate::cli::{Color, Global, StackSources};
use crate::model::{Arch, Observer, StackName};
use crate::net::{self, Client};
use crate::rootfs::{self, Catalog, Manifest, Rootfs, oci};
use crate::sandbox::{Host, Launcher};
use crate::store::{self, Store};
use crate::sys::interrupt::Interrupt;
use crate::ui::{ColorChoice, ExitKind, Failure, Section, Terminal, Wish};

/// What every command works with.
pub(super) struct Session {
    pub(super) ui: Terminal,
    pub(super) store: Store,
    pub(super) host: Host,
    pub(super) client: Client,
    pub(super) interrupt: Interrupt,
    pub(super) delivery: Box<dyn Delivery + Send + Sync>,
    pub(super) started: Instant,
}

/// A session, or what became of it in another process.
pub(super) enum Opened {
    /// Work with it.
    Session(Box<Session>),
    /// All is done already, by this command's worker.
    Elsewhere(ExitStatus),
}

/// The terminal as the flags want it.
pub(super) fn terminal(global: &Global) -> Terminal {
    Terminal::new(Wish {
        color: match global.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        },
        quiet: global.quiet,
        verbose: global.verbose,
    })
}

/// Where the store is.
pub(super) fn store_root(global: &Global) -> Result<PathBuf, Failure> {
    let is_root = nix::unistd::geteuid().is_root();
    let root = match &global.store {
        Some(root) => Some(root.clone()),
        None => store::default_root(is_root, |name| std::env::var(name).ok()),
    };
    let root = root.ok_or_else(|| {
        Failure::new(ExitKind::Usage, "there is no place for pybuild's store")
            .hint("set PYBUILD_HOME, or HOME, or give --store DIR")
    })?;
    std::path::absolute(&root).map_err(|error| Failure::new(ExitKind::Usage, error))
}

impl Session {
    /// Opens a session. `output` is where files will be delivered, for commands that do.
    pub(super) fn open(global: &Global, output: Option<&Path>) -> Result<Opened, Failure> {
        let output = output.map_or(Outlet::Nothing, |path| Outlet::Directory(path, None));
        Self::open_with(global, output, &Launcher::default())
    }

    /// The same, where `launcher` has started a sandbox ahead.
    pub(super) fn open_with(
        global: &Global,
        output: Outlet<'_>,
        launcher: &Launcher,
    ) -> Result<Opened, Failure> {
        let started = Instant::now();
        let root = store_root(global)?;
        let delivery = match steward::enter(&root, global.run_as, output, launcher)? {
            Role::Steward(status) => return Ok(Opened::Elsewhere(status)),
            Role::Worker(delivery) => delivery,
        };
        let interrupt = interrupt()?;
        let store = Store::open(&root)?;
        store.sweep()?;
        let host = Host::probe(&store.root().join("scratch"))?;
        Ok(Opened::Session(Box::new(Self {
            ui: terminal(global),
            store,
            host,
            client: Client::new(net::Settings::default()),
            interrupt,
            delivery,
            started,
        })))
    }

    /// Who hears how it goes.
    pub(super) fn observer(&self) -> &dyn Observer {
        &self.ui
    }

    /// The stack's images: those that this host has, else fetched and prepared.
    pub(super) fn rootfs(
        &self,
        manifest: &Manifest,
        sources: &StackSources,
    ) -> Result<Rootfs, Failure> {
        let arch = host_arch()?;
        let locked = locking::locked(manifest, sources)?;
        self.warn_of_age(manifest);
        let wanted = locking::wanted(locked.as_ref());
        self.with_tools(sources, |tools| {
            Ok(rootfs::prepare(manifest, arch, wanted, tools)?)
        })
    }

    /// Says so if nobody mends the stack any more.
    pub(super) fn warn_of_age(&self, manifest: &Manifest) {
        if manifest.end_of_life() < jiff::Zoned::now().date() {
            self.observer().warn(format!(
                "the stack {} has reached its end of life on {}: nobody mends it any more",
                manifest.name(),
                manifest.end_of_life()
            ));
        }
    }

    /// Does something with what stacks are prepared with.
    pub(super) fn with_tools<T>(
        &self,
        sources: &StackSources,
        work: impl FnOnce(&rootfs::Tools<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let tools = rootfs::Tools {
            store: &self.store,
            client: &self.client,
            host: &self.host,
            observer: self.observer(),
            interrupt: &self.interrupt,
            access: &|| oci::Access::resolve(&registries::inputs()?),
            mirrors: rootfs::Mirrors {
                first: sources.stack_mirror.as_deref(),
                open: &mirrors::open,
            },
            mirror: sources.debian_mirror.clone(),
            jobs: jobs(None),
        };
        work(&tools)
    }
}

/// The store only to look at, for commands that do nothing: it is not made, nothing is swept.
pub(super) fn look(global: &Global) -> Result<Store, Failure> {
    Ok(Store::look(&store_root(global)?)?)
}

/// The store, for commands that work with what it has and make no sandbox. They are not root from
/// here on. A store that is not there is not made.
pub(super) fn at_hand(global: &Global) -> Result<Store, Failure> {
    let root = store_root(global)?;
    steward::step_down(&root, global.run_as)?;
    Ok(if root.join("rootfs").is_dir() {
        Store::open(&root)?
    } else {
        Store::look(&root)?
    })
}

/// The wish to stop, heard from here on.
pub(super) fn interrupt() -> Result<Interrupt, Failure> {
    Interrupt::install()
        .map_err(|errno| Failure::new(ExitKind::TryAgain, format!("sigaction: {errno}")))
}

/// What a plan says of a stack that is not on this host yet.
pub(super) fn bootstrap(stack: &StackName, more: &str) -> Section {
    let steps = "fetch, verify and unpack what its manifest names, and install its packages";
    Section::new(format!("bootstrap {stack}"), [format!("{steps}; {more}")])
}

/// The architecture of this host, which is the one that is built for.
pub(super) fn host_arch() -> Result<Arch, Failure> {
    Arch::host().map_err(|error| Failure::new(ExitKind::CannotSandbox, error))
}

/// The manifest of a stack.
pub(super) fn manifest(name: &StackName, sources: &StackSources) -> Result<Manifest, Failure> {
    Ok(Catalog::find(sources.manifests.as_deref(), name)?)
}

/// How many jobs to run at once: as asked, else as many processors as this process may use.
pub(super) fn jobs(asked: Option<std::num::NonZeroUsize>) -> usize {
    let available = std::thread::available_parallelism().ok();
    asked.or(available).map_or(1, std::num::NonZeroUsize::get)
}
