//! The terminal of a sandbox's own, made inside it, where its name is what programs see.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::spec::Terminal;
use super::wire::{Failure, Message};
use crate::sys::{process, terminal};

/// Of the sandbox's own `devpts`, which nothing can be mounted over.
const PTMX: &str = "/dev/pts/ptmx";

/// Opens it in place of what it is to be of the command's standard streams, as the leader of a
/// session that has none. The end that a person is at goes to the launcher, and stays with nobody
/// here.
pub(super) fn open(
    wanted: &Terminal,
    stdio: &mut [OwnedFd],
    launcher: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let Terminal {
        input,
        output,
        errors,
        size,
        modes,
    } = wanted;
    let (master, slave) = terminal::open_pair(Path::new(PTMX))?;
    terminal::set_modes(slave.as_fd(), modes)?;
    terminal::resize(slave.as_fd(), *size)?;
    if *input {
        terminal::control(slave.as_fd())?;
    }
    for (stream, is_terminal) in stdio.iter_mut().zip([input, output, errors]) {
        if *is_terminal {
            *stream = process::duplicate(slave.as_fd())?;
        }
    }
    Ok(Message::Terminal.send(launcher, Some(master.as_fd()))?)
}
