//! Images given on: as OCI layouts and as tarballs, with the owners and modes that are meant.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::images::{
    APT, STATUS, can_sandbox, given, lay_out, manifest, prepare, program, programs,
};
use crate::kit::{Case, eventually, files_below, is_root, names, processes_of};
use crate::oci::{Content, tar_of};
use crate::program::Pybuild;
use crate::tarball::{Entry, tar};

/// A layer of what one user cannot have, and of what is going to change.
fn special() -> Vec<u8> {
    let file = |name, owner, mode| Entry {
        name,
        owner,
        mode,
        data: b"data",
        ..Entry::default()
    };
    let of = |flag, name, owner, mode| Entry {
        flag,
        data: b"",
        ..file(name, owner, mode)
    };
    tar()
        .dir("opt")
        .entry(&file(b"opt/su", (0, 0), 0o4755))
        .hard_link("opt/su2", "opt/su")
        .entry(&file(b"opt/theirs", (1000, 100), 0o640))
        .entry(&of(b'5', b"opt/mail", (0, 8), 0o2775))
        .entry(&file(b"opt/mail/list", (5, 8), 0o660))
        .entry(&of(b'6', b"opt/pipe", (7, 7), 0o622))
        .entry(&Entry {
            device: (1, 3),
            ..of(b'3', b"opt/null", (0, 0), 0o666)
        })
        .pax(&[("SCHILY.xattr.user.note", "kept")])
        .entry(&file(b"opt/noted", (0, 0), 0o644))
        .pax(&[(
            "SCHILY.xattr.security.capability",
            "\u{1}\0\0\u{2}\0 \0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        )])
        .entry(&file(b"opt/ping", (0, 0), 0o755))
        .symlink("opt/link", "theirs")
        .dir("opt/gone")
        .file("opt/gone/file", "gone")
        .dir("opt/new")
        .file("opt/new/old", "old")
        .end()
}

/// The stack `ours`, made of an image and of packages that apt has put on top and that have taken
/// something away.
pub(crate) fn ours(case: &Case) {
    let mut content = Content::default();
    let layers = [
        programs().clone(),
        tar_of(&[("var/lib/dpkg/status", STATUS)]),
        program("usr/bin/apt-get", APT),
        special(),
    ];
    let image = content.image(&layers);
    content.tag("special", &image);
    lay_out(&content, &case.at("images"));
    manifest(
        case,
        "image.build = \"oci:../images:special\"\npackages.build = [\"removes\"]",
    );
}

pub(crate) fn export(case: &Case, output: &Path, more: &[&str]) -> Pybuild {
    let run = case.pybuild().args(["stack", "export", "ours", "--output"]);
    given(run.args([output]).args(more), case)
}

/// What a tarball says: of each path its kind, owner, group and mode.
pub(crate) fn listing(tar: &[u8]) -> BTreeMap<String, (u8, u64, u64, u32)> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar archive");
    entries
        .map(|entry| {
            let entry = entry.expect("sound");
            let header = entry.header();
            let owner = (
                header.uid().expect("a number"),
                header.gid().expect("a number"),
            );
            let mode = header.mode().expect("a number");
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            (
                name,
                (header.entry_type().as_byte(), owner.0, owner.1, mode),
            )
        })
        .collect()
}

fn read(path: &Path) -> Vec<u8> {
    let file = fs::File::open(path).expect("there");
    let mut bytes = Vec::new();
    let mut plain = pybuild::archive::decoder(file).expect("a known format");
    plain.read_to_end(&mut bytes).expect("sound");
    bytes
}

#[test]
fn an_image_that_was_exported_is_the_same_image() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    ours(&case);
    let (layout, tarball) = (case.at("out/layout"), case.at("out/root.tar"));
    let ran = export(&case, &layout, &[]).run().succeeds();
    assert!(ran.out.contains("2 layers"), "{}", ran.out);
    let ran = export(&case, &tarball, &["--json"]).run().succeeds();
    let told: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let bytes = fs::read(&tarball).expect("there");
    let digest = pybuild::model::Sha256::of(&bytes).to_string();
    assert_eq!(
        (&told["sha256"], &told["size"]),
        (&digest.into(), &bytes.len().into())
    );
    let listed = listing(&bytes);
    let wanted = [
        ("opt/su", Some((b'0', 0, 0, 0o4755))),
        ("opt/su2", Some((b'1', 0, 0, 0o4755))),
        ("opt/theirs", Some((b'0', 1000, 100, 0o640))),
        // Changed by apt's run, and still whose they were.
        ("opt/mail/", Some((b'5', 0, 8, 0o2775))),
        ("opt/mail/list", Some((b'0', 5, 8, 0o660))),
        ("opt/pipe", Some((b'6', 7, 7, 0o622))),
        ("opt/null", Some((b'3', 0, 0, 0o666))),
        ("opt/new/file", Some((b'0', 0, 0, 0o644))),
        ("opt/new/old", None),
        ("opt/gone/", None),
        ("opt/gone/file", None),
    ];
    for (name, found) in wanted {
        assert_eq!(listed.get(name).copied(), found, "{name}");
    }
    assert!(memchr::memmem::find(&bytes, b"SCHILY.xattr.user.note=kept\n").is_some());
    assert!(memchr::memmem::find(&bytes, b"SCHILY.xattr.security.capability=\x01").is_some());

    // The layout as an image of another host: the same tree, owners and all.
    let other = Case::bare();
    fs::rename(&layout, other.at("layout")).expect("moved");
    manifest(&other, "image.build = \"oci:../layout:ours\"");
    prepare(&other).run().succeeds();
    let again = other.at("root.tar");
    export(&other, &again, &[]).run().succeeds();
    assert_eq!(listing(&fs::read(&again).expect("there")), listed);
    assert!(fs::read(&again).expect("there") == bytes, "other bytes");
    // And once more: the same bytes.
    export(&case, &case.at("again"), &[]).run().succeeds();
    assert_eq!(
        files_below(&case.at("again")),
        files_below(&other.at("layout"))
    );
    case.is_clean();
    other.is_clean();
}

#[test]
fn tarballs_are_compressed_as_their_names_say() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    ours(&case);
    let outputs = ["a.tar", "a.tar.gz", "a.tar.xz", "a.tar.zst"].map(|name| case.at(name));
    for output in &outputs {
        export(&case, output, &["--image", "run"]).run().succeeds();
    }
    let plain = fs::read(&outputs[0]).expect("there");
    // The run image is what apt has left alone.
    assert!(listing(&plain).contains_key("opt/gone/file"));
    for output in &outputs[1..] {
        assert!(fs::metadata(output).expect("there").len() < plain.len() as u64);
        assert!(read(output) == plain, "{}", output.display());
    }
    let odd = case.at("odd");
    export(&case, &odd, &["--image", "run", "--format", "tar"])
        .run()
        .succeeds();
    assert!(fs::read(&odd).expect("there") == plain);
    let listed = Command::new("tar").arg("-tvf").arg(&outputs[1]).output();
    let listed = listed.expect("GNU tar");
    assert!(
        listed.status.success() && listed.stderr.is_empty(),
        "{listed:?}"
    );
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let squeezed: Vec<&str> = listed.split_whitespace().collect();
    let listed = squeezed.join(" ");
    for said in [
        "-rwsr-xr-x 0/0 4 ",
        "crw-rw-rw- 0/0 1,3 ",
        "drwxrwsr-x 0/8 0 ",
    ] {
        assert!(listed.contains(said), "{said}: {listed}");
    }
    case.is_clean();
}

/// As root umoci gives everything what it should have; as a user it says what it cannot.
#[test]
fn umoci_unpacks_what_was_exported() {
    if !can_sandbox() {
        return;
    }
    let missing = ["umoci", "skopeo"]
        .into_iter()
        .find(|tool| Command::new(tool).arg("--version").output().is_err());
    if let Some(tool) = missing {
        assert!(
            std::env::var_os("CI").is_none(),
            "no {tool}: apt-get install {tool}"
        );
        return;
    }
    let case = Case::bare();
    ours(&case);
    let (layout, copy) = (case.at("layout"), case.at("copy"));
    export(&case, &layout, &[]).run().succeeds();
    let run = |command: &mut Command| {
        let output = command.output().expect("started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {said}");
    };
    let image = |dir: &Path| format!("{}:ours", dir.display());
    run(Command::new("skopeo").args([
        "copy",
        &format!("oci:{}", image(&layout)),
        &format!("oci:{}", image(&copy)),
    ]));
    let bundle = case.at("bundle");
    let mut umoci = Command::new("umoci");
    umoci.args(["unpack", "--image", &image(&copy)]);
    if !is_root() {
        umoci.arg("--rootless");
    }
    run(umoci.arg(&bundle));
    let root = bundle.join("rootfs/opt");
    assert_eq!(
        names(&root),
        [
            "link", "mail", "new", "noted", "null", "ping", "pipe", "su", "su2", "theirs"
        ]
    );
    assert_eq!(names(&root.join("new")), ["file"]);
    let list = fs::read_to_string(root.join("mail/list")).expect("there");
    assert_eq!(list, "datamore\n");
    let found = |name: &str| fs::symlink_metadata(root.join(name)).expect("there");
    assert_eq!(found("su").ino(), found("su2").ino());
    assert_eq!(found("mail").mode() & 0o7777, 0o2775);
    if is_root() {
        let owner = |name| (found(name).uid(), found(name).gid(), found(name).mode());
        assert_eq!(owner("theirs"), (1000, 100, 0o100_640));
        assert_eq!(owner("mail/list"), (5, 8, 0o100_660));
        assert_eq!(owner("su"), (0, 0, 0o104_755));
        assert_eq!(owner("null"), (0, 0, 0o020_666));
        assert_eq!(found("null").rdev(), nix::sys::stat::makedev(1, 3));
    }
    case.is_clean();
}

#[test]
fn nothing_that_is_there_is_replaced() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    ours(&case);
    let there = |name: &str| -> PathBuf {
        let path = case.at(name);
        fs::create_dir_all(&path).expect("mkdir");
        fs::write(path.join("mine"), "mine").expect("written");
        path
    };
    let file = case.at("mine.tar");
    fs::write(&file, "mine").expect("written");
    for output in [
        there("layout"),
        there("dir.tar"),
        file.clone(),
        case.at("mine.tar/below"),
    ] {
        let said = ["there already", "hint: choose another --output"];
        let ran = export(&case, &output, &[]).run();
        if output.starts_with(&file) && output != file {
            assert_ne!(ran.code, 0, "{}", ran.err);
            continue;
        }
        ran.fails(2, &said);
    }
    assert_eq!(fs::read_to_string(&file).expect("there"), "mine");
    assert_eq!(names(&case.at("layout")), ["mine"]);
    // What is empty may be used.
    fs::create_dir(case.at("empty")).expect("mkdir");
    export(&case, &case.at("empty"), &[]).run().succeeds();
    assert_eq!(
        names(&case.at("empty")),
        ["blobs", "index.json", "oci-layout"]
    );
    fs::write(case.at("empty.tar"), "").expect("written");
    export(&case, &case.at("empty.tar"), &[]).run().succeeds();
    case.is_clean();
}

#[test]
fn an_export_that_was_killed_shows_nothing_and_the_next_one_is_whole() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    ours(&case);
    prepare(&case).run().succeeds();
    let whole = case.at("whole");
    export(&case, &whole, &[]).run().succeeds();
    let wanted = files_below(&whole);
    let output = case.at("out/layout");
    let mut killed = 0;
    for moment in 1..5 {
        let run = export(&case, &output, &[]).start();
        let alive = run.lines(moment);
        run.signal(Signal::SIGKILL);
        killed += i32::from(alive && run.wait().code == 137);
        eventually("no process is left", || {
            processes_of(&case.at("")).is_empty()
        });
        let found = files_below(&output);
        assert!(found.is_empty() || found == wanted, "{moment}: {found:?}");
        if found == wanted {
            fs::remove_dir_all(&output).expect("removed");
        }
    }
    assert!(killed > 0, "none was killed under way");
    export(&case, &output, &[]).run().succeeds();
    assert_eq!(files_below(&output), wanted);
    assert_eq!(names(&case.at("out")), ["layout"]);
    // One that is told to stop leaves nothing at all.
    fs::remove_dir_all(&output).expect("removed");
    let run = export(&case, &output, &[]).start();
    assert!(run.lines(1));
    run.signal(Signal::SIGINT);
    let ran = run.wait();
    if ran.code != 0 {
        assert_eq!(ran.code, 130, "{}", ran.err);
        assert_eq!(names(&case.at("out")), [""; 0]);
    }
    case.is_clean();
}

#[test]
fn what_root_exports_is_written_where_only_root_may() {
    if !is_root() || !can_sandbox() {
        return;
    }
    let case = Case::bare();
    ours(&case);
    let private = case.at("private");
    fs::create_dir(&private).expect("mkdir");
    fs::set_permissions(&private, Permissions::from_mode(0o700)).expect("chmod");
    for name in ["layout", "root.tar"] {
        export(&case, &private.join(name), &[]).run().succeeds();
    }
    assert_eq!(names(&private), ["layout", "root.tar"]);
    for path in files_below(&private) {
        let found = fs::metadata(private.join(&path)).expect("there");
        assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o644), "{path}");
    }
    case.is_clean();
}
