//! `pybuild run`: a command in a fresh sandbox of a stack, its exit code passed on.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::session::{Opened, Session, bootstrap, host_arch, look, manifest, terminal};
use super::steward::Outlet;
use super::{Done, Failure, registries};
use crate::cli::{Global, ImageKind, Run};
use crate::model::GuestPath;
use crate::rootfs::{self, Manifest};
use crate::sandbox::{
    self, Changes, Command, End, Identity, Input, Launcher, Limits, Network, Output, Privileges,
    Root, SandboxSpec,
};
use crate::sys::fs as sysfs;
use crate::ui::{self, ExitKind, Section};

/// Who the command is.
const IDENTITY: Identity = Identity::BUILDER;
/// Which network it sees.
const NETWORK: Network = Network::None;

/// Runs the command, on this process's own standard streams.
pub(super) fn run(global: &Global, args: &Run, launcher: &Launcher) -> Result<Done, Failure> {
    let manifest = manifest(&args.stack, &args.sources)?;
    if args.dry_run && rootfs::prepared(&manifest, host_arch()?, &look(global)?)?.is_none() {
        let then = "then run the command in a sandbox of it";
        let sections = [bootstrap(&args.stack, then)];
        ui::print(&Section::render(&sections, terminal(global).palette()))?;
        return Ok(Done::Here);
    }
    registries::ahead(global, [&manifest], &args.sources)?;
    let session = match Session::open_with(global, Outlet::Nothing, launcher)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let layers = layers(&session, &manifest, args)?;
    let mut scratch = None;
    let mut kept = || -> Result<Changes, Failure> {
        let scratch = scratch.insert(session.store.scratch()?);
        let [upper, work] = ["upper", "work"].map(|name| scratch.path().join(name));
        sysfs::create_dir_all(&upper)?;
        sysfs::create_dir_all(&work)?;
        Ok(Changes::Kept { upper, work })
    };
    let mut spec = SandboxSpec {
        root: Root {
            layers,
            changes: Changes::Discarded,
        },
        binds: Vec::new(),
        identity: IDENTITY,
        privileges: Privileges::Build,
        network: NETWORK,
        limits: generous(),
        command: Command {
            argv: args.command.clone(),
            env: environment(),
            cwd: root_directory(),
        },
    };
    if args.dry_run {
        if !session.host.can_discard() {
            spec.root.changes = kept()?;
        }
        let plan = sandbox::plan(&spec, &session.host)?;
        let section = Section::new(format!("a sandbox of {}", args.stack), plan);
        ui::print(&Section::render(&[section], session.ui.palette()))?;
        return Ok(Done::Here);
    }
    let (input, output) = (Input::Inherit, Output::Inherit);
    let outcome = launcher.run_discarding(
        &spec,
        &session.host,
        input,
        output,
        &session.interrupt,
        kept,
    )?;
    match outcome.end {
        End::Exited(code) => Ok(Done::Code(u8::try_from(code).unwrap_or(1))),
        End::Killed(signal) => Ok(Done::Code(ExitKind::Signal(signal).code())),
        end @ (End::TimedOut | End::OutOfMemory | End::TooMuchOutput) => Err(Failure::new(
            ExitKind::BuildFailed,
            format!("the command {end}"),
        )),
    }
}

/// A launcher whose first process is under way already, if the command line looks as if one was
/// needed: before it is read properly, which takes as long as a process takes to start.
pub(super) fn launcher(args: impl Iterator<Item = OsString>) -> Launcher {
    let launcher = Launcher::default().leaving();
    if is_likely(args) {
        // Where this fails, it fails again when it is needed, and is told.
        let _ = launcher.start_ahead(IDENTITY, NETWORK);
    }
    launcher
}

fn is_likely(args: impl Iterator<Item = OsString>) -> bool {
    let ours: Vec<OsString> = args.take_while(|arg| arg != "--").collect();
    let has = |word: &str| ours.iter().any(|arg| arg == word);
    has("run") && !has("--dry-run") && !has("--help")
}

/// The layers of the image, prepared if it is not there yet.
fn layers(session: &Session, manifest: &Manifest, args: &Run) -> Result<Vec<PathBuf>, Failure> {
    let arch = host_arch()?;
    let prepared = rootfs::prepared_layers(manifest, arch, &session.store)?;
    let [build, run] = if let Some(layers) = prepared {
        layers
    } else {
        let rootfs = session.rootfs(manifest, &args.sources)?;
        [rootfs.build.layers, rootfs.run.layers]
    };
    Ok(match args.image {
        ImageKind::Build => build,
        ImageKind::Run => run,
    })
}

fn root_directory() -> GuestPath {
    "/".parse().expect("an absolute path")
}

/// What a command that a person runs by hand finds in its environment.
fn environment() -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = [
        ("HOME", "/tmp"),
        ("LC_ALL", "C.UTF-8"),
        (
            "PATH",
            "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        ),
        ("TZ", "UTC"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    // The one thing of the host that a program on the user's own terminal must know.
    if let Ok(terminal) = std::env::var("TERM") {
        env.insert("TERM".to_owned(), terminal);
    }
    env
}

/// Whoever runs a command by hand watches it: only what could hurt the host is limited.
pub(super) fn generous() -> Limits {
    Limits {
        wall: Duration::from_secs(7 * 24 * 3600),
        memory: super::limits::host_memory(),
        processes: 32 * 1024,
        file_size: 1 << 40,
        output: u64::MAX,
        tmpfs: super::limits::host_memory() / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_is_started_ahead_only_for_run() {
        let table = [
            ("run debian-12 -- true", true),
            ("--store /s run debian-12 true", true),
            ("run --dry-run debian-12 -- true", false),
            ("sandbox debian-12 python-3.11.2 -- run", false),
            ("doctor", false),
            ("", false),
        ];
        for (line, likely) in table {
            let args = line.split(' ').map(OsString::from);
            assert_eq!(is_likely(args), likely, "{line}");
        }
    }
}
