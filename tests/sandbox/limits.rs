//! What a run may use up, and how it ends when it wants more.

use std::time::Duration;

use pybuild::sandbox::End;

use super::kit::{Sandbox, cannot_sandbox, nothing_is_left, unique_sleep};

#[test]
fn time_runs_out() {
    if cannot_sandbox() {
        return;
    }
    let sleep = unique_sleep();
    let mut sandbox = Sandbox::new();
    sandbox.spec.limits.wall = Duration::from_millis(300);
    // It ignores what could be ignored, and is not alone.
    let script =
        format!("trap '' TERM INT HUP; echo on; sleep {sleep} & sleep {sleep}; sleep {sleep}");
    let ran = sandbox.run(&script);
    assert_eq!(
        (ran.outcome.end, ran.output.as_str()),
        (End::TimedOut, "on\n")
    );
    assert!(ran.outcome.wall >= Duration::from_millis(300));
    // The launcher, who would end it later, knows nothing of the memory.
    assert!(ran.outcome.peak_memory.is_some(), "pid 1 keeps the time");
    nothing_is_left(&sleep);
}

#[test]
fn memory_runs_out_in_one_process() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.spec.limits.memory = 100 << 20;
    let ran = sandbox.exec(&[
        "perl",
        "-e",
        "$x = 'x' x (150 << 20); print 'got it'; sleep 1000",
    ]);
    assert_eq!(ran.outcome.end, End::OutOfMemory, "{}", ran.output);
    assert!(ran.outcome.peak_memory > Some(100 << 20));
}

#[test]
fn memory_runs_out_in_many_processes() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.spec.limits.memory = 100 << 20;
    let script = "for (1..4) { if (!fork) { $x = 'x' x (20 << 20); sleep 1000 } } sleep 1000";
    let end = sandbox.exec(&["perl", "-e", script]).outcome.end;
    assert_eq!(end, End::OutOfMemory);
}

#[test]
fn memory_that_is_shared_counts_once() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.spec.limits.memory = 150 << 20;
    // 60 MB, in eight processes: resident sets of half a gigabyte.
    let script = "$x = 'x' x (30 << 20); for (1..7) { if (!fork) { sleep 1; exit } } \
        1 while wait > 0; print 'done'";
    assert_eq!(sandbox.exec(&["perl", "-e", script]).success(), "done");
}

#[test]
fn one_process_cannot_be_quicker_than_the_watch() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.spec.limits.memory = 64 << 20;
    let ran = sandbox.exec(&["perl", "-e", "$x = 'x' x (1 << 30); print 'got it'"]);
    assert_ne!(ran.outcome.end, End::Exited(0), "{}", ran.output);
    assert_eq!(ran.output.matches("got it").count(), 0);
}

#[test]
fn forks_run_out() {
    if cannot_sandbox() {
        return;
    }
    let sleep = unique_sleep();
    let mut sandbox = Sandbox::new();
    sandbox.spec.limits.processes = 40;
    let script = format!(
        "my $n = 0; while (defined(my $p = fork)) {{ exec 'sleep', '{sleep}' if !$p; $n++ }} \
         print $n, ' ', $! + 0"
    );
    let output = sandbox.exec(&["perl", "-e", &script]).success();
    let (count, errno) = output.split_once(' ').expect("two numbers");
    assert!(
        (30..40).contains(&count.parse::<u32>().expect("a number")),
        "{output}"
    );
    assert_eq!(errno, libc::EAGAIN.to_string());
    nothing_is_left(&sleep);
}

#[test]
fn a_fork_bomb_is_contained() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.spec.limits.processes = 60;
    sandbox.spec.limits.wall = Duration::from_secs(2);
    let ran = sandbox.run("b() { b | b & }; b; sleep 1000");
    assert!(matches!(
        ran.outcome.end,
        End::TimedOut | End::TooMuchOutput | End::Exited(_)
    ));
}

#[test]
fn output_runs_out() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.spec.limits.output = 100_000;
    let ran = sandbox.run("yes & yes >&2");
    assert_eq!(ran.outcome.end, End::TooMuchOutput);
    assert_eq!(ran.output.len(), 100_000);
    let ran = sandbox.run("head -c 100000 /dev/zero");
    assert_eq!(
        (ran.outcome.end, ran.output.len()),
        (End::Exited(0), 100_000)
    );
}

#[test]
fn files_and_memory_file_systems_are_bounded() {
    if cannot_sandbox() {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.spec.limits.file_size = 1 << 20;
    sandbox.spec.limits.tmpfs = 2 << 20;
    let script = "exec 2>&1; cd /tmp; (head -c 1100000 /dev/zero > big); echo $?; wc -c < big; \
        rm big; for i in 1 2 3; do head -c 1000000 /dev/zero > $i; done; rm *; \
        i=0; while echo > f$i; do i=$((i + 1)); done 2>/dev/null; test $i -lt 600; echo $?; \
        cd /dev/shm && for i in 1 2 3; do head -c 1000000 /dev/zero > $i; done; \
        rm /tmp/*; truncate -s 1T /tmp/sparse; echo $?";
    let output = sandbox.run(script).output;
    assert!(output.contains("153\n1048576\n"), "{output}");
    assert!(output.contains("\n0\n"), "{output}");
    assert!(output.ends_with("153\n"), "{output}");
    assert_eq!(
        output.matches("No space left on device").count(),
        2,
        "{output}"
    );
}
