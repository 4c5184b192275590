//! `pybuild formula`: looking at formulae, finding their mistakes, adding releases.

use std::fs;
use std::path::{Path, PathBuf};

use pgp::composed::{
    ArmorOptions, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::{KeyDetails as _, Password};
use pybuild::model::Sha256;

use crate::formula::Formula;
use crate::kit::{Case, give};
use crate::server::{Reply, Request, Server};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn every_version_is_listed() {
    let case = Case::bare();
    let list = || case.pybuild().args(["formula", "list"]);
    let ran = list().args(["python", "--json"]).run().succeeds();
    let rows = json(&ran.out);
    let rows = rows.as_array().expect("rows");
    let row = |version: &str| {
        let found = rows.iter().find(|row| row["version"] == version);
        found.unwrap_or_else(|| panic!("{version}")).clone()
    };
    let old = row("2.7.9");
    assert_eq!(old["end_of_life"], "2020-01-01");
    assert_eq!(old["is_past"], true);
    let refused = |row: &serde_json::Value, stack: &str| {
        let refused = row["refused"].as_array().expect("stacks").iter();
        refused.clone().any(|it| it["stack"] == stack)
    };
    // A refusal may be for some of a series alone.
    assert!(refused(&old, "debian-12") && refused(&old, "debian-11"));
    assert!(refused(&row("2.7.13"), "debian-12") && !refused(&row("2.7.13"), "debian-11"));
    assert!(!refused(&row("2.7.18"), "debian-12"));

    let ran = list().arg("sqlite").run().succeeds();
    assert!(ran.out.starts_with("FORMULA"), "{}", ran.out);
    assert!(
        ran.out.contains("\nsqlite   3.46.1   2024-08-13"),
        "{}",
        ran.out
    );
    list().arg("pithon").run().fails(
        2,
        &["there is no formula `pithon`", "did you mean `python`?"],
    );
    assert!(!case.store().exists(), "looking makes a store");
}

#[test]
fn a_version_is_shown() {
    let case = Case::bare();
    let show = || case.pybuild().args(["formula", "show"]);
    let ran = show().arg("python-3.11.2").run().succeeds();
    for said in [
        "python-3.11.2\n",
        "2411c74bda5bbcfcddaf4531f66d1adc73f247f529aee981b029513aefdbf849",
        "sqlite-3.46.1",
        "--without-static-libpython",
        "{prefix}/bin/python",
        "tomllib",
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    let ran = show().args(["python-2.7", "--json"]).run().succeeds();
    assert_eq!(json(&ran.out)["version"], "2.7.18");
    show()
        .args(["python-2.7.9", "--stack", "debian-12"])
        .run()
        .fails(
            2,
            &["python-2.7.9 cannot be built on debian-12", "OpenSSL 1.0"],
        );
    show()
        .arg("python-2.7.*")
        .run()
        .fails(2, &["means 10 versions", "name one: python-2.7.9, "]);
    show()
        .arg("python-3.3")
        .run()
        .fails(2, &["no version 3.3", "2.7.9 … 2.7.18"]);
}

#[test]
fn every_mistake_is_found_and_told_with_its_place() {
    let case = Case::bare();
    let formulae = Formula::hello().write(&case.at(""));
    let check = || case.pybuild().args(["formula", "check"]).arg(&formulae);
    let ran = check().run().succeeds();
    assert!(
        ran.out.contains("5 formulae") && ran.out.contains("no mistake"),
        "{}",
        ran.out
    );

    let file = formulae.join("hello.toml");
    let text = fs::read_to_string(&file).expect("readable");
    let text = text
        .replace("\"library\"", "\"libary\"")
        .replace("{prefix}", "{prefx}");
    fs::write(&file, text).expect("written");
    let said = [
        "3 mistakes in",
        "hello.toml:3:8",
        "did you mean `library`?",
        "hello.toml:8:",
        "did you mean `{prefix}`?",
    ];
    check().run().fails(2, &said);
    let ran = check().arg("--json").run();
    assert_eq!(ran.code, 2, "{}", ran.err);
    let checked = json(&ran.out);
    let mistake = &checked["mistakes"][0];
    assert_eq!(
        (&mistake["line"], &mistake["column"]),
        (&3.into(), &8.into())
    );
    assert_eq!(mistake["hint"], "did you mean `library`?");
}

#[test]
fn what_is_recorded_of_tests_is_checked_too() {
    let case = Case::bare();
    let formulae = Formula::hello().write(&case.at(""));
    let record = |text: &str| {
        let dir = formulae.join("hello/baselines/debian-12");
        fs::create_dir_all(&dir).expect("mkdir");
        fs::write(dir.join("1.0.toml"), text).expect("written");
    };
    let check = || case.pybuild().args(["formula", "check"]).arg(&formulae);
    let head = "schema = 1\nstack = \"debian-12\"\nversion = \"1.0\"\nprofile = \"plain\"\n";
    let sound = format!("{head}passed = [\"test_a\"]\n");
    record(&sound);
    check().run().succeeds();
    let table = [
        (
            format!("{head}passed = [\"a/b\"]\n"),
            [
                "hello/baselines/debian-12/1.0.toml:5:10",
                "not the name of a test",
            ],
        ),
        (
            format!("{head}passd = []\n"),
            ["1.0.toml:5:1", "unknown field `passd`"],
        ),
        (
            format!("{sound}[tests.test_a]\nended = \"failed\"\n"),
            ["1.0.toml:1:1", "`test_a` is in `passed` and in `tests`"],
        ),
        (
            sound.replace("debian-12", "debian-11"),
            ["1.0 on debian-11", "hello/baselines/debian-11/1.0.toml"],
        ),
        (
            sound.replace("1.0", "1.1"),
            ["version 1.1", "hello/baselines/debian-12/1.1.toml"],
        ),
    ];
    for (text, said) in table {
        record(&text);
        check().run().fails(2, &said);
        let checked = json(&check().arg("--json").run().out);
        assert_eq!(checked["mistakes"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn a_word_may_stand_for_the_newest() {
    let case = Case::bare();
    let formulae = Formula::hello().write(&case.at(""));
    let plan = |words: &[&str]| {
        let run = case.pybuild().args(["sandbox", "debian-12", "--dry-run"]);
        run.args(words).arg("--formulae").arg(&formulae).run()
    };
    for words in [&["hello-1"][..], &["hello-*"], &["hello-supported"]] {
        let ran = plan(words).succeeds();
        assert!(
            ran.out.contains("hello-1.0, profile plain"),
            "{words:?} {}",
            ran.out
        );
    }
    plan(&["hello-2"]).fails(2, &["formula `hello` has no version 2"]);
    plan(&["hello-2.*"]).fails(2, &["no version of hello is in `hello-2.*`", "1.0"]);
    plan(&["hello-1*"]).fails(2, &["not a range of versions"]);
    plan(&["hello"]).fails(2, &["names no version"]);
}

#[test]
fn the_stacks_that_are_refused_are_stacks_that_there_are() {
    let case = Case::bare();
    let rows = |args: &[&str]| {
        let ran = case.pybuild().args(args).arg("--json").run().succeeds();
        json(&ran.out).as_array().expect("rows").clone()
    };
    let stacks = rows(&["stack", "list"]);
    let mut refused = 0;
    for row in rows(&["formula", "list"]) {
        for refusal in row["refused"].as_array().expect("refusals") {
            let is_known = stacks.iter().any(|it| it["stack"] == refusal["stack"]);
            assert!(is_known, "{}: {refusal}", row["version"]);
            refused += 1;
        }
    }
    assert!(refused > 0);
    let shown = case
        .pybuild()
        .args(["formula", "show", "python-3.11.2", "--json"]);
    let added = json(&shown.run().succeeds().out)["added"].clone();
    let added = added.as_array().expect("additions").clone();
    assert!(!added.is_empty());
    for stack in added
        .iter()
        .flat_map(|it| it["stacks"].as_array().expect("stacks"))
    {
        assert!(stacks.iter().any(|it| it["stack"] == *stack), "{stack}");
    }
}

#[test]
fn a_version_past_its_end_of_life_is_built_with_a_warning() {
    let Some(case) = Case::new() else { return };
    let build = Formula::hello().build(&case);
    let file = case.at("formulae/hello.toml");
    let text = fs::read_to_string(&file).expect("readable");
    let past = "\">=1, <2\"\nend_of_life = 2020-02-29\n";
    fs::write(&file, text.replace("\">=1, <2\"\n", past)).expect("written");
    let ran = build.run().succeeds();
    let said = "hello-1.0 has reached its end of life on 2020-02-29: nobody mends it any more";
    assert_eq!(ran.err.matches(said).count(), 1, "{}", ran.err);
    case.is_clean();
}

/// A key of a release manager, of the tests' own.
fn key() -> SignedSecretKey {
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .primary_user_id("Manager <manager@example.org>".to_owned())
        .build()
        .expect("parameters")
        .generate(rand::thread_rng())
        .expect("a key")
}

fn armored(key: &SignedSecretKey) -> String {
    let key = SignedPublicKey::from(key.clone());
    key.to_armored_string(ArmorOptions::default())
        .expect("armor")
}

fn signature(key: &SignedSecretKey, file: &[u8]) -> Vec<u8> {
    let signed = DetachedSignature::sign_binary_data(
        rand::thread_rng(),
        &key.primary_key,
        &Password::empty(),
        HashAlgorithm::Sha256,
        file,
    );
    let armored = signed
        .expect("signed")
        .to_armored_string(ArmorOptions::default());
    armored.expect("armor").into_bytes()
}

/// A tarball whose newest file is of 2024-02-03.
fn tarball() -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut tar = tar::Builder::new(gzip);
    for (name, mtime) in [("new", 1_706_999_999), ("old", 1_704_153_600)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_mtime(mtime);
        tar.append_data(&mut header, format!("hello-1.1/{name}"), &b"x"[..])
            .expect("written");
    }
    tar.into_inner()
        .expect("written")
        .finish()
        .expect("written")
}

/// Formulae whose upstream is a server, and a release there that the table does not have.
struct Upstream {
    case: Case,
    server: Server,
    formulae: PathBuf,
    keyring: PathBuf,
    tarball: Vec<u8>,
    signer: String,
}

impl Upstream {
    fn new(beside: fn(&SignedSecretKey, &[u8]) -> Option<Vec<u8>>) -> Self {
        let case = Case::bare();
        let (key, tarball) = (key(), tarball());
        let signature = beside(&key, &tarball);
        let body = tarball.clone();
        let server =
            Server::start(
                move |_, request: &Request| match (request.path.as_str(), &signature) {
                    ("/1/hello-1.1.tar.gz", _) => Reply::ok(&body),
                    ("/1/hello-1.1.tar.gz.asc", Some(signature)) => Reply::ok(signature),
                    _ => Reply::status(404),
                },
            );
        let formulae = Formula::hello().write(&case.at(""));
        let table = formulae.join("hello.versions.toml");
        let text = fs::read_to_string(&table).expect("readable");
        let url = server.url("/{version.1}/hello-{version}.tar.gz");
        let upstream = "http://127.0.0.1:1/upstream/hello-{version}.tar.gz";
        assert!(text.contains(upstream), "{text}");
        fs::write(&table, text.replace(upstream, &url)).expect("written");
        let own = formulae.join("hello.toml");
        let text = fs::read_to_string(&own).expect("readable");
        let signer = key.primary_key.fingerprint().to_string().to_uppercase();
        let signed_by = format!("\">=1, <2\"\nsigned_by = [\"{signer}\"]");
        fs::write(&own, text.replace("\">=1, <2\"", &signed_by)).expect("written");
        let keyring = case.at("keys.asc");
        fs::write(&keyring, armored(&key)).expect("written");
        give(&formulae);
        Self {
            case,
            server,
            formulae,
            keyring,
            tarball,
            signer,
        }
    }

    fn table(&self) -> String {
        fs::read_to_string(self.formulae.join("hello.versions.toml")).expect("readable")
    }

    fn add(&self, args: &[&str]) -> crate::program::Ran {
        let run = self.case.pybuild().args(["formula", "add", "hello"]);
        run.args(args).arg("--formulae").arg(&self.formulae).run()
    }

    fn keyring(&self) -> &str {
        self.keyring.to_str().expect("a path")
    }
}

#[test]
fn a_signed_release_becomes_one_line() {
    let upstream = Upstream::new(|key, file| Some(signature(key, file)));
    let before = upstream.table();
    let ran = upstream
        .add(&["1.1", "--keyring", upstream.keyring()])
        .succeeds();
    assert!(
        ran.out.contains(&format!("signed by {}", upstream.signer)),
        "{}",
        ran.out
    );
    let digest = Sha256::of(&upstream.tarball);
    let line =
        format!("\"1.1\" = {{ released = 2024-02-03, tgz = {{ sha256 = \"{digest}\" }} }}\n");
    assert_eq!(upstream.table(), format!("{before}{line}"));

    // Again: it is there.
    upstream
        .add(&["1.1", "--keyring", upstream.keyring()])
        .fails(2, &["has hello-1.1 already"]);
    // What upstream does not have, and what no series is for, leaves the table as it is.
    upstream
        .add(&["1.2"])
        .fails(2, &["upstream has no source of hello-1.2"]);
    assert_eq!(upstream.table(), format!("{before}{line}"));
}

#[test]
fn what_nobody_vouches_for_is_refused() {
    let upstream = Upstream::new(|_, _| None);
    let before = upstream.table();
    upstream
        .add(&["1.1", "--keyring", upstream.keyring()])
        .fails(
            2,
            &[
                "nobody vouches for hello-1.1.tar.gz: upstream has neither an OpenPGP signature nor a Sigstore bundle",
                "--sha256",
                "--unsigned",
            ],
        );
    let other = Sha256::of(b"other").to_string();
    upstream
        .add(&["1.1", "--sha256", &other])
        .fails(2, &["nobody vouches"]);
    assert_eq!(upstream.table(), before);
    let ran = upstream
        .add(&["1.1", "--unsigned", "--dry-run", "--json"])
        .succeeds();
    let added = json(&ran.out);
    assert_eq!(added["sources"][0]["verified"], false);
    assert_eq!(added["written"], false);
    assert_eq!(upstream.table(), before, "--dry-run writes nothing");
    let digest = Sha256::of(&upstream.tarball).to_string();
    let ran = upstream.add(&["1.1", "--sha256", &digest]).succeeds();
    assert!(
        ran.out.contains("the digest is the one that was given"),
        "{}",
        ran.out
    );
    assert!(upstream.table().contains("\"1.1\" = "));
}

#[test]
fn a_signature_that_is_wrong_is_never_passed_over() {
    // Of another file, and of a key that the formula does not name.
    let of_another = Upstream::new(|key, _| Some(signature(key, b"another file")));
    let of_a_stranger = Upstream::new(|_, file| Some(signature(&key(), file)));
    for upstream in [&of_another, &of_a_stranger] {
        let before = upstream.table();
        let args = ["1.1", "--unsigned", "--keyring", upstream.keyring()];
        upstream.add(&args).fails(
            4,
            &[
                "the signature of hello-1.1.tar.gz is not to be trusted",
                "nothing was written",
            ],
        );
        upstream.add(&["1.1"]).fails(
            2,
            &[
                "no keyring to verify it with",
                upstream.signer.as_str(),
                "--keyring FILE",
            ],
        );
        assert_eq!(upstream.table(), before);
    }
    // In the keyring, good, and yet not one that counts.
    let upstream = of_a_stranger;
    let stranger = key();
    fs::write(&upstream.keyring, armored(&stranger)).expect("written");
    let mirror = upstream.case.at("mirror");
    fs::create_dir(&mirror).expect("mkdir");
    let put = |name: &str, bytes: &[u8]| fs::write(mirror.join(name), bytes).expect("written");
    put("hello-1.2.tar.gz", &upstream.tarball);
    put(
        "hello-1.2.tar.gz.asc",
        &signature(&stranger, &upstream.tarball),
    );
    let mirror: &Path = &mirror;
    let mirror = mirror.to_str().expect("a path");
    let args = [
        "1.2",
        "--keyring",
        upstream.keyring(),
        "--source-mirror",
        mirror,
    ];
    upstream
        .add(&args)
        .fails(4, &["whom the formula does not name"]);
    assert!(
        !upstream.server.requests().is_empty(),
        "upstream was asked first"
    );
}
