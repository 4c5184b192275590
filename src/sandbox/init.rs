//! pid 1 of a sandbox: reaps, watches the clock, the memory and the launcher, and ends everything.
//!
//! It has to do nothing to end everything but end itself: the kernel then kills every process of
//! the pid namespace, and nothing in there can hide from that.

use std::convert::Infallible;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeVal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::supervisor::Supervisor;
use super::wire::{Failure, Message, Report};
use super::{End, Owners};
use crate::sys::call::CallError;
use crate::sys::{process, socket};

/// The pause between two looks at the memory: short when little is left, so that nothing that
/// touches pages as fast as a machine can gets far beyond the limit.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Bytes a millisecond that processes may touch at most: a few cores faulting huge pages in.
const FASTEST: u64 = 8 << 20;

/// As pid 1: gives the launcher a descriptor of this process. Before Linux 5.3, and where a filter
/// denies the call, there is none.
pub(super) fn introduce(launcher: BorrowedFd<'_>) {
    if let Ok(this) = process::descriptor(nix::unistd::getpid()) {
        // If the launcher is gone, so is this soon.
        let _ = Message::Init.send(launcher, Some(this.as_fd()));
    }
}

/// Forks: the child becomes the command; the parent is pid 1 until the end. Returns only failures.
///
/// With a `listener`, what one uid cannot do is written down by pid 1, if the child sends there by
/// what descriptor such calls are announced.
pub(super) fn start_command(
    launcher: BorrowedFd<'_>,
    wall: Duration,
    memory: u64,
    listener: Option<OwnedFd>,
    become_command: &mut dyn FnMut() -> Infallible,
) -> Result<Infallible, Failure> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD); // blocked, like all others
    let children = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(CallError::new("signalfd", "SIGCHLD"))?;
    let command = process::fork_sharing(become_command)?;
    let (supervisor, owners) = supervise(listener);
    let mut watch = Watch {
        launcher,
        children,
        command,
        started: Instant::now(),
        wall,
        memory: MemoryWatch::new(memory),
        supervisor,
        owners,
    };
    loop {
        match watch.turn() {
            Ok(None) => {}
            Ok(Some(end)) => {
                // So that what is reported holds of all, and the launcher may go when it hears it.
                process::kill_all_others();
                watch.report(end).send(launcher);
                break;
            }
            Err(Gone) => break,
        }
    }
    process::exit_now(0)
}

/// Who answers the calls that the command cannot make, and what became of them if nobody does. The
/// command's child is done with its filter by now: what it has sent is there.
fn supervise(listener: Option<OwnedFd>) -> (Option<Supervisor>, Owners) {
    let Some(listener) = listener else {
        return (None, Owners::Denied);
    };
    let mut sent = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let received = match poll(&mut sent, PollTimeout::ZERO) {
        Ok(1) => socket::receive(listener.as_fd()).ok().flatten(),
        _ => None,
    };
    let calls = received.and_then(|(_, fds)| fds.into_iter().next());
    (calls.and_then(Supervisor::new), Owners::Pretended)
}

/// The launcher has ended, or wants this to end.
struct Gone;

struct Watch<'s> {
    launcher: BorrowedFd<'s>,
    children: SignalFd,
    command: Pid,
    started: Instant,
    wall: Duration,
    memory: MemoryWatch,
    supervisor: Option<Supervisor>,
    /// What became of owners, if nobody has written them down.
    owners: Owners,
}

impl Watch<'_> {
    /// Sleeps until there is something to do, and does it; says how the command has ended once it
    /// has.
    fn turn(&mut self) -> Result<Option<End>, Gone> {
        let elapsed = self.started.elapsed();
        let pause = self
            .wall
            .saturating_sub(elapsed)
            .min(self.memory.pause(elapsed));
        // Rounded up, so as not to wake a little too early and spin.
        let pause =
            PollTimeout::try_from(pause + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        let calls = self.supervisor.as_ref().map(Supervisor::fd);
        let mut fds = [
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.launcher, PollFlags::POLLIN),
            // In the place of one that is not there: the launcher's, waiting for nothing.
            match calls {
                Some(calls) => PollFd::new(calls, PollFlags::POLLIN),
                None => PollFd::new(self.launcher, PollFlags::empty()),
            },
        ];
        // EINTR cannot happen (every signal is blocked), and would only mean one turn more.
        let _ = poll(&mut fds, pause);
        let [children, launcher, calls] = fds.map(|fd| fd.any().unwrap_or(false));
        if launcher {
            // It says nothing more, so this is the end of the connection.
            return Err(Gone);
        }
        // One call a turn, so that nobody keeps this from all else.
        if calls
            && let Some(supervisor) = &mut self.supervisor
            && !supervisor.serve()
        {
            self.owners = supervisor.owners();
            self.supervisor = None;
        }
        if children && let Some(end) = self.reap() {
            return Ok(Some(end));
        }
        let elapsed = self.started.elapsed();
        if elapsed >= self.wall {
            return Ok(Some(End::TimedOut));
        }
        if self.memory.is_exceeded(elapsed) {
            return Ok(Some(End::OutOfMemory));
        }
        Ok(None)
    }

    fn reap(&mut self) -> Option<End> {
        while let Ok(Some(_)) = self.children.read_signal() {}
        while let Ok(Some((pid, status))) = process::reap() {
            let end = match status {
                WaitStatus::Exited(_, code) => End::Exited(code),
                WaitStatus::Signaled(_, signal, _) => End::Killed(signal as i32),
                _ => continue,
            };
            if pid == self.command {
                return Some(end);
            }
        }
        None
    }

    fn report(&self, end: End) -> Report {
        let (cpu, biggest) = getrusage(UsageWho::RUSAGE_CHILDREN).map_or((0, 0), |usage| {
            let micros = |time: TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
            let cpu = micros(usage.user_time()) + micros(usage.system_time());
            (cpu, usage.max_rss() * 1024)
        });
        Report::Ended {
            end,
            cpu: Duration::from_micros(u64::try_from(cpu).unwrap_or(0)),
            peak_memory: self.memory.peak.max(u64::try_from(biggest).unwrap_or(0)),
            owners: self
                .supervisor
                .as_ref()
                .map_or(self.owners, Supervisor::owners),
        }
    }
}

/// Adds up, now and then, what all processes use.
struct MemoryWatch {
    limit: u64,
    peak: u64,
    /// When to look next, since the start.
    due: Duration,
}

impl MemoryWatch {
    fn new(limit: u64) -> Self {
        Self {
            limit,
            peak: 0,
            due: pause_before_next(limit, 0),
        }
    }

    fn pause(&self, elapsed: Duration) -> Duration {
        self.due.saturating_sub(elapsed)
    }

    fn is_exceeded(&mut self, elapsed: Duration) -> bool {
        if elapsed < self.due {
            return false;
        }
        // Resident sets count what processes share once for each of them, but cost nothing to
        // read; the proportional ones are exact, but the kernel walks every page table for them.
        let mut used = total(resident);
        if used > self.limit {
            used = total(proportional);
        }
        self.peak = self.peak.max(used);
        self.due = elapsed + pause_before_next(self.limit, used);
        used > self.limit
    }
}

fn pause_before_next(limit: u64, used: u64) -> Duration {
    let left = limit.saturating_sub(used);
    Duration::from_millis(left / FASTEST).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// The sum of `measure` over all processes but this one.
fn total(measure: fn(u32) -> Option<u64>) -> u64 {
    let Ok(entries) = fs::read_dir("/proc") else {
        return 0;
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != 1)
        .filter_map(measure)
        .sum()
}

/// Bytes of a process that are in memory: `proc_pid_statm(5)`, the second number, in pages.
fn resident(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size())
}

/// The same, but what several processes share is divided among them.
fn proportional(pid: u32) -> Option<u64> {
    let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
        return resident(pid); // a kernel before 4.14, or a process that hides itself
    };
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn page_size() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}
