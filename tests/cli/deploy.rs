//! `pybuild deploy` on directory targets: what is published, what is refused, what stays secret.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::farm;
use crate::formula::{Formula, digest, tarball};
use crate::kit::{Case, STACK, eventually, files_below, is_root, processes_of};
use crate::program::Pybuild;

pub(crate) const CANARY: &str = "canary-7f3a";

/// The run that deploys it to the directory of a case, unless something else is said.
pub(crate) fn deploy(formula: &Formula, case: &Case) -> Pybuild {
    formula.write(&case.at(""));
    redeploy(case)
}

/// The same of a formula that is written already: other runs may be reading it.
pub(crate) fn redeploy(case: &Case) -> Pybuild {
    case.pybuild()
        .args(["deploy", STACK, "hello-1.0", "--formulae"])
        .args([case.at("formulae").as_path(), "--source-mirror".as_ref()])
        .args([case.at("sources")])
        .cwd(&case.at(""))
}

/// The keys of what is published.
pub(crate) fn three() -> [String; 3] {
    ["", ".json", ".sha256"].map(|end| format!("{STACK}/libraries/hello-1.0.tar.gz{end}"))
}

#[test]
fn what_is_published_is_there_for_the_next_run() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    let ran = deploy(&formula, &case).run().succeeds();
    let sha256 = digest(&tarball(&case)).to_string();
    for said in ["hello-1.0 for debian-12\n", &sha256, &three()[0]] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    assert_eq!(files_below(&case.dist()), three());
    let mut inodes = Vec::new();
    for name in three() {
        let found = fs::metadata(case.dist().join(&name)).expect("there");
        assert_eq!(found.uid(), geteuid().as_raw(), "{name}");
        assert_eq!(found.mode() & 0o777, 0o644, "{name}");
        inodes.push(found.ino());
    }
    // Without the source, without what it was built from in the store, and with what would break
    // a build that ran.
    fs::remove_dir_all(case.store().join("artifacts")).expect("removed");
    fs::create_dir(case.store().join("artifacts")).expect("mkdir");
    crate::kit::give(&case.store().join("artifacts"));
    let again = deploy(&formula, &case).args(["--timeout", "1s", "--memory", "1K"]);
    fs::remove_dir_all(case.at("sources")).expect("removed");
    let ran = again.run().succeeds();
    assert!(
        ran.out
            .starts_with("hello-1.0 for debian-12 (already there)\n"),
        "{}",
        ran.out
    );
    assert_eq!(ran.err, "");
    let same = three().map(|name| fs::metadata(case.dist().join(name)).expect("there").ino());
    assert_eq!(inodes, same);
    let ran = deploy(&formula, &case)
        .args(["--json", "--quiet"])
        .run()
        .succeeds();
    let said: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(said["artifacts"][0]["how"], "there");
    assert_eq!(said["artifacts"][0]["sha256"], sha256);
    case.is_clean();
}

#[test]
fn another_build_is_refused_before_it_is_built_and_replaced_if_that_is_wanted() {
    let Some(case) = Case::new() else { return };
    deploy(&Formula::hello(), &case).run().succeeds();
    let first = digest(&tarball(&case));
    let other = Formula::hello().step("more", "echo more >$1/lib/more");
    let ran = deploy(&other, &case).run();
    let ran = ran.fails(
        1,
        &[
            "is there already and is another build of hello-1.0",
            "hint: nothing was built; --overwrite replaces it",
        ],
    );
    assert!(!ran.err.contains("hello-1.0: compile"), "{}", ran.err);
    assert_eq!(digest(&tarball(&case)), first);
    deploy(&other, &case).args(["--overwrite"]).run().succeeds();
    assert_ne!(digest(&tarball(&case)), first);
    assert_eq!(files_below(&case.dist()), three());
    // And nothing else may say that it is the old one.
    let ran = deploy(&other, &case).run().succeeds();
    assert!(ran.out.contains("(already there)"), "{}", ran.out);
    case.is_clean();
}

#[test]
fn what_is_not_whole_is_compared_and_completed_or_refused() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    deploy(&formula, &case).run().succeeds();
    let [tarball, record, checksum] = three().map(|name| case.dist().join(name));
    let whole = [&tarball, &record, &checksum].map(|path| digest(path));
    // As a kill leaves it.
    for missing in [vec![&record], vec![&record, &checksum]] {
        for path in missing {
            fs::remove_file(path).expect("removed");
        }
        deploy(&formula, &case).run().succeeds();
        assert_eq!(
            [&tarball, &record, &checksum].map(|path| digest(path)),
            whole
        );
    }
    fs::write(&tarball, "something else").expect("written");
    let said = [
        "is there already with other bytes",
        "hint: --overwrite replaces it",
    ];
    deploy(&formula, &case).run().fails(1, &said);
    assert_eq!(fs::read(&tarball).expect("there"), b"something else");
    deploy(&formula, &case)
        .args(["--overwrite"])
        .run()
        .succeeds();
    assert_eq!(
        [&tarball, &record, &checksum].map(|path| digest(path)),
        whole
    );
    case.is_clean();
}

#[test]
fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    let dry = |formula: &Formula, said: &str| {
        let run = deploy(formula, &case).args(["--dry-run"]);
        let before = files_below(&case.at(""));
        let ran = run.run().succeeds();
        assert_eq!(files_below(&case.at("")), before);
        for said in [
            said,
            "publish hello-1.0 to ",
            "build hello-1.0\n",
            &three()[0],
        ] {
            assert!(ran.out.contains(said), "{said}: {}", ran.out);
        }
    };
    dry(&formula, "nothing is there: it would be built");
    deploy(&formula, &case).run().succeeds();
    dry(&formula, "this very build is there: nothing would be done");
    dry(
        &Formula::hello().step("more", "true"),
        "another build is there: it would be refused",
    );
    case.is_clean();
}

#[test]
fn a_target_that_cannot_be_written_to_is_known_before_anything_is_built() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    let fails = |said: &str| {
        let said = [
            said,
            "hint: choose a target that you may write to with --target",
        ];
        let ran = deploy(&formula, &case).run().fails(75, &said);
        assert!(!ran.err.contains("hello-1.0"), "{}", ran.err);
    };
    fs::write(case.dist(), "a file").expect("written");
    fails("dist");
    fs::remove_file(case.dist()).expect("removed");
    if !is_root() {
        fs::create_dir(case.dist()).expect("mkdir");
        fs::set_permissions(case.dist(), Permissions::from_mode(0o555)).expect("chmod");
        fails("dist");
        fs::set_permissions(case.dist(), Permissions::from_mode(0o755)).expect("chmod");
    }
    deploy(&formula, &case).run().succeeds();
    case.is_clean();
}

/// As root, the target is nobody else's to read either.
#[test]
fn a_target_of_ones_own_stays_ones_own() {
    let Some(case) = Case::new() else { return };
    fs::create_dir(case.dist()).expect("mkdir");
    fs::set_permissions(case.dist(), Permissions::from_mode(0o700)).expect("chmod");
    let formula = Formula::hello();
    deploy(&formula, &case).run().succeeds();
    let ran = deploy(&formula, &case).run().succeeds();
    assert!(ran.out.contains("(already there)"), "{}", ran.out);
    let mode = fs::metadata(case.dist()).expect("there").mode();
    assert_eq!(mode & 0o777, 0o700);
    case.is_clean();
}

#[test]
fn keys_are_made_as_asked() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    let arch = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let flat = format!("hello-1.0-{STACK}-{arch}.tar.zst");
    for (args, key) in [
        (&["--layout", "flat"][..], flat),
        (
            &["--name", "mine"],
            format!("{STACK}/libraries/mine.tar.gz"),
        ),
        (
            &["--name", "a/mine", "--compress", "xz"],
            format!("{STACK}/a/mine.tar.xz"),
        ),
    ] {
        let ran = deploy(&formula, &case).args(args).run().succeeds();
        assert!(ran.out.contains(&key), "{key}: {}", ran.out);
        let sidecar = fs::read_to_string(case.dist().join(format!("{key}.sha256")));
        let sha256 = digest(&case.dist().join(&key));
        let name = key.rsplit('/').next().expect("a name");
        assert_eq!(sidecar.expect("there"), format!("{sha256}  {name}\n"));
        let ran = deploy(&formula, &case).args(args).run().succeeds();
        assert!(ran.out.contains("(already there)"), "{}", ran.out);
    }
    let said = [
        "cannot be the key of an object",
        "hint: choose another --name",
    ];
    deploy(&formula, &case)
        .args(["--name", "../x"])
        .run()
        .fails(2, &said);
    case.is_clean();
}

#[test]
fn what_is_wrong_is_said_before_anything_is_done() {
    let Some(case) = Case::new() else { return };
    let networked = Formula::hello().write(&case.at(""));
    let text = fs::read_to_string(networked.join("hello.toml")).expect("there");
    let open = text.replace(
        "versions = \">=1, <2\"",
        "versions = \">=1, <2\"\nnetwork = true",
    );
    let formulae = case.at("open");
    fs::rename(&networked, &formulae).expect("renamed");
    fs::write(formulae.join("hello.toml"), open).expect("written");
    let base = || {
        let run = case
            .pybuild()
            .args(["deploy", STACK, "hello-1.0", "--formulae"]);
        run.args([&formulae])
    };
    let said = [
        "is built with the network open",
        "hint: --allow-network publishes it",
    ];
    base().run().fails(2, &said);
    let formulae = Formula::hello().write(&case.at(""));
    let env_file = case.at("env");
    fs::write(&env_file, format!("A=1\n={CANARY}\n")).expect("written");
    let env_file = env_file.to_str().expect("ASCII");
    for (args, said) in [
        (
            &["--env-file", "/nowhere"][..],
            "hint: see that the file is there",
        ),
        (
            &["--env-file", env_file],
            "line 2: there is no name before the `=`",
        ),
        (
            &["--target", "ftp://example.org/"],
            "targets cannot begin with `ftp://`",
        ),
        (
            &["--target", "s3://A"],
            "--target: `A` is not the name of a bucket",
        ),
        (
            &["sqlite-3.46.1", "--name", "x"],
            "--name is for one formula",
        ),
        (&["--target", "https://example.org/"], "can only be read"),
    ] {
        let run = case
            .pybuild()
            .args(["deploy", STACK, "hello-1.0", "--formulae"]);
        let run = run.args([&formulae]).args(args).cwd(&case.at(""));
        let ran = run.run().fails(2, &[said]);
        assert!(!ran.err.contains(CANARY), "{}", ran.err);
    }
    case.delivered_nothing();
    case.is_clean();
}

/// Whatever below a directory holds the canary, compressed files among it.
pub(crate) fn holding(dir: &Path) -> Vec<String> {
    let holds = |path: &Path| {
        let bytes = fs::read(path).unwrap_or_default();
        let mut plain = Vec::new();
        if let Ok(mut decoder) = pybuild::archive::decoder(&bytes[..]) {
            // What cannot be decoded is looked at as it is.
            let _ = std::io::Read::read_to_end(&mut decoder, &mut plain);
        }
        let finds = |bytes: &[u8]| memchr::memmem::find(bytes, CANARY.as_bytes()).is_some();
        finds(&bytes) || finds(&plain)
    };
    let files = files_below(dir).into_iter();
    files.filter(|name| holds(&dir.join(name))).collect()
}

#[test]
fn secrets_are_nowhere_in_what_a_run_leaves_or_says() {
    let Some(case) = Case::new() else { return };
    let elsewhere = crate::kit::directory();
    let env_file = elsewhere.path().join("env");
    let text = format!("AWS_SESSION_TOKEN={CANARY}-token\nOTHER_SECRET={CANARY}-other\n");
    fs::write(&env_file, text).expect("written");
    // Nobody else's to read: root's worker must be told what is in it.
    fs::set_permissions(&env_file, Permissions::from_mode(0o600)).expect("chmod");
    let secretly = |run: Pybuild| {
        let run = run
            .args([Path::new("--env-file"), &env_file])
            .args(["--verbose"]);
        run.env("AWS_ACCESS_KEY_ID", format!("{CANARY}-id"))
            .env("AWS_SECRET_ACCESS_KEY", format!("{CANARY}-secret"))
            .env("SOME_TOKEN", format!("{CANARY}-some"))
    };
    let told = "env; tr '\\0' '\\n' </proc/1/environ || true; tr '\\0' '\\n' </proc/self/environ; \
                env | grep -v /build >$1/lib/environment";
    let sound = Formula::hello().step("tell", told);
    let broken = Formula::hello().step("tell", &format!("{told}; false"));
    let hanging = Formula::hello().step("hang", "echo hanging; sleep 86400");
    let ran = secretly(deploy(&broken, &case)).run();
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.err.contains("PYTHONHASHSEED"),
        "the environment is not told: {}",
        ran.err
    );
    let also = secretly(deploy(&sound, &case)).run().succeeds();
    for said in [ran.out, ran.err, also.out, also.err] {
        assert!(!said.contains(CANARY), "{said}");
    }
    let run = secretly(deploy(&hanging, &case))
        .args(["--overwrite"])
        .start();
    let run_as_another = run.pid();
    assert!(run.says("| hanging"));
    let processes = processes_of(&case.at(""));
    assert!(processes.len() > 1, "{processes:?}");
    for process in &processes {
        let (pid, line) = process.split_once(": ").expect("a pid");
        assert!(!line.contains(CANARY), "{line}");
        // The process that was given it has it.
        if pid != run_as_another.to_string() {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let found = memchr::memmem::find(&environ, CANARY.as_bytes());
            assert_eq!(found, None, "{line}");
        }
    }
    run.signal(Signal::SIGINT);
    let ran = run.wait();
    assert_eq!(ran.code, 130);
    assert!(!ran.err.contains(CANARY), "{}", ran.err);
    assert_eq!(holding(&case.store()), [""; 0]);
    assert_eq!(holding(&case.dist()), [""; 0]);
    case.is_clean();
}

#[test]
fn a_deploy_that_was_killed_is_completed_by_the_next() {
    let Some(whole) = Case::new() else { return };
    let formula = Formula::hello().step("linger", "sleep 0.1");
    deploy(&formula, &whole).run().succeeds();
    let wanted = three().map(|name| digest(&whole.dist().join(name)));
    let mut killed = 0;
    for moment in 0..12 {
        let Some(case) = Case::new() else { return };
        let run = deploy(&formula, &case).args(["--verbose"]).start();
        let alive = run.lines(moment);
        run.signal(Signal::SIGKILL);
        killed += i32::from(run.wait().code == 137 && alive);
        eventually("no process is left", || {
            processes_of(&case.at("")).is_empty()
        });
        // What is visible is whole.
        for (name, wanted) in three().iter().zip(&wanted) {
            let path = case.dist().join(name);
            assert!(
                !path.exists() || digest(&path) == *wanted,
                "{moment}: {name}"
            );
        }
        deploy(&formula, &case).run().succeeds();
        assert_eq!(
            three().map(|name| digest(&case.dist().join(name))),
            wanted,
            "{moment}"
        );
        assert_eq!(files_below(&case.dist()), three(), "{moment}");
        case.is_clean();
    }
    assert!(killed >= 6, "only {killed} runs were killed under way");
}

#[test]
fn a_dependency_is_taken_from_upstream_or_the_target() {
    let Some(case) = Case::new() else { return };
    let upstream = case.at("upstream");
    let run = |case: &Case, formula: &str, target: &Path| {
        farm::command(case, "deploy")
            .args([STACK, formula])
            .args([Path::new("--target"), target])
    };
    run(&case, "base-1.0", &upstream).run().succeeds();
    for (layout, from_target) in [("tree", false), ("tree", true), ("flat", true)] {
        let Some(other) = Case::new() else { return };
        let mut built = run(&other, "good-1.0", &other.dist()).args(["--layout", layout]);
        if from_target {
            run(&case, "base-1.0", &other.dist())
                .args(["--layout", layout])
                .run()
                .succeeds();
        } else {
            built = built.args([Path::new("--upstream"), &upstream]);
        }
        let ran = built.run().succeeds();
        assert!(ran.err.contains("fetched base-1.0 from "), "{}", ran.err);
        assert!(!ran.err.contains("base-1.0: make"), "{}", ran.err);
        assert!(ran.err.contains("good-1.0: make"), "{}", ran.err);
        other.is_clean();
    }
    // One that is not what it says is not taken.
    let Some(other) = Case::new() else { return };
    let tarball = upstream.join(STACK).join("libraries/base-1.0.tar.gz");
    let mut bytes = fs::read(&tarball).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&tarball, bytes).expect("written");
    let built = run(&other, "good-1.0", &other.dist()).args([Path::new("--upstream"), &upstream]);
    let ran = built.run().succeeds();
    assert!(
        ran.err.contains("base-1.0 is built, not taken"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("base-1.0: make"), "{}", ran.err);
    other.is_clean();
}
