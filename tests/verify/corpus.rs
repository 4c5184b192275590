//! An evil corpus: for each rule what breaks it, and that it is found as that and as nothing else.

mod bytes;
mod members;
mod papers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use pybuild::archive::Codec;
use pybuild::model::Sha256;
use pybuild::publish::Head;
use pybuild::verify::facts::Seen;
use pybuild::verify::rules::judge;
use pybuild::verify::{
    Archive, Depth, Facts, Indexed, Inside, RULES, Rule, Stream, Unsafe, Verdict,
};

use crate::kit::{Dist, Entry, FLAT, PYTHON, SQLITE, directory, file, found, made_of, symlink};

/// One thing that is wrong with a target.
struct Case {
    name: &'static str,
    spoil: fn(&mut Dist),
    finds: &'static [(&'static str, Rule)],
    /// What the first finding says.
    says: &'static str,
}

/// The tarball of `PYTHON` replaced by one of these members, all sidecars agreeing.
fn holding(dist: &Dist, entries: &[Entry<'_>]) {
    dist.forge(PYTHON, &made_of(entries));
}

/// All of it.
fn cases() -> impl Iterator<Item = &'static Case> {
    [bytes::CASES, members::CASES, papers::CASES]
        .into_iter()
        .flatten()
}

/// What a store says of three bytes whose digest it knows.
fn head(of: &[u8]) -> Seen<Head> {
    Seen::There(Head {
        size: 3,
        sha256: Some(Sha256::of(of)),
        parts: None,
        etag: None,
    })
}

/// What is seen only on targets and with tools that this test has not: as facts.
type Seeing = (&'static str, fn(&mut Facts), (&'static str, Rule));

const FACTS: &[Seeing] = &[
    (
        "the store says another digest",
        |facts| facts.archives[0].head = head(b"other"),
        (PYTHON, Rule::Digest),
    ),
    (
        "the store says another digest, and nobody read the bytes",
        |facts| {
            facts.archives[0].head = head(b"other");
            facts.archives[0].bytes = Seen::NotLooked;
        },
        (PYTHON, Rule::Digest),
    ),
    (
        "the store says another digest than the index, and nobody read the bytes",
        |facts| {
            facts.archives[0].head = head(b"abc");
            facts.archives[0].bytes = Seen::NotLooked;
            facts.archives[0].indexed = Some(Indexed {
                size: 3,
                sha256: Sha256::of(b"other"),
            });
        },
        (PYTHON, Rule::Index),
    ),
    (
        "the listing says another size",
        |facts| facts.archives[0].listed = Some(4),
        (PYTHON, Rule::Size),
    ),
    (
        "it went after the store had told of it",
        |facts| {
            facts.archives[0].head = head(b"abc");
            facts.archives[0].bytes = Seen::Absent;
        },
        (PYTHON, Rule::Present),
    ),
    (
        "the store refuses to tell of it",
        |facts| facts.archives[0].head = Seen::Unreadable("access denied".to_owned()),
        (PYTHON, Rule::Readable),
    ),
    (
        "the store refuses to give its .sha256",
        |facts| facts.archives[0].checksum = Seen::Unreadable("access denied".to_owned()),
        (PYTHON, Rule::Readable),
    ),
    (
        "the store refuses to give its record",
        |facts| facts.archives[0].record = Seen::Unreadable("access denied".to_owned()),
        (PYTHON, Rule::Readable),
    ),
    (
        "the store refuses to give it",
        |facts| facts.archives[0].bytes = Seen::Unreadable("access denied".to_owned()),
        (PYTHON, Rule::Readable),
    ),
    (
        "an upload was left",
        |facts| facts.uploads = Some(vec![("x.tar.gz".to_owned(), 1_600_000_000)]),
        ("x.tar.gz", Rule::Uploads),
    ),
    (
        "the interpreter is another",
        |facts| facts.archives[0].identity = Seen::There(vec!["it is 3.7.2".to_owned()]),
        (PYTHON, Rule::Identity),
    ),
    (
        "it was built otherwise",
        |facts| facts.archives[0].rebuilt = Seen::There(Sha256::of(b"other")),
        (PYTHON, Rule::Rebuild),
    ),
];

fn sound_facts() -> Facts {
    let mut archive = Archive::of(PYTHON).expect("a tarball's key");
    archive.locked = Some(Sha256::of(b"abc"));
    archive.bytes = Seen::There(Stream {
        size: 3,
        sha256: Sha256::of(b"abc"),
        codec: Some(Codec::Gzip),
        inside: Some(Inside::Whole {
            entries: 1,
            bytes: 1,
            directories: BTreeMap::new(),
            wrong: Unsafe::default(),
        }),
    });
    archive.identity = Seen::There(Vec::new());
    archive.rebuilt = Seen::There(Sha256::of(b"abc"));
    Facts {
        archives: vec![archive],
        uploads: Some(Vec::new()),
        ..Facts::default()
    }
}

#[test]
fn a_record_of_an_older_pybuild_is_sound() {
    let dist = Dist::sound();
    for key in [PYTHON, SQLITE, FLAT] {
        dist.amend(key, |record| (record.schema, record.contents) = (1, None));
    }
    let report = dist.verify();
    assert_eq!(report.findings, []);
    assert_eq!(report.verdict(), Verdict::Sound);
    assert_eq!(dist.index().archives().len(), 3);
}

#[test]
fn a_sound_target_provokes_no_rule() {
    let report = Dist::sound().verify();
    assert_eq!(report.findings, []);
    assert_eq!(report.unseen, []);
    assert_eq!(report.verdict(), Verdict::Sound);
    let keys: Vec<&str> = report.checked.iter().map(|c| c.key.as_str()).collect();
    assert_eq!(keys, [SQLITE, PYTHON, FLAT]);
    for checked in &report.checked {
        for rule in [
            Rule::Digest,
            Rule::Whole,
            Rule::Safe,
            Rule::Contents,
            Rule::Agreement,
        ] {
            assert!(checked.rules.contains(&rule), "{} {rule}", checked.key);
        }
    }
    assert_eq!(judge(&sound_facts()), []);
}

#[test]
fn each_case_is_found_as_what_it_is() {
    for case in cases() {
        let mut dist = Dist::sound();
        (case.spoil)(&mut dist);
        let report = dist.verify();
        assert_eq!(
            found(&report),
            case.finds,
            "{}: {:?}",
            case.name,
            report.findings
        );
        let said = &report.findings[0].detail;
        assert!(said.contains(case.says), "{}: {said}", case.name);
        assert_eq!(report.verdict(), Verdict::Wrong, "{}", case.name);
    }
    for (name, spoil, finds) in FACTS {
        let mut facts = sound_facts();
        spoil(&mut facts);
        let found = judge(&facts);
        let found: Vec<_> = found.iter().map(|f| (f.key.as_str(), f.rule)).collect();
        assert_eq!(found, [*finds], "{name}");
    }
}

#[test]
fn every_rule_has_a_case_that_provokes_it() {
    let provoked: BTreeSet<Rule> = cases()
        .flat_map(|case| case.finds)
        .chain(FACTS.iter().map(|(_, _, finds)| finds))
        .map(|(_, rule)| *rule)
        .collect();
    let rules: Vec<Rule> = RULES.iter().map(|row| row.rule).collect();
    assert_eq!(provoked.into_iter().collect::<Vec<_>>(), rules);
    for rule in rules {
        assert_eq!(rule.row().rule, rule);
    }
}

#[test]
fn a_file_that_may_not_be_read_is_a_finding_and_not_a_guess() {
    let dist = Dist::sound();
    fs::set_permissions(dist.at(PYTHON), Permissions::from_mode(0o0)).expect("chmod");
    if fs::read(dist.at(PYTHON)).is_ok() {
        // Root reads everything.
        return;
    }
    let report = dist.verify();
    assert_eq!(found(&report), [(PYTHON, Rule::Readable)]);
}

#[test]
fn harmless_things_are_left_alone() {
    let dist = Dist::sound();
    dist.index();
    dist.put("index.html", b"");
    dist.put("checksums.lock", b"");
    // A dangling link inside, a directory named late, the root named as `tar -C prefix .` does.
    let inside = [
        directory("./"),
        file("./lib/a"),
        directory("./lib/"),
        symlink("./lib/gone", "nothing/here"),
    ];
    dist.forge(PYTHON, &made_of(&inside));
    dist.index();
    assert_eq!(dist.verify().findings, []);
}

#[test]
fn what_the_index_does_not_name_yet_is_no_finding_but_told() {
    let mut dist = Dist::sound();
    assert_eq!(dist.verify().newer, [""; 0], "there is no index");
    dist.index();
    let report = dist.verify();
    assert_eq!((report.findings, report.newer), (vec![], vec![]));
    let key = "debian-12/runtimes/python-3.13.5.tar.gz";
    dist.add(key, "python-3.13.5");
    // This one will not be named either.
    let spoilt = "debian-12/runtimes/python-3.13.4.tar.gz";
    dist.add(spoilt, "python-3.13.4");
    dist.remove(&format!("{spoilt}.json"));
    let report = dist.verify();
    assert_eq!(found(&report), [(spoilt, Rule::Sidecars)]);
    assert_eq!(report.newer, [key]);
    dist.what.formulae = vec!["sqlite".parse().expect("a pattern")];
    let report = dist.verify();
    assert_eq!((report.findings, report.newer), (vec![], vec![]));
    assert_eq!(
        report.checked.len(),
        1,
        "the index's others are not asked for"
    );
}

#[test]
fn under_a_name_of_its_own_the_record_says_what_it_is() {
    let dist = Dist::sound();
    for suffix in ["", ".sha256", ".json"] {
        let to = format!("debian-12/runtimes/mine.tar.gz{suffix}");
        dist.rename(&format!("{PYTHON}{suffix}"), &to);
    }
    let key = "debian-12/runtimes/mine.tar.gz";
    assert_eq!(found(&dist.verify()), [(key, Rule::Agreement)]);
    let mut record = dist.record_of(key);
    record.artifact.file = "mine.tar.gz".to_owned();
    dist.put_sidecars(key, &record);
    assert_eq!(dist.verify().findings, []);
    record.product.stack = "debian-13".parse().expect("a stack");
    dist.put_sidecars(key, &record);
    assert_eq!(found(&dist.verify()), [(key, Rule::Agreement)]);
}

#[test]
fn quick_sees_what_headers_show_and_claims_no_more() {
    let mut dist = Dist::sound();
    dist.options.depth = Depth::Headers;
    let report = dist.verify();
    assert_eq!(report.verdict(), Verdict::Sound);
    for checked in &report.checked {
        assert_eq!(checked.sha256, None);
        for rule in [
            Rule::Digest,
            Rule::Whole,
            Rule::Safe,
            Rule::Readable,
            Rule::Identity,
        ] {
            assert!(!checked.rules.contains(&rule), "{rule}");
        }
    }
    assert_eq!(report.sound, [], "nothing to record");
    let mut bytes = dist.get(PYTHON);
    bytes.push(0);
    dist.put(PYTHON, &bytes);
    dist.remove(FLAT);
    dist.amend(SQLITE, |record| {
        record.artifact.sha256 = Sha256::of(b"other");
    });
    let report = dist.verify();
    assert_eq!(
        found(&report),
        [
            (SQLITE, Rule::Agreement),
            (PYTHON, Rule::Size),
            (FLAT, Rule::Present)
        ]
    );
}

#[test]
fn a_selection_looks_at_nothing_else() {
    let mut dist = Dist::sound();
    dist.remove(&format!("{SQLITE}.json"));
    dist.put("debian-12/runtimes/python-3.11.2.tar.gz.bak", b"x");
    dist.put("debian-13/runtimes/notes.txt", b"x");
    dist.what.formulae = vec!["python-3.9.2".parse().expect("a pattern")];
    let report = dist.verify();
    assert_eq!(report.findings, []);
    assert_eq!(report.checked.len(), 1);
    dist.what.formulae = vec!["python-3.11.*".parse().expect("a pattern")];
    let report = dist.verify();
    assert_eq!(
        found(&report),
        [(
            "debian-12/runtimes/python-3.11.2.tar.gz.bak",
            Rule::Recorded
        )]
    );
    dist.what.formulae = Vec::new();
    dist.what.stack = Some("debian-12".parse().expect("a stack"));
    let keys = found(&dist.verify()).len();
    assert_eq!(
        keys, 2,
        "the record and the backup, not the notes of another stack"
    );
}

#[test]
fn a_bucket_without_checksums_is_adopted_once_and_held_to_it() {
    let mut dist = Dist::sound();
    for key in [PYTHON, SQLITE, FLAT] {
        dist.remove(&format!("{key}.sha256"));
        dist.remove(&format!("{key}.json"));
    }
    assert_eq!(found(&dist.verify()).len(), 3, "all unrecorded");
    dist.options.record = true;
    dist.put(SQLITE, b"no tarball");
    let report = dist.verify();
    let rules: BTreeSet<&str> = found(&report).into_iter().map(|(key, _)| key).collect();
    assert_eq!(rules, [SQLITE].into());
    let sound: Vec<&str> = report.sound.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(sound, [PYTHON, FLAT], "what is wrong is not recorded");
    let digests: Vec<(&str, Sha256)> = report
        .sound
        .iter()
        .map(|(key, digest)| (key.as_str(), *digest))
        .collect();
    dist.locked(&digests);
    dist.options.record = false;
    dist.remove(SQLITE);
    assert_eq!(dist.verify().findings, []);
    dist.put(PYTHON, &made_of(&[file("swapped")]).bytes);
    assert_eq!(found(&dist.verify()), [(PYTHON, Rule::Digest)]);
    // Recording again does not make it right.
    dist.options.record = true;
    let report = dist.verify();
    assert_eq!(found(&report), [(PYTHON, Rule::Digest)]);
    assert!(report.sound.iter().all(|(key, _)| key != PYTHON));
}
