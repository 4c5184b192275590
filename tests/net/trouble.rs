//! Servers that are busy, wrong, mute or not there: what is tried again, and what ends it.

use std::io::Write as _;
use std::time::Duration;

use nix::sys::signal::Signal;
use pybuild::net::{NetError, Settings, Trouble};

use crate::kit::{Here, content, download, settings, trouble};
use crate::server::{Reply, Server, closed_port};

/// A reply that is made of a body.
type Body = fn(&[u8]) -> Reply;
type Check = fn(&Trouble) -> bool;

#[test]
fn busy_servers_are_tried_again_and_no_more_than_allowed() {
    let bytes = content(1000);
    for code in [429, 500, 502, 503] {
        let server = Server::start({
            let bytes = bytes.clone();
            move |n, _| match n {
                0 | 1 => Reply::status(code).header("Retry-After: Sun, 06 Nov 2094 08:49:37 GMT"),
                _ => Reply::ok(&bytes),
            }
        });
        let here = Here::new();
        here.fetch_sound(&download(&[server.url("/")], &bytes), &bytes);

        let server = Server::start(move |_, _| Reply::status(code));
        let error = here
            .fetch(&download(&[server.url("/x")], b"other"))
            .expect_err("always busy");
        assert_eq!(server.requests().len(), 3);
        let text = error.to_string();
        assert!(
            text.starts_with("cannot download thing.tgz\n  http://127.0.0.1:"),
            "{text}"
        );
        assert!(text.contains(&format!("/x answered {code} ")), "{text}");
        assert!(text.ends_with(" (tried 3 times)"), "{text}");
    }
}

#[test]
fn what_is_for_good_is_not_tried_again() {
    let bytes = content(1000);
    let cases: [(&str, Body); 7] = [
        ("answered 404 Not Found", |_| Reply::status(404)),
        ("answered 403 Forbidden", |_| Reply::status(403)),
        ("has 999 bytes where there should be 1000", |bytes| {
            Reply::ok(&bytes[1..])
        }),
        ("has more than 1000 bytes", |bytes| {
            Reply::ok(&bytes.repeat(1000)).chunked()
        }),
        ("answered nonsense: a part", |bytes| Reply::rest(bytes, 5)),
        ("answered nonsense: a success without", |_| {
            Reply::status(204)
        }),
        ("has SHA-256 541b3e9d", |_| Reply::ok(&[0; 1000])),
    ];
    for (words, wrong) in cases {
        let server = Server::start({
            let bytes = bytes.clone();
            move |_, _| wrong(&bytes)
        });
        let here = Here::new();
        let error = here
            .fetch(&download(&[server.url("/")], &bytes))
            .expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(server.requests().len(), 1, "{words}");
        assert!(here.files("partial").is_empty() && here.files("blobs").is_empty());
    }
}

#[test]
fn a_body_without_length_that_ends_early_is_tried_again() {
    let bytes = content(1000);
    let server = Server::start({
        let bytes = bytes.clone();
        move |n, _| match n {
            0 => Reply::ok(&bytes).unframed().close_after(500),
            1 => Reply::ok(&bytes).chunked().close_after(700),
            _ => Reply::ok(&bytes).unframed(),
        }
    });
    let here = Here::new();
    here.fetch_sound(&download(&[server.url("/")], &bytes), &bytes);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn silence_and_trickles_end() {
    let bytes = content(100_000);
    let cases: [(Body, Check); 3] = [
        (
            |bytes| Reply::ok(bytes).hang_before(),
            |trouble| matches!(trouble, Trouble::Idle(_)),
        ),
        (
            |bytes| Reply::ok(bytes).hang_after(10),
            |trouble| matches!(trouble, Trouble::Idle(_)),
        ),
        (
            |bytes| Reply::ok(bytes).trickle(),
            |trouble| matches!(trouble, Trouble::Slow { .. }),
        ),
    ];
    for (mute, expected) in cases {
        let server = Server::start({
            let bytes = bytes.clone();
            move |_, _| mute(&bytes)
        });
        let here = Here::with(Settings {
            tries: 1,
            connect_timeout: Duration::from_millis(100),
            low_speed: 5000,
            ..settings()
        });
        let error = here
            .fetch(&download(&[server.url("/")], &bytes))
            .expect_err("nothing comes");
        assert!(expected(trouble(&error)), "{error}");
    }
}

#[test]
fn an_interrupt_ends_a_download_wherever_it_is() {
    let bytes = content(100_000);
    let replies: [Body; 3] = [
        |bytes| Reply::ok(bytes).hang_before(),
        |bytes| Reply::ok(bytes).hang_after(1000),
        |_| Reply::status(503),
    ];
    for reply in replies {
        // Were the interrupt not heeded, this would take an hour.
        let hour = Duration::from_secs(3600);
        let here = Here::with(Settings {
            idle_timeout: hour,
            backoff: hour,
            backoff_max: hour,
            deadline: hour,
            ..settings()
        });
        let server = Server::start({
            let (bytes, interrupt) = (bytes.clone(), here.interrupt.clone());
            move |_, _| {
                interrupt.raise(Signal::SIGTERM);
                reply(&bytes)
            }
        });
        let error = here
            .fetch(&download(&[server.url("/")], &bytes))
            .expect_err("interrupted");
        assert!(matches!(error, NetError::Interrupted(_)), "{error}");
    }
}

#[test]
fn who_is_not_there_or_not_secure_is_told_apart() {
    let here = Here::with(Settings {
        tries: 1,
        ..settings()
    });
    let error_of = |url: String| {
        here.fetch(&download(&[url], b"x"))
            .expect_err("nobody there")
    };
    // RFC 6761 keeps the name from ever existing; a host without a resolver may time out on it.
    let error = error_of("http://nobody.invalid/".to_owned());
    let expected = matches!(trouble(&error), Trouble::Name | Trouble::ConnectTimeout(_));
    assert!(expected, "{error}");

    let port = closed_port();
    let error = error_of(format!("http://127.0.0.1:{port}/"));
    let expected = matches!(trouble(&error), Trouble::Connect(why) if why.contains("refused"));
    assert!(expected, "{error}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let address = listener.local_addr().expect("bound");
    let plain = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        // Until the client goes away.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let error = error_of(format!("https://{address}/"));
    assert!(matches!(trouble(&error), Trouble::Tls(_)), "{error}");
    plain.join().expect("no panic");
}
