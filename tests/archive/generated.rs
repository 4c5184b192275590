//! Random archives, sound and not: what we list, others list too, or we refuse it.

use proptest::prelude::*;

use crate::chance;
use crate::peers::{Others, Peers, ours};
use crate::tarball::{Entry, Tarball, tar};

/// What an archive is made of.
#[derive(Debug, Clone)]
enum Piece {
    Member(Member),
    Pax(u8, Vec<(&'static str, &'static str)>),
    Gnu(u8, &'static [u8]),
    Zeros,
}

/// A header, its fields as they are written, and content.
#[derive(Debug, Clone)]
struct Member {
    name: &'static [u8],
    prefix: &'static [u8],
    link: &'static [u8],
    flag: u8,
    magic: &'static [u8; 8],
    data: &'static [u8],
    /// How its size is written, if not as usual.
    size: Option<&'static [u8]>,
    uid: &'static [u8],
    mtime: &'static [u8],
}

const POSIX: &[u8; 8] = b"ustar\x0000";
const GNU: &[u8; 8] = b"ustar  \0";
const OLD: &[u8; 8] = &[0; 8];

/// What comes behind the last piece.
const ENDS: [(usize, &[u8]); 6] = [
    (1024, b""),
    (1024, b""),
    (10_240, b""),
    (512, b""),
    (0, b""),
    (1024, b"garbage"),
];

fn member() -> impl Strategy<Value = Member> {
    let names: [&[u8]; 12] = [
        b"a", b"b", b"a/b", b"a/", b"./a", b"/a", b"../a", b" a", b"a b", b"a\nb", b"\xff", b"",
    ];
    let flags = b"0000\x001255567xSVMDAs";
    let sizes: [&[u8]; 9] = [
        b"00000000001\0",
        b"          1 ",
        b"000000000001",
        b"1\0\0\0\0\0\0\0\0\0\0\0",
        b"1 1\0\0\0\0\0\0\0\0\0",
        b"\x80\0\0\0\0\0\0\0\0\0\0\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"00000000008\0",
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
    ];
    let numbers: [&[u8]; 5] = [
        b"0000000\0",
        b"0001750\0",
        b"\x80\0\0\0\0\x0f\x42\x40",
        b"       \0",
        b"\0\0\0\0\0\0\0\0",
    ];
    let times: [&[u8]; 4] = [
        b"14371573400\0",
        b"\x80\0\0\0\0\0\0\x01\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"00000000000 ",
    ];
    (
        select(names.to_vec()),
        prop_oneof![4 => Just(&b""[..]), 1 => select(vec![&b"p"[..], b"p/q", b"p/"])],
        select(vec![&b""[..], b"a", b"../x", b"/x", b"a b"]),
        select(flags.to_vec()),
        prop_oneof![4 => Just(POSIX), 2 => Just(GNU), 1 => Just(OLD), 1 => Just(b"ustar\0\0\0")],
        select(vec![&b""[..], b"", b"x", &[b'x'; 512], &[b'x'; 513]]),
        prop_oneof![5 => Just(None), 1 => select(sizes.to_vec()).prop_map(Some)],
        select(numbers.to_vec()),
        select(times.to_vec()),
    )
        .prop_map(
            |(name, prefix, link, flag, magic, data, size, uid, mtime)| Member {
                name,
                prefix,
                link,
                flag,
                magic,
                // What is no file has no content, mostly.
                data: if matches!(flag, 0 | b'0' | b'7') || data.len() == 513 {
                    data
                } else {
                    b""
                },
                size,
                uid,
                mtime,
            },
        )
}

fn select<T: Clone + std::fmt::Debug + 'static>(choices: Vec<T>) -> impl Strategy<Value = T> {
    prop::sample::select(choices)
}

fn piece() -> impl Strategy<Value = Piece> {
    let record = select(vec![
        ("path", "p"),
        ("path", "p/q/"),
        ("path", "../p"),
        ("path", ""),
        ("path", "ü"),
        ("linkpath", "t"),
        ("linkpath", ""),
        ("size", "1"),
        ("size", "0"),
        ("size", "512"),
        ("size", "+1"),
        ("size", "8589934592"),
        ("mtime", "1.5"),
        ("mtime", "-1"),
        ("uid", "1000"),
        ("uid", "4294967296"),
        ("comment", "x"),
        ("hdrcharset", "BINARY"),
        ("GNU.sparse.major", "1"),
        ("SCHILY.xattr.user.a", "b"),
        ("LIBARCHIVE.creationtime", "1"),
    ]);
    let records = prop::collection::vec(record, 0..3);
    let long = select(vec![
        &b"long\0"[..],
        b"long",
        b"lo\0ng\0",
        b"\0",
        b"",
        b"long/\0",
    ]);
    prop_oneof![
        8 => member().prop_map(Piece::Member),
        2 => (select(vec![b'x', b'x', b'g']), records).prop_map(|(flag, records)| Piece::Pax(flag, records)),
        1 => (select(vec![b'L', b'K']), long).prop_map(|(flag, long)| Piece::Gnu(flag, long)),
        1 => Just(Piece::Zeros),
    ]
}

fn archive(pieces: &[Piece], (zeros, behind): (usize, &[u8])) -> Vec<u8> {
    let mut archive = tar();
    for piece in pieces {
        archive = match piece {
            Piece::Member(member) => put(archive, member),
            Piece::Pax(b'g', records) => {
                let start = archive.0.len();
                let mut archive = archive.pax(records);
                archive.0[start + 156] = b'g';
                archive.seal(start)
            }
            Piece::Pax(_, records) => archive.pax(records),
            Piece::Gnu(flag, long) => archive.extension(*flag, long),
            Piece::Zeros => Tarball([archive.0, vec![0; 512]].concat()),
        };
    }
    let mut archive = archive.0;
    archive.resize(archive.len() + zeros, 0);
    archive.extend_from_slice(behind);
    archive
}

fn put(archive: Tarball, member: &Member) -> Tarball {
    let Member {
        name,
        prefix,
        link,
        flag,
        magic,
        data,
        size,
        uid,
        mtime,
    } = member;
    let start = archive.0.len();
    let entry = Entry {
        name,
        flag: *flag,
        link,
        magic,
        data,
        ..Entry::default()
    };
    let mut archive = archive.entry(&entry);
    let patches = [(345, *prefix), (108, uid), (136, mtime)];
    for (at, bytes) in patches.into_iter().chain(size.map(|size| (124, size))) {
        archive.0[start + at..][..bytes.len()].copy_from_slice(bytes);
    }
    archive.seal(start)
}

/// Whether a reader may list something else. The two others never may for the same reason.
fn excused(peer: &str, pieces: &[Piece]) -> bool {
    pieces.iter().any(|piece| match (peer, piece) {
        // A slash between prefix and name is one too many: the same path.
        ("bsd", Piece::Member(member)) => member.prefix.ends_with(b"/"),
        // It heeds a prefix that only POSIX's format has. Of a file whose name ends with a slash
        // it says that it is a directory only if it has the oldest type.
        ("python", Piece::Member(member)) => {
            let slash = member.name.ends_with(b"/") || member.name.is_empty();
            (!member.prefix.is_empty() && member.magic != POSIX) || (member.flag == b'0' && slash)
        }
        ("python", Piece::Pax(_, records)) if records.contains(&("path", "p/q/")) => true,
        ("python", Piece::Gnu(_, long)) => long.ends_with(b"/\0"),
        // It takes a global header for one that describes the next member.
        ("python", Piece::Pax(b'g', _)) => true,
        _ => false,
    })
}

#[test]
fn what_we_list_others_list_too() {
    let Some(peers) = Peers::new() else { return };
    let listed = std::cell::Cell::new(0);
    let config = chance::config(500);
    let cases = config.cases;
    let ends = select(ENDS.to_vec());
    let inputs = (prop::collection::vec(piece(), 0..5), ends);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&inputs, |(pieces, end)| {
        let archive = archive(&pieces, end);
        let Ok(listing) = ours(&archive) else {
            return Ok(());
        };
        listed.set(listed.get() + 1);
        let Others { gnu, bsd, python } = peers.list(&archive);
        for (name, other) in [("gnu", gnu), ("bsd", bsd), ("python", python)] {
            let agrees = other.as_ref().is_ok_and(|other| *other == listing);
            prop_assert!(
                agrees || excused(name, &pieces),
                "{:?}, but {} {:?}",
                listing,
                name,
                other
            );
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let listed = listed.get();
    assert!(listed * 20 > cases, "only {listed} of {cases} are sound");
}
