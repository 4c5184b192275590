//! An evil corpus: for each rule what breaks it, and that it is found as that and as nothing else.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use pybuild::archive::Codec;
use pybuild::model::Sha256;
use pybuild::verify::facts::Seen;
use pybuild::verify::rules::judge;
use pybuild::verify::{Archive, Depth, Facts, Inside, RULES, Rule, Stream, Unsafe, Verdict};

use crate::kit::{
    Dist, Entry, FLAT, PYTHON, SQLITE, Tarball, directory, file, found, gzip, made_of, members,
    symlink, tarball,
};

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

const CASES: &[Case] = &[
    Case {
        name: "the tarball is gone",
        spoil: |dist| dist.remove(PYTHON),
        finds: &[(PYTHON, Rule::Present)],
        says: "it is not there, though named by its .sha256, its record",
    },
    Case {
        name: "the tarball and its record are gone",
        spoil: |dist| {
            dist.remove(PYTHON);
            dist.remove(&format!("{PYTHON}.json"));
        },
        finds: &[(PYTHON, Rule::Present), (PYTHON, Rule::Sidecars)],
        says: "named by its .sha256",
    },
    Case {
        name: "what the lock names is gone",
        spoil: |dist| dist.locked(&[("debian-12/runtimes/python-3.8.8.tar.gz", Sha256::of(b""))]),
        finds: &[("debian-12/runtimes/python-3.8.8.tar.gz", Rule::Present)],
        says: "named by checksums.lock",
    },
    Case {
        name: "what a list names is gone",
        spoil: |dist| {
            dist.expected
                .push("debian-12/runtimes/python-3.8.8.tar.gz".to_owned());
        },
        finds: &[("debian-12/runtimes/python-3.8.8.tar.gz", Rule::Present)],
        says: "named by what was asked for",
    },
    Case {
        name: "what the index names is gone",
        spoil: |dist| {
            dist.index();
            for suffix in ["", ".sha256", ".json"] {
                dist.remove(&format!("{PYTHON}{suffix}"));
            }
        },
        finds: &[(PYTHON, Rule::Present)],
        says: "it is not there, though named by index.json",
    },
    Case {
        name: "what the index names is another by now",
        spoil: |dist| {
            dist.index();
            dist.forge(PYTHON, &made_of(&[file("other")]));
        },
        finds: &[(PYTHON, Rule::Index)],
        says: "bytes, index.json says ",
    },
    Case {
        name: "the index gives another digest",
        spoil: |dist| {
            let index = dist.index().to_json();
            let digest = dist.record_of(PYTHON).artifact.sha256.to_string();
            let other = Sha256::of(b"other").to_string();
            assert!(index.contains(&digest));
            dist.put("index.json", index.replace(&digest, &other).as_bytes());
        },
        finds: &[(PYTHON, Rule::Index)],
        says: "its SHA-256 is ",
    },
    Case {
        name: "the index is none",
        spoil: |dist| dist.put("index.json", b"{}"),
        finds: &[("index.json", Rule::Index)],
        says: "it is not an index: missing field `schema`",
    },
    Case {
        name: "the index is of a pybuild to come",
        spoil: |dist| {
            let index = dist.index().to_json();
            let index = index.replacen("\"schema\": 1", "\"schema\": 2, \"more\": []", 1);
            dist.put("index.json", index.as_bytes());
        },
        finds: &[("index.json", Rule::Index)],
        says: "it has schema 2, this pybuild reads 1",
    },
    Case {
        name: "an index lies where none belongs",
        spoil: |dist| {
            dist.put("debian-12/index.json", b"{}");
            dist.put("debian-12/index.html", b"");
        },
        finds: &[
            ("debian-12/index.html", Rule::Recorded),
            ("debian-12/index.json", Rule::Recorded),
        ],
        says: "it belongs to no archive",
    },
    Case {
        name: "what was asked for is not there",
        spoil: |dist| {
            let patterns = ["python-3.11.2", "python-3.8.*", "ruby"];
            dist.what.formulae = patterns.map(|text| text.parse().expect("a pattern")).into();
        },
        finds: &[("python-3.8.*", Rule::Present), ("ruby", Rule::Present)],
        says: "nothing there is called so",
    },
    Case {
        name: "the stack that was asked for is not there",
        spoil: |dist| dist.what.stack = Some("debian-11".parse().expect("a stack")),
        finds: &[("debian-11", Rule::Present)],
        says: "nothing there is called so",
    },
    Case {
        name: "the target is empty",
        spoil: |dist| *dist = Dist::empty(),
        finds: &[(".", Rule::Present)],
        says: "no archive is there",
    },
    Case {
        name: "a sidecar is a directory",
        spoil: |dist| {
            dist.remove(&format!("{SQLITE}.json"));
            fs::create_dir(dist.at(&format!("{SQLITE}.json"))).expect("mkdir");
        },
        finds: &[(SQLITE, Rule::Sidecars)],
        says: "its record is missing",
    },
    Case {
        name: "the tarball has other bytes",
        spoil: |dist| dist.put(PYTHON, &made_of(&[file("other")]).bytes),
        finds: &[
            (PYTHON, Rule::Size),
            (PYTHON, Rule::Digest),
            (PYTHON, Rule::Contents),
        ],
        says: "bytes, the record says",
    },
    Case {
        name: "the record gives another size",
        spoil: |dist| dist.amend(PYTHON, |record| record.artifact.size += 1),
        finds: &[(PYTHON, Rule::Size)],
        says: "bytes, the record says",
    },
    Case {
        name: "the .sha256 gives another digest",
        spoil: |dist| {
            let line = format!("{}  python-3.11.2.tar.gz\n", Sha256::of(b"other"));
            dist.put(&format!("{PYTHON}.sha256"), line.as_bytes());
        },
        finds: &[(PYTHON, Rule::Digest), (PYTHON, Rule::Agreement)],
        says: ", its .sha256 says ",
    },
    Case {
        name: "the record gives another digest",
        spoil: |dist| {
            dist.amend(PYTHON, |record| {
                record.artifact.sha256 = Sha256::of(b"other");
            });
        },
        finds: &[(PYTHON, Rule::Digest), (PYTHON, Rule::Agreement)],
        says: ", the record says ",
    },
    Case {
        name: "the lock gives another digest, though all else agrees",
        spoil: |dist| dist.locked(&[(PYTHON, Sha256::of(b"other"))]),
        finds: &[(PYTHON, Rule::Digest)],
        says: ", checksums.lock says ",
    },
    Case {
        name: "it is compressed otherwise than its name says",
        spoil: |dist| dist.forge(PYTHON, &tarball(Codec::Zstd)),
        finds: &[(PYTHON, Rule::Compression)],
        says: "it is compressed as zst, not gz",
    },
    Case {
        name: "it is not compressed at all",
        spoil: |dist| {
            let mut bytes = members(&[file("a")]);
            bytes.extend([0; 1024]);
            let (entries, unpacked) = (1, 7);
            dist.forge(
                PYTHON,
                &Tarball {
                    bytes,
                    entries,
                    unpacked,
                },
            );
        },
        finds: &[(PYTHON, Rule::Compression)],
        says: "it is not compressed as gz",
    },
    Case {
        name: "it was cut short before it was recorded",
        spoil: |dist| {
            let mut cut = tarball(Codec::Gzip);
            cut.bytes.truncate(cut.bytes.len() / 2);
            dist.forge(PYTHON, &cut);
        },
        finds: &[(PYTHON, Rule::Whole)],
        says: "cannot be read",
    },
    Case {
        name: "its tar has no end",
        spoil: |dist| {
            let bytes = gzip(&members(&[file("a")]));
            let (entries, unpacked) = (1, 7);
            dist.forge(
                PYTHON,
                &Tarball {
                    bytes,
                    entries,
                    unpacked,
                },
            );
        },
        finds: &[(PYTHON, Rule::Whole)],
        says: "cut short",
    },
    Case {
        name: "garbage follows the compressed stream",
        spoil: |dist| {
            let mut longer = tarball(Codec::Gzip);
            longer.bytes.extend(b"garbage");
            dist.forge(PYTHON, &longer);
        },
        finds: &[(PYTHON, Rule::Whole)],
        says: "cannot be read",
    },
    Case {
        name: "zeros follow the compressed stream",
        spoil: |dist| {
            let mut longer = tarball(Codec::Gzip);
            longer.bytes.extend([0; 512]);
            dist.forge(PYTHON, &longer);
        },
        finds: &[(PYTHON, Rule::Whole)],
        says: "cannot be read",
    },
    Case {
        name: "something follows the end of the tar",
        spoil: |dist| {
            let mut tar = members(&[file("a")]);
            tar.extend([0; 1024]);
            tar.extend(members(&[file("hidden")]));
            let (entries, unpacked) = (1, 7);
            let bytes = gzip(&tar);
            dist.forge(
                PYTHON,
                &Tarball {
                    bytes,
                    entries,
                    unpacked,
                },
            );
        },
        finds: &[(PYTHON, Rule::Whole)],
        says: "something follows the end",
    },
    Case {
        name: "it is empty",
        spoil: |dist| holding(dist, &[]),
        finds: &[(PYTHON, Rule::Whole)],
        says: "there is nothing in it",
    },
    Case {
        name: "it has no bytes at all",
        spoil: |dist| {
            let bytes = Vec::new();
            dist.forge(
                PYTHON,
                &Tarball {
                    bytes,
                    entries: 0,
                    unpacked: 0,
                },
            );
        },
        finds: &[(PYTHON, Rule::Compression), (PYTHON, Rule::Whole)],
        says: "it is not compressed as gz",
    },
    Case {
        name: "it is a bomb",
        spoil: |dist| {
            // What it says is enough: nobody unpacks so much to find out that it is too much.
            let mut tar = members(&[file("bomb")]);
            tar[124..135].copy_from_slice(format!("{:011o}", 700u32 << 20).as_bytes());
            tar[148..156].copy_from_slice(b"        ");
            let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
            tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let (entries, unpacked) = (1, 700 << 20);
            let bytes = gzip(&tar);
            dist.forge(
                PYTHON,
                &Tarball {
                    bytes,
                    entries,
                    unpacked,
                },
            );
        },
        finds: &[(PYTHON, Rule::Whole)],
        says: "bytes unpacked",
    },
    Case {
        name: "the record counts other entries and bytes",
        spoil: |dist| {
            dist.amend(PYTHON, |record| {
                record.artifact.entries += 1;
                record.artifact.unpacked_size -= 1;
            });
        },
        finds: &[(PYTHON, Rule::Contents)],
        says: "entries, the record says",
    },
    Case {
        name: "an absolute name",
        spoil: |dist| holding(dist, &[file("/etc/passwd")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`/etc/passwd`: its name is absolute",
    },
    Case {
        name: "a name that goes up",
        spoil: |dist| holding(dist, &[file("lib/../../x")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "its name goes up by `..`",
    },
    Case {
        name: "an absolute symlink",
        spoil: |dist| holding(dist, &[symlink("a", "/etc/passwd")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it is a symlink to the absolute path `/etc/passwd`",
    },
    Case {
        name: "a symlink that leads out",
        spoil: |dist| holding(dist, &[directory("lib"), symlink("lib/a", "../../x")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`lib/a`: it is a symlink that leads out, to `../../x`",
    },
    Case {
        name: "a symlink that leads out by way of another",
        spoil: |dist| {
            // Read as text, it stays: `deep/er/up/../..` is `deep`.
            let up = symlink("deep/er/up", "..");
            holding(
                dist,
                &[file("deep/er/f"), up, symlink("a", "deep/er/up/../../x")],
            );
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it is a symlink that leads out",
    },
    Case {
        name: "a symlink that leads out once something else is there",
        spoil: |dist| holding(dist, &[symlink("a", "nothing/../../etc")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "leads out",
    },
    Case {
        name: "a member below a symlink",
        spoil: |dist| holding(dist, &[directory("d"), symlink("a", "d"), file("a/x")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a/x`: it lies below something that is no directory",
    },
    Case {
        name: "a symlink in the place of a directory that was filled",
        spoil: |dist| holding(dist, &[file("a/x"), symlink("a", "x")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it comes twice",
    },
    Case {
        name: "a hard link to somewhere outside",
        spoil: |dist| {
            let link = Entry {
                flag: b'1',
                content: b"",
                link: "../x",
                ..file("a")
            };
            holding(dist, &[link]);
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it is a hard link to somewhere outside",
    },
    Case {
        name: "a hard link to a symlink",
        spoil: |dist| {
            let link = Entry {
                flag: b'1',
                content: b"",
                link: "s",
                ..file("a")
            };
            holding(dist, &[file("f"), symlink("s", "f"), link]);
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`a`: it is a hard link to something that is no file",
    },
    Case {
        name: "a device",
        spoil: |dist| {
            holding(
                dist,
                &[Entry {
                    flag: b'3',
                    content: b"",
                    ..file("null")
                }],
            );
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`null`: it is a device node or a pipe",
    },
    Case {
        name: "a pipe",
        spoil: |dist| {
            holding(
                dist,
                &[Entry {
                    flag: b'6',
                    content: b"",
                    ..file("pipe")
                }],
            );
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`pipe`: it is a device node or a pipe",
    },
    Case {
        name: "a setuid file",
        spoil: |dist| {
            holding(
                dist,
                &[Entry {
                    mode: 0o4755,
                    ..file("su")
                }],
            );
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`su`: it is setuid or setgid (mode 4755)",
    },
    Case {
        name: "a file for anybody to write to",
        spoil: |dist| {
            holding(
                dist,
                &[Entry {
                    mode: 0o666,
                    ..file("open")
                }],
            );
        },
        finds: &[(PYTHON, Rule::Safe)],
        says: "`open`: anybody may write to it (mode 0666)",
    },
    Case {
        name: "the same name twice",
        spoil: |dist| holding(dist, &[file("a"), file("./a")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: "`./a`: it comes twice",
    },
    Case {
        name: "a name with a line break",
        spoil: |dist| holding(dist, &[file("a\nb")]),
        finds: &[(PYTHON, Rule::Safe)],
        says: r"`a\nb`: its name has a control character",
    },
    Case {
        name: "the .sha256 is missing",
        spoil: |dist| dist.remove(&format!("{PYTHON}.sha256")),
        finds: &[(PYTHON, Rule::Sidecars)],
        says: "its .sha256 is missing",
    },
    Case {
        name: "the .sha256 is cut short",
        spoil: |dist| {
            let key = format!("{PYTHON}.sha256");
            let line = dist.get(&key);
            dist.put(&key, &line[..line.len() - 1]);
        },
        finds: &[(PYTHON, Rule::Sidecars)],
        says: "cut short",
    },
    Case {
        name: "the .sha256 has two lines",
        spoil: |dist| {
            let key = format!("{PYTHON}.sha256");
            dist.put(&key, &dist.get(&key).repeat(2));
        },
        finds: &[(PYTHON, Rule::Sidecars)],
        says: "more than one line",
    },
    Case {
        name: "the .sha256 is of another file",
        spoil: |dist| {
            let digest = dist.record_of(PYTHON).artifact.sha256;
            let line = format!("{digest}  python-3.11.3.tar.gz\n");
            dist.put(&format!("{PYTHON}.sha256"), line.as_bytes());
        },
        finds: &[(PYTHON, Rule::Agreement)],
        says: "its .sha256 is of `python-3.11.3.tar.gz`",
    },
    Case {
        name: "the record is not JSON",
        spoil: |dist| dist.put(&format!("{PYTHON}.json"), b"{}"),
        finds: &[(PYTHON, Rule::Sidecars)],
        says: "its record is not one: ",
    },
    Case {
        name: "the record is huge",
        spoil: |dist| dist.put(&format!("{PYTHON}.json"), &vec![b' '; (4 << 20) + 1]),
        finds: &[(PYTHON, Rule::Sidecars)],
        says: "its record is not one: it has more than ",
    },
    Case {
        name: "the record is missing",
        spoil: |dist| dist.remove(&format!("{PYTHON}.json")),
        finds: &[(PYTHON, Rule::Sidecars)],
        says: "its record is missing",
    },
    Case {
        name: "the record is of another version",
        spoil: |dist| {
            dist.amend(PYTHON, |record| {
                record.product.version = "3.11.1".parse().expect("a version");
            });
        },
        finds: &[(PYTHON, Rule::Agreement)],
        says: "belongs at `debian-12/runtimes/python-3.11.1.tar.gz`",
    },
    Case {
        name: "the record is of another stack",
        spoil: |dist| {
            dist.amend(FLAT, |record| {
                record.product.stack = "debian-13".parse().expect("a stack");
            });
        },
        finds: &[(FLAT, Rule::Agreement)],
        says: "belongs at `python-3.9.2-debian-13-amd64.tar.zst`",
    },
    Case {
        name: "a library among the runtimes",
        spoil: |dist| {
            for suffix in ["", ".sha256", ".json"] {
                let to = "debian-12/runtimes/sqlite-3.46.1.tar.xz";
                dist.rename(&format!("{SQLITE}{suffix}"), &format!("{to}{suffix}"));
            }
        },
        finds: &[("debian-12/runtimes/sqlite-3.46.1.tar.xz", Rule::Agreement)],
        says: "belongs at `debian-12/libraries/sqlite-3.46.1.tar.xz`",
    },
    Case {
        name: "a tarball under a name that says nothing",
        spoil: |dist| {
            dist.put(
                "debian-12/runtimes/latest.tar.gz",
                &tarball(Codec::Gzip).bytes,
            );
        },
        finds: &[
            ("debian-12/runtimes/latest.tar.gz", Rule::Name),
            ("debian-12/runtimes/latest.tar.gz", Rule::Recorded),
        ],
        says: "its name is none that pybuild publishes under",
    },
    Case {
        name: "a tarball that nothing was recorded of",
        spoil: |dist| {
            let key = "debian-12/runtimes/python-3.8.8.tar.gz";
            dist.put(key, &tarball(Codec::Gzip).bytes);
        },
        finds: &[("debian-12/runtimes/python-3.8.8.tar.gz", Rule::Recorded)],
        says: "neither .sha256 nor record nor checksums.lock",
    },
    Case {
        name: "a file that belongs to nothing",
        spoil: |dist| dist.put("debian-12/runtimes/python-3.11.2.tar.gz.bak", b"x"),
        finds: &[(
            "debian-12/runtimes/python-3.11.2.tar.gz.bak",
            Rule::Recorded,
        )],
        says: "it belongs to no archive",
    },
];

/// What is seen only on targets and with tools that this test has not: as facts.
type Seeing = (&'static str, fn(&mut Facts), (&'static str, Rule));

const FACTS: &[Seeing] = &[
    (
        "the store says another digest",
        |facts| {
            let head = pybuild::publish::Head {
                size: 3,
                sha256: Some(Sha256::of(b"other")),
                parts: None,
                etag: None,
            };
            facts.archives[0].head = Seen::There(head);
        },
        (PYTHON, Rule::Digest),
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
    for case in CASES {
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
    let provoked: BTreeSet<Rule> = CASES
        .iter()
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
