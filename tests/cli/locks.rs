//! Locks of stacks: written, held to, and what has moved since.

use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::images::{
    build_layers, can_sandbox, content, given, images_of, lay_out, manifest, prepare, run_layers,
    say, told,
};
use crate::kit::{Case, STACK};
use crate::oci::{Content, tar_of};
use crate::program::{Pybuild, Ran};
use crate::server::Server;

/// What makes the apt of these images have newer packages.
pub(crate) const NEWER: (&str, &str) = ("all_proxy", "http://newer.example.org");

fn stack(case: &Case, what: &str) -> Pybuild {
    given(case.pybuild().args(["stack", what, "ours", "--json"]), case)
}

fn locked(case: &Case) -> Pybuild {
    prepare(case).arg("--locked")
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).expect("JSON")
}

fn lock_text(case: &Case) -> String {
    fs::read_to_string(case.at("manifests/ours.lock")).expect("a lock")
}

/// A store with nothing in it, and the same manifests and images.
fn elsewhere(case: &Case) -> Case {
    let other = Case::bare();
    for dir in ["manifests", "images"] {
        if case.at(dir).exists() {
            let status = std::process::Command::new("cp")
                .args(["-r".as_ref(), case.at(dir).as_path(), &other.at(dir)])
                .status();
            assert!(status.expect("cp").success());
        }
    }
    other
}

/// A registry whose content can be changed.
pub(crate) fn changing() -> (Arc<Mutex<Content>>, Server) {
    let shared = Arc::new(Mutex::new(content()));
    let there = Arc::clone(&shared);
    let server = Server::start(move |_, request| there.lock().expect("sound").answer(request));
    (shared, server)
}

/// The tags name images with one more layer.
pub(crate) fn move_tags(content: &mut Content) {
    for (tag, mut layers) in [("run", run_layers()), ("build", build_layers())] {
        layers.push(tar_of(&[("etc/moved", b"moved\n")]));
        let image = content.image(&layers);
        content.tag(tag, &image);
    }
}

#[test]
fn a_locked_tag_may_move() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    let (registry, server) = changing();
    manifest(&case, &images_of(&server));
    locked(&case)
        .run()
        .fails(2, &["is not locked", "pybuild stack lock ours"]);
    let first = json_of(&stack(&case, "lock").run().succeeds());
    assert_eq!(first[0]["change"], "new");
    let text = lock_text(&case);
    let again = json_of(&stack(&case, "lock").run().succeeds());
    assert_eq!(again[0]["change"], "none");
    assert_eq!(lock_text(&case), text);
    let none = stack(&case, "outdated").run().succeeds();
    assert_eq!(json_of(&none)[0]["moved"], false);

    move_tags(&mut registry.lock().expect("sound"));
    let moved = stack(&case, "outdated").run();
    assert_eq!(moved.code, 4, "{}", moved.err);
    let images = &json_of(&moved)[0]["images"];
    assert_eq!(images.as_array().map(Vec::len), Some(2), "{images}");

    // The registry has still what was locked, and elsewhere it is fetched.
    let other = elsewhere(&case);
    let held = locked(&other).run().succeeds();
    assert_eq!(
        told(&held, "run").0,
        first[0]["run"].as_str().expect("a digest")
    );
    let held = stack_of_ci(&other).run().succeeds();
    assert_eq!(
        told(&held, "build").0,
        first[0]["build"].as_str().expect("a digest")
    );
    // It is the state that is here, also for who does not ask for the lock.
    let here = prepare(&other).run().succeeds();
    assert_eq!(here.out, held.out);
    other.is_clean();
    // Whoever is not held to it gets what is there now.
    let now = elsewhere(&case);
    let unlocked = stack_of_ci(&now).arg("--unlocked").run().succeeds();
    assert_ne!(told(&unlocked, "run"), told(&held, "run"));
    assert_eq!(say(&now, "run", "cat /etc/moved"), "moved\n");
    // The two states of the stack are beside each other.
    let held = locked(&now).run().succeeds();
    assert_eq!(
        told(&held, "run").0,
        first[0]["run"].as_str().expect("a digest")
    );
    assert_eq!(say(&now, "run", "cat /etc/moved"), "moved\n");
}

/// In CI a lock holds without being asked for.
fn stack_of_ci(case: &Case) -> Pybuild {
    prepare(case).env("CI", "true")
}

#[test]
fn what_a_registry_has_no_more_is_drift() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    let (registry, server) = changing();
    manifest(&case, &images_of(&server));
    stack(&case, "lock").run().succeeds();
    {
        let mut content = registry.lock().expect("sound");
        *content = Content::default();
        move_tags(&mut content);
    }
    let other = elsewhere(&case);
    let said = "the stack ours is not what it was when it was locked";
    let image = images_of(&server);
    let image = image.split('"').nth(3).expect("an image");
    locked(&other)
        .run()
        .fails(4, &[said, "have the chain id", image, "--unlocked"]);
    other.is_clean();
}

#[test]
fn versions_of_packages_are_held_to() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    manifest(
        &case,
        "image.build = \"oci:../images:build\"\npackages.run = [\"a\"]\npackages.build = [\"b\"]",
    );
    let first = json_of(&stack(&case, "lock").run().succeeds());
    assert!(lock_text(&case).contains("{ name = \"b\", version = \"2.0\", arch = \"all\" }"));
    let other = elsewhere(&case);
    let held = locked(&other).run().succeeds();
    assert_eq!(
        told(&held, "build").0,
        first[0]["build"].as_str().expect("a digest")
    );
    other.is_clean();

    // The sources have moved on.
    let moved = stack(&case, "outdated").env(NEWER.0, NEWER.1).run();
    assert_eq!(moved.code, 4, "{}", moved.err);
    assert_eq!(
        json_of(&moved)[0]["packages"],
        json!([{"name": "a", "from": "2.0", "to": "3.0"}, {"name": "b", "from": "2.0", "to": "3.0"}])
    );
    let other = elsewhere(&case);
    let said = "apt's sources have no more of its packages a=2.0";
    locked(&other).env(NEWER.0, NEWER.1).run().fails(4, &[said]);
    other.is_clean();
    // Here they are still.
    locked(&case).env(NEWER.0, NEWER.1).run().succeeds();
    // A stack that was never prepared here is not looked into.
    let other = elsewhere(&case);
    let unknown = stack(&other, "outdated").run().succeeds();
    assert!(
        unknown.err.contains("which is not on this host"),
        "{}",
        unknown.err
    );

    // Locked again, it is the newer ones, here and elsewhere.
    let again = stack(&case, "lock").env(NEWER.0, NEWER.1).run().succeeds();
    assert_eq!(json_of(&again)[0]["change"], "changed");
    assert_ne!(json_of(&again)[0]["run"], first[0]["run"]);
    let other = elsewhere(&case);
    let held = locked(&other).env(NEWER.0, NEWER.1).run().succeeds();
    assert_eq!(
        told(&held, "run").0,
        json_of(&again)[0]["run"].as_str().expect("a digest")
    );
    case.is_clean();
}

#[test]
fn a_lock_that_is_of_no_use_is_told() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    let from = |image: &str| format!("image.build = \"oci:../images:{image}\"");
    manifest(&case, &from("build"));
    stack(&case, "lock").run().succeeds();
    let (path, text) = (case.at("manifests/ours.lock"), lock_text(&case));
    manifest(
        &case,
        &format!("{}\npackages.build = [\"more\"]", from("build")),
    );
    let said =
        "its manifest has changed since it was locked, when it was made from oci:../images:build";
    locked(&case).run().fails(4, &[said]);
    let moved = stack(&case, "outdated").run();
    assert_eq!(
        (moved.code, &json_of(&moved)[0]["moved"]),
        (4, &json!(true))
    );
    manifest(&case, &from("run"));
    let said = "images:run is not what it was: its layers have the chain id";
    locked(&case).run().fails(4, &[said]);
    manifest(&case, &from("build"));

    let spoil = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replace(from, to)).expect("written");
    };
    spoil("schema = 1", "schema = 9");
    locked(&case).run().fails(2, &["ours.lock", "schema 1"]);
    spoil("stack = \"ours\"", "stack = \"theirs\"");
    locked(&case)
        .run()
        .fails(2, &["is the lock of the stack theirs"]);
    spoil("[arch.amd64", "[arch.arm64");
    locked(&case)
        .run()
        .fails(4, &["it was not locked for amd64"]);
    spoil("chain = \"", "chain = \"0");
    let ran = stack(&case, "lock").run().succeeds();
    assert!(ran.err.contains("it is written anew"), "{}", ran.err);
    assert_eq!(lock_text(&case), text);
    locked(&case).run().succeeds();
}

#[test]
fn a_bootstrapped_stack_is_locked_by_its_packages() {
    let Some(case) = Case::new() else { return };
    let dir = case.at("work");
    fs::create_dir(&dir).expect("mkdir");
    let run = |args: &[&str]| case.pybuild().args(args).cwd(&dir).run();
    run(&["stack", "lock", "debian-12"]).succeeds();
    let text = fs::read_to_string(dir.join("rootfs-manifests/debian-12.lock")).expect("a lock");
    for said in [
        "suite = \"bookworm\"",
        "name = \"libc6\"",
        "filename = \"pool/",
    ] {
        assert!(text.contains(said), "{said}");
    }
    // What is here is what was locked.
    let here = run(&["prepare", STACK, "--locked", "--json"]).succeeds();
    assert!(text.contains(&format!("run = \"{}\"", told(&here, "run").0)));
    assert!(text.contains(&format!("build = \"{}\"", told(&here, "build").0)));
    let none = run(&["stack", "outdated"]).succeeds();
    assert_eq!(none.out, "debian-12  nothing has moved\n");
    run(&["run", STACK, "--locked", "--", "true"]).succeeds();

    let edited = text.replacen("version = \"", "version = \"9:", 1);
    fs::write(dir.join("rootfs-manifests/debian-12.lock"), edited).expect("written");
    run(&["run", STACK, "--locked", "--", "true"]).fails(2, &["it was edited"]);
    run(&["run", STACK, "--", "true"]).succeeds();
    case.is_clean();
}
