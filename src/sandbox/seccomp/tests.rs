//! What the filters say to each call, asked of a machine of our own.

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

fn row(what: &'static str, call: c_long, args: &[u64], build: Verdict, prepare: Verdict) -> Row {
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
    let build = filter(Privileges::Build, Listener::None);
    let prepare = filter(Privileges::Prepare, Listener::None);
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
    let build = filter(Privileges::Build, Listener::None);
    let prepare = filter(Privileges::Prepare, Listener::None);
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
fn what_one_uid_cannot_do_is_left_to_who_listens_and_nothing_else_is() {
    let [alone, heard] =
        [Listener::None, Listener::There].map(|listener| filter(Privileges::Prepare, listener));
    let left = ["chown", "setxattr", "a character device", "a block device"];
    for row in table() {
        let answer = |program| machine::run(program, NATIVE, number(row.call), &row.args);
        if left.contains(&row.what) {
            assert_eq!(answer(&heard), Verdict::Notify, "{}", row.what);
        } else {
            assert_eq!(answer(&heard), answer(&alone), "{}", row.what);
        }
    }
}

#[test]
fn other_architectures_are_no_way_around() {
    for privileges in [Privileges::Build, Privileges::Prepare] {
        let program = filter(privileges, Listener::None);
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
        let program = filter(privileges, Listener::None);
        assert!(program.len() < 1024, "{} instructions", program.len());
        for call in 0..600 {
            // It panics on an instruction that is not there.
            machine::run(&program, NATIVE, call, &[u64::MAX; 6]);
        }
    }
}
