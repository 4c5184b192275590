//! How a sandbox starts and ends: nothing comes in that was not given, nothing stays.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pybuild::sandbox::{End, Failure, Identity, Input, Network, Output, SandboxError, doctor};
use pybuild::sys::interrupt::Interrupt;

use super::kit::{
    self, Sandbox, cannot_sandbox, launcher, nothing_is_left, processes_with, unique_sleep,
};

#[test]
fn exits_and_signals_are_told_apart() {
    if cannot_sandbox() {
        return;
    }
    let table = [
        ("exit 0", End::Exited(0)),
        ("exit 7", End::Exited(7)),
        ("exit 255", End::Exited(255)),
        ("kill -9 $$", End::Killed(9)),
        ("kill -15 $$", End::Killed(15)),
        ("kill -PIPE $$", End::Killed(13)),
    ];
    for (script, end) in table {
        assert_eq!(Sandbox::new().run(script).outcome.end, end, "{script}");
    }
}

/// Who has children is the thread that made them (`proc_pid_children(5)`); the dead count until they
/// were waited for.
#[test]
fn a_sandbox_that_was_started_ahead_and_is_not_needed_leaves_nobody() {
    if cannot_sandbox() {
        return;
    }
    let children = || fs::read_to_string("/proc/thread-self/children").expect("/proc");
    let launcher = launcher();
    launcher
        .start_ahead(Identity::BUILDER, Network::None)
        .expect("started");
    assert_eq!(children().split_whitespace().count(), 1);
    drop(launcher);
    assert_eq!(children(), "");
}

#[test]
fn time_and_memory_are_told() {
    if cannot_sandbox() {
        return;
    }
    let ran = Sandbox::new().exec(&["perl", "-e", "$x = 'x' x (32 << 20); 1 for 1..3000000"]);
    let outcome = ran.outcome;
    assert!(outcome.cpu > Duration::ZERO && outcome.cpu <= outcome.wall * 64);
    assert!(outcome.peak_memory > Some(32 << 20), "{outcome:?}");
}

#[test]
fn what_cannot_be_executed_is_told_apart() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    let bin = sandbox.at("layer/test");
    fs::create_dir(&bin).expect("mkdir");
    fs::write(bin.join("plain"), "x").expect("write");
    fs::write(bin.join("script"), "#!/nowhere/sh\n").expect("write");
    for name in ["plain", "script"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = if name == "script" { 0o755 } else { 0o644 };
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let mut fails = |program: &str| match sandbox.try_exec(&[program]).0 {
        Err(SandboxError::Command(failure)) => failure,
        other => panic!("{program}: {other:?}"),
    };
    assert_eq!(
        fails("nowhere").to_string(),
        "nowhere: not found in /usr/bin:/bin"
    );
    assert_eq!(
        fails("/nowhere").to_string(),
        "/nowhere: not found in the sandbox"
    );
    assert_eq!(
        fails("/test/script").to_string(),
        "/test/script: its interpreter is not there"
    );
    assert!(matches!(
        fails("/test/plain"),
        Failure::Call {
            errno: libc::EACCES,
            ..
        }
    ));
    assert!(matches!(
        fails("/test"),
        Failure::Call {
            errno: libc::EACCES,
            ..
        }
    ));
    sandbox.spec.command.cwd = "/nowhere".parse().expect("a path");
    match sandbox.try_exec(&["true"]).0 {
        Err(SandboxError::Command(failure)) => {
            assert_eq!(
                failure.to_string(),
                "chdir(/nowhere): No such file or directory"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(!sandbox.at("upper/nowhere").exists());
}

#[test]
fn daemons_are_not_waited_for_and_do_not_stay() {
    if cannot_sandbox() {
        return;
    }
    let sleep = unique_sleep();
    // Twice forked, a session of its own, and our standard output in its hands.
    let script =
        format!("(setsid sh -c 'sleep {sleep} & sleep {sleep}' &); echo $(sleep 0.1; echo ready)");
    let ran = Sandbox::new().run(&script);
    assert_eq!(ran.outcome.end, End::Exited(0));
    assert_eq!(ran.output, "ready\n");
    nothing_is_left(&sleep);
}

#[test]
fn orphans_are_reaped() {
    if cannot_sandbox() {
        return;
    }
    let script = "for i in 1 2 3 4 5; do (sh -c 'exit 3' &) ; done; sleep 0.3; \
        cat /proc/[0-9]*/stat | cut -d' ' -f3 | grep -c Z";
    assert_eq!(Sandbox::new().run(script).output.trim(), "0");
}

#[test]
fn an_interrupt_ends_it_at_once() {
    if cannot_sandbox() {
        return;
    }
    let sleep = unique_sleep();
    let interrupt = Interrupt::manual().expect("an eventfd");
    let script =
        format!("trap '' INT TERM; sleep {sleep} & echo ready; sleep {sleep}; sleep {sleep}");
    let raise = interrupt.clone();
    let mut take = |_: &[u8]| raise.raise(Signal::SIGTERM);
    let result = Sandbox::new().start(&["sh", "-c", &script], &mut take, &interrupt);
    assert!(matches!(result, Err(SandboxError::Interrupted(why)) if why.0 == Signal::SIGTERM));
    nothing_is_left(&sleep);
    // And one that came before is heeded too.
    let result = Sandbox::new().start(&["true"], &mut |_| {}, &interrupt);
    assert!(matches!(result, Err(SandboxError::Interrupted(_))));
}

/// What the test below and others run in a process of its own: the script in `SANDBOX_SCRIPT`.
#[test]
fn a_launcher_for_others() {
    if cannot_sandbox() {
        return;
    }
    let script = std::env::var("SANDBOX_SCRIPT").unwrap_or_else(|_| "true".to_owned());
    let mut sandbox = Sandbox::new();
    sandbox.spec.command.argv = ["sh", "-c", &script].map(str::to_owned).to_vec();
    let interrupt = Interrupt::install().expect("signal handlers");
    let before = open_descriptors();
    for _ in 0..3 {
        let output = Output::Inherit;
        match launcher().run(
            &sandbox.spec,
            &sandbox.host,
            Input::Null,
            output,
            &interrupt,
        ) {
            Err(SandboxError::Interrupted(_)) => std::process::exit(130),
            result => assert_eq!(result.expect("a run").end, End::Exited(0)),
        }
    }
    if std::env::var_os("SANDBOX_SCRIPT").is_some() {
        assert_eq!(
            open_descriptors(),
            before,
            "alone in its process, it leaks none"
        );
    }
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// This test executable again, for one test alone, by a shell that does something first.
fn alone(first: &str, script: &str) -> Command {
    let exe = std::env::current_exe().expect("an executable");
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{first}; exec \"$@\""), "sh"])
        .arg(exe)
        .args(["--exact", "life::a_launcher_for_others", "--nocapture"])
        .env("SANDBOX_SCRIPT", script)
        .stdout(Stdio::piped());
    command
}

#[test]
fn descriptors_of_the_launchers_caller_do_not_come_in() {
    if cannot_sandbox() {
        return;
    }
    let script = "echo [$(ls /proc/self/fd)]";
    let output = alone("exec 5</etc/passwd 7</ 9</proc/self/status", script)
        .output()
        .expect("a run");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.matches("[0 1 2 3]").count(), 3, "{output}");
}

#[test]
fn standard_input_of_the_launchers_caller_does_not_come_in() {
    if cannot_sandbox() {
        return;
    }
    let output = alone("exec </proc/self/status", "cat; echo read")
        .output()
        .expect("a run");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.matches("read\n").count(), 3, "{output}");
    assert!(!output.contains("Pid:"), "{output}");
}

#[test]
fn what_else_the_launchers_caller_has_does_not_come_in() {
    if cannot_sandbox() {
        return;
    }
    let groups = "grep Groups: /proc/self/status | tr -d '[:space:]'; echo .";
    let mut table = vec![("umask 027", "umask", "0022")];
    if Sandbox::new().host.is_root() {
        // Nobody else can leave a group.
        let first = "exec setpriv --groups 4,27 -- \"$@\"";
        table.push((first, groups, "Groups:."));
    }
    for (first, script, expected) in table {
        let output = alone(first, script).output().expect("a run");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.matches(expected).count(), 3, "{first}: {output}");
    }
}

#[test]
fn a_killed_launcher_leaves_no_process() {
    if cannot_sandbox() {
        return;
    }
    let sleep = unique_sleep();
    let script = format!("(setsid sleep {sleep} &); echo ready; sleep {sleep}");
    let mut running = alone(":", &script).spawn().expect("a launcher");
    let output = BufReader::new(running.stdout.take().expect("a pipe"));
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("ready")));
    running.kill().expect("killed"); // by SIGKILL
    running.wait().expect("waited");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !processes_with(&sleep).is_empty() {
        assert!(
            Instant::now() < deadline,
            "{:?} are left",
            processes_with(&sleep)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The one child of a thread (`proc_pid_children(5)`).
fn child_of(thread: &str) -> nix::unistd::Pid {
    let children = fs::read_to_string(format!("/proc/{thread}/children")).expect("/proc");
    nix::unistd::Pid::from_raw(children.trim().parse().expect("one child"))
}

/// Not when its parent was killed, by whomever, nor when pid 1 did not hear that it should end.
#[test]
fn nobody_is_left_when_pid_1_could_not_end_in_its_own_way() {
    if cannot_sandbox() {
        return;
    }
    let sleep = unique_sleep();
    let script = format!("for i in $(seq 150); do sleep {sleep} & done; echo ready; sleep {sleep}");
    for is_parent in [true, false] {
        let interrupt = Interrupt::manual().expect("an eventfd");
        let mut started = Vec::new();
        let mut printed = String::new();
        let mut trouble = |bytes: &[u8]| {
            printed.push_str(&String::from_utf8_lossy(bytes));
            if !printed.ends_with("ready\n") {
                return;
            }
            started = processes_with(&sleep);
            let parent = child_of("thread-self");
            let (whom, signal) = if is_parent {
                (parent, Signal::SIGKILL)
            } else {
                interrupt.raise(Signal::SIGINT);
                (
                    child_of(&format!("{parent}/task/{parent}")),
                    Signal::SIGSTOP,
                )
            };
            nix::sys::signal::kill(whom, signal).expect("a signal");
        };
        let argv = ["sh", "-c", &script];
        let result = Sandbox::new().start(&argv, &mut trouble, &interrupt);
        started.retain(|pid| fs::exists(format!("/proc/{pid}")).expect("/proc"));
        assert!(started.is_empty(), "{started:?} are left of {is_parent}");
        match result {
            Err(SandboxError::Died(_)) if is_parent => {}
            Err(SandboxError::Interrupted(_)) if !is_parent => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn ctrl_c_at_the_launcher_leaves_no_process() {
    if cannot_sandbox() {
        return;
    }
    let sleep = unique_sleep();
    let script = format!("trap '' INT; (setsid sleep {sleep} &); echo ready; sleep {sleep}");
    let mut running = alone(":", &script).spawn().expect("a launcher");
    let output = BufReader::new(running.stdout.take().expect("a pipe"));
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("ready")));
    let pid = nix::unistd::Pid::from_raw(running.id().try_into().expect("a pid"));
    nix::sys::signal::kill(pid, Signal::SIGINT).expect("a signal");
    let status = running.wait().expect("waited");
    assert_eq!(status.code(), Some(130), "the run was interrupted");
    nothing_is_left(&sleep);
}

#[test]
fn the_doctor_finds_this_host_fit() {
    if cannot_sandbox() {
        return;
    }
    let sandbox = Sandbox::new();
    let findings = doctor::examine_by(&launcher(), sandbox.dir.path());
    let unfit: Vec<_> = findings
        .iter()
        .filter(|finding| finding.verdict == doctor::Verdict::Missing)
        .collect();
    assert!(unfit.is_empty(), "{unfit:#?}");
    let tried: Vec<_> = findings.iter().map(|finding| finding.what).collect();
    assert_eq!(
        tried,
        [
            "kernel",
            "identity",
            "namespaces",
            "loopback",
            "root file system",
            "fresh /proc",
            "system call filter",
            "abstract sockets",
            "programs in the store",
            "starting a sandbox",
        ]
    );
    let left = fs::read_dir(sandbox.dir.path()).expect("readdir").count();
    assert_eq!(left, 3, "nothing of the examination stays");
}

#[test]
fn the_doctor_names_what_is_missing() {
    if cannot_sandbox() {
        return;
    }
    // What a container's filter does, and a kernel without namespaces.
    for (errno, words) in [(libc::EPERM, "container"), (libc::EINVAL, "CONFIG_USER_NS")] {
        let thread = std::thread::spawn(move || {
            kit::answer(&[libc::SYS_unshare], errno);
            let mut sandbox = Sandbox::new();
            let error = sandbox.try_exec(&["true"]).0.expect_err("no namespaces");
            assert!(matches!(error, SandboxError::Host { .. }), "{error}");
            doctor::examine_by(&launcher(), sandbox.dir.path())
        });
        let findings = thread.join().expect("an examination");
        let found = findings
            .iter()
            .find(|finding| finding.what == "namespaces")
            .expect("a finding");
        assert_eq!(found.verdict, doctor::Verdict::Missing);
        let remedy = found.remedy.as_deref().unwrap_or_default();
        assert!(remedy.contains(words), "{remedy}");
    }
    let elsewhere = doctor::examine_by(&launcher(), std::path::Path::new("/proc"));
    assert_eq!(elsewhere[0].verdict, doctor::Verdict::Missing);
}
