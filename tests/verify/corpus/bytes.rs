//! What can be wrong with the bytes of a tarball.

use pybuild::archive::Codec;
use pybuild::model::Sha256;
use pybuild::verify::Rule;

use super::{Case, holding};
use crate::kit::{PYTHON, Tarball, file, gzip, made_of, members, tarball};

pub(super) const CASES: &[Case] = &[
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
        name: "the record gives a directory another size",
        spoil: |dist| {
            dist.amend(PYTHON, |record| {
                let contents = record.contents.as_mut().expect("some");
                contents.directories.insert("bin".to_owned(), 1_000_000);
            });
        },
        finds: &[(PYTHON, Rule::Contents)],
        says: "bytes in `bin`, the record says 1000000",
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
        name: "the record counts other bytes",
        spoil: |dist| dist.amend(PYTHON, |record| record.artifact.unpacked_size -= 1),
        finds: &[(PYTHON, Rule::Contents)],
        says: "bytes unpacked, the record says",
    },
];
