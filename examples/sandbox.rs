//! Runs one command in a sandbox, as the library does it: `sandbox LAYER UPPER WORK COMMAND…`.
//!
//! This is also what the start of a sandbox is measured by.
#![allow(clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use pybuild::sandbox::{
    self, Changes, Command, End, Host, Identity, Input, Limits, Network, Output, Privileges, Root,
    SandboxSpec,
};
use pybuild::sys::interrupt::Interrupt;

fn main() -> ExitCode {
    sandbox::become_child_if_asked();
    let mut args = std::env::args().skip(1);
    let (Some(layer), Some(upper), Some(work)) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: sandbox LAYER UPPER WORK COMMAND…");
        return ExitCode::from(2);
    };
    match run(layer.into(), upper.into(), work.into(), args.collect()) {
        Ok(End::Exited(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(end) => {
            eprintln!("{end:?}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}

fn run(
    layer: PathBuf,
    upper: PathBuf,
    work: PathBuf,
    argv: Vec<String>,
) -> Result<End, Box<dyn std::error::Error>> {
    let interrupt = Interrupt::install()?;
    let host = Host::probe(&upper)?;
    let prepare = std::env::var_os("PREPARE").is_some();
    let spec = SandboxSpec {
        root: Root {
            layers: vec![layer],
            changes: Changes::Kept { upper, work },
        },
        binds: Vec::new(),
        identity: if prepare {
            Identity::ROOT
        } else {
            Identity::BUILDER
        },
        privileges: if prepare {
            Privileges::Prepare
        } else {
            Privileges::Build
        },
        network: Network::None,
        limits: Limits {
            wall: Duration::from_secs(3600),
            memory: 4 << 30,
            processes: 1000,
            file_size: 4 << 30,
            output: 1 << 30,
            tmpfs: 1 << 30,
        },
        terminal: None,
        command: Command {
            argv,
            env: [(
                "PATH".to_owned(),
                "/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            )]
            .into(),
            cwd: "/".parse()?,
        },
    };
    Ok(sandbox::run(&spec, &host, Input::Inherit, Output::Inherit, &interrupt)?.end)
}
