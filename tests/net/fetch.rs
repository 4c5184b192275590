//! What is fetched, from where, and what is said when it cannot be had.

use std::fs;
use std::path::Path;

use pybuild::model::Sha256;
use pybuild::net::{NetError, Trouble};

use crate::kit::{ETAG, Here, MIB, content, download, settings, trouble};
use crate::server::{Reply, Request, Server, closed_port};

#[test]
fn what_is_fetched_once_is_not_asked_for_again() {
    let bytes = content(3 * MIB);
    let server = Server::start({
        let bytes = bytes.clone();
        move |_, _| Reply::ok(&bytes).header("Content-Encoding: gzip")
    });
    let here = Here::new();
    let wanted = download(&[server.url("/thing.tgz")], &bytes);
    for _ in 0..2 {
        here.fetch_sound(&wanted, &bytes);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path, "/thing.tgz");
    assert_eq!(requests[0].header("accept-encoding"), Some("identity"));
    assert_eq!(requests[0].header("range"), None);
    assert_eq!(requests[0].header("referer"), None);
}

#[test]
fn connections_are_used_again() {
    let server = Server::start(|n, _| Reply::ok(&content(100 + n)));
    let here = Here::new();
    for n in 0..20 {
        let bytes = content(100 + n);
        here.fetch_sound(&download(&[server.url("/")], &bytes), &bytes);
    }
    // Not one: it is the driving thread that puts a connection back, when it gets to it.
    assert!(server.connections() < 20, "{}", server.connections());
}

#[test]
fn mirrors_are_tried_in_order_and_at_once() {
    let bytes = content(1000);
    let gone = Server::start(|_, _| Reply::status(404));
    let good = Server::start({
        let bytes = bytes.clone();
        move |_, _| Reply::ok(&bytes)
    });
    let refused = format!("http://127.0.0.1:{}/", closed_port());
    let urls = [
        "ftp://example.org/thing".to_owned(),
        "no url".to_owned(),
        "file:///nonexistent/thing".to_owned(),
        refused,
        gone.url("/"),
        good.url("/"),
    ];
    let here = Here::new();
    here.fetch_sound(&download(&urls, &bytes), &bytes);
    assert_eq!((gone.requests().len(), good.requests().len()), (1, 1));
}

#[test]
fn a_wrong_digest_names_both_and_every_url_and_keeps_nothing() {
    let bytes = content(2 * MIB);
    let wrong = content(2 * MIB + 1)[1..].to_vec();
    let bad = Server::start({
        let wrong = wrong.clone();
        move |_, _| Reply::ok(&wrong).header(ETAG)
    });
    let gone = Server::start(|_, _| Reply::status(404));
    let here = Here::new();
    let urls = [bad.url("/bad"), gone.url("/gone")];
    let error = here.fetch(&download(&urls, &bytes)).expect_err("wrong");
    let expected = format!(
        "cannot download thing.tgz with SHA-256 {}\n  {} has SHA-256 {}\n  {} answered 404 Not Found",
        Sha256::of(&bytes),
        urls[0],
        Sha256::of(&wrong),
        urls[1],
    );
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, NetError::WrongDigest { .. }));
    for room in ["partial", "blobs", "set-aside"] {
        assert!(here.files(room).is_empty(), "{room}");
    }
}

#[test]
fn redirects_are_followed_within_reason() {
    let bytes = content(1000);
    let server = Server::start({
        let bytes = bytes.clone();
        move |_, request: &Request| match request.path.as_str() {
            "/thing" => Reply::status(302).header("Location: /moved?secret=1"),
            "/moved?secret=1" => Reply::status(307).header("Location: /there"),
            "/there" => Reply::ok(&bytes),
            "/file" => Reply::status(302).header("Location: file:///etc/passwd"),
            _ => Reply::status(301).header("Location: /loop"),
        }
    });
    let here = Here::new();
    here.fetch_sound(&download(&[server.url("/thing")], &bytes), &bytes);
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.header("referer").is_none())
    );
    for path in ["/loop", "/file"] {
        let error = here
            .fetch(&download(&[server.url(path)], b"other"))
            .expect_err("leads nowhere");
        assert!(matches!(trouble(&error), Trouble::Redirect(_)), "{error}");
    }
    let asked = server.requests();
    let again = asked.iter().filter(|request| request.path == "/loop");
    assert_eq!(again.count(), settings().redirects + 1);
}

#[test]
fn credentials_are_sent_and_never_shown() {
    let server = Server::start(|_, _| Reply::status(401));
    let here = Here::new();
    let url = server
        .url("/a?X-Amz-Signature=hunter2")
        .replace("http://", "http://user:hunter3@");
    let broken = "http://user:hunter3@exa mple/?hunter2".to_owned();
    let refused = format!("http://user:hunter3@127.0.0.1:{}/?hunter2", closed_port());
    let error = here
        .fetch(&download(&[url.clone(), broken, refused], b"x"))
        .expect_err("refused");
    assert!(server.requests()[0].header("authorization").is_some());
    let document = here
        .client
        .get(&url, 10, &here.interrupt)
        .expect_err("refused");
    for error in [error, document] {
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains("hunter"), "{text}");
        }
    }
}

#[test]
fn files_are_read_like_everything_else() {
    let here = Here::new();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bytes = content(MIB);
    let file = dir.path().join("a thing.tgz");
    fs::write(&file, &bytes).expect("write");
    let url = |path: &Path| format!("file://{}", path.display()).replace(' ', "%20");
    here.fetch_sound(&download(&[url(&file)], &bytes), &bytes);

    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let cases = [
        (url(&file), "has 1048576 bytes where there should be 5"),
        (url(&pipe), "no regular file"),
        (url(dir.path()), "no regular file"),
        (url(&dir.path().join("nothing")), "No such file"),
        (
            "file://elsewhere/etc/passwd".to_owned(),
            "no file of this host",
        ),
    ];
    for (url, words) in cases {
        let error = here.fetch(&download(&[url], b"other")).expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn small_documents_are_read_and_bounded() {
    let server = Server::start(|n, request: &Request| match request.path.as_str() {
        "/gone" => Reply::status(404),
        "/busy" if n == 0 => Reply::status(503),
        "/endless" => Reply::ok(&b"x".repeat(100_000)).chunked(),
        _ => Reply::ok(b"document"),
    });
    let here = Here::new();
    let get = |path: &str, limit| here.client.get(&server.url(path), limit, &here.interrupt);
    assert_eq!(get("/busy", 8).expect("the second time"), b"document");
    assert!(get("/gone", 8).expect_err("gone").is_not_found());
    for (path, limit) in [("/", 7), ("/endless", 1000)] {
        let error = get(path, limit).expect_err("too long");
        assert_eq!(trouble(&error), &Trouble::TooLong(limit));
        assert!(!error.is_not_found());
    }
}

#[test]
fn nothing_to_try_is_said() {
    let here = Here::new();
    let error = here.fetch(&download(&[], b"x")).expect_err("no URL");
    assert_eq!(
        error.to_string(),
        "cannot download thing.tgz: no URL is known for it"
    );
}
