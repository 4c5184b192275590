//! Records written, read back, and changed.

use super::*;

/// An origin with something in every field.
pub(crate) fn origin() -> Origin {
    let digest = |text: &str| Sha256::of(text.as_bytes());
    let package = |name: &str, version: &str| PackageRecord {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: "amd64".to_owned(),
    };
    Origin {
        product: ProductRecord {
            name: "python".parse().expect("a name"),
            version: "3.11.2".parse().ok(),
            script: None,
            kind: Kind::Runtime,
            stack: "debian-12".parse().expect("a name"),
            arch: Arch::Amd64,
            profile: "plain".to_owned(),
            prefix: "/app/.heroku/python".parse().expect("a path"),
            build_id: digest("build"),
        },
        making: MakingRecord {
            source: SourceRecord {
                flavour: "tgz".to_owned(),
                file: "Python-3.11.2.tgz".to_owned(),
                sha256: digest("source"),
                url: Some("https://www.python.org/ftp/python/3.11.2/Python-3.11.2.tgz".to_owned()),
            },
            patches: vec![FileRecord {
                path: "python/3.11/x.patch".to_owned(),
                sha256: digest("patch"),
            }],
            files: vec![FileRecord {
                path: "check.py".to_owned(),
                sha256: digest("file"),
            }],
            dependencies: vec![DependencyRecord {
                reference: "sqlite-3.46.1".parse().expect("a reference"),
                build_id: digest("sqlite"),
                sha256: digest("sqlite tarball"),
            }],
            archives: Vec::new(),
            build_image: ImageRecord {
                digest: digest("build image"),
                packages: vec![package("libc6", "2.36-9"), package("gcc-12", "12.2.0-14")],
            },
            run_image: ImageRecord {
                digest: digest("run image"),
                packages: vec![package("libc6", "2.36-9")],
            },
            steps: vec![StepRecord {
                name: "make".to_owned(),
                argv: vec!["make".to_owned(), "-j{jobs}".to_owned()],
                cwd: "/build/source".parse().expect("a path"),
                env: BTreeMap::new(),
            }],
            env: BTreeMap::from([("LC_ALL".to_owned(), "C.UTF-8".to_owned())]),
            network: false,
            modules: vec!["ssl".to_owned()],
        },
        source_date_epoch: 1_675_728_000,
    }
}

pub(crate) fn tool() -> ToolRecord {
    ToolRecord {
        version: "0.1.0".to_owned(),
        build_revision: 1,
    }
}

pub(crate) fn contents() -> Contents {
    Contents {
        directories: BTreeMap::from([("bin".to_owned(), 20)]),
        compilers: ["GCC: (Debian 12.2.0-14) 12.2.0".to_owned()].into(),
        components: vec![Component {
            name: "expat".to_owned(),
            version: "2.5.0".to_owned(),
            license: Some("MIT".to_owned()),
            purl: Some("pkg:generic/expat@2.5.0".to_owned()),
            cpe: None,
        }],
        licenses: ["lib/python3.11/LICENSE.txt".to_owned()].into(),
    }
}

pub(crate) fn record() -> Record {
    let needs = Needs {
        glibc_floor: "2.34".parse().ok(),
        libraries: ["libz.so.1", "libc.so.6"].map(str::to_owned).into(),
    };
    let artifact = ArtifactRecord {
        file: "python-3.11.2.tar.gz".to_owned(),
        sha256: Sha256::of(b"tarball"),
        size: 7,
        unpacked_size: 21,
        entries: 3,
    };
    Record::new(origin(), needs, contents(), artifact, tool())
}

#[test]
fn the_file_is_stable() {
    insta::assert_snapshot!(record().to_json());
}

#[test]
fn what_is_written_is_read() {
    let text = record().to_json();
    assert!(text.ends_with("}\n"));
    let read = Record::parse(&text).expect("our own record");
    assert_eq!(read, record());
    assert_eq!(read.to_json(), text);
}

#[test]
fn a_record_of_before_is_read_and_stays_what_it_was() {
    let mut before = record();
    before.schema = WITHOUT_CONTENTS;
    before.contents = None;
    let text = before.to_json();
    assert!(!text.contains("contents"), "{text}");
    let read = Record::parse(&text).expect("an older record");
    assert_eq!(read.to_json(), text);
    for (schema, contents) in [(SCHEMA, None), (WITHOUT_CONTENTS, Some(contents()))] {
        let mut mixed = record();
        (mixed.schema, mixed.contents) = (schema, contents);
        let read = Record::parse(&mixed.to_json());
        assert!(
            matches!(read, Err(RecordError::Contents { .. })),
            "{schema}"
        );
    }
}

#[test]
fn reading_is_strict() {
    let text = record().to_json();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Record::parse(&text.replacen(from, to, 1))
    };
    assert!(matches!(
        changed("\"schema\": 2", "\"schema\": 3, \"new\": 1"),
        Err(RecordError::Schema { found: 3 })
    ));
    for (from, to) in [
        ("\"network\": false,", ""),
        ("\"network\": false,", "\"network\": false, \"extra\": 1,"),
        ("\"libraries\": [", "\"also\": 1, \"libraries\": ["),
        ("\"kind\": ", "\"schema\": 1, \"kind\": "),
        ("\"kind\": ", "\"arch\": \"amd64\", \"kind\": "),
        ("\"size\": 7,", "\"size\": -7,"),
        ("\"size\": 7,", "\"size\": 7, \"more\": 1,"),
        ("\"debian-12\"", "\"Debian 12\""),
        ("\"/app/.heroku/python\"", "\"app/../python\""),
    ] {
        assert!(
            matches!(changed(from, to), Err(RecordError::Json(_))),
            "{to}"
        );
    }
    for name in ["../x", "/x", "", ".", "..", "a\\nb"] {
        let found = changed("\"python-3.11.2.tar.gz\"", &format!("\"{name}\""));
        assert!(matches!(found, Err(RecordError::FileName { .. })), "{name}");
    }
    assert!(Record::parse("").is_err());
    assert!(Record::parse(&text[..text.len() / 2]).is_err());
}
