//! The sandbox's own process, seen from outside: started, listened to, ended.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;

use super::error::SandboxError;
use super::relay::{HungUp, Relay};
use super::spec::Limits;
use super::streams::Output;
use super::wire::{Message, ROLE, Report};
use super::{End, child};
use crate::sys::call::CallError;
use crate::sys::interrupt::{Interrupt, Interrupted};
use crate::sys::{process, socket};

/// How long a sandbox may take to end once it was told to, before it is killed.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How much output is read at once: what a pipe holds.
const CHUNK: usize = 64 * 1024;

/// Why the launcher ended the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Interrupted(Interrupted),
    TooMuchOutput,
    /// pid 1 keeps the time, but only once there is one that watches.
    TimedOut,
}

impl Stop {
    pub(super) fn end(self) -> End {
        match self {
            Self::TooMuchOutput => End::TooMuchOutput,
            Self::Interrupted(_) | Self::TimedOut => End::TimedOut,
        }
    }
}

/// The sandbox's own process, and the connection to it.
#[derive(Debug)]
pub(super) struct Running {
    pid: Pid,
    socket: OwnedFd,
    /// pid 1, once there is one and the kernel has descriptors for processes.
    init: Option<OwnedFd>,
    /// Once it has ended and was waited for.
    status: Option<ExitStatus>,
}

impl Running {
    /// By executing a program that calls [`super::become_child_if_asked`] first.
    ///
    /// Without a `pre_exec`, so that the standard library takes `posix_spawn`, which does not copy
    /// this process's page tables, and runs nothing of ours in a copy of a threaded process.
    pub(super) fn start(exe: &Path) -> Result<Self, SandboxError> {
        let (ours, theirs) = socket::pair()?;
        let child = Command::new(exe)
            .arg0(ROLE)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|source| SandboxError::Start {
                exe: exe.to_owned(),
                source,
            })?;
        let pid = i32::try_from(child.id()).expect("a pid is positive");
        Ok(Self::new(Pid::from_raw(pid), ours))
    }

    /// As a copy of this process, if it has but one thread: so it is ready when an executable of
    /// this size would still be loaded.
    pub(super) fn fork() -> Result<Option<Self>, SandboxError> {
        if process::threads() != Some(1) {
            return Ok(None);
        }
        let (ours, theirs) = socket::pair()?;
        Ok(match process::fork()? {
            None => child::become_child(&theirs),
            Some(pid) => Some(Self::new(pid, ours)),
        })
    }

    fn new(pid: Pid, socket: OwnedFd) -> Self {
        Self {
            pid,
            socket,
            init: None,
            status: None,
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what the command prints and what the sandbox reports, until both have ended, or only
    /// until the report.
    pub(super) fn follow(
        &mut self,
        mut reader: Option<OwnedFd>,
        output: &mut Output<'_>,
        mut relay: Option<&mut Relay>,
        limits: Limits,
        interrupt: &Interrupt,
        at_report: bool,
    ) -> (Result<Option<Report>, SandboxError>, Option<Stop>) {
        let mut report = None;
        let mut stop = None;
        let mut told: Option<Instant> = None;
        let mut left = limits.output;
        let overdue = Instant::now().checked_add(limits.wall.saturating_add(PATIENCE));
        let mut buffer = vec![0; if reader.is_some() { CHUNK } else { 0 }];
        loop {
            let next = told.map_or(overdue, |told| Some(told + PATIENCE));
            let ready = self.poll(
                reader.as_ref(),
                relay.as_deref(),
                interrupt,
                told.is_some(),
                next,
            );
            if let Some(Err(HungUp)) = relay.as_mut().map(|relay| relay.turn())
                && stop.is_none()
            {
                stop = Some(Stop::Interrupted(Interrupted(Signal::SIGHUP)));
            }
            if ready.output
                && let Some(fd) = &reader
            {
                match nix::unistd::read(fd, &mut buffer) {
                    Ok(0) => reader = None,
                    Ok(count) => {
                        let taken = count.min(usize::try_from(left).unwrap_or(usize::MAX));
                        if stop.is_none()
                            && let Output::Lines(take) = output
                        {
                            take(&buffer[..taken]);
                        }
                        left -= taken as u64;
                        if taken < count && stop.is_none() {
                            stop = Some(Stop::TooMuchOutput);
                        }
                    }
                    Err(Errno::EINTR) => {}
                    Err(_) => reader = None,
                }
            }
            if stop.is_none()
                && let Some(signal) = interrupt.raised()
            {
                stop = Some(Stop::Interrupted(Interrupted(signal)));
            }
            if stop.is_none() && overdue.is_some_and(|overdue| Instant::now() > overdue) {
                stop = Some(Stop::TimedOut);
            }
            if stop.is_some() && told.is_none() {
                self.end();
                told = Some(Instant::now());
            }
            if told.is_some_and(|told| told.elapsed() > PATIENCE) {
                let _ = kill(self.pid, Signal::SIGKILL); // and with it, by their parent-death signals, the rest
                told = Some(Instant::now());
            }
            if !ready.report {
                continue;
            }
            match receive(self.socket.as_fd()) {
                Ok(Some((Message::Init, fds))) => self.init = fds.into_iter().next(),
                Ok(Some((Message::Terminal, fds))) => {
                    let connected = relay.as_mut().zip(fds.into_iter().next());
                    let connected = connected.map(|(relay, fd)| relay.connect(fd));
                    if let Some(Err(error)) = connected {
                        self.end();
                        return (Err(error.into()), stop);
                    }
                }
                Ok(Some((Message::Over(first), _))) => {
                    report.get_or_insert(first);
                    if let Some(relay) = &mut relay {
                        relay.finish();
                    }
                    if at_report {
                        return (Ok(report), stop);
                    }
                }
                Ok(None) => {
                    self.wait_for_all();
                    // Everyone is dead, and cannot write more; whoever else might hold the pipe
                    // is not waited for.
                    if let Some(fd) = reader {
                        drain(&fd, &mut buffer, left, output, stop.is_none());
                    }
                    return (Ok(report), stop);
                }
                Err(error) => return (Err(error), stop),
            }
        }
    }

    /// Sleeps until something is to be read, the work should stop, or it is time to look again.
    fn poll(
        &self,
        reader: Option<&OwnedFd>,
        relay: Option<&Relay>,
        interrupt: &Interrupt,
        is_told: bool,
        next: Option<Instant>,
    ) -> Ready {
        // Once the sandbox was told to end, the wish to stop is known and would only keep poll
        // from sleeping.
        let wish = if is_told {
            PollFlags::empty()
        } else {
            PollFlags::POLLIN
        };
        let patience = next.map_or(PollTimeout::NONE, |next| {
            let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(interrupt.fd(), wish),
        ];
        if let Some(reader) = reader {
            fds.push(PollFd::new(reader.as_fd(), PollFlags::POLLIN));
        }
        let patience = match relay.map(|relay| relay.watch(&mut fds)) {
            Some(Some(soon)) => patience.min(soon),
            _ => patience,
        };
        // EINTR is a signal's doing, and then `interrupt` tells.
        let _ = poll(&mut fds, patience);
        let is_ready = |fd: Option<&PollFd<'_>>| fd.and_then(PollFd::any).unwrap_or(false);
        Ready {
            report: is_ready(fds.first()),
            output: reader.is_some() && is_ready(fds.get(2)),
        }
    }

    /// Tells pid 1 to end everything.
    fn end(&self) {
        // It fails only if the other side is gone, which is what is wanted.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    /// The connection ends when those who hold it have ended. If the parent of pid 1 was killed, here
    /// or by whomever, that is before the kernel is done with all whom pid 1 leaves.
    fn wait_for_all(&self) {
        let Some(init) = &self.init else { return };
        let mut fds = [PollFd::new(init.as_fd(), PollFlags::POLLIN)];
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
    }

    /// Tells a process that was told no command that there will be none, and waits until it has
    /// ended. It is not killed: it may be root still, and this process no longer.
    pub(super) fn give_up(&mut self) {
        self.end();
        // It fails only if it was waited for already.
        let _ = self.wait();
    }

    /// Waits until the process has ended.
    pub(super) fn wait(&mut self) -> Result<ExitStatus, SandboxError> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let status = process::wait(self.pid)?;
        self.status = Some(status);
        Ok(status)
    }
}

struct Ready {
    report: bool,
    output: bool,
}

fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Message, Vec<OwnedFd>)>, SandboxError> {
    let Some((message, fds)) = socket::receive(socket)? else {
        return Ok(None);
    };
    serde_json::from_slice(&message)
        .map(|message| Some((message, fds)))
        .map_err(|_| CallError::new("recvmsg", message.len())(Errno::EPROTO).into())
}

/// Reads what is still in the pipe, without waiting for more.
fn drain(fd: &OwnedFd, buffer: &mut [u8], mut left: u64, output: &mut Output<'_>, wanted: bool) {
    if !wanted || fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_err() {
        return;
    }
    while let Ok(count @ 1..) = nix::unistd::read(fd, buffer) {
        let taken = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        if let Output::Lines(take) = output {
            take(&buffer[..taken]);
        }
        left -= taken as u64;
    }
}
