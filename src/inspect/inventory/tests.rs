//! Tarballs whole, cut short, hostile, and behind a connection that breaks.

use std::io::Write as _;

use super::*;

const NO_PROGRESS: &(dyn Fn(u64) -> io::Result<()> + Sync) = &|_| Ok(());

/// One entry: type, name, link, content.
fn archive(entries: &[(u8, &str, &str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (flag, name, link, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(*flag));
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(7);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, content.as_bytes()).expect("memory");
    }
    builder.into_inner().expect("memory")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).expect("memory");
    out.finish().expect("memory")
}

fn seen(bytes: &[u8], eye: &mut dyn Eye) -> (Tarball, Inventory) {
    let pass = Pass {
        expected: bytes.len() as u64,
        progress: NO_PROGRESS,
    };
    read(&mut &bytes[..], &pass, eye).expect("readable")
}

/// Wants what ends so.
struct Ending(&'static [u8], Vec<(String, Vec<u8>)>);

impl Eye for Ending {
    fn wants(&mut self, path: &[u8], _: u64, _: &[u8]) -> bool {
        path.ends_with(self.0)
    }

    fn take(&mut self, path: &[u8], content: Vec<u8>) {
        self.1.push((shown(path), content));
    }
}

fn plain() -> Vec<u8> {
    let long = "x".repeat(100_000);
    archive(&[
        (b'5', "./", "", ""),
        (b'5', "bin/", "", ""),
        (b'0', "bin/tool", "", "tool"),
        (b'2', "bin/link", "tool", ""),
        (b'0', "lib/a/b/long.txt", "", &long),
        (b'0', "lib/empty.txt", "", ""),
        (b'1', "lib/again", "bin/tool", ""),
    ])
}

#[test]
fn all_that_is_in_a_tarball_is_seen() {
    let tar = plain();
    let bytes = gzip(&tar);
    let mut eye = Ending(b".txt", Vec::new());
    let (tarball, inside) = seen(&bytes, &mut eye);
    let expected = Tarball {
        size: bytes.len() as u64,
        sha256: Sha256::of(&bytes),
        codec: Some(Codec::Gzip),
        archive: Some(Sha256::of(&tar)),
        broken: None,
    };
    assert_eq!(tarball, expected);
    assert_eq!((inside.entries, inside.bytes), (7, 100_004));
    assert_eq!(inside.wrong, [""; 0]);
    let what = |path: &str| &inside.members[path.as_bytes()].what;
    let sha256 = Sha256::of(b"tool");
    assert_eq!(*what("bin/tool"), What::File { size: 4, sha256 });
    assert_eq!(*what("bin"), What::Directory);
    assert_eq!(*what("bin/link"), What::Symlink(b"tool".to_vec()));
    assert_eq!(*what("lib/again"), What::HardLink(b"bin/tool".to_vec()));
    assert_eq!(inside.members[&b"bin/tool"[..]].mtime, 7);
    let taken: Vec<_> = eye.1.iter().map(|(path, c)| (&**path, c.len())).collect();
    assert_eq!(taken, [("lib/a/b/long.txt", 100_000), ("lib/empty.txt", 0)]);
    let sizes = inside.directories();
    let sizes: Vec<_> = sizes.iter().map(|(path, size)| (&**path, *size)).collect();
    assert_eq!(sizes, [("bin", 4), ("lib", 100_000), ("lib/a", 100_000)]);
}

#[test]
fn whoever_packs_it_in_another_way_packs_the_same_archive() {
    let tar = plain();
    let (one, inside) = seen(&gzip(&tar), &mut Unseeing);
    let zstd = zstd::encode_all(&tar[..], 3).expect("memory");
    let (other, same) = seen(&zstd, &mut Unseeing);
    assert_eq!(one.archive, other.archive);
    assert_ne!(one.sha256, other.sha256);
    assert_eq!(other.codec, Some(Codec::Zstd));
    assert_eq!(inside, same);
}

#[test]
fn what_is_broken_has_a_digest_all_the_same() {
    let tar = plain();
    let whole = gzip(&tar);
    let cut = &whole[..whole.len() / 2];
    let followed = gzip(&[&tar[..], b"more"].concat());
    let nothing_known = b"no tarball at all".to_vec();
    for bytes in [cut, &followed, &nothing_known, b""] {
        let (tarball, _) = seen(bytes, &mut Unseeing);
        assert!(tarball.broken.is_some(), "{tarball:?}");
        assert_eq!(tarball.archive, None);
        assert_eq!(tarball.size, bytes.len() as u64);
        assert_eq!(tarball.sha256, Sha256::of(bytes));
    }
}

#[test]
fn what_no_honest_tarball_has_is_told() {
    let bytes = gzip(&archive(&[
        (b'0', "../out", "", "x"),
        (b'0', "twice", "", "a"),
        (b'0', "./twice", "", "b"),
        (b'1', "hard", "../../etc/passwd", ""),
        (b'6', "fifo\x1b[2J", "", ""),
    ]));
    let (tarball, inside) = seen(&bytes, &mut Unseeing);
    assert_eq!(tarball.broken, None);
    let told = inside.wrong.join("\n");
    for said in [
        "`../out`",
        "`./twice`: it comes twice",
        "`hard`",
        "device node or a pipe",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(!told.contains('\x1b'), "{told:?}");
    assert_eq!(inside.members.len(), 2);
}

#[test]
fn a_reader_that_fails_is_not_the_archives_fault() {
    struct Broken(usize, Vec<u8>);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let rest = &self.1[self.0..];
            if rest.is_empty() {
                return Err(io::Error::other("the connection broke"));
            }
            let length = rest.len().min(buffer.len()).min(1000);
            buffer[..length].copy_from_slice(&rest[..length]);
            self.0 += length;
            Ok(length)
        }
    }
    let whole = gzip(&plain());
    let pass = Pass {
        expected: 0,
        progress: NO_PROGRESS,
    };
    for end in [0, 3, whole.len() / 2, whole.len()] {
        let mut reader = Broken(0, whole[..end].to_vec());
        let failed = read(&mut reader, &pass, &mut Unseeing).expect_err("it broke");
        assert_eq!(failed.to_string(), "the connection broke");
    }
    let stop = Pass {
        expected: 0,
        progress: &|_| Err(io::Error::other("enough")),
    };
    let failed = read(&mut &whole[..], &stop, &mut Unseeing).expect_err("stopped");
    assert_eq!(failed.to_string(), "enough");
}
