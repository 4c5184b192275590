//! Stacks that one host pushes and others take: the same images, without asking anybody else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pybuild::model::Sha256;
use serde_json::Value;

use crate::bucket::{root, with};
use crate::formula::{Formula, digest, tarball};
use crate::images::{
    can_sandbox, content, given, images_of, lay_out, manifest, prepare, say, told,
};
use crate::kit::{Case, STACK, directory, files_below};
use crate::program::{Pybuild, Ran};
use crate::s3::{AWS, SECRET, Server as Bucket};
use crate::server::{Reply, Request, Server, closed_port};

/// The stack `ours` of a registry, its packages on top.
fn from_registry(case: &Case, server: &Server) {
    let packages = "packages.build = [\"a\"]";
    manifest(case, &format!("{}\n{packages}", images_of(server)));
}

pub(crate) fn push(case: &Case, target: &str) -> Pybuild {
    given(case.pybuild().args(["stack", "push", "ours", target]), case)
}

/// A host that has what another one's manifests say, and nothing else.
pub(crate) fn another(case: &Case) -> Case {
    let other = Case::bare();
    let to = other.at("manifests");
    fs::create_dir(&to).expect("mkdir");
    fs::copy(case.at("manifests/ours.toml"), to.join("ours.toml")).expect("copied");
    other
}

pub(crate) fn index_digest(ran: &Ran) -> String {
    let line = ran
        .out
        .lines()
        .find_map(|line| line.strip_prefix("its digest is "));
    line.expect("a digest").to_owned()
}

pub(crate) fn images(ran: &Ran) -> [(String, u64); 2] {
    ["run", "build"].map(|image| told(ran, image))
}

/// What lies in a directory, on the web.
pub(crate) fn on_the_web(dir: &Path) -> impl Fn(usize, &Request) -> Reply + Send + Sync + 'static {
    let dir = dir.to_owned();
    move |_, request| match fs::read(dir.join(request.path.trim_start_matches('/'))) {
        Ok(bytes) => {
            let reply = match request.range() {
                Some(had) if had < bytes.len() => Reply::rest(&bytes, had),
                _ => Reply::ok(&bytes),
            };
            reply.header(&format!("ETag: \"{}\"", Sha256::of(&bytes).short()))
        }
        Err(_) => Reply::status(404),
    }
}

#[test]
fn a_stack_is_taken_from_a_bucket_a_directory_and_the_web() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    let registry = Server::start(|_, request| content().answer(request));
    from_registry(&case, &registry);
    let made = prepare(&case).run().succeeds();
    let (bucket, dir) = (root(), case.at("mirror"));
    let s3 = Bucket::start(bucket.path(), AWS);
    let at = "s3://bucket/farm";
    let first = with(push(&case, at), &s3).run().succeeds();
    let second = push(&case, dir.to_str().expect("ASCII")).run().succeeds();
    // The same host gives the same bytes.
    assert_eq!(index_digest(&first), index_digest(&second));
    let below = |dir: &Path| files_below(&dir.join("stacks"));
    assert_eq!(below(&bucket.path().join("bucket/farm")), below(&dir));
    for name in below(&dir) {
        let path = dir.join("stacks").join(&name);
        if let Some(named) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(digest(&path).to_string(), named);
        }
    }
    // The name is the only object that changes: whoever keeps a copy asks again.
    for seen in s3.seen().iter().filter(|seen| seen.is("PUT", "stacks/")) {
        let named = seen.uri.contains("stacks/ours-amd64.json");
        assert_eq!(
            seen.headers.contains_key("cache-control"),
            named,
            "{}",
            seen.uri
        );
    }
    let web = Server::start(on_the_web(&dir));
    // From here on nobody else is there.
    drop(registry);
    let url = web.url("");
    for mirror in [at, dir.to_str().expect("ASCII"), &url] {
        let other = another(&case);
        let run = prepare(&other).args(["--stack-mirror", mirror]);
        let ran = with(run, &s3).run().succeeds();
        assert_eq!(images(&ran), images(&made), "{mirror}");
        assert_eq!(say(&other, "run", "echo /etc/*"), "/etc/which\n");
        assert_eq!(say(&other, "build", "cat /etc/build"), "build\n");
        // It is this host's by now: the mirror is not asked again.
        let again = prepare(&other).run().succeeds();
        assert_eq!(again.out, ran.out);
        for said in [&ran.out, &ran.err] {
            assert!(!said.contains(SECRET), "{said}");
        }
        other.is_clean();

        // As an origin of its manifest, by digest.
        let pinned = Case::bare();
        let index = index_digest(&first);
        manifest(
            &pinned,
            &format!("mirror = \"{mirror}\"\ndigest = \"{index}\""),
        );
        let ran = with(prepare(&pinned), &s3).run().succeeds();
        assert_eq!(images(&ran), images(&made), "{mirror}");
        pinned.is_clean();
    }
    // And given on from a host that has taken it.
    let other = another(&case);
    prepare(&other)
        .env("PYBUILD_STACK_MIRROR", &dir)
        .run()
        .succeeds();
    let again = push(&other, other.at("on").to_str().expect("ASCII"));
    again.run().succeeds();
    let third = another(&other);
    let run = prepare(&third).env("PYBUILD_STACK_MIRROR", other.at("on"));
    assert_eq!(images(&run.run().succeeds()), images(&made));
    case.is_clean();
}

#[test]
fn a_debian_stack_that_was_taken_gives_the_same_builds() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    formula.build(&case).run().succeeds();
    let dir = case.at("mirror");
    let run = case.pybuild().args(["stack", "push", STACK]);
    run.args([&dir]).run().succeeds();
    let other = Case::bare();
    let nowhere = format!("http://127.0.0.1:{}/debian", closed_port());
    let run = formula
        .build(&other)
        .env("PYBUILD_DEBIAN_MIRROR", nowhere)
        .env("PYBUILD_STACK_MIRROR", &dir)
        .env("NO_PROXY", "127.0.0.1");
    run.run().succeeds();
    let record = |case: &Case| -> Value {
        let path = tarball(case).with_extension("gz.json");
        serde_json::from_slice(&fs::read(path).expect("there")).expect("JSON")
    };
    assert_eq!(record(&other), record(&case));
    assert_eq!(digest(&tarball(&other)), digest(&tarball(&case)));
    // Owners and modes as Debian's packages and their scripts have them, there as here.
    let exported = |case: &Case| {
        let output = case.at("run.tar");
        let run = case
            .pybuild()
            .args(["stack", "export", STACK, "--image", "run"]);
        run.args(["--output".as_ref(), output.as_path()])
            .run()
            .succeeds();
        fs::read(output).expect("there")
    };
    let bytes = exported(&case);
    assert!(bytes == exported(&other), "what was taken is another image");
    let listed = crate::exported::listing(&bytes);
    for (name, meant) in [
        ("usr/bin/su", (b'0', 0, 0, 0o4755)),
        ("usr/bin/newgrp", (b'0', 0, 0, 0o4755)),
        ("var/mail/", (b'5', 0, 8, 0o2775)),
        ("tmp/", (b'5', 0, 0, 0o1777)),
    ] {
        assert_eq!(listed.get(name), Some(&meant), "{name}");
    }
    // What was taken is verified as what was made.
    let verify = other.pybuild().args(["stack", "verify", STACK]);
    verify.run().succeeds();
    other.is_clean();
}

/// Wherever a lock is, it says which images they are, not where they are taken from.
#[test]
fn a_lock_holds_for_what_is_taken() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    let from = |package: &str| {
        format!("image.build = \"oci:../images:build\"\npackages.build = [\"{package}\"]")
    };
    manifest(&case, &from("a"));
    let mirror = case.at("mirror");
    let at = mirror.to_str().expect("ASCII");
    push(&case, at).run().succeeds();
    let stack = |case: &Case, what: &str| {
        given(case.pybuild().args(["stack", what, "ours", "--json"]), case)
    };
    stack(&case, "lock").run().succeeds();
    let locked = |case: &Case| prepare(case).args(["--locked", "--stack-mirror", at]);
    let with_lock = |case: &Case| {
        let other = another(case);
        let name = "manifests/ours.lock";
        fs::copy(case.at(name), other.at(name)).expect("copied");
        other
    };
    // The images themselves are not there: only the mirror has what is locked.
    let made = prepare(&case).run().succeeds();
    let other = with_lock(&case);
    assert_eq!(images(&locked(&other).run().succeeds()), images(&made));
    // Another stack has the name by now: it is not taken, and nothing else is there.
    manifest(&case, &from("b"));
    push(&case, at).arg("--overwrite").run().succeeds();
    manifest(&case, &from("a"));
    let other = with_lock(&case);
    let ran = locked(&other).run();
    assert_ne!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("has another ours than is locked"),
        "{}",
        ran.err
    );
    other.is_clean();

    // A mirror that the manifest names is locked by the digest of its index.
    let taker = Case::bare();
    manifest(&taker, &format!("mirror = \"{at}\""));
    let second = prepare(&taker).run().succeeds();
    stack(&taker, "lock").run().succeeds();
    push(&case, at).arg("--overwrite").run().succeeds();
    let other = with_lock(&taker);
    let ran = prepare(&other).arg("--locked").run().succeeds();
    assert_eq!(images(&ran), images(&second));
    let told = stack(&other, "outdated").run();
    assert_eq!(told.code, 4, "it has moved: {}", told.err);
    assert!(
        told.out.contains("\"a\"") && told.out.contains("\"b\""),
        "{}",
        told.out
    );
    // Without the lock, what has the name today.
    let free = another(&taker);
    let ran = prepare(&free).arg("--unlocked").run().succeeds();
    assert_eq!(images(&ran), images(&made));
    free.is_clean();
}

/// All images are as they were pushed, to the last byte.
#[test]
fn what_is_taken_is_what_was_pushed() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    crate::exported::ours(&case);
    let dir = case.at("mirror");
    let at = dir.to_str().expect("ASCII");
    push(&case, at).run().succeeds();
    let other = Case::bare();
    manifest(&other, &format!("mirror = \"{at}\""));
    for image in ["run", "build"] {
        let tar = |case: &Case| -> Vec<u8> {
            let output: PathBuf = case.at(&format!("{image}.tar"));
            let run = crate::exported::export(case, &output, &["--image", image]);
            run.run().succeeds();
            fs::read(output).expect("there")
        };
        assert!(tar(&case) == tar(&other), "the {image} image");
    }
    // What the two images share, they share there too.
    let count = |dir: &Path| -> u64 {
        let files = files_below(dir).into_iter();
        let size = |name: String| fs::metadata(dir.join(name)).expect("there").len();
        files.map(size).max().expect("a layer")
    };
    let all: u64 = files_below(&dir)
        .iter()
        .map(|name| fs::metadata(dir.join(name)).expect("there").len())
        .sum();
    assert!(all < 2 * count(&dir), "the large layer is there twice");
    other.is_clean();
}

#[test]
fn what_is_not_there_is_looked_for_elsewhere() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    let images = "image.build = \"oci:../images:build\"\nimage.run = \"oci:../images:run\"";
    manifest(&case, images);
    let (empty, mirror) = (case.at("empty"), case.at("mirror"));
    fs::create_dir(&empty).expect("mkdir");
    push(&case, mirror.to_str().expect("ASCII"))
        .run()
        .succeeds();

    // No such stack there.
    let other = Case::bare();
    lay_out(&content(), &other.at("images"));
    manifest(&other, images);
    let ran = prepare(&other).env("PYBUILD_STACK_MIRROR", &empty);
    let ran = ran.run().succeeds();
    let said = format!("{} has no ours", empty.display());
    assert!(ran.err.contains(&said), "{}", ran.err);

    // One of that name, of a manifest that says something else.
    let other = Case::bare();
    lay_out(&content(), &other.at("images"));
    manifest(&other, &format!("{images}\npackages.build = [\"a\"]"));
    let run = prepare(&other).env("PYBUILD_STACK_MIRROR", &mirror);
    let ran = run.run().succeeds();
    let said = format!("{} has ours as another manifest gave it", mirror.display());
    assert!(ran.err.contains(&said), "{}", ran.err);
    assert_eq!(told(&ran, "build").1, 2);

    // Among the manifest's own places, and in none of them.
    let other = Case::bare();
    lay_out(&content(), &other.at("images"));
    let at = |dir: &Path| format!("mirror = \"{}\"", dir.display());
    manifest(&other, &format!("{}\n[[from]]\n{images}", at(&empty)));
    prepare(&other).run().succeeds();
    let other = Case::bare();
    let pinned = format!("digest = \"sha256:{}\"", Sha256::of(b""));
    let both = format!("{}\n[[from]]\n{}\n{pinned}", at(&empty), at(&mirror));
    manifest(&other, &both);
    let said = ["no mirror has the stack ours", "has no such ours", "hint: "];
    prepare(&other).run().fails(2, &said);
    other.is_clean();

    // One that cannot be asked is not passed over: another place may have another stack.
    let registry = Server::start(|_, request| content().answer(request));
    manifest(&other, &images_of(&registry));
    let closed = format!("http://127.0.0.1:{}/", closed_port());
    let run = prepare(&other).args(["--stack-mirror", &closed]);
    run.run().fails(75, &[&closed]);
    let run = prepare(&other).args(["--stack-mirror", "ftp://example.org/"]);
    run.run().fails(2, &["the mirror of stacks", "ftp://"]);
    assert_eq!(registry.requests().len(), 0);
    other.is_clean();
}

/// Credentials that only whoever started pybuild may read, as those of root.
#[test]
fn a_bucket_is_read_with_the_credentials_of_whoever_started() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    manifest(&case, "image.build = \"oci:../images:build\"");
    let bucket = root();
    let server = Bucket::start(bucket.path(), AWS);
    with(push(&case, "s3://bucket/p"), &server).run().succeeds();
    let private = directory();
    fs::set_permissions(private.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let file = private.path().join("credentials");
    let text = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {SECRET}\n",
        crate::s3::KEY
    );
    fs::write(&file, text).expect("written");
    let formula = Formula::hello().check("exit 0");
    for more in [
        &["prepare", "ours"][..],
        &["run", "ours", "--", "sh", "-c", "exit 0"],
    ] {
        let other = Case::bare();
        manifest(&other, "mirror = \"s3://bucket/p\"");
        let (flags, rest) = more.split_at(2);
        let run = given(other.pybuild().args(flags), &other).args(rest);
        let run = with(run, &server)
            .without("AWS_ACCESS_KEY_ID")
            .without("AWS_SECRET_ACCESS_KEY")
            .env("AWS_SHARED_CREDENTIALS_FILE", &file);
        let ran = run.run().succeeds();
        assert!(!ran.err.contains(SECRET), "{}", ran.err);
        other.is_clean();
    }
    // Where root has a worker, its steward tells it.
    let other = Case::bare();
    manifest(&other, "mirror = \"s3://bucket/p\"");
    let formulae = formula.write(&other.at(""));
    let run = other
        .pybuild()
        .args(["sandbox", "ours", "hello-1.0", "--formulae"])
        .args([formulae.as_path(), "--source-mirror".as_ref()])
        .args([
            other.at("sources").as_path(),
            "--output".as_ref(),
            &other.dist(),
        ]);
    let run = with(given(run, &other), &server)
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY")
        .env("AWS_SHARED_CREDENTIALS_FILE", &file);
    let ran = run.run();
    // There is no compiler in the image: what matters is that it got there.
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.err.contains("fetched from s3://bucket/p/"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains(SECRET), "{}", ran.err);
    other.is_clean();
}
