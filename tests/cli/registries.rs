//! Registries as a user meets them: what they refuse, and whose credentials they are given.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;

use crate::formula::Formula;
use crate::images::{can_sandbox, content, given, images_of, manifest, prepare, say};
use crate::kit::{Case, files_below, is_root};
use crate::server::{Reply, Server, closed_port};

#[test]
fn what_registries_say_is_told() {
    let case = Case::bare();
    let server = Server::start(|_, request| content().answer(request));
    let at = server.url("/team/image").replace("http://", "");
    let denying =
        Server::start(|_, _| Reply::status(401).header("WWW-Authenticate: Basic realm=\"a\""));
    let denied = denying.url("/team/image").replace("http://", "");
    let closed = format!("127.0.0.1:{}/team/image", closed_port());
    let table = [
        (
            format!("{at}:none"),
            2,
            "see that the manifest names an image that is there",
        ),
        (format!("{denied}:build"), 2, "docker login"),
        (format!("{closed}:build"), 75, "run the same command again"),
    ];
    for (image, code, said) in table {
        manifest(&case, &format!("image.build = \"{image}\""));
        prepare(&case).run().fails(code, &[said, &image]);
    }
    manifest(&case, "directory = \"/nowhere\"");
    let said = "nothing that the stack ours can be made from is on this host: /nowhere";
    prepare(&case).run().fails(2, &[said]);
    assert_eq!(files_below(&case.store().join("layers")), [""; 0]);
}

/// A registry that wants the user `me` with the password `secret`.
fn guarded() -> Server {
    let content = content();
    Server::start(move |_, request| match request.header("authorization") {
        Some("Basic bWU6c2VjcmV0") => content.answer(request),
        _ => Reply::status(401).header("WWW-Authenticate: Basic realm=\"a\""),
    })
}

#[test]
fn credentials_are_those_of_whoever_starts_pybuild() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    let server = guarded();
    manifest(&case, &images_of(&server));
    let private = private(&case, &server);
    prepare(&case).run().fails(2, &["docker login"]);

    // The directory for what is built is root's, if it is root who builds: there is a worker.
    let formulae = Formula::hello().check("exit 0").write(&case.at(""));
    let run = case
        .pybuild()
        .args(["sandbox", "ours", "hello-1.0", "--formulae"])
        .args([formulae.as_path(), "--source-mirror".as_ref()])
        .args([
            case.at("sources").as_path(),
            "--output".as_ref(),
            &case.dist(),
        ]);
    let ran = given(run, &case).env("DOCKER_CONFIG", &private).run();
    // There is no compiler in the image: what matters is that it got there.
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        !ran.err.contains("secret") && !ran.err.contains("bWU6"),
        "{}",
        ran.err
    );
    assert_eq!(say(&case, "build", "cat /etc/build"), "build\n");

    let other = Case::bare();
    manifest(&other, &images_of(&server));
    prepare(&other)
        .env("DOCKER_CONFIG", &private)
        .run()
        .succeeds();
    let who = if is_root() { "as root" } else { "as a user" };
    assert_eq!(say(&other, "run", "cat /etc/which"), "run\n", "{who}");
}

#[test]
fn whoever_verifies_fetches_stacks_with_the_credentials_of_whoever_asked() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    let server = guarded();
    manifest(&case, &images_of(&server));
    let private = private(&case, &server);
    // What is wrong with the archive does not matter: its stack is there before it is looked at.
    let published = case.at("published/ours/runtimes");
    fs::create_dir_all(&published).expect("mkdir");
    fs::write(published.join("hello-1.0.tar.gz"), "spoilt").expect("written");
    let verify = case
        .pybuild()
        .args(["verify", "ours", "--identity", "--target"])
        .arg(case.at("published"));
    let ran = given(verify, &case).env("DOCKER_CONFIG", &private).run();
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert_eq!(say(&case, "run", "cat /etc/which"), "run\n");
}

/// Credentials for a registry in a directory that nobody else may look into: root's worker cannot.
fn private(case: &Case, server: &Server) -> PathBuf {
    let registry = server.url("").replace("http://", "");
    let private = case.at("private");
    fs::create_dir(&private).expect("mkdir");
    let file = private.join("config.json");
    let auths = json!({"auths": {registry: {"auth": "bWU6c2VjcmV0"}}});
    fs::write(&file, auths.to_string()).expect("written");
    fs::set_permissions(&private, Permissions::from_mode(0o700)).expect("chmod");
    private
}
