//! What an index says, what is not one, and that the same archives give the same bytes.

use super::*;

/// A record with something in every field that an index takes.
pub(super) fn record() -> Record {
    let digest = |text: &str| Sha256::of(text.as_bytes()).to_string();
    let image = |name: &str| {
        serde_json::json!({
            "digest": digest(name),
            "packages": [{ "name": "libc6", "version": "2.36-9", "arch": "amd64" }],
        })
    };
    let record = serde_json::json!({
        "schema": 1,
        "name": "python",
        "version": "3.11.2",
        "kind": "runtime",
        "stack": "debian-12",
        "arch": "amd64",
        "profile": "plain",
        "prefix": "/app/.heroku/python",
        "build_id": digest("build"),
        "artifact": {
            "file": "python-3.11.2.tar.gz",
            "sha256": digest("tarball"),
            "size": 7,
            "unpacked_size": 21,
            "entries": 3,
        },
        "source": {
            "flavour": "tgz",
            "file": "Python-3.11.2.tgz",
            "sha256": digest("source"),
            "url": "https://www.python.org/ftp/python/3.11.2/Python-3.11.2.tgz",
        },
        "patches": [{ "path": "python/3.11/x.patch", "sha256": digest("patch") }],
        "files": [{ "path": "check.py", "sha256": digest("file") }],
        "dependencies": [{
            "reference": "sqlite-3.46.1",
            "build_id": digest("sqlite"),
            "sha256": digest("sqlite tarball"),
        }],
        "build_image": image("build image"),
        "run_image": image("run image"),
        "steps": [],
        "env": {},
        "network": false,
        "modules": ["ssl", "zlib"],
        "glibc_floor": "2.34",
        "libraries": ["libc.so.6"],
        "source_date_epoch": 1_675_728_000,
        "pybuild": { "version": "0.1.0", "build_revision": 1 },
    });
    Record::parse(&record.to_string()).expect("a record")
}

fn entry(key: &str, record: Record) -> Entry {
    let tarball = Object {
        key: key.to_owned(),
        size: 7,
        modified: 1_700_000_000,
    };
    Entry::of(&tarball, record)
}

fn index() -> Index {
    Index::new(vec![
        entry("mine.tar.gz", record()),
        entry("debian-12/runtimes/python-3.11.2.tar.gz", record()),
    ])
}

#[test]
fn the_file_is_stable() {
    insta::assert_snapshot!(
        Index::new(vec![entry(
            "debian-12/runtimes/python-3.11.2.tar.gz",
            record()
        )])
        .to_json()
    );
}

#[test]
fn what_is_written_is_read_and_is_the_same_in_any_order() {
    let text = index().to_json();
    let read = Index::parse(text.as_bytes()).expect("our own index");
    assert_eq!(read, index());
    assert_eq!(read.to_json(), text);
    assert!(text.ends_with("}\n"));
    let mut archives = index().archives;
    archives.reverse();
    assert_eq!(Index::new(archives).to_json(), text);
    let layouts: Vec<_> = index().archives.iter().map(|one| one.layout).collect();
    assert_eq!(layouts, [Some(Layout::Tree), None]);
    assert_eq!(
        Index::parse(Index::new(Vec::new()).to_json().as_bytes()).expect("empty"),
        Index::new(Vec::new())
    );
}

#[test]
fn reading_is_strict() {
    let text = index().to_json();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Index::parse(text.replacen(from, to, 1).as_bytes())
    };
    let schema = changed("\"schema\": 1", "\"schema\": 2, \"new\": 1");
    assert!(matches!(schema, Err(IndexError::Schema { found: 2 })));
    for (from, to) in [
        ("\"schema\": 1,", ""),
        ("\"schema\": 1,", "\"schema\": 1, \"more\": 1,"),
        ("\"schema\": 1,", "\"schema\": 1, \"schema\": 1,"),
        ("\"network\": false,", ""),
        ("\"network\": false,", "\"network\": false, \"more\": 1,"),
        ("\"size\": 7,", "\"size\": -7,"),
        ("\"size\": 7,", "\"size\": 7, \"size\": 8,"),
        ("\"debian-12\"", "\"Debian 12\""),
        ("\"tree\"", "\"treee\""),
        ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20.5Z"),
        ("2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00"),
        ("2023-11-14T22:13:20Z", "yesterday"),
    ] {
        let found = changed(from, to);
        assert!(matches!(found, Err(IndexError::Json(_))), "{to}: {found:?}");
    }
    let key = "debian-12/runtimes/python-3.11.2.tar.gz";
    for wrong in [
        "../x.tar.gz",
        "/x.tar.gz",
        "a//x.tar.gz",
        "a/./x.tar.gz",
        "a\\nx.tar.gz",
        "",
        "index.json",
        "a/x.tar.gz.json",
    ] {
        let found = changed(key, wrong);
        assert!(
            matches!(found, Err(IndexError::Key { .. })),
            "{wrong}: {found:?}"
        );
    }
    let found = changed(key, "mine.tar.gz");
    assert!(matches!(found, Err(IndexError::Twice { .. })), "{found:?}");
    for end in 0..text.len() - 2 {
        assert!(
            Index::parse(&text.as_bytes()[..end]).is_err(),
            "cut at {end}"
        );
    }
    assert!(Index::parse(b"[".repeat(100_000).as_slice()).is_err());
    let long = vec![b' '; usize::try_from(INDEX_LIMIT).expect("memory") + 1];
    assert!(matches!(Index::parse(&long), Err(IndexError::TooLong)));
}

#[test]
fn a_source_is_named_without_what_authorises() {
    let said = |url: &str| {
        let mut record = record();
        record.making.source.url = Some(url.to_owned());
        entry("x.tar.gz", record).made_of.source.url
    };
    let table = [
        (
            "https://example.org/a.tgz",
            Some("https://example.org/a.tgz"),
        ),
        (
            "http://u:canary@example.org/a",
            Some("http://example.org/a"),
        ),
        (
            "https://example.org/a?token=canary",
            Some("https://example.org/a?…"),
        ),
        ("file:///home/somebody/a.tgz", None),
        ("javascript:alert(1)", None),
        ("JAVASCRIPT://https://", None),
    ];
    for (url, shown) in table {
        assert_eq!(said(url).as_deref(), shown, "{url}");
    }
}

#[test]
fn any_moment_can_be_written_and_is_read_again() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (1_700_000_000, "2023-11-14T22:13:20Z"),
        (i64::MIN, "-009999-01-02T01:59:59Z"),
        (i64::MAX, "9999-12-30T22:00:00Z"),
    ] {
        let date = Date::of(seconds);
        assert_eq!(date.to_string(), text);
        assert_eq!(Date::try_from(text.to_owned()), Ok(date));
    }
    assert_eq!(Date::of(1_700_000_000).day(), "2023-11-14");
}
