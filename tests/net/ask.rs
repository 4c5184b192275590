//! Questions whose answer says something whatever it is, and who is told who asks.

use std::sync::Mutex;

use pybuild::model::{Secret, Sha256};
use pybuild::net::{Anonymous, Ask, Authority, NetError, Reply as Answer, Trouble};
use pybuild::sys::interrupt::Interrupt;

use crate::kit::{Here, MIB, content, download, trouble};
use crate::server::{Reply, Request, Server};

/// Says one thing, and another after each challenge.
struct Words {
    words: Mutex<Vec<&'static str>>,
    heard: Mutex<Vec<String>>,
}

impl Words {
    fn new(words: &[&'static str]) -> Self {
        Self {
            words: Mutex::new(words.iter().rev().copied().collect()),
            heard: Mutex::default(),
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("no panic").clone()
    }
}

impl Authority for Words {
    fn authorization(&self, _: &str) -> Option<Secret> {
        let words = self.words.lock().expect("no panic");
        words.last().map(|word| Secret::new(*word))
    }

    fn challenged(
        &self,
        _: &str,
        _: Option<&Secret>,
        challenges: &[String],
        _: &Interrupt,
    ) -> Result<bool, NetError> {
        let mut heard = self.heard.lock().expect("no panic");
        heard.extend(challenges.iter().cloned());
        let mut words = self.words.lock().expect("no panic");
        words.pop();
        Ok(!words.is_empty())
    }
}

fn ask(here: &Here, url: &str, authority: &dyn Authority) -> Result<Answer, NetError> {
    let ask = Ask {
        what: "a thing",
        url,
        accept: &["a/b", "c/d"],
        form: None,
        limit: 1000,
    };
    here.client.ask(&ask, authority, &here.interrupt)
}

#[test]
fn an_answer_is_an_answer_and_what_may_pass_is_asked_again() {
    let server = Server::start(|n, request| match (request.path.as_str(), n) {
        ("/busy", 0..2) => Reply::status(429).header("Retry-After: 0"),
        ("/broken", _) => Reply::status(503),
        ("/gone", _) => Reply::status(404).header("X-Why: moved"),
        ("/long", _) => Reply::ok(&[b'x'; 1001]),
        ("/endless", _) => Reply::ok(&[b'x'; 1001]).chunked(),
        ("/wordy", _) => Reply::ok(&content(MIB)).but(400),
        _ => Reply::ok(b"yes"),
    });
    let here = Here::new();
    let ask = |path: &str| ask(&here, &server.url(path), &Anonymous);
    let busy = ask("/busy").expect("in the end");
    assert_eq!((busy.status, &busy.body[..]), (200, &b"yes"[..]));
    assert_eq!(server.requests().len(), 3);
    assert_eq!(server.requests()[0].headers("accept"), ["a/b", "c/d"]);
    let gone = ask("/gone").expect("an answer");
    assert_eq!((gone.status, gone.header("x-why")), (404, Some("moved")));
    assert_eq!(ask("/wordy").expect("an answer").body.len(), 1000);
    let error = ask("/broken").expect_err("no answer to speak of");
    assert!(matches!(trouble(&error), Trouble::Status { code: 503, .. }));
    for path in ["/long", "/endless"] {
        let error = ask(path).expect_err("too long");
        assert_eq!(trouble(&error), &Trouble::TooLong(1000));
    }
}

#[test]
fn what_is_posted_goes_nowhere_else() {
    let other = Server::start(|_, _| Reply::ok(b"caught"));
    let to = format!("Location: {}", other.url("/"));
    let server = Server::start(move |_, request| match request.path.as_str() {
        "/there" => Reply::status(307).header(&to),
        _ => Reply::ok(b"yes"),
    });
    let here = Here::new();
    let form = Secret::new("a=canary");
    for (path, status) in [("/", 200), ("/there", 307)] {
        let ask = Ask {
            what: "a thing",
            url: &server.url(path),
            accept: &[],
            form: Some(&form),
            limit: 1000,
        };
        let answer = here.client.ask(&ask, &Anonymous, &here.interrupt);
        assert_eq!(answer.expect("an answer").status, status);
    }
    let posted = &server.requests()[0];
    assert_eq!(
        (posted.method.as_str(), posted.body.as_str()),
        ("POST", "a=canary")
    );
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn a_challenge_is_answered_once() {
    let challenge = "WWW-Authenticate: Bearer realm=x";
    let server = Server::start(move |_, request| match request.header("authorization") {
        Some("good") => Reply::ok(b"yes"),
        _ => Reply::status(401)
            .header(challenge)
            .header("WWW-Authenticate: Basic"),
    });
    let url = server.url("/");
    let good = Words::new(&["old", "good"]);
    let here = Here::new();
    assert_eq!(ask(&here, &url, &good).expect("let in").status, 200);
    assert_eq!(good.heard(), ["Bearer realm=x", "Basic"]);
    let bad = Words::new(&["old", "older", "good"]);
    assert_eq!(ask(&here, &url, &bad).expect("an answer").status, 401);
    assert_eq!(bad.heard().len(), 2);
    assert_eq!(ask(&here, &url, &Anonymous).expect("an answer").status, 401);
}

/// The servers that a request is redirected to learn nothing, and cannot ask either.
#[test]
fn nobody_else_is_told_who_asks() {
    let bytes = content(100);
    let challenge = "WWW-Authenticate: Bearer realm=mine";
    let other = Server::start({
        let bytes = bytes.clone();
        move |_, request| match request.path.as_str() {
            "/curious" => Reply::status(401).header(challenge),
            _ => Reply::ok(&bytes),
        }
    });
    let server = Server::start({
        let (open, curious) = (other.url("/open"), other.url("/curious"));
        let bytes = bytes.clone();
        move |_, request| match request.path.as_str() {
            "/open" => Reply::status(307).header(&format!("Location: {open}")),
            "/curious" => Reply::status(302).header(&format!("Location: {curious}")),
            "/here" => Reply::status(302).header("Location: /same"),
            _ => Reply::ok(&bytes),
        }
    });
    let here = Here::new();
    let words = Words::new(&["canary", "canary2"]);
    for path in ["/open", "/here"] {
        let answer = ask(&here, &server.url(path), &words).expect("an answer");
        assert_eq!((answer.status, &answer.body), (200, &bytes));
    }
    let answer = ask(&here, &server.url("/curious"), &words).expect("an answer");
    assert_eq!(answer.status, 401);
    for path in ["/open", "/curious"] {
        let download = download(&[server.url(path)], &bytes);
        let fetched = fetch(&here, &download, &words);
        assert_eq!(fetched.is_ok(), path == "/open", "{fetched:?}");
        let _ = std::fs::remove_file(here.store.blob_path(&Sha256::of(&bytes)));
    }
    assert_eq!(words.heard(), Vec::<String>::new());
    let told = |request: &Request| request.header("authorization").is_some();
    assert!(!other.requests().iter().any(told));
    assert_eq!(other.requests().len(), 4);
    assert!(server.requests().iter().all(told));
}

fn fetch(
    here: &Here,
    download: &pybuild::net::Download,
    authority: &dyn Authority,
) -> Result<(), NetError> {
    let downloads = std::slice::from_ref(download);
    let (store, interrupt) = (&here.store, &here.interrupt);
    let none = |_, _: &std::path::Path| {};
    here.client
        .fetch_all_as(downloads, authority, store, interrupt, &|_| {}, &none)
}

/// A token runs out while a blob comes, and the connection with it.
#[test]
fn a_refusal_in_the_middle_is_answered_and_the_rest_fetched() {
    let bytes = content(3 * MIB);
    let path = format!("/blobs/sha256:{}", Sha256::of(&bytes));
    let server = Server::start({
        let bytes = bytes.clone();
        move |n, request| match (n, request.header("authorization"), request.range()) {
            (0, Some("old"), None) => Reply::ok(&bytes).close_after(MIB),
            (_, Some("new"), Some(had)) => Reply::rest(&bytes, had),
            _ => Reply::status(401).header("WWW-Authenticate: Bearer realm=x"),
        }
    });
    let here = Here::new();
    let download = download(&[server.url(&path)], &bytes);
    fetch(&here, &download, &Words::new(&["old", "new"])).expect("whole");
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    // The URL names what it gives: no version of it is needed, and none was told.
    assert_eq!(requests[2].header("if-range"), None);
    let blob = here.store.blob_path(&download.digest);
    assert_eq!(std::fs::read(blob).expect("there"), bytes);
}

/// What one URL gave is gone on from at another that names the content, in another run, too.
#[test]
fn content_that_urls_name_is_resumed_anywhere() {
    let bytes = content(3 * MIB);
    let path = format!("/{}", Sha256::of(&bytes));
    let half = Server::start({
        let bytes = bytes.clone();
        move |_, request| match request.range() {
            None => Reply::ok(&bytes).close_after(MIB),
            Some(_) => Reply::status(404),
        }
    });
    let rest = Server::start({
        let bytes = bytes.clone();
        move |_, request| match request.range() {
            None => Reply::status(404),
            Some(had) => Reply::rest(&bytes, had),
        }
    });
    let here = Here::new();
    let first = download(&[half.url(&path)], &bytes);
    here.fetch(&first).expect_err("only half of it is there");
    assert!(here.store.partial_path(&first.digest).exists());
    here.fetch_sound(&download(&[rest.url(&path)], &bytes), &bytes);
    assert_eq!(rest.requests().len(), 1);
}

/// Half of something else does not spoil it for good.
#[test]
fn what_does_not_fit_is_fetched_from_the_beginning() {
    let bytes = content(3 * MIB);
    let here = Here::new();
    let server = Server::start({
        let bytes = bytes.clone();
        move |_, request| match request.range() {
            None => Reply::ok(&bytes),
            Some(had) => Reply::rest(&bytes, had),
        }
    });
    let path = format!("/{}", Sha256::of(&bytes));
    let download = download(&[server.url(&path)], &bytes);
    std::fs::write(here.store.partial_path(&download.digest), vec![7; MIB]).expect("write");
    fetch(&here, &download, &Anonymous).expect("in the end");
    assert_eq!(server.requests().len(), 2);
    let blob = here.store.blob(&download.digest).expect("there");
    assert_eq!(std::fs::read(blob).expect("read"), bytes);
}
