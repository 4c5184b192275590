//! `pybuild stack remove` and `pull`: what goes, what stays for whoever uses it, what is new.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::images::{can_sandbox, given, images_of, manifest, prepare, say};
use crate::kit::{Case, names};
use crate::layers::{json_of, prepared, stack};
use crate::locks::{NEWER, changing, move_tags};

fn room(case: &Case, room: &str) -> Vec<String> {
    names(&case.store().join(room))
}

/// Another stack, whose only image is the run image of `ours`.
fn add_theirs(case: &Case) {
    let text = "schema = 1\nname = \"theirs\"\nend_of_life = 2099-01-01\n\
        architectures = [\"amd64\"]\n[[from]]\nimage.build = \"oci:../images:run\"\n";
    fs::write(case.at("manifests/theirs.toml"), text).expect("written");
    given(case.pybuild().args(["prepare", "theirs"]), case)
        .run()
        .succeeds();
}

#[test]
fn what_another_stack_refers_to_stays() {
    let Some(case) = prepared() else { return };
    add_theirs(&case);
    assert_eq!(
        (room(&case, "rootfs").len(), room(&case, "layers").len()),
        (2, 2)
    );
    let blobs = room(&case, "blobs").len();
    assert_eq!(
        blobs, 5,
        "two layers of both, three of the build image alone"
    );

    let would = stack(&case, &["remove", "ours", "--dry-run", "--json"]);
    let would = json_of(&would.run().succeeds());
    assert_eq!(
        (room(&case, "rootfs").len(), room(&case, "layers").len()),
        (2, 2)
    );
    let removed = json_of(&stack(&case, &["remove", "ours", "--json"]).run().succeeds());
    for key in ["stacks", "layers", "blobs", "bytes"] {
        assert_eq!(would[key], removed[key], "{key}");
    }
    assert_eq!(removed["stacks"], json!(["ours"]));
    let counts = ["layers", "blobs"].map(|key| removed[key].as_array().map(Vec::len));
    assert_eq!(counts, [Some(1), Some(3)]);
    let bytes = removed["bytes"].as_u64().expect("a number");
    assert!(
        (1..1_000_000).contains(&bytes),
        "the shell is shared: {bytes}"
    );
    assert_eq!(
        (room(&case, "rootfs").len(), room(&case, "layers").len()),
        (1, 1)
    );
    assert_eq!(room(&case, "blobs").len(), 2);
    stack(&case, &["verify", "theirs"]).run().succeeds();
    case.is_clean();

    let all = json_of(
        &stack(&case, &["remove", "theirs", "--json"])
            .run()
            .succeeds(),
    );
    let bytes = all["bytes"].as_u64().expect("a number");
    assert!(bytes > 1_000_000, "the shell and its libraries: {bytes}");
    for it in ["rootfs", "layers", "blobs", "scratch"] {
        assert_eq!(room(&case, it), [""; 0], "{it}");
    }
    stack(&case, &["remove", "theirs"])
        .run()
        .fails(2, &["the stack theirs is not on this host"]);
    assert_eq!(
        say(&case, "run", "cat /etc/which"),
        "run\n",
        "it comes back"
    );
}

#[test]
fn a_stack_in_use_is_not_removed() {
    let Some(case) = prepared() else { return };
    add_theirs(&case);
    let run = case.pybuild().args(["run", "ours"]);
    let run = given(run, &case).args(["--", "sh", "-c", "echo begun >&2; cat; cat /etc/build"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let running = run.stdin(Stdio::from(reader)).start();
    assert!(running.says("begun"), "it runs");
    let said = [
        "the stack ours is in use by another pybuild",
        "nothing was removed",
    ];
    stack(&case, &["remove", "ours"]).run().fails(75, &said);
    stack(&case, &["remove", "theirs", "ours"])
        .run()
        .fails(75, &said);
    assert_eq!(room(&case, "rootfs").len(), 2);
    // Another one goes meanwhile.
    stack(&case, &["remove", "theirs"]).run().succeeds();
    // The one in use is replaced meanwhile, and its layers stay until nobody uses them.
    fs::remove_file(case.store().join("rootfs").join(&room(&case, "rootfs")[0])).expect("removed");
    add_theirs(&case);
    let ran = json_of(
        &stack(&case, &["remove", "theirs", "--json"])
            .run()
            .succeeds(),
    );
    assert_eq!(ran["used"].as_array().map(Vec::len), Some(2), "{ran}");
    assert_eq!(room(&case, "layers").len(), 2);
    // Its input ends, and it reads what it needs.
    drop(writer);
    assert_eq!(running.wait().succeeds().out, "build\n");
    stack(&case, &["remove", "ours"]).run().succeeds();
    assert_eq!(room(&case, "layers"), [""; 0]);
    case.is_clean();
}

#[test]
fn what_a_killed_removal_left_goes_with_the_next() {
    let Some(case) = prepared() else { return };
    // As if it had been killed when the stack had gone and its layers had not.
    for record in room(&case, "rootfs") {
        fs::remove_file(case.store().join("rootfs").join(record)).expect("removed");
    }
    let list = json_of(&stack(&case, &["list", "ours", "--json"]).run().succeeds());
    assert_eq!(list[0]["state"], "absent");
    let ran = stack(&case, &["remove", "ours"]).run().succeeds();
    let said = "removed what removed stacks had left: 2 layers, 5 downloads, ";
    assert!(ran.out.starts_with(said), "{}", ran.out);
    case.is_clean();
    assert_eq!(room(&case, "layers"), [""; 0]);
    stack(&case, &["remove", "ours"])
        .run()
        .fails(2, &["the stack ours is not on this host"]);
}

#[test]
fn a_pull_brings_what_there_is_today_and_says_what_is_new() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    let (registry, server) = changing();
    manifest(
        &case,
        &format!("{}\npackages.build = [\"a\"]", images_of(&server)),
    );
    let pull = || stack(&case, &["pull", "ours", "--json"]);
    let first = json_of(&pull().run().succeeds());
    assert_eq!(
        (&first[0]["change"], &first[0]["before"]),
        (&json!("new"), &Value::Null)
    );
    let layers = room(&case, "layers");
    let again = json_of(&pull().run().succeeds());
    assert_eq!(again[0]["change"], "up-to-date");
    assert_eq!(again[0]["now"], first[0]["now"]);
    assert_eq!(room(&case, "layers"), layers);

    // A newer package of the same image.
    let newer = json_of(&pull().env(NEWER.0, NEWER.1).run().succeeds());
    assert_eq!(newer[0]["change"], "changed");
    assert_eq!(newer[0]["before"], first[0]["now"]);
    assert_eq!(newer[0]["packages"], json!(["a 2.0 → 3.0"]));
    assert_ne!(newer[0]["now"][0], first[0]["now"][0]);
    assert_eq!(
        newer[0]["now"][1], first[0]["now"][1],
        "the run image is the same"
    );
    assert_eq!(
        room(&case, "layers").len(),
        layers.len(),
        "the old layer is gone: {newer}"
    );

    // Other images behind the same names, which nobody asks for but a pull.
    move_tags(&mut registry.lock().expect("sound"));
    let asked = server.requests().len();
    prepare(&case).run().succeeds();
    assert_eq!(server.requests().len(), asked, "nobody is asked");
    let ran = stack(&case, &["pull", "ours"])
        .env(NEWER.0, NEWER.1)
        .run()
        .succeeds();
    assert!(ran.out.starts_with("ours  changed  "), "{}", ran.out);
    assert!(ran.out.contains(" → "), "{}", ran.out);
    assert!(ran.out.contains("the same packages"), "{}", ran.out);
    assert_eq!(say(&case, "run", "cat /etc/moved"), "moved\n");
    assert_eq!(room(&case, "layers").len(), layers.len());
    stack(&case, &["verify"]).run().succeeds();
    case.is_clean();

    let mut locked = stack(&case, &["pull", "ours"]);
    locked = locked.arg("--locked");
    locked.run().fails(2, &["pybuild prepare --locked"]);
}
