//! In what two artifacts differ, and why.

use std::fs;
use std::path::{Path, PathBuf};

use crate::formula::{Formula, tarball};
use crate::kit::Case;

/// Builds a formula and keeps what came of it under another name.
fn built(case: &Case, formula: &Formula, name: &str) -> PathBuf {
    formula.build(case).run().succeeds();
    let tarball = tarball(case);
    let kept = case.at(name);
    fs::create_dir(&kept).expect("mkdir");
    for end in ["", ".sha256", ".json"] {
        let file = format!("hello-1.0.tar.gz{end}");
        let from = tarball.with_file_name(&file);
        fs::rename(from, kept.join(&file)).expect("kept");
    }
    kept.join("hello-1.0.tar.gz")
}

#[test]
fn what_differs_is_told_down_to_the_reason() {
    let Some(case) = Case::new() else { return };
    let one = built(&case, &Formula::hello(), "one");
    let changed = "
        cc -O1 -DMORE -o hello hello.c -Wl,--build-id=0x1234
        cp hello $1/bin/hello
        echo '#define HELLO 2' >$1/include/hello.h
        rm $1/share/doc/hello/README
        ln -s hello $1/bin/hi";
    let other = built(&case, &Formula::hello().step("change", changed), "other");
    let diff = |a: &Path, b: &Path| case.pybuild().arg("diff").args([a, b]);
    let same = diff(&one, &one).run().succeeds();
    assert!(
        same.out.contains("they are the same, byte for byte"),
        "{}",
        same.out
    );
    let ran = diff(&one, &other).run();
    assert_eq!(ran.code, 4, "{}", ran.err);
    for said in [
        "build id",
        "+ step change  sh /build/files/change.sh /app/hello '{jobs}' (in ",
        "+ file change.sh  ",
        "~ bin/hello  content, ",
        "      build id ",
        "→ 1234",
        "+ bin/hi  only in the second: a symlink",
        "~ include/hello.h  content, 16 bytes",
        "      - #define HELLO 1",
        "      + #define HELLO 2",
        "- share/doc/hello/README  only in the first: a file of 8 B",
        "of the paths 2 differ, 1 only in the first, 1 only in the second; their records differ in ",
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    let ran = diff(&one, &other).args(["--json", "--quiet"]).run();
    assert_eq!((ran.code, ran.err.as_str()), (4, ""));
    let said: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(said["same"], false);
    let files = said["files"].as_array().expect("a list");
    let words: Vec<_> = files.iter().map(|row| row["change"].as_str()).collect();
    let expected = ["content", "added", "content", "removed"].map(Some);
    assert_eq!(words, expected);
    let what = |row: &serde_json::Value| row["what"] == "step change";
    assert!(said["record"].as_array().expect("a list").iter().any(what));
    case.is_quiet();
}

#[test]
fn the_same_files_packed_in_another_way_are_told_apart_by_that() {
    let Some(case) = Case::new() else { return };
    let one = built(&case, &Formula::hello(), "one");
    let other = case.at("other.tar.xz");
    let status = std::process::Command::new("sh")
        .args(["-c", "gzip -dc \"$1\" | xz -0 >\"$2\"", "sh"])
        .args([&one, &other])
        .status();
    assert!(status.expect("a shell").success());
    let ran = case.pybuild().arg("diff").args([&one, &other]).run();
    assert_eq!(ran.code, 4, "{}", ran.err);
    for said in [
        "compressed with gz → xz",
        "no path differs; there are not two records to compare",
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    // What is cut short is not the same because its beginning is.
    let bytes = fs::read(&one).expect("there");
    fs::write(&other, &bytes[..bytes.len() - 40]).expect("written");
    let ran = case.pybuild().arg("diff").args([&one, &other]).run();
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.out.contains("! "), "{}", ran.out);
    let missing = case.at("none.tar.gz");
    let ran = case.pybuild().arg("diff").args([&one, &missing]).run();
    ran.fails(2, &["none.tar.gz"]);
}
