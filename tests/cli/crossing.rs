//! Deploys that are killed at each of their requests, and deploys that cross each other.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pybuild::model::Sha256;

use crate::bucket::{root, with};
use crate::deploy::{deploy, three};
use crate::farm;
use crate::formula::{Formula, digest};
use crate::kit::{Case, STACK, eventually, files_below, processes_of};
use crate::s3::{AWS, Fault, Seen, Server, Store};

/// A formula whose tarball goes in parts: 20 MB that do not compress.
fn large() -> Formula {
    let random = "perl -e 'srand 7; binmode STDOUT; \
                  print pack(\"N*\", map { int rand 4294967296 } 1..65536) for 1..80' >$1/lib/large";
    Formula::hello().step("large", random)
}

/// What is below the prefix of a bucket for all to see.
fn visible(root: &Path) -> Vec<String> {
    let mut files = files_below(&root.join("bucket/p"));
    files.retain(|name| !name.starts_with(".pybuild-"));
    files
}

fn digests(root: &Path) -> [Sha256; 3] {
    three().map(|key| digest(&root.join("bucket/p").join(key)))
}

/// Fails if something is visible that is not whole, or is trusted before what it speaks of is there.
#[track_caller]
fn nothing_half(root: &Path, wanted: &[Sha256; 3], when: &str) {
    let there = visible(root);
    for name in &there {
        let known = three().iter().position(|key| key == name);
        let known = known.unwrap_or_else(|| panic!("{when}: {name} is nobody's"));
        let found = digest(&root.join("bucket/p").join(name));
        assert_eq!(found, wanted[known], "{when}: {name}");
    }
    let [tarball, record, checksum] = three().map(|key| there.contains(&key));
    assert!(checksum || !record, "{when}: the record came too early");
    assert!(tarball || !checksum, "{when}: the digest came too early");
}

#[test]
fn killed_at_any_request_a_deploy_is_completed_by_the_next() {
    let Some(case) = Case::new() else { return };
    let formula = large();
    let store = Store { page: 1000, ..AWS };
    // Built once: what comes after that is what is killed.
    formula.build(&case).run().succeeds();
    let whole = root();
    let server = Server::start(whole.path(), store);
    with(deploy(&formula, &case), &server).run().succeeds();
    let wanted = digests(whole.path());
    let requests = server.seen();
    assert!(
        requests.iter().any(|seen| seen.is("POST", "uploadId")),
        "it does not go in parts"
    );
    for (moment, request) in requests.iter().enumerate() {
        let changes = !matches!(request.method.as_str(), "GET" | "HEAD");
        for done in [false, true] {
            if done && !changes {
                continue;
            }
            let when = format!("{moment}: {} {}, {done}", request.method, request.uri);
            killed_at(&case, &formula, (moment, done), &wanted, &when);
        }
    }
    case.is_clean();
}

/// One deploy that is killed when its request of this number arrives, which is `done` or not, and
/// the next.
fn killed_at(
    case: &Case,
    formula: &Formula,
    (moment, done): (usize, bool),
    wanted: &[Sha256; 3],
    when: &str,
) {
    let root = root();
    let pid = Arc::new(AtomicI32::new(0));
    let victim = Arc::clone(&pid);
    let server = Server::faulty(root.path(), Store { page: 1000, ..AWS }, move |n, _| {
        if n != moment {
            return Fault::None;
        }
        while victim.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        kill(
            Pid::from_raw(victim.load(Ordering::SeqCst)),
            Signal::SIGKILL,
        )
        .expect("alive");
        if done { Fault::None } else { Fault::Reset }
    });
    let run = with(deploy(formula, case), &server).start();
    pid.store(run.pid().cast_signed(), Ordering::SeqCst);
    assert_eq!(run.wait().code, 137, "{when}");
    nothing_half(root.path(), wanted, when);
    with(deploy(formula, case), &server).run().succeeds();
    assert_eq!(digests(root.path()), *wanted, "{when}");
    assert_eq!(visible(root.path()), three(), "{when}");
    assert_eq!(server.uploads(), [], "{when}");
    // What was put to try the bucket, and no listing shows, goes once it is a second old.
    eventually("nothing is left in the bucket", || {
        let clean = files_below(&root.path().join("bucket/p")) == three();
        if !clean {
            let gc = case.pybuild().args(["gc", "--older-than", "1s"]);
            with(gc, &server).run().succeeds();
        }
        clean
    });
}

/// Whether it is the tarball that is put.
fn puts_tarball(seen: &Seen) -> bool {
    seen.method == "PUT"
        && seen
            .uri
            .split('?')
            .next()
            .is_some_and(|uri| uri.ends_with(".tar.gz"))
}

#[test]
fn of_two_deploys_at_once_both_succeed_or_one_is_refused() {
    let (Some(one), Some(other)) = (Case::new(), Case::new()) else {
        return;
    };
    let formula = Formula::hello;
    for (second, same) in [
        (formula(), true),
        (formula().step("more", "echo more >$1/lib/more"), false),
    ] {
        let root = root();
        let both = Arc::new(tokio::sync::Barrier::new(2));
        let puts = AtomicUsize::new(0);
        let server = Server::faulty(root.path(), AWS, move |_, seen| {
            // Each has looked, and nothing was there.
            if puts_tarball(seen) && puts.fetch_add(1, Ordering::SeqCst) < 2 {
                Fault::Meet(Arc::clone(&both))
            } else {
                Fault::None
            }
        });
        let runs = [
            with(deploy(&formula(), &one), &server).start(),
            with(deploy(&second, &other), &server).start(),
        ];
        let runs = runs.map(crate::program::Running::wait);
        let mut codes = [runs[0].code, runs[1].code];
        codes.sort_unstable();
        let said = format!("{}\n{}", runs[0].err, runs[1].err);
        assert_eq!(codes, if same { [0, 0] } else { [0, 1] }, "{said}");
        assert_eq!(
            said.contains("is there already with other bytes"),
            !same,
            "{said}"
        );
        assert_eq!(visible(root.path()), three());
        let [tarball, _, _] = digests(root.path());
        let sidecar = root.path().join("bucket/p").join(&three()[2]);
        let sidecar = fs::read_to_string(sidecar).expect("there");
        assert_eq!(sidecar, format!("{tarball}  hello-1.0.tar.gz\n"));
        let record = root.path().join("bucket/p").join(&three()[1]);
        let record = fs::read_to_string(record).expect("there");
        assert!(record.contains(&tarball.to_string()), "{record}");
        assert_eq!(server.uploads(), []);
    }
    one.is_clean();
    other.is_clean();
}

#[test]
fn a_matrix_that_was_killed_is_completed_by_the_next_run() {
    let Some(whole) = Case::new() else { return };
    let runtimes = "good-1.*";
    farm::matrix(&whole, runtimes).run().succeeds();
    let keys = files_below(&whole.dist());
    assert_eq!(keys.len(), 6, "{keys:?}");
    let digests =
        |dir: &Path| -> Vec<Sha256> { keys.iter().map(|key| digest(&dir.join(key))).collect() };
    let wanted = digests(&whole.dist());
    let mut killed = 0;
    for moment in 0..10 {
        let Some(case) = Case::new() else { return };
        let root = root();
        let server = Server::start(root.path(), AWS);
        let bucket = root.path().join("bucket/p");
        // To a bucket and to a directory in turn.
        let to_bucket = moment % 2 == 0;
        let dir = if to_bucket { &bucket } else { &case.dist() };
        let matrix = || {
            if !to_bucket {
                return farm::matrix(&case, runtimes);
            }
            let run = farm::command(&case, "deploy-runtimes");
            with(
                run.args(["--stacks", STACK, "--runtimes", runtimes]),
                &server,
            )
        };
        let run = matrix().args(["-j", "2", "--verbose"]).start();
        let alive = run.lines(moment);
        run.signal(Signal::SIGKILL);
        killed += i32::from(run.wait().code == 137 && alive);
        eventually("no process is left", || {
            processes_of(&case.at("")).is_empty()
        });
        for name in files_below(dir) {
            if name.starts_with(".pybuild-") {
                continue;
            }
            let known = keys.iter().position(|key| *key == name);
            let known = known.unwrap_or_else(|| panic!("{moment}: {name} is nobody's"));
            assert_eq!(digest(&dir.join(&name)), wanted[known], "{moment}: {name}");
        }
        matrix().run().succeeds();
        assert_eq!(digests(dir), wanted, "{moment}");
        assert_eq!(server.uploads(), [], "{moment}");
        case.is_clean();
    }
    assert!(killed >= 5, "only {killed} runs were killed under way");
}
