//! The launcher's side: starts the sandbox's own process, hands it the plan, reads what it says.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};

use super::error::SandboxError;
use super::op::Op;
use super::probe::{self, Host, Rooting};
use super::spec::{Changes, Identity, Limits, SandboxSpec};
use super::streams::{Input, Output, Stdio3};
use super::wire::{Failure, ROLE, Report};
use super::{End, Outcome, gate, plan};
use crate::sys::call::CallError;
use crate::sys::interrupt::{Interrupt, Interrupted};
use crate::sys::socket;

/// How long a sandbox may take to end once it was told to, before its processes are killed one
/// after the other.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much output is read at once: what a pipe holds.
const CHUNK: usize = 64 * 1024;

/// Starts sandboxes, by an executable that calls [`super::become_child_if_asked`] first.
#[derive(Debug)]
pub struct Launcher {
    exe: PathBuf,
    /// Started ahead, for the next sandbox.
    ahead: Mutex<Option<Ahead>>,
    leaving: bool,
}

impl Default for Launcher {
    /// By the executable of this process, wherever it may be by now.
    fn default() -> Self {
        Self::new(PathBuf::from("/proc/self/exe"))
    }
}

impl Launcher {
    /// By another executable: for those who use this as a library, and for tests.
    pub fn new(exe: PathBuf) -> Self {
        Self {
            exe,
            ahead: Mutex::new(None),
            leaving: false,
        }
    }

    /// For a process that ends when its sandbox does. Once the command and whatever it has started
    /// are dead, it is not waited for that the sandbox's own processes end too and the kernel
    /// clears its mounts away, where nothing on the host depends on that.
    #[must_use]
    pub fn leaving(mut self) -> Self {
        self.leaving = true;
        self
    }

    /// Starts the process of the next sandbox, so that it is ready once its plan is. If it is not
    /// needed it ends with this process, or with this launcher.
    ///
    /// Started by root, it is root until it hears more. A process that is about to give up being
    /// root therefore calls [`Launcher::give_up_root`] first; else what was started is not used.
    pub fn start_ahead(&self) -> Result<(), SandboxError> {
        let running = self.start()?;
        *self.ahead() = Some(Ahead {
            running,
            is_root: nix::unistd::geteuid().is_root(),
            become_user: None,
        });
        Ok(())
    }

    /// Makes a process that root has started ahead this user, whoever says what afterwards.
    pub fn give_up_root(&self, identity: Identity) {
        let mut ahead = self.ahead();
        if let Some(process) = ahead.as_mut().filter(|ahead| ahead.is_root) {
            let op = Op::BecomeUser { identity };
            let message = serde_json::to_vec(&[&op]).expect("an operation is plain data");
            process.become_user = Some(op);
            // What has died already is replaced when it is needed.
            if socket::send(process.running.socket.as_fd(), &message, &[]).is_err() {
                *ahead = None;
            }
        }
    }

    fn ahead(&self) -> MutexGuard<'_, Option<Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the command of `spec` in its sandbox and waits until nothing of it is left.
    ///
    /// Call it from a thread that lives as long: the sandbox dies with the thread that made it.
    pub fn run(
        &self,
        spec: &SandboxSpec,
        host: &Host,
        input: Input,
        mut output: Output<'_>,
        interrupt: &Interrupt,
    ) -> Result<Outcome, SandboxError> {
        interrupt.check()?;
        let result = self.attempt(spec, host, input, &mut output, interrupt);
        match result {
            Err(SandboxError::Setup { step, failure })
                if *host.rooting() == Rooting::Overlay && overlay_is_refused(&step, &failure) =>
            {
                let host = host
                    .clone()
                    .with_rooting(probe::without_overlay(host.is_root()));
                self.attempt(spec, &host, input, &mut output, interrupt)
            }
            result => result,
        }
    }

    /// The same for a root whose changes are [`Changes::Discarded`], on any host: where they
    /// cannot be held in memory, they go into the directories that `kept` makes, and the caller
    /// removes them.
    pub fn run_discarding<E: From<SandboxError>>(
        &self,
        spec: &SandboxSpec,
        host: &Host,
        input: Input,
        mut output: Output<'_>,
        interrupt: &Interrupt,
        kept: impl FnOnce() -> Result<Changes, E>,
    ) -> Result<Outcome, E> {
        if host.can_discard() {
            interrupt.check().map_err(SandboxError::from)?;
            match self.attempt(spec, host, input, &mut output, interrupt) {
                Err(SandboxError::Setup { step, failure })
                    if overlay_is_refused(&step, &failure) => {}
                result => return Ok(result?),
            }
        }
        let mut spec = spec.clone();
        spec.root.changes = kept()?;
        Ok(self.run(&spec, host, input, output, interrupt)?)
    }

    fn attempt(
        &self,
        spec: &SandboxSpec,
        host: &Host,
        input: Input,
        output: &mut Output<'_>,
        interrupt: &Interrupt,
    ) -> Result<Outcome, SandboxError> {
        let plan = plan(spec, host)?;
        self.execute(plan, spec.limits, input, output, interrupt)
    }

    /// Executes a plan that leads to no command.
    pub(super) fn try_out(&self, plan: Vec<Op>) -> Result<(), SandboxError> {
        let interrupt = Interrupt::manual().map_err(CallError::new("eventfd", ""))?;
        let limits = Limits {
            wall: PATIENCE,
            memory: u64::MAX,
            processes: u64::MAX,
            file_size: u64::MAX,
            output: 0,
            tmpfs: 0,
        };
        let mut output = Output::Inherit;
        self.execute(plan, limits, Input::Null, &mut output, &interrupt)
            .map(drop)
    }

    fn execute(
        &self,
        mut plan: Vec<Op>,
        limits: Limits,
        input: Input,
        output: &mut Output<'_>,
        interrupt: &Interrupt,
    ) -> Result<Outcome, SandboxError> {
        let stdio = Stdio3::open(input, output)?;
        let started = Instant::now();
        let (mut running, told) = self.running(&mut plan)?;
        let message = serde_json::to_vec(&plan[told..]).expect("a plan is plain data");
        stdio.send(running.socket.as_fd(), &message)?;
        let reader = stdio.into_reader();
        let in_memory = |op: &Op| matches!(op, Op::MountOverlayInMemory { .. });
        let at_report = self.leaving && reader.is_none() && plan.iter().any(in_memory);
        let (report, stop) = running.follow(reader, output, limits, interrupt, at_report);
        let wall = started.elapsed();
        let is_left = at_report && matches!(report, Ok(Some(_)));
        if !is_left {
            running.wait()?;
        }
        if let Some(Stop::Interrupted(interrupted)) = stop {
            return Err(interrupted.into());
        }
        match report? {
            None => match stop {
                None => Err(SandboxError::Died(running.wait()?)),
                Some(stop) => Ok(Outcome {
                    end: stop.end(),
                    wall,
                    cpu: Duration::ZERO,
                    peak_memory: None,
                }),
            },
            Some(Report::Failed { step, failure }) => Err(failed(plan, step, failure)),
            Some(Report::Ended {
                end,
                cpu,
                peak_memory,
            }) => Ok(Outcome {
                end: if stop.is_some() {
                    End::TooMuchOutput
                } else {
                    end
                },
                wall,
                cpu,
                peak_memory: Some(peak_memory),
            }),
        }
    }

    /// The process that is to execute a plan, and how many of its operations it knows already.
    fn running(&self, plan: &mut Vec<Op>) -> Result<(Running, usize), SandboxError> {
        let gives_up_root = matches!(plan.first(), Some(Op::BecomeUser { .. }));
        match self.ahead().take() {
            Some(Ahead {
                running,
                become_user: Some(op),
                ..
            }) if !gives_up_root => {
                plan.insert(0, op);
                Ok((running, 1))
            }
            Some(Ahead {
                running,
                is_root,
                become_user: None,
            }) if is_root == gives_up_root => Ok((running, 0)),
            _ => Ok((self.start()?, 0)),
        }
    }

    /// Without a `pre_exec`, so that the standard library takes `posix_spawn`, which does not copy
    /// this process's page tables, and runs nothing of ours in a copy of a threaded process.
    fn start(&self) -> Result<Running, SandboxError> {
        let (ours, theirs) = socket::pair()?;
        let child = Command::new(&self.exe)
            .arg0(ROLE)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|source| SandboxError::Start {
                exe: self.exe.clone(),
                source,
            })?;
        Ok(Running {
            child,
            socket: ours,
        })
    }
}

/// Whether the kernel refused the kind of mount, not one of the paths.
fn overlay_is_refused(step: &Op, failure: &Failure) -> bool {
    let refusals = [
        Errno::EPERM,
        Errno::EINVAL,
        Errno::ENODEV,
        Errno::EOPNOTSUPP,
        Errno::ENOSYS,
    ];
    matches!(
        step,
        Op::MountOverlay { .. } | Op::MountOverlayInMemory { .. }
    ) && failure
        .errno()
        .is_some_and(|errno| refusals.contains(&errno))
}

fn failed(mut plan: Vec<Op>, step: usize, failure: Failure) -> SandboxError {
    let step = Box::new(plan.swap_remove(step));
    if let Some(gate) = gate::of(&step, &failure, gate::Settings::read()) {
        return SandboxError::Host {
            gate,
            step,
            failure,
        };
    }
    if matches!(*step, Op::Execute { .. }) {
        return SandboxError::Command(failure);
    }
    SandboxError::Setup { step, failure }
}

/// Why the launcher ended the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Interrupted(Interrupted),
    TooMuchOutput,
    /// pid 1 keeps the time, but only once there is one that watches.
    TimedOut,
}

impl Stop {
    fn end(self) -> End {
        match self {
            Self::TooMuchOutput => End::TooMuchOutput,
            Self::Interrupted(_) | Self::TimedOut => End::TimedOut,
        }
    }
}

#[derive(Debug)]
struct Ahead {
    running: Running,
    /// Whether root has started it.
    is_root: bool,
    /// What it was told when that root became someone else.
    become_user: Option<Op>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    socket: OwnedFd,
}

impl Running {
    /// Reads what the command prints and what the sandbox reports, until both have ended, or only
    /// until the report.
    fn follow(
        &mut self,
        mut reader: Option<OwnedFd>,
        output: &mut Output<'_>,
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
            let ready = self.poll(reader.as_ref(), interrupt, told.is_some(), next);
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
                let _ = self.child.kill(); // and with it, by their parent-death signals, the rest
                told = Some(Instant::now());
            }
            if !ready.report {
                continue;
            }
            match receive(self.socket.as_fd()) {
                Ok(Some(first)) => {
                    report.get_or_insert(first);
                    if at_report {
                        return (Ok(report), stop);
                    }
                }
                Ok(None) => {
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
        // EINTR is a signal's doing, and then `interrupt` tells.
        let _ = poll(&mut fds, patience);
        let is_ready = |fd: Option<&PollFd<'_>>| fd.and_then(PollFd::any).unwrap_or(false);
        Ready {
            report: is_ready(fds.first()),
            output: is_ready(fds.get(2)),
        }
    }

    /// Tells pid 1 to end everything.
    fn end(&self) {
        // It fails only if the other side is gone, which is what is wanted.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    fn wait(&mut self) -> Result<std::process::ExitStatus, SandboxError> {
        self.child
            .wait()
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
            .map_err(|errno| CallError::new("waitpid", self.child.id())(errno).into())
    }
}

struct Ready {
    report: bool,
    output: bool,
}

fn receive(socket: BorrowedFd<'_>) -> Result<Option<Report>, SandboxError> {
    let Some((message, _)) = socket::receive(socket)? else {
        return Ok(None);
    };
    serde_json::from_slice(&message)
        .map(Some)
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
