//! What a build delivers, and what a second one does.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

use nix::unistd::geteuid;

use crate::formula::{Formula, digest, tarball};
use crate::kit::{Case, STACK, files_below, is_root, names};
use crate::program::wrapped;

/// Runs a program of the host's for what it prints.
fn host(program: &str, args: &[&str], dir: &std::path::Path) -> String {
    let output = Command::new(program).args(args).current_dir(dir).output();
    let output = output.expect("a program that every host has");
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn an_artifact_is_a_tarball_a_checksum_and_a_record() {
    let Some(case) = Case::new() else { return };
    let ran = Formula::hello().build(&case).run().succeeds();
    let tarball = tarball(&case);
    let sha256 = digest(&tarball).to_string();
    for said in [
        "hello-1.0 for debian-12\n",
        tarball.to_str().expect("ASCII"),
        &sha256,
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    let dir = tarball.parent().expect("a directory");
    assert_eq!(
        files_below(&case.dist()),
        ["", ".json", ".sha256"].map(|end| format!("{STACK}/libraries/hello-1.0.tar.gz{end}"))
    );
    assert_eq!(
        host("tar", &["-tzf", "hello-1.0.tar.gz"], dir),
        "bin/\ninclude/\nlib/\nshare/\nshare/doc/\nshare/doc/hello/\nbin/hello\ninclude/hello.h\n\
         share/doc/hello/README\nlib/hello.dat\n"
    );
    let checked = host("sha256sum", &["-c", "hello-1.0.tar.gz.sha256"], dir);
    assert_eq!(checked, "hello-1.0.tar.gz: OK\n");
    let record = fs::read(dir.join("hello-1.0.tar.gz.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    assert_eq!(record["artifact"]["sha256"], sha256);
    assert_eq!(record["name"], "hello");
    for name in names(dir) {
        let found = fs::metadata(dir.join(&name)).expect("there");
        // They belong to whoever asked for them, and everyone may read them.
        assert_eq!(found.uid(), geteuid().as_raw(), "{name}");
        assert_eq!(found.mode() & 0o777, 0o644, "{name}");
    }
    case.is_clean();
}

/// As the README's first command has it: nothing says where the store is.
#[test]
fn without_a_word_the_store_is_where_the_manual_says() {
    let Some(case) = Case::new() else { return };
    let home = case.at("home");
    fs::create_dir_all(home.join(".cache")).expect("mkdir");
    let started = if is_root() {
        // The host's own store stays as it is: the test's is shown in its place.
        let script = "store=$1; shift
            mount -t tmpfs tmpfs /var/cache
            mkdir /var/cache/pybuild
            mount --bind \"$store\" /var/cache/pybuild
            exec \"$@\"";
        let store = case.store();
        let store = store.to_str().expect("ASCII");
        wrapped(
            &["unshare", "--mount", "sh", "-euc", script, "sh", store],
            &home,
        )
    } else {
        symlink(case.store(), home.join(".cache/pybuild")).expect("symlink");
        wrapped::<&str>(&[], &home)
    };
    let formula = Formula::hello();
    let run = formula.build_by(&case, started.without("PYBUILD_HOME"));
    run.run().succeeds();
    assert_eq!(names(&case.store().join("artifacts")).len(), 1);
    assert!(tarball(&case).exists());
    assert_eq!(
        files_below(&home),
        if is_root() {
            vec![]
        } else {
            vec![".cache/pybuild"]
        }
    );
    case.is_clean();
}

#[test]
fn a_second_run_does_nothing_and_says_so() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    formula.build(&case).run().succeeds();
    let tarball = tarball(&case);
    let built = fs::metadata(&tarball).expect("there");
    // Without the source, and with what would break a build that ran.
    let again = || {
        let run = formula.build(&case);
        fs::remove_dir_all(case.at("sources")).expect("removed");
        run.args(["--timeout", "1s", "--memory", "1K"])
    };
    let ran = again().run().succeeds();
    assert!(
        ran.out
            .starts_with("hello-1.0 for debian-12 (nothing to do)\n"),
        "{}",
        ran.out
    );
    assert_eq!(ran.err, "");
    let found = fs::metadata(&tarball).expect("there");
    assert_eq!(found.ino(), built.ino(), "it was delivered again");
    // What is missing or changed in the output directory is put back from the store.
    fs::write(&tarball, "something else").expect("written");
    fs::remove_file(
        case.dist()
            .join(STACK)
            .join("libraries/hello-1.0.tar.gz.json"),
    )
    .expect("removed");
    let ran = again().run().succeeds();
    assert!(!ran.out.contains("nothing to do"), "{}", ran.out);
    assert_eq!(files_below(&case.dist()).len(), 3);
    assert_eq!(fs::metadata(&tarball).expect("there").size(), built.size());
    let ran = again().args(["--json", "--quiet"]).run().succeeds();
    let said: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(said["artifacts"][0]["reused"], true);
    case.is_clean();
}

#[test]
fn results_as_json_have_the_same_keys_each_time() {
    let Some(case) = Case::new() else { return };
    let ran = Formula::hello()
        .build(&case)
        .args(["--json"])
        .run()
        .succeeds();
    assert!(
        ran.err.contains("hello-1.0: compile"),
        "talk is on standard error: {}",
        ran.err
    );
    let said: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON alone");
    let keys = |value: &serde_json::Value| {
        let keys = value.as_object().expect("an object").keys().cloned();
        let mut keys: Vec<String> = keys.collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&said), ["artifacts", "phases", "seconds", "stack"]);
    let artifact = &said["artifacts"][0];
    let wanted = ["build", "formula", "path", "reused", "sha256", "size"];
    assert_eq!(keys(artifact), wanted);
    assert_eq!(artifact["formula"], "hello-1.0");
    assert_eq!(artifact["reused"], false);
    assert_eq!(artifact["sha256"], digest(&tarball(&case)).to_string());
    let run = case
        .pybuild()
        .args(["prepare", STACK, "--json"])
        .run()
        .succeeds();
    let said: serde_json::Value = serde_json::from_str(&run.out).expect("JSON alone");
    assert_eq!(
        keys(&said[0]),
        ["digest", "image", "layers", "packages", "stack"]
    );
}

#[test]
fn talk_is_plain_lines_where_there_is_no_terminal() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello().step("talk", "printf '\\033[31mred\\033[0m\\r\\n'");
    let ran = formula.build(&case).args(["--verbose"]).run().succeeds();
    let plain = |c: char| c == '\n' || !c.is_control();
    assert!(ran.err.chars().all(plain), "{:?}", ran.err);
    for said in [
        "  hello-1.0: compile\n",
        "✓ hello-1.0: compile  ",
        "  | red\n",
    ] {
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    let ran = formula
        .build(&case)
        .args(["--quiet", "--rebuild"])
        .run()
        .succeeds();
    assert_eq!(ran.err, "");
}

#[test]
fn each_compression_is_delivered_and_holds_the_same() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    formula.build(&case).run().succeeds();
    let list = host(
        "tar",
        &["-tf", tarball(&case).to_str().expect("ASCII")],
        &case.at(""),
    );
    for (compress, magic) in [
        ("zst", &[0x28, 0xb5, 0x2f, 0xfd][..]),
        ("xz", b"\xfd7zXZ\0"),
    ] {
        let ran = formula
            .build(&case)
            .args(["--compress", compress])
            .run()
            .succeeds();
        assert!(
            !ran.err.contains("hello-1.0: compile"),
            "it is built again: {}",
            ran.err
        );
        let name = format!("{STACK}/libraries/hello-1.0.tar.{compress}");
        let bytes = fs::read(case.dist().join(&name)).expect("delivered");
        assert!(bytes.starts_with(magic), "{compress}");
        let tar = pybuild::archive::decoder(&bytes[..]).expect("a known codec");
        let mut tar = tar::Archive::new(tar);
        let entries = tar.entries().expect("a tar").map(|entry| {
            let entry = entry.expect("an entry");
            let path = entry.path().expect("a path");
            path.to_str().expect("ASCII").to_owned()
        });
        assert_eq!(
            entries.collect::<Vec<_>>(),
            list.lines().collect::<Vec<_>>()
        );
        let sidecar = format!("hello-1.0.tar.{compress}.sha256");
        host(
            "sha256sum",
            &["-c", &sidecar],
            &case.dist().join(STACK).join("libraries"),
        );
    }
    assert_eq!(files_below(&case.dist()).len(), 9);
    case.is_clean();
}

#[test]
fn an_output_directory_that_cannot_be_written_to_loses_nothing() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    fs::write(case.dist(), "a file").expect("written");
    let said = [
        "cannot write to the output directory",
        "hint: choose another output directory",
    ];
    formula.build(&case).run().fails(75, &said);
    assert_eq!(fs::read_to_string(case.dist()).expect("there"), "a file");
    fs::remove_file(case.dist()).expect("removed");
    let ran = formula.build(&case).run().succeeds();
    assert!(
        !ran.err.contains("hello-1.0: compile"),
        "it is built again: {}",
        ran.err
    );
    case.is_clean();
}
