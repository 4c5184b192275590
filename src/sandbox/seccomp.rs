//! Which system calls a command may make: a table for builds, one for preparing a root.

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, EAFNOSUPPORT, ENOSYS, ENOTSUP, EPERM, EPROTONOSUPPORT,
    c_long, sock_filter,
};

use super::bpf::{Ask, Case, Rule, Verdict, assemble};
use super::spec::Privileges;

// Calls newer than libc's tables. From 424 on the numbers are the same on every architecture.
const SYS_SETXATTRAT: c_long = 463;
const SYS_OPEN_TREE_ATTR: c_long = 467;
const SYS_FILE_SETATTR: c_long = 469;

/// Set-uid and set-gid.
const SETID: u32 = 0o6000;
const FILE_TYPE: u32 = libc::S_IFMT;
/// The flags of open(2) that make a file, so that there is a mode.
const CREATES: u32 = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)).cast_unsigned();
/// The flags of clone(2) that make namespaces. `CLONE_NEWTIME` is not one: there it is a part of
/// the signal number.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned();
const ADDR_NO_RANDOMIZE: u32 = libc::ADDR_NO_RANDOMIZE.cast_unsigned();
/// personality(2) with this only asks.
const PERSONALITY_QUERY: u32 = u32::MAX;

/// Calls that nothing in a sandbox has a right to: new mounts and namespaces, a look into other
/// processes, the host's clock, keys, modules and power, and what has been a way out before.
const DENIED: &[c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
];
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_sysfs,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[c_long] = &[];

/// Calls that do not exist here, so that libraries take the older way, which the filter sees
/// through: it cannot follow pointers (the flags of `clone3`), nor the ring of `io_uring`.
const ABSENT: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// What one uid cannot do, and what nobody needs before the layer is synced as a whole: it is
/// said to have succeeded.
const PRETENDED: &[c_long] = &[
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_msync,
    libc::SYS_sync_file_range,
];
/// Extended attributes of files, and what is kept in them.
const ATTRIBUTES: &[c_long] = &[
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SYS_SETXATTRAT,
];
#[cfg(target_arch = "x86_64")]
const PRETENDED_HERE: &[c_long] = &[libc::SYS_chown, libc::SYS_lchown];
#[cfg(not(target_arch = "x86_64"))]
const PRETENDED_HERE: &[c_long] = &[];

/// The filter for a command of these privileges.
pub(super) fn filter(privileges: Privileges) -> Vec<sock_filter> {
    let mut rules = Vec::with_capacity(128);
    rules.extend(always(DENIED, Verdict::Errno(EPERM)));
    rules.extend(always(DENIED_HERE, Verdict::Errno(EPERM)));
    rules.extend(always(ABSENT, Verdict::Errno(ENOSYS)));
    rules.extend([
        rule(
            libc::SYS_clone,
            [(vec![Ask::AnyOf(0, NEW_NAMESPACES)], EPERM)],
        ),
        terminal_control(),
        sockets(),
        personalities(),
    ]);
    match privileges {
        Privileges::Build => rules.extend(build()),
        Privileges::Prepare => {
            rules.extend(always(PRETENDED, Verdict::Errno(0)));
            rules.extend(always(PRETENDED_HERE, Verdict::Errno(0)));
            // Not pretended: `cp -p` sets a mode as an access control list, which is an extended
            // attribute, and goes on to chmod only if there are none.
            rules.extend(always(ATTRIBUTES, Verdict::Errno(ENOTSUP)));
            rules.extend(device_nodes(0));
        }
    }
    assemble(rules)
}

/// What is denied to builds alone.
fn build() -> Vec<Rule> {
    let mut rules = device_nodes(EPERM);
    // cp, tar and install go on without extended attributes; a build that sets some, among them
    // those that overlayfs acts on, would not be the same everywhere.
    rules.extend(always(ATTRIBUTES, Verdict::Errno(ENOTSUP)));
    rules.extend(always(&[SYS_FILE_SETATTR], Verdict::Errno(ENOTSUP)));
    // Its mode is behind a pointer; libraries fall back to openat.
    rules.extend(always(&[libc::SYS_openat2], Verdict::Errno(ENOSYS)));
    rules.extend(always(&[libc::SYS_chroot], Verdict::Errno(EPERM)));
    rules.extend(set_id_bits());
    rules
}

/// Programs that run as whoever made them must not be left behind (CVE-2024-38531), whichever
/// call would set the bits.
fn set_id_bits() -> Vec<Rule> {
    let mode = |call, arg| rule(call, [(vec![Ask::AnyOf(arg, SETID)], EPERM)]);
    let open = |call, flags, arg| {
        let asks = vec![Ask::AnyOf(flags, CREATES), Ask::AnyOf(arg, SETID)];
        rule(call, [(asks, EPERM)])
    };
    vec![
        mode(libc::SYS_fchmod, 1),
        mode(libc::SYS_fchmodat, 2),
        mode(libc::SYS_fchmodat2, 2),
        open(libc::SYS_openat, 2, 3),
        #[cfg(target_arch = "x86_64")]
        mode(libc::SYS_chmod, 1),
        #[cfg(target_arch = "x86_64")]
        mode(libc::SYS_creat, 1),
        #[cfg(target_arch = "x86_64")]
        open(libc::SYS_open, 1, 2),
    ]
}

/// Device nodes get `answer`; the other kinds of file pass, without set-id bits.
fn device_nodes(answer: i32) -> Vec<Rule> {
    let nodes = |call, arg| {
        rule(
            call,
            [
                (vec![Ask::Is(arg, FILE_TYPE, libc::S_IFCHR)], answer),
                (vec![Ask::Is(arg, FILE_TYPE, libc::S_IFBLK)], answer),
                (vec![Ask::AnyOf(arg, SETID)], EPERM),
            ],
        )
    };
    vec![
        nodes(libc::SYS_mknodat, 2),
        #[cfg(target_arch = "x86_64")]
        nodes(libc::SYS_mknod, 1),
    ]
}

/// Typing into a terminal that the sandbox shares with a person: CVE-2017-5226, CVE-2023-28100.
fn terminal_control() -> Rule {
    let request = |request: u64| {
        let low = u32::try_from(request).expect("a request has 32 bits");
        (vec![Ask::Is(1, u32::MAX, low)], EPERM)
    };
    rule(
        libc::SYS_ioctl,
        [
            request(libc::TIOCSTI),
            request(libc::TIOCLINUX),
            request(libc::TIOCSETD),
        ],
    )
}

/// Sockets of the network namespace, and of netlink only what lists its interfaces: the other
/// families and protocols reach host-wide parts of the kernel.
fn sockets() -> Rule {
    let family = |family: i32| Ask::Is(0, u32::MAX, family.cast_unsigned());
    let case = |all, then| Case { all, then };
    Rule {
        call: number(libc::SYS_socket),
        cases: vec![
            case(vec![family(AF_UNIX)], Verdict::Allow),
            case(vec![family(AF_INET)], Verdict::Allow),
            case(vec![family(AF_INET6)], Verdict::Allow),
            case(
                vec![
                    family(AF_NETLINK),
                    Ask::Is(2, u32::MAX, libc::NETLINK_ROUTE.cast_unsigned()),
                ],
                Verdict::Allow,
            ),
            case(vec![family(AF_NETLINK)], Verdict::Errno(EPROTONOSUPPORT)),
        ],
        otherwise: Verdict::Errno(EAFNOSUPPORT),
    }
}

/// Only what `setarch -R` and compilers ask for.
fn personalities() -> Rule {
    let allow = |persona| Case {
        all: vec![Ask::Is(0, u32::MAX, persona)],
        then: Verdict::Allow,
    };
    Rule {
        call: number(libc::SYS_personality),
        cases: [0, ADDR_NO_RANDOMIZE, PERSONALITY_QUERY]
            .map(allow)
            .to_vec(),
        otherwise: Verdict::Errno(EPERM),
    }
}

fn always(calls: &[c_long], verdict: Verdict) -> impl Iterator<Item = Rule> {
    calls.iter().map(move |&call| Rule {
        call: number(call),
        cases: Vec::new(),
        otherwise: verdict,
    })
}

/// Allowed but in these cases.
fn rule<const N: usize>(call: c_long, cases: [(Vec<Ask>, i32); N]) -> Rule {
    Rule {
        call: number(call),
        cases: cases
            .into_iter()
            .map(|(all, errno)| Case {
                all,
                then: Verdict::Errno(errno),
            })
            .collect(),
        otherwise: Verdict::Allow,
    }
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).expect("call numbers are positive")
}

#[cfg(test)]
mod tests {
    use super::super::bpf::{NATIVE, machine};
    use super::*;
    use Verdict::{Allow, Errno, Kill};

    /// `AUDIT_ARCH_I386`, and an architecture that does not exist.
    const FOREIGN: [u32; 2] = [0x4000_0003, 0];
    /// A pointer.
    const P: u64 = 0x7fff_0000_1000;
    const DIR: u64 = (-100i64).cast_unsigned();

    struct Row {
        what: &'static str,
        call: c_long,
        args: Vec<u64>,
        build: Verdict,
        prepare: Verdict,
    }

    fn row(
        what: &'static str,
        call: c_long,
        args: &[u64],
        build: Verdict,
        prepare: Verdict,
    ) -> Row {
        Row {
            what,
            call,
            args: args.to_vec(),
            build,
            prepare,
        }
    }

    /// The same for both.
    fn both(what: &'static str, call: c_long, args: &[u64], verdict: Verdict) -> Row {
        row(what, call, args, verdict, verdict)
    }

    fn flag(flag: i32) -> u64 {
        u64::from(flag.cast_unsigned())
    }

    #[rustfmt::skip]
    fn table() -> Vec<Row> {
        let high = 1 << 32;
        let no = Errno(EPERM);
        let char_node = u64::from(libc::S_IFCHR | 0o600);
        let block_node = u64::from(libc::S_IFBLK | 0o600);
        let fifo = u64::from(libc::S_IFIFO | 0o600);
        let create = flag(libc::O_CREAT | libc::O_WRONLY);
        vec![
            both("read", libc::SYS_read, &[0, P, 1], Allow),
            both("execve", libc::SYS_execve, &[P, P, P], Allow),
            both("the lowest number", 0, &[], Allow),
            both("a number no kernel has", 4095, &[], Allow),
            both("fork as glibc does it", libc::SYS_clone, &[0x0120_0011, 0], Allow),
            both("a thread", libc::SYS_clone, &[0x003d_0f00, P], Allow),
            both("a user namespace by clone", libc::SYS_clone, &[0x1000_0011, 0], no),
            both("a network namespace by clone", libc::SYS_clone, &[0x4000_0011, 0], no),
            both("clone3, whose flags cannot be seen", libc::SYS_clone3, &[P, 88], Errno(ENOSYS)),
            both("unshare", libc::SYS_unshare, &[0x1000_0000], no),
            both("mount", libc::SYS_mount, &[P, P, P, 0, 0], no),
            both("the new mounts", libc::SYS_fsopen, &[P, 0], no),
            both("mount_setattr", libc::SYS_mount_setattr, &[0, P, 0, P, 32], no),
            both("io_uring", libc::SYS_io_uring_setup, &[8, P], Errno(ENOSYS)),
            both("ptrace", libc::SYS_ptrace, &[16, 1, 0, 0], no),
            both("open_by_handle_at", libc::SYS_open_by_handle_at, &[3, P, 0], no),
            both("keyctl", libc::SYS_keyctl, &[0], no),
            both("bpf", libc::SYS_bpf, &[0, P, 8], no),
            both("isatty", libc::SYS_ioctl, &[0, 0x5401, P], Allow),
            both("TIOCSTI", libc::SYS_ioctl, &[0, 0x5412, P], no),
            both("TIOCSTI with high bits", libc::SYS_ioctl, &[0, 0x5412 | high, P], no),
            both("TIOCLINUX", libc::SYS_ioctl, &[0, 0x541c, P], no),
            both("a Unix socket", libc::SYS_socket, &[1, 1, 0], Allow),
            both("an IPv4 socket", libc::SYS_socket, &[2, 1, 6], Allow),
            both("an IPv6 socket", libc::SYS_socket, &[10, 1, 6], Allow),
            both("which interfaces there are", libc::SYS_socket, &[16, 3, 0], Allow),
            both("the audit socket", libc::SYS_socket, &[16, 3, 9], Errno(EPROTONOSUPPORT)),
            both("AF_PACKET", libc::SYS_socket, &[17, 3, 0], Errno(EAFNOSUPPORT)),
            both("AF_VSOCK", libc::SYS_socket, &[40, 1, 0], Errno(EAFNOSUPPORT)),
            both("AF_ALG", libc::SYS_socket, &[38, 5, 0], Errno(EAFNOSUPPORT)),
            both("personality, as asked for", libc::SYS_personality, &[0xffff_ffff], Allow),
            both("setarch -R", libc::SYS_personality, &[0x0004_0000], Allow),
            both("READ_IMPLIES_EXEC", libc::SYS_personality, &[0x0040_0000], no),
            row("chown", libc::SYS_fchownat, &[DIR, P, 5, 5, 0], Allow, Errno(0)),
            row("setuid", libc::SYS_setuid, &[5], Allow, Errno(0)),
            row("setgroups", libc::SYS_setgroups, &[1, P], Allow, Errno(0)),
            row("capset", libc::SYS_capset, &[P, P], Allow, Errno(0)),
            row("fsync", libc::SYS_fsync, &[3], Allow, Errno(0)),
            row("sync", libc::SYS_sync, &[], Allow, Errno(0)),
            both("setxattr", libc::SYS_setxattr, &[P, P, P, 1, 0], Errno(ENOTSUP)),
            both("setxattrat", SYS_SETXATTRAT, &[DIR, P, 0, P, P, 16], Errno(ENOTSUP)),
            row("openat2", libc::SYS_openat2, &[DIR, P, P, 24], Errno(ENOSYS), Allow),
            row("chroot", libc::SYS_chroot, &[P], no, Allow),
            row("a character device", libc::SYS_mknodat, &[DIR, P, char_node, 0], no, Errno(0)),
            row("a block device", libc::SYS_mknodat, &[DIR, P, block_node, 0x801], no, Errno(0)),
            both("a fifo", libc::SYS_mknodat, &[DIR, P, fifo, 0], Allow),
            both("a set-uid file by mknod", libc::SYS_mknodat, &[DIR, P, 0o104_755, 0], no),
            both("chmod 1777", libc::SYS_fchmodat, &[DIR, P, 0o1777], Allow),
            row("chmod u+s", libc::SYS_fchmodat, &[DIR, P, 0o4755], no, Allow),
            row("chmod g+s", libc::SYS_fchmod, &[3, 0o2755], no, Allow),
            row("fchmodat2", libc::SYS_fchmodat2, &[DIR, P, 0o4755, 0], no, Allow),
            row("chmod with high bits", libc::SYS_fchmod, &[3, 0o4755 | high], no, Allow),
            both("open to read", libc::SYS_openat, &[DIR, P, 0, 0o4755], Allow),
            both("open to create", libc::SYS_openat, &[DIR, P, create, 0o755], Allow),
            row("create a set-uid file", libc::SYS_openat, &[DIR, P, create, 0o4755], no, Allow),
        ]
    }

    #[test]
    fn each_call_gets_its_verdict() {
        let build = filter(Privileges::Build);
        let prepare = filter(Privileges::Prepare);
        for row in table() {
            let call = number(row.call);
            let answer = |program| machine::run(program, NATIVE, call, &row.args);
            assert_eq!(answer(&build), row.build, "{}, build", row.what);
            assert_eq!(answer(&prepare), row.prepare, "{}, prepare", row.what);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_older_calls_get_the_same_verdicts() {
        let build = filter(Privileges::Build);
        let prepare = filter(Privileges::Prepare);
        let create = flag(libc::O_CREAT);
        #[rustfmt::skip]
        let table: [(c_long, &[u64], Verdict, Verdict); 8] = [
            (libc::SYS_chmod, &[P, 0o4755], Errno(EPERM), Allow),
            (libc::SYS_chmod, &[P, 0o755], Allow, Allow),
            (libc::SYS_creat, &[P, 0o2755], Errno(EPERM), Allow),
            (libc::SYS_open, &[P, create, 0o4755], Errno(EPERM), Allow),
            (libc::SYS_open, &[P, 0, 0o4755], Allow, Allow),
            (libc::SYS_mknod, &[P, 0o020_600, 0x103], Errno(EPERM), Errno(0)),
            (libc::SYS_lchown, &[P, 1, 1], Allow, Errno(0)),
            (libc::SYS_iopl, &[3], Errno(EPERM), Errno(EPERM)),
        ];
        for (call, args, in_build, in_prepare) in table {
            let answer = |program| machine::run(program, NATIVE, number(call), args);
            assert_eq!(answer(&build), in_build, "{call} {args:?}, build");
            assert_eq!(answer(&prepare), in_prepare, "{call} {args:?}, prepare");
        }
    }

    #[test]
    fn other_architectures_are_no_way_around() {
        for privileges in [Privileges::Build, Privileges::Prepare] {
            let program = filter(privileges);
            for arch in FOREIGN {
                for call in [0, 21, 165, 272, 4095] {
                    assert_eq!(machine::run(&program, arch, call, &[]), Kill);
                }
            }
            #[cfg(target_arch = "x86_64")]
            for call in [0, number(libc::SYS_mount), number(libc::SYS_ptrace)] {
                let x32 = call | super::super::bpf::X32_BIT;
                assert_eq!(machine::run(&program, NATIVE, x32, &[]), Kill);
            }
        }
    }

    #[test]
    fn every_path_through_a_filter_ends() {
        for privileges in [Privileges::Build, Privileges::Prepare] {
            let program = filter(privileges);
            assert!(program.len() < 1024, "{} instructions", program.len());
            for call in 0..600 {
                // It panics on an instruction that is not there.
                machine::run(&program, NATIVE, call, &[u64::MAX; 6]);
            }
        }
    }
}
