//! Several downloads at once, of the same thing and of different ones.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pybuild::model::Sha256;
use pybuild::net::{Client, Download, Settings};

use crate::kit::{Here, MIB, content, download, settings};
use crate::server::{Reply, Request, Server};

#[test]
fn one_of_many_downloads_a_blob_and_the_others_find_it() {
    let bytes = content(MIB);
    let server = Server::start({
        let bytes = bytes.clone();
        move |_, _| Reply::ok(&bytes).pause()
    });
    let here = Here::new();
    let wanted = download(&[server.url("/")], &bytes);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                // A client of its own, as another process has.
                Client::new(settings())
                    .fetch(&wanted, &here.store, &here.interrupt, &|_| ())
                    .expect("fetched")
            });
        }
    });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn many_are_fetched_at_once_and_each_is_told_of() {
    let things: Vec<Vec<u8>> = (0..40).map(|n| content(1000 + n)).collect();
    let server = Server::start({
        let things = things.clone();
        move |_, request: &Request| {
            let n: usize = request.path[1..].parse().expect("a number");
            Reply::ok(&things[n])
        }
    });
    let here = Here::new();
    let downloads: Vec<_> = (0..things.len())
        .map(|n| download(&[server.url(&format!("/{n}"))], &things[n]))
        .collect();
    let told = Mutex::new(Vec::new());
    let each = |n: usize, blob: &Path| {
        assert_eq!(fs::read(blob).expect("read"), things[n]);
        told.lock().expect("no panic").push(n);
    };
    here.client
        .fetch_all(&downloads, &here.store, &here.interrupt, &|_| (), &each)
        .expect("fetched");
    let mut told = told.into_inner().expect("no panic");
    told.sort_unstable();
    assert_eq!(told, (0..things.len()).collect::<Vec<_>>());
    assert_eq!(server.requests().len(), things.len());
}

#[test]
fn the_first_failure_ends_the_others() {
    let bytes = content(1000);
    let server = Server::start({
        let bytes = bytes.clone();
        move |_, request: &Request| match request.path.as_str() {
            "/gone" => Reply::status(404).pause(),
            _ => Reply::ok(&bytes).hang_after(10),
        }
    });
    let here = Here::with(Settings {
        idle_timeout: Duration::from_secs(3600),
        ..settings()
    });
    let gone = download(&[server.url("/gone")], b"gone");
    let hanging = |n: u8| Download {
        digest: Sha256::of(&[n]),
        ..download(&[server.url("/hang")], &bytes)
    };
    let downloads = [hanging(0), hanging(1), gone, hanging(2)];
    let told = AtomicUsize::new(0);
    let each = |_: usize, _: &Path| {
        told.fetch_add(1, Ordering::Relaxed);
    };
    let error = here
        .client
        .fetch_all(&downloads, &here.store, &here.interrupt, &|_| (), &each)
        .expect_err("gone");
    assert!(error.is_not_found(), "{error}");
    assert_eq!(told.into_inner(), 0);
}
