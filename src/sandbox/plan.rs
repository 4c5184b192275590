//! From what is asked for to the operations that make it true: pure.

use std::path::{Path, PathBuf};

use super::op::{Capability, FileSystem, Namespace, Op};
use super::probe::{Host, Rooting};
use super::spec::{
    Bind, Changes, Command, Identity, Limits, Network, Privileges, Root, SandboxSpec, Terminal,
};
use crate::model::GuestPath;

/// The name of every sandbox's host.
const HOSTNAME: &str = "pybuild";
/// Enough that the kernel's OOM killer takes a build before a service, or a person's editor.
const OOM_SCORE: u16 = 500;
/// What builds get by default on a desktop; some loop over all of them.
const DESCRIPTORS: u64 = 4096;
/// Room for a few names and no more: `/dev` holds no files.
const DEV_SIZE: u64 = 64 * 1024;

const SYS_SIZE: u64 = 4096;

/// What in `/proc` concerns the host, not the sandbox's processes: to be read, not written.
const PROTECTED: [&str; 5] = [
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
];
/// What in `/proc` tells too much of the host. The files that only the host's root can read
/// (`kmsg`, `kpageflags` and their like) need no mask, since the sandbox is never that; `kcore`
/// has one all the same.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
];
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];
const DEV_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// What dpkg and the scripts it runs use within their own user namespace.
const PREPARING: [Capability; 9] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::SysChroot,
    Capability::Setfcap,
];

/// Why what is asked for cannot be a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A root file system without a layer.
    #[error("the root file system has no layer")]
    NoLayer,
    /// Changes to be discarded, on a host that cannot hold them in memory.
    #[error("this host cannot hold a root's changes in memory")]
    CannotDiscard,
    /// Nothing to run.
    #[error("the command is empty")]
    NoCommand,
    /// A path of the host that is relative: it would mean something else to another process.
    #[error("{} is not an absolute path of the host", .0.display())]
    Relative(PathBuf),
    /// A bind on something that the sandbox needs as it is.
    #[error("nothing can be bound to {0}")]
    Target(GuestPath),
    /// An argument or a variable that no process can be given.
    #[error("{0:?} cannot be an argument or a variable of a process")]
    Text(String),
    /// The plan would make root of the host appear in the sandbox.
    #[error("the sandbox would be root on the host")]
    Root,
}

/// The operations that make `spec` true on `host`, in order.
pub fn plan(spec: &SandboxSpec, host: &Host) -> Result<Vec<Op>, PlanError> {
    let SandboxSpec {
        root,
        binds,
        identity,
        privileges,
        network,
        limits,
        terminal,
        command,
    } = spec;
    check_command(command)?;
    let mut ops = Vec::with_capacity(64);
    plan_namespaces(&mut ops, *identity, *network, host)?;
    ops.push(Op::MakeMountsPrivate);
    ops.push(plan_root(root, limits.tmpfs, host)?);
    plan_proc(&mut ops);
    // Empty: the host's devices and drivers are no concern of a build's. Mounted all the same, so
    // that a symlink in its place is refused like the others.
    ops.push(mount(tmpfs(SYS_SIZE, 0o555, false), "/sys"));
    plan_dev(&mut ops, limits);
    ops.push(mount(tmpfs(limits.tmpfs, 0o1777, true), "/tmp"));
    for bind in binds {
        ops.push(plan_bind(bind)?);
    }
    ops.push(Op::PivotRoot);
    plan_rights(&mut ops, *privileges, *network, host);
    plan_command(&mut ops, *privileges, limits, terminal.as_ref(), command);
    Ok(ops)
}

fn plan_namespaces(
    ops: &mut Vec<Op>,
    inside: Identity,
    network: Network,
    host: &Host,
) -> Result<(), PlanError> {
    let outside = host.outside();
    if outside.uid == 0 || outside.gid == 0 {
        return Err(PlanError::Root);
    }
    if host.is_root() {
        ops.push(Op::BecomeUser { identity: outside });
    }
    let cgroup = host.has_cgroup_namespaces();
    ops.extend(namespaces(inside, outside, network, cgroup));
    ops.push(Op::BecomeInit);
    Ok(())
}

/// The kinds of namespaces that a sandbox has of its own.
pub(super) fn own_namespaces(network: Network, cgroup: bool) -> Vec<Namespace> {
    let mut namespaces = vec![
        Namespace::User,
        Namespace::Mount,
        Namespace::Pid,
        Namespace::Ipc,
        Namespace::Uts,
    ];
    if cgroup {
        namespaces.push(Namespace::Cgroup);
    }
    if network == Network::None {
        namespaces.push(Namespace::Network);
    }
    namespaces
}

/// The first steps of every plan, which ask nothing of the rest: from an ordinary user's process to
/// one in namespaces of its own.
pub(super) fn namespaces(
    inside: Identity,
    outside: Identity,
    network: Network,
    cgroup: bool,
) -> Vec<Op> {
    let mut ops = vec![
        Op::TieToLauncher {
            oom_score: OOM_SCORE,
        },
        Op::Unshare {
            namespaces: own_namespaces(network, cgroup),
        },
        Op::MapIdentity { inside, outside },
        Op::SetHostname {
            name: HOSTNAME.to_owned(),
        },
    ];
    if network == Network::None {
        ops.push(Op::RaiseLoopback);
    }
    ops
}

fn plan_root(root: &Root, size: u64, host: &Host) -> Result<Op, PlanError> {
    let Root { layers, changes } = root;
    if layers.is_empty() {
        return Err(PlanError::NoLayer);
    }
    for path in layers {
        check_absolute(path)?;
    }
    let layers = layers.clone();
    let (upper, work) = match changes {
        Changes::Discarded if host.can_discard() => {
            return Ok(Op::MountOverlayInMemory { layers, size });
        }
        Changes::Discarded => return Err(PlanError::CannotDiscard),
        Changes::Kept { upper, work } => (upper.clone(), work.clone()),
    };
    check_absolute(&upper)?;
    check_absolute(&work)?;
    Ok(match host.rooting() {
        Rooting::Overlay => Op::MountOverlay {
            layers,
            upper,
            work,
        },
        Rooting::Fuse { program } => Op::MountFuseOverlay {
            program: program.clone(),
            layers,
            upper,
            work,
        },
        Rooting::Copy => Op::CopyLayers {
            layers,
            upper,
            work,
        },
    })
}

fn plan_proc(ops: &mut Vec<Op>) {
    ops.push(mount(FileSystem::Proc, "/proc"));
    ops.extend(PROTECTED.map(|path| Op::Protect {
        target: guest(path),
    }));
    ops.extend(MASKED.map(|path| Op::Mask {
        target: guest(path),
    }));
}

fn plan_dev(ops: &mut Vec<Op>, limits: &Limits) {
    ops.push(mount(tmpfs(DEV_SIZE, 0o755, false), "/dev"));
    ops.extend(DEVICES.map(|name| Op::ShowDevice {
        target: guest(&format!("/dev/{name}")),
    }));
    ops.extend(DEV_LINKS.map(|(name, to)| Op::Link {
        target: guest(&format!("/dev/{name}")),
        to: to.to_owned(),
    }));
    ops.push(mount(FileSystem::DevPts, "/dev/pts"));
    ops.push(mount(tmpfs(limits.tmpfs, 0o1777, true), "/dev/shm"));
    ops.push(Op::Finish {
        target: guest("/dev"),
    });
}

fn plan_bind(bind: &Bind) -> Result<Op, PlanError> {
    let Bind {
        source,
        target,
        access,
    } = bind;
    check_absolute(source)?;
    let taken = ["/proc", "/sys", "/dev"]
        .iter()
        .any(|path| target.is_within(&guest(path)))
        || ["/", "/tmp"].contains(&target.as_str());
    if taken {
        return Err(PlanError::Target(target.clone()));
    }
    Ok(Op::Bind {
        source: source.clone(),
        target: target.clone(),
        access: *access,
    })
}

fn plan_rights(ops: &mut Vec<Op>, privileges: Privileges, network: Network, host: &Host) {
    let keep = match privileges {
        Privileges::Build => Vec::new(),
        Privileges::Prepare => PREPARING.to_vec(),
    };
    ops.push(Op::KeepCapabilities { keep });
    ops.push(Op::NoNewPrivileges);
    // Abstract sockets belong to the network namespace: only the host's has any to hide.
    if network == Network::Host && host.can_scope() {
        ops.push(Op::ScopeSockets);
    }
}

fn plan_command(
    ops: &mut Vec<Op>,
    privileges: Privileges,
    limits: &Limits,
    terminal: Option<&Terminal>,
    command: &Command,
) {
    let Limits {
        wall,
        memory,
        processes,
        file_size,
        output: _, // counted by the launcher, who reads it
        tmpfs: _,  // given to each tmpfs
    } = *limits;
    ops.push(Op::StartCommand { wall, memory });
    ops.push(Op::NewSession);
    ops.extend(
        terminal
            .cloned()
            .map(|terminal| Op::OpenTerminal { terminal }),
    );
    ops.push(Op::LimitResources {
        processes,
        file_size,
        // Twice the limit, so that it is pid 1 who finds that the limit is reached, and says so;
        // this only stops what is too quick for it.
        data: memory.saturating_mul(2),
        descriptors: DESCRIPTORS,
    });
    ops.push(Op::FilterCalls { privileges });
    let Command { argv, env, cwd } = command.clone();
    ops.push(Op::Execute { argv, env, cwd });
}

fn check_command(command: &Command) -> Result<(), PlanError> {
    let Command { argv, env, cwd: _ } = command;
    if argv.first().is_none_or(String::is_empty) {
        return Err(PlanError::NoCommand);
    }
    for text in argv.iter().chain(env.values()).chain(env.keys()) {
        if text.contains('\0') {
            return Err(PlanError::Text(text.clone()));
        }
    }
    for name in env.keys() {
        if name.is_empty() || name.contains('=') {
            return Err(PlanError::Text(name.clone()));
        }
    }
    Ok(())
}

fn check_absolute(path: &Path) -> Result<(), PlanError> {
    if path.is_absolute() {
        Ok(())
    } else {
        Err(PlanError::Relative(path.to_owned()))
    }
}

fn mount(kind: FileSystem, target: &str) -> Op {
    Op::Mount {
        kind,
        target: guest(target),
    }
}

fn tmpfs(size: u64, mode: u16, executable: bool) -> FileSystem {
    FileSystem::Tmpfs {
        size,
        mode,
        executable,
    }
}

/// A path of this file's own.
fn guest(path: &str) -> GuestPath {
    path.parse().expect("an absolute path")
}

#[cfg(test)]
mod tests;
