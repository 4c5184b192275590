//! Downloads from a server that does everything wrong, on loopback.

mod support {
    pub(crate) mod server;
}

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, fs};

use nix::sys::signal::Signal;
use pybuild::model::Sha256;
use pybuild::net::{Client, Download, NetError, Settings, Trouble};
use pybuild::store::Store;
use pybuild::sys::interrupt::Interrupt;
use support::server::{Reply, Request, Server};
use tempfile::TempDir;

const MIB: usize = 1 << 20;
const ETAG: &str = "ETag: \"v1\"";

/// Bytes that repeat nowhere near.
fn content(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn settings() -> Settings {
    Settings {
        tries: 3,
        backoff: Duration::from_millis(2),
        backoff_max: Duration::from_millis(4),
        retry_after_max: Duration::from_millis(5),
        idle_timeout: Duration::from_millis(400),
        low_speed: 1,
        redirects: 4,
        proxy: false,
        ..Settings::default()
    }
}

/// A reply that is made of a body.
type Body = fn(&[u8]) -> Reply;
/// A reply that is made of a body, another body, and how much of the first was there.
type Rest = fn(&[u8], &[u8], usize) -> Reply;
type Check = fn(&Trouble) -> bool;

/// A store, a client and someone who may interrupt.
struct Here {
    _dir: TempDir,
    store: Store,
    client: Client,
    interrupt: Interrupt,
    progress: AtomicU64,
}

impl Here {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&dir.path().join("store")).expect("a store");
        Self {
            _dir: dir,
            store,
            client: Client::new(settings()),
            interrupt: Interrupt::manual().expect("an eventfd"),
            progress: AtomicU64::new(0),
        }
    }

    fn fetch(&self, download: &Download) -> Result<PathBuf, NetError> {
        self.progress.store(0, Ordering::Relaxed);
        let progress = |bytes| {
            self.progress.fetch_add(bytes, Ordering::Relaxed);
        };
        self.client
            .fetch(download, &self.store, &self.interrupt, &progress)
    }

    fn fetch_sound(&self, download: &Download, content: &[u8]) {
        let blob = self.fetch(download).expect("fetched");
        assert_eq!(blob, self.store.blob_path(&download.digest));
        assert_eq!(fs::read(blob).expect("read"), content);
        assert_eq!(self.progress.load(Ordering::Relaxed), content.len() as u64);
        assert_eq!(self.files("partial"), Vec::<PathBuf>::new());
    }

    fn files(&self, room: &str) -> Vec<PathBuf> {
        fs::read_dir(self.store.root().join(room))
            .expect("readdir")
            .map(|entry| entry.expect("readdir").path())
            .collect()
    }
}

fn download(urls: &[String], content: &[u8]) -> Download {
    Download {
        what: "thing.tgz".to_owned(),
        urls: urls.to_vec(),
        digest: Sha256::of(content),
        size: Some(content.len() as u64),
    }
}

/// The only attempt's trouble.
fn trouble(error: &NetError) -> &Trouble {
    let (NetError::Failed { attempts, .. } | NetError::WrongDigest { attempts, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(attempts.0.len(), 1, "{error}");
    &attempts.0[0].trouble
}

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
fn mirrors_are_tried_in_order_and_at_once() {
    let bytes = content(1000);
    let gone = Server::start(|_, _| Reply::status(404));
    let good = Server::start({
        let bytes = bytes.clone();
        move |_, _| Reply::ok(&bytes)
    });
    let refused = format!("http://127.0.0.1:{}/", support::server::closed_port());
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
        let here = Here::new();
        let client = Client::new(Settings {
            tries: 1,
            connect_timeout: Duration::from_millis(100),
            low_speed: 5000,
            ..settings()
        });
        let wanted = download(&[server.url("/")], &bytes);
        let error = client
            .fetch(&wanted, &here.store, &here.interrupt, &|_| ())
            .expect_err("nothing comes");
        assert!(expected(trouble(&error)), "{error}");
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
    let refused = format!(
        "http://user:hunter3@127.0.0.1:{}/?hunter2",
        support::server::closed_port()
    );
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
fn an_interrupt_ends_a_download_wherever_it_is() {
    let bytes = content(100_000);
    let replies: [Body; 3] = [
        |bytes| Reply::ok(bytes).hang_before(),
        |bytes| Reply::ok(bytes).hang_after(1000),
        |_| Reply::status(503),
    ];
    for reply in replies {
        let here = Here::new();
        let server = Server::start({
            let (bytes, interrupt) = (bytes.clone(), here.interrupt.clone());
            move |_, _| {
                interrupt.raise(Signal::SIGTERM);
                reply(&bytes)
            }
        });
        // Were the interrupt not heeded, this would take an hour.
        let hour = Duration::from_secs(3600);
        let client = Client::new(Settings {
            idle_timeout: hour,
            backoff: hour,
            backoff_max: hour,
            deadline: hour,
            ..settings()
        });
        let error = client
            .fetch(
                &download(&[server.url("/")], &bytes),
                &here.store,
                &here.interrupt,
                &|_| (),
            )
            .expect_err("interrupted");
        assert!(matches!(error, NetError::Interrupted(_)), "{error}");
    }
}

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
    let here = Here::new();
    let client = Client::new(Settings {
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
    let error = client
        .fetch_all(&downloads, &here.store, &here.interrupt, &|_| (), &each)
        .expect_err("gone");
    assert!(error.is_not_found(), "{error}");
    assert_eq!(told.into_inner(), 0);
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

/// Runs one test of this file again, in a process of its own.
fn this_again(test: &str, command: &mut Command) -> Command {
    let mut again = Command::new(command.get_program());
    again
        .args(command.get_args())
        .arg(env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"]);
    again
}

/// A killed process leaves a partial download, and the next one goes on from it.
#[test]
fn what_a_killed_process_left_is_gone_on_from() {
    const NAME: &str = "what_a_killed_process_left_is_gone_on_from";
    let bytes = content(3 * MIB);
    if let Some(root) = env::var_os("PYBUILD_TEST_KILLED") {
        let url = env::var("PYBUILD_TEST_URL").expect("given with it");
        let store = Store::open(Path::new(&root)).expect("a store");
        let interrupt = Interrupt::manual().expect("an eventfd");
        let client = Client::new(Settings {
            idle_timeout: Duration::from_secs(3600),
            ..settings()
        });
        let result = client.fetch(&download(&[url], &bytes), &store, &interrupt, &|_| ());
        panic!("this was to be killed: {result:?}");
    }
    let here = Here::new();
    let server = Server::start({
        let bytes = bytes.clone();
        move |n, request: &Request| match (n, request.range()) {
            (_, Some(had)) => Reply::rest(&bytes, had),
            (0, None) => Reply::ok(&bytes).header(ETAG).hang_after(2 * MIB),
            (_, None) => Reply::status(500),
        }
    });
    let wanted = download(&[server.url("/")], &bytes);
    let mut env = Command::new("env");
    env.arg(format!("PYBUILD_TEST_URL={}", server.url("/")));
    let mut assignment = std::ffi::OsString::from("PYBUILD_TEST_KILLED=");
    assignment.push(here.store.root());
    env.arg(assignment);
    let mut child = this_again(NAME, &mut env)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("this program runs");
    let partial = here.store.partial_path(&wanted.digest);
    while fs::metadata(&partial).map_or(0, |found| found.len()) < 2 * MIB as u64 {
        assert!(child.try_wait().expect("wait").is_none(), "it ended early");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    here.fetch_sound(&wanted, &bytes);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].range(), Some(2 * MIB));
}

/// Killed between the last byte and the promotion, or with a partial that the disk damaged.
#[test]
fn what_is_whole_is_taken_and_what_is_damaged_is_not() {
    let bytes = content(2 * MIB);
    let server = Server::start({
        let bytes = bytes.clone();
        move |_, _| Reply::ok(&bytes)
    });
    let here = Here::new();
    let wanted = download(&[server.url("/")], &bytes);
    let partial = here.store.partial_path(&wanted.digest);
    fs::write(&partial, &bytes).expect("write");
    here.fetch_sound(&wanted, &bytes);
    assert_eq!(server.requests().len(), 0);

    let mut damaged = bytes.clone();
    damaged[MIB] ^= 1;
    let mut longer = bytes.clone();
    longer.push(0);
    for left in [damaged, longer, bytes[..MIB].to_vec()] {
        let here = Here::new();
        fs::write(here.store.partial_path(&wanted.digest), left).expect("write");
        here.fetch(&wanted).expect("fetched anew");
        let blob = here.store.blob(&wanted.digest).expect("it is there");
        assert_eq!(fs::read(blob).expect("read"), bytes);
        assert!(here.files("partial").is_empty());
    }
}

/// A full disk and a store that cannot be written to, on a small tmpfs of a user namespace.
#[test]
fn a_full_or_read_only_store_is_named() {
    const NAME: &str = "a_full_or_read_only_store_is_named";
    let bytes = content(MIB);
    if let Some(dir) = env::var_os("PYBUILD_TEST_TMPFS") {
        let dir = Path::new(&dir);
        let file = dir.join("thing");
        let url = format!("file://{}", file.display());
        let store = Store::open(&dir.join("small/store")).expect("a store");
        let interrupt = Interrupt::manual().expect("an eventfd");
        let fetch = || {
            Client::new(settings())
                .fetch(
                    &download(std::slice::from_ref(&url), &bytes),
                    &store,
                    &interrupt,
                    &|_| (),
                )
                .expect_err("it does not fit")
        };
        let full = fetch();
        assert!(matches!(full, NetError::Full(_)), "{full}");
        let partial = fs::read_dir(store.root().join("partial")).expect("readdir");
        assert_eq!(partial.count(), 0, "nothing is left to fill the disk");
        let remount = Command::new("mount")
            // Of the mount alone: the file system's options name a uid that may not exist here.
            .args(["-o", "remount,bind,ro"])
            .arg(dir.join("small"))
            .status();
        assert!(remount.expect("mount runs").success());
        let read_only = fetch();
        assert!(matches!(read_only, NetError::ReadOnly(_)), "{read_only}");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("thing"), &bytes).expect("write");
    fs::create_dir(dir.path().join("small")).expect("mkdir");
    let possible = Command::new("unshare")
        .args(["-Urm", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !possible {
        // Past the test harness, which keeps what a passing test prints to itself.
        let line = format!("NOT TESTED: {NAME}: this host gives no user namespace\n");
        std::io::stderr()
            .write_all(line.as_bytes())
            .expect("stderr");
        assert!(env::var_os("CI").is_none(), "CI must be able to test this");
        return;
    }
    let path = dir.path().as_os_str();
    assert!(!path.as_bytes().contains(&b'\''));
    let script = "export PYBUILD_TEST_TMPFS=\"$1\"; shift; \
        mount -t tmpfs -o size=256k tmpfs \"$PYBUILD_TEST_TMPFS/small\" && exec \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["-Urm", "sh", "-c", script, "sh"]).arg(path);
    let output = this_again(NAME, &mut unshare)
        .output()
        .expect("unshare runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn who_is_not_there_or_not_secure_is_told_apart() {
    let here = Here::new();
    let error_of = |url: String| {
        let client = Client::new(Settings {
            tries: 1,
            ..settings()
        });
        client
            .fetch(
                &download(&[url], b"x"),
                &here.store,
                &here.interrupt,
                &|_| (),
            )
            .expect_err("nobody there")
    };
    // RFC 6761 keeps the name from ever existing; a host without a resolver may time out on it.
    let error = error_of("http://nobody.invalid/".to_owned());
    let expected = matches!(trouble(&error), Trouble::Name | Trouble::ConnectTimeout(_));
    assert!(expected, "{error}");

    let port = support::server::closed_port();
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
