//! From and to buckets: by the store itself, by way of this host, and when it goes wrong.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::kit::{Dist, FLAT, PYTHON, SQLITE, file, made_of};
use crate::place::{ENDS, KEYS, Place, all_are, ends, fill, outcomes, tree, with};
use crate::program::Ran;
use crate::server::{AWS, Fault, KEY, SECRET, Seen, Server, Store, refusal};

/// What is found in production, but for what tells whether it can be written to.
pub(crate) fn production(place: &Place) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = tree(&place.buckets().join("production/q"));
    found.retain(|key, _| !key.starts_with(".pybuild-"));
    found
}

/// With what is sound in staging.
pub(crate) fn staged() -> (Place, Dist) {
    let (place, dist) = (Place::new(), Dist::sound());
    fill(&dist, &place.buckets().join("staging/p"));
    (place, dist)
}

/// Whether it is a request for a tarball itself.
fn is_tarball(seen: &Seen) -> bool {
    let path = seen.uri.split('?').next().unwrap_or_default();
    KEYS.iter().any(|key| path.ends_with(key))
}

fn is_copy(seen: &Seen) -> bool {
    seen.headers.contains_key("x-amz-copy-source")
}

#[test]
fn the_store_itself_copies_tarballs_and_records_come_last() {
    let (place, dist) = staged();
    let server = Server::start(&place.buckets(), AWS);
    let run = |args: &[&str]| {
        place
            .between(&server, &[args, &["--json"]].concat())
            .env("S3_STORAGE_CLASS", "STANDARD")
            .env("S3_ENCRYPTION", "AES256")
            .run()
    };
    let dry = ends(run(&["--dry-run"]), 0);
    all_are(&dry, "published");
    assert_eq!(server.count("PUT", "") + server.count("POST", ""), 0);
    let ran = ends(run(&[]), 0);
    all_are(&ran, "published");
    for (_, it) in outcomes(&ran) {
        assert_eq!(it["by_store"], true, "{}", ran.out);
    }
    assert_eq!(production(&place), tree(dist.path()));
    let seen = server.seen();
    for key in KEYS {
        // Once for the dry run, once to verify, never to copy.
        let asked = |it: &&Seen| it.headers.get("range").map(String::as_str) == Some("bytes=0-0");
        let read = seen.iter().filter(|it| it.is("GET", key) && is_tarball(it));
        // Whether it is there is asked for a byte where a HEAD says no word.
        let read: Vec<_> = read.filter(|it| !asked(it)).collect();
        assert_eq!(read.len(), 2, "{key}");
        assert!(read.iter().all(|it| it.uri.starts_with("/staging/p/")));
        let sent = seen
            .iter()
            .filter(|it| it.is("PUT", &format!("production/q/{key}")));
        let order: Vec<_> = sent
            .map(|it| (is_copy(it), it.uri.split('?').next()))
            .collect();
        let path = |end: &str| format!("/production/q/{key}{end}");
        let paths = ENDS.map(path);
        let expected =
            [(true, 0), (false, 1), (false, 2)].map(|(copy, n)| (copy, Some(&*paths[n])));
        assert_eq!(order, expected);
    }
    for seen in seen
        .iter()
        .filter(|it| it.is("POST", "?uploads") && is_tarball(it))
    {
        let header = |name: &str| seen.headers.get(name).map(String::as_str);
        assert_eq!(header("x-amz-storage-class"), Some("STANDARD"));
        assert_eq!(header("x-amz-server-side-encryption"), Some("AES256"));
        assert_eq!(header("x-amz-checksum-algorithm"), Some("SHA256"));
        assert_eq!(
            header("content-type").map(|it| it.starts_with("application/")),
            Some(true)
        );
    }
    assert_eq!(server.uploads(), []);
    // What is there is told by its digest or read, and nothing is put.
    let puts = || server.count("PUT", "production/q") - server.count("PUT", ".pybuild-");
    let before = puts();
    all_are(&ends(run(&[]), 0), "there");
    assert_eq!(puts(), before);
    place.is_clean();
}

#[test]
fn what_is_replaced_is_described_anew() {
    let (place, dist) = staged();
    let server = Server::start(&place.buckets(), AWS);
    let path = place.buckets().join("production/q").join(PYTHON);
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    fs::write(&path, "something else").expect("written");
    let run = |args: &[&str]| place.between(&server, &[args, &["--json"]].concat()).run();
    let ran = ends(run(&[]), 4);
    assert_eq!(outcomes(&ran)[PYTHON]["outcome"], "refused");
    assert_eq!(fs::read(&path).expect("there"), b"something else");
    let ran = ends(run(&["--overwrite"]), 0);
    assert_eq!(outcomes(&ran)[PYTHON]["outcome"], "replaced");
    assert_eq!(outcomes(&ran)[PYTHON]["by_store"], true);
    assert_eq!(production(&place), tree(dist.path()));
    let seen = server.seen();
    let whole = seen.iter().find(|it| is_copy(it) && !it.uri.contains('?'));
    let header = |name: &str| whole?.headers.get(name).map(String::as_str);
    assert_eq!(header("x-amz-metadata-directive"), Some("REPLACE"));
    assert_eq!(header("x-amz-checksum-algorithm"), Some("SHA256"));
    assert!(header("x-amz-copy-source-if-match").is_some());
    assert_eq!(header("if-none-match"), None);
}

/// Staging and production differ in endpoint, account and region; they may be called the same.
#[test]
fn two_stores_have_each_their_own_settings() {
    let (place, dist) = (Place::new(), Dist::sound());
    let elsewhere = Place::new();
    fill(&dist, &elsewhere.buckets().join("staging/p"));
    let (from, to) = (
        Server::start(&elsewhere.buckets(), AWS),
        Server::start(&place.buckets(), AWS),
    );
    let config = place.at("aws");
    let text = format!(
        "[profile staging]\nregion = eu-west-3\nendpoint_url = {}\n",
        from.url()
    );
    let keys =
        "aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = canary-of-the-secret-key\n";
    fs::write(&config, text + keys).expect("written");
    let base = || {
        let run = place.promote(&["s3://staging/p", "s3://staging/p", "--json"]);
        with(run, &to).env("AWS_REGION", "us-west-1")
    };
    let by_name = base()
        .env("UPSTREAM_AWS_ENDPOINT_URL", from.url())
        .env("UPSTREAM_S3_REGION", "eu-west-3");
    let by_profile = base()
        .env("AWS_CONFIG_FILE", &config)
        .env("UPSTREAM_AWS_PROFILE", "staging");
    for run in [by_name, by_profile] {
        let ran = ends(run.run(), 0);
        all_are(&ran, "published");
        assert_eq!(outcomes(&ran)[PYTHON]["by_store"], false);
        assert_eq!(tree(&place.buckets().join("staging/p")), tree(dist.path()));
        fs::remove_dir_all(place.buckets().join("staging/p")).expect("there");
    }
    let signed = |server: &Server, region: &str| {
        let region = format!("/{region}/s3/");
        let seen = server.seen();
        let right = |it: &Seen| it.headers["authorization"].contains(&region);
        assert!(!seen.is_empty() && seen.iter().all(right), "{region}");
    };
    signed(&from, "eu-west-3");
    signed(&to, "us-west-1");
    assert_eq!(
        from.count("PUT", "") + from.count("POST", ""),
        0,
        "it is only read"
    );
    // Whose keys are whose: those for staging are not good for production, and nobody tells them.
    let wrong = base()
        .env("UPSTREAM_AWS_ENDPOINT_URL", from.url())
        .env("UPSTREAM_AWS_ACCESS_KEY_ID", "canary-id")
        .env("UPSTREAM_AWS_SECRET_ACCESS_KEY", "canary-secret");
    let ran = ends(wrong.run(), 2);
    assert!(ran.err.contains("are not accepted"), "{}", ran.err);
    place.is_clean();
}

#[test]
fn a_directory_goes_to_a_bucket_and_a_bucket_to_a_directory() {
    let (place, dist) = (Place::new(), Dist::sound());
    let server = Server::start(&place.buckets(), AWS);
    let from = dist.path().to_str().expect("ASCII");
    let there = with(
        place.promote(&[from, "s3://production/q", "--json"]),
        &server,
    );
    all_are(&ends(there.run(), 0), "published");
    assert_eq!(production(&place), tree(dist.path()));
    let back = with(
        place.promote(&["s3://production/q", "out", "--json"]),
        &server,
    );
    all_are(&ends(back.run(), 0), "published");
    assert_eq!(tree(&place.at("out")), tree(dist.path()));
    place.is_clean();
}

/// Replaces what is in staging as soon as this happens, once.
fn changing(
    path: std::path::PathBuf,
    bytes: Vec<u8>,
    when: impl Fn(&Seen) -> bool + Send + Sync + 'static,
) -> impl Fn(usize, &Seen) -> Fault + Send + Sync + 'static {
    let done = AtomicBool::new(false);
    move |_, seen| {
        if when(seen) && !done.swap(true, Ordering::SeqCst) {
            fs::write(&path, &bytes).expect("written");
        }
        Fault::None
    }
}

/// Fails unless the one that most tests spoil was not copied since it is another.
#[track_caller]
fn was_changed(ran: &Ran) {
    let found = &outcomes(ran)[PYTHON];
    let why = found["why"][0].as_str().unwrap_or_default();
    assert_eq!(found["outcome"], "failed", "{}", ran.out);
    assert!(why.contains("was changed"), "{why}");
}

#[test]
fn what_changes_between_verifying_and_copying_gets_no_record() {
    let other = made_of(&[file("other")]).bytes;
    // By parts with a condition, whole with one, and by a store that heeds none.
    let ignoring = Store {
        conditions: false,
        ..AWS
    };
    for (store, more) in [(AWS, &[][..]), (AWS, &["--overwrite"]), (ignoring, &[])] {
        let (place, dist) = staged();
        let staging = place.buckets().join("staging/p").join(PYTHON);
        let replaced = place.buckets().join("production/q").join(PYTHON);
        if !more.is_empty() {
            fs::create_dir_all(replaced.parent().expect("a parent")).expect("mkdir");
            fs::write(&replaced, "something else").expect("written");
        }
        let looks = |seen: &Seen| seen.is("HEAD", "production/q") && seen.uri.ends_with(PYTHON);
        let faults = changing(staging.clone(), other.clone(), looks);
        let server = Server::faulty(&place.buckets(), store, faults);
        let ran = place.between(&server, &[more, &["--json"]].concat()).run();
        let ran = ends(ran, 75);
        let found = outcomes(&ran);
        was_changed(&ran);
        assert_eq!(found[FLAT]["outcome"], "published");
        let there = production(&place);
        for end in &ENDS[1..] {
            assert!(!there.contains_key(&format!("{PYTHON}{end}")), "{more:?}");
        }
        assert_ne!(there.get(PYTHON), Some(&other), "{more:?}");
        // As it is now it is not sound; as it was, it is copied by the next run.
        let ran = place.between(&server, &[more, &["--json"]].concat()).run();
        assert_eq!(outcomes(&ends(ran, 4))[PYTHON]["outcome"], "unsound");
        fs::write(&staging, dist.get(PYTHON)).expect("written");
        ends(place.between(&server, more).run(), 0);
        assert_eq!(production(&place), tree(dist.path()));
        assert_eq!(server.uploads(), []);
        place.is_clean();
    }
}

#[test]
fn a_file_that_changes_under_way_is_not_put() {
    let (place, dist) = (Place::new(), Dist::sound());
    let mut same_size = dist.get(PYTHON);
    same_size[12] ^= 1;
    for other in [same_size, b"short".to_vec()] {
        let looks = |seen: &Seen| seen.is("HEAD", "production/q") && seen.uri.ends_with(PYTHON);
        let faults = changing(dist.at(PYTHON), other, looks);
        let server = Server::faulty(&place.buckets(), AWS, faults);
        let from = dist.path().to_str().expect("ASCII");
        let run = place.promote(&[from, "s3://production/q", "--json"]);
        let ran = ends(with(run, &server).run(), 75);
        was_changed(&ran);
        assert!(!production(&place).keys().any(|key| key.starts_with(PYTHON)));
        fill(&Dist::sound(), dist.path());
    }
}

/// A store that heeds conditions on what is put but not on what is copied tells by its digest.
#[test]
fn a_part_that_is_another_is_not_completed() {
    let (place, _) = staged();
    let server = Server::faulty(&place.buckets(), AWS, |_, seen| {
        if !is_copy(seen) || !seen.uri.contains(PYTHON) {
            return Fault::None;
        }
        let digest = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        let text = format!(
            "<CopyPartResult><ETag>\"0\"</ETag><ChecksumSHA256>{digest}</ChecksumSHA256>\
             </CopyPartResult>"
        );
        Fault::Answer(200, Vec::new(), text)
    });
    let ran = ends(place.between(&server, &["--json"]).run(), 75);
    was_changed(&ran);
    assert_eq!(server.uploads(), []);
    let completed = server.seen();
    let completed = completed.iter().filter(|it| it.is("POST", "uploadId="));
    assert_eq!(completed.filter(|it| it.uri.contains(PYTHON)).count(), 0);
}

#[test]
fn what_is_verified_is_the_very_object_that_was_looked_at() {
    // The store heeds the condition, or says with the answer that it is another.
    let other = made_of(&[file("other")]).bytes;
    for heeds in [true, false] {
        let (place, dist) = staged();
        let staging = place.buckets().join("staging/p").join(PYTHON);
        let reads = |seen: &Seen| seen.is("GET", "staging/p") && seen.uri.ends_with(PYTHON);
        let change = changing(staging.clone(), other.clone(), reads);
        let server = Server::faulty(&place.buckets(), AWS, move |n, seen| {
            if heeds {
                return change(n, seen);
            }
            let etag = vec![("etag", "\"another\"".to_owned())];
            if reads(seen) {
                Fault::Answer(200, etag, "other".to_owned())
            } else {
                Fault::None
            }
        });
        let ran = ends(place.between(&server, &["--json"]).run(), 75);
        was_changed(&ran);
        assert_eq!(production(&place).len(), 6, "{heeds}");
        let seen = server.seen();
        let asked = seen.iter().filter(|it| reads(it));
        for seen in asked {
            assert!(seen.headers.contains_key("if-match"), "{seen:?}");
        }
        fs::write(&staging, dist.get(PYTHON)).expect("written");
    }
}

/// Who may read the one need not be who may write to the other.
#[test]
fn two_accounts_of_one_store_are_read_and_written() {
    let (place, dist) = staged();
    let server = Server::start(&place.buckets(), AWS);
    let run = place.between(&server, &["--json"]);
    let run = run
        .env("UPSTREAM_AWS_ACCESS_KEY_ID", KEY)
        .env("UPSTREAM_AWS_SECRET_ACCESS_KEY", SECRET)
        .env("UPSTREAM_AWS_SESSION_TOKEN", "canary-token");
    let ran = ends(run.run(), 0);
    all_are(&ran, "published");
    assert_eq!(outcomes(&ran)[PYTHON]["by_store"], false);
    assert_eq!(production(&place), tree(dist.path()));
}

#[test]
fn a_store_that_cannot_copy_is_read_and_written() {
    let (place, dist) = staged();
    for (status, code) in [(501, "NotImplemented"), (403, "AccessDenied")] {
        let server = Server::faulty(&place.buckets(), AWS, move |_, seen| {
            if is_copy(seen) {
                refusal(status, code)
            } else {
                Fault::None
            }
        });
        let ran = ends(place.between(&server, &["--json"]).run(), 0);
        all_are(&ran, "published");
        assert_eq!(outcomes(&ran)[PYTHON]["by_store"], false);
        assert_eq!(production(&place), tree(dist.path()));
        assert_eq!(server.uploads(), []);
        fs::remove_dir_all(place.buckets().join("production/q")).expect("there");
    }
    place.is_clean();
}

#[test]
fn a_store_that_heeds_no_conditions_is_told_and_looked_at_first() {
    let (place, dist) = staged();
    let store = Store {
        conditions: false,
        ..AWS
    };
    let path = place.buckets().join("production/q").join(PYTHON);
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    fs::write(&path, "something else").expect("written");
    let server = Server::start(&place.buckets(), store);
    let ran = ends(place.between(&server, &["--json"]).run(), 4);
    let said = "s3://production/q/ does not heed conditions on uploads";
    assert!(ran.err.contains(said), "{}", ran.err);
    assert_eq!(outcomes(&ran)[PYTHON]["outcome"], "refused");
    assert_eq!(outcomes(&ran)[SQLITE]["outcome"], "published");
    assert_eq!(fs::read(&path).expect("there"), b"something else");
    fs::remove_file(&path).expect("there");
    ends(place.between(&server, &[]).run(), 0);
    assert_eq!(production(&place), tree(dist.path()));
}

#[test]
fn what_somebody_else_puts_meanwhile_stays() {
    let (place, dist) = staged();
    let path = place.buckets().join("production/q").join(PYTHON);
    let completes = |seen: &Seen| seen.is("POST", "uploadId=") && seen.uri.contains(PYTHON);
    let theirs = dist.get(SQLITE);
    let server = Server::faulty(&place.buckets(), AWS, {
        let path = path.clone();
        let put = changing(path.clone(), theirs.clone(), completes);
        move |n, seen| {
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            put(n, seen)
        }
    });
    let ran = ends(place.between(&server, &["--json"]).run(), 4);
    assert_eq!(outcomes(&ran)[PYTHON]["outcome"], "refused", "{}", ran.out);
    assert_eq!(outcomes(&ran)[FLAT]["outcome"], "published");
    assert_eq!(fs::read(&path).expect("there"), theirs);
    assert!(!production(&place).contains_key(&format!("{PYTHON}.json")));
    assert_eq!(server.uploads(), []);
}

#[test]
fn answers_that_are_lost_are_asked_for_again() {
    let (place, dist) = staged();
    let lost = AtomicUsize::new(0);
    let server = Server::faulty(&place.buckets(), AWS, move |_, seen| {
        let puts = seen.method == "PUT" || seen.method == "POST";
        // Every third of them is done, but nobody is told.
        if puts && lost.fetch_add(1, Ordering::SeqCst) % 3 == 2 {
            Fault::Lost
        } else {
            Fault::None
        }
    });
    ends(place.between(&server, &[]).run(), 0);
    assert_eq!(production(&place), tree(dist.path()));
}

#[test]
fn one_that_fails_does_not_stop_the_others() {
    let (place, _) = staged();
    let server = Server::faulty(&place.buckets(), AWS, |_, seen| {
        if is_copy(seen) && seen.uri.contains(PYTHON) {
            refusal(400, "InvalidArgument")
        } else {
            Fault::None
        }
    });
    let ran = ends(place.between(&server, &["--json"]).run(), 75);
    let found = outcomes(&ran);
    assert_eq!(found[PYTHON]["outcome"], "failed", "{}", ran.out);
    assert_eq!(found[SQLITE]["outcome"], "published");
    assert_eq!(production(&place).len(), 6);
    assert_eq!(server.uploads(), []);
}

#[test]
fn credentials_and_buckets_are_tried_before_anything_is_read() {
    let (place, _) = staged();
    let server = Server::start(&place.buckets(), AWS);
    let run = with(
        place.promote(&["s3://staging/p", "s3://nowhere/q"]),
        &server,
    );
    run.run()
        .fails(2, &["there is no bucket `nowhere`", "hint: "]);
    let run = place.between(&server, &[]);
    let run = run.env("AWS_SECRET_ACCESS_KEY", "another-canary").run();
    let ran = run.fails(2, &["are not accepted", "hint: "]);
    assert!(!ran.err.contains("canary"), "{}", ran.err);
    assert_eq!(server.count("GET", "staging"), 0);
}
