//! `pybuild index` of a bucket: caches, a kill in between, size, refusals and secrets.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pybuild::model::Sha256;
use pybuild::publish::Index;

use crate::kit::{Dist, FLAT, PYTHON, SQLITE};
use crate::program::Place;
use crate::server::{AWS, Fault, KEY, SECRET, Server, refusal};
use crate::web;

const CANARY: &str = "canary-7f3a";
/// How many archives a big target has.
const MANY: usize = 1000;

/// What it takes to use the bucket `bucket` of a server.
fn env(url: &str) -> Vec<(&str, &str)> {
    vec![
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("S3_BUCKET", "bucket"),
        ("S3_PREFIX", "p"),
        ("S3_REGION", "us-east-1"),
        ("NO_PROXY", "127.0.0.1"),
    ]
}

/// A bucket's directory, with what a target holds in it.
fn bucket(dist: &Dist) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    for key in [PYTHON, SQLITE, FLAT] {
        for suffix in ["", ".sha256", ".json"] {
            let path = root.path().join("bucket/p").join(format!("{key}{suffix}"));
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, dist.get(&format!("{key}{suffix}"))).expect("written");
        }
    }
    root
}

#[test]
fn a_bucket_is_indexed_and_no_cache_keeps_the_index() {
    let place = Place::new();
    let dist = Dist::sound();
    let root = bucket(&dist);
    let server = Server::start(root.path(), AWS);
    let url = server.url();
    let ran = place.run(&["index"], &env(&url));
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.says("listed in s3://bucket/p/: index.html and index.json written\n");
    let puts: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "PUT")
        .collect();
    let put = |n: usize, name: &str| {
        (
            puts[n].uri.as_str(),
            puts[n].headers.get(name).map(String::as_str),
        )
    };
    assert_eq!(puts.len(), 2);
    assert_eq!(
        put(0, "content-type"),
        ("/bucket/p/index.html", Some("text/html; charset=utf-8"))
    );
    assert_eq!(
        put(1, "content-type"),
        ("/bucket/p/index.json", Some("application/json"))
    );
    for n in [0, 1] {
        assert_eq!(put(n, "cache-control").1, Some("no-cache"));
    }
    let again = place.run(&["index"], &env(&url));
    assert_eq!(again.code, 0, "{}", again.err);
    again.says("already: nothing to do\n");
    assert_eq!(server.count("PUT", ""), 2, "nothing is put again");
    // It changes, and it is replaced, which no artifact ever is.
    let gone = root.path().join("bucket/p").join(FLAT);
    for suffix in ["", ".sha256", ".json"] {
        fs::remove_file(format!("{}{suffix}", gone.display())).expect("it was there");
    }
    let ran = place.run(&["index"], &env(&url));
    ran.says("2 archives for 1 stack (");
    ran.says("index.html and index.json written\n");
    let ran = place.run(&["verify"], &env(&url));
    ran.ends(0, "all 2 archives are sound");
    ran.says("\n  index        2  ");
    // Nor does anything else take it for what it is not.
    let dry = place.run(&["gc", "--older-than", "1s"], &env(&url));
    assert_eq!(dry.code, 0, "{}", dry.err);
    assert_eq!(server.count("DELETE", "index"), 0);
}

#[test]
fn a_kill_between_the_two_leaves_what_a_rerun_mends() {
    let place = Place::new();
    let dist = Dist::sound();
    let root = bucket(&dist);
    {
        // An older index lies there already.
        let server = Server::start(root.path(), AWS);
        let gone = root.path().join("bucket/p").join(format!("{FLAT}.json"));
        fs::rename(&gone, root.path().join("aside")).expect("renamed");
        let ran = place.run(&["index"], &env(&server.url()));
        assert_eq!(ran.code, 4, "{}", ran.err);
        fs::rename(root.path().join("aside"), &gone).expect("renamed");
    }
    let at = |name: &str| fs::read(root.path().join("bucket/p").join(name)).expect("there");
    let old = [at("index.html"), at("index.json")];
    let (tell, told) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let (tell, wait) = (Mutex::new(tell), Arc::new(Mutex::new(wait)));
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        if seen.is("PUT", "index.json") && !seen.headers.contains_key("if-none-match") {
            let _ = tell.lock().expect("no panic").send(());
            let _ = wait.lock().expect("no panic").recv();
            return refusal(503, "SlowDown");
        }
        Fault::None
    });
    let mut run = place
        .command(&["index"], &env(&server.url()))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program runs");
    told.recv_timeout(Duration::from_secs(60))
        .expect("it comes to the second document");
    run.kill().expect("killed");
    run.wait().expect("waited for");
    drop(go_on);
    drop(server);
    // The page is new and whole, what machines go by is old and whole.
    assert_ne!(at("index.html"), old[0]);
    assert_eq!(at("index.json"), old[1]);
    let server = Server::start(root.path(), AWS);
    let url = server.url();
    let ran = place.run(&["verify"], &env(&url));
    ran.ends(0, "all 3 archives are sound");
    assert!(
        ran.err.contains("1 archive is newer than the index"),
        "{}",
        ran.err
    );
    let ran = place.run(&["index"], &env(&url));
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.says("s3://bucket/p/: index.json written\n");
    let ran = place.run(&["verify"], &env(&url));
    assert!(!ran.err.contains("newer"), "{}", ran.err);
}

#[test]
fn a_big_bucket_is_indexed_and_what_cannot_be_read_stops_it() {
    let place = Place::new();
    let dist = Dist::sound();
    let root = tempfile::tempdir().expect("a temporary directory");
    let dir = root.path().join("bucket/p/debian-12/runtimes");
    fs::create_dir_all(&dir).expect("mkdir");
    let mut record = dist.record_of(PYTHON);
    for n in 0..MANY {
        let name = format!("python-3.11.{n}.tar.gz");
        record.product.version = format!("3.11.{n}").parse().ok();
        record.artifact.file.clone_from(&name);
        record.artifact.size = 1;
        record.artifact.sha256 = Sha256::of(b"x");
        let line = format!("{}  {name}\n", Sha256::of(b"x"));
        fs::write(dir.join(&name), b"x").expect("written");
        fs::write(dir.join(format!("{name}.sha256")), line).expect("written");
        fs::write(dir.join(format!("{name}.json")), record.to_json()).expect("written");
    }
    let store = crate::server::Store { page: 1000, ..AWS };
    let server = Server::start(root.path(), store);
    let ran = place.run(&["index"], &env(&server.url()));
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.says("1000 archives for 1 stack (");
    let read = fs::read(root.path().join("bucket/p/index.json")).expect("there");
    assert_eq!(
        Index::parse(&read).expect("an index").archives().len(),
        MANY
    );
    // What is known of half of them is no index.
    let faulty = "python-3.11.500.tar.gz.json";
    let server = Server::faulty(root.path(), store, move |_, seen| {
        if seen.is("GET", faulty) {
            refusal(403, "AccessDenied")
        } else {
            Fault::None
        }
    });
    fs::remove_file(dir.join("python-3.11.1.tar.gz.json")).expect("it was there");
    let ran = place.run(&["index"], &env(&server.url()));
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    assert_eq!(server.count("PUT", ""), 0);
    assert_eq!(
        fs::read(root.path().join("bucket/p/index.json")).expect("there"),
        read
    );
}

#[test]
fn ctrl_c_ends_it_and_nothing_is_written() {
    let place = Place::new();
    let dist = Dist::sound();
    let root = bucket(&dist);
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        if seen.is("GET", "python-3.11.2.tar.gz.json") {
            let _ = tell.lock().expect("no panic").send(());
            return Fault::Stalled(10);
        }
        Fault::None
    });
    let run = place
        .command(&["index"], &env(&server.url()))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program runs");
    told.recv_timeout(Duration::from_secs(60))
        .expect("it reads the record");
    let pid = nix::unistd::Pid::from_raw(run.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("not waited for yet");
    let ended = run.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{err}");
    assert_eq!(ended.stdout, b"");
    assert_eq!(server.count("PUT", ""), 0);
}

#[test]
fn no_secret_gets_into_an_index_or_what_is_said() {
    let place = Place::new();
    let dist = Dist::sound();
    dist.amend(PYTHON, |record| {
        let url = format!("https://u:{CANARY}@example.org/a?X-Amz-Signature={CANARY}");
        record.making.source.url = Some(url);
        // The record has it, and is there for all to read; the index does not spread it.
        record
            .making
            .env
            .insert("TOKEN".to_owned(), CANARY.to_owned());
    });
    let root = bucket(&dist);
    let server = Server::start(root.path(), AWS);
    let env_file = place.path().join("env");
    let keys = format!("AWS_ACCESS_KEY_ID={KEY}\nAWS_SECRET_ACCESS_KEY={SECRET}\n");
    let text = format!("{keys}OTHER={CANARY}\n");
    fs::write(&env_file, text).expect("written");
    fs::set_permissions(&env_file, Permissions::from_mode(0o600)).expect("chmod");
    let env_file = env_file.to_str().expect("ASCII");
    let url = server.url();
    let mut given = env(&url);
    given.retain(|(name, _)| !name.starts_with("AWS_") || name.contains("URL"));
    given.push(("SOME_TOKEN", CANARY));
    let args = ["index", "--env-file", env_file, "--verbose"];
    let sound = place.run(&args, &given);
    assert_eq!(sound.code, 0, "{}", sound.err);
    let json = place.run(&[&args[..], &["--json"]].concat(), &given);
    let directory = [
        &args[..],
        &["--target", dist.path().to_str().expect("ASCII")],
    ]
    .concat();
    let directory = place.run(&directory, &given);
    assert_eq!(directory.code, 0, "{}", directory.err);
    drop(server);
    let failed = place.run(&args, &given);
    assert_eq!(failed.code, 75, "{}", failed.err);
    let wrong = web::Server::start(|_, _| web::Reply::status(403));
    given.retain(|(name, _)| *name != "AWS_ENDPOINT_URL");
    let url = wrong.url("");
    given.push(("AWS_ENDPOINT_URL", &url));
    let denied = place.run(&args, &given);
    assert_eq!(denied.code, 2, "{}", denied.err);
    for ran in [sound, json, directory, failed, denied] {
        for said in [ran.out, ran.err] {
            assert!(!said.contains(CANARY) && !said.contains(SECRET), "{said}");
        }
    }
    let at = |name: &str| fs::read_to_string(root.path().join("bucket/p").join(name));
    for name in ["index.json", "index.html"] {
        for text in [
            at(name).expect("there"),
            String::from_utf8(dist.get(name)).expect("UTF-8"),
        ] {
            assert!(!text.contains(CANARY) && !text.contains(SECRET), "{text}");
            assert!(text.contains("https://example.org/a?…"), "{text}");
        }
    }
}
