//! The commands: each a short pipeline over the rooms below.

mod by_hand;
mod delivery;
mod deploy;
mod deploy_runtimes;
mod doctor;
mod dry_run;
mod examine;
mod failure;
mod gc;
mod handed;
mod index;
mod keeper;
mod limits;
mod log;
mod make;
mod prepare;
mod promote;
mod publisher;
mod rebuild;
mod registries;
mod reproduce;
mod run;
mod sandbox;
mod session;
mod shell;
mod source;
mod steward;
mod target;
mod verify;

use std::process::{ExitCode, ExitStatus};

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::ui::Failure;

/// How a command ended well.
enum Done {
    /// Everything is done.
    Here,
    /// What was run ended with this code, which is passed on.
    Code(u8),
    /// Another process did it, and ended so.
    Elsewhere(ExitStatus),
}

/// Reads the command line, does what it says, and tells how that went.
pub fn main() -> ExitCode {
    // What pybuild writes is for everyone to read, whatever the user's habit.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    if keeper::be_if_asked() {
        return ExitCode::SUCCESS;
    }
    let launcher = run::launcher(std::env::args_os().skip(1));
    let Cli { global, command } = Cli::parse();
    let result = match &command {
        Command::Sandbox(args) => sandbox::run(&global, args),
        Command::Deploy(args) => deploy::run(&global, args),
        Command::DeployRuntimes(args) => deploy_runtimes::run(&global, args),
        Command::Prepare(args) => prepare::run(&global, args),
        Command::Run(args) => run::run(&global, args, &launcher),
        Command::Shell(args) => shell::run(&global, args),
        Command::Verify(args) => verify::run(&global, args),
        Command::Promote(args) => promote::run(&global, args),
        Command::Gc(args) => gc::run(&global, args),
        Command::Index(args) => index::run(&global, args),
        Command::Doctor => doctor::run(&global),
        Command::Log(args) => log::run(&global, args),
    };
    keeper::dismiss();
    match result {
        Ok(Done::Here) => ExitCode::SUCCESS,
        Ok(Done::Code(code)) => ExitCode::from(code),
        Ok(Done::Elsewhere(status)) => ExitCode::from(steward::exit_code(status)),
        Err(failure) => {
            failure.print(session::terminal(&global).palette());
            failure.exit().into()
        }
    }
}
