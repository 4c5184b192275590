//! Profiles that are trained: what is learned is learned once, published, and what everybody builds
//! with.

use std::fs;
use std::path::{Path, PathBuf};

use crate::formula::{Formula, digest};
use crate::kit::{Case, STACK, files_below};
use crate::program::Pybuild;

/// What is built: by its training no two of it are the same.
const CLEVER: &str = "runtimes/clever-1.0.tar.gz";

/// A formula `clever`, over the source of `hello`, whose optimized build holds what was learned.
fn write(case: &Case) {
    let formulae = Formula::hello().write(&case.at(""));
    let source = digest(&case.at("sources/hello-1.0.tar.gz"));
    fs::create_dir_all(formulae.join("clever")).expect("mkdir");
    for (name, script) in [
        ("learn", "od -An -tx1 -N16 /dev/urandom >$1/learned"),
        ("make", "mkdir -p $1/lib; echo made >$1/lib/made"),
        ("apply", "cp $2/learned $1/lib/learned"),
    ] {
        let file = formulae.join("clever").join(format!("{name}.sh"));
        fs::write(file, format!("set -eu\n{script}\n")).expect("written");
    }
    let text = r#"schema = 1
name = "clever"
kind = "runtime"
prefix = "/app/clever"
[common]
steps = [
  { name = "make", run = ["sh", "{files}/make.sh", "{prefix}"] },
  { name = "apply", run = ["sh", "{files}/apply.sh", "{prefix}", "{deps.clever-profile}"], profile = "optimized" },
]
checks = [{ name = "is there", run = ["test", "-s", "{prefix}/lib/made"], moved = true }]
[[series]]
versions = ">=1"
profiles.optimized.training = [{ name = "learn", run = ["sh", "{files}/learn.sh", "{prefix}"] }]
"#;
    fs::write(formulae.join("clever.toml"), text).expect("written");
    let text = format!(
        "schema = 1\n[sources.tgz]\n\
         urls = [\"http://127.0.0.1:1/upstream/hello-1.0.tar.gz\"]\n[versions]\n\
         \"1.0\" = {{ released = 2024-01-02, tgz = {{ sha256 = \"{source}\" }} }}\n"
    );
    fs::write(formulae.join("clever.versions.toml"), text).expect("written");
}

/// A run in a case's store that knows the formula.
fn run(case: &Case, args: &[&str]) -> Pybuild {
    write(case);
    case.pybuild()
        .args(args)
        .args(["--formulae".as_ref(), case.at("formulae").as_path()])
        .args(["--source-mirror".as_ref(), case.at("sources").as_path()])
        .cwd(&case.at(""))
}

/// Deploys it to a directory.
fn deploy(case: &Case, target: &Path) -> Pybuild {
    let target = target.to_str().expect("UTF-8");
    run(case, &["deploy", STACK, "clever-1.0", "--target", target])
}

fn clever(target: &Path) -> PathBuf {
    target.join(STACK).join(CLEVER)
}

/// What is below a directory, without sidecars.
fn tarballs(dir: &Path) -> Vec<String> {
    let mut files = files_below(dir);
    files.retain(|file| file.ends_with(".tar.gz"));
    files
}

/// Removes what was built from a target, but not what was learned for it.
fn forget(target: &Path) {
    for end in ["", ".sha256", ".json"] {
        let path = clever(target);
        fs::remove_file(path.with_file_name(format!("clever-1.0.tar.gz{end}"))).expect("removed");
    }
}

#[test]
fn what_was_learned_is_kept_and_built_with_again() {
    let Some(case) = Case::new() else { return };
    let sandbox = |more: &[&str]| {
        let args = [&["sandbox", STACK, "clever-1.0"], more].concat();
        run(&case, &args).run().succeeds()
    };
    let first = sandbox(&["--check-reproducible"]);
    for said in ["clever-profile-1.0: learn", "the same bytes, SHA-256"] {
        assert!(first.err.contains(said), "{said}: {}", first.err);
    }
    let bytes = digest(&clever(&case.dist()));
    // It is not what was asked for, and so is not delivered.
    assert_eq!(tarballs(&case.dist()), [format!("{STACK}/{CLEVER}")]);
    let again = sandbox(&["--rebuild"]);
    assert!(
        again.err.contains("clever-1.0: apply") && !again.err.contains("learn"),
        "{}",
        again.err
    );
    assert_eq!(digest(&clever(&case.dist())), bytes);
    let record = fs::read_to_string(clever(&case.dist()).with_file_name("clever-1.0.tar.gz.json"));
    let record: serde_json::Value = serde_json::from_str(&record.expect("there")).expect("JSON");
    assert_eq!(record["profile"], "optimized");
    assert_eq!(record["dependencies"][0]["reference"], "clever-profile-1.0");
    // Another store learns something else, and says so by another build id.
    let other = Case::new().expect("as before");
    run(&other, &["sandbox", STACK, "clever-1.0"])
        .run()
        .succeeds();
    assert_ne!(digest(&clever(&other.dist())), bytes);
    // Plain, it learns nothing.
    let plain = sandbox(&["--profile", "plain", "--output", "plain"]);
    assert!(!plain.err.contains("profile"), "{}", plain.err);
    case.is_clean();
}

#[test]
fn what_was_learned_first_is_published_and_built_with_by_all() {
    let (Some(one), Some(two)) = (Case::new(), Case::new()) else {
        return;
    };
    let target = one.dist();
    deploy(&one, &target).run().succeeds();
    let bytes = digest(&clever(&target));
    let published = tarballs(&target);
    let [profile, built] = &published[..] else {
        panic!("{published:?}")
    };
    assert!(
        profile.starts_with(&format!("{STACK}/profiles/clever-profile-1.0/")),
        "{profile}"
    );
    assert_eq!(*built, format!("{STACK}/{CLEVER}"));
    // Who has learned something else before takes what was published.
    run(&two, &["sandbox", STACK, "clever-1.0"])
        .run()
        .succeeds();
    assert_ne!(digest(&clever(&two.dist())), bytes);
    // To be there it need not be learned, nor fetched.
    let ran = deploy(&two, &target).run().succeeds();
    assert!(ran.out.contains("(already there)"), "{}", ran.out);
    assert!(!ran.err.contains("clever-profile"), "{}", ran.err);
    forget(&target);
    let ran = deploy(&two, &target).run().succeeds();
    assert!(!ran.err.contains("learn"), "{}", ran.err);
    assert_eq!(digest(&clever(&target)), bytes);
    assert_eq!(tarballs(&target), published);
    // What upstream has is built with, and published beside what is built with it.
    let three = Case::new().expect("as before");
    let upstream = target.to_str().expect("UTF-8");
    let ran = deploy(&three, &three.dist()).args(["--upstream", upstream]);
    let ran = ran.run().succeeds();
    assert!(!ran.err.contains("learn"), "{}", ran.err);
    assert_eq!(tarballs(&three.dist()), published);
    assert_eq!(digest(&clever(&three.dist())), bytes);
    one.is_clean();
    two.is_clean();
}

#[test]
fn what_is_published_is_verified_and_rebuilt_with_what_it_was_trained_with() {
    let (Some(one), Some(two)) = (Case::new(), Case::new()) else {
        return;
    };
    let target = one.dist();
    deploy(&one, &target).run().succeeds();
    let verify = |more: &[&str]| {
        let named = target.to_str().expect("UTF-8");
        let args = [&["verify", "--target", named, "--identity"], more].concat();
        run(&two, &args).run()
    };
    verify(&[]).succeeds();
    let ran = verify(&["--rebuild"]).succeeds();
    assert!(
        ran.err.contains("fetching clever-profile-1.0"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("learn"), "{}", ran.err);
    // As well where something else was learned before.
    let other = Case::new().expect("as before");
    run(&other, &["sandbox", STACK, "clever-1.0"])
        .run()
        .succeeds();
    let named = target.to_str().expect("UTF-8");
    run(&other, &["verify", "--target", named, "--rebuild"])
        .run()
        .succeeds();
    // And where nothing else is looked at.
    let alone = Case::new().expect("as before");
    let asked = [
        "verify",
        "--target",
        named,
        "--rebuild",
        STACK,
        "clever-1.0",
    ];
    let ran = run(&alone, &asked).run().succeeds();
    assert!(
        ran.err.contains("fetching clever-profile-1.0"),
        "{}",
        ran.err
    );
    // What was learned for another version is not what it seems.
    let wrong = one.at("wrong");
    let status = std::process::Command::new("cp")
        .arg("-r")
        .args([&target, &wrong])
        .status();
    assert!(status.expect("cp").success());
    let profiles = wrong.join(STACK).join("profiles");
    let moved = profiles.join("clever-profile-2.0");
    fs::rename(profiles.join("clever-profile-1.0"), moved).expect("renamed");
    let asked = ["verify", "--target", wrong.to_str().expect("UTF-8")];
    let ran = run(&two, &asked).run();
    assert_eq!(ran.code, 4, "{}{}", ran.out, ran.err);
    let place = format!("{STACK}/profiles/clever-profile-1.0/");
    assert!(ran.out.contains(&place), "{}", ran.out);
    // In the other layout, too.
    let flat = one.at("flat");
    deploy(&one, &flat)
        .args(["--layout", "flat"])
        .run()
        .succeeds();
    let last = Case::new().expect("as before");
    let asked = ["verify", "--target", flat.to_str().expect("UTF-8")];
    let asked = [&asked[..], &["--rebuild", STACK, "clever-1.0"]].concat();
    let ran = run(&last, &asked).run().succeeds();
    assert!(
        ran.err.contains("fetching clever-profile-1.0"),
        "{}",
        ran.err
    );
    // Promoted with it, and indexed.
    let part = two.at("part");
    let to = part.to_str().expect("UTF-8");
    let asked = ["promote", named, to, STACK, "clever-1.0"];
    two.pybuild().args(asked).run().succeeds();
    assert_eq!(tarballs(&part), tarballs(&target));
    let copy = two.at("copy");
    let (from, to) = (
        target.to_str().expect("UTF-8"),
        copy.to_str().expect("UTF-8"),
    );
    two.pybuild().args(["promote", from, to]).run().succeeds();
    assert_eq!(tarballs(&copy), tarballs(&target));
    two.pybuild()
        .args(["index", "--target", to])
        .run()
        .succeeds();
    // What nobody has any more cannot be learned again.
    fs::remove_dir_all(target.join(STACK).join("profiles")).expect("removed");
    let three = Case::new().expect("as before");
    let args = ["verify", "--target", from, "--rebuild"];
    let ran = run(&three, &args).run();
    assert_ne!(ran.code, 0, "{}", ran.out);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("what it was trained with"), "{said}");
    three.is_clean();
}
