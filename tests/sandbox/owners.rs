//! What one uid cannot do while a root is being prepared: it is written on the files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use pybuild::model::Stamp;
use pybuild::sandbox::{End, Owners, Rooting};
use pybuild::sys::xattr;

use super::kit::{self, Ran, Sandbox, cannot_sandbox};

/// The stamp of a file that a sandbox has left, as text.
fn stamp(sandbox: &Sandbox, path: &str) -> Option<String> {
    let at = sandbox.at("upper").join(path);
    let value = xattr::get(&at, Stamp::ATTRIBUTE).expect(path);
    value.map(|value| String::from_utf8(value).expect("text"))
}

/// Each file with its stamp.
#[track_caller]
fn assert_stamps(sandbox: &Sandbox, expected: &[(&str, Option<&str>)]) {
    for (path, expected) in expected {
        assert_eq!(stamp(sandbox, path).as_deref(), *expected, "{path}");
    }
}

#[track_caller]
fn recorded(ran: Ran) -> String {
    assert_eq!(ran.outcome.owners, Owners::Recorded, "{}", ran.output);
    ran.success()
}

#[test]
fn owners_go_with_their_files() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::preparing();
    let script = "set -e; exec 2>&1; mkdir /d /d/sub; cd /d
        : > plain; : > both; chown 12:34 both; : > group; chgrp 8 group; : > user; chown 5 user
        : > new.dpkg-new; chown 0:42 new.dpkg-new; mv new.dpkg-new renamed
        : > gone; chown 9:9 gone; rm gone; : > gone
        : > one; ln one two; chown 7:7 two
        ln -s both link; chown -h 1:1 link; chown :35 link
        : > twice; chown 3:3 twice; chown 0 twice; chown :0 twice
        chown 0:50 sub; mv sub moved; chown 6:6 /d
        ls -l > /dev/null; stat -c %u:%g both";
    let output = recorded(sandbox.run(script));
    // Nobody inside is told.
    assert_eq!(output, "0:0\n");
    assert_stamps(
        &sandbox,
        &[
            ("d", Some("6:6")),
            ("d/plain", None),
            ("d/both", Some("12:35")),
            ("d/group", Some(":8")),
            ("d/user", Some("5:")),
            ("d/renamed", Some("0:42")),
            ("d/gone", None),
            ("d/one", Some("7:7")),
            ("d/twice", Some("0:0")),
            ("d/moved", Some("0:50")),
        ],
    );
}

#[test]
fn a_root_that_is_a_copy_says_the_same() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::preparing();
    sandbox.host = sandbox.host.with_rooting(Rooting::Copy);
    sandbox.own_file("layer/etc/file", "below");
    let script = "set -e; : > /new; chown 1:2 /new; chown :42 /etc/file; mknod /dev-null c 1 3";
    recorded(sandbox.run(script));
    assert_stamps(
        &sandbox,
        &[
            ("new", Some("1:2")),
            ("etc/file", Some(":42")),
            ("dev-null", Some("0:0 c 1 3")),
        ],
    );
}

#[test]
fn a_file_of_a_layer_is_copied_with_its_new_owner_and_the_layer_stays() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::preparing();
    sandbox.own_file("layer/etc/file", "below");
    sandbox.own_dir("layer/etc/dir");
    recorded(sandbox.run("chown 0:42 /etc/file /etc/dir"));
    assert_stamps(
        &sandbox,
        &[("etc/file", Some("0:42")), ("etc/dir", Some("0:42"))],
    );
    for name in ["layer/etc/file", "layer/etc/dir"] {
        let below = xattr::get(&sandbox.at(name), Stamp::ATTRIBUTE);
        assert_eq!(below, Ok(None), "{name}");
    }
    let copied = fs::read_to_string(sandbox.at("upper/etc/file"));
    assert_eq!(copied.expect("a file"), "below");
}

#[test]
fn set_id_bits_are_the_kernels_and_go_when_the_owner_changes() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::preparing();
    let script = "set -e; exec 2>&1; mkdir /d; cd /d
        : > kept; chown 0:42 kept; chmod 2755 kept
        : > lost; chmod 6755 lost; chown 0:42 lost
        mkdir dir; chmod 2775 dir; chown 0:8 dir
        : > taken; chmod 4755 taken; chmod u-s taken
        stat -c '%a %n' *";
    let output = recorded(sandbox.run(script));
    assert_eq!(output, "2775 dir\n2755 kept\n755 lost\n755 taken\n");
}

#[test]
fn devices_are_files_that_say_so() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::preparing();
    let script = "exec 2>&1; mkdir /d && cd /d || exit
        umask 027; mknod -m 640 random c 1 8; mknod sda b 8 0; chown 0:6 sda; mv sda sdb
        mknod sdb b 8 16; echo $?; mknod gone c 1 3; rm gone; mknod /nowhere/x c 1 3; echo $?
        mknod white c 0 0; echo $?
        mknod /tmp/elsewhere c 1 3; echo $?; ls /tmp; mkfifo pipe; ls";
    let output = recorded(sandbox.run(script));
    let said: Vec<&str> = output.lines().filter(|line| !line.contains(' ')).collect();
    assert_eq!(
        said,
        ["1", "0", "1", "0", "pipe", "random", "sdb"],
        "{output}"
    );
    assert!(output.contains("sdb: File exists"), "{output}");
    assert_stamps(
        &sandbox,
        &[
            ("d/random", Some("0:0 c 1 8")),
            ("d/sdb", Some("0:6 b 8 0")),
        ],
    );
    for (name, mode) in [("random", 0o640), ("sdb", 0o640)] {
        let found = fs::metadata(sandbox.at("upper/d").join(name)).expect("a file");
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{name}");
        assert_eq!(found.len(), 0, "{name}");
    }
}

/// A program for what a shell cannot do.
fn perl(lines: &str) -> String {
    format!(
        "exec 2>&1; cd /d && perl -e '$SIG{{ALRM}} = sub {{ die \"hung\" }}; alarm 50; {lines}'"
    )
}

#[cfg(target_arch = "x86_64")]
#[test]
fn paths_are_resolved_as_the_caller_would() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::preparing();
    sandbox.run("mkdir -p /d/in/jail/d; : > /d/in/a; : > /d/in/jail/b; : > /d/in/jail/d/c; : > /d/o; : > /d/p; : > /d/e; : > /b").success();
    let program = perl(
        // 260: fchownat, 93: fchown, 161: chroot. O_PATH: 010000000.
        r"use Fcntl; sysopen(D, qq(in), O_RDONLY | 0200000) or die; my $d = fileno D;
        sub at { my ($d, $p, $o, $f) = @_; syscall(260, $d, $p, $o, $o, $f) == 0 ? 0 : $! + 0 }
        print join(q( ), at($d, qq(a), 1, 0), at($d, qq(../o), 2, 0), at($d, qq(), 3, 0x1000),
            at($d, qq(), 4, 0), at($d, qq(a/b), 5, 0), at(77, qq(a), 6, 0), at($d, qq(a), 7, 0x8000)), qq(\n);
        open(O, q(>), qq(e)); unlink qq(e); open(N, q(>), qq(e));
        print syscall(93, fileno(O), 8, 8), qq(\n);
        open(P, q(<), qq(p)); print at(-100, q(/proc/self/fd/) . fileno(P), 9, 0), qq(\n);
        chroot(qq(in/jail)) or die; chdir(q(/d)) or die;
        print join(q( ), at(-100, q(/b), 10, 0), at(-100, q(/../../b), 11, 0), at(-100, qq(c), 12, 0),
            at(-100, qq(../../../../b), 13, 0)), qq(\n);",
    );
    let ran = sandbox.run(&program);
    let owners = ran.outcome.owners;
    let output = ran.success();
    assert_eq!(output, "0 0 0 0 20 9 22\n0\n0\n0 0 0 0\n");
    // The last way led through the callers root and back, which only the kernel can go.
    assert_eq!(owners, Owners::Partly(1));
    assert_stamps(
        &sandbox,
        &[
            ("d/in/a", Some("1:1")),
            ("d/o", Some("2:2")),
            ("d/in", Some("3:3")),
            ("d/e", None),
            ("d/p", Some("9:9")),
            ("d/in/jail/b", Some("11:11")),
            ("d/in/jail/d/c", Some("12:12")),
            ("b", None),
        ],
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn hostile_callers_get_an_answer_and_nothing_else() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::preparing();
    sandbox.run("mkdir /d; : > /d/a").success();
    // Paths that are too long, without an end, nowhere; descriptors that are none; links of /proc
    // that would lead to what pid 1 has; what hides itself (157: prctl, PR_SET_DUMPABLE).
    let program = perl(
        r"sub own { my ($p) = @_; syscall(260, -100, $p, 1, 1, 0) == 0 ? 0 : $! + 0 }
        print join(q( ), own(q(x) x 5000), own(q(x/) x 2000 . q(x)), own(0 + 1), own(-1), syscall(93, -5, 1, 1) + 0,
            syscall(93, 4000, 1, 1) + 0), qq(\n);
        print join(q( ), map { own($_) } qw(/proc/self/exe /proc/1/exe /proc/1/fd/0 /proc/self/root/d/a)), qq(\n);
        print join(q( ), syscall(133, 1 + 0, 020666, 0x103) + 0, $! + 0), qq(\n);
        syscall(157, 4, 0, 0, 0, 0); print own(q(/d/a)), qq(\n);",
    );
    let ran = sandbox.run(&program);
    let owners = ran.outcome.owners;
    let output = ran.success();
    assert_eq!(output, "36 0 14 14 -1 -1\n0 0 0 0\n-1 14\n0\n");
    assert!(matches!(owners, Owners::Partly(_)), "{owners:?}");
    assert_stamps(&sandbox, &[("d/a", None)]);
    let exe = xattr::get(env!("CARGO_BIN_EXE_pybuild").as_ref(), Stamp::ATTRIBUTE);
    assert_eq!(exe, Ok(None), "the host's program");
}

#[test]
fn callers_that_race_and_die_keep_nobody_waiting() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::preparing();
    let script = "mkdir /d; cd /d; : > a; : > b
        for n in 1 2 3 4; do
            ( while :; do chown 1:1 a b 2>/dev/null; done ) & one=$!
            ( while :; do mv a c 2>/dev/null; mv c a 2>/dev/null; done ) & two=$!
            sleep 0.2; kill -9 $one $two
        done
        ( while :; do chown 2:2 b; done ) &
        exit 7";
    let ran = sandbox.run(script);
    assert_eq!(ran.outcome.end, End::Exited(7), "{}", ran.output);
}

#[test]
fn a_capability_is_kept_apart_and_other_attributes_are_not_had() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::preparing();
    sandbox
        .run("mkdir /d; for f in a b c; do : > /d/$f; done")
        .success();
    let set = "import os\n\
        cap = bytes([1, 0, 0, 2, 0, 32, 0, 0] + [0] * 12)\n\
        def has(path, name, value):\n\
        \x20   try:\n\
        \x20       os.setxattr(path, name, value); return 0\n\
        \x20   except OSError as e:\n\
        \x20       return e.errno\n\
        print(has('/d/a', 'security.capability', cap), has('/d/b', 'security.capability', cap),\n\
        \x20   has('/d/c', 'user.x', b'y'), has('/d/c', 'user.pybuild.owner', b'9:9'),\n\
        \x20   has('/d', 'security.capability', cap), has('/d/c', 'security.capability', cap * 9))\n\
        os.chown('/d/b', 0, 5)";
    let ran = sandbox.exec(&["python3", "-c", set]);
    assert_eq!(recorded(ran), "0 0 95 95 95 95\n");
    let capability = |name: &str| {
        let path = sandbox.at("upper/d").join(name);
        xattr::get(&path, Stamp::CAPABILITY).expect("readable")
    };
    assert_eq!(capability("a").map(|value| value.len()), Some(20));
    assert_eq!(capability("b"), None, "its owner has changed");
    assert_stamps(&sandbox, &[("d/b", Some("0:5")), ("d/c", None)]);
}

#[test]
fn a_build_is_denied_what_a_preparation_pretends() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    let script = "exec 2>&1; mkdir /d; cd /d; : > f; chown 1:1 f; mknod c c 1 3; ls";
    let ran = sandbox.run(script);
    assert_eq!(ran.outcome.owners, Owners::Denied);
    let output = ran.success();
    assert_eq!(
        output.matches("Operation not permitted").count(),
        1,
        "{output}"
    );
    assert_eq!(output.matches("Invalid argument").count(), 1, "{output}");
    assert_stamps(&sandbox, &[("d/f", None)]);
}

#[test]
fn where_nobody_can_listen_it_is_only_pretended() {
    if cannot_sandbox() {
        return;
    }
    // As an older kernel answers; and where an outer filter has a listener already.
    let thread = std::thread::spawn(|| {
        let listener = pybuild::sys::notify::install_filter(&kit::nothing_to_hear());
        let mut sandbox = Sandbox::preparing();
        let script = "set -e; mkdir /d; cd /d; : > f; chown 1:1 f; mknod c c 1 3; ls";
        let ran = sandbox.run(script);
        drop(listener);
        assert_eq!(ran.outcome.owners, Owners::Pretended);
        assert_eq!(ran.success(), "f\n");
        assert_stamps(&sandbox, &[("d/f", None)]);
    });
    thread.join().expect("a run");
}

#[test]
fn who_copies_an_owner_copies_the_one_that_cannot_be_seen() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::preparing();
    let script = "set -e; exec 2>&1; mkdir /d; cd /d
        echo a > shadow; chown 0:42 shadow; chmod 640 shadow; : > root
        sed -i s/a/b/ shadow; sed -i s/a/b/ root
        : > explicit; chown 0:42 explicit; chown 0:0 explicit
        perl -e 'open(S, q(<), qq(shadow)); for (qw(shadow+ shadow- root- new.dpkg-new)) {
            open(F, q(>), $_) and chown(0, 0, *F) or die }'
        perl -e 'open(F, q(>), qq(other)) and chown(0, 0, *F) or die'
        mv shadow+ renamed";
    recorded(sandbox.run(script));
    assert_stamps(
        &sandbox,
        &[
            ("d/shadow", Some("0:42")),
            ("d/root", Some("0:0 ?")),
            ("d/explicit", Some("0:0")),
            ("d/renamed", Some("0:42")),
            ("d/shadow-", Some("0:42")),
            ("d/other", Some("0:0 ?")),
            ("d/root-", Some("0:0 ?")),
            ("d/new.dpkg-new", Some("0:0")),
        ],
    );
}
