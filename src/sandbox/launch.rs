//! The launcher's side: plans, starts the sandbox's own process, hands it the plan, judges how it
//! ended.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::error::SandboxError;
use super::op::Op;
use super::plan::namespaces;
use super::probe::{self, Host, Rooting};
use super::relay::Relay;
use super::running::{PATIENCE, Running, Stop};
use super::spec::{Changes, Identity, Limits, Network, SandboxSpec};
use super::streams::{Input, Output, Stdio3};
use super::wire::{Failure, Report};
use super::{End, Outcome, Owners, gate, plan};
use crate::sys::call::CallError;
use crate::sys::interrupt::Interrupt;
use crate::sys::socket;

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

    /// Starts the process of the next sandbox, and has it make the namespaces, so that it is ready
    /// once the rest of its plan is. If it is not needed, or turns out to have made what the plan
    /// does not want, it ends with this process, or before this launcher does.
    ///
    /// It is soonest ready if this is called while this process still has one thread. Started by
    /// root, it is root until it hears more. A process that is about to give up being root
    /// therefore calls [`Launcher::give_up_root`] first; else what was started is not used.
    pub fn start_ahead(&self, inside: Identity, network: Network) -> Result<(), SandboxError> {
        let running = match Running::fork()? {
            Some(running) => running,
            None => Running::start(&self.exe)?,
        };
        let is_root = nix::unistd::geteuid().is_root();
        let mut ahead = Ahead {
            running,
            is_root,
            told: Vec::new(),
            inside,
            network,
        };
        if !is_root && let Err(error) = ahead.tell(Vec::new(), probe::this_process()) {
            ahead.running.give_up();
            return Err(error);
        }
        *self.ahead() = Some(ahead);
        Ok(())
    }

    /// Makes a process that root has started ahead this user, whoever says what afterwards.
    pub fn give_up_root(&self, identity: Identity) {
        let mut ahead = self.ahead();
        if let Some(process) = ahead.as_mut().filter(|ahead| ahead.is_root) {
            // What has died already is replaced when it is needed.
            let ops = vec![Op::BecomeUser { identity }];
            if process.tell(ops, identity).is_err() {
                process.running.give_up();
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
        let terminal = plan.iter().find_map(|op| match op {
            Op::OpenTerminal { terminal } => Some(terminal),
            _ => None,
        });
        let stdio = Stdio3::open(input, output, terminal)?;
        let mut relay = terminal.map(Relay::new).transpose()?;
        let started = Instant::now();
        let (mut running, told) = self.running(&mut plan)?;
        let message = serde_json::to_vec(&plan[told..]).expect("a plan is plain data");
        stdio.send(running.socket(), &message)?;
        let reader = stdio.into_reader();
        let in_memory = |op: &Op| matches!(op, Op::MountOverlayInMemory { .. });
        let at_report = self.leaving && reader.is_none() && plan.iter().any(in_memory);
        let (report, stop) =
            running.follow(reader, output, relay.as_mut(), limits, interrupt, at_report);
        // Whatever is told from here on is told at a terminal that is as it was.
        drop(relay);
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
                    owners: Owners::Pretended,
                }),
            },
            Some(Report::Failed { step, failure }) => Err(failed(plan, step, failure)),
            Some(Report::Ended {
                end,
                cpu,
                peak_memory,
                owners,
            }) => Ok(Outcome {
                end: if stop.is_some() {
                    End::TooMuchOutput
                } else {
                    end
                },
                wall,
                cpu,
                peak_memory: Some(peak_memory),
                owners,
            }),
        }
    }

    /// The process that is to execute a plan, and how many of its operations it knows already.
    fn running(&self, plan: &mut Vec<Op>) -> Result<(Running, usize), SandboxError> {
        if let Some(mut ahead) = self.ahead().take() {
            if is_followed(&ahead.told, ahead.is_root, plan) {
                return Ok((ahead.running, ahead.told.len()));
            }
            ahead.running.give_up();
        }
        Ok((Running::start(&self.exe)?, 0))
    }
}

impl Drop for Launcher {
    /// What was not needed leaves no process behind.
    fn drop(&mut self) {
        if let Some(mut ahead) = self.ahead().take() {
            ahead.running.give_up();
        }
    }
}

/// Whether a plan goes on from what a process started ahead was told. If that process was root and
/// is no longer, it has done one thing more than a plan asks that was made by who is not: this is
/// put before the plan.
fn is_followed(told: &[Op], by_root: bool, plan: &mut Vec<Op>) -> bool {
    let gives_up_root = matches!(plan.first(), Some(Op::BecomeUser { .. }));
    if told.is_empty() {
        return by_root == gives_up_root;
    }
    match told {
        [first @ Op::BecomeUser { .. }, rest @ ..] if !gives_up_root && plan.starts_with(rest) => {
            plan.insert(0, first.clone());
            true
        }
        told => plan.starts_with(told),
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

#[derive(Debug)]
struct Ahead {
    running: Running,
    /// Whether root has started it.
    is_root: bool,
    /// The beginning of every plan that it can be used for.
    told: Vec<Op>,
    inside: Identity,
    network: Network,
}

impl Ahead {
    /// Tells it to make the namespaces, after `ops`, as which it is this user.
    fn tell(&mut self, mut ops: Vec<Op>, outside: Identity) -> Result<(), SandboxError> {
        let cgroup = probe::has_cgroup_namespaces();
        ops.extend(namespaces(self.inside, outside, self.network, cgroup));
        let message = serde_json::to_vec(&ops).expect("operations are plain data");
        socket::send(self.running.socket(), &message, &[])?;
        self.told = ops;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Identity = Identity {
        uid: 65534,
        gid: 65534,
    };

    fn beginning(outside: Identity, network: Network) -> Vec<Op> {
        namespaces(Identity::BUILDER, outside, network, true)
    }

    #[test]
    fn what_was_started_ahead_is_used_for_plans_that_go_on_from_it() {
        let user = Op::BecomeUser { identity: NOBODY };
        let mine = beginning(NOBODY, Network::None);
        let by_user = [mine.clone(), vec![Op::BecomeInit]].concat();
        let by_root = [vec![user.clone()], by_user.clone()].concat();
        let told_by_root = [vec![user], mine.clone()].concat();
        let other = beginning(NOBODY, Network::Host);
        // (started by root, what it was told, the plan, how many operations come before the plan's)
        let table = [
            ("a user's", false, mine.clone(), &by_user, Some(0)),
            (
                "root's that is a user now",
                true,
                told_by_root.clone(),
                &by_user,
                Some(1),
            ),
            ("root's that told it", true, told_by_root, &by_root, Some(0)),
            (
                "root's that said nothing",
                true,
                Vec::new(),
                &by_root,
                Some(0),
            ),
            ("root's, for a user", true, Vec::new(), &by_user, None),
            ("another network", false, other, &by_user, None),
            ("a user's, for root", false, mine, &by_root, None),
        ];
        for (what, is_root, told, plan, used) in table {
            let mut made = plan.clone();
            let followed = is_followed(&told, is_root, &mut made);
            assert_eq!(followed, used.is_some(), "{what}");
            assert_eq!(made.len() - plan.len(), used.unwrap_or(0), "{what}");
            assert!(!followed || made.starts_with(&told), "{what}");
        }
    }
}
