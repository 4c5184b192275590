//! Which system calls a command may make: a table for builds, one for preparing a root.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, EAFNOSUPPORT, ENOSYS, ENOTSUP, EPERM, EPROTONOSUPPORT,
    c_long, sock_filter,
};

use super::bpf::{Ask, Case, Rule, Verdict, assemble};
use super::spec::Privileges;
use crate::sys::call::CallError;
use crate::sys::{notify, process, socket};

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

/// Changes of owner: what one uid cannot do, and what can be written down.
const OWNERS: &[c_long] = &[libc::SYS_fchown, libc::SYS_fchownat];
#[cfg(target_arch = "x86_64")]
const OWNERS_HERE: &[c_long] = &[libc::SYS_chown, libc::SYS_lchown];
#[cfg(not(target_arch = "x86_64"))]
const OWNERS_HERE: &[c_long] = &[];

/// What one uid cannot do either, and what nobody needs before the layer is synced as a whole: it
/// is said to have succeeded.
const PRETENDED: &[c_long] = &[
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
const ATTRIBUTES: &[c_long] = &[libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr];

/// Whether somebody listens to a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// What one uid cannot do is written down by who listens.
    There,
    /// It is only said to have succeeded.
    None,
}

/// Installs the filter in this process. To `listener` goes the descriptor by which pid 1 answers
/// calls. Where the kernel has none, or an outer filter has one already, they are pretended alone.
///
/// From here on this process must make none of those calls: pid 1 stands still until this process
/// is the command.
pub(super) fn install(
    privileges: Privileges,
    listener: Option<BorrowedFd<'_>>,
) -> Result<(), CallError> {
    if let Some(listener) = listener
        && let Ok(calls) = notify::install_filter(&filter(privileges, Listener::There))
    {
        return socket::send(listener, b"", &[calls.as_raw_fd()]);
    }
    process::install_filter(&filter(privileges, Listener::None))
}

/// The filter for a command of these privileges. In a build nobody listens.
pub(super) fn filter(privileges: Privileges, listener: Listener) -> Vec<sock_filter> {
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
            let or = |pretence| match listener {
                Listener::There => Verdict::Notify,
                Listener::None => Verdict::Errno(pretence),
            };
            rules.extend(always(PRETENDED, Verdict::Errno(0)));
            rules.extend(always(OWNERS, or(0)));
            rules.extend(always(OWNERS_HERE, or(0)));
            // Not pretended: `cp -p` sets a mode as an access control list, which is an extended
            // attribute, and goes on to chmod only if there are none.
            rules.extend(always(ATTRIBUTES, or(ENOTSUP)));
            rules.extend(always(&[SYS_SETXATTRAT], Verdict::Errno(ENOTSUP)));
            rules.extend(device_nodes(or(0)));
        }
    }
    assemble(rules)
}

/// What is denied to builds alone.
fn build() -> Vec<Rule> {
    let mut rules = device_nodes(Verdict::Errno(EPERM));
    // cp, tar and install go on without extended attributes; a build that sets some, among them
    // those that overlayfs acts on, would not be the same everywhere.
    rules.extend(always(ATTRIBUTES, Verdict::Errno(ENOTSUP)));
    let newer = [SYS_SETXATTRAT, SYS_FILE_SETATTR];
    rules.extend(always(&newer, Verdict::Errno(ENOTSUP)));
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
fn device_nodes(answer: Verdict) -> Vec<Rule> {
    let nodes = |call, arg| {
        let case = |ask, then| Case {
            all: vec![ask],
            then,
        };
        Rule {
            call: number(call),
            cases: vec![
                case(Ask::Is(arg, FILE_TYPE, libc::S_IFCHR), answer),
                case(Ask::Is(arg, FILE_TYPE, libc::S_IFBLK), answer),
                case(Ask::AnyOf(arg, SETID), Verdict::Errno(EPERM)),
            ],
            otherwise: Verdict::Allow,
        }
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
mod tests;
