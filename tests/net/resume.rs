//! A transfer that is cut goes on where it was, if what is there is still the same.

use crate::kit::{ETAG, Here, MIB, content, download};
use crate::server::{Reply, Request, Server};

/// A reply that is made of a body, another body, and how much of the first was there.
type Rest = fn(&[u8], &[u8], usize) -> Reply;

/// How a transfer is cut, and what the server says when it is asked for the rest.
#[test]
fn a_cut_transfer_is_resumed_or_begun_anew() {
    let bytes = content(3 * MIB);
    let half = MIB + 12345;
    let other = content(3 * MIB + 1)[1..].to_vec();
    let cases: [(&str, Rest, usize); 6] = [
        ("the rest", |bytes, _, had| Reply::rest(bytes, had), 2),
        ("range ignored", |bytes, _, _| Reply::ok(bytes), 2),
        (
            "another range",
            |bytes, _, had| Reply::rest(bytes, had - 1),
            3,
        ),
        ("range refused", |_, _, _| Reply::status(416), 3),
        ("something else", |_, other, had| Reply::rest(other, had), 3),
        (
            "busy once",
            |_, _, _| Reply::status(503).header("Retry-After: 86400"),
            3,
        ),
    ];
    for (what, rest, expected) in cases {
        for cut in [Reply::close_after, Reply::reset_after, Reply::hang_after] {
            let server = Server::start({
                let (bytes, other) = (bytes.clone(), other.clone());
                move |n, request: &Request| match (n, request.range()) {
                    (0, None) => cut(Reply::ok(&bytes).header(ETAG), half),
                    (1, Some(had)) => rest(&bytes, &other, had),
                    (_, Some(had)) => Reply::rest(&bytes, had),
                    (_, None) => Reply::ok(&bytes).header(ETAG),
                }
            });
            let here = Here::new();
            here.fetch_sound(&download(&[server.url("/")], &bytes), &bytes);
            let requests = server.requests();
            assert_eq!(requests.len(), expected, "{what}");
            assert_eq!(requests[1].header("if-range"), Some("\"v1\""), "{what}");
            // A reset may take with it what the kernel had not handed on.
            assert!(requests[1].range().is_some_and(|had| had <= half), "{what}");
        }
    }
}

#[test]
fn without_a_validator_nothing_is_resumed() {
    let bytes = content(3 * MIB);
    for header in ["X-Nothing: here", "ETag: W/\"weak\""] {
        let server = Server::start({
            let bytes = bytes.clone();
            move |n, _| {
                let reply = Reply::ok(&bytes).header(header);
                if n == 0 {
                    reply.close_after(2 * MIB)
                } else {
                    reply
                }
            }
        });
        let here = Here::new();
        here.fetch_sound(&download(&[server.url("/")], &bytes), &bytes);
        assert!(
            server
                .requests()
                .iter()
                .all(|request| request.range().is_none())
        );
    }
}

#[test]
fn what_one_server_began_another_does_not_go_on() {
    let bytes = content(3 * MIB);
    let first = Server::start({
        let bytes = bytes.clone();
        move |_, _| Reply::ok(&bytes).header(ETAG).close_after(2 * MIB)
    });
    let second = Server::start({
        let bytes = bytes.clone();
        move |_, _| Reply::ok(&bytes).header(ETAG)
    });
    let here = Here::new();
    let wanted = download(&[first.url("/"), second.url("/")], &bytes);
    here.fetch_sound(&wanted, &bytes);
    assert_eq!(
        first.requests().len(),
        1,
        "the second has its turn before any retry"
    );
    assert_eq!(second.requests()[0].range(), None);
}

#[test]
fn a_line_that_breaks_often_gets_there_in_the_end() {
    let bytes = content(4 * MIB);
    let server = Server::start({
        let bytes = bytes.clone();
        move |_, request: &Request| match request.range() {
            None => Reply::ok(&bytes).header(ETAG).close_after(MIB / 2),
            Some(had) => Reply::rest(&bytes, had).close_after(MIB / 2),
        }
    });
    let here = Here::new();
    here.fetch_sound(&download(&[server.url("/")], &bytes), &bytes);
    assert_eq!(server.requests().len(), 8, "more than the tries of one URL");
}
