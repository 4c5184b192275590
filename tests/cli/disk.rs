//! Disks that are full or cannot be written to.

use std::fs;
use std::path::Path;

use crate::formula::Formula;
use crate::kit::{Case, STACK, files_below, is_root, shared_store};
use crate::program::{Pybuild, wrapped};

/// Puts a file system with 8 MB left at `$2`, with what a store needs in it, and says what `$4`…
/// comes to there; then again with room, if `$1` says so.
const SMALL: &str = r#"
again=$1 dir=$2 shared=$3; shift 3
mount -t tmpfs -o size=64m,mode=0755 none "$dir"
head -c 56M /dev/zero >"$dir/ballast"
mkdir "$dir/store"
test -z "$shared" || ln -s "$shared/layers" "$shared/rootfs" "$dir/store"
test "$(id -u)" != 0 || test -n "$NESTED" || chown 65534:65534 "$dir/store"
"$@"; first=$?
echo "LEFT: $(ls "$dir/store/scratch" "$dir/store/partial" "$dir/store/artifacts" | grep -v '^/.*:$\|^$')" >&2
test "$again" = again || exit $first
echo "FIRST: $first" >&2
rm "$dir/ballast"
exec "$@"
"#;

/// What runs a program, as whoever runs this, after a shell's script that mounts something for it
/// alone. Without being root outside it takes a user namespace to mount, and a second one to be an
/// ordinary user again.
fn namespaced<'a>(script: &[&'a str]) -> Vec<&'a str> {
    let mut wrapper = vec!["unshare", "--mount"];
    if !is_root() {
        wrapper.extend(["--user", "--map-root-user"]);
    }
    wrapper.extend(["--", "sh", "-c"]);
    wrapper.extend(script);
    if !is_root() {
        wrapper.extend([
            "unshare",
            "--user",
            "--map-user=1000",
            "--map-group=1000",
            "--",
        ]);
    }
    wrapper
}

/// To run on a disk of its own that is nearly full ([`SMALL`]).
fn on_a_small_disk(case: &Case, again: bool, shared: Option<&Path>) -> Pybuild {
    let disk = case.at("disk");
    fs::create_dir(&disk).expect("mkdir");
    let disk_name = disk.to_str().expect("ASCII");
    let shared = shared.map_or("", |path| path.to_str().expect("ASCII"));
    let again = if again { "again" } else { "" };
    let wrapper = namespaced(&[SMALL, "sh", again, disk_name, shared]);
    let nested = if is_root() { "" } else { "1" };
    wrapped(&wrapper, &disk.join("store")).env("NESTED", nested)
}

#[test]
fn a_disk_that_is_full_while_a_stack_is_fetched_is_named() {
    let Some(_) = shared_store() else { return };
    let case = Case::bare();
    let run = on_a_small_disk(&case, false, None)
        .args(["prepare", STACK])
        .run();
    let full = [
        "No space left on device",
        "hint: make room on that file system",
        "--store",
    ];
    let ran = run.fails(75, &full);
    assert!(ran.err.contains("LEFT: \n"), "{}", ran.err);
    case.is_quiet();
}

#[test]
fn a_disk_that_is_full_while_a_source_is_unpacked_is_named_and_room_helps() {
    let Some(shared) = shared_store() else { return };
    let case = Case::bare();
    let formulae = Formula::hello().weight(16 << 20).write(&case.at(""));
    let run = on_a_small_disk(&case, true, Some(shared))
        .env("PYBUILD_FORMULAE", formulae)
        .env("PYBUILD_SOURCE_MIRROR", case.at("sources"))
        .args(["sandbox", STACK, "hello-1.0", "--output"])
        .args([case.dist()]);
    let ran = run.run().succeeds();
    for said in [
        "/source/weight): ",
        "No space left on device",
        "hint: make room on that file system",
        "LEFT: \nFIRST: 75\n",
    ] {
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    case.is_quiet();
}

#[test]
fn a_store_that_cannot_be_written_to_is_named() {
    let Some(shared) = shared_store() else { return };
    let case = Case::bare();
    let disk = case.at("disk");
    fs::create_dir(&disk).expect("mkdir");
    // Made whole, then read-only.
    let script = "mount -t tmpfs -o ro none \"$1\"; shift; exec \"$@\"";
    let name = disk.to_str().expect("ASCII");
    let wrapper = namespaced(&[script, "sh", name]);
    let said = ["Read-only file system", "hint: ", "--store or PYBUILD_HOME"];
    for store in [disk.clone(), disk.join("store")] {
        let run = wrapped(&wrapper, &store)
            .args(["run", STACK, "--", "true"])
            .run();
        run.fails(75, &said);
    }
    assert!(shared.join("layout").is_file());
    case.is_quiet();
}

/// Something that does not compress, of so many times 256 KiB.
fn heavy(pieces: u32) -> Formula {
    let random = format!(
        "perl -e 'srand 7; binmode STDOUT; \
         print pack(\"N*\", map {{ int rand 4294967296 }} 1..65536) for 1..{pieces}' >$1/lib/heavy"
    );
    Formula::hello().step("heavy", &random)
}

#[test]
fn a_disk_that_is_full_while_an_artifact_is_packaged_is_named_and_room_helps() {
    let Some(shared) = shared_store() else { return };
    let case = Case::bare();
    let formulae = heavy(20).write(&case.at(""));
    let run = on_a_small_disk(&case, true, Some(shared))
        .env("PYBUILD_FORMULAE", formulae)
        .env("PYBUILD_SOURCE_MIRROR", case.at("sources"))
        .args(["deploy", STACK, "hello-1.0", "--target"])
        .args([case.dist()]);
    let ran = run.run().succeeds();
    for said in [
        "packaging hello-1.0",
        "No space left on device",
        "hint: make room on that file system",
        "LEFT: \nFIRST: 75\n",
    ] {
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    assert_eq!(files_below(&case.dist()).len(), 3);
    case.is_quiet();
}

/// Publishes to a target (`$2`) on a disk that is nearly full, and again when it is not.
const TARGET: &str = r#"
dir=$1; shift
mount -t tmpfs -o size=4m,mode=0755 none "$dir"
head -c 3M /dev/zero >"$dir/ballast"
"$@"; first=$?
echo "LEFT: $(find "$dir" -type f -name '*hello*' -o -name '.*')" >&2
echo "FIRST: $first" >&2
rm "$dir/ballast"
"$@" || exit
find "$dir" -type f | sort >&2
"#;

#[test]
fn a_target_that_is_full_is_named_and_room_helps() {
    let Some(case) = Case::new() else { return };
    let disk = case.at("disk");
    fs::create_dir(&disk).expect("mkdir");
    let formulae = heavy(8).write(&case.at(""));
    let name = disk.to_str().expect("ASCII");
    let wrapper = namespaced(&[TARGET, "sh", name]);
    let run = wrapped(&wrapper, &case.store())
        .env("PYBUILD_FORMULAE", formulae)
        .env("PYBUILD_SOURCE_MIRROR", case.at("sources"))
        .args(["deploy", STACK, "hello-1.0", "--target"])
        .args([disk.join("dist")]);
    let ran = run.run().succeeds();
    for said in [
        "No space left on device",
        "hint: make room on that file system",
        "hint: run the same command again: what has been built by then is kept",
        "LEFT: \nFIRST: 75\n",
        "/libraries/hello-1.0.tar.gz\n",
        "/libraries/hello-1.0.tar.gz.json\n",
        "/libraries/hello-1.0.tar.gz.sha256\n",
    ] {
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    let compiled = ran.err.matches("✓ hello-1.0: compile").count();
    assert_eq!(compiled, 1, "it is built again: {}", ran.err);
    case.is_clean();
}
