//! The root file system: layers, what is written, what a hostile one tries.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use nix::errno::Errno;
use pybuild::sandbox::{Access, Changes, Op, PlanError, Rooting, SandboxError};

use super::kit::{self, Sandbox, cannot_sandbox};

/// Each way of putting a root together that works here.
fn rootings() -> Vec<Rooting> {
    let mut ways = vec![Rooting::Overlay, Rooting::Copy];
    let program = Path::new("/usr/bin/fuse-overlayfs");
    let open = fs::metadata("/dev/fuse").is_ok_and(|found| found.mode() & 0o006 == 0o006);
    if program.exists() && open {
        ways.push(Rooting::Fuse {
            program: program.to_owned(),
        });
    }
    ways
}

#[test]
fn what_is_written_is_there_in_the_next_run() {
    if cannot_sandbox() {
        return;
    }
    for rooting in rootings() {
        let mut sandbox = Sandbox::new();
        sandbox.host = sandbox.host.with_rooting(rooting.clone());
        fs::write(sandbox.at("layer/etc/below"), "below").expect("write");
        sandbox
            .run("set -e; exec 2>&1; echo new > /new; mkdir -p /a/b; ln -s new /link; mv /a/b /a/c; rm /etc/below")
            .success();
        let output = sandbox.run("cat /new /link; ls /a; ls -A /etc").success();
        assert_eq!(output, "new\nnew\nc\n", "{rooting:?}");
        assert_eq!(
            fs::read_to_string(sandbox.at("layer/etc/below")).expect("read"),
            "below",
            "{rooting:?}: the layer stays as it is"
        );
        let made = fs::metadata(sandbox.at("upper/new")).expect("stat");
        assert_eq!(made.uid(), sandbox.host.outside().uid, "{rooting:?}");
    }
}

#[test]
fn what_is_discarded_is_gone_with_the_sandbox() {
    if cannot_sandbox() {
        return;
    }
    for rooting in rootings() {
        let mut sandbox = Sandbox::new();
        sandbox.host = sandbox.host.with_rooting(rooting.clone());
        let in_memory = sandbox.host.can_discard();
        sandbox.own_dir("layer/etc/dir");
        for name in ["layer/etc/below", "layer/etc/dir/file"] {
            fs::write(sandbox.at(name), "below").expect("write");
        }
        for _ in 0..2 {
            // A directory in the place of one of a layer is what needs extended attributes.
            let script = "set -e; exec 2>&1; test ! -e /new; cat /etc/below /etc/dir/file
                echo new > /new; rm /etc/below; rm -r /etc/dir; mkdir /etc/dir; ls -A /etc/dir /etc";
            let (ran, kept) = sandbox.run_discarding(script);
            let expected = "belowbelow/etc:\ndir\n\n/etc/dir:\n";
            assert_eq!(ran.success(), expected, "{rooting:?}");
            assert_eq!(kept, !in_memory, "{rooting:?}");
        }
        assert!(sandbox.at("layer/etc/dir/file").exists(), "{rooting:?}");
        assert!(!sandbox.at("upper/new").exists(), "{rooting:?}");
        assert!(!sandbox.at("layer/new").exists(), "{rooting:?}");
    }
}

#[test]
fn what_is_discarded_takes_no_more_memory_than_allowed() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    if !sandbox.host.can_discard() {
        return;
    }
    sandbox.spec.limits.tmpfs = 1 << 20;
    let script = "head -c 900000 /dev/zero > /fits && ! head -c 900000 /dev/zero 2>&1 > /more";
    let (ran, _) = sandbox.run_discarding(script);
    assert!(ran.success().contains("No space left"));
}

#[test]
fn where_memory_cannot_hold_changes_there_is_no_plan_to_discard_them() {
    let mut sandbox = Sandbox::new();
    sandbox.host = sandbox.host.with_rooting(Rooting::Copy);
    sandbox.spec.root.changes = Changes::Discarded;
    let error = sandbox.try_exec(&["true"]).0.expect_err("no plan");
    let expected = matches!(error, SandboxError::Plan(PlanError::CannotDiscard));
    assert!(expected, "{error}");
}

#[test]
fn upper_layers_hide_lower_ones() {
    if cannot_sandbox() {
        return;
    }
    for rooting in rootings() {
        let mut sandbox = Sandbox::new();
        sandbox.host = sandbox.host.with_rooting(rooting.clone());
        let strange = "a layer, with: \\strange";
        for (layer, text) in [("middle", "middle"), (strange, "top")] {
            let dir = sandbox.own_dir(layer);
            fs::create_dir(dir.join("etc")).expect("mkdir");
            fs::write(dir.join("etc/file"), text).expect("write");
            sandbox.spec.root.layers.push(dir);
        }
        fs::write(sandbox.at("layer/etc/file"), "lowest").expect("write");
        fs::write(sandbox.at("layer/etc/other"), " lowest").expect("write");
        let output = sandbox.run("cat /etc/file /etc/other").success();
        assert_eq!(output, "top lowest", "{rooting:?}");
    }
}

#[test]
fn preparing_pretends_what_one_uid_cannot_do() {
    if cannot_sandbox() {
        return;
    }
    let script = "set -e; cd /tmp; : > f; chown 12:34 f; chgrp 5 f; chmod 4755 f; sync; sync f; \
        mkfifo p; test -p p; mknod c c 1 3; test ! -e c; id -u; stat -c %u f; \
        perl -e '$< = 33; $> = 33; $( = 33; print $! + 0, qq(\\n)'; \
        perl -e 'print syscall(165, 1, 2, 3, 4, 5), $! + 0, qq(\\n)'; \
        grep CapEff /proc/self/status; (unshare -m true; umount /proc/sys) 2>&1 || echo denied";
    let output = Sandbox::preparing().run(script).success();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..3], ["0", "0", "0"], "{output}");
    assert!(output.contains("CapEff:\t00000000800400fb"), "{output}");
    assert!(output.ends_with("denied\n"), "{output}");
    #[cfg(target_arch = "x86_64")]
    assert_eq!(lines[3], "-11", "mount(2) stays denied");
}

#[test]
fn a_link_in_place_of_a_mount_point_is_refused() {
    if cannot_sandbox() {
        return;
    }
    for name in ["proc", "sys", "dev", "tmp"] {
        let mut sandbox = Sandbox::new();
        let outside = sandbox.own_dir("outside");
        symlink(&outside, sandbox.at("layer").join(name)).expect("symlink");
        match sandbox.try_exec(&["true"]).0 {
            Err(SandboxError::Setup { step, failure }) => {
                assert!(matches!(*step, Op::Mount { .. }), "{name}: {step}");
                // ENOTDIR where a directory was asked for and the last name is a symlink.
                let errno = failure.errno();
                assert!(
                    [Some(Errno::ELOOP), Some(Errno::ENOTDIR)].contains(&errno),
                    "{name}: {failure}"
                );
            }
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(fs::read_dir(&outside).expect("readdir").count(), 0);
    }
}

#[test]
fn device_nodes_of_the_rootfs_are_not_followed() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    let dev = sandbox.own_dir("layer/dev");
    symlink("/proc/sys/kernel/core_pattern", dev.join("null")).expect("symlink");
    symlink("/proc/sysrq-trigger", dev.join("pts")).expect("symlink");
    assert_eq!(
        sandbox
            .run("test -c /dev/null && test ! -L /dev/null && echo x > /dev/null; echo $?")
            .success(),
        "0\n"
    );
}

#[test]
fn binds_never_leave_the_root() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    let (outside, input) = (sandbox.own_dir("outside"), sandbox.own_dir("input"));
    fs::write(input.join("file"), "x").expect("write");
    let file = input.join("file");
    symlink("/etc", sandbox.at("layer/absolute")).expect("symlink");
    symlink("../../../../../..", sandbox.at("layer/up")).expect("symlink");
    sandbox.bind(&input, "/absolute/new/dir", Access::ReadOnly);
    sandbox.bind(&file, "/absolute/new-file", Access::ReadOnly);
    sandbox.bind(&input, "/up/also-new", Access::ReadOnly);
    sandbox.bind(&file, "/tmp/in/memory", Access::ReadOnly);
    let script = "cat /etc/new/dir/file /etc/new-file /also-new/file /tmp/in/memory";
    assert_eq!(sandbox.run(script).success(), "xxxx");
    assert!(!Path::new("/also-new").exists() && !Path::new("/etc/new").exists());

    // A link to what is there on the host only leads nowhere.
    symlink(&outside, sandbox.at("layer/out")).expect("symlink");
    sandbox.bind(&input, "/out/new", Access::ReadOnly);
    let error = sandbox.try_exec(&["true"]).0.expect_err("nowhere");
    assert!(matches!(error, SandboxError::Setup { .. }), "{error}");
    assert_eq!(fs::read_dir(&outside).expect("readdir").count(), 0);
}

#[test]
fn a_work_directory_that_cannot_be_written_is_told() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    fs::set_permissions(sandbox.at("work"), fs::Permissions::from_mode(0o555)).expect("chmod");
    sandbox.spec.root.changes = Changes::Kept {
        upper: sandbox.at("upper"),
        work: "/proc/self/fdinfo".into(),
    };
    let error = sandbox
        .try_exec(&["true"])
        .0
        .expect_err("no work directory");
    assert!(matches!(error, SandboxError::Setup { .. }), "{error}");
}

#[test]
fn no_root_heeds_device_nodes_or_set_uid_bits() {
    if cannot_sandbox() {
        return;
    }
    for rooting in rootings() {
        let mut sandbox = Sandbox::new();
        sandbox.host = sandbox.host.with_rooting(rooting.clone());
        let script = "grep ' / / ' /proc/self/mountinfo || grep ' / ' /proc/self/mountinfo";
        let mount = sandbox.run(script).success();
        let flags = mount.split(' ').nth(5).expect("flags");
        for flag in ["nosuid", "nodev"] {
            assert!(flags.split(',').any(|f| f == flag), "{rooting:?}: {mount}");
        }
    }
}

#[test]
fn suid_programs_of_the_rootfs_give_nothing() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    let program = sandbox.at("layer/suid");
    fs::copy("/usr/bin/id", &program).expect("copy"); // ours: root's, when root runs the tests
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).expect("chmod");
    assert_eq!(sandbox.exec(&["/suid", "-u"]).success(), "1000\n");
}

#[test]
fn older_kernels_give_the_same() {
    if cannot_sandbox() {
        return;
    }
    let table: [(&str, &[libc::c_long]); 3] = [
        ("before 5.12", &[libc::SYS_mount_setattr]),
        (
            "before 5.11",
            &[libc::SYS_mount_setattr, libc::SYS_close_range],
        ),
        (
            "before 5.2",
            &[
                libc::SYS_mount_setattr,
                libc::SYS_close_range,
                libc::SYS_openat2,
                libc::SYS_open_tree,
                libc::SYS_move_mount,
            ],
        ),
    ];
    for (kernel, calls) in table {
        // A thread, because a filter cannot be taken off again.
        let thread = std::thread::spawn(move || {
            kit::answer(calls, libc::ENOSYS);
            let mut sandbox = Sandbox::new();
            let input = sandbox.own_dir("in put");
            fs::write(input.join("file"), "x").expect("write");
            sandbox.bind(&input, "/etc/in put", Access::ReadOnly);
            let script = "exec 2>&1; cat '/etc/in put/file'; touch '/etc/in put/new' /usr/new /dev/new; \
                echo > /proc/sys/kernel/core_pattern; echo > /new; ls /dev/shm; \
                ls /proc/self/fd | tr '\\n' ' '; grep -c ' /usr ro,nosuid,nodev' /proc/self/mountinfo";
            sandbox.run(script).success()
        });
        let output = thread.join().expect("a run");
        assert_eq!(
            output.matches("Read-only file system").count(),
            4,
            "{kernel}: {output}"
        );
        assert!(output.starts_with('x'), "{kernel}: {output}");
        assert!(output.ends_with("0 1 2 3 1\n"), "{kernel}: {output}");
    }
}
