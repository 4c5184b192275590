//! What can be wrong with what is there, with names, sidecars, records and the index.

use std::fs;

use pybuild::archive::Codec;
use pybuild::model::Sha256;
use pybuild::publish::INDEX_LIMIT;
use pybuild::verify::Rule;

use super::Case;
use crate::kit::{Dist, FLAT, PYTHON, SQLITE, file, made_of, tarball};

pub(super) const CASES: &[Case] = &[
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
                record.product.version = "3.11.1".parse().ok();
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
    Case {
        name: "the record is of another file",
        spoil: |dist| {
            dist.amend(PYTHON, |record| {
                "python-3.11.3.tar.gz".clone_into(&mut record.artifact.file);
            });
        },
        finds: &[(PYTHON, Rule::Agreement)],
        says: "its record is of `python-3.11.3.tar.gz`",
    },
    Case {
        name: "the index is longer than any",
        spoil: |dist| {
            let length = usize::try_from(INDEX_LIMIT).expect("memory") + 1;
            dist.put("index.json", &vec![b' '; length]);
        },
        finds: &[("index.json", Rule::Index)],
        says: "it cannot be read: ",
    },
    Case {
        name: "an upload that was begun long ago",
        spoil: |dist| {
            dist.put("debian-12/.pybuild-0123.part", b"half");
            dist.options.now = i64::MAX;
        },
        finds: &[("debian-12/.pybuild-0123.part", Rule::Uploads)],
        says: "neither finished nor given up",
    },
];
