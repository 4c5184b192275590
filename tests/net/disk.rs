//! What a killed process left in the store, and a store that cannot take more.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use pybuild::net::{Client, NetError, Settings};
use pybuild::store::Store;
use pybuild::sys::interrupt::Interrupt;

use crate::kit::{ETAG, Here, MIB, content, download, settings};
use crate::server::{Reply, Request, Server};

/// Runs one test of this module again, in a process of its own.
fn this_again(test: &str, command: &mut Command) -> Command {
    let (_, module) = module_path!().split_once("::").expect("not the root");
    let mut again = Command::new(command.get_program());
    again
        .args(command.get_args())
        .arg(env::current_exe().expect("this program"))
        .args(["--exact", &format!("{module}::{test}"), "--nocapture"]);
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
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && said.contains("1 passed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(passed, "{said}{errors}");
}
