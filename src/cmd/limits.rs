//! What builds may use up when nobody says: what the host has, and no more.

use std::time::Duration;

use crate::cli;
use crate::sandbox::Limits;

/// Processes and threads of one step: far more than any make runs, far less than a host has.
const PROCESSES: u64 = 4096;
/// Bytes in one file: no object file or log of a runtime comes near.
const FILE_SIZE: u64 = 16 << 30;

/// The memory of this host in bytes, as sysinfo(2) has it.
pub(super) fn host_memory() -> u64 {
    // Where the kernel does not say, what every host that compiles has.
    nix::sys::sysinfo::sysinfo().map_or(2 << 30, |info| info.ram_total())
}

/// The limits of one build step of a command that has no flags for them: those of the flags'
/// defaults.
pub(super) fn usual() -> Limits {
    of(&cli::Limits {
        timeout: Duration::from_secs(2 * 3600),
        memory: None,
        max_output: 256 << 20,
    })
}

/// The limits of one build step.
pub(super) fn of(args: &cli::Limits) -> Limits {
    // A build that takes all would take the host with it.
    let memory = args.memory.unwrap_or(host_memory() / 10 * 9);
    Limits {
        wall: args.timeout,
        memory,
        processes: PROCESSES,
        file_size: FILE_SIZE,
        output: args.max_output,
        tmpfs: memory / 2,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn commands_without_flags_for_limits_have_those_of_the_others() {
        let Cli { command, .. } = Cli::parse_from(["pybuild", "sandbox", "debian-12", "a-1.0"]);
        let Command::Sandbox(args) = command else {
            panic!("another command");
        };
        assert_eq!(usual(), of(&args.building.limits));
    }
}
