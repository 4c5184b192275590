//! What we list is what GNU tar, bsdtar and Python's `tarfile` list, or we refuse: ordinary
//! archives, which all of them read, and those that readers have disagreed on.

mod extensions;
mod headers;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use pybuild::archive::EntryKind;

use crate::peers::{Others, Peers, ours};

/// What is to come of an archive.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// All list the same.
    Agreed,
    /// We refuse it, whatever the others say.
    Refused,
    /// We list what two of the three do, and not what this one does.
    Against(&'static str),
}
use Verdict::{Against, Agreed, Refused};

/// What an archive is about, the archive, and what is to come of it.
pub(crate) type Case = (&'static str, Vec<u8>, Verdict);

/// All that readers have disagreed on.
pub(crate) fn cases() -> impl Iterator<Item = Case> {
    headers::cases().into_iter().chain(extensions::cases())
}

/// What is wrong, unless the verdict on an archive is this.
fn wrong(what: &str, archive: &[u8], verdict: Verdict, peers: &Peers) -> Option<String> {
    let listing = ours(archive);
    let listing = match (listing, verdict) {
        (Err(_), Refused) => return None,
        (Ok(listing), Agreed | Against(_)) => listing,
        (listing, _) => return Some(format!("{what}: {listing:?}")),
    };
    let Others { gnu, bsd, python } = peers.list(archive);
    [("gnu", gnu), ("bsd", bsd), ("python", python)]
        .into_iter()
        .find_map(|(name, other)| {
            let should = !matches!(verdict, Against(one) if one == name);
            let does = other.as_ref().is_ok_and(|other| *other == listing);
            (does != should).then(|| format!("{what}: {listing:?}, but {name} {other:?}"))
        })
}

/// A tree with all that an ordinary user can make, and the names in it.
fn tree(dir: &Path, long: bool) -> Vec<String> {
    fs::create_dir(dir.join("d")).expect("mkdir");
    fs::write(dir.join("d/file"), "content").expect("write");
    fs::write(dir.join("empty"), "").expect("write");
    fs::write(dir.join("two words"), vec![7; 1000]).expect("write");
    fs::write(dir.join("blocks"), vec![7; 1024]).expect("write");
    symlink("d/file", dir.join("symlink")).expect("symlink");
    fs::hard_link(dir.join("blocks"), dir.join("linked")).expect("link");
    let mut names = ["d", "empty", "two words", "blocks", "symlink", "linked"]
        .map(str::to_owned)
        .to_vec();
    if long {
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&dir.join("pipe"), mode).expect("mkfifo");
        let deep = ["n".repeat(120), "m".repeat(130)].join("/");
        fs::create_dir_all(dir.join(&deep)).expect("mkdir");
        fs::write(dir.join(&deep).join("long"), "long").expect("write");
        symlink("t".repeat(200), dir.join("far")).expect("symlink");
        fs::write(dir.join("umläut"), "ü").expect("write");
        fs::write(dir.join(OsStr::from_bytes(b"line\nfeed")), "").expect("write");
        let first = deep.split('/').next().unwrap_or_default().to_owned();
        let others = [&first, "far", "umläut", "line\nfeed", "pipe"];
        names.extend(others.map(str::to_owned));
    }
    names
}

fn made(program: &str, args: &[&str], dir: &Path, names: &[String]) -> Vec<u8> {
    let output = Command::new(program)
        .args(args)
        .args(names)
        .current_dir(dir)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    output.stdout
}

#[test]
fn what_others_write_all_list_alike() {
    let Some(peers) = Peers::new() else { return };
    let writers: [(&str, &[&str], bool); 12] = [
        ("tar", &["--format=v7", "-cf", "-"], false),
        ("tar", &["--format=ustar", "-cf", "-"], false),
        ("tar", &["--format=oldgnu", "-cf", "-"], true),
        ("tar", &["--format=gnu", "-cf", "-"], true),
        ("tar", &["--format=posix", "-cf", "-"], true),
        ("tar", &["--format=gnu", "-b1", "-cf", "-"], true),
        ("bsdtar", &["--format=ustar", "-cf", "-"], false),
        ("bsdtar", &["--format=gnutar", "-cf", "-"], true),
        ("bsdtar", &["--format=pax", "-cf", "-"], true),
        ("python3", &["-c", WRITE, "USTAR_FORMAT"], false),
        ("python3", &["-c", WRITE, "GNU_FORMAT"], true),
        ("python3", &["-c", WRITE, "PAX_FORMAT"], true),
    ];
    for (program, args, long) in writers {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let names = tree(dir.path(), long);
        let archive = made(program, args, dir.path(), &names);
        let what = format!("{program} {}", args[args.len() - 1]);
        let what = if program == "tar" {
            args[0].to_owned()
        } else {
            what
        };
        assert_eq!(wrong(&what, &archive, Agreed, &peers), None);
        // All of it, and nothing else: each name, and what is in the directories.
        let listing = ours(&archive).expect("sound");
        let inside = if long { 3 } else { 1 };
        assert_eq!(listing.len(), names.len() + inside, "{what}");
        let count = |kind| listing.iter().filter(|member| member.kind == kind).count();
        assert_eq!(count(EntryKind::HardLink), 1, "{what}");
        assert_eq!(count(EntryKind::Special), usize::from(long), "{what}");
    }
}

const WRITE: &str = "
import sys, tarfile
format = getattr(tarfile, sys.argv[1])
with tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=format) as archive:
    for name in sys.argv[2:]:
        archive.add(name)
";

#[test]
fn what_readers_could_read_in_two_ways_is_refused_or_read_as_most_do() {
    let Some(peers) = Peers::new() else { return };
    let wrong: Vec<String> = cases()
        .filter_map(|(what, archive, verdict)| wrong(what, &archive, verdict, &peers))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
