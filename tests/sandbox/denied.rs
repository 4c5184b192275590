//! The ways out that others have had, each tried from inside.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use nix::errno::Errno;
use pybuild::sandbox::{Access, End, Network};

use super::kit::{Sandbox, cannot_sandbox};

/// A system call tried from inside: what it would achieve, its number, its arguments as Perl
/// writes them, and what it fails with.
type Call = (&'static str, libc::c_long, &'static str, Errno);

/// Calls that have no business in a build, whatever their arguments.
#[rustfmt::skip]
const CALLS: &[Call] = &[
    ("mount proc", libc::SYS_mount, r#""proc", "/tmp", "proc", 0, 0"#, Errno::EPERM),
    ("mount a tmpfs", libc::SYS_mount, r#""none", "/tmp", "tmpfs", 0, 0"#, Errno::EPERM),
    ("remount / writable", libc::SYS_mount, r#""none", "/usr", 0, 4128, 0"#, Errno::EPERM),
    ("uncover /proc/kcore", libc::SYS_umount2, r#""/proc/kcore", 2"#, Errno::EPERM),
    ("uncover /proc/sys", libc::SYS_umount2, r#""/proc/sys", 2"#, Errno::EPERM),
    ("a mount by the new calls", libc::SYS_fsopen, r#""tmpfs", 0"#, Errno::EPERM),
    ("clone a mount", libc::SYS_open_tree, r#"-100, "/", 1"#, Errno::EPERM),
    ("change mounts", libc::SYS_mount_setattr, r#"-100, "/usr", 0, "\0" x 32, 32"#, Errno::EPERM),
    ("pivot_root", libc::SYS_pivot_root, r#""/tmp", "/tmp""#, Errno::EPERM),
    ("chroot out by a held directory", libc::SYS_chroot, r#""/tmp""#, Errno::EPERM),
    ("a new user namespace", libc::SYS_unshare, "0x10000000", Errno::EPERM),
    ("a new mount namespace", libc::SYS_unshare, "0x20000", Errno::EPERM),
    ("clone a user namespace", libc::SYS_clone, "0x10000011, 0, 0, 0, 0", Errno::EPERM),
    ("clone3", libc::SYS_clone3, r#""\0" x 88, 88"#, Errno::ENOSYS),
    ("open by handle (Shocker)", libc::SYS_open_by_handle_at, r#"0, "\0" x 32, 0"#, Errno::EPERM),
    ("trace pid 1", libc::SYS_ptrace, "16, 1, 0, 0", Errno::EPERM),
    ("read pid 1", libc::SYS_process_vm_readv, "1, 0, 0, 0, 0, 0", Errno::EPERM),
    ("take a descriptor of another", libc::SYS_pidfd_getfd, "0, 0, 0", Errno::EPERM),
    ("compare kernel pointers", libc::SYS_kcmp, "1, 1, 0, 0, 0", Errno::EPERM),
    ("the session's keys", libc::SYS_keyctl, "0, -3, 0", Errno::EPERM),
    ("add a key", libc::SYS_add_key, r#""user", "x", "y", 1, -3"#, Errno::EPERM),
    ("bpf", libc::SYS_bpf, r#"0, "\0" x 64, 64"#, Errno::EPERM),
    ("perf_event_open", libc::SYS_perf_event_open, r#""\0" x 128, 0, -1, -1, 0"#, Errno::EPERM),
    ("userfaultfd", libc::SYS_userfaultfd, "1", Errno::EPERM),
    ("io_uring", libc::SYS_io_uring_setup, r#"8, "\0" x 120"#, Errno::ENOSYS),
    ("load a kernel", libc::SYS_kexec_load, "0, 0, 0, 0", Errno::EPERM),
    ("load a module", libc::SYS_finit_module, r#"0, "", 0"#, Errno::EPERM),
    ("read the kernel's log", libc::SYS_syslog, "10, 0, 0", Errno::EPERM),
    ("set the clock", libc::SYS_clock_settime, r#"0, "\0" x 16"#, Errno::EPERM),
    ("rename the host", libc::SYS_sethostname, r#""x", 1"#, Errno::EPERM),
    ("a personality that runs data", libc::SYS_personality, "0x400000", Errno::EPERM),
    ("type into the terminal", libc::SYS_ioctl, r#"0, 0x5412, "x""#, Errno::EPERM),
    ("the same, high bits set", libc::SYS_ioctl, r#"0, 0x100005412, "x""#, Errno::EPERM),
    ("paste into the console", libc::SYS_ioctl, r#"0, 0x541c, "\3""#, Errno::EPERM),
    ("another line discipline", libc::SYS_ioctl, r#"0, 0x5423, "\0\0\0\0""#, Errno::EPERM),
    ("raw packets", libc::SYS_socket, "17, 3, 0", Errno::EAFNOSUPPORT),
    ("the hypervisor", libc::SYS_socket, "40, 1, 0", Errno::EAFNOSUPPORT),
    ("the kernel's ciphers", libc::SYS_socket, "38, 5, 0", Errno::EAFNOSUPPORT),
    ("the audit log", libc::SYS_socket, "16, 3, 9", Errno::EPROTONOSUPPORT),
    ("a disk by mknod", libc::SYS_mknodat, r#"-100, "/tmp/sda", 060600, 0x800"#, Errno::EPERM),
    ("a whiteout by mknod", libc::SYS_mknodat, r#"-100, "/tmp/gone", 020600, 0"#, Errno::EPERM),
    ("a set-uid file by mknod", libc::SYS_mknodat, r#"-100, "/tmp/s", 0104755, 0"#, Errno::EPERM),
    ("a set-uid file by open", libc::SYS_openat, r#"-100, "/tmp/s", 65, 04755"#, Errno::EPERM),
    ("a set-uid file by openat2", libc::SYS_openat2, r#"-100, "/s", "\0" x 24, 24"#, Errno::ENOSYS),
    ("a set-uid file by chmod", libc::SYS_fchmodat, r#"-100, "/tmp", 05777"#, Errno::EPERM),
    ("a set-gid file by fchmodat2", libc::SYS_fchmodat2, r#"-100, "/tmp", 02777, 0"#, Errno::EPERM),
    ("an overlay's notes", libc::SYS_setxattr, r#""/tmp", "user.x", "y", 1, 0"#, Errno::ENOTSUP),
    ("kill the host's pid 1's kin", libc::SYS_kill, "4194303, 9", Errno::ESRCH),
];

#[test]
fn calls_that_have_been_ways_out_are_denied() {
    if cannot_sandbox() {
        return;
    }
    let mut script = String::from(
        "sub try { my ($n, @a) = @_; $! = 0; syscall($n, @a); print $! + 0, \"\\n\" }\n",
    );
    for (_, number, args, _) in CALLS {
        // Perl hands over variables, not constants, as pointers to memory that could be written.
        let _ = writeln!(script, "{{ my @a = ({args}); try({number}, @a); }}");
    }
    let output = Sandbox::new().exec(&["perl", "-e", &script]).success();
    let answers: Vec<&str> = output.lines().collect();
    assert_eq!(answers.len(), CALLS.len(), "{output}");
    for ((what, _, _, expected), answer) in CALLS.iter().zip(answers) {
        let answer = Errno::from_raw(answer.parse().expect("a number"));
        assert_eq!(answer, *expected, "{what}");
    }
}

/// What a shell sees: what is tried, how, and a part of what is printed.
#[rustfmt::skip]
const SIGHTS: &[(&str, &str, &str)] = &[
    ("the launcher's root", "ls /proc/1/root/", "Permission denied"),
    ("the launcher's working directory", "ls /proc/1/cwd/", "Permission denied"),
    ("the launcher's environment", "cat /proc/1/environ", "Permission denied"),
    ("the launcher's memory", "head -c1 /proc/1/mem", "Permission denied"),
    ("the launcher's executable", ": >> /proc/1/exe", "Permission denied"),
    ("the launcher's descriptors", "ls /proc/1/fd", "Permission denied"),
    ("above the root", "ls -d /../../usr && stat -c %i /.. / | uniq | wc -l", "1"),
    ("above the root by /proc", "ls /proc/self/root/../../home", "No such file"),
    ("where core dumps go", "echo '|/x' > /proc/sys/kernel/core_pattern", "Read-only file system"),
    ("address randomisation", "echo 0 > /proc/sys/kernel/randomize_va_space", "Read-only file system"),
    ("page caches", "echo 3 > /proc/sys/vm/drop_caches", "Read-only file system"),
    ("namespace limits", "echo 9 > /proc/sys/user/max_user_namespaces", "Read-only file system"),
    ("interrupts", "echo 1 > /proc/irq/default_smp_affinity", "Read-only file system"),
    ("the kernel's memory", "head -c1 /proc/kcore | wc -c", "0"),
    ("the kernel's addresses", "cut -c1-16 /proc/kallsyms | sort -u", "0000000000000000"),
    ("the kernel's log", "head -c1 /proc/kmsg", "Permission denied"),
    ("page flags", "head -c8 /proc/kpageflags", "Permission denied"),
    ("the keys in use", "wc -c < /proc/keys", "0"),
    ("timers", "wc -c < /proc/timer_list", "0"),
    ("what others do", "cat /proc/[0-9]*/comm | grep -v -e sh -e cat -e grep -e sandbox; echo $?", "1"),
    ("a mount's host path", "grep -c -e /tmp/ -e /home -e /var /proc/self/mountinfo", "0"),
    ("devices of /sys", "ls -A /sys | wc -l", "0"),
    ("cgroups", "ls /sys/fs/cgroup", "No such file"),
    ("other devices", "ls /dev | tr '\\n' ' '", "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"),
    ("new devices", "touch /dev/x", "Read-only file system"),
    ("the terminal", ": < /dev/tty", "No such device or address"),
    ("the host's name", "cat /proc/sys/kernel/hostname", "pybuild"),
    ("the host's users", "cat /etc/passwd", "No such file"),
    ("the host's files", "ls /home /root /var /opt /srv /run", "No such file"),
    ("docker's socket", "ls /var/run/docker.sock /run/dbus", "No such file"),
    ("the toolchain", "touch /usr/bin/x", "Read-only file system"),
    ("the toolchain's attributes", "chmod 700 /usr/bin/env", "Read-only file system"),
    ("capabilities", "grep -c -e 'Cap.*0000000000000000' /proc/self/status", "5"),
    ("rights by exec", "grep NoNewPrivs /proc/self/status", "1"),
    ("a filter", "grep Seccomp: /proc/self/status", "2"),
    ("the map", "cat /proc/self/uid_map | tr -s ' '", "1"),
    ("another map", "echo 0 0 1 > /proc/self/uid_map", "error"),
    ("groups", "cat /proc/self/setgroups", "deny"),
    ("open descriptors", "echo [$(ls /proc/self/fd)]", "[0 1 2 3]"),
    ("core dumps", "echo $(ulimit -c) $(ulimit -Hc)", "0 0"),
    ("more descriptors", "echo $(ulimit -n) $(ulimit -Hn)", "4096 4096"),
    ("a session of others", "test $(cut -d' ' -f6 /proc/$$/stat) = $$ && echo its own", "its own"),
    ("set-uid bits", "grep -v nosuid /proc/self/mountinfo || echo nowhere", "nowhere"),
    ("device nodes", "grep -v nodev /proc/self/mountinfo | cut -d' ' -f5 | grep -v -e ^/dev -e ^/proc/ || echo nowhere", "nowhere"),
    ("the mask for new files", "umask", "0022"),
    ("interfaces", "tail -n +3 /proc/net/dev | cut -d: -f1", "lo"),
];

#[test]
fn nothing_of_the_host_is_seen() {
    if cannot_sandbox() {
        return;
    }
    for (what, script, expected) in SIGHTS {
        let output = Sandbox::new().run(&format!("exec 2>&1; {script}")).output;
        assert!(output.contains(expected), "{what}: {script}: {output}");
    }
}

#[test]
fn the_environment_is_what_was_given() {
    if cannot_sandbox() {
        return;
    }
    let output = Sandbox::new().exec(&["env"]).success();
    assert_eq!(output, "PATH=/usr/bin:/bin\n");
}

/// A script for Perl that says how a connection fails.
fn connecting(family: &str, address: &str) -> String {
    format!(
        "use Socket; socket(my $s, {family}, SOCK_STREAM, 0) or die; connect($s, {address}) \
         ? print 'connected' : print $! + 0"
    )
}

#[test]
fn no_network_is_reached() {
    if cannot_sandbox() {
        return;
    }
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = tcp.local_addr().expect("an address").port();
    let name = format!("pybuild-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _abstract = UnixListener::bind_addr(&address).expect("a listener");
    let inet = |host: &str, port: u16| {
        connecting(
            "PF_INET",
            &format!("pack_sockaddr_in({port}, inet_aton('{host}'))"),
        )
    };
    let table = [
        ("elsewhere", inet("192.0.2.1", 80), Errno::ENETUNREACH),
        (
            "a cloud's metadata",
            inet("169.254.169.254", 80),
            Errno::ENETUNREACH,
        ),
        (
            "the host's loopback",
            inet("127.0.0.1", port),
            Errno::ECONNREFUSED,
        ),
        (
            "the host's abstract sockets",
            connecting("PF_UNIX", &format!("pack_sockaddr_un(\"\\0{name}\")")),
            Errno::ECONNREFUSED,
        ),
    ];
    for (what, script, expected) in table {
        let output = Sandbox::new().exec(&["perl", "-e", &script]).success();
        assert_eq!(output, (expected as i32).to_string(), "{what}");
    }
}

#[test]
fn its_own_loopback_works() {
    if cannot_sandbox() {
        return;
    }
    let script = "use Socket; socket(my $l, PF_INET, SOCK_STREAM, 0); \
        bind($l, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die $!; listen($l, 1); \
        socket(my $s, PF_INET, SOCK_STREAM, 0); connect($s, getsockname($l)) or die $!; \
        print 'connected'";
    assert_eq!(
        Sandbox::new().exec(&["perl", "-e", script]).success(),
        "connected"
    );
}

#[test]
fn foreign_system_calls_kill() {
    if cannot_sandbox() {
        return;
    }
    // getpid, with the bit that makes it an x32 call.
    #[cfg(target_arch = "x86_64")]
    {
        let end = Sandbox::new().exec(&["perl", "-e", "syscall(0x40000027); print 'alive'"]);
        assert_eq!(end.outcome.end, End::Killed(libc::SIGSYS), "{}", end.output);
        assert_eq!(end.output, "");
        let mut sandbox = Sandbox::new();
        let file = sandbox.own_dir("bin").join("i386");
        fs::write(&file, I386_EXIT).expect("write");
        make_executable(&file);
        sandbox.bind(&sandbox.at("bin"), "/test", Access::ReadOnly);
        let end = sandbox.exec(&["/test/i386"]).outcome.end;
        // SIGSEGV where the kernel has no 32-bit calls at all.
        assert!(
            end == End::Killed(libc::SIGSYS) || end == End::Killed(libc::SIGSEGV),
            "{end:?}"
        );
    }
}

/// A 64-bit program that ends by the 32-bit call for it: `mov eax, 1; mov ebx, 42; int 0x80`.
#[cfg(target_arch = "x86_64")]
const I386_EXIT: &[u8] = &[
    0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x3e, 0, 1, 0, 0, 0, 0x78, 0,
    0x40, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 56, 0,
    1, 0, 0, 0, 0, 0, 0, 0, // the program header:
    1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0,
    0, 0, 0x84, 0, 0, 0, 0, 0, 0, 0, 0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0,
    // the program:
    0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80,
];

#[cfg(target_arch = "x86_64")]
fn make_executable(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("chmod");
}

#[test]
fn killing_everyone_kills_no_one_else() {
    if cannot_sandbox() {
        return;
    }
    let end = Sandbox::new().run("kill -9 -1; echo alive").outcome.end;
    assert_eq!(end, End::Exited(0), "the shell is not among those it kills");
}

#[test]
fn no_namespace_is_the_hosts() {
    if cannot_sandbox() {
        return;
    }
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let path = format!("/proc/self/ns/{kind}");
        let Ok(host) = fs::read_link(&path) else {
            continue; // a kernel without such namespaces
        };
        let output = Sandbox::new().run(&format!("readlink {path}")).success();
        let inside = output.trim_end();
        assert!(inside.starts_with(&format!("{kind}:[")), "{output}");
        assert_ne!(host.to_str(), Some(inside));
    }
}

#[test]
fn inputs_stay_as_they_are_and_outputs_belong_to_the_user() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    let (input, output) = (sandbox.own_dir("input"), sandbox.own_dir("output"));
    fs::write(input.join("file"), "as it was").expect("write");
    sandbox.bind(&input, "/build/input", Access::ReadOnly);
    sandbox.bind(&output, "/build/output", Access::ReadWrite);
    let script = "exec 2>&1; cd /build; echo x > input/file; rm -f input/file; mv input/file f; \
        touch input/new; echo done > output/file; umask; id -u";
    let printed = sandbox.run(script).success();
    assert_eq!(
        printed.matches("Read-only file system").count(),
        4,
        "{printed}"
    );
    assert_eq!(
        fs::read_to_string(input.join("file")).expect("read"),
        "as it was"
    );
    assert_eq!(fs::read_dir(&input).expect("readdir").count(), 1);
    let made = fs::metadata(output.join("file")).expect("stat");
    let owner = std::os::unix::fs::MetadataExt::uid(&made);
    assert_eq!(owner, sandbox.host.outside().uid);
    assert_ne!(owner, 0);
}

#[test]
fn the_launchers_executable_stays_as_it_is() {
    if cannot_sandbox() {
        return;
    }
    let read = || {
        let mut bytes = Vec::new();
        fs::File::open(env!("CARGO_BIN_EXE_pybuild"))
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .expect("read");
        bytes
    };
    let before = read();
    let script = "for i in 1 2 3 4 5 6 7 8 9; do for f in /proc/[0-9]*/exe; do \
        echo x >> $f; done; done 2>/dev/null; true";
    Sandbox::new().run(script).success();
    assert!(before == read(), "the launcher's executable was changed");
}

#[test]
fn on_the_hosts_network_abstract_sockets_stay_out_of_reach() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.spec.network = Network::Host;
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = tcp.local_addr().expect("an address").port();
    let address = format!("pack_sockaddr_in({port}, INADDR_LOOPBACK)");
    let script = connecting("PF_INET", &address);
    assert_eq!(
        sandbox.exec(&["perl", "-e", &script]).success(),
        "connected"
    );
    if !sandbox.host.can_scope() {
        return; // a kernel before 6.12, which the host's probe has said
    }
    let name = format!("pybuild-test-host-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("a listener");
    let script = connecting("PF_UNIX", &format!("pack_sockaddr_un(\"\\0{name}\")"));
    let output = sandbox.exec(&["perl", "-e", &script]).success();
    assert_eq!(output, libc::EPERM.to_string());
}
