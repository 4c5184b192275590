//! From what is asked for to the operations that make it true: pure.

use std::path::{Path, PathBuf};

use super::op::{Capability, FileSystem, Namespace, Op};
use super::probe::{Host, Rooting};
use super::spec::{
    Bind, Changes, Command, Identity, Limits, Network, Privileges, Root, SandboxSpec,
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
    plan_command(&mut ops, *privileges, limits, command);
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
    ops.push(Op::TieToLauncher {
        oom_score: OOM_SCORE,
    });
    let mut namespaces = vec![
        Namespace::User,
        Namespace::Mount,
        Namespace::Pid,
        Namespace::Ipc,
        Namespace::Uts,
    ];
    if host.has_cgroup_namespaces() {
        namespaces.push(Namespace::Cgroup);
    }
    if network == Network::None {
        namespaces.push(Namespace::Network);
    }
    ops.push(Op::Unshare { namespaces });
    ops.push(Op::MapIdentity { inside, outside });
    ops.push(Op::SetHostname {
        name: HOSTNAME.to_owned(),
    });
    if network == Network::None {
        ops.push(Op::RaiseLoopback);
    }
    ops.push(Op::BecomeInit);
    Ok(())
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

fn plan_command(ops: &mut Vec<Op>, privileges: Privileges, limits: &Limits, command: &Command) {
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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sandbox::spec::Access;

    fn host() -> Host {
        Host {
            is_root: false,
            outside: Identity {
                uid: 1234,
                gid: 1234,
            },
            rooting: Rooting::Overlay,
            memory: true,
            cgroup_namespaces: true,
            scopes: true,
        }
    }

    fn spec() -> SandboxSpec {
        SandboxSpec {
            root: Root {
                layers: vec!["/store/base".into(), "/store/more".into()],
                changes: Changes::Kept {
                    upper: "/scratch/upper".into(),
                    work: "/scratch/work".into(),
                },
            },
            binds: vec![Bind {
                source: "/store/source".into(),
                target: guest("/build/source"),
                access: Access::ReadWrite,
            }],
            identity: Identity::BUILDER,
            privileges: Privileges::Build,
            network: Network::None,
            limits: Limits {
                wall: Duration::from_secs(1800),
                memory: 4_000_000_000,
                processes: 1000,
                file_size: 2_000_000_000,
                output: 1_000_000,
                tmpfs: 1_000_000_000,
            },
            command: Command {
                argv: ["make", "-j2", "CC=gcc -O2"].map(str::to_owned).to_vec(),
                env: [("PATH", "/usr/bin"), ("NOTE", "it's\nnew")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                cwd: guest("/build/source"),
            },
        }
    }

    fn printed(spec: &SandboxSpec, host: &Host) -> Vec<String> {
        let plan = plan(spec, host).expect("a plan");
        plan.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_build_as_an_ordinary_user() {
        insta::assert_snapshot!(printed(&spec(), &host()).join("\n"), @r"
        die with the launcher; oom_score_adj 500
        enter new namespaces: user, mount, pid, ipc, uts, cgroup, network
        map uid 1000 to 1234 outside, gid 1000 to 1234; no other, no setgroups
        name the host pybuild
        bring lo up
        fork: be pid 1
        make all mounts private
        mount overlay on /: lower /store/base + /store/more, upper /scratch/upper, work /scratch/work
        mount proc on /proc
        make /proc/sys read-only
        make /proc/sysrq-trigger read-only
        make /proc/irq read-only
        make /proc/bus read-only
        make /proc/fs read-only
        hide /proc/acpi
        hide /proc/asound
        hide /proc/interrupts
        hide /proc/kcore
        hide /proc/keys
        hide /proc/latency_stats
        hide /proc/sched_debug
        hide /proc/scsi
        hide /proc/timer_list
        mount tmpfs of 4.1 kB, mode 0555, noexec on /sys
        mount tmpfs of 65.5 kB, mode 0755, noexec on /dev
        show the device /dev/full
        show the device /dev/null
        show the device /dev/random
        show the device /dev/tty
        show the device /dev/urandom
        show the device /dev/zero
        link /dev/fd to /proc/self/fd
        link /dev/stdin to /proc/self/fd/0
        link /dev/stdout to /proc/self/fd/1
        link /dev/stderr to /proc/self/fd/2
        link /dev/ptmx to pts/ptmx
        mount devpts on /dev/pts
        mount tmpfs of 1.0 GB, mode 1777 on /dev/shm
        make the finished /dev read-only
        mount tmpfs of 1.0 GB, mode 1777 on /tmp
        bind /store/source to /build/source, read-write
        pivot into the new root, let go of the old one
        give up every capability
        set no_new_privs
        fork: pid 1 kills everything after 30 min 00 s, above 4.0 GB of memory, when the command or the launcher ends
        start a session without a terminal
        limit to 1000 processes, files of 2.0 GB, 8.0 GB of data a process, 4096 descriptors, no core dumps
        filter system calls: build
        in /build/source execute NOTE=$'it\'s\nnew' PATH=/usr/bin make -j2 'CC=gcc -O2'
        ");
    }

    #[test]
    fn what_differs_is_what_was_asked_for() {
        let base = printed(&spec(), &host());
        let new_lines = |spec: &SandboxSpec, host: &Host| {
            let lines = printed(spec, host);
            assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
            let new = lines.into_iter().filter(|line| !base.contains(line));
            new.collect::<Vec<_>>().join("\n")
        };
        let root = Host {
            is_root: true,
            ..host()
        };
        insta::assert_snapshot!(new_lines(&spec(), &root), @"become uid 1234, gid 1234, with no other group");
        let preparing = SandboxSpec {
            identity: Identity::ROOT,
            privileges: Privileges::Prepare,
            ..spec()
        };
        insta::assert_snapshot!(new_lines(&preparing, &host()), @r"
        map uid 0 to 1234 outside, gid 0 to 1234; no other, no setgroups
        give up every capability but chown, dacoverride, fowner, fsetid, kill, setgid, setuid, syschroot, setfcap
        filter system calls: prepare
        ");
        let connected = SandboxSpec {
            network: Network::Host,
            ..spec()
        };
        insta::assert_snapshot!(new_lines(&connected, &host()), @r"
        enter new namespaces: user, mount, pid, ipc, uts, cgroup
        reach no abstract socket outside (Landlock)
        ");
        let copying = host().with_rooting(Rooting::Copy);
        insta::assert_snapshot!(new_lines(&spec(), &copying), @"copy /store/base + /store/more to /scratch/upper as /");
        let program = "/usr/bin/fuse-overlayfs".into();
        let fuse = host().with_rooting(Rooting::Fuse { program });
        insta::assert_snapshot!(new_lines(&spec(), &fuse), @"mount /usr/bin/fuse-overlayfs on /: lower /store/base + /store/more, upper /scratch/upper, work /scratch/work");
    }

    type Change = fn(&mut SandboxSpec);

    #[test]
    fn what_cannot_be_is_refused() {
        let change = |change: Change| {
            let mut spec = spec();
            change(&mut spec);
            plan(&spec, &host()).expect_err("refused").to_string()
        };
        let table: [(Change, &str); 9] = [
            (
                |spec| spec.root.layers.clear(),
                "the root file system has no layer",
            ),
            (|spec| spec.command.argv.clear(), "the command is empty"),
            (
                |spec| {
                    spec.root.changes = Changes::Kept {
                        upper: "scratch".into(),
                        work: "/scratch/work".into(),
                    };
                },
                "scratch is not an absolute path of the host",
            ),
            (
                |spec| spec.binds[0].source = "source".into(),
                "source is not an absolute path of the host",
            ),
            (
                |spec| spec.binds[0].target = guest("/proc/sys"),
                "nothing can be bound to /proc/sys",
            ),
            (
                |spec| spec.binds[0].target = guest("/"),
                "nothing can be bound to /",
            ),
            (
                |spec| spec.command.argv.push("a\0b".to_owned()),
                r#""a\0b" cannot be an argument or a variable of a process"#,
            ),
            (
                |spec| {
                    spec.command.env.insert("A=B".to_owned(), String::new());
                },
                r#""A=B" cannot be an argument or a variable of a process"#,
            ),
            (
                |spec| {
                    spec.command.env.insert(String::new(), String::new());
                },
                r#""" cannot be an argument or a variable of a process"#,
            ),
        ];
        for (what, message) in table {
            assert_eq!(change(what), message);
        }
    }

    #[test]
    fn root_of_the_host_never_appears_inside() {
        let root = Host {
            is_root: true,
            ..host()
        };
        for (uid, gid) in [(0, 0), (0, 1234), (1234, 0)] {
            let host = root.clone().run_as(Identity { uid, gid });
            assert_eq!(plan(&spec(), &host), Err(PlanError::Root));
        }
    }
}
