//! Killed at any point, interrupted, or twice at once: nothing is left, and the next run goes on.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::formula::{Formula, tarball, tiny};
use crate::kit::{Case, STACK, eventually, files_below, is_root, processes_of};

/// A build with something to be killed in.
fn slow() -> Formula {
    Formula::hello()
        .step(
            "linger",
            "sleep 0.1; echo half >$1/lib/half; sleep 0.1; echo more >>$1/lib/half",
        )
        .check("sleep 0.05; test \"$($1/bin/hello)\" = 'hello 1.0'")
}

/// What a killed run may leave must end by itself, soon.
#[track_caller]
fn ends_by_itself(case: &Case) {
    eventually("no process is left", || {
        processes_of(&case.at("")).is_empty()
    });
}

#[test]
fn a_build_that_was_killed_is_built_by_the_next_run() {
    let Some(whole) = Case::new() else { return };
    slow().build(&whole).run().succeeds();
    let wanted = fs::read(tarball(&whole)).expect("delivered");
    let mut killed = 0;
    for moment in 0..12 {
        let Some(case) = Case::new() else { return };
        // At each line that it says, from its start on, or a little later.
        let run = slow().build(&case).args(["--verbose"]).start();
        let alive = run.lines(moment);
        if moment % 3 == 2 {
            std::thread::sleep(Duration::from_millis(30));
        }
        run.signal(Signal::SIGKILL);
        let ran = run.wait();
        killed += i32::from(alive && ran.code == 137);
        ends_by_itself(&case);
        // What was delivered by then is whole.
        if tarball(&case).exists() {
            assert_eq!(fs::read(tarball(&case)).expect("readable"), wanted);
        }
        slow().build(&case).run().succeeds();
        assert_eq!(
            fs::read(tarball(&case)).expect("delivered"),
            wanted,
            "{moment}"
        );
        assert_eq!(files_below(&case.dist()).len(), 3, "{moment}");
        case.is_clean();
    }
    assert!(killed >= 8, "only {killed} runs were killed under way");
}

#[test]
fn the_worker_alone_can_be_killed_too() {
    if !is_root() {
        return; // there is no worker apart
    }
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello().step("hang", "echo hanging; sleep 86400");
    let run = formula.build(&case).args(["--verbose"]).start();
    assert!(run.says("| hanging"));
    let worker = processes_of(&case.at("")).into_iter();
    let worker = worker.filter_map(|line| {
        let (pid, line) = line.split_once(": ")?;
        line.starts_with("pybuild-worker")
            .then(|| pid.parse::<i32>().expect("a pid"))
    });
    let worker: Vec<i32> = worker.collect();
    assert_eq!(worker.len(), 1, "{worker:?}");
    let worker = nix::unistd::Pid::from_raw(worker[0]);
    nix::sys::signal::kill(worker, Signal::SIGKILL).expect("alive");
    assert_eq!(run.wait().code, 137);
    ends_by_itself(&case);
    case.delivered_nothing();
    Formula::hello().build(&case).run().succeeds();
    case.is_clean();
}

#[test]
fn a_stack_whose_preparing_was_killed_is_prepared_by_the_next_run() {
    let Some(case) = Case::unprepared() else {
        return;
    };
    let manifests = tiny(&case);
    let prepare = || {
        let run = case
            .pybuild()
            .args(["prepare", "tiny", "--json", "--manifests"]);
        run.args([&manifests])
    };
    let moments = [
        ("reading the index", 0),
        ("unpacking", 0),
        ("unpacking", 100),
        ("configuring the run image", 0),
        ("configuring the run image", 700),
        ("configuring the build image", 0),
        ("writing to disk", 0),
    ];
    for (said, later) in moments {
        let run = prepare().start();
        assert!(run.says(said), "{said}");
        std::thread::sleep(Duration::from_millis(later));
        run.signal(Signal::SIGKILL);
        run.wait();
        ends_by_itself(&case);
    }
    let ran = prepare().run().succeeds();
    case.is_clean();
    let run = case
        .pybuild()
        .args(["run", "tiny", "--manifests"])
        .args([&manifests]);
    let ran_in = run
        .args(["--", "sh", "-c", "dpkg --audit; dpkg -l | grep -c ^ii"])
        .run();
    let said: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(
        ran_in.succeeds().out.trim(),
        said[1]["packages"].to_string()
    );
}

#[test]
fn an_interrupted_build_leaves_nothing() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello().step(
        "hang",
        "trap '' INT TERM HUP; echo hanging; setsid sleep 86400 & sleep 86400",
    );
    for group in [false, true] {
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let run = formula.build(&case).args(["--verbose"]).grouped().start();
            assert!(run.says("| hanging"));
            assert!(
                !processes_of(&case.at("")).is_empty(),
                "they cannot be told"
            );
            if group {
                run.signal_group(signal);
            } else {
                run.signal(signal);
            }
            let said = ["error: interrupted", "hint: run the same command again"];
            run.wait().fails(code, &said);
            case.delivered_nothing();
            case.is_clean();
        }
    }
    Formula::hello().build(&case).run().succeeds();
    case.is_clean();
}

#[test]
fn an_interrupted_bootstrap_leaves_nothing() {
    let Some(case) = Case::unprepared() else {
        return;
    };
    let manifests = tiny(&case);
    for said in ["unpacking", "configuring the run image"] {
        let run = case
            .pybuild()
            .args(["prepare", "tiny", "--manifests"])
            .args([&manifests]);
        let run = run.start();
        assert!(run.says(said), "{said}");
        run.signal(Signal::SIGINT);
        run.wait().fails(130, &["hint: run the same command again"]);
        case.is_clean();
    }
}

#[test]
fn of_two_at_once_one_builds_and_the_other_waits() {
    let Some(case) = Case::new() else { return };
    let formula = slow().step("wait", "sleep 2");
    let first = formula.build(&case).start();
    assert!(first.says("hello-1.0: compile"));
    let elsewhere = case.at("elsewhere");
    let second = case
        .pybuild()
        .args(["sandbox", STACK, "hello-1.0", "--formulae"]);
    let second = second
        .args([case.at("formulae"), "--output".into(), elsewhere.clone()])
        .start();
    assert!(second.says("waiting for another pybuild that holds build-"));
    let first = first.wait().succeeds();
    let second = second.wait().succeeds();
    assert!(first.err.contains("hello-1.0: compile"));
    assert!(!second.err.contains("hello-1.0: compile"), "{}", second.err);
    let there = elsewhere.join(STACK).join("libraries/hello-1.0.tar.gz");
    assert_eq!(
        fs::read(there).expect("delivered"),
        fs::read(tarball(&case)).expect("delivered")
    );
    case.is_clean();
}
