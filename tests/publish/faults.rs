//! Everything that can go wrong between here and a bucket.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pybuild::publish::{Mode, PublishError, Put, Remote};

use crate::kit::{bytes, get, interrupt, list, put, put_file};
use crate::s3::LARGE;
use crate::server::{
    AWS, Fault, RETRY_AFTER_MAX, SECRET, Seen, Server, Store, refusal, remote, root,
};

/// A server whose requests that match fail so, the first `times`.
fn failing(
    root: &std::path::Path,
    times: usize,
    matches: impl Fn(&Seen) -> bool + Send + Sync + 'static,
    fault: Fault,
) -> Server {
    let failed = AtomicUsize::new(0);
    Server::faulty(root, AWS, move |_, seen| {
        if matches(seen) && failed.fetch_add(1, Ordering::SeqCst) < times {
            fault.clone()
        } else {
            Fault::None
        }
    })
}

fn ready(server: &Server) -> Remote {
    let remote = remote(&server.url(), &[]);
    remote.check_writable(&interrupt()).expect("writable");
    remote
}

/// What is told of an error holds no secret.
fn told(error: &PublishError) -> String {
    let told = format!("{error}\n{error:?}\n{error:#?}");
    assert!(!told.contains(SECRET), "{told}");
    assert!(!told.contains("Signature="), "{told}");
    error.to_string()
}

fn with_header(status: u16, code: &str, header: (&'static str, &str)) -> Fault {
    let Fault::Answer(status, _, text) = refusal(status, code) else {
        panic!("it is an answer");
    };
    Fault::Answer(status, vec![(header.0, header.1.to_owned())], text)
}

#[test]
fn what_passes_is_waited_for() {
    let conflict = refusal(409, "ConditionalRequestConflict");
    let table = [
        refusal(500, "InternalError"),
        refusal(503, "SlowDown"),
        refusal(429, ""),
        refusal(400, "RequestTimeout"),
        refusal(400, "BadDigest"),
        refusal(200, "InternalError"),
        conflict,
        Fault::Answer(502, Vec::new(), "<html>bad gateway".to_owned()),
        Fault::Reset,
        Fault::Lost,
        Fault::Flipped,
    ];
    for fault in table {
        for size in [1000, LARGE] {
            let root = root();
            let key = |seen: &Seen| seen.is("PUT", "/p/k");
            let server = failing(root.path(), 2, key, fault.clone());
            let remote = ready(&server);
            let content = bytes(1, size);
            let done = put_file(&remote, "k", &content, Mode::Create).expect("it passes");
            assert_eq!(done, Put::Written);
            assert_eq!(get(&remote, "k").expect("read"), Some(content));
            assert_eq!(server.uploads(), []);
        }
    }
}

#[test]
fn what_does_not_pass_is_given_up_and_leaves_nothing() {
    for (fault, busy) in [
        (refusal(500, "InternalError"), true),
        (refusal(503, "SlowDown"), true),
        (Fault::Reset, false),
        (Fault::Flipped, true),
    ] {
        let root = root();
        let part = |seen: &Seen| seen.is("PUT", "partNumber=3") || seen.is("PUT", "/p/small");
        let server = failing(root.path(), usize::MAX, part, fault);
        let remote = ready(&server);
        let large = put_file(&remote, "k", &bytes(1, LARGE), Mode::Create);
        let small = put(&remote, "small", b"x", Mode::Create);
        for error in [large.expect_err("large"), small.expect_err("small")] {
            assert!(error.may_pass(), "{}", told(&error));
            assert!(
                error.to_string().contains("tried 4 times"),
                "{}",
                told(&error)
            );
            assert_eq!(
                matches!(error, PublishError::Busy { .. }),
                busy,
                "{error:?}"
            );
        }
        assert_eq!(list(&remote, ""), [""; 0]);
        assert_eq!(server.uploads(), [], "it has been given up");
    }
}

#[test]
fn a_store_that_asks_for_time_is_given_it() {
    let root = root();
    let busy = with_header(503, "SlowDown", ("retry-after", "86400"));
    let server = failing(root.path(), 1, |seen| seen.is("PUT", "/p/k"), busy);
    let remote = ready(&server);
    let began = Instant::now();
    put(&remote, "k", b"x", Mode::Create).expect("it passes");
    assert!(
        began.elapsed() >= RETRY_AFTER_MAX,
        "what it asks for, within bounds"
    );
}

#[test]
fn a_broken_read_is_gone_on_with() {
    for at in [1, 100_000, 2_999_999] {
        for fault in [Fault::Truncated(at), Fault::Stalled(at)] {
            let root = root();
            let server = failing(root.path(), 2, |seen| seen.is("GET", "/p/k"), fault);
            let remote = remote(&server.url(), &[]);
            let content = bytes(2, 3_000_000);
            put_file(&remote, "k", &content, Mode::Overwrite).expect("put");
            assert_eq!(get(&remote, "k").expect("read"), Some(content));
            let seen = server.seen();
            let gets: Vec<_> = seen.iter().filter(|seen| seen.is("GET", "/p/k")).collect();
            // The last byte alone does not break off.
            assert!((2..=3).contains(&gets.len()), "{gets:?}");
            assert!(!gets[0].headers.contains_key("range"));
            for resumed in &gets[1..] {
                assert!(resumed.headers.contains_key("range"), "{resumed:?}");
                assert!(resumed.headers.contains_key("if-match"), "{resumed:?}");
            }
        }
    }
}

#[test]
fn an_object_that_changes_while_it_is_read_is_not_mixed() {
    let root = root();
    let path = root.path().join("bucket/p/k");
    let changed = path.clone();
    let gets = AtomicUsize::new(0);
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        if !seen.is("GET", "/p/k") {
            return Fault::None;
        }
        if gets.fetch_add(1, Ordering::SeqCst) == 0 {
            return Fault::Truncated(500_000);
        }
        fs::remove_file(&changed).expect("it is there");
        Fault::None
    });
    let remote = remote(&server.url(), &[]);
    put_file(&remote, "k", &bytes(3, 1_000_000), Mode::Overwrite).expect("put");
    let error = get(&remote, "k").expect_err("it is gone");
    assert!(
        matches!(error, PublishError::Changed { .. }),
        "{}",
        told(&error)
    );
}

#[test]
fn a_read_that_cannot_go_on_is_an_error_and_no_short_object() {
    let root = root();
    let truncated = Fault::Truncated(1000);
    let server = failing(
        root.path(),
        usize::MAX,
        |seen| seen.is("GET", "/p/k"),
        truncated,
    );
    let remote = remote(&server.url(), &[]);
    put(&remote, "k", &bytes(4, 900), Mode::Overwrite).expect("put");
    assert!(get(&remote, "k").is_ok(), "it ends before");
    put(&remote, "k", &bytes(4, 100_000), Mode::Overwrite).expect("put");
    // Each try brings some more, so it is the reads without any that count.
    assert_eq!(
        get(&remote, "k").expect("in the end").map(|all| all.len()),
        Some(100_000)
    );
    let stuck = failing(
        root.path(),
        usize::MAX,
        |seen| seen.is("GET", "/p/k"),
        Fault::Truncated(0),
    );
    let remote = crate::server::remote(&stuck.url(), &[]);
    let error = get(&remote, "k").expect_err("nothing comes");
    assert!(
        matches!(error, PublishError::Unreachable { .. }),
        "{}",
        told(&error)
    );
}

#[test]
fn a_lost_or_failed_completion_is_found_out() {
    for fault in [
        Fault::Lost,
        Fault::Reset,
        refusal(200, "InternalError"),
        refusal(500, "InternalError"),
        refusal(409, "ConditionalRequestConflict"),
    ] {
        let root = root();
        let complete = |seen: &Seen| seen.is("POST", "uploadId");
        let server = failing(root.path(), 1, complete, fault);
        let remote = ready(&server);
        let content = bytes(5, LARGE);
        let done = put_file(&remote, "k", &content, Mode::Create).expect("it is there");
        assert_eq!(done, Put::Written);
        assert_eq!(get(&remote, "k").expect("read"), Some(content));
        assert_eq!(server.uploads(), []);
    }
}

#[test]
fn a_completion_that_is_never_answered_is_found_out_too() {
    let root = root();
    let asked = AtomicUsize::new(0);
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        if !seen.is("POST", "uploadId") {
            return Fault::None;
        }
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Fault::Lost,
            _ => Fault::Reset,
        }
    });
    let remote = ready(&server);
    let content = bytes(5, LARGE);
    let done = put_file(&remote, "k", &content, Mode::Create).expect("it is there");
    assert_eq!(done, Put::Written);
    assert_eq!(get(&remote, "k").expect("read"), Some(content));
}

#[test]
fn an_upload_that_gives_way_to_other_bytes_is_no_success() {
    let root = root();
    let path = root.path().join("bucket/p/k");
    let theirs = path.clone();
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        if !seen.is("PUT", "partNumber") {
            return Fault::None;
        }
        if !theirs.exists() {
            fs::create_dir_all(theirs.parent().expect("a parent")).expect("mkdir");
            fs::write(&theirs, bytes(9, LARGE)).expect("write");
        }
        refusal(404, "NoSuchUpload")
    });
    let remote = ready(&server);
    let error = put_file(&remote, "k", &bytes(5, LARGE), Mode::Create);
    assert!(error.is_err(), "{error:?}");
    assert_eq!(fs::read(&path).expect("there"), bytes(9, LARGE));
}

#[test]
fn an_upload_that_somebody_takes_away_begins_anew() {
    let root = root();
    let gone = refusal(404, "NoSuchUpload");
    let server = failing(root.path(), 1, |seen| seen.is("PUT", "partNumber=2"), gone);
    let remote = ready(&server);
    let content = bytes(6, LARGE);
    put_file(&remote, "k", &content, Mode::Create).expect("put");
    assert_eq!(get(&remote, "k").expect("read"), Some(content));
    assert_eq!(server.count("POST", "uploads"), 2);
}

#[test]
fn each_refusal_is_told_apart() {
    type Is = fn(&PublishError) -> bool;
    let skew = with_header(
        403,
        "RequestTimeTooSkewed",
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    );
    let region = with_header(
        301,
        "PermanentRedirect",
        ("x-amz-bucket-region", "eu-west-1"),
    );
    let table: [(Fault, Is, &str); 8] = [
        (
            refusal(400, "ExpiredToken"),
            |e| matches!(e, PublishError::Expired { .. }),
            "have expired",
        ),
        (
            refusal(403, "InvalidAccessKeyId"),
            |e| matches!(e, PublishError::Refused { .. }),
            "not accepted",
        ),
        (
            refusal(403, "SignatureDoesNotMatch"),
            |e| matches!(e, PublishError::Refused { .. }),
            "not accepted",
        ),
        (
            refusal(403, "AccessDenied"),
            |e| matches!(e, PublishError::Denied { .. }),
            "access denied",
        ),
        (
            refusal(404, "NoSuchBucket"),
            |e| matches!(e, PublishError::NoBucket { .. }),
            "no bucket `bucket`",
        ),
        (
            skew,
            |e| matches!(e, PublishError::ClockSkew { apart: Some(_), .. }),
            "clock",
        ),
        (
            region,
            |e| matches!(e, PublishError::Region { found: Some(_), .. }),
            "but in eu-west-1",
        ),
        (
            refusal(400, "EntityTooLarge"),
            |e| matches!(e, PublishError::Rejected { .. }),
            "EntityTooLarge",
        ),
    ];
    for (fault, is, words) in table {
        let root = root();
        let server = failing(root.path(), usize::MAX, |_| true, fault);
        let remote = remote(&server.url(), &[]);
        let interrupt = interrupt();
        let listed = remote.list("", &interrupt).expect_err("list");
        assert_eq!(server.seen().len(), 1, "it is asked again: {listed}");
        for error in [
            listed,
            remote.head("k", &interrupt).expect_err("head"),
            remote
                .check_writable(&interrupt)
                .expect_err("check_writable"),
            put(&remote, "k", b"x", Mode::Create).expect_err("put"),
            put_file(&remote, "k", &bytes(1, LARGE), Mode::Overwrite).expect_err("put"),
            get(&remote, "k").expect_err("get"),
            remote.stale_uploads(&interrupt).expect_err("stale_uploads"),
        ] {
            assert!(is(&error), "{}", told(&error));
            assert!(told(&error).contains(words), "{error}");
            assert!(!error.may_pass());
        }
    }
}

#[test]
fn nobody_there_is_told_quickly() {
    let remote = remote("http://127.0.0.1:1", &[]);
    let error = put(&remote, "k", b"x", Mode::Create).expect_err("nobody is there");
    assert!(
        matches!(error, PublishError::Unreachable { .. }),
        "{}",
        told(&error)
    );
    assert!(error.may_pass());
}

#[test]
fn two_at_once_end_with_one_whole_object() {
    for same in [true, false] {
        let root = root();
        let server = Server::start(root.path(), AWS);
        let remote = &ready(&server);
        let contents = [bytes(7, LARGE), bytes(if same { 7 } else { 8 }, LARGE)];
        let results: Vec<_> = std::thread::scope(|scope| {
            let puts: Vec<_> = contents
                .iter()
                .map(|content| scope.spawn(move || put_file(remote, "k", content, Mode::Create)))
                .collect();
            puts.into_iter()
                .map(|put| put.join().expect("no panic"))
                .collect()
        });
        let there = get(remote, "k")
            .expect("read")
            .expect("one of them is there");
        for (content, result) in contents.iter().zip(&results) {
            match result {
                Ok(_) => assert!(*content == there, "whoever succeeds is there"),
                Err(error) => {
                    assert!(
                        matches!(error, PublishError::Exists { .. }),
                        "{}",
                        told(error)
                    );
                    assert!(!same, "the same bytes are fine");
                }
            }
        }
        assert_eq!(
            results.iter().filter(|result| result.is_ok()).count(),
            1 + usize::from(same)
        );
        assert_eq!(server.uploads(), [], "{results:?}");
    }
}

#[test]
fn what_somebody_puts_over_ours_is_read_back() {
    for size in [1000, LARGE] {
        let root = root();
        let looks = AtomicUsize::new(0);
        let store = Store {
            conditions: false,
            ..AWS
        };
        let server = Server::faulty(root.path(), store, move |_, seen| {
            // Nothing was there, ours is there; now theirs is, which no condition prevents.
            if seen.is("HEAD", "/p/k") && looks.fetch_add(1, Ordering::SeqCst) == 1 {
                let theirs = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=".to_owned();
                let headers = vec![
                    ("content-length", size.to_string()),
                    ("x-amz-checksum-sha256", theirs),
                ];
                return Fault::Answer(200, headers, String::new());
            }
            Fault::None
        });
        let remote = ready(&server);
        let error = put_file(&remote, "k", &bytes(8, size), Mode::Create).expect_err("theirs");
        assert!(
            matches!(error, PublishError::Exists { .. }),
            "{}",
            told(&error)
        );
    }
}

#[test]
fn a_condition_that_fails_is_compared() {
    let root = root();
    let path = root.path().join("bucket/p/k");
    let put_there = Arc::new(Mutex::new(b"theirs".to_vec()));
    let content = Arc::clone(&put_there);
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        // Somebody is faster, between the look and the put.
        if seen.is("PUT", "/p/k") && !path.exists() {
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(&path, &*content.lock().expect("no panic")).expect("write");
        }
        Fault::None
    });
    let remote = ready(&server);
    let error = put(&remote, "k", b"ours", Mode::Create).expect_err("something else is there");
    assert!(
        matches!(error, PublishError::Exists { .. }),
        "{}",
        told(&error)
    );
    remote.remove("k", &interrupt()).expect("removed");
    *put_there.lock().expect("no panic") = b"ours".to_vec();
    let put = put(&remote, "k", b"ours", Mode::Create).expect("the same");
    assert_eq!(put, Put::AlreadySame);
}
