//! `pybuild run`: a command in a fresh sandbox of a stack, its exit code passed on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::session::{Opened, Session, bootstrap, host_arch, look, manifest, terminal};
use super::{Done, Failure};
use crate::cli::{Global, ImageKind, Run};
use crate::model::GuestPath;
use crate::rootfs;
use crate::sandbox::{
    self, Command, End, Identity, Input, Limits, Network, Output, Privileges, Root, SandboxSpec,
};
use crate::sys::fs as sysfs;
use crate::ui::{self, ExitKind, Section};

/// Runs the command, on this process's own standard streams.
pub(super) fn run(global: &Global, args: &Run) -> Result<Done, Failure> {
    let manifest = manifest(&args.stack, &args.sources)?;
    if args.dry_run && rootfs::prepared(&manifest, host_arch()?, &look(global)?)?.is_none() {
        let sections = [bootstrap(
            &args.stack,
            "then run the command in a sandbox of it",
        )];
        ui::print(&Section::render(&sections, terminal(global).palette()))?;
        return Ok(Done::Here);
    }
    let session = match Session::open(global, None)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let rootfs = session.rootfs(&manifest, &args.sources)?;
    let image = match args.image {
        ImageKind::Build => rootfs.build,
        ImageKind::Run => rootfs.run,
    };
    let scratch = session.store.scratch()?;
    let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
    sysfs::create_dir_all(&upper)?;
    sysfs::create_dir_all(&work)?;
    let spec = SandboxSpec {
        root: Root {
            layers: image.layers,
            upper,
            work,
        },
        binds: Vec::new(),
        identity: Identity::BUILDER,
        privileges: Privileges::Build,
        network: Network::None,
        limits: generous(),
        command: Command {
            argv: args.command.clone(),
            env: environment(),
            cwd: root_directory(),
        },
    };
    if args.dry_run {
        let plan = sandbox::plan(&spec, &session.host)?;
        let section = Section::new(format!("a sandbox of {}", args.stack), plan);
        ui::print(&Section::render(&[section], session.ui.palette()))?;
        return Ok(Done::Here);
    }
    let (input, output) = (Input::Inherit, Output::Inherit);
    let outcome = sandbox::run(&spec, &session.host, input, output, &session.interrupt)?;
    match outcome.end {
        End::Exited(code) => Ok(Done::Code(u8::try_from(code).unwrap_or(1))),
        End::Killed(signal) => Ok(Done::Code(ExitKind::Signal(signal).code())),
        end @ (End::TimedOut | End::OutOfMemory | End::TooMuchOutput) => Err(Failure::new(
            ExitKind::BuildFailed,
            format!("the command {end}"),
        )),
    }
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
