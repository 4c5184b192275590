//! `pybuild index`, and `verify` by what it wrote: a directory, a bucket, the web; what is left
//! out, what an enemy has written, and a kill in between.

mod bucket;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::SystemTime;

use pybuild::model::Sha256;
use pybuild::publish::Index;
use serde_json::Value;

use crate::kit::{Dist, FLAT, PYTHON, SQLITE};
use crate::program::{Place, Ran};
use crate::web;

fn index(place: &Place, dist: &Dist, args: &[&str]) -> Ran {
    let target = dist.path().to_str().expect("ASCII");
    place.run(&[&["index", "--target", target], args].concat(), &[])
}

fn read(dist: &Dist) -> Index {
    Index::parse(&dist.get("index.json")).expect("an index")
}

fn keys(index: &Index) -> Vec<&str> {
    index
        .archives()
        .iter()
        .map(|one| one.key.as_str())
        .collect()
}

/// What is there, to the last detail.
fn state(path: &Path) -> Vec<(String, u64, SystemTime)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).expect("a directory") {
        let path = entry.expect("its entry").path();
        let found = fs::metadata(&path).expect("there");
        if found.is_dir() {
            all.extend(state(&path));
        } else {
            let modified = found.modified().expect("a time");
            all.push((path.display().to_string(), found.ino(), modified));
        }
    }
    all.sort();
    all
}

#[test]
fn a_directory_is_indexed_once_and_again_only_if_it_has_changed() {
    let place = Place::new();
    let dist = Dist::sound();
    // One's own: as root, nobody else's to read or to write to.
    fs::set_permissions(dist.path(), Permissions::from_mode(0o700)).expect("chmod");
    let before = state(dist.path());
    let dry = index(&place, &dist, &["--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.err);
    dry.says("would be listed");
    assert_eq!(state(dist.path()), before);
    let ran = index(&place, &dist, &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.says("3 archives for 1 stack (");
    ran.says("index.html and index.json written\n");
    let (json, html) = (dist.get("index.json"), dist.get("index.html"));
    assert_eq!(keys(&read(&dist)), [SQLITE, PYTHON, FLAT]);
    for entry in read(&dist).archives() {
        let bytes = dist.get(&entry.key);
        assert_eq!(
            (entry.size, entry.sha256),
            (bytes.len() as u64, Sha256::of(&bytes))
        );
        let modified = fs::metadata(dist.at(&entry.key)).expect("there").mtime();
        assert_eq!(entry.date, pybuild::publish::Date::of(modified));
    }
    let page = String::from_utf8(html.clone()).expect("UTF-8");
    for key in [PYTHON, SQLITE, FLAT] {
        for suffix in ["", ".sha256", ".json"] {
            assert!(
                page.contains(&format!("href=\"{key}{suffix}\"")),
                "{key}{suffix}"
            );
        }
    }
    for name in ["index.json", "index.html"] {
        let found = fs::metadata(dist.at(name)).expect("there");
        assert_eq!(found.uid(), nix::unistd::geteuid().as_raw(), "{name}");
        assert_eq!(found.mode() & 0o777, 0o644, "{name}");
    }
    let before = state(dist.path());
    for more in [&[][..], &["--dry-run"], &["--json"]] {
        let again = index(&place, &dist, more);
        assert_eq!(again.code, 0, "{}", again.err);
        if more == ["--json"] {
            let said: Value = serde_json::from_str(&again.out).expect("JSON");
            assert_eq!(said["index.json"], "unchanged");
            assert_eq!(said["archives"], 3);
        } else {
            again.says("already: nothing to do\n");
        }
        assert_eq!(state(dist.path()), before);
    }
    // Elsewhere the same archives have the same index, but for their dates.
    let text = format!("{}{page}", String::from_utf8(json).expect("UTF-8"));
    let host = dist.path().to_str().expect("ASCII");
    assert!(!text.contains(host), "{text}");
    dist.add("debian-12/runtimes/python-3.13.5.tar.gz", "python-3.13.5");
    let dry = index(&place, &dist, &["--dry-run"]);
    dry.says("would be listed");
    let ran = index(&place, &dist, &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.says("index.html and index.json written\n");
    assert_eq!(read(&dist).archives().len(), 4);
}

#[test]
fn what_is_not_sound_is_left_out_and_told() {
    let place = Place::new();
    let dist = Dist::sound();
    let spoilt = |version: &str| {
        let key = format!("debian-12/runtimes/python-{version}.tar.gz");
        dist.add(&key, &format!("python-{version}"));
        key
    };
    let mut told = Vec::new();
    let mut spoil = |version: &str, said: &str, spoil: &dyn Fn(&str)| {
        let key = spoilt(version);
        spoil(&key);
        told.push(format!("{key} is not listed: {said}"));
    };
    spoil("1.0", "its tarball is missing", &|key| dist.remove(key));
    spoil("1.1", "its .sha256 is missing", &|key| {
        dist.remove(&format!("{key}.sha256"));
    });
    spoil("1.2", "its .sha256 and its record are missing", &|key| {
        dist.remove(&format!("{key}.sha256"));
        dist.remove(&format!("{key}.json"));
    });
    spoil("1.3", "its record is not one: ", &|key| {
        dist.put(&format!("{key}.json"), b"{\"schema\": 1}");
    });
    spoil("1.4", "its .sha256 is not one: ", &|key| {
        dist.put(&format!("{key}.sha256"), b"x\n");
    });
    spoil("1.5", "its .sha256 says ", &|key| {
        let line = format!("{}  python-1.5.tar.gz\n", Sha256::of(b"other"));
        dist.put(&format!("{key}.sha256"), line.as_bytes());
    });
    spoil("1.6", "it has ", &|key| dist.put(key, b"cut short"));
    spoil("1.7", "its record is of `python-9.tar.gz`", &|key| {
        dist.amend(key, |record| {
            record.artifact.file = "python-9.tar.gz".to_owned();
        });
    });
    spoil(
        "1.8",
        "its record is of what belongs at `debian-12/runtimes/python-9.0.tar.gz`",
        &|key| {
            dist.amend(key, |record| {
                record.product.version = "9.0".parse().ok();
            });
        },
    );
    spoil(
        "1.9",
        "what lies beside it has more than 4194304 bytes",
        &|key| {
            dist.put(&format!("{key}.json"), &vec![b' '; (4 << 20) + 1]);
        },
    );
    spoil("1.10", "what its record says of it would take ", &|key| {
        dist.amend(key, |record| {
            record.making.modules = vec!["m".repeat(300 << 10)];
        });
    });
    let ran = index(&place, &dist, &[]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    for told in &told {
        assert!(ran.err.contains(told), "{told}: {}", ran.err);
    }
    ran.says(&format!(
        "\n{} archives not listed, since not sound: `pybuild verify` says more\n",
        told.len()
    ));
    assert_eq!(keys(&read(&dist)), [SQLITE, PYTHON, FLAT], "the rest is");
    let ran = index(&place, &dist, &["--json"]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    let said: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(said["unlisted"].as_array().map(Vec::len), Some(told.len()));
    assert_eq!(said["archives"], 3);
}

#[test]
fn where_nothing_is_no_index_is_made() {
    let place = Place::new();
    let dist = Dist::empty();
    dist.put("notes", b"");
    let ran = index(&place, &dist, &[]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    assert!(
        ran.err.contains("holds no archives to index"),
        "{}",
        ran.err
    );
    assert!(!dist.at("index.json").exists());
    // An index of what has been removed is not left to lie.
    let dist = Dist::sound();
    index(&place, &dist, &[]);
    for key in [PYTHON, SQLITE, FLAT] {
        for suffix in ["", ".sha256", ".json"] {
            dist.remove(&format!("{key}{suffix}"));
        }
    }
    let ran = index(&place, &dist, &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.says("0 archives for 0 stacks");
    assert_eq!(keys(&read(&dist)), [""; 0]);
}

#[test]
fn a_place_on_the_web_is_refused_before_it_is_asked() {
    let place = Place::new();
    let server = web::Server::start(|_, _| web::Reply::status(404));
    for more in [&[][..], &["--dry-run"]] {
        let ran = place.run(
            &[&["index", "--target", &server.url("/")], more].concat(),
            &[],
        );
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
        assert!(ran.err.contains("can only be read"), "{}", ran.err);
        assert!(ran.err.contains("hint: publish to s3://"), "{}", ran.err);
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn what_an_enemy_has_written_is_only_text() {
    let place = Place::new();
    let dist = Dist::sound();
    let evil = "\"'><script>alert(1)</script>&\u{202e}";
    dist.amend(PYTHON, |record| {
        let evil = || evil.to_owned();
        let sha256 = Sha256::of(b"");
        let file = |path| pybuild::artifact::record::FileRecord { path, sha256 };
        record.product.profile = evil();
        record.making.source.flavour = evil();
        record.making.source.file = evil().replace('/', "");
        record.making.source.url = Some(format!("https://example.org/{evil}", evil = evil()));
        record.making.patches = vec![file(evil())];
        record.making.files = vec![file(evil())];
        record.making.modules = vec![evil()];
        record.needs.libraries = [evil()].into();
        record.pybuild.version = evil();
    });
    dist.amend(SQLITE, |record| {
        record.making.source.url = Some("javascript:alert(1)".to_owned());
    });
    // A key may be anything too.
    let key = format!("debian-12/\"><script>{}.tar.gz", "x' onclick='y");
    for suffix in ["", ".sha256", ".json"] {
        dist.rename(&format!("{FLAT}{suffix}"), &format!("{key}{suffix}"));
    }
    let mut record = dist.record_of(&key);
    record.artifact.file = key.rsplit('/').next().expect("a name").to_owned();
    dist.put_sidecars(&key, &record);
    let ran = index(&place, &dist, &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(keys(&read(&dist)).contains(&key.as_str()));
    let html = String::from_utf8(dist.get("index.html")).expect("UTF-8");
    for wrong in ["<script", "javascript:", "\u{202e}", "onclick='"] {
        assert!(!html.contains(wrong), "{wrong}: {html}");
    }
    assert!(
        html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;"),
        "{html}"
    );
    assert!(
        html.contains("href=\"debian-12/%22%3E%3Cscript%3Ex%27%20onclick%3D%27y.tar.gz\""),
        "{html}"
    );
}

/// A web server that shows a target, and whatever path it cannot show as this status.
fn site(dist: &Dist, missing: u16) -> web::Server {
    let root = dist.path().to_owned();
    web::Server::start(move |_, request| {
        let path = request.path.trim_start_matches('/');
        match fs::read(root.join(path)) {
            Ok(bytes) => web::Reply::ok(&bytes),
            Err(_) => web::Reply::status(missing),
        }
    })
}

#[test]
fn the_web_is_verified_by_its_index() {
    let place = Place::new();
    let dist = Dist::sound();
    let no_proxy = [("NO_PROXY", "127.0.0.1")];
    let verify = |server: &web::Server, args: &[&str]| {
        let url = server.url("/");
        place.run(&[&["verify", "--target", &url], args].concat(), &no_proxy)
    };
    // Nothing says what should be there; a bucket on the web denies what is not there.
    for missing in [404, 403] {
        let ran = verify(&site(&dist, missing), &[]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
        for way in ["`pybuild index`", "--list FILE", "--lock FILE"] {
            assert!(ran.err.contains(way), "{way}: {}", ran.err);
        }
    }
    index(&place, &dist, &[]);
    let server = site(&dist, 404);
    let ran = verify(&server, &[]);
    ran.ends(0, "all 3 archives are sound");
    ran.says("\n  index        3  ");
    let ran = verify(&server, &["debian-12", "sqlite"]);
    ran.ends(0, "the 1 archive is sound");
    // Another size, another digest, gone.
    let mut bytes = dist.get(PYTHON);
    bytes.push(0);
    dist.put(PYTHON, &bytes);
    dist.forge(SQLITE, &crate::kit::tarball(pybuild::archive::Codec::Xz));
    for suffix in ["", ".sha256", ".json"] {
        dist.remove(&format!("{FLAT}{suffix}"));
    }
    let ran = verify(&server, &["--quick"]);
    ran.ends(4, "2 of 3 archives are wrong");
    let ran = verify(&server, &[]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    ran.says("index.json says ");
    ran.says("it is not there, though named by index.json");
    // A list says it in the index's stead.
    fs::write(place.path().join("list"), format!("{SQLITE}\n")).expect("written");
    let ran = verify(&server, &["--list", "list"]);
    ran.ends(0, "the 1 archive is sound");
    dist.put("index.json", b"<!doctype html>");
    let ran = verify(&server, &[]);
    let url = server.url("/");
    ran.ends(
        4,
        &format!("nothing was verified: the index of {url} cannot be used"),
    );
    ran.says("\nindex.json\n  index  it is not an index: expected value");
    let gone = format!("http://127.0.0.1:{}/", web::closed_port());
    let ran = place.run(&["verify", "--target", &gone], &no_proxy);
    assert_eq!((ran.code, ran.out.as_str()), (75, ""), "{}", ran.err);
}

#[test]
fn an_index_is_one_more_witness_where_a_target_can_be_listed() {
    let place = Place::new();
    let dist = Dist::sound();
    index(&place, &dist, &[]);
    place.verify(&dist, &[]).ends(0, "all 3 archives are sound");
    dist.add("debian-12/runtimes/python-3.13.5.tar.gz", "python-3.13.5");
    let ran = place.verify(&dist, &[]);
    ran.ends(0, "all 4 archives are sound");
    let said = "1 archive is newer than the index: run `pybuild index`";
    assert!(ran.err.contains(said), "{}", ran.err);
    let json = place.verify(&dist, &["--json"]);
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    let newer = serde_json::json!(["debian-12/runtimes/python-3.13.5.tar.gz"]);
    assert_eq!(json["newer_than_index"], newer);
    for suffix in ["", ".sha256", ".json"] {
        dist.remove(&format!("{FLAT}{suffix}"));
    }
    let ran = place.verify(&dist, &[]);
    ran.ends(4, "1 of 4 archives is wrong");
    ran.says("it is not there, though named by index.json");
    index(&place, &dist, &[]);
    place.verify(&dist, &[]).ends(0, "all 3 archives are sound");
}
