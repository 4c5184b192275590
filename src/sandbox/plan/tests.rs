//! The plan, operation by operation.

use std::time::Duration;

use super::*;
use crate::sandbox::spec::Access;
use crate::sys::terminal::{Modes, Size};

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
        terminal: None,
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
    let terminal = Terminal {
        input: true,
        output: false,
        errors: true,
        size: Size {
            rows: 24,
            columns: 80,
            ..Size::default()
        },
        modes: Modes {
            input: 0,
            output: 0,
            local: 0,
            characters: Vec::new(),
        },
    };
    let at_terminal = SandboxSpec {
        terminal: Some(terminal.clone()),
        ..spec()
    };
    insta::assert_snapshot!(new_lines(&at_terminal, &host()), @"open a terminal of 80x24 as standard input, error; it controls the session");
    let printing = SandboxSpec {
        terminal: Some(Terminal {
            input: false,
            output: true,
            ..terminal
        }),
        ..spec()
    };
    insta::assert_snapshot!(new_lines(&printing, &host()), @"open a terminal of 80x24 as standard output, error");
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
