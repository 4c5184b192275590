//! A place on the web as a target: only to be read, without credentials.

use std::sync::atomic::{AtomicUsize, Ordering};

use pybuild::publish::{Inputs, Mode, PublishError, Remote, Settings, are_there};

use crate::kit::{bytes, get, interrupt, put};
use crate::server::{AWS, Fault, Server, Store, patience, root};

const PUBLIC: Store = Store {
    public: true,
    ..AWS
};

fn remote(server: &Server) -> Remote {
    let inputs = Inputs {
        target: Some(format!("{}/bucket/p", server.url())),
        ..Inputs::default()
    };
    let settings = Settings::resolve(&inputs)
        .expect("sound")
        .with_patience(patience());
    Remote::open(settings.target(), &settings).expect("nothing is done yet")
}

#[test]
fn it_is_read_and_nothing_else() {
    let root = root();
    let content = bytes(1, 1_000_000);
    std::fs::create_dir_all(root.path().join("bucket/p/a b")).expect("mkdir");
    std::fs::write(root.path().join("bucket/p/a b/k"), &content).expect("write");
    let server = Server::start(root.path(), PUBLIC);
    let remote = remote(&server);
    let interrupt = interrupt();
    assert_eq!(remote.list("", &interrupt).expect("no error"), None);
    assert_eq!(remote.stale_uploads(&interrupt).expect("no error"), None);
    assert_eq!(get(&remote, "a b/k").expect("read"), Some(content));
    assert_eq!(get(&remote, "a b/x").expect("no error"), None);
    let head = remote
        .head("a b/k", &interrupt)
        .expect("no error")
        .expect("it is there");
    assert_eq!((head.size, head.sha256), (1_000_000, None));
    assert_eq!(remote.head("x", &interrupt).expect("no error"), None);
    for error in [
        put(&remote, "k", b"x", Mode::Create).expect_err("put"),
        remote
            .check_writable(&interrupt)
            .expect_err("check_writable"),
        remote.remove("k", &interrupt).expect_err("remove"),
    ] {
        assert!(matches!(error, PublishError::ReadOnly { .. }), "{error}");
    }
    let signed = server.seen();
    assert!(
        signed
            .iter()
            .all(|seen| !seen.headers.contains_key("authorization"))
    );
}

#[test]
fn a_broken_read_is_gone_on_with_or_told() {
    let broken = |times: usize, fault: Fault, changes: bool| {
        let root = root();
        let path = root.path().join("bucket/p/k");
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        let content = bytes(2, 1_000_000);
        std::fs::write(&path, &content).expect("write");
        let failed = AtomicUsize::new(0);
        let server = Server::faulty(root.path(), PUBLIC, move |_, _| {
            let n = failed.fetch_add(1, Ordering::SeqCst);
            if changes && n == 1 {
                std::fs::write(&path, bytes(3, 1_000_000)).expect("write");
            }
            if n < times {
                fault.clone()
            } else {
                Fault::None
            }
        });
        (get(&remote(&server), "k"), content)
    };
    for fault in [Fault::Truncated(500_000), Fault::Stalled(7), Fault::Reset] {
        let (read, content) = broken(2, fault, false);
        assert_eq!(read.expect("gone on with"), Some(content));
    }
    let (read, _) = broken(1, Fault::Truncated(500_000), true);
    let error = read.expect_err("it has changed");
    assert!(matches!(error, PublishError::Changed { .. }), "{error:?}");
    let busy = Fault::Answer(503, vec![("retry-after", "0".to_owned())], String::new());
    let (read, content) = broken(2, busy.clone(), false);
    assert_eq!(read.expect("it passes"), Some(content));
    let (read, _) = broken(usize::MAX, busy, false);
    assert!(read.expect_err("it does not pass").may_pass());
    let (read, _) = broken(1, Fault::Answer(403, Vec::new(), String::new()), false);
    assert!(matches!(read, Err(PublishError::Denied { .. })));
}

#[test]
fn which_artifacts_are_there_is_asked_key_by_key() {
    let root = root();
    let all = crate::s3::three_artifacts();
    for (n, keys) in all.iter().enumerate() {
        let here = [&keys.tarball, &keys.sha256, &keys.record];
        for key in &here[..3 - n] {
            let path = root.path().join("bucket/p").join(key);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            std::fs::write(path, "x").expect("write");
        }
    }
    let server = Server::start(root.path(), PUBLIC);
    let there = are_there(&remote(&server), &all, &interrupt()).expect("reachable");
    assert_eq!(there, [true, false, false]);
    assert!(server.seen().iter().all(|seen| seen.method == "HEAD"));
}
