//! The commands: each a short pipeline over the rooms below.

mod by_hand;
mod delivery;
mod deploy;
mod deploy_runtimes;
mod diff;
mod doctor;
mod dry_run;
mod examine;
mod failure;
mod formula;
mod formula_import;
mod gc;
mod handed;
mod ids;
mod index;
mod inspect;
mod keeper;
mod limits;
mod locking;
mod log;
mod make;
mod mirrors;
mod prepare;
mod promote;
mod publisher;
mod rebuild;
mod registries;
mod reproduce;
mod run;
mod sandbox;
mod scripts;
mod session;
mod shelf;
mod shell;
mod source;
mod stack;
mod steward;
mod tarball;
mod target;
mod test;
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
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(launcher);
            error.exit()
        }
    };
    let result = match &command {
        Command::Sandbox(args) => sandbox::run(&global, args),
        Command::Deploy(args) => deploy::run(&global, args),
        Command::DeployRuntimes(args) => deploy_runtimes::run(&global, args),
        Command::Prepare(args) => prepare::run(&global, args),
        Command::Stack(args) => stack::run(&global, args),
        Command::Formula(args) => formula::run(&global, args),
        Command::Run(args) => run::run(&global, args, &launcher),
        Command::Shell(args) => shell::run(&global, args),
        Command::Test(args) => test::run(&global, args),
        Command::Verify(args) => verify::run(&global, args),
        Command::Promote(args) => promote::run(&global, args),
        Command::Inspect(args) => inspect::run(&global, args),
        Command::Diff(args) => diff::run(&global, args),
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
