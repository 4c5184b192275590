//! Layers from registries that break, cheat, or do not have them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pybuild::model::Sha256;
use pybuild::rootfs::oci::OciError;
use serde_json::json;

use crate::kit::{CONFIG, Content, Here, MANIFEST, config, image, tar, two_layers};
use crate::server::{Reply, Request, Server};

/// An image whose layers come as `layer` says, which is given the sound answer to a request for
/// the second and large one, its bytes, and how often it was asked for.
fn serve(
    layer: impl Fn(Reply, &[u8], &Request, usize) -> Reply + Send + Sync + 'static,
) -> (Server, Arc<AtomicUsize>) {
    let mut content = Content::default();
    let wanted = content.image(&two_layers());
    content.tag("v1", &wanted);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let server = Server::start(move |_, request| {
        let sound = content.answer(request);
        let name = request.path.rsplit('/').next().unwrap_or_default();
        match content.blobs.get(name) {
            Some(bytes) if bytes.len() > 1 << 20 => layer(
                sound,
                bytes,
                request,
                counter.fetch_add(1, Ordering::SeqCst),
            ),
            _ => sound,
        }
    });
    (server, asked)
}

#[test]
fn a_layer_that_breaks_off_is_gone_on_from() {
    for cut in [Reply::close_after, Reply::reset_after] {
        let (server, asked) = serve(move |sound, _, request, n| match (n, request.range()) {
            (0, None) => cut(sound, 1 << 20),
            (_, Some(_)) => sound,
            (_, None) => Reply::status(500),
        });
        Here::new().pull(&image(&server), &two_layers());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}

/// What an earlier run left is gone on from.
#[test]
fn a_killed_fetch_is_gone_on_from() {
    let (server, asked) = serve(|sound, _, request, n| match (n, request.range()) {
        (0, None) => sound.close_after(1 << 20),
        (1, _) => Reply::status(404),
        (_, Some(_)) => sound,
        (_, None) => Reply::status(500),
    });
    let here = Here::new();
    let resolved = here.resolve(&image(&server)).expect("resolved");
    here.fetch(&resolved).expect_err("broken off");
    here.pull(&image(&server), &two_layers());
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[test]
fn a_registry_that_ignores_ranges_is_borne_with() {
    let (server, asked) = serve(|_, bytes, _, n| match n {
        0 => Reply::ok(bytes).close_after(1 << 20),
        _ => Reply::ok(bytes),
    });
    Here::new().pull(&image(&server), &two_layers());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn layers_that_are_not_what_they_should_be_are_refused() {
    type Change = fn(&[u8]) -> Reply;
    let table: [(&str, Change, &str); 6] = [
        (
            "longer",
            |b| Reply::ok(&[b, &b"x"[..]].concat()),
            "bytes where there should be",
        ),
        (
            "longer, unsaid",
            |b| Reply::ok(&[b, &b"x"[..]].concat()).chunked(),
            "has more than",
        ),
        (
            "shorter",
            |b| Reply::ok(&b[1..]),
            "bytes where there should be",
        ),
        (
            "shorter, unsaid",
            |b| Reply::ok(&b[1..]).chunked(),
            "ended after",
        ),
        ("other", |b| Reply::ok(&vec![0; b.len()]), "with SHA-256"),
        ("gone", |_| Reply::status(404), "404"),
    ];
    for (what, change, words) in table {
        let (server, _) = serve(move |_, bytes, _, _| change(bytes));
        let here = Here::new();
        let resolved = here.resolve(&image(&server)).expect("resolved");
        let error = here.fetch(&resolved).expect_err(what);
        assert!(matches!(error, OciError::Layer { .. }), "{error}");
        assert!(error.to_string().contains(words), "{what}: {error}");
        assert_eq!(error.is_not_found(), what == "gone");
        let large = &resolved.layers[1];
        assert_eq!(here.store.blob(&large.digest), None, "{what}");
    }
}

#[test]
fn redirects_of_layers_are_followed_within_bounds() {
    let (server, _) = serve(|_, bytes, request, n| match n {
        0 => {
            let here = request.path.clone();
            Reply::status(307).header(&format!("Location: {here}"))
        }
        _ => Reply::ok(bytes),
    });
    Here::new().pull(&image(&server), &two_layers());
    let (server, asked) =
        serve(|_, _, request, _| Reply::status(307).header(&format!("Location: {}", request.path)));
    let here = Here::new();
    let resolved = here.resolve(&image(&server)).expect("resolved");
    let error = here.fetch(&resolved).expect_err("a circle");
    assert!(error.to_string().contains("too many redirects"), "{error}");
    assert!(asked.load(Ordering::SeqCst) <= 6);
}

#[test]
fn what_a_disk_has_spoilt_is_fetched_again() {
    let (server, asked) = serve(|sound, _, _, _| sound);
    let here = Here::new();
    let resolved = here.pull(&image(&server), &two_layers());
    let large = here.store.blob_path(&resolved.layers[1].digest);
    std::fs::write(&large, b"spoilt").expect("write");
    here.pull(&image(&server), &two_layers());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(here.heard.warnings(), 1);
}

/// Foreign layers are asked for at the registry, and elsewhere over HTTPS alone.
#[test]
fn foreign_layers_are_no_way_around_the_rules() {
    let elsewhere = Server::start(|_, _| Reply::ok(b"caught"));
    let layer = tar("a", b"a");
    let mut content = Content::default();
    let media = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let mut foreign = content.blob(media, &layer);
    foreign["urls"] = json!([
        elsewhere.url("/layer"),
        "file:///etc/passwd",
        "https://u:p@127.0.0.1:1/"
    ]);
    let config = config(std::slice::from_ref(&layer));
    let config = content.blob(CONFIG, config.to_string().as_bytes());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [foreign]});
    let manifest = content.document(MANIFEST, &manifest);
    content.tag("v1", &manifest);
    let there = content.clone();
    let server = Server::start(move |_, request| there.answer(request));
    Here::new().pull(&image(&server), std::slice::from_ref(&layer));
    content.blobs.remove(&crate::kit::named(Sha256::of(&layer)));
    let server = Server::start(move |_, request| content.answer(request));
    let here = Here::new();
    let resolved = here.resolve(&image(&server)).expect("resolved");
    let error = here.fetch(&resolved).expect_err("it is nowhere");
    assert!(error.is_not_found(), "{error}");
    assert_eq!(elsewhere.requests().len(), 0);
}

#[test]
fn an_interrupt_ends_it() {
    let (server, _) = serve(|sound, _, _, _| sound.hang_after(1 << 20));
    let here = Here::new();
    let resolved = here.resolve(&image(&server)).expect("resolved");
    here.interrupt.raise(nix::sys::signal::Signal::SIGINT);
    let error = here.fetch(&resolved).expect_err("interrupted");
    assert!(matches!(error, OciError::Interrupted(_)), "{error}");
}
