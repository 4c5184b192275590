//! From a name in a registry to an image: sound registries, and such as are not.

use pybuild::model::Sha256;
use pybuild::net::Trouble;
use pybuild::rootfs::oci::{DocumentError, OciError, Refusal};
use serde_json::{Value, json};

use crate::kit::{Content, Here, INDEX, MANIFEST, image, named, refusal, tar, two_layers};
use crate::server::{Reply, Request, Server};

fn serve(content: Content) -> Server {
    Server::start(move |_, request| content.answer(request))
}

fn index(entries: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
}

fn for_platform(mut descriptor: Value, architecture: &str) -> Value {
    descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
    descriptor
}

#[test]
fn an_image_is_found_by_tag_by_digest_and_in_an_index() {
    let layers = two_layers();
    let mut content = Content::default();
    let wanted = content.image(&layers);
    let other = content.image(&[tar("other", b"")]);
    let mut attestation = other.clone();
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let list = index(&[
        for_platform(other.clone(), "arm64"),
        attestation,
        for_platform(wanted.clone(), "amd64"),
    ]);
    let list = content.document(INDEX, &list);
    let outer = content.document(INDEX, &index(std::slice::from_ref(&list)));
    content.tag("v1", &wanted);
    content.tag("list", &list);
    content.tag("outer", &outer);
    let server = serve(content);
    let here = Here::new();
    let name = image(&server);
    let base = name.trim_end_matches(":v1");
    let digest = |descriptor: &Value| descriptor["digest"].as_str().expect("text").to_owned();
    let pinned = format!("{base}@{}", digest(&wanted));
    let both = format!("{base}:gone@{}", digest(&list));
    let table = [
        (name.clone(), None),
        (pinned, None),
        (format!("{base}:list"), Some(&list)),
        (both, Some(&list)),
        (format!("{base}:outer"), Some(&outer)),
    ];
    for (place, index) in table {
        let resolved = here.pull(&place, &layers);
        assert_eq!(resolved.manifest.map(named), Some(digest(&wanted)));
        assert_eq!(resolved.index.map(named), index.map(digest), "{place}");
        assert_eq!(resolved.created.as_deref(), Some("2021-02-03T04:05:06Z"));
        assert_eq!(resolved.env[1], ("A".to_owned(), "1".to_owned()));
    }
    let first = &server.requests()[0];
    let accept = first.headers("accept");
    assert_eq!(first.path, "/v2/team/image/manifests/v1");
    assert!(accept.contains(&MANIFEST) && accept.contains(&INDEX));
    // The layers were there after the first.
    let blobs = |request: &&Request| request.path.contains("/blobs/");
    assert_eq!(server.requests().iter().filter(blobs).count(), 2 + 5);
}

#[test]
fn a_layer_that_comes_twice_is_fetched_once() {
    let layers = vec![tar("a", b"a"), tar("b", b"b"), tar("a", b"a")];
    let mut content = Content::default();
    let wanted = content.image(&layers);
    content.tag("v1", &wanted);
    let server = serve(content);
    Here::new().pull(&image(&server), &layers);
    assert_eq!(server.requests().len(), 1 + 1 + 2);
}

/// Each way in which what comes is not what it is said to be.
#[test]
fn documents_that_are_not_what_they_should_be_are_refused() {
    let mut content = Content::default();
    let wanted = content.image(&two_layers());
    content.tag("v1", &wanted);
    let sound = content.manifests["v1"].1.clone();
    let page = Reply::ok(b"<html>Log in here</html>").header("Content-Type: text/html");
    let huge = Reply::ok(&vec![b' '; (4 << 20) + 1]);
    // 1 GiB of one.
    let giant = Reply::ok(&vec![b' '; 1 << 20]).repeated(1 << 10);
    let deep = b"[".repeat(4 << 20);
    let deep_inside = [&b"{\"schemaVersion\":2,\"x\":"[..], &deep[..3 << 20]].concat();
    let old = br#"{"schemaVersion":1,"name":"x","tag":"y","fsLayers":[],"history":[]}"#;
    let table: Vec<(&str, Reply)> = vec![
        ("is not the JSON of", page),
        ("more than 4194304 bytes", huge.clone()),
        ("more than 4194304 bytes", huge.chunked()),
        ("more than 4194304 bytes", giant.clone()),
        ("more than 4194304 bytes", giant.chunked()),
        ("is not the JSON of", Reply::ok(&deep)),
        ("is not the JSON of", Reply::ok(&deep_inside)),
        ("schema 1", Reply::ok(old)),
        (
            "gave SHA-256",
            Reply::ok(&sound).header(&format!(
                "Docker-Content-Digest: {}",
                named(Sha256::of(b""))
            )),
        ),
        (
            "has the digest `sha256:nonsense`",
            Reply::ok(&sound).header("Docker-Content-Digest: sha256:nonsense"),
        ),
        (
            "is announced as",
            Reply::ok(&sound).header(&format!("Content-Type: {INDEX}")),
        ),
        ("is not the JSON of", Reply::ok(&[0xff, 0xfe])),
        ("is not the JSON of", Reply::ok(b"")),
    ];
    for (expected, reply) in table {
        let server = Server::start(move |_, _| reply.clone());
        let error = Here::new().resolve(&image(&server)).expect_err(expected);
        refusal(&error);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.is_not_found() && !error.is_denied() && !error.is_passing());
    }
}

#[test]
fn a_digest_is_believed_and_nothing_else() {
    let mut content = Content::default();
    let wanted = content.image(&two_layers());
    let other = content.image(&[tar("other", b"")]);
    let digest = wanted["digest"].as_str().expect("text");
    let lie = content.manifests[other["digest"].as_str().expect("text")].clone();
    content.manifests.insert(digest.to_owned(), lie);
    let list = content.document(INDEX, &index(&[for_platform(wanted.clone(), "amd64")]));
    content.tag("v1", &list);
    let server = serve(content);
    let name = image(&server);
    let pinned = format!("{}@{digest}", name.trim_end_matches(":v1"));
    for place in [name, pinned] {
        let error = Here::new().resolve(&place).expect_err("another image");
        assert!(matches!(refusal(&error), Refusal::Digest { .. }), "{error}");
    }
}

#[test]
fn a_configuration_is_verified_too() {
    for change in ["longer", "other", "missing"] {
        let mut content = Content::default();
        let wanted = content.image(&two_layers());
        content.tag("v1", &wanted);
        let config = content
            .blobs
            .iter()
            .find(|(_, bytes)| bytes.starts_with(b"{"));
        let (digest, mut bytes) = config.map(|(d, b)| (d.clone(), b.clone())).expect("there");
        match change {
            "longer" => bytes.push(b' '),
            "other" => bytes[0] = b' ',
            _ => {}
        }
        match change {
            "missing" => content.blobs.remove(&digest),
            _ => content.blobs.insert(digest, bytes),
        };
        let server = serve(content);
        let error = Here::new().resolve(&image(&server)).expect_err(change);
        assert!(
            error
                .to_string()
                .starts_with("cannot fetch the configuration of")
        );
        assert_eq!(error.is_not_found(), change == "missing");
    }
}

#[test]
fn a_size_that_is_not_right_is_refused() {
    let mut content = Content::default();
    let mut wanted = content.image(&two_layers());
    for size in [1, 1000, 5 << 20] {
        wanted["size"] = size.into();
        let list = content.document(INDEX, &index(&[for_platform(wanted.clone(), "amd64")]));
        content.tag("v1", &list);
        let server = serve(content.clone());
        let error = Here::new()
            .resolve(&image(&server))
            .expect_err("another size");
        assert!(matches!(error, OciError::Document { .. }), "{error}");
    }
}

/// A document cannot hold its own digest, but a registry can make them up as they are asked for.
#[test]
fn indexes_in_indexes_come_to_an_end() {
    let mut content = Content::default();
    let mut descriptor = content.image(&two_layers());
    for depth in 1..=8 {
        descriptor = content.document(INDEX, &index(&[descriptor]));
        content.tag(&format!("v{depth}"), &descriptor);
    }
    let server = serve(content);
    let base = image(&server);
    let base = base.trim_end_matches(":v1");
    let here = Here::new();
    for depth in 1..=8 {
        let resolved = here.resolve(&format!("{base}:v{depth}"));
        assert_eq!(resolved.is_ok(), depth <= 4, "{depth}");
    }
    let requests = server.requests().len();
    here.resolve(&format!("{base}:v8")).expect_err("too deep");
    assert!(server.requests().len() - requests <= 6);
}

#[test]
fn a_platform_that_is_not_there_is_named() {
    let mut content = Content::default();
    let wanted = content.image(&two_layers());
    let list = index(&[
        for_platform(wanted.clone(), "arm64"),
        for_platform(wanted, "s390x"),
    ]);
    let list = content.document(INDEX, &list);
    content.tag("v1", &list);
    let server = serve(content);
    let error = Here::new().resolve(&image(&server)).expect_err("not there");
    let OciError::Document { source, .. } = &error else {
        panic!("{error}");
    };
    assert!(matches!(source, DocumentError::Platform { .. }));
    let text = error.to_string();
    assert!(text.ends_with("has no image for linux/amd64, it is for linux/arm64, linux/s390x"));
}

/// A status and a body; whether the error is one of absence, of denial, of a passing kind.
type Case = (u16, &'static [u8], [bool; 3]);

#[test]
fn what_registries_say_of_refusals_is_told() {
    let busy = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
    let table: [Case; 5] = [
        (
            404,
            br#"{"errors":[{"message":"manifest unknown"}]}"#,
            [true, false, false],
        ),
        (403, b"<html>", [false, true, false]),
        (429, busy, [false, false, true]),
        (500, b"", [false, false, true]),
        (418, b"{}", [false, false, false]),
    ];
    for (code, body, [not_found, denied, passing]) in table {
        let reply = Reply::ok(body).but(code).header("Retry-After: 86400");
        let server = Server::start(move |_, _| reply.clone());
        let error = Here::new().resolve(&image(&server)).expect_err("refused");
        assert_eq!(error.is_not_found(), not_found, "{error}");
        assert_eq!(error.is_denied(), denied, "{error}");
        assert_eq!(error.is_passing(), passing, "{error}");
        if code == 404 {
            assert!(
                error
                    .to_string()
                    .ends_with("404 Not Found: manifest unknown")
            );
        }
    }
}

#[test]
fn a_busy_registry_is_waited_for() {
    let layers = two_layers();
    let mut content = Content::default();
    let wanted = content.image(&layers);
    content.tag("v1", &wanted);
    // Every second request, whatever it is for.
    let server = Server::start(move |n, request| match n % 2 {
        0 => Reply::status(429).header("Retry-After: 1"),
        _ => content.answer(request),
    });
    Here::new().pull(&image(&server), &layers);
}

#[test]
fn redirects_in_circles_and_to_elsewhere_come_to_an_end() {
    let table = [
        "/v2/team/image/manifests/v1",
        "file:///etc/passwd",
        "ftp://example.org/x",
        "//",
    ];
    for to in table {
        let location = format!("Location: {to}");
        let server = Server::start(move |_, _| Reply::status(302).header(&location));
        let error = Here::new().resolve(&image(&server)).expect_err("nowhere");
        let (Refusal::Trouble(trouble) | Refusal::Status { trouble, .. }) = refusal(&error) else {
            panic!("{error}");
        };
        let status = matches!(trouble, Trouble::Status { code: 302, .. });
        assert!(status || matches!(trouble, Trouble::Redirect(_)), "{error}");
        assert!(server.requests().len() <= 6, "{to}");
    }
}

#[test]
fn nobody_there_is_a_passing_trouble() {
    let port = crate::server::closed_port();
    let error = Here::new().resolve(&format!("127.0.0.1:{port}/a/b"));
    assert!(error.expect_err("closed").is_passing());
}
