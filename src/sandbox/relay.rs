//! Between a person's terminal and a sandbox's own: keys in, output out, and the size.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::SandboxError;
use super::spec::Terminal;
use super::terminal::first;
use crate::sys::call::CallError;
use crate::sys::process;
use crate::sys::terminal::{self, Changes, Raw};

/// How much is taken over at once.
const CHUNK: usize = 16 * 1024;
/// How soon to look again whether someone inside has opened the terminal that nobody had open.
const AGAIN: u16 = 50; // ms
/// How long what was printed last may take to be shown, on a terminal that stands still.
const PATIENCE: Duration = Duration::from_secs(2);

/// The person's terminal is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HungUp;

/// Both ends, and what is on its way between them.
#[derive(Debug)]
pub(super) struct Relay {
    outer: OwnedFd,
    /// Whether what is typed at the outer one is for the sandbox.
    typing: bool,
    changes: Changes,
    /// Once there is someone to hand every key to.
    raw: Option<Raw>,
    /// The master of the inner one, once it is open.
    inner: Option<OwnedFd>,
    /// Whether nobody inside has the inner one open.
    away: bool,
    typed: Vec<u8>,
    shown: Vec<u8>,
}

impl Relay {
    /// For this terminal, at that of this process.
    pub(super) fn new(wanted: &Terminal) -> Result<Self, SandboxError> {
        let Terminal {
            input,
            output,
            errors,
            size: _,  // asked for again, once the inner one is open
            modes: _, // the inner one's alone
        } = *wanted;
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let outer = first(streams, [input, output, errors])
            .filter(|outer| terminal::is_terminal(*outer))
            .ok_or_else(|| CallError::new("isatty", "0, 1, 2")(Errno::ENOTTY))?;
        Ok(Self {
            // One that neither is this user's nor controls this process can be used, not opened.
            outer: match terminal::reopen(outer) {
                Ok(own) => own,
                Err(_) => process::duplicate(outer)?,
            },
            typing: input,
            changes: Changes::watch()?,
            raw: None,
            inner: None,
            away: false,
            typed: Vec::new(),
            shown: Vec::new(),
        })
    }

    /// Begins, with the master of the inner terminal.
    pub(super) fn connect(&mut self, inner: OwnedFd) -> Result<(), CallError> {
        terminal::do_not_wait(inner.as_fd())?;
        if self.typing {
            self.raw = Some(Raw::enter(process::duplicate(self.outer.as_fd())?)?);
        }
        self.inner = Some(inner);
        self.resize();
        Ok(())
    }

    /// Makes the inner terminal as large as the outer one is.
    fn resize(&self) {
        if let Some(inner) = &self.inner
            && let Ok(size) = terminal::size(self.outer.as_fd())
        {
            // It fails only if the sandbox has ended.
            let _ = terminal::resize(inner.as_fd(), size);
        }
    }

    /// What to wait for; and how long at most, if there is something that cannot be waited for.
    pub(super) fn watch<'s>(&'s self, fds: &mut Vec<PollFd<'s>>) -> Option<PollTimeout> {
        fds.push(PollFd::new(self.changes.as_fd(), PollFlags::POLLIN));
        let outer = self.outer_events();
        let inner = self.inner_events();
        let both = [(Some(&self.outer), outer), (self.inner.as_ref(), inner)];
        for (fd, events) in both {
            // Without an event it could only hang up, and would do so again and again.
            if let Some(fd) = fd.filter(|_| !events.is_empty()) {
                fds.push(PollFd::new(fd.as_fd(), events));
            }
        }
        self.away.then(|| PollTimeout::from(AGAIN))
    }

    fn outer_events(&self) -> PollFlags {
        let mut events = PollFlags::empty();
        events.set(
            PollFlags::POLLIN,
            self.raw.is_some() && self.typed.is_empty(),
        );
        events.set(PollFlags::POLLOUT, !self.shown.is_empty());
        events
    }

    fn inner_events(&self) -> PollFlags {
        let mut events = PollFlags::empty();
        if !self.away {
            events.set(PollFlags::POLLIN, self.shown.is_empty());
            events.set(PollFlags::POLLOUT, !self.typed.is_empty());
        }
        events
    }

    /// Takes over whatever can be taken over now.
    pub(super) fn turn(&mut self) -> Result<(), HungUp> {
        if self.changes.take() {
            // It fails only if the terminal is gone, and that is seen below.
            let _ = self.raw.as_ref().map(Raw::again);
            self.resize();
        }
        if self.inner.is_none() {
            return Ok(());
        }
        let wanted = self.outer_events() & PollFlags::POLLIN;
        if !wanted.is_empty() && is_ready(self.outer.as_fd(), wanted, PollTimeout::ZERO) {
            match read(self.outer.as_fd(), &mut self.typed) {
                Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Ok(0) | Err(_) => return Err(self.hang_up()),
            }
        }
        self.hand_in();
        self.take_out();
        self.show(PollTimeout::ZERO)
    }

    fn hand_in(&mut self) {
        let Some(inner) = self.inner.as_ref().filter(|_| !self.typed.is_empty()) else {
            return;
        };
        // What fails is tried again; if nobody is there any more, the end is near.
        if let Ok(count) = nix::unistd::write(inner, &self.typed) {
            self.typed.drain(..count);
        }
    }

    /// Takes what was printed, unless some is still to be shown; says whether there was any.
    fn take_out(&mut self) -> bool {
        let Some(inner) = self.inner.as_ref().filter(|_| self.shown.is_empty()) else {
            return false;
        };
        match read(inner.as_fd(), &mut self.shown) {
            Ok(count) => {
                self.away = false;
                count > 0
            }
            // Nobody has it open; another may open it yet.
            Err(Errno::EIO) => {
                self.away = true;
                false
            }
            Err(_) => {
                self.away = false;
                false
            }
        }
    }

    /// Shows what was taken, as far as the outer terminal takes it.
    fn show(&mut self, patience: PollTimeout) -> Result<(), HungUp> {
        if self.shown.is_empty() || !is_ready(self.outer.as_fd(), PollFlags::POLLOUT, patience) {
            return Ok(());
        }
        match nix::unistd::write(&self.outer, &self.shown) {
            Ok(count) => drop(self.shown.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => return Err(self.hang_up()),
        }
        Ok(())
    }

    /// Wants nothing more of the outer terminal.
    fn hang_up(&mut self) -> HungUp {
        self.raw = None;
        self.shown.clear();
        HungUp
    }

    /// Shows what those inside have printed last, now that none is left.
    pub(super) fn finish(&mut self) {
        let end = Instant::now() + PATIENCE;
        while !self.shown.is_empty() || self.take_out() {
            let left = end.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            if left == PollTimeout::ZERO || self.show(left).is_err() {
                return;
            }
        }
    }
}

/// Whether one of these has happened, or happens within this time; or the other side is gone.
fn is_ready(fd: BorrowedFd<'_>, events: PollFlags, within: PollTimeout) -> bool {
    let mut fds = [PollFd::new(fd, events)];
    // EINTR is as good as nothing: the caller comes again.
    poll(&mut fds, within).is_ok_and(|count| count > 0)
}

fn read(from: BorrowedFd<'_>, into: &mut Vec<u8>) -> Result<usize, Errno> {
    let before = into.len();
    into.resize(before + CHUNK, 0);
    let result = nix::unistd::read(from, &mut into[before..]);
    into.truncate(before + result.unwrap_or(0));
    result
}
