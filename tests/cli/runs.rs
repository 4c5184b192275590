//! `pybuild run`, and hosts that cannot sandbox.

use std::fs;

use nix::sys::signal::Signal;

use crate::formula::Formula;
use crate::kit::{Case, NOBODY, STACK, is_root, processes_of};
use crate::program::wrapped;

#[test]
fn the_end_of_a_command_is_passed_on() {
    let Some(case) = Case::new() else { return };
    let run = |script: &str| {
        let run = case
            .pybuild()
            .args(["run", STACK, "--", "sh", "-c", script]);
        run.run()
    };
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
        ("kill -11 $$", 139),
    ] {
        let ran = run(script);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (code, ""),
            "{script}: {}",
            ran.err
        );
    }
    let ran = run("echo out; echo err >&2");
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));
    let none = case.pybuild().args(["run", STACK, "--", "nonesuch"]).run();
    none.fails(
        1,
        &["the command cannot be executed", "nonesuch", "not found"],
    );
    case.is_clean();
}

/// Its process was forked with the arguments and the environment of the program.
#[test]
fn nothing_inside_says_how_the_program_was_started() {
    let Some(case) = Case::new() else { return };
    let script = "cat /proc/1/cmdline | tr '\\0' ' '; cat /proc/1/environ 2>/dev/null";
    let run = case.pybuild().env("CANARY", "of the host");
    let run = run.args(["run", STACK, "--", "sh", "-c", script]);
    let ran = run.run();
    assert_eq!(ran.out.trim_end(), "pybuild-sandbox", "{}", ran.err);
}

#[test]
fn standard_input_is_the_commands() {
    let Some(case) = Case::new() else { return };
    let file = case.at("input");
    fs::write(&file, "a line\n").expect("written");
    let run = case.pybuild().args(["run", STACK, "--", "cat"]);
    let ran = run
        .stdin(fs::File::open(&file).expect("readable").into())
        .run()
        .succeeds();
    assert_eq!(ran.out, "a line\n");
}

#[test]
fn nothing_of_the_host_is_in_a_sandbox() {
    let Some(case) = Case::new() else { return };
    let run = case
        .pybuild()
        .env("CANARY", "of the host")
        .env("LD_PRELOAD", "");
    // With a file of the host open, as a careless parent leaves it.
    let script = "env | cut -d= -f1 | sort; ls /proc/self/fd; hostname; id -un; ls /build /home";
    let leaky = [
        "sh",
        "-c",
        "exec 7</etc/hostname 8>/dev/null; exec \"$0\" \"$@\"",
    ];
    let plain = run.args(["run", STACK, "--", "sh", "-c", script]).run();
    let leaky = wrapped(&leaky, &case.store());
    let leaky = leaky.args(["run", STACK, "--", "sh", "-c", script]).run();
    let names = "HOME\nLC_ALL\nPATH\nPWD\nTZ\n";
    for ran in [plain, leaky] {
        // The third is `ls` itself, reading.
        assert!(
            ran.out
                .starts_with(&format!("{names}0\n1\n2\n3\npybuild\n")),
            "{}",
            ran.out
        );
        assert!(!ran.out.contains("CANARY"));
    }
    case.is_clean();
}

/// The uids, gids and groups of a process, as far as they are not nobody's.
fn rights_of(process: &str) -> Option<String> {
    let (pid, _) = process.split_once(": ").expect("a pid");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let nobody = NOBODY.to_string();
    let mut rights = String::new();
    for line in status.lines() {
        let (name, ids) = line.split_once(':').unwrap_or_default();
        if ["Uid", "Gid", "Groups"].contains(&name) {
            let others: Vec<_> = ids.split_whitespace().filter(|id| *id != nobody).collect();
            rights.push_str(&others.join(" "));
        }
    }
    (!rights.is_empty()).then_some(rights)
}

#[test]
fn root_is_given_up_by_whatever_works() {
    if !is_root() {
        return; // there is nothing to give up
    }
    let Some(case) = Case::new() else { return };
    let start = || wrapped(&["setpriv", "--groups", "4,27", "--"], &case.store());
    let formula = Formula::hello().step("hang", "echo up >&2; sleep 86400");
    let script = ["run", STACK, "--", "sh", "-c", "echo up >&2; sleep 86400"];
    // Where an output directory is root's, one process is root: it writes to that alone.
    let runs = [
        (start().args(script), 0),
        (formula.build_by(&case, start()).args(["--verbose"]), 1),
    ];
    for (run, stewards) in runs {
        let run = run.start();
        assert!(run.says("up"));
        let processes = processes_of(&case.at(""));
        assert!(processes.len() > 2, "{processes:?}");
        let powerful: Vec<_> = processes
            .iter()
            .filter_map(|process| Some((process, rights_of(process)?)))
            .collect();
        assert_eq!(powerful.len(), stewards, "{powerful:?}");
        run.signal(Signal::SIGTERM);
        assert_eq!(run.wait().code, 143);
    }
    case.is_clean();
}

#[test]
fn an_interrupted_command_leaves_nothing() {
    let Some(case) = Case::new() else { return };
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let script = "trap '' INT TERM; echo up >&2; sleep 86400 & sleep 86400";
        let run = case
            .pybuild()
            .args(["run", STACK, "--", "sh", "-c", script])
            .start();
        assert!(run.says("up"));
        assert!(
            !processes_of(&case.at("")).is_empty(),
            "they cannot be told"
        );
        run.signal(signal);
        let ran = run.wait();
        assert_eq!(ran.code, code, "{}", ran.err);
        case.is_clean();
    }
}

/// What starts a program as on a host without user namespaces: in one that allows no further.
fn without_namespaces() -> Vec<String> {
    let nobody = NOBODY.to_string();
    let mut wrapper = Vec::new();
    if is_root() {
        let become_nobody = ["setpriv", "--reuid", &nobody, "--regid", &nobody];
        wrapper.extend(become_nobody);
        wrapper.extend(["--clear-groups", "--"]);
    }
    wrapper.extend(["unshare", "--user", "--map-user=1000", "--map-group=1000"]);
    let forbid = "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all \
        --ambient-caps=-all -- \"$0\" \"$@\"";
    wrapper.extend(["--keep-caps", "--", "sh", "-c", forbid]);
    wrapper.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_host_without_user_namespaces_is_told_what_to_change() {
    let Some(case) = Case::new() else { return };
    let wrapper = without_namespaces();
    let start = || wrapped(&wrapper, &case.store());
    let remedy = [
        "this host cannot sandbox: no further namespace is allowed (user.max_user_namespaces)",
        "hint: as root: sysctl -w user.max_user_namespaces=",
        "`pybuild doctor`",
    ];
    let formula = Formula::hello();
    let formulae = formula.write(&case.at(""));
    let sources = case.at("sources");
    let run = start().args(["run", STACK, "--", "true"]);
    run.run().fails(3, &remedy);
    let build = start()
        .env("PYBUILD_FORMULAE", &formulae)
        .env("PYBUILD_SOURCE_MIRROR", &sources)
        .args(["sandbox", STACK, "hello-1.0", "--output"])
        .args([case.dist()]);
    build.run().fails(3, &remedy);
    case.delivered_nothing();
    case.is_clean();

    let ran = start().args(["doctor"]).run();
    assert_eq!(ran.code, 3, "{}", ran.err);
    let told = ran
        .out
        .lines()
        .skip_while(|line| !line.starts_with("✗ namespaces "));
    let told: Vec<&str> = told.take(2).collect();
    assert!(
        told[0].contains("no further namespace is allowed"),
        "{}",
        ran.out
    );
    assert!(told[1].contains("hint: ") && told[1].contains("user.max_user_namespaces"));
    assert!(
        ran.out.ends_with("builds cannot run on this host\n"),
        "{}",
        ran.out
    );
    let ran = start().args(["doctor", "--json"]).run();
    assert_eq!(ran.code, 3, "{}", ran.err);
    let said: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON alone");
    assert_eq!(said["able"], false);
    case.is_clean();
}

#[test]
fn a_host_that_can_sandbox_is_told_so() {
    let Some(case) = Case::new() else { return };
    let ran = case.pybuild().args(["doctor"]).run().succeeds();
    for what in [
        "kernel",
        "namespaces",
        "root file system",
        "system call filter",
    ] {
        let line = ran.out.lines().find(|line| line.contains(what));
        assert!(
            line.is_some_and(|line| !line.starts_with('✗')),
            "{what}: {}",
            ran.out
        );
    }
    assert!(
        ran.out.ends_with("builds can run on this host\n"),
        "{}",
        ran.out
    );
    let ran = case.pybuild().args(["doctor", "--json"]).run().succeeds();
    let said: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON alone");
    assert_eq!(said["able"], true);
    for finding in said["findings"].as_array().expect("a list") {
        let remedy = !finding["remedy"].is_null();
        assert_eq!(remedy, finding["verdict"] != "fine", "{finding}");
    }
    case.is_clean();
}
