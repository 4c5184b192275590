//! `pybuild deploy-runtimes` on a directory: a matrix with something broken in it, twice, stopped.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::formula::{Formula, digest};
use crate::kit::{Case, STACK, files_below};
use crate::program::Pybuild;

/// Formulae: `base`, which `good` (1.0 and 1.1) and `late` need; `bad` breaks; `old` is not for
/// this stack. All over the same source.
pub(crate) fn formulae(case: &Case) -> PathBuf {
    let formulae = Formula::hello().write(&case.at(""));
    let source = digest(&case.at("sources/hello-1.0.tar.gz"));
    let add = |name: &str, kind: &str, series: &str, script: &str, versions: &[&str]| {
        fs::create_dir_all(formulae.join(name)).expect("mkdir");
        let script = format!("set -eu\nmkdir -p $1/lib\n{script}\n");
        fs::write(formulae.join(name).join("make.sh"), script).expect("written");
        let text = format!(
            r#"schema = 1
name = "{name}"
kind = "{kind}"
prefix = "/app/{name}"
[common]
steps = [{{ name = "make", run = ["sh", "{{files}}/make.sh", "{{prefix}}", "{{version}}"] }}]
checks = [{{ name = "is there", run = ["test", "-s", "{{prefix}}/lib/made"], moved = true }}]
[[series]]
versions = ">=1"
{series}
"#
        );
        fs::write(formulae.join(format!("{name}.toml")), text).expect("written");
        let mut text = "schema = 1\n[sources.tgz]\n\
                        urls = [\"http://127.0.0.1:1/upstream/hello-1.0.tar.gz\"]\n[versions]\n"
            .to_owned();
        for version in versions {
            let line = format!(
                "\"{version}\" = {{ released = 2024-01-02, tgz = {{ sha256 = \"{source}\" }} }}\n"
            );
            text.push_str(&line);
        }
        fs::write(formulae.join(format!("{name}.versions.toml")), text).expect("written");
    };
    let needs = "dependencies = [\"base-1.0\"]";
    let refuse = format!("refuse = [{{ stacks = [\"{STACK}\"], why = \"it is too old\" }}]");
    add("base", "library", "", "echo base >$1/lib/made", &["1.0"]);
    let copy = "cat /build/deps/base/lib/made >$1/lib/made; echo $2 >>$1/lib/made";
    add("good", "runtime", needs, copy, &["1.0", "1.1"]);
    add("bad", "runtime", needs, "echo it breaks; exit 3", &["1.0"]);
    add("old", "runtime", &refuse, "true", &["1.0"]);
    let slowly = format!("echo lingering; sleep 86400; {copy}");
    add("late", "runtime", needs, &slowly, &["1.0"]);
    formulae
}

/// A command that knows these formulae.
pub(crate) fn command(case: &Case, command: &str) -> Pybuild {
    let formulae = formulae(case);
    let run = case
        .pybuild()
        .args([command, "--formulae"])
        .args([formulae]);
    run.args(["--source-mirror"]).args([case.at("sources")])
}

/// The run that deploys runtimes of these to the directory of a case.
pub(crate) fn matrix(case: &Case, runtimes: &str) -> Pybuild {
    let run = command(case, "deploy-runtimes").args(["--stacks", STACK, "--runtimes", runtimes]);
    run.args(["--target"]).args([case.dist()])
}

fn tarballs(case: &Case) -> Vec<String> {
    let mut files = files_below(&case.dist());
    files.retain(|name| name.ends_with(".tar.gz"));
    files
        .iter()
        .map(|name| name.rsplit('/').next().expect("a name").to_owned())
        .collect()
}

#[test]
fn one_that_breaks_does_not_stop_the_others_and_a_rerun_does_what_is_missing() {
    let Some(case) = Case::new() else { return };
    for jobs in ["2", "1"] {
        let _ = fs::remove_dir_all(case.dist());
        let ran = matrix(&case, "good-1.*, bad-1.0 old-1.0")
            .args(["-j", jobs])
            .run();
        assert_eq!(ran.code, 1, "{}\n{}", ran.err, ran.out);
        assert_eq!(tarballs(&case), ["good-1.0.tar.gz", "good-1.1.tar.gz"]);
        for said in [
            "           debian-12\n",
            "bad-1.0   failed\n",
            "good-1.0  built\n",
            "good-1.1  built\n",
            "old-1.0   not for it\n",
            "bad-1.0 for debian-12: failed: make of bad-1.0 failed with exit code 3\n  log: ",
            "old-1.0 for debian-12: not for it: it is too old\n",
            "2 built, 1 failed, 1 not for it in ",
        ] {
            assert!(ran.out.contains(said.trim_start()), "{said}: {}", ran.out);
        }
        for said in [
            "warning: bad-1.0 for debian-12 failed: make of bad-1.0 failed with exit code 3",
            "error: 1 of 3 are not published",
            "hint: run the same command again: only what is missing is done",
        ] {
            assert!(ran.err.contains(said), "{said}: {}", ran.err);
        }
        let log = ran
            .out
            .lines()
            .find_map(|line| line.strip_prefix("  log: "));
        let log = fs::read_to_string(log.expect("a log")).expect("readable");
        assert!(log.contains("it breaks"), "{log}");
        if jobs == "2" {
            let times = ran.err.matches("  base-1.0: make\n").count();
            assert_eq!(times, 1, "what both need is built once: {}", ran.err);
        }
    }
    // Again: only what is missing is tried.
    let ran = matrix(&case, "good-1.* bad-1.0").args(["--json"]).run();
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(!ran.err.contains("good-1."), "{}", ran.err);
    let said: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON alone");
    let state = |n: usize| (&said["results"][n]["formula"], &said["results"][n]["state"]);
    assert_eq!(state(0), (&"bad-1.0".into(), &"failed".into()));
    assert_eq!(state(1), (&"good-1.0".into(), &"there".into()));
    let ran = matrix(&case, "good-1.*").run().succeeds();
    assert!(ran.out.contains("2 already there in "), "{}", ran.out);
    // Half of one is missing.
    let record = case
        .dist()
        .join(STACK)
        .join("runtimes/good-1.1.tar.gz.json");
    fs::remove_file(&record).expect("removed");
    let ran = matrix(&case, "good-1.*").run().succeeds();
    assert!(
        ran.out.contains("1 built, 1 already there in "),
        "{}",
        ran.out
    );
    assert!(record.exists());
    case.is_clean();
}

#[test]
fn a_dry_run_of_a_matrix_says_what_is_missing() {
    let Some(case) = Case::new() else { return };
    matrix(&case, "good-1.0").run().succeeds();
    let run = matrix(&case, "good-1.* old-1.0").args(["--dry-run"]);
    let before = files_below(&case.at(""));
    let ran = run.run().succeeds();
    assert_eq!(files_below(&case.at("")), before);
    for said in [
        "good-1.0  already there\n",
        "good-1.1  missing\n",
        "1 missing",
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    case.is_clean();
}

#[test]
fn another_build_in_a_matrix_stays_unless_it_is_to_be_replaced() {
    let Some(case) = Case::new() else { return };
    matrix(&case, "good-1.0").run().succeeds();
    let tarball = case.dist().join(STACK).join("runtimes/good-1.0.tar.gz");
    let first = digest(&tarball);
    let changed = |args: &[&str]| {
        let run = matrix(&case, "good-1.0").args(args);
        let script = case.at("formulae/good/make.sh");
        let text = fs::read_to_string(&script).expect("there") + "echo more >>$1/lib/made\n";
        fs::write(script, text).expect("written");
        run.run().succeeds()
    };
    let ran = changed(&[]);
    assert!(ran.out.contains("1 already there"), "{}", ran.out);
    assert_eq!(digest(&tarball), first);
    let ran = changed(&["--overwrite"]);
    assert!(ran.out.contains("1 built"), "{}", ran.out);
    assert_ne!(digest(&tarball), first);
    let ran = changed(&["--overwrite"]);
    assert!(ran.out.contains("1 already there"), "{}", ran.out);
    case.is_clean();
}

#[test]
fn a_matrix_that_is_stopped_says_how_to_go_on() {
    let Some(case) = Case::new() else { return };
    let run = matrix(&case, "good-1.0 late-1.0")
        .args(["-j", "1", "--verbose"])
        .start();
    assert!(run.says("| lingering"));
    run.signal(Signal::SIGINT);
    let ran = run.wait();
    assert_eq!(ran.code, 130, "{}\n{}", ran.err, ran.out);
    assert!(
        ran.err.contains("hint: run the same command again"),
        "{}",
        ran.err
    );
    assert!(ran.out.contains("good-1.0  built\n"), "{}", ran.out);
    assert!(ran.out.contains("late-1.0  not tried\n"), "{}", ran.out);
    assert_eq!(tarballs(&case), ["good-1.0.tar.gz"]);
    case.is_clean();
}

#[test]
fn what_a_matrix_cannot_be_made_of_is_said() {
    let case = Case::bare();
    for (runtimes, stacks, said) in [
        (
            "good-2.*",
            STACK,
            &["no version of good is in `good-2.*`", "hint: "][..],
        ),
        ("good", STACK, &["`good` names no version"]),
        (
            "good-1.0",
            "debian-21",
            &["there is no stack `debian-21`", "hint: did you mean"],
        ),
        (
            "gold-1.0",
            STACK,
            &["there is no formula `gold`", "hint: did you mean"],
        ),
        (
            "old-1.0",
            STACK,
            &["there is nothing to deploy", "it is too old"],
        ),
        (",", STACK, &["--runtimes names nothing"]),
    ] {
        let run = command(&case, "deploy-runtimes");
        let run = run.args(["--runtimes", runtimes, "--stacks", stacks]);
        run.args(["--target"])
            .args([case.dist()])
            .run()
            .fails(2, said);
    }
    case.delivered_nothing();
}

#[test]
fn what_needs_something_that_breaks_is_not_called_published() {
    let Some(case) = Case::new() else { return };
    let run = matrix(&case, "good-1.*");
    let script = case.at("formulae/base/make.sh");
    fs::write(script, "echo it breaks; exit 3\n").expect("written");
    let ran = run.run();
    assert_eq!(ran.code, 1, "{}\n{}", ran.err, ran.out);
    let why = "base-1.0 for debian-12: make of base-1.0 failed with exit code 3";
    for version in ["1.0", "1.1"] {
        let said = format!("good-{version} for debian-12: not tried: {why}\n");
        assert!(ran.out.contains(&said), "{said}: {}", ran.out);
    }
    let said = "error: 2 of 2 are not published";
    assert!(ran.err.contains(said), "{}", ran.err);
    case.delivered_nothing();
}

#[test]
fn a_matrix_does_not_publish_what_is_built_with_the_network_open() {
    let Some(case) = Case::new() else { return };
    for dry in [&["--dry-run"][..], &[]] {
        let run = matrix(&case, "good-1.0").args(dry);
        let formula = case.at("formulae/base.toml");
        let text = fs::read_to_string(&formula).expect("there");
        let open = text.replace("versions = \">=1\"", "versions = \">=1\"\nnetwork = true");
        assert_ne!(open, text);
        fs::write(formula, open).expect("written");
        let ran = run.run();
        assert_eq!(ran.code, 1, "{}\n{}", ran.err, ran.out);
        let said = "base-1.0 is built with the network open";
        assert!(ran.out.contains(said), "{}", ran.out);
        let said = "error: 1 of 1 are not published";
        assert!(ran.err.contains(said), "{}", ran.err);
        case.delivered_nothing();
    }
}

#[test]
fn supported_stacks_are_those_whose_end_of_life_is_to_come() {
    let case = Case::bare();
    let manifests = case.at("manifests");
    fs::create_dir_all(&manifests).expect("mkdir");
    let known = include_str!("../../rootfs-manifests/debian-12.toml");
    for (name, end) in [("ended-1", "2001-01-01"), ("endless-1", "9999-12-31")] {
        let lines = known.lines().map(|line| match line.split_once(" = ") {
            Some(("name", _)) => format!("name = \"{name}\"\n"),
            Some(("end_of_life", _)) => format!("end_of_life = {end}\n"),
            _ => format!("{line}\n"),
        });
        let text: String = lines.collect();
        fs::write(manifests.join(format!("{name}.toml")), text).expect("written");
    }
    let run = command(&case, "deploy-runtimes").args(["--dry-run", "--stacks", "supported"]);
    let run = run.args(["--runtimes", "good-1.0", "--manifests"]);
    let run = run.args([manifests]).args(["--target"]);
    let ran = run.args([case.dist()]).run().succeeds();
    assert!(ran.out.contains("endless-1"), "{}", ran.out);
    assert!(!ran.out.contains("ended-1"), "{}", ran.out);
}
