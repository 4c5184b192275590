//! Secrets are nowhere in what the program says, leaves, or lets others of this host see.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::bucket::{root, with};
use crate::deploy::{CANARY, deploy, holding};
use crate::farm;
use crate::formula::Formula;
use crate::kit::{Case, STACK, processes_of};
use crate::program::{Pybuild, Ran, wrapped};
use crate::s3::{AWS, Fault, SECRET, Server, refusal};

/// With secrets in every place that they can be in.
fn secretly(run: Pybuild, server: &Server, dir: &Path) -> Pybuild {
    let env_file = dir.join("env");
    let text =
        format!("OTHER_SECRET={CANARY}-other\nAWS_CONTAINER_AUTHORIZATION_TOKEN={CANARY}-t\n");
    fs::write(&env_file, text).expect("written");
    let aws = dir.join("aws");
    let text =
        format!("[default]\naws_access_key_id = {CANARY}\naws_secret_access_key = {CANARY}\n");
    fs::write(&aws, text).expect("written");
    for file in [&env_file, &aws] {
        fs::set_permissions(file, Permissions::from_mode(0o600)).expect("chmod");
    }
    with(run, server)
        .args([Path::new("--env-file"), &env_file])
        .env("AWS_SHARED_CREDENTIALS_FILE", &aws)
        .env("AWS_SESSION_TOKEN", format!("{CANARY}-session"))
        .env("SOME_TOKEN", format!("{CANARY}-some"))
}

#[track_caller]
fn says_nothing(ran: &Ran) {
    for said in [&ran.out, &ran.err] {
        assert!(!said.contains(CANARY) && !said.contains(SECRET), "{said}");
        // Not even what is made of them.
        for made in ["Signature=", "AWS4-HMAC", "X-Amz-Security-Token"] {
            assert!(!said.contains(made), "{said}");
        }
    }
}

#[test]
fn no_command_tells_them_whether_it_succeeds_or_not() {
    let Some(case) = Case::new() else { return };
    let (root, dir) = (root(), crate::kit::directory());
    let server = Server::start(root.path(), AWS);
    // What is sent back to whoever asks: the headers that were signed, and all that came.
    let echo = Server::faulty(root.path(), AWS, |_, seen| {
        let Fault::Answer(status, headers, text) = refusal(403, "SignatureDoesNotMatch") else {
            return Fault::None;
        };
        let quoted = format!("<Message>{:?}</Message>", seen.headers).replace("<\"", "");
        let text = text.replace("<Message>no</Message>", &quoted);
        Fault::Answer(status, headers, text)
    });
    let formulae = farm::formulae(&case);
    let deploy = |formula: &str| farm::command(&case, "deploy").args([STACK, formula]);
    let matrix = || {
        let run = farm::command(&case, "deploy-runtimes");
        run.args(["--stacks", STACK, "--runtimes", "good-1.* bad-1.0"])
    };
    let verify = || {
        let run = case
            .pybuild()
            .cwd(&case.at(""))
            .args(["verify", "--formulae"]);
        run.args([&formulae])
    };
    let gc = || case.pybuild().args(["gc"]);
    for (run, code) in [
        (deploy("good-1.0"), 0),
        (deploy("bad-1.0"), 1),
        (matrix(), 1),
        (matrix().args(["--json"]), 1),
        (matrix().args(["--dry-run"]), 0),
        (verify(), 0),
        (verify().args(["--json"]), 0),
        (verify().args(["--record"]), 0),
        (gc(), 0),
        (gc().args(["--json", "--dry-run"]), 0),
    ] {
        let ran = secretly(run.args(["--verbose"]), &server, dir.path()).run();
        assert_eq!(ran.code, code, "{}\n{}", ran.err, ran.out);
        says_nothing(&ran);
    }
    for run in [
        deploy("good-1.1"),
        matrix(),
        verify(),
        gc(),
        gc().args(["--dry-run"]),
    ] {
        let ran = secretly(run.args(["--verbose"]), &echo, dir.path()).run();
        assert_eq!(ran.code, 2, "{}\n{}", ran.err, ran.out);
        assert!(ran.err.contains("are not accepted"), "{}", ran.err);
        says_nothing(&ran);
    }
    assert_eq!(holding(&case.at("")), [""; 0]);
    assert_eq!(holding(root.path()), [""; 0]);
    case.is_clean();
}

/// Of every process of a run: that others see nothing of it, and that it leaves no core.
#[test]
fn nobody_can_look_into_what_knows_them() {
    let Some(case) = Case::new() else { return };
    let (root, dir) = (root(), crate::kit::directory());
    let server = Server::start(root.path(), AWS);
    let hang = Formula::hello().step("hang", "echo hanging; sleep 86400");
    let to_directory = |run: Pybuild| run.args(["--target"]).args([case.dist()]);
    for directory in [false, true] {
        let run = secretly(
            deploy(&hang, &case).args(["--verbose"]),
            &server,
            dir.path(),
        );
        let run = if directory { to_directory(run) } else { run };
        let run = run.start();
        assert!(run.says("| hanging"));
        let mut known = 0;
        for process in processes_of(&case.at("")) {
            let (pid, line) = process.split_once(": ").expect("a pid");
            assert!(!line.contains(CANARY) && !line.contains(SECRET), "{line}");
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
            let core = limits
                .lines()
                .find(|line| line.starts_with("Max core file size"));
            let core: Vec<_> = core.unwrap_or_default().split_whitespace().collect();
            assert_eq!(core.get(4..6), Some(&["0", "0"][..]), "{line}");
            if line.contains("deploy") && line.contains(STACK) {
                known += 1;
                // Of who is not dumpable, root alone may read the memory and the environment.
                let environ = fs::metadata(format!("/proc/{pid}/mem")).expect("it runs");
                assert_eq!(environ.uid(), 0, "{line}");
            }
        }
        assert!(known >= 1);
        run.signal(Signal::SIGTERM);
        assert_eq!(run.wait().code, 143);
    }
    case.is_clean();
}

#[test]
fn a_crash_leaves_no_core() {
    let Some(case) = Case::new() else { return };
    let (root, dir) = (root(), crate::kit::directory());
    let server = Server::start(root.path(), AWS);
    let hang = Formula::hello().step("hang", "echo hanging; sleep 86400");
    hang.write(&case.at(""));
    let here = case.at("here");
    fs::create_dir(&here).expect("mkdir");
    fs::set_permissions(&here, Permissions::from_mode(0o777)).expect("chmod");
    let allowed = [
        "sh",
        "-c",
        "ulimit -c unlimited 2>/dev/null; exec \"$@\"",
        "sh",
    ];
    let run = wrapped(&allowed, &case.store())
        .args(["deploy", STACK, "hello-1.0", "--verbose", "--formulae"])
        .args([case.at("formulae").as_path(), "--source-mirror".as_ref()])
        .args([case.at("sources")])
        .cwd(&here);
    let run = secretly(run, &server, dir.path()).start();
    assert!(run.says("| hanging"));
    run.signal(Signal::SIGABRT);
    assert_eq!(run.wait().code, 134);
    assert_eq!(crate::kit::names(&here), [""; 0]);
    crate::kit::eventually("no process is left", || {
        processes_of(&case.at("")).is_empty()
    });
}
