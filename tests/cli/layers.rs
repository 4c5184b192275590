//! `pybuild stack verify`: whatever is done to a layer is found, and a spoilt one is used no more.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::images::{can_sandbox, content, given, lay_out, manifest, prepare, say};
use crate::kit::{Case, STACK, names};
use crate::program::{Pybuild, Ran};

/// A store with the stack `ours`: its build image continues its run image, so they share files.
pub(crate) fn prepared() -> Option<Case> {
    if !can_sandbox() {
        return None;
    }
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    manifest(
        &case,
        "image.build = \"oci:../images:build\"\nimage.run = \"oci:../images:run\"",
    );
    prepare(&case).run().succeeds();
    Some(case)
}

pub(crate) fn stack(case: &Case, args: &[&str]) -> Pybuild {
    given(case.pybuild().arg("stack").args(args), case)
}

pub(crate) fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).expect("JSON")
}

fn verify(case: &Case) -> Ran {
    stack(case, &["verify", "--json"]).run()
}

/// The layer directories of the run image and of the build image.
fn layers(case: &Case) -> [PathBuf; 2] {
    let shown = json_of(&stack(case, &["show", "ours", "--json"]).run().succeeds());
    ["run", "build"].map(|kind| {
        let images = shown["images"].as_array().expect("images");
        let image = images.iter().find(|image| image["image"] == kind);
        let path = image.expect("an image")["layers"][0]["path"].as_str();
        PathBuf::from(path.expect("a path"))
    })
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

/// Everything that is wrong, as `PATH HOW`.
fn wrong(ran: &Ran) -> Vec<String> {
    let json = json_of(ran);
    let layers = json["layers"].as_array().expect("layers").iter();
    let wrong = layers.flat_map(|layer| layer["wrong"].as_array().expect("a list").clone());
    wrong
        .map(|it| {
            let text = |key: &str| it[key].as_str().expect("a text").to_owned();
            format!("{} {}", text("path"), text("what"))
        })
        .collect()
}

#[test]
fn a_stack_that_nobody_touched_is_sound() {
    let Some(case) = Case::new() else { return };
    let run = case.pybuild().args(["run", STACK, "--", "sh", "-c"]);
    run.arg("rm -r /etc/apt /bin/true; echo x >/etc/passwd")
        .run()
        .succeeds();
    let ran = case.pybuild().args(["stack", "verify", "--json"]).run();
    let json = json_of(&ran.succeeds());
    assert_eq!(json["stacks"][0]["condition"], "sound");
    let layers = json["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 2, "{layers:?}");
    for layer in layers {
        assert!(layer["entries"].as_u64() > Some(5000), "{layer}");
    }
    assert!(json["bytes"].as_u64() > Some(100_000_000), "{json}");
}

/// What is done to the layer of the run image and to that of the build image.
type Damage = fn(&Path, &Path);

/// What was damaged, and what is said of it.
type Row = (&'static str, Damage, &'static [&'static str]);

#[test]
fn whatever_is_done_to_a_tree_is_found() {
    let table: [Row; 8] = [
        (
            "another content of the same length",
            |run, _| {
                let path = run.join("tree/etc/which");
                fs::write(path, "ruN\n").expect("written");
            },
            &["etc/which has another content"],
        ),
        (
            "a mode",
            |_, build| set_mode(&build.join("tree/usr/sbin/some"), 0o4755),
            &["usr/sbin/some had the mode 0755, has 4755"],
        ),
        (
            "a directory's mode",
            |_, build| set_mode(&build.join("tree/usr/sbin"), 0o700),
            &["usr/sbin had the mode 0755, has 0700"],
        ),
        (
            "something is missing",
            |_, build| fs::remove_file(build.join("tree/etc/build")).expect("removed"),
            &["etc/build is missing"],
        ),
        (
            "something was added",
            |_, build| fs::write(build.join("tree/etc/a\nb"), "").expect("written"),
            &["etc/a\\nb was added"],
        ),
        (
            "a symlink in a file's place",
            |_, build| {
                let path = build.join("tree/etc/build");
                fs::remove_file(&path).expect("removed");
                symlink("/etc/passwd", path).expect("symlink");
            },
            &["etc/build was a file, is a symlink"],
        ),
        (
            "a pipe in a file's place",
            |_, build| {
                let path = build.join("tree/etc/build");
                fs::remove_file(&path).expect("removed");
                mkfifo(&path, Mode::S_IRWXU).expect("mkfifo");
            },
            &["etc/build was a file, is a pipe"],
        ),
        (
            "a symlink in a directory's place",
            |_, build| {
                let path = build.join("tree/usr");
                fs::rename(&path, build.join("tree/moved")).expect("renamed");
                symlink("moved", path).expect("symlink");
            },
            &["usr was a directory, is a symlink", "moved was added"],
        ),
    ];
    are_found(&table);
}

#[test]
fn whatever_is_done_beside_a_tree_is_found() {
    let table: [Row; 7] = [
        (
            "the list of contents",
            |_, build| {
                let path = build.join("contents");
                let text = fs::read_to_string(&path).expect("readable");
                let text = text.replace("mode=0644", "mode=0666");
                fs::write(path, text).expect("written");
            },
            &["contents was changed"],
        ),
        (
            "a pipe for a list",
            |_, build| {
                let path = build.join("contents");
                fs::remove_file(&path).expect("removed");
                mkfifo(&path, Mode::S_IRWXU).expect("mkfifo");
                set_mode(&path, 0o666);
            },
            &["contents is no file"],
        ),
        (
            "who owns what",
            |_, build| {
                let path = build.join("ownership.jsonl");
                let text = fs::read_to_string(&path).expect("readable");
                fs::write(path, text + "{\"path\":\"etc\",\"uid\":1}\n").expect("written");
            },
            &["ownership.jsonl was changed"],
        ),
        (
            "no list of owners",
            |_, build| fs::remove_file(build.join("ownership.jsonl")).expect("removed"),
            &["ownership.jsonl is missing"],
        ),
        (
            "no tree",
            |_, build| fs::rename(build.join("tree"), build.join("away")).expect("renamed"),
            &["/ is missing"],
        ),
        (
            "the tree is somewhere else",
            |_, build| {
                fs::rename(build.join("tree"), build.join("away")).expect("renamed");
                symlink("away", build.join("tree")).expect("symlink");
            },
            &["/ was a directory, is something else"],
        ),
        (
            "no layer",
            |_, build| fs::remove_dir_all(build).expect("removed"),
            &["the layer is not there"],
        ),
    ];
    are_found(&table);
}

/// Each damage is found, and its layer made anew.
fn are_found(table: &[Row]) {
    let Some(case) = prepared() else { return };
    for (what, damage, said) in table {
        assert_eq!(verify(&case).code, 0, "before: {what}");
        let [run, build] = layers(&case);
        damage(&run, &build);
        let ran = verify(&case);
        assert_eq!(ran.code, 4, "{what}: {}\n{}", ran.err, ran.out);
        let found = wrong(&ran);
        for said in *said {
            assert!(found.iter().any(|it| it == said), "{what}: {found:?}");
        }
        assert!(ran.err.contains("pybuild prepare ours"), "{}", ran.err);
        // It is used no more, and told of until it is made anew.
        let again = verify(&case);
        assert_eq!(again.code, 4, "{what}: {}", again.err);
        let list = json_of(&stack(&case, &["list", "ours", "--json"]).run());
        assert_eq!(list[0]["state"], "broken", "{what}");
        assert_eq!(
            say(&case, "build", "cat /etc/build; echo /etc/*"),
            "build\n/etc/build\n",
            "{what}"
        );
        assert_eq!(say(&case, "run", "cat /etc/which"), "run\n", "{what}");
        case.is_clean();
    }
    // What was spoilt is kept to be looked at.
    assert!(!names(&case.store().join("set-aside")).is_empty());
}

#[test]
fn a_file_that_both_images_share_is_spoilt_in_both() {
    let Some(case) = prepared() else { return };
    let [run, build] = layers(&case);
    let sh = |layer: &Path| layer.join("tree/bin/sh");
    fs::write(sh(&run), "#!").expect("written");
    assert_eq!(fs::read(sh(&build)).expect("readable"), b"#!", "one file");
    let found = wrong(&verify(&case));
    assert_eq!(found, ["bin/sh has another content"; 2]);
}

#[test]
fn layers_of_an_older_pybuild_are_unknown_and_that_is_not_sound() {
    let Some(case) = prepared() else { return };
    for layer in layers(&case) {
        let path = layer.join("layer.json");
        let mut json: Value =
            serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        let fields = json.as_object_mut().expect("an object");
        fields.retain(|name, _| ["schema", "packages"].contains(&name.as_str()));
        fs::write(&path, json.to_string()).expect("written");
        fs::remove_file(layer.join("contents")).expect("removed");
    }
    let ran = stack(&case, &["verify"]).run();
    assert_eq!(ran.code, 4, "{}", ran.err);
    let line = "the stack is unknown: made before layers said what they hold\n";
    assert!(ran.out.starts_with(line), "{}", ran.out);
    assert!(
        ran.err.contains("`pybuild stack remove ours`"),
        "{}",
        ran.err
    );
    assert_eq!(say(&case, "run", "cat /etc/which"), "run\n", "it is used");
    let list = json_of(&stack(&case, &["list", "ours", "--json"]).run().succeeds());
    assert_eq!(
        (&list[0]["state"], &list[0]["size"]),
        (&"here".into(), &Value::Null)
    );

    stack(&case, &["remove", "ours"]).run().succeeds();
    prepare(&case).run().succeeds();
    assert_eq!(verify(&case).code, 0);
}

#[test]
fn a_stack_that_is_not_here_cannot_be_verified() {
    let case = Case::bare();
    let run = |args: &[&str]| case.pybuild().arg("stack").args(args).run();
    run(&["verify", STACK]).fails(2, &["is not on this host", "pybuild prepare debian-12"]);
    run(&["verify", "debain-12"]).fails(2, &["there is no stack", "did you mean `debian-12`?"]);
    let ran = run(&["verify"]).succeeds();
    assert!(
        ran.out.starts_with("no stack is on this host"),
        "{}",
        ran.out
    );
    assert!(!case.store().exists(), "looking makes nothing");
}
