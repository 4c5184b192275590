//! Mirrors that are down, lie, or know a password; sources that are not what they should be.

use std::fs;
use std::path::Path;

use pybuild::model::Sha256;
use pybuild::net::{Client, Settings};
use pybuild::sys::interrupt::Interrupt;

use crate::formula::{Formula, digest, tarball, tiny};
use crate::kit::{Case, STACK, files_below, names};
use crate::server::{Reply, Server};

/// Nobody listens there.
const DOWN: &str = "http://127.0.0.1:1/debian";

#[test]
fn a_mirror_that_is_down_is_named() {
    let case = Case::bare();
    let run = case.pybuild().env("PYBUILD_DEBIAN_MIRROR", DOWN);
    run.args(["prepare", STACK]).run().fails(
        75,
        &[
            "the stack debian-12 cannot be bootstrapped: cannot download",
            "http://127.0.0.1:1/debian/dists/bookworm/InRelease cannot connect",
            "Connection refused",
            "hint: PYBUILD_DEBIAN_MIRROR names another mirror",
        ],
    );
    for room in ["blobs", "layers", "rootfs"] {
        assert_eq!(names(&case.store().join(room)), [""; 0]);
    }
    case.is_clean();
}

/// The host's mirror.
fn real_mirror() -> String {
    let apt = || pybuild::rootfs::debian::mirror::of_host(Path::new("/etc/apt"));
    let mirror = std::env::var("PYBUILD_DEBIAN_MIRROR").ok().or_else(apt);
    let mirror = mirror.expect("a Debian mirror: set PYBUILD_DEBIAN_MIRROR");
    mirror.trim_end_matches('/').to_owned()
}

/// The host's mirror, but in what has this in its path the byte in the middle is another one.
fn lying_mirror(about: &'static str) -> (Server, String) {
    let real = real_mirror();
    let client = Client::new(Settings::default());
    let server = Server::start(move |_, request| {
        let path = request
            .path
            .strip_prefix("/debian")
            .expect("below its root");
        let interrupt = Interrupt::manual().expect("an eventfd");
        match client.get(&format!("{real}{path}"), 64 << 20, &interrupt) {
            Ok(mut body) => {
                if path.contains(about) {
                    let middle = body.len() / 2;
                    body[middle] ^= 1;
                }
                Reply::ok(&body)
            }
            Err(_) => Reply::status(404),
        }
    });
    let url = format!("{}/debian", server.url(""));
    (server, url)
}

/// Takes one of the blobs away that begin like this, the smallest, so that it is fetched.
fn forget_one(case: &Case, magic: &[u8]) -> Sha256 {
    let blobs = case.store().join("blobs");
    let of_kind = names(&blobs).into_iter().map(|name| blobs.join(name));
    let of_kind = of_kind.filter(|path| fs::read(path).expect("a blob").starts_with(magic));
    let smallest = of_kind.min_by_key(|path| fs::metadata(path).expect("a blob").len());
    let smallest = smallest.expect("one of its kind");
    let found = digest(&smallest);
    fs::remove_file(smallest).expect("removed");
    found
}

/// Prepares a stack with a mirror that lies about one thing; then with the true one.
fn is_found_out(about: &'static str, wanted: Option<Sha256>, case: &Case, said: &[&str]) {
    let prepare = |mirror: &str| {
        let run = case.pybuild().env("PYBUILD_DEBIAN_MIRROR", mirror);
        run.args(["prepare", STACK]).run()
    };
    let before = names(&case.store().join("blobs"));
    let (_server, url) = lying_mirror(about);
    let ran = prepare(&url).fails(1, said);
    let wanted = wanted.map(|digest| digest.to_string()).unwrap_or_default();
    assert!(ran.err.contains(&wanted), "{}", ran.err);
    assert_eq!(
        names(&case.store().join("blobs")),
        before,
        "something was kept"
    );
    for room in ["layers", "rootfs"] {
        assert_eq!(names(&case.store().join(room)), [""; 0]);
    }
    case.is_clean();
    let (_server, url) = lying_mirror("nothing");
    let run = case
        .pybuild()
        .env("PYBUILD_DEBIAN_MIRROR", &url)
        .args(["prepare", "tiny"]);
    run.args(["--manifests".as_ref(), tiny(case).as_path()])
        .run()
        .succeeds();
    case.is_clean();
}

#[test]
fn an_index_that_was_tampered_with_is_refused() {
    let Some(case) = Case::unprepared() else {
        return;
    };
    let wanted = forget_one(&case, b"\xfd7zXZ\0");
    let said = [
        "the stack debian-12 cannot be bootstrapped: cannot download the index",
        "/debian/dists/bookworm/main/binary-",
        "hint: nothing was kept",
    ];
    is_found_out("/binary-", Some(wanted), &case, &said);
}

#[test]
fn a_signed_release_that_was_tampered_with_is_refused() {
    let Some(case) = Case::unprepared() else {
        return;
    };
    let said = [
        "the stack debian-12 cannot be bootstrapped",
        "InRelease",
        "hint: ",
    ];
    is_found_out("/InRelease", None, &case, &said);
}

#[test]
fn a_package_that_was_tampered_with_is_refused() {
    let Some(case) = Case::unprepared() else {
        return;
    };
    let wanted = forget_one(&case, b"!<arch>\n");
    let said = [
        "the stack debian-12 cannot be bootstrapped: cannot download the package ",
        "/debian/pool/main/",
        "hint: nothing was kept",
    ];
    is_found_out(".deb", Some(wanted), &case, &said);
}

#[test]
fn a_source_with_a_wrong_digest_is_refused() {
    let Some(case) = Case::new() else { return };
    let wanted = Sha256::of(b"what it should be");
    let formula = Formula::hello().digest(wanted);
    let run = formula.build(&case);
    let source = case.at("sources/hello-1.0.tar.gz");
    let (wanted, found) = (wanted.to_string(), digest(&source).to_string());
    let url = format!("file://{}", source.display());
    run.run().fails(
        1,
        &[
            &format!("cannot download hello-1.0.tar.gz with SHA-256 {wanted}"),
            "http://127.0.0.1:1/upstream/hello-1.0.tar.gz cannot connect",
            &url,
            &found,
            "hint: nothing was kept",
        ],
    );
    assert_eq!(names(&case.store().join("blobs")), [""; 0]);
    case.delivered_nothing();
    case.is_clean();
    Formula::hello().build(&case).run().succeeds();
}

#[test]
fn a_source_that_nobody_has_is_wanted_by_name() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    let run = formula.build(&case);
    fs::remove_dir_all(case.at("sources")).expect("removed");
    run.run().fails(
        75,
        &[
            "cannot download hello-1.0.tar.gz\n",
            "http://127.0.0.1:1/upstream/hello-1.0.tar.gz cannot connect",
            "sources/hello-1.0.tar.gz ",
            "hint: put hello-1.0.tar.gz into a directory and give it as --source-mirror",
        ],
    );
    case.delivered_nothing();
    case.is_clean();
}

/// A stack takes minutes, and that a source cannot be had takes a moment to know.
#[test]
fn a_source_that_nobody_has_is_known_before_the_stack_is_made() {
    let case = Case::bare();
    let formulae = Formula::hello().write(&case.at(""));
    fs::remove_dir_all(case.at("sources")).expect("removed");
    let run = case.pybuild().args(["sandbox", STACK, "hello-1.0"]);
    let run = run.args([Path::new("--formulae"), &formulae]);
    let ran = run.env("PYBUILD_DEBIAN_MIRROR", DOWN).run();
    let ran = ran.fails(75, &["cannot download hello-1.0.tar.gz\n"]);
    assert!(!ran.err.contains("bootstrapped"), "{}", ran.err);
    case.is_clean();
}

#[test]
fn a_source_that_is_no_tarball_is_named() {
    let Some(case) = Case::new() else { return };
    let file = case.at("sources/hello-1.0.tar.gz");
    let text = b"<html>Please log in</html>";
    let formula = Formula::hello().digest(Sha256::of(text));
    let run = formula.build(&case);
    fs::write(file, text).expect("written");
    run.run().fails(
        1,
        &["error: cannot unpack hello-1.0.tar.gz\n", "caused by: "],
    );
    case.delivered_nothing();
    case.is_clean();
}

#[test]
fn a_source_that_the_store_has_spoilt_is_set_aside_and_fetched_again() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    let build = || formula.build(&case).args(["--rebuild"]).run().succeeds();
    build();
    let first = fs::read(tarball(&case)).expect("delivered");
    let blobs = case.store().join("blobs");
    let sources = names(&blobs);
    assert_eq!(sources.len(), 1);
    // A good tarball, but not the one that was asked for.
    let other = fs::read(case.at("sources/hello-1.0.tar.gz")).expect("readable");
    let other = [other.as_slice(), &[0; 512]].concat();
    fs::write(blobs.join(&sources[0]), &other).expect("written");
    let ran = build();
    let said = "hello-1.0.tar.gz was spoilt in the store";
    assert!(ran.err.contains(said), "{}", ran.err);
    assert_eq!(names(&blobs), sources);
    assert_eq!(digest(&blobs.join(&sources[0])).to_string(), sources[0]);
    let aside = case
        .store()
        .join("set-aside")
        .join(format!("{}.0", sources[0]));
    assert_eq!(fs::read(aside).expect("kept"), other);
    assert_eq!(fs::read(tarball(&case)).expect("delivered"), first);
    // And what is sound is not asked for again.
    fs::remove_dir_all(case.at("sources")).expect("removed");
    let formulae = case.at("formulae");
    let again = case.pybuild().args(["sandbox", STACK, "hello-1.0"]);
    let again = again.args(["--rebuild", "--formulae"]).args([formulae]);
    again
        .args(["--output".into(), case.dist()])
        .run()
        .succeeds();
    case.is_clean();
}

#[test]
fn secrets_are_told_to_nobody() {
    const CANARY: &str = "canary-7f3a";
    let Some(case) = Case::new() else { return };
    // A build that looks for them wherever it may look.
    let script = "env; for f in /proc/*/environ /proc/*/cmdline; do cat $f || :; done 2>/dev/null";
    let formula = Formula::hello().step("look", script);
    let run = || formula.build(&case).env("AWS_SECRET_ACCESS_KEY", CANARY);
    let secret = |server: &Server| server.url("").replace("//", &format!("//user:{CANARY}@"));
    let silent = |out: &str| assert!(!out.contains(CANARY), "{out}");

    // Where it fails, the failure names the mirror.
    drop(run());
    let source = fs::read(case.at("sources/hello-1.0.tar.gz")).expect("readable");
    let server = Server::start(|_, _| Reply::status(404));
    let build = |server: &Server| {
        let run = case.pybuild().env("AWS_SECRET_ACCESS_KEY", CANARY);
        run.env("PYBUILD_SOURCE_MIRROR", secret(server))
            .env("PYBUILD_DEBIAN_MIRROR", secret(server))
            .env("PYBUILD_FORMULAE", case.at("formulae"))
            .args(["sandbox", STACK, "hello-1.0", "--verbose", "--output"])
            .args([case.dist()])
            .run()
    };
    let ran = build(&server);
    silent(&ran.err);
    let host = server.url("").replace("http://", "");
    ran.fails(75, &[&host, "hint: "]);
    let run = case.pybuild().env("PYBUILD_DEBIAN_MIRROR", secret(&server));
    let ran = run.args(["prepare", "debian-11"]).run();
    silent(&ran.err);
    ran.fails(75, &[&host]);

    // Where it works, the mirror has been told.
    let server = Server::start(move |_, _| Reply::ok(&source));
    let ran = build(&server).succeeds();
    silent(&ran.err);
    silent(&ran.out);
    let asked = server.requests();
    assert!(
        asked
            .iter()
            .any(|request| request.header("authorization").is_some())
    );
    assert!(tarball(&case).is_file());
    let log = case.pybuild().args(["log"]).run().succeeds().out;
    assert!(log.contains("SOURCE_DATE_EPOCH="), "{log}");
    for path in files_below(&case.at("")) {
        let Ok(content) = fs::read(case.at(&path)) else {
            continue;
        }; // symlinks to directories
        assert!(
            memchr::memmem::find(&content, CANARY.as_bytes()).is_none(),
            "{path}"
        );
    }
    case.is_clean();
}
