//! From a directory or the web to a directory.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::geteuid;

use crate::kit::{Dist, FLAT, PYTHON, SQLITE, file, made_of};
use crate::place::{ENDS, KEYS, Place, all_are, ends, fill, outcomes, tree};
use crate::web;

fn text(path: &std::path::Path) -> String {
    path.to_str().expect("ASCII").to_owned()
}

#[test]
fn what_is_sound_is_copied_and_what_is_not_is_told() {
    let (place, dist) = (Place::new(), Dist::sound());
    let mut bytes = dist.get(SQLITE);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    dist.put(SQLITE, &bytes);
    let from = text(dist.path());
    let run = |args: &[&str]| place.promote(&[&[from.as_str(), "out"], args].concat());
    let ran = ends(run(&[]).run(), 4);
    assert!(
        ran.out
            .contains(&format!("{SQLITE}: not sound\n  digest: ")),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("2 published, 1 not sound, from "),
        "{}",
        ran.out
    );
    let mut sound = tree(dist.path());
    sound.retain(|key, _| !key.starts_with(SQLITE));
    assert_eq!(tree(&place.at("out")), sound);
    for key in sound.keys() {
        let found = fs::metadata(place.at("out").join(key)).expect("there");
        assert_eq!(found.mode() & 0o777, 0o644, "{key}");
        assert_eq!(found.uid(), geteuid().as_raw(), "{key}");
    }
    // Mended, the same command does the rest, and then nothing.
    fill(&Dist::sound(), dist.path());
    let ran = ends(run(&["--json"]).run(), 0);
    let found = outcomes(&ran);
    assert_eq!(found[SQLITE]["outcome"], "published");
    assert_eq!(found[SQLITE]["by_store"], false);
    assert_eq!(found[PYTHON]["outcome"], "there");
    assert_eq!(tree(&place.at("out")), tree(dist.path()));
    all_are(&ends(run(&["--json"]).run(), 0), "there");
    place.is_clean();
}

#[test]
fn what_is_wrong_beside_archives_is_told_and_they_are_copied() {
    let (place, dist) = (Place::new(), Dist::sound());
    dist.put("notes.txt", b"");
    let from = text(dist.path());
    let ran = ends(place.promote(&[from.as_str(), "out", "--json"]).run(), 4);
    all_are(&ran, "published");
    assert!(ran.out.contains("notes.txt"), "{}", ran.out);
    assert!(!place.at("out/notes.txt").exists());
}

#[test]
fn only_what_is_selected_is_copied() {
    let (place, dist) = (Place::new(), Dist::sound());
    let from = text(dist.path());
    let run = |args: &[&str]| place.promote(&[&[from.as_str(), "out"], args].concat());
    ends(run(&["debian-12", "python-3.11.*"]).run(), 0);
    let keys: Vec<String> = tree(&place.at("out")).into_keys().collect();
    assert_eq!(
        keys,
        ["", ".json", ".sha256"].map(|end| format!("{PYTHON}{end}"))
    );
    let ran = ends(run(&["debian-12", "python-2.7.18"]).run(), 4);
    assert!(
        ran.out
            .contains("debian-12/python-2.7.18: nothing there is called so"),
        "{}",
        ran.out
    );
}

/// What is there in one place, and what becomes of it carefully and boldly.
#[test]
fn what_is_there_is_completed_left_or_refused() {
    let (place, dist) = (Place::new(), Dist::sound());
    let (from, out) = (text(dist.path()), place.at("out"));
    let run = |args: &[&str]| place.promote(&[&[from.as_str(), "out", "--json"], args].concat());
    let whole = tree(dist.path());
    for missing in [&ENDS[2..], &ENDS[1..], &ENDS[..1], &ENDS[..]] {
        ends(run(&[]).run(), 0);
        for end in missing {
            fs::remove_file(out.join(format!("{PYTHON}{end}"))).expect("there");
        }
        let found = outcomes(&ends(run(&[]).run(), 0));
        let outcome = if missing.len() == 3 {
            "published"
        } else {
            "completed"
        };
        assert_eq!(found[PYTHON]["outcome"], outcome, "{missing:?}");
        assert_eq!(found[FLAT]["outcome"], "there");
        assert_eq!(tree(&out), whole);
    }
    let other = made_of(&[file("other")]).bytes;
    let mut same_size = dist.get(PYTHON);
    same_size[12] ^= 1;
    let line = dist.get(&format!("{PYTHON}.sha256"));
    let line = [&[if line[0] == b'0' { b'1' } else { b'0' }], &line[1..]].concat();
    let record = dist.get(&format!("{FLAT}.json"));
    for (end, bytes) in [
        ("", &other[..]),
        ("", &same_size),
        (".sha256", b"0123"),
        (".sha256", &line),
        (".json", b"{}"),
        (".json", &record),
    ] {
        let path = out.join(format!("{PYTHON}{end}"));
        fs::write(&path, bytes).expect("written");
        for more in [&[][..], &["--dry-run"]] {
            let ran = ends(run(more).run(), 4);
            assert_eq!(outcomes(&ran)[PYTHON]["outcome"], "refused", "{end:?}");
            assert_eq!(fs::read(&path).expect("there"), bytes);
        }
        let ran = ends(place.promote(&[from.as_str(), "out"]).run(), 4);
        assert!(
            ran.out.contains("hint: --overwrite replaces"),
            "{}",
            ran.out
        );
        let ran = ends(run(&["--overwrite"]).run(), 0);
        assert_eq!(outcomes(&ran)[PYTHON]["outcome"], "replaced", "{end:?}");
        assert_eq!(tree(&out), whole);
    }
    // A record of the same tarball that another pybuild wrote stays.
    let mut record = dist.record_of(PYTHON);
    "2".clone_into(&mut record.pybuild.version);
    let path = out.join(format!("{PYTHON}.json"));
    fs::write(&path, record.to_json()).expect("written");
    all_are(&ends(run(&[]).run(), 0), "there");
    assert_eq!(
        fs::read(&path).expect("there"),
        record.to_json().into_bytes()
    );
    ends(run(&["--overwrite"]).run(), 0);
    assert_eq!(tree(&out), whole);
    place.is_clean();
}

#[test]
fn a_dry_run_verifies_and_writes_nothing() {
    let (place, dist) = (Place::new(), Dist::sound());
    dist.remove(&format!("{FLAT}.json"));
    let from = text(dist.path());
    let run = || place.promote(&[from.as_str(), "out", "--dry-run"]);
    let ran = ends(run().run(), 4);
    assert!(
        ran.out.contains("2 would be published, 1 not sound"),
        "{}",
        ran.out
    );
    assert!(!place.at("out").exists());
    fs::create_dir(place.at("out")).expect("mkdir");
    ends(run().run(), 4);
    assert_eq!(tree(&place.at("out")).len(), 0);
}

#[test]
fn what_is_asked_wrongly_is_said_before_anything_is_read() {
    let (place, dist) = (Place::new(), Dist::sound());
    let from = text(dist.path());
    std::os::unix::fs::symlink(dist.path(), place.at("link")).expect("a link");
    let below = format!("{from}/debian-12");
    let is_one = "are one place, or one is inside the other";
    for (from, to, more, said) in [
        (from.as_str(), from.as_str(), &[][..], is_one),
        (&from, "link", &[], is_one),
        (&from, &below, &[], is_one),
        ("link/debian-12", &from, &[], is_one),
        ("s3://abc/a", "s3://abc/a/b", &[], is_one),
        (&from, "https://example.org/", &[], "can only be read"),
        (
            "ftp://example.org/",
            "out",
            &[],
            "FROM: targets cannot begin with",
        ),
        (&from, "s3://A", &[], "TO: `A` is not the name of a bucket"),
        (&from, "out", &["debian-12", "a/*"], "is not a pattern"),
        (&from, "out", &["--lock", "nowhere"], "hint: "),
        (&from, "out", &["--env-file", "nowhere"], ""),
    ] {
        let ran = place.promote(&[&[from, to], more].concat()).run();
        if said.is_empty() {
            // Two directories take no credentials.
            ends(ran, 0);
            fs::remove_dir_all(place.at("out")).expect("there");
            continue;
        }
        let ran = ran.fails(2, &[said]);
        assert!(!ran.err.contains("examin"), "{}", ran.err);
    }
    assert!(!place.at("out").exists());
}

#[test]
fn whether_it_can_be_written_to_is_known_before_anything_is_read() {
    let (place, dist) = (Place::new(), Dist::sound());
    fs::write(place.at("out"), "a file").expect("written");
    let from = text(dist.path());
    let ran = place.promote(&[from.as_str(), "out"]).run();
    let ran = ran.fails(75, &["out", "hint: "]);
    assert!(!ran.err.contains("examin"), "{}", ran.err);
}

/// As root, both are nobody else's.
#[test]
fn ones_own_directories_need_not_be_others_to_use() {
    let (place, dist) = (Place::new(), Dist::sound());
    fs::create_dir(place.at("out")).expect("mkdir");
    for dir in [dist.path(), &place.at("out")] {
        fs::set_permissions(dir, Permissions::from_mode(0o700)).expect("chmod");
    }
    let from = text(dist.path());
    let run = || place.promote(&[from.as_str(), "out", "--json"]).run();
    all_are(&ends(run(), 0), "published");
    assert_eq!(tree(&place.at("out")), tree(dist.path()));
    all_are(&ends(run(), 0), "there");
    place.is_clean();
}

#[test]
fn an_archive_without_papers_is_not_promoted_whatever_a_lock_says() {
    let (place, dist) = (Place::new(), Dist::sound());
    let mut lock = "# pybuild checksums.lock 1\n# target: elsewhere\n".to_owned();
    for key in KEYS {
        let digest = dist.record_of(key).artifact.sha256;
        lock.extend([&*digest.to_string(), "  ", key, "\n"]);
    }
    fs::write(place.at("lock"), format!("{lock}# end\n")).expect("written");
    for end in [".json", ".sha256"] {
        dist.remove(&format!("{PYTHON}{end}"));
    }
    dist.remove(&format!("{FLAT}.json"));
    let from = text(dist.path());
    let ran = ends(
        place
            .promote(&[from.as_str(), "out", "--json", "--lock", "lock"])
            .run(),
        4,
    );
    let found = outcomes(&ran);
    for (key, outcome) in [
        (PYTHON, "unsound"),
        (FLAT, "unsound"),
        (SQLITE, "published"),
    ] {
        assert_eq!(found[key]["outcome"], outcome, "{}", ran.out);
    }
    assert_eq!(tree(&place.at("out")).len(), 3);
}

#[test]
fn the_web_is_copied_by_a_list_and_only_as_it_was_verified() {
    let (place, dist) = (Place::new(), Dist::sound());
    let lines = KEYS.map(|key| format!("{key}\n")).concat();
    fs::write(place.at("list"), lines).expect("written");
    // Read a second time, once all are verified and others copied, this one is another.
    let (done, python) = (
        Arc::new(AtomicBool::new(false)),
        place.at("out").join(PYTHON),
    );
    let other = made_of(&[file("other")]).bytes;
    let page = web::Server::start({
        let (root, done) = (dist.path().to_owned(), Arc::clone(&done));
        move |_, request| {
            let key = request.path.trim_start_matches('/');
            let copied = || python.exists() && !done.swap(true, Ordering::SeqCst);
            match fs::read(root.join(key)) {
                Ok(_) if key == FLAT && copied() => web::Reply::ok(&other),
                Ok(bytes) => web::Reply::ok(&bytes),
                Err(_) => web::Reply::status(404),
            }
        }
    });
    let url = page.url("/");
    let ways = ["hint: ", "pybuild index", "--list FILE", "--lock FILE"];
    place.promote(&[url.as_str(), "out"]).run().fails(2, &ways);
    assert!(!place.at("out").exists());
    let run = || {
        place
            .promote(&[url.as_str(), "out", "--list", "list", "--json", "-j", "1"])
            .run()
    };
    let ran = ends(run(), 75);
    let found = outcomes(&ran);
    assert_eq!(found[FLAT]["outcome"], "failed", "{}", ran.out);
    assert!(
        found[FLAT]["why"][0]
            .as_str()
            .is_some_and(|why| why.contains("was changed"))
    );
    assert!(
        ran.err.contains("1 of 3 archives are not copied"),
        "{}",
        ran.err
    );
    assert_eq!(tree(&place.at("out")).len(), 6);
    assert_eq!(outcomes(&ends(run(), 0))[FLAT]["outcome"], "published");
    assert_eq!(tree(&place.at("out")), tree(dist.path()));
    // Its own index is as good a list, and is not copied.
    let all = tree(dist.path());
    dist.index();
    fs::remove_dir_all(place.at("out")).expect("there");
    done.store(true, Ordering::SeqCst);
    ends(place.promote(&[url.as_str(), "out"]).run(), 0);
    assert_eq!(tree(&place.at("out")), all);
    place.is_clean();
}
