//! Stacks made of images, from wherever those are: registries, layouts, tarballs, directories.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::OnceLock;

use pybuild::model::Sha256;
use pybuild::rootfs;
use serde_json::{Value, json};

use crate::image::image_of;
use crate::kit::Case;
use crate::oci::{Content, tar_of};
use crate::program::{Pybuild, Ran};
use crate::server::Server;

/// An apt that takes its orders and puts what it is told to into dpkg's status, or fails as the
/// name of the package wants it. What it has is of version 2.0; of 3.0 where `all_proxy` says `newer`.
pub(crate) const APT: &[u8] = br#"#!/bin/sh
set -eu
case "$1" in
update) echo "Reading package lists..."; exit 0 ;;
esac
shift
simulate= now=2.0
case "${all_proxy:-}" in *newer*) now=3.0 ;; esac
for name; do
    case "$name" in
    --) continue ;;
    --simulate) simulate=yes; continue ;;
    *=*)
        wanted=${name#*=} name=${name%%=*}
        [ "$wanted" = "$now" ] || { echo "E: Version '$wanted' for '$name' was not found"; exit 100; } ;;
    moved) echo "Err:1 http://mirror.example.org x Release"; echo "  404  Not Found [IP: 192.0.2.1 80]"; exit 100 ;;
    cut-off) echo "Could not resolve 'mirror.example.org'"; exit 100 ;;
    unknown) echo "E: Unable to locate package unknown"; exit 100 ;;
    broken) echo "dpkg: error processing package broken (--configure):"; exit 100 ;;
    sources) cat /tmp/apt/sources.list >/etc/seen ;;
    owned)
        mkdir /opt /opt/spool
        echo x >/opt/program; chown 0:42 /opt/program; chmod 2755 /opt/program
        chown 5:60 /opt/spool; chmod 2770 /opt/spool
        echo x >/opt/new; chown 7:7 /opt/new; mv /opt/new /opt/renamed
        mknod -m 640 /opt/device c 1 3
        echo root >>/etc/secret
        ;;
    removes) rm -r /opt/gone /opt/new; mkdir /opt/new; echo new >/opt/new/file; echo more >>/opt/mail/list ;;
    esac
    [ -z "$simulate" ] || { echo "Inst $name ($now x [all])"; continue; }
    printf 'Package: %s\nStatus: install ok installed\nVersion: %s\nArchitecture: all\n\n' "$name" "$now" >>/var/lib/dpkg/status
    echo "Setting up $name ($now)"
done
"#;

pub(crate) const STATUS: &[u8] =
    b"Package: base\nStatus: install ok installed\nVersion: 1.0\nArchitecture: all\n\n";

/// The programs of a root file system, as a layer; the same for all tests.
pub(crate) fn programs() -> &'static Vec<u8> {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let names = ["sh", "cat", "mkdir", "chmod", "chown", "mknod", "mv", "rm"];
        image_of(&names, dir.path());
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_dir_all(".", dir.path()).expect("memory");
        tar.into_inner().expect("memory")
    })
}

/// An executable in a layer.
pub(crate) fn program(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, name, content).expect("memory");
    tar.into_inner().expect("memory")
}

pub(crate) fn run_layers() -> Vec<Vec<u8>> {
    let status = tar_of(&[("var/lib/dpkg/status", STATUS), ("etc/which", b"run\n")]);
    vec![programs().clone(), status]
}

/// Those of the run image, and more.
pub(crate) fn build_layers() -> Vec<Vec<u8>> {
    let mut layers = run_layers();
    layers.push(program("usr/bin/apt-get", APT));
    layers.push(program("usr/sbin/some", b"#!/bin/sh\n"));
    layers.push(tar_of(&[("etc/.wh.which", b""), ("etc/build", b"build\n")]));
    layers
}

/// Both images: `run` and `build`.
pub(crate) fn content() -> Content {
    let mut content = Content::default();
    for (tag, layers) in [("run", run_layers()), ("build", build_layers())] {
        let image = content.image(&layers);
        content.tag(tag, &image);
    }
    content
}

/// Writes the manifest of the stack `ours`, with these lines for where it comes from.
pub(crate) fn manifest(case: &Case, from: &str) {
    let dir = case.at("manifests");
    fs::create_dir_all(&dir).expect("mkdir");
    let text = format!(
        "schema = 1\nname = \"ours\"\nend_of_life = 2099-01-01\narchitectures = [\"amd64\"]\n\n\
         [[from]]\n{from}\n"
    );
    fs::write(dir.join("ours.toml"), text).expect("written");
}

pub(crate) fn prepare(case: &Case) -> Pybuild {
    let run = case.pybuild().args(["prepare", "ours", "--json"]);
    given(run, case)
}

pub(crate) fn given(run: Pybuild, case: &Case) -> Pybuild {
    let no_proxy = run.env("NO_PROXY", "127.0.0.1");
    no_proxy.args(["--manifests".as_ref(), case.at("manifests").as_path()])
}

/// What a shell of an image prints.
pub(crate) fn say(case: &Case, image: &str, script: &str) -> String {
    let run = case.pybuild().args(["run", "ours", "--image", image]);
    let ran = given(run, case).args(["--", "sh", "-c", script]).run();
    ran.succeeds().out
}

/// The digest of an image, and how many packages are in it.
pub(crate) fn told(ran: &Ran, image: &str) -> (String, u64) {
    let json: Value = serde_json::from_str(&ran.out).expect("JSON");
    let images = json.as_array().expect("a list");
    let found = images.iter().find(|found| found["image"] == image);
    let found = found.expect("an image");
    let digest = found["digest"].as_str().expect("a digest");
    (
        digest.to_owned(),
        found["packages"].as_u64().expect("a number"),
    )
}

/// Whether this host can sandbox: what needs no sandbox is tested all the same.
pub(crate) fn can_sandbox() -> bool {
    crate::kit::shared_store().is_some()
}

pub(crate) fn images_of(server: &Server) -> String {
    let at = server.url("/team/image").replace("http://", "");
    format!("image.build = \"{at}:build\"\nimage.run = \"{at}:run\"")
}

#[test]
fn a_stack_comes_from_a_registry_and_is_fetched_once() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    let server = Server::start(|_, request| content().answer(request));
    manifest(&case, &images_of(&server));
    let ran = prepare(&case).run().succeeds();
    assert_eq!(told(&ran, "run").1, 1);
    assert_ne!(told(&ran, "run").0, told(&ran, "build").0);
    assert_eq!(say(&case, "run", "echo /etc/*"), "/etc/which\n");
    assert_eq!(
        say(&case, "build", "echo /etc/*; cat /etc/build"),
        "/etc/build\nbuild\n"
    );
    let layers: Vec<String> = server
        .requests()
        .iter()
        .filter(|request| request.path.contains("/blobs/"))
        .map(|request| request.path.clone())
        .collect();
    // Two configurations and five layers, of which the images share two.
    assert_eq!(layers.len(), 7, "{layers:?}");
    let before = server.requests().len();
    assert_eq!(prepare(&case).run().succeeds().out, ran.out);
    assert_eq!(server.requests().len(), before);
    case.is_clean();
}

/// Writes an OCI layout.
pub(crate) fn lay_out(content: &Content, dir: &Path) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("mkdir");
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    let mut manifests = Vec::new();
    for (name, (media_type, bytes)) in &content.manifests {
        match name.strip_prefix("sha256:") {
            Some(digest) => fs::write(blobs.join(digest), bytes).expect("written"),
            None => manifests.push(json!({
                "mediaType": media_type,
                "digest": format!("sha256:{}", Sha256::of(bytes)),
                "size": bytes.len(),
                "annotations": {"org.opencontainers.image.ref.name": name},
            })),
        }
    }
    for (name, bytes) in &content.blobs {
        let digest = name.strip_prefix("sha256:").expect("a digest");
        fs::write(blobs.join(digest), bytes).expect("written");
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    fs::write(dir.join("index.json"), index.to_string()).expect("written");
}

#[test]
fn the_same_images_are_the_same_wherever_they_come_from() {
    if !can_sandbox() {
        return;
    }
    let server = Server::start(|_, request| content().answer(request));
    let digests = |from: &dyn Fn(&Case) -> String| {
        let case = Case::bare();
        manifest(&case, &from(&case));
        let ran = prepare(&case).run().succeeds();
        ["run", "build"].map(|image| told(&ran, image))
    };
    let registry = digests(&|_| images_of(&server));
    // Its path leads on from where the manifest is.
    let layout = digests(&|case| {
        lay_out(&content(), &case.at("images"));
        "image.build = \"oci:../images:build\"\nimage.run = \"oci:../images:run\"".to_owned()
    });
    assert_eq!(layout, registry);
}

#[test]
fn a_tarball_and_a_directory_are_both_images() {
    if !can_sandbox() {
        return;
    }
    let tar = programs();
    let packed = zstd::encode_all(&tar[..], 1).expect("memory");
    let case = Case::bare();
    fs::write(case.at("root.tar.zst"), &packed).expect("written");
    let tarball = |sha256: Sha256| {
        let url = format!("file://{}", case.at("root.tar.zst").display());
        format!("tarball.urls = [\"{url}\"]\ntarball.sha256 = \"{sha256}\"")
    };
    manifest(&case, &tarball(Sha256::of(b"something else")));
    prepare(&case)
        .run()
        .fails(1, &["do not use what these places give"]);
    manifest(&case, &tarball(Sha256::of(&packed)));
    prepare(&case).run().succeeds();
    assert_eq!(say(&case, "run", "cat </dev/null && echo works"), "works\n");
    case.is_clean();

    let case = Case::bare();
    tar::Archive::new(&tar[..])
        .unpack(case.at("root"))
        .expect("unpacked");
    manifest(&case, "directory = \"../root\"");
    let first = prepare(&case).run().succeeds();
    // It is a copy: what becomes of the directory does not matter.
    fs::remove_dir_all(case.at("root")).expect("removed");
    assert_eq!(say(&case, "build", "echo works"), "works\n");
    assert_eq!(prepare(&case).run().succeeds().out, first.out);
    case.is_clean();
}

#[test]
fn packages_are_one_more_layer() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    let from = |packages: &str| format!("image.build = \"oci:../images:build\"\n{packages}");
    manifest(
        &case,
        &from("packages.run = [\"a\", \"b\"]\npackages.build = [\"c\"]"),
    );
    let first = prepare(&case).run().succeeds();
    assert_eq!((told(&first, "run").1, told(&first, "build").1), (3, 4));
    assert_eq!(
        say(&case, "run", "echo /etc/*; echo /usr/sbin/*"),
        "/etc/build\n/usr/sbin/some\n"
    );
    manifest(
        &case,
        &from("packages.run = [\"a\", \"b\"]\npackages.build = [\"d\"]"),
    );
    let second = prepare(&case).run().succeeds();
    assert_eq!(told(&second, "run"), told(&first, "run"));
    assert_ne!(told(&second, "build").0, told(&first, "build").0);
    let said = second.err.matches("installing").count();
    assert_eq!(said, 1, "the run image was there: {}", second.err);

    let line = "deb http://mirror.example.org/a $b main";
    manifest(
        &case,
        &from(&format!(
            "packages.run = [\"sources\"]\npackages.sources = [\"{line}\"]"
        )),
    );
    prepare(&case).run().succeeds();
    assert_eq!(say(&case, "run", "cat /etc/seen"), format!("{line}\n"));
    case.is_clean();
}

/// A file whose group is not root's, in a layer.
fn secret() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o640);
    header.set_gid(42);
    tar.append_data(&mut header, "etc/secret", &b"x\n"[..])
        .expect("memory");
    tar.into_inner().expect("memory")
}

#[test]
fn a_layer_of_packages_says_who_owns_what() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    let mut content = Content::default();
    let layers = [build_layers(), vec![secret()]].concat();
    let image = content.image(&layers);
    content.tag("build", &image);
    lay_out(&content, &case.at("images"));
    let from = "image.build = \"oci:../images:build\"\npackages.build = [\"owned\"]";
    manifest(&case, from);
    let ran = prepare(&case).run().succeeds();
    assert!(!ran.err.contains("recorded"), "{}", ran.err);
    let json: Value = serde_json::from_str(&ran.out).expect("JSON");
    let layers = json[1]["layers"].as_array().expect("layers");
    let top = Path::new(layers[1].as_str().expect("a path"));
    let ownership = rootfs::ownership(top.parent().expect("a layer")).expect("readable");
    let ownership = ownership.expect("it was written down");
    let found: Vec<_> = ownership
        .iter()
        // The rest of the image is whoever's who runs this test.
        .filter(|(path, _)| path.starts_with(b"etc/") || path.starts_with(b"opt/"))
        .map(|(path, owned)| {
            let is_device = owned.device.is_some();
            (path, owned.uid, owned.gid, owned.mode, is_device)
        })
        .collect();
    let expected = [
        // Of the layer below, and copied when it was written to.
        (&b"etc/secret"[..], 0, 42, None, false),
        (b"opt/device", 0, 0, Some(0o640), true),
        (b"opt/program", 0, 42, Some(0o2755), false),
        (b"opt/renamed", 7, 7, None, false),
        (b"opt/spool", 5, 60, Some(0o2770), false),
    ];
    assert_eq!(found, expected);
    let mode = |name: &str| {
        let found = fs::symlink_metadata(top.join(name)).expect(name);
        found.permissions().mode() & 0o7777
    };
    assert_eq!((mode("opt/program"), mode("opt/spool")), (0o755, 0o770));
    assert!(!top.join("opt/device").exists());
    // An older pybuild has not written it.
    fs::remove_file(top.with_file_name("ownership.jsonl")).expect("removed");
    let none = rootfs::ownership(top.parent().expect("a layer"));
    assert_eq!(none.expect("readable"), None);
    case.is_clean();
}

#[test]
fn what_apt_fails_with_is_told() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    let table: [(&str, &str, i32, &[&str]); 5] = [
        (
            "build",
            "moved",
            2,
            &[
                "404  Not Found",
                "packages.sources",
                "Ubuntu among its old releases",
            ],
        ),
        ("build", "cut-off", 75, &["Could not resolve", "http_proxy"]),
        (
            "build",
            "unknown",
            2,
            &["Unable to locate package unknown", "see the names"],
        ),
        (
            "build",
            "broken",
            1,
            &["could not install broken", "dpkg: error processing"],
        ),
        ("run", "any", 2, &["an image without apt-get: any"]),
    ];
    for (image, package, code, said) in table {
        manifest(
            &case,
            &format!("image.build = \"oci:../images:{image}\"\npackages.build = [\"{package}\"]"),
        );
        prepare(&case).run().fails(code, said);
        case.is_clean();
    }
}

#[test]
fn a_stack_past_its_end_of_life_is_warned_of() {
    if !can_sandbox() {
        return;
    }
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    manifest(&case, "image.build = \"oci:../images:build\"");
    let ran = prepare(&case).run().succeeds();
    assert!(!ran.err.contains("end of life"), "{}", ran.err);
    let path = case.at("manifests/ours.toml");
    let text = fs::read_to_string(&path).expect("readable");
    fs::write(&path, text.replace("2099-01-01", "2020-01-01")).expect("written");
    let ran = prepare(&case).run().succeeds();
    let said = "the stack ours has reached its end of life on 2020-01-01";
    assert!(ran.err.contains(said), "{}", ran.err);
}
