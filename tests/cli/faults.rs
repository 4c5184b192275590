//! The program on a bucket that misbehaves: how it ends, that nothing half is to be seen, and that
//! the same command succeeds once the trouble is over.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pybuild::model::Sha256;

use crate::bucket::{root, with};
use crate::deploy::{deploy, redeploy, three};
use crate::formula::{Formula, digest};
use crate::kit::{Case, files_below};
use crate::program::Running;
use crate::s3::{AWS, Fault, SECRET, Seen, Server, refusal};

/// One thing that goes wrong, and how the program ends.
struct Row {
    which: fn(&Seen) -> bool,
    fault: Fault,
    code: i32,
    said: &'static [&'static str],
}

fn row(which: fn(&Seen) -> bool, fault: Fault, code: i32, said: &'static [&'static str]) -> Row {
    Row {
        which,
        fault,
        code,
        said,
    }
}

fn any(_: &Seen) -> bool {
    true
}

fn tarball(seen: &Seen) -> bool {
    seen.is("PUT", "hello-1.0.tar.gz") && !sidecar(seen)
}

fn sidecar(seen: &Seen) -> bool {
    seen.is("PUT", ".tar.gz.sha256") || seen.is("PUT", ".tar.gz.json")
}

fn record(seen: &Seen) -> bool {
    seen.is("PUT", ".tar.gz.json")
}

fn read(seen: &Seen) -> bool {
    seen.is("GET", ".tar.gz.json")
}

fn slow_down() -> Fault {
    let Fault::Answer(status, _, text) = refusal(503, "SlowDown") else {
        panic!("it is an answer");
    };
    Fault::Answer(status, vec![("retry-after", "1".to_owned())], text)
}

const AGAIN: &str = "hint: run the same command again";

/// What does not pass, of an empty bucket.
fn table() -> Vec<Row> {
    let skewed = refusal(403, "RequestTimeTooSkewed");
    vec![
        row(
            tarball,
            refusal(500, "InternalError"),
            75,
            &["500 InternalError", AGAIN],
        ),
        row(
            record,
            refusal(500, "InternalError"),
            75,
            &["500 InternalError", AGAIN],
        ),
        row(
            tarball,
            slow_down(),
            75,
            &["503 SlowDown", "tried 5 times", AGAIN],
        ),
        row(
            tarball,
            refusal(200, "InternalError"),
            75,
            &["200 InternalError", AGAIN],
        ),
        row(
            tarball,
            refusal(409, "ConditionalRequestConflict"),
            75,
            &["409 Cond", AGAIN],
        ),
        row(
            tarball,
            refusal(409, "InvalidBucketState"),
            75,
            &["409 InvalidBucketState", AGAIN],
        ),
        row(
            tarball,
            Fault::Reset,
            75,
            &["PUT s3://bucket/p/", "tried 5 times", AGAIN],
        ),
        row(any, Fault::Reset, 75, &["GET s3://bucket/p/", AGAIN]),
        row(tarball, Fault::Flipped, 75, &["PUT s3://bucket/p/", AGAIN]),
        // A store that says of nothing that it is there.
        row(
            tarball,
            refusal(412, "PreconditionFailed"),
            75,
            &["changed or removed", AGAIN],
        ),
        row(
            tarball,
            refusal(403, "AccessDenied"),
            2,
            &["access denied: PUT", "hint: the credentials need"],
        ),
        row(
            sidecar,
            refusal(403, "AccessDenied"),
            2,
            &["access denied: PUT", "hint: the credentials need"],
        ),
        row(
            any,
            refusal(403, "AccessDenied"),
            2,
            &["access denied: GET", "hint: the credentials need"],
        ),
        row(
            any,
            refusal(404, "NoSuchBucket"),
            2,
            &["there is no bucket `bucket`", "hint: "],
        ),
        row(
            any,
            refusal(400, "ExpiredToken"),
            2,
            &["have expired", "hint: renew them"],
        ),
        row(
            tarball,
            refusal(400, "ExpiredToken"),
            2,
            &["have expired", "hint: renew them"],
        ),
        row(any, skewed, 2, &["clock", "hint: set this host's clock"]),
        row(
            any,
            refusal(301, "PermanentRedirect"),
            2,
            &["is not in the region", "hint: set S3_REGION"],
        ),
    ]
}

/// A deploy that meets a fault, until the fault is mended.
struct Trouble {
    root: tempfile::TempDir,
    server: Server,
    over: Arc<AtomicBool>,
}

impl Trouble {
    fn new(which: fn(&Seen) -> bool, fault: Fault, times: usize) -> Self {
        let root = root();
        let over = Arc::new(AtomicBool::new(false));
        let (mended, met) = (Arc::clone(&over), AtomicUsize::new(0));
        let server = Server::faulty(root.path(), AWS, move |_, seen| {
            let meets = !mended.load(Ordering::SeqCst) && which(seen);
            if meets && met.fetch_add(1, Ordering::SeqCst) < times {
                fault.clone()
            } else {
                Fault::None
            }
        });
        Self { root, server, over }
    }

    fn start(&self, case: &Case) -> Running {
        with(redeploy(case), &self.server).start()
    }

    fn at(&self, key: &str) -> std::path::PathBuf {
        self.root.path().join("bucket/p").join(key)
    }

    fn there(&self) -> Vec<String> {
        files_below(&self.root.path().join("bucket/p"))
    }
}

/// What is published where all goes well.
fn wanted(case: &Case) -> [Sha256; 3] {
    Formula::hello().write(&case.at(""));
    let sound = Trouble::new(any, Fault::None, 0);
    sound.start(case).wait().succeeds();
    three().map(|key| digest(&sound.at(&key)))
}

#[test]
fn what_does_not_pass_ends_as_documented_and_the_next_run_succeeds() {
    let Some(case) = Case::new() else { return };
    let wanted = wanted(&case);
    // All at once: each mostly waits.
    let runs: Vec<_> = table()
        .into_iter()
        .map(|row| {
            let trouble = Trouble::new(row.which, row.fault, usize::MAX);
            let run = trouble.start(&case);
            (trouble, run, row.code, row.said)
        })
        .collect();
    for (trouble, run, code, said) in runs {
        let ran = run.wait().fails(code, said);
        assert!(!ran.err.contains(SECRET), "{}", ran.err);
        let keys = three();
        let there = trouble.there();
        for name in &there {
            let known = keys.iter().position(|key| key == name).expect("our own");
            assert_eq!(
                digest(&trouble.at(name)),
                wanted[known],
                "{name}: {}",
                ran.err
            );
        }
        assert!(
            !there.contains(&keys[1]),
            "the record comes last: {}",
            ran.err
        );
        trouble.over.store(true, Ordering::SeqCst);
        trouble.start(&case).wait().succeeds();
        assert_eq!(three().map(|key| digest(&trouble.at(&key))), wanted);
        assert_eq!(trouble.there(), keys);
        assert_eq!(trouble.server.uploads(), []);
    }
    case.is_clean();
}

#[test]
fn what_passes_is_not_noticed() {
    let Some(case) = Case::new() else { return };
    let wanted = wanted(&case);
    let table = [
        (
            tarball as fn(&Seen) -> bool,
            refusal(500, "InternalError"),
            2,
        ),
        (any, slow_down(), 2),
        (any, Fault::Reset, 2),
        (tarball, Fault::Lost, 1),
        (record, Fault::Lost, 2),
        (tarball, Fault::Flipped, 1),
        (tarball, refusal(200, "InternalError"), 1),
        (sidecar, refusal(409, "OperationAborted"), 1),
        (any, Fault::Slow(Duration::from_millis(100)), usize::MAX),
    ];
    let runs: Vec<_> = table
        .into_iter()
        .map(|(which, fault, times)| {
            let trouble = Trouble::new(which, fault, times);
            let run = trouble.start(&case);
            (trouble, run)
        })
        .collect();
    for (trouble, run) in runs {
        run.wait().succeeds();
        assert_eq!(three().map(|key| digest(&trouble.at(&key))), wanted);
        assert_eq!(trouble.there(), three());
    }
    case.is_clean();
}

#[test]
fn what_is_there_and_cannot_be_read_is_not_taken_for_missing() {
    let Some(case) = Case::new() else { return };
    wanted(&case);
    let broken = [
        (Fault::Truncated(10), 1, 0),
        (Fault::Truncated(0), usize::MAX, 75),
        (refusal(403, "AccessDenied"), usize::MAX, 2),
        (refusal(503, "SlowDown"), usize::MAX, 75),
    ];
    let runs: Vec<_> = broken
        .into_iter()
        .map(|(fault, times, code)| {
            let trouble = Trouble::new(read, fault, times);
            trouble.over.store(true, Ordering::SeqCst);
            trouble.start(&case).wait().succeeds();
            trouble.over.store(false, Ordering::SeqCst);
            let puts = trouble.server.count("PUT", "");
            let run = trouble.start(&case);
            (trouble, run, code, puts)
        })
        .collect();
    for (trouble, run, code, puts) in runs {
        let ran = run.wait();
        assert_eq!(ran.code, code, "{}\n{}", ran.err, ran.out);
        assert_eq!(trouble.server.count("PUT", ""), puts, "it is put again");
        assert_eq!(
            code == 0,
            ran.out.contains("(already there)"),
            "{}",
            ran.out
        );
    }
    case.is_clean();
}

#[test]
fn somebody_elses_bytes_stay() {
    let Some(case) = Case::new() else { return };
    let root = root();
    let path = root.path().join("bucket/p").join(&three()[0]);
    let theirs = path.clone();
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        // Between the look and the put.
        if tarball(seen) && !theirs.exists() {
            fs::create_dir_all(theirs.parent().expect("a parent")).expect("mkdir");
            fs::write(&theirs, "theirs").expect("written");
        }
        Fault::None
    });
    for _ in 0..2 {
        let run = with(deploy(&Formula::hello(), &case), &server);
        let said = [
            "is there already with other bytes",
            "hint: --overwrite replaces it",
        ];
        run.run().fails(1, &said);
        assert_eq!(fs::read(&path).expect("there"), b"theirs");
    }
    let below: &Path = &root.path().join("bucket/p");
    assert_eq!(
        files_below(below),
        [three()[0].clone()],
        "no sidecar of ours"
    );
    let run = with(deploy(&Formula::hello(), &case), &server);
    run.args(["--overwrite"]).run().succeeds();
    assert_eq!(files_below(below), three());
    case.is_clean();
}
