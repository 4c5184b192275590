//! The same over the network: a bucket by its listing, the web by a list, and when it breaks.

use std::fs;
use std::path::Path;

use pybuild::model::{Quiet, Sha256};
use pybuild::publish::{Content, Mode, Remote, Settings, Target};
use pybuild::sys::interrupt::Interrupt;
use pybuild::verify::{Lock, Report, Rule, Tools, Verdict, VerifyError, verify};

use crate::kit::{Dist, FLAT, PYTHON, SQLITE, found};
use crate::server::{AWS, Fault, Server, patience, refusal, remote, root};
use crate::web;

fn bucket(url: &str) -> Remote {
    remote(url, &[])
}

/// Publishes everything of a directory.
fn upload(dist: &Dist, remote: &Remote) {
    for key in [PYTHON, SQLITE, FLAT] {
        for suffix in ["", ".sha256", ".json"] {
            let key = format!("{key}{suffix}");
            let interrupt = Interrupt::manual().expect("an eventfd");
            let bytes = dist.get(&key);
            let content = Content::Bytes(&bytes);
            remote
                .put(&key, content, Mode::Overwrite, &|_| {}, &interrupt)
                .expect("put");
        }
    }
}

fn look(dist: &Dist, remote: &Remote, tools: &Tools<'_>) -> Result<Report, VerifyError> {
    let interrupt = Interrupt::manual().expect("an eventfd");
    verify(remote, &dist.what, &dist.options, tools, &Quiet, &interrupt)
}

fn at(root: &Path, key: &str) -> std::path::PathBuf {
    root.join("bucket/p").join(key)
}

#[test]
fn a_bucket_is_verified_by_its_listing() {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let remote = bucket(&server.url());
    let dist = Dist::sound();
    let report = look(&dist, &remote, &Tools::default()).expect("reachable");
    assert_eq!(found(&report), [(".", Rule::Present)], "an empty bucket");
    upload(&dist, &remote);
    let report = look(&dist, &remote, &Tools::default()).expect("reachable");
    assert_eq!(report.findings, []);
    assert_eq!(
        (report.verdict(), report.checked.len()),
        (Verdict::Sound, 3)
    );
    // What changes a bucket behind everybody's back.
    let mut bytes = dist.get(PYTHON);
    bytes[30] ^= 4;
    fs::write(at(root.path(), PYTHON), &bytes).expect("written");
    fs::remove_file(at(root.path(), FLAT)).expect("it was there");
    let report = look(&dist, &remote, &Tools::default()).expect("reachable");
    let found = found(&report);
    assert!(found.contains(&(PYTHON, Rule::Digest)), "{found:?}");
    assert!(found.contains(&(FLAT, Rule::Present)), "{found:?}");
    assert!(!found.iter().any(|(key, _)| *key == SQLITE), "{found:?}");
}

#[test]
fn what_cannot_be_reached_is_not_called_sound_or_wrong() {
    let root = root();
    let dist = Dist::sound();
    upload(&dist, &bucket(&Server::start(root.path(), AWS).url()));
    let down = Server::faulty(root.path(), AWS, |_, seen| {
        if seen.is("GET", "sqlite-3.46.1.tar.xz") && !seen.is("GET", ".tar.xz.") {
            refusal(503, "SlowDown")
        } else {
            Fault::None
        }
    });
    let report = look(&dist, &bucket(&down.url()), &Tools::default()).expect("listed");
    assert_eq!(report.findings, []);
    assert_eq!(report.verdict(), Verdict::Unknown);
    assert_eq!(report.unseen.len(), 1);
    assert_eq!(report.unseen[0].key, SQLITE);
    assert!(report.sound.iter().all(|(key, _)| key != SQLITE));

    let refused = Server::faulty(root.path(), AWS, |_, seen| {
        if seen.is("GET", "sqlite-3.46.1.tar.xz") && !seen.is("GET", ".tar.xz.") {
            refusal(403, "AccessDenied")
        } else {
            Fault::None
        }
    });
    let report = look(&dist, &bucket(&refused.url()), &Tools::default()).expect("listed");
    assert_eq!(found(&report), [(SQLITE, Rule::Readable)]);

    let nobody = Server::faulty(root.path(), AWS, |_, _| refusal(503, "SlowDown"));
    let error = look(&dist, &bucket(&nobody.url()), &Tools::default());
    assert!(matches!(error, Err(VerifyError::Target(error)) if error.may_pass()));
}

#[test]
fn a_broken_connection_is_resumed_and_a_wrong_byte_is_found() {
    let root = root();
    let dist = Dist::sound();
    upload(&dist, &bucket(&Server::start(root.path(), AWS).url()));
    let once = std::sync::atomic::AtomicBool::new(false);
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        let tarball = seen.is("GET", "python-3.11.2.tar.gz") && !seen.is("GET", ".tar.gz.");
        if tarball && !once.swap(true, std::sync::atomic::Ordering::SeqCst) {
            Fault::Truncated(300)
        } else {
            Fault::None
        }
    });
    let report = look(&dist, &bucket(&server.url()), &Tools::default()).expect("listed");
    assert_eq!((report.findings, report.unseen), (vec![], vec![]));
}

#[test]
fn the_web_needs_a_list_and_no_credentials() {
    let dist = Dist::sound();
    let page = web::Server::start({
        let root = dist.path().to_owned();
        move |_, request| match fs::read(root.join(request.path.trim_start_matches('/'))) {
            Ok(bytes) => web::Reply::ok(&bytes),
            Err(_) => web::Reply::status(404),
        }
    });
    let target: Target = page.url("/").parse().expect("a target");
    let settings = Settings::default().with_patience(patience());
    let remote = Remote::open(&target, &settings).expect("nothing is done yet");
    let error = look(&dist, &remote, &Tools::default());
    assert!(matches!(error, Err(VerifyError::NoList { .. })));
    let expected = [PYTHON, SQLITE, FLAT].map(str::to_owned);
    let tools = Tools {
        expected: &expected,
        ..Tools::default()
    };
    let report = look(&dist, &remote, &tools).expect("reachable");
    assert_eq!((&report.findings, &report.unseen), (&vec![], &vec![]));
    assert_eq!(report.checked.len(), 3);
    dist.remove(SQLITE);
    let report = look(&dist, &remote, &tools).expect("reachable");
    assert_eq!(found(&report), [(SQLITE, Rule::Present)]);
    // A lock is a list too.
    let lock = Lock {
        target: target.to_string(),
        digests: [(PYTHON.to_owned(), Sha256::of(b"other"))].into(),
    };
    let tools = Tools {
        lock: Some(&lock),
        ..Tools::default()
    };
    let report = look(&dist, &remote, &tools).expect("reachable");
    assert_eq!(found(&report), [(PYTHON, Rule::Digest)]);
}

#[test]
fn what_could_not_be_asked_of_a_bucket_leaves_it_unknown() {
    let root = root();
    let dist = Dist::sound();
    upload(&dist, &bucket(&Server::start(root.path(), AWS).url()));
    dist.index();
    let index = dist.get("index.json");
    fs::write(at(root.path(), "index.json"), index).expect("written");
    for (what, key) in [("/index.json", "index.json"), ("uploads", ".")] {
        let down = Server::faulty(root.path(), AWS, move |_, seen| {
            if seen.is("GET", what) {
                refusal(503, "SlowDown")
            } else {
                Fault::None
            }
        });
        let report = look(&dist, &bucket(&down.url()), &Tools::default()).expect("listed");
        assert!(down.count("GET", what) > 0, "{what} is asked for");
        assert_eq!(report.findings, [], "{what}");
        assert_eq!(report.verdict(), Verdict::Unknown, "{what}");
        let unseen: Vec<&str> = report.unseen.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(unseen, [key]);
    }
}

#[test]
fn what_is_not_tried_since_others_cannot_be_reached_is_not_called_sound() {
    let root = root();
    let mut dist = Dist::sound();
    dist.options.jobs = 1;
    upload(&dist, &bucket(&Server::start(root.path(), AWS).url()));
    for n in 0..3 {
        for suffix in ["", ".sha256", ".json"] {
            let to = at(
                root.path(),
                &format!("debian-12/runtimes/python-3.8.{n}.tar.gz{suffix}"),
            );
            fs::copy(dist.at(&format!("{PYTHON}{suffix}")), to).expect("copied");
        }
    }
    let down = Server::faulty(root.path(), AWS, |_, seen| {
        if seen.is("GET", ".sha256") && !seen.is("GET", "list-type") {
            refusal(503, "SlowDown")
        } else {
            Fault::None
        }
    });
    let report = look(&dist, &bucket(&down.url()), &Tools::default()).expect("listed");
    assert_eq!((report.checked.len(), report.unseen.len()), (6, 6));
    let untried = report
        .unseen
        .iter()
        .filter(|one| one.why.contains("not tried"));
    assert_eq!(untried.count(), 2);
    assert_eq!(report.sound, []);
}
