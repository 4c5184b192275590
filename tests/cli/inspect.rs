//! What the program tells of one artifact, wherever it is and whatever is in it.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::bucket;
use crate::formula::{Formula, digest, tarball};
use crate::kit::{Case, STACK, is_root};
use crate::s3::{AWS, SECRET, Server as Bucket};
use crate::server::{Reply, Server};
use crate::tarball::tar;

fn gzip(bytes: &[u8], path: &Path) {
    let file = fs::File::create(path).expect("created");
    let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    out.write_all(bytes).expect("written");
    out.finish().expect("written");
}

#[test]
fn all_about_an_artifact_is_told_and_what_does_not_agree_ends_with_4() {
    let Some(case) = Case::new() else { return };
    Formula::hello().build(&case).run().succeeds();
    let tarball = tarball(&case);
    let sha256 = digest(&tarball).to_string();
    let inspect = |path: &Path| case.pybuild().arg("inspect").arg(path);
    let ran = inspect(&tarball).run().succeeds();
    for said in [
        &format!("hello-1.0 for {STACK} ("),
        &sha256,
        "its .sha256 agrees, its record agrees",
        "hello-1.0.tar.gz  ",
        "step compile  sh /build/files/compile.sh /app/hello '{jobs}'\n",
        "/app/hello\n",
        "libc.so.6",
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    // Also by a symlink, and of one that only its owner may read.
    let link = case.at("link.tar.gz");
    symlink(&tarball, &link).expect("symlink");
    fs::set_permissions(&tarball, Permissions::from_mode(0o600)).expect("chmod");
    let ran = inspect(&link).run().succeeds();
    assert!(ran.out.contains(&sha256), "{}", ran.out);
    let json = inspect(&tarball).args(["--json", "--quiet"]).run();
    let json = json.succeeds();
    assert_eq!(json.err, "");
    let said: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(said["sha256"], sha256);
    assert_eq!(said["record"]["name"], "hello");
    assert_eq!(said["record_file"], "agrees");
    assert_eq!(said["software"]["libraries"][0], "libc.so.6");
    assert_eq!(said["directories"]["share/doc"], 8);
    assert_eq!(said["wrong"], serde_json::json!([]));
    // One byte more.
    let mut file = fs::File::options().append(true).open(&tarball);
    let file = file.as_mut().expect("opened");
    file.write_all(b"x").expect("written");
    let ran = inspect(&tarball).run();
    assert_eq!(ran.code, 4, "{}", ran.err);
    for said in [
        "its .sha256 does not agree, its record does not agree",
        &format!("its .sha256 says {sha256}"),
        &format!("its record says {sha256}"),
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    case.is_quiet();
}

#[test]
fn what_a_build_says_of_its_contents_is_recorded_and_told() {
    let Some(case) = Case::new() else { return };
    let says = r#"
        mkdir -p $1/share/licenses/expat
        echo free >$1/share/licenses/expat/COPYING
        echo '[{"name": "expat", "version": "2.5.0", "license": "MIT",
          "purl": "pkg:generic/expat@2.5.0"}]' >$1/share/components.json"#;
    let formula = Formula::hello().step("say", says);
    formula.build(&case).run().succeeds();
    let tarball = tarball(&case);
    let inspect = || case.pybuild().arg("inspect").arg(&tarball).arg("--quiet");
    let ran = inspect().run().succeeds();
    for said in [
        "  expat        2.5.0 (MIT)\n",
        "share/licenses/expat/COPYING",
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    let json = |format: &str| -> serde_json::Value {
        let ran = inspect().args(["--format", format]).run().succeeds();
        assert_eq!(ran.err, "");
        serde_json::from_str(&ran.out).expect("JSON")
    };
    let statement = json("slsa");
    let subject = &statement["subject"][0];
    assert_eq!(subject["digest"]["sha256"], digest(&tarball).to_string());
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let bill = json("cyclonedx");
    assert_eq!(bill["components"][0]["purl"], "pkg:generic/expat@2.5.0");
    assert_eq!(bill["metadata"]["component"]["name"], "hello");
    // A tarball that is another has no provenance.
    let mut file = fs::File::options().append(true).open(&tarball);
    file.as_mut()
        .expect("opened")
        .write_all(b"x")
        .expect("written");
    let ran = inspect().args(["--format", "slsa"]).run();
    ran.fails(4, &["is not what is said of it", "its record says"]);
    let record = case.at("alone.tar.gz");
    fs::copy(&tarball, &record).expect("copied");
    let ran = case.pybuild().arg("inspect").arg(&record);
    let ran = ran.args(["--quiet", "--format", "cyclonedx"]).run();
    assert_eq!(ran.code, 4, "{}", ran.err);
    // A list that is none does not pass the proof.
    let formula = Formula::hello().step("say", "echo '{' >$1/share/components.json");
    let ran = formula.build(&case).run();
    ran.fails(1, &["share/components.json is no list of components: "]);
    case.is_clean();
}

#[test]
fn without_a_record_the_files_speak() {
    let case = Case::bare();
    let cat = fs::read("/bin/cat").expect("a program");
    let version = "#define PY_VERSION \"3.11.2\"\n";
    let bytes = tar()
        .entry(&crate::tarball::Entry {
            name: b"bin/python3.11",
            mode: 0o755,
            data: &cat,
            ..crate::tarball::Entry::default()
        })
        .file("include/python3.11/patchlevel.h", version)
        .file("lib/python3.11/LICENSE.txt", "do as you like\n")
        .end();
    let path = case.at("python-3.11.2.tar.gz");
    gzip(&bytes, &path);
    let ran = case.pybuild().arg("inspect").arg(&path).run().succeeds();
    for said in [
        "python-3.11.2.tar.gz\n",
        "there is no .sha256 beside it, there is no record beside it",
        "CPython 3.11.2",
        "libc.so.6",
        "lib/python3.11/LICENSE.txt",
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    let ran = case
        .pybuild()
        .arg("inspect")
        .arg(&path)
        .args(["--format", "slsa"]);
    let ran = ran.arg("--quiet").run();
    ran.fails(2, &["there is no record beside python-3.11.2.tar.gz"]);
    // A record that is none is told of, and no reason to stop.
    fs::write(case.at("python-3.11.2.tar.gz.json"), "{}").expect("written");
    let ran = case.pybuild().arg("inspect").arg(&path).run();
    assert_eq!(ran.code, 4);
    assert!(ran.out.contains("its record is not one: "), "{}", ran.out);
    assert!(ran.out.contains("CPython 3.11.2"), "{}", ran.out);
}

#[test]
fn a_hostile_tarball_is_told_of_and_does_nothing() {
    let case = Case::bare();
    let outside = case.at("outside");
    let bytes = tar()
        .file("../outside", "out")
        .symlink("link", "/etc")
        .file("link/passwd", "root")
        .file("esc\x1b[2Jape", "x")
        .other(b'3', "device", "", 0o666)
        .file("lib/broken.so", "\x7fELF\x02\x01\x01")
        .end();
    let path = case.at("hostile.tar.gz");
    gzip(&bytes, &path);
    let ran = case.pybuild().arg("inspect").arg(&path).run();
    assert_eq!(ran.code, 4, "{}", ran.err);
    for said in ["`../outside`", "`device`", "no sound ELF file"] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    let plain = |c: char| c == '\n' || !c.is_control();
    assert!(ran.out.chars().all(plain), "{:?}", ran.out);
    assert!(!outside.exists());
    // What is no archive has a digest, and what is wrong with it is said.
    for content in [
        &b"no tarball"[..],
        b"",
        &fs::read(&path).expect("there")[..90],
    ] {
        fs::write(&path, content).expect("written");
        let ran = case.pybuild().arg("inspect").arg(&path).run();
        assert_eq!(ran.code, 4, "{}", ran.err);
        assert!(ran.out.contains(&digest(&path).to_string()), "{}", ran.out);
    }
}

#[test]
fn what_lies_elsewhere_is_read_there() {
    let case = Case::bare();
    let bytes = tar().file("share/note", "hi").end();
    let path = case.at("a b-1.tar.gz");
    gzip(&bytes, &path);
    let tarball = fs::read(&path).expect("there");
    let sha256 = digest(&path).to_string();
    let line = format!("{sha256}  a b-1.tar.gz\n");
    let body = tarball.clone();
    let server = Server::start(move |_, request| match request.path.as_str() {
        "/x/a%20b-1.tar.gz" => Reply::ok(&body),
        "/x/a%20b-1.tar.gz.sha256" => Reply::ok(line.as_bytes()),
        _ => Reply::status(404),
    });
    let run = || case.pybuild().env("NO_PROXY", "127.0.0.1").arg("inspect");
    let ran = run().arg(server.url("/x/a%20b-1.tar.gz")).run().succeeds();
    let said = "its .sha256 agrees, there is no record beside it";
    assert!(
        ran.out.contains(said) && ran.out.contains(&sha256),
        "{}",
        ran.out
    );
    run()
        .arg(server.url("/x/other.tar.gz"))
        .run()
        .fails(2, &["x/other.tar.gz is not there"]);
    let query = server.url("/x/a.tar.gz?token=canary");
    let ran = run()
        .arg(query)
        .run()
        .fails(2, &["query", "download the tarball"]);
    assert!(!ran.err.contains("canary"), "{}", ran.err);

    let root = bucket::root();
    let store = Bucket::start(root.path(), AWS);
    let dir = root.path().join("bucket/p");
    fs::create_dir(&dir).expect("mkdir");
    fs::write(dir.join("a-1.tar.gz"), &tarball).expect("written");
    let run = bucket::with(case.pybuild(), &store);
    let ran = run.args(["inspect", "s3://bucket/p/a-1.tar.gz"]).run();
    let ran = ran.succeeds();
    assert!(ran.out.contains(&sha256), "{}", ran.out);
    assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET));
}

#[test]
fn what_cannot_be_inspected_is_told_with_what_to_do() {
    let case = Case::bare();
    fs::create_dir(case.at("dir")).expect("mkdir");
    let inspect = |what: &Path| case.pybuild().arg("inspect").arg(what).run();
    inspect(&case.at("none.tar.gz")).fails(2, &["none.tar.gz", "No such file"]);
    inspect(&case.at("dir")).fails(2, &["is a directory", "pybuild verify --target"]);
    inspect(&case.at("a.tar.gz.json")).fails(2, &["beside a tarball", "give the tarball: "]);
    // A pipe is not waited for.
    nix::unistd::mkfifo(&case.at("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    inspect(&case.at("pipe")).fails(75, &["pipe"]);
    if !is_root() {
        let closed = case.at("closed.tar.gz");
        fs::write(&closed, "").expect("written");
        fs::set_permissions(&closed, Permissions::from_mode(0o000)).expect("chmod");
        inspect(&closed).fails(75, &["Permission denied"]);
    }
}
