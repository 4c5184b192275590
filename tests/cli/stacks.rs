//! `pybuild stack list`, `show` and `diff`: what is told of stacks.

use std::fs;

use serde_json::{Value, json};

use crate::images::{content, given, lay_out, prepare};
use crate::kit::{Case, STACK, names};
use crate::layers::{json_of, prepared, stack};
use crate::oci::tar_of;

/// The rows of a stack.
fn rows(case: &Case, name: &str) -> Vec<Value> {
    let list = json_of(&stack(case, &["list", "--json"]).run().succeeds());
    let rows = list.as_array().expect("a list").iter();
    rows.filter(|row| row["stack"] == name).cloned().collect()
}

fn states(case: &Case, name: &str) -> Vec<String> {
    let rows = rows(case, name);
    let states = rows.iter().map(|row| row["state"].as_str());
    states.map(|it| it.expect("a state").to_owned()).collect()
}

#[test]
fn stacks_are_listed_whether_they_are_here_or_not() {
    let Some(case) = Case::new() else { return };
    let run = |args: &[&str]| case.pybuild().arg("stack").args(args).run().succeeds();
    let text = run(&["list"]).out;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 15, "{text}");
    assert!(lines[0].starts_with("NAME"), "{text}");
    let line = |name: &str| {
        lines
            .iter()
            .find(|line| line.starts_with(name))
            .expect(name)
    };
    let words = |name| line(name).split_whitespace().collect::<Vec<_>>();
    assert!(words(STACK).ends_with(&["2028-06-30", "here"]), "{text}");
    assert!(
        words("heroku-16").ends_with(&["(past)", "not", "here"]),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "{text}");

    let list = json_of(&run(&["list", STACK, "--json"]));
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    let shown = json_of(&run(&["show", STACK, "--json"]));
    let [run_image, build] = [&shown["images"][0], &shown["images"][1]];
    assert_eq!(list[0]["build"], build["digest"]);
    assert_eq!(list[0]["run"], run_image["digest"]);
    let size = list[0]["size"].as_u64().expect("a number");
    let each = build["layers"].as_array().expect("layers").iter();
    let sum: u64 = each
        .map(|layer| layer["size"].as_u64().expect("a size"))
        .sum();
    assert_eq!(size, sum);
    assert!(size > 100_000_000, "{size}");
    assert_eq!(build["layers"][0]["key"], run_image["layers"][0]["key"]);
    assert!(build["packages"].as_u64() > run_image["packages"].as_u64());

    let packages = run(&["show", STACK, "--packages"]).out;
    assert!(packages.contains("\n    libc6 "), "{packages}");
    assert!(
        packages.contains("used on this host: the first that can be"),
        "{packages}"
    );
    run(&["diff", STACK, STACK, "--files"]);
}

#[test]
fn manifests_that_change_or_go_leave_stacks_behind() {
    let Some(case) = prepared() else { return };
    assert_eq!(states(&case, "ours"), ["here"]);
    assert_eq!(states(&case, STACK), ["absent"]);
    let path = case.at("manifests/ours.toml");
    let text = fs::read_to_string(&path).expect("readable");
    fs::write(&path, text.replace("2099", "2020")).expect("written");
    let row = &rows(&case, "ours")[0];
    assert_eq!(
        (&row["state"], &row["is_past"]),
        (&json!("here"), &json!(true))
    );

    let other = text.replace("images:run", "images:build");
    fs::write(&path, &other).expect("written");
    assert_eq!(states(&case, "ours"), ["changed", "absent"]);
    // Both are listed, and the one that the manifest means is shown.
    fs::write(
        &path,
        format!("{text}[[from]]\nimage.build = \"oci:../images:build\"\n"),
    )
    .expect("written");
    assert_eq!(states(&case, "ours"), ["here"]);
    fs::remove_file(&path).expect("removed");
    assert_eq!(states(&case, "ours"), ["orphaned"]);
    let shown = stack(&case, &["show", "ours"]).run().succeeds().out;
    assert!(shown.contains("there is none any more"), "{shown}");
    stack(&case, &["verify", "ours"]).run().succeeds();
    stack(&case, &["remove", "ours"]).run().succeeds();
    assert_eq!(states(&case, "ours"), [""; 0]);
    stack(&case, &["show", "ours"])
        .run()
        .fails(2, &["there is no stack `ours`"]);
}

#[test]
fn a_record_that_cannot_be_understood_is_told_of() {
    let Some(case) = prepared() else { return };
    let records = case.store().join("rootfs");
    let record = records.join(&names(&records)[0]);
    let text = fs::read_to_string(&record).expect("readable");
    fs::write(&record, &text[..text.len() - 2]).expect("written");
    let ran = stack(&case, &["verify"]).run();
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(
        ran.out.contains("1 record cannot be understood"),
        "{}",
        ran.out
    );
    // Its layers are nobody's to remove, since it refers to them.
    let ran = stack(&case, &["remove", "ours"]).run();
    ran.fails(2, &["the stack ours is not on this host"]);
    assert_eq!(names(&case.store().join("layers")).len(), 2);
    prepare(&case).run().succeeds();
    stack(&case, &["verify"]).run().succeeds();
}

#[test]
fn two_stacks_are_compared_by_packages_and_files() {
    let Some(case) = prepared() else { return };
    let status =
        b"Package: base\nStatus: install ok installed\nVersion: 1.0~rc1\nArchitecture: all\n\n\
        Package: more\nStatus: install ok installed\nVersion: 2\nArchitecture: all\n\n";
    let mut other = content();
    let mut layers = crate::images::run_layers();
    layers.push(tar_of(&[
        ("var/lib/dpkg/status", status),
        ("etc/other", b"x"),
    ]));
    layers.push(tar_of(&[("etc/.wh.which", b"")]));
    let image = other.image(&layers);
    other.tag("other", &image);
    fs::remove_dir_all(case.at("images")).expect("removed");
    lay_out(&other, &case.at("images"));
    let text = "schema = 1\nname = \"theirs\"\nend_of_life = 2099-01-01\n\
        architectures = [\"amd64\"]\n[[from]]\nimage.build = \"oci:../images:other\"\n";
    fs::write(case.at("manifests/theirs.toml"), text).expect("written");
    let diff = |more: &[&str]| stack(&case, &[&["diff", "ours", "theirs"], more].concat()).run();
    diff(&[]).fails(2, &["the stack theirs is not on this host"]);
    given(case.pybuild().args(["prepare", "theirs"]), &case)
        .run()
        .succeeds();

    let ran = diff(&["--image", "run", "--files"]).succeeds();
    let lines: Vec<&str> = ran.out.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "PACKAGE  ours  theirs",
            "base     1.0   1.0~rc1  earlier in the second",
            "more     -     2        only in the second",
            "",
            "PATH",
            "etc/other            only in theirs",
            "etc/which            only in ours",
            "var/lib/dpkg/status  content, 75 → 152 bytes",
            "",
            "2 packages of the run images differ: 1 only in theirs, 1 earlier in theirs; 3 paths differ",
        ]
    );
    let json = json_of(&diff(&["--image", "run", "--json"]).succeeds());
    let moved = json!({"name": "base", "a": "1.0", "b": "1.0~rc1"});
    assert_eq!(
        (&json["packages"][0], &json["paths"]),
        (&moved, &Value::Null)
    );
}
