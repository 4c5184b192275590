//! The archives that scripts for bob-builder begin with, and what becomes of theirs: targets.

use std::fs;
use std::path::Path;

use pybuild::model::Sha256;

use crate::bucket::{root, with};
use crate::formula::digest;
use crate::kit::{Case, STACK, files_below};
use crate::program::Pybuild;
use crate::s3::{AWS, Server};
use crate::scripts::{members, scripts, tree};
use crate::tarball::tar;

/// A library whose file says which version it is, and what begins with it.
const TREE: [(&str, &str); 5] = [
    (
        "libraries/foo",
        "mkdir -p $1/lib; echo 1 >$1/lib/foo; echo foo >$1/common\n",
    ),
    (
        "libraries/bar-1.9",
        "mkdir -p $1/lib; echo 1.9 >$1/lib/bar\n",
    ),
    (
        "libraries/bar-1.10",
        "mkdir -p $1/lib; echo 1.10 >$1/lib/bar; echo bar >$1/common\n",
    ),
    (
        "libraries/both",
        "# Build Deps: libraries/foo, libraries/bar-*\nmkdir -p $1/bin; cat $1/lib/* >$1/bin/both\n",
    ),
    (
        "libraries/one",
        "# Build Deps: libraries/foo\nls -R $1 >$1/list; echo \"name ${2:-none}\" >$1/name\n",
    ),
];

fn both(case: &Case) -> std::path::PathBuf {
    case.dist().join(STACK).join("libraries/both.tar.gz")
}

fn sandbox(case: &Case, names: &[&str]) -> Pybuild {
    scripts(case, "sandbox", &tree(case, &TREE), names)
}

/// Writes an archive as bob-builder does, with nothing beside it.
fn publish(path: &Path, name: &str, text: &str) {
    let bytes = tar().file(name, text).end();
    write(path, &bytes);
}

fn write(path: &Path, tar: &[u8]) {
    use std::io::Write as _;
    fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
    let file = fs::File::create(path).expect("created");
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    gzip.write_all(tar).expect("written");
    gzip.finish().expect("written");
}

#[test]
fn what_is_missing_is_told_before_anything_is_built() {
    let Some(case) = Case::new() else { return };
    for (names, said) in [
        (
            &["libraries/foo", "libraries/both"][..],
            "libraries/both begins with the archive libraries/bar-*, which is not there",
        ),
        (
            &["libraries/one"],
            "hint: make it first: `pybuild sandbox debian-12 libraries/foo`",
        ),
    ] {
        let ran = sandbox(&case, names).run().fails(1, &[said]);
        assert!(!ran.err.contains(": script"), "{}", ran.err);
    }
    case.delivered_nothing();
    case.is_clean();
}

#[test]
fn archives_are_those_of_this_command_or_of_what_was_built_before() {
    let Some(case) = Case::new() else { return };
    // In whatever order they are asked for.
    let ran = sandbox(
        &case,
        &["libraries/both", "libraries/bar-1.9", "libraries/foo"],
    )
    .run()
    .succeeds();
    assert!(!ran.err.contains("warning"), "{}", ran.err);
    let found = members(&both(&case));
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["bin/", "bin/both", "common", "lib/", "lib/bar", "lib/foo"]
    );
    assert_eq!(found["bin/both"].2, "1.9\n1\n");
    // A higher one: 1.10 is higher than 1.9. Of what several hold, the last counts.
    sandbox(&case, &["libraries/bar-1.10"]).run().succeeds();
    sandbox(&case, &["libraries/both"]).run().succeeds();
    let found = members(&both(&case));
    assert_eq!(found["bin/both"].2, "1.10\n1\n");
    assert_eq!(found["common"].2, "bar\n");
    let record = fs::read_to_string(both(&case).with_extension("gz.json")).expect("there");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    let bar = digest(&case.dist().join(STACK).join("libraries/bar-1.10.tar.gz"));
    assert_eq!(record["archives"][1]["path"], "libraries/bar-1.10");
    assert_eq!(record["archives"][1]["sha256"], bar.to_string());
    let ran = sandbox(&case, &["libraries/both"])
        .args(["--dry-run"])
        .run()
        .succeeds();
    assert!(
        ran.out.contains("dist/debian-12/libraries/bar-1.10.tar.gz"),
        "{}",
        ran.out
    );
    case.is_clean();
}

#[test]
fn archives_come_from_the_target_and_then_from_the_upstream_target() {
    let Some(case) = Case::new() else { return };
    let root = root();
    let server = Server::start(root.path(), AWS);
    let bucket = root.path().join("bucket");
    // As bob-builder's own keys are, where a prefix is one stack's; and by the stack.
    publish(
        &bucket.join("up/libraries/foo.tar.gz"),
        "lib/foo",
        "upstream",
    );
    publish(
        &bucket.join("p/debian-12/libraries/bar-1.9.tar.gz"),
        "lib/bar",
        "target",
    );
    publish(
        &bucket.join("up/libraries/bar-2.0.tar.gz"),
        "lib/bar",
        "higher, but upstream",
    );
    let run = || {
        with(sandbox(&case, &["libraries/both"]), &server)
            .env("UPSTREAM_S3_BUCKET", "bucket")
            .env("UPSTREAM_S3_PREFIX", "up")
    };
    let ran = run().run().succeeds();
    assert_eq!(members(&both(&case))["bin/both"].2, "targetupstream");
    for said in [
        "s3://bucket/up/libraries/foo.tar.gz is taken as it is",
        "s3://bucket/p/debian-12/libraries/bar-1.9.tar.gz is taken as it is",
    ] {
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    // What says which bytes it should be is heeded.
    let foo = bucket.join("up/libraries/foo.tar.gz");
    let line = format!("{}  foo.tar.gz\n", digest(&foo));
    fs::write(foo.with_extension("gz.sha256"), &line).expect("written");
    let ran = run().run().succeeds();
    assert!(!ran.err.contains("foo.tar.gz is taken"), "{}", ran.err);
    // Whoever has read those bytes once goes by them; others are told.
    let line = format!("{}  foo.tar.gz\n", Sha256::of(b"other"));
    fs::write(foo.with_extension("gz.sha256"), &line).expect("written");
    run()
        .run()
        .fails(75, &["up/libraries/foo.tar.gz was corrupted on the way"]);
    fs::write(foo.with_extension("gz.sha256"), "what?\n").expect("written");
    run()
        .run()
        .fails(1, &["foo.tar.gz cannot be used: its .sha256"]);
    case.is_clean();
}

#[test]
fn an_archive_that_would_lead_out_does_not() {
    let Some(case) = Case::new() else { return };
    let key = case.dist().join(STACK).join("libraries/foo.tar.gz");
    let up = tar()
        .file("../../../../../../tmp/pybuild-escaped", "x")
        .end();
    let through = tar()
        .symlink("lib", "/tmp")
        .file("lib/pybuild-escaped", "x")
        .end();
    for (bytes, said) in [(up, "goes up by `..`"), (through, "lib")] {
        write(&key, &bytes);
        let ran = sandbox(&case, &["libraries/one"]).run();
        assert_eq!(ran.code, 1, "{}\n{}", ran.err, ran.out);
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
        assert!(!Path::new("/tmp/pybuild-escaped").exists());
    }
    case.is_clean();
}

#[test]
fn scripts_are_published_if_the_open_network_is_allowed() {
    let Some(case) = Case::new() else { return };
    let root = root();
    let server = Server::start(root.path(), AWS);
    let dir = tree(&case, &TREE);
    let deploy = |names: &[&str]| with(scripts(&case, "deploy", &dir, names), &server);
    let names = ["libraries/one", "libraries/foo"];
    let ran = deploy(&names).run();
    ran.fails(2, &["is a script for bob-builder", "hint: --allow-network"]);
    let allowed = |names: &[&str]| deploy(names).args(["--allow-network"]);
    let dry = allowed(&names).args(["--dry-run"]).run().succeeds();
    for said in [
        "libraries/foo, which is made before",
        "debian-12/libraries/one.tar.gz",
    ] {
        assert!(dry.out.contains(said), "{said}: {}", dry.out);
    }
    assert_eq!(files_below(&root.path().join("bucket")), [""; 0]);
    let wrong = allowed(&names)
        .env("AWS_SECRET_ACCESS_KEY", "another")
        .run();
    let wrong = wrong.fails(2, &["are not accepted"]);
    assert!(!wrong.err.contains(": script"), "{}", wrong.err);
    let ran = allowed(&names).run().succeeds();
    assert!(
        ran.out.contains("libraries/one for debian-12\n"),
        "{}",
        ran.out
    );
    let keys = ["foo", "one"].map(|name| {
        ["", ".json", ".sha256"].map(|end| format!("p/{STACK}/libraries/{name}.tar.gz{end}"))
    });
    assert_eq!(files_below(&root.path().join("bucket")), keys.concat());
    let again = allowed(&names).run().succeeds();
    assert_eq!(
        again.out.matches("(already there)").count(),
        2,
        "{}",
        again.out
    );
    assert!(!again.err.contains(": script"), "{}", again.err);
    // Under another name, which the script is told.
    allowed(&names[..1])
        .args(["--name", "others/mine"])
        .run()
        .succeeds();
    let mine = root
        .path()
        .join("bucket/p")
        .join(STACK)
        .join("others/mine.tar.gz");
    assert_eq!(members(&mine)["name"].2, "name others/mine\n");
    // Another build is not put in the place of what is there.
    fs::write(dir.join("libraries/foo"), "echo 2 >$1/foo\n").expect("written");
    let ran = allowed(&names).run();
    ran.fails(
        1,
        &[
            "is there already and is another build of libraries/foo",
            "--overwrite",
        ],
    );
    let verify = case
        .pybuild()
        .cwd(&case.at(""))
        .args(["verify", "--identity"]);
    let ran = with(verify, &server).run().succeeds();
    assert!(ran.out.contains("all 3 archives are sound"), "{}", ran.out);
    case.is_clean();
}
