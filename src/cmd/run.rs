//! `pybuild run`: a command in a fresh sandbox of a stack, its exit code passed on.

use std::ffi::OsString;

use super::by_hand::{ByHand, IDENTITY, network};
use super::{Done, Failure};
use crate::cli::{Global, Run};
use crate::sandbox::Launcher;

/// Runs the command, on this process's own standard streams.
pub(super) fn run(global: &Global, args: &Run, launcher: &Launcher) -> Result<Done, Failure> {
    let Run {
        stack,
        inside,
        dry_run,
        command,
    } = args;
    let by_hand = ByHand {
        global,
        stack,
        inside,
        dry_run: *dry_run,
    };
    by_hand.execute(launcher, |_, spec| {
        spec.command.argv.clone_from(command);
        Ok(())
    })
}

/// A launcher whose first process is under way already, if the command line looks as if one was
/// needed: before it is read properly, which takes as long as a process takes to start.
pub(super) fn launcher(args: impl Iterator<Item = OsString>) -> Launcher {
    let launcher = Launcher::default().leaving();
    if let Some(with_network) = is_likely(args) {
        // Where this fails, it fails again when it is needed, and is told.
        let _ = launcher.start_ahead(IDENTITY, network(with_network));
    }
    launcher
}

/// Whether a command is likely to be run at once; and whether with the host's network.
fn is_likely(args: impl Iterator<Item = OsString>) -> Option<bool> {
    let ours: Vec<OsString> = args.take_while(|arg| arg != "--").collect();
    let has = |word: &str| ours.iter().any(|arg| arg == word);
    let not_now = ["--dry-run", "--help", "--with"];
    (has("run") && !not_now.into_iter().any(has)).then(|| has("--network"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_is_started_ahead_only_for_run() {
        let table = [
            ("run debian-12 -- true", Some(false)),
            ("--store /s run debian-12 true", Some(false)),
            ("run debian-12 --network -- true --dry-run", Some(true)),
            ("run --dry-run debian-12 -- true", None),
            ("run --with python-3.11.2 debian-12 -- true", None),
            ("sandbox debian-12 python-3.11.2 -- run", None),
            ("doctor", None),
            ("", None),
        ];
        for (line, likely) in table {
            let args = line.split(' ').map(OsString::from);
            assert_eq!(is_likely(args), likely, "{line}");
        }
    }
}
