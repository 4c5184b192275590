//! Stacks put to a target: created once, completed after a kill, and nobody's artifacts.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bucket::{root, with};
use crate::formula::Formula;
use crate::images::{can_sandbox, content, lay_out, manifest, prepare, told};
use crate::kit::{Case, STACK, files_below, is_root};
use crate::s3::{AWS, Fault, Server as Bucket};
use crate::server::Server;
use crate::stack_mirror::{images, index_digest, on_the_web, push};

#[test]
fn a_name_is_taken_once_and_digests_stay() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    let from = |package: &str| {
        format!("image.build = \"oci:../images:build\"\npackages.build = [\"{package}\"]")
    };
    let mirror = case.at("mirror");
    let at = mirror.to_str().expect("ASCII");
    manifest(&case, &from("a"));
    let first = push(&case, at).run().succeeds();
    let made = prepare(&case).run().succeeds();
    assert!(first.out.contains(" objects put"), "{}", first.out);
    // All is there: nothing is packed, nothing is put.
    let again = push(&case, at).run().succeeds();
    assert!(again.out.contains("already there"), "{}", again.out);
    assert!(!again.err.contains("packing"), "{}", again.err);
    // What is missing is put.
    let lost = mirror.join("stacks").join(
        files_below(&mirror.join("stacks"))
            .into_iter()
            .max_by_key(|name| {
                fs::metadata(mirror.join("stacks").join(name))
                    .expect("there")
                    .len()
            })
            .expect("a layer"),
    );
    fs::remove_file(&lost).expect("removed");
    let again = push(&case, at).run().succeeds();
    assert!(again.out.contains("1 of "), "{}", again.out);
    assert!(lost.exists());

    manifest(&case, &from("b"));
    let before = files_below(&mirror);
    let said = [
        "is another ours",
        "hint: nothing was put there; --overwrite",
    ];
    push(&case, at).run().fails(1, &said);
    assert_eq!(files_below(&mirror), before);
    let second = push(&case, at).args(["--overwrite", "--json"]);
    let second = second.run().succeeds();
    let second: Value = serde_json::from_str(&second.out).expect("JSON");
    assert_ne!(second["digest"], index_digest(&first));
    // Whoever goes by digest still gets the first.
    let pinned = Case::bare();
    let index = index_digest(&first);
    manifest(&pinned, &format!("mirror = \"{at}\"\ndigest = \"{index}\""));
    assert_eq!(images(&prepare(&pinned).run().succeeds()), images(&made));
    let newest = Case::bare();
    manifest(&newest, &format!("mirror = \"{at}\""));
    let ran = prepare(&newest).run().succeeds();
    assert_eq!(second["build"]["digest"], told(&ran, "build").0);
    // The web is read only.
    let web = Server::start(on_the_web(&mirror));
    let said = ["can only be read"];
    push(&case, &web.url("/")).run().fails(2, &said);
    case.is_clean();
}

#[test]
fn stacks_are_no_artifacts() {
    let Some(case) = Case::new() else { return };
    crate::deploy::deploy(&Formula::hello(), &case)
        .run()
        .succeeds();
    let dist = case.dist();
    let run = case.pybuild().args(["stack", "push", STACK]);
    run.args([&dist]).run().succeeds();
    let verify = || {
        let run = case.pybuild().cwd(&case.at("")).args(["verify"]);
        run.args(["--formulae".as_ref(), case.at("formulae").as_path()])
    };
    verify().run().succeeds();
    let index = case.pybuild().cwd(&case.at("")).args(["index", "--json"]);
    let ran = index.run().succeeds();
    let said: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(said["archives"], 1, "{said}");
    assert_eq!(said["unlisted"].as_array().map(Vec::len), Some(0), "{said}");
    verify().run().succeeds();
    // What is not a stack's is nobody's.
    fs::write(dist.join("stacks/blobs/sha256/odd"), "odd").expect("written");
    let ran = verify().run();
    assert_eq!(ran.code, 4, "{}\n{}", ran.err, ran.out);
    assert!(ran.out.contains("stacks/blobs/sha256/odd"), "{}", ran.out);
}

#[test]
fn a_push_that_was_killed_at_any_request_is_completed_by_the_next() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    let images = "image.build = \"oci:../images:build\"\nimage.run = \"oci:../images:run\"";
    manifest(&case, images);
    prepare(&case).run().succeeds();
    let whole = root();
    let server = Bucket::start(whole.path(), AWS);
    with(push(&case, "s3://bucket/p"), &server).run().succeeds();
    let visible = |root: &Path| -> Vec<String> {
        let mut files = files_below(&root.join("bucket/p"));
        files.retain(|name| !name.starts_with(".pybuild-"));
        files
    };
    let wanted = visible(whole.path());
    let requests = server.seen();
    for (moment, request) in requests.iter().enumerate() {
        let when = format!("{moment}: {} {}", request.method, request.uri);
        let root = root();
        let pid = Arc::new(AtomicI32::new(0));
        let victim = Arc::clone(&pid);
        // What arrives is done, or not.
        let done = moment % 2 == 0;
        let server = Bucket::faulty(root.path(), AWS, move |n, _| {
            if n != moment {
                return Fault::None;
            }
            while victim.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let pid = Pid::from_raw(victim.load(Ordering::SeqCst));
            kill(pid, Signal::SIGKILL).expect("alive");
            if done { Fault::None } else { Fault::Reset }
        });
        let run = with(push(&case, "s3://bucket/p"), &server).start();
        pid.store(run.pid().cast_signed(), Ordering::SeqCst);
        assert_eq!(run.wait().code, 137, "{when}");
        assert_eq!(server.uploads(), [], "{when}");
        let there = visible(root.path());
        // Whoever sees the name sees all of it.
        let named = there.iter().any(|name| name == "stacks/ours-amd64.json");
        assert!(!named || there == wanted, "{when}: {there:?}");
        with(push(&case, "s3://bucket/p"), &server).run().succeeds();
        assert_eq!(visible(root.path()), wanted, "{when}");
    }
    let who = if is_root() { "as root" } else { "as a user" };
    assert!(requests.len() > 10, "{} requests {who}", requests.len());
    case.is_clean();
}
