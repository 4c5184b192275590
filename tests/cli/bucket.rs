//! The program on a bucket: an S3 server in this process.

use std::fs;

use crate::deploy::{CANARY, deploy, holding};
use crate::farm;
use crate::formula::{Formula, digest};
use crate::kit::{Case, STACK, directory, files_below};
use crate::program::Pybuild;
use crate::s3::{AWS, SECRET, Server, Store, environment};

/// How many artifacts there are in a big bucket.
const MANY: usize = 1000;

/// With what it takes to use the bucket `bucket` of this server.
pub(crate) fn with(run: Pybuild, server: &Server) -> Pybuild {
    let url = server.url();
    let run = run.env("NO_PROXY", "127.0.0.1");
    let given = environment(&url).into_iter();
    given.fold(run, |run, (name, value)| run.env(name, value))
}

pub(crate) fn root() -> tempfile::TempDir {
    let root = directory();
    fs::create_dir(root.path().join("bucket")).expect("mkdir");
    root
}

#[test]
fn a_bucket_gets_what_is_built_and_no_secret_leaks() {
    let Some(case) = Case::new() else { return };
    let root = root();
    let server = Server::start(root.path(), AWS);
    let told = "env; tr '\\0' '\\n' </proc/self/environ";
    let formula = Formula::hello().step("tell", told);
    let run = || with(deploy(&formula, &case), &server).args(["--verbose"]);
    let ran = run().run().succeeds();
    assert!(ran.out.contains("s3://bucket/p/"), "{}", ran.out);
    let key = format!("p/{STACK}/libraries/hello-1.0.tar.gz");
    let tarball = root.path().join("bucket").join(&key);
    let sidecar = fs::read_to_string(tarball.with_extension("gz.sha256")).expect("there");
    assert_eq!(sidecar, format!("{}  hello-1.0.tar.gz\n", digest(&tarball)));
    let puts = server.count("PUT", "");
    let again = run().run().succeeds();
    assert!(again.out.contains("(already there)"), "{}", again.out);
    assert_eq!(server.count("PUT", ""), puts, "it is put again");
    let dry = run().args(["--dry-run"]).run().succeeds();
    assert!(dry.out.contains("this very build is there"), "{}", dry.out);
    for said in [ran.out, ran.err, again.out, again.err, dry.out, dry.err] {
        assert!(!said.contains(CANARY) && !said.contains(SECRET), "{said}");
    }
    assert_eq!(holding(&case.store()), [""; 0]);
    assert_eq!(holding(root.path()), [""; 0]);
    assert_eq!(files_below(&case.dist()), [""; 0]);
    case.is_clean();
}

#[test]
fn credentials_and_buckets_are_tried_before_anything_is_built() {
    let Some(case) = Case::new() else { return };
    let root = root();
    let server = Server::start(root.path(), AWS);
    let run = || with(deploy(&Formula::hello(), &case), &server);
    for (name, value, said) in [
        (
            "AWS_SECRET_ACCESS_KEY",
            "another-canary",
            "are not accepted",
        ),
        ("S3_BUCKET", "nowhere", "there is no bucket `nowhere`"),
    ] {
        let ran = run().env(name, value).run().fails(2, &[said, "hint: "]);
        assert!(!ran.err.contains("hello-1.0: compile"), "{}", ran.err);
        assert!(!ran.err.contains("another-canary"), "{}", ran.err);
    }
    case.delivered_nothing();
    case.is_clean();
}

#[test]
fn a_big_matrix_that_is_published_is_checked_by_listing() {
    let Some(case) = Case::new() else { return };
    let root = root();
    let store = Store { page: 1000, ..AWS };
    let server = Server::start(root.path(), store);
    let formulae = farm::formulae(&case);
    let table = formulae.join("good.versions.toml");
    let text = fs::read_to_string(&table).expect("there");
    let line = text.lines().last().expect("a version").to_owned();
    let (head, _) = text.split_once("\"1.0\"").expect("a first version");
    let mut text = head.to_owned();
    let dir = root.path().join(format!("bucket/p/{STACK}/runtimes"));
    fs::create_dir_all(&dir).expect("mkdir");
    for n in 0..MANY {
        text.push_str(&line.replace("\"1.1\"", &format!("\"1.{n}\"")));
        text.push('\n');
        for end in ["", ".sha256", ".json"] {
            fs::write(dir.join(format!("good-1.{n}.tar.gz{end}")), "x").expect("written");
        }
    }
    let run = || {
        let run = case.pybuild().args(["deploy-runtimes", "--stacks", STACK]);
        let run = run
            .args(["--runtimes", "good-1.*", "--formulae"])
            .args([&formulae]);
        with(run, &server)
    };
    fs::write(&table, text).expect("written");
    let ran = run().run().succeeds();
    assert!(
        ran.out.contains("1000 already there in s3://bucket/p/"),
        "{}",
        ran.out
    );
    let asked = server.seen();
    assert!(asked.len() <= 10, "{} requests", asked.len());
    assert!(
        asked.iter().all(|seen| seen.method == "GET"),
        "nothing is put"
    );
    // One less.
    fs::remove_file(dir.join("good-1.500.tar.gz.json")).expect("removed");
    let ran = run().args(["--dry-run"]).run().succeeds();
    assert!(
        ran.out.contains("999 already there, 1 missing"),
        "{}",
        ran.out
    );
    case.is_clean();
}

/// Where the bucket is, and with which secrets it is opened, only the environment says, which root's
/// worker does not have.
#[test]
fn a_bucket_that_the_environment_names_is_the_one_that_is_verified() {
    let Some(case) = Case::new() else { return };
    let root = root();
    let server = Server::start(root.path(), AWS);
    with(deploy(&Formula::hello(), &case), &server)
        .run()
        .succeeds();
    let lock = case.at("checksums.lock");
    let formulae = case.at("formulae");
    let verify = || {
        let run = case.pybuild().cwd(&case.at("")).args(["verify", "--lock"]);
        let run = run.args([lock.as_path(), "--formulae".as_ref(), &formulae]);
        with(run, &server)
    };
    verify().args(["--record"]).run().succeeds();
    let recorded = fs::read_to_string(&lock).expect("written");
    let key = format!("{STACK}/libraries/hello-1.0.tar.gz");
    let tarball = root.path().join("bucket/p").join(&key);
    assert!(recorded.contains("s3://bucket/p/"), "{recorded}");
    assert!(
        recorded.contains(&format!("{}  {key}\n", digest(&tarball))),
        "{recorded}"
    );
    // Another archive whose papers agree: only what was recorded tells.
    let other = fs::read(&tarball).expect("there");
    let mut other = other[..other.len() - 1].to_vec();
    other.push(0xff);
    fs::write(&tarball, &other).expect("written");
    let line = format!("{}  hello-1.0.tar.gz\n", digest(&tarball));
    fs::write(tarball.with_extension("gz.sha256"), line).expect("written");
    for more in [&[][..], &["--record"]] {
        let ran = verify().args(more).run();
        assert_eq!(ran.code, 4, "{}\n{}", ran.err, ran.out);
        assert!(ran.out.contains("checksums.lock"), "{}", ran.out);
        assert_eq!(fs::read_to_string(&lock).expect("there"), recorded);
    }
    case.is_clean();
}
