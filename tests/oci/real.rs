//! Images that skopeo and umoci have made and pushed to a real registry (docker-registry).
#![allow(clippy::print_stderr)]

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pybuild::archive::Codec;
use pybuild::model::Sha256;
use serde_json::{Value, json};

use crate::kit::Here;

const TOOLS: [&str; 3] = ["docker-registry", "skopeo", "umoci"];

/// Whether the tools are there; loudly, if not.
fn tools_are_there() -> bool {
    let there = |tool: &&&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
    };
    let missing: Vec<&&str> = TOOLS.iter().filter(|tool| !there(tool)).collect();
    if missing.is_empty() {
        return true;
    }
    eprintln!("!!! NOT TESTED with a real registry: {missing:?} are not here");
    eprintln!("!!! hint: apt-get install docker-registry skopeo umoci");
    assert!(std::env::var_os("CI").is_none(), "CI must have {missing:?}");
    false
}

/// Runs a tool to its end.
fn run(dir: &Path, program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(args)
        .current_dir(dir)
        .env("HOME", dir)
        .env("XDG_RUNTIME_DIR", dir)
        .env("XDG_DATA_HOME", dir)
        .env("TMPDIR", dir)
        // What skopeo remembers of blobs is not to be this host's.
        .env("_CONTAINERS_ROOTLESS_UID", "65534")
        .output()
        .expect("it is here");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    output.stdout
}

fn skopeo(dir: &Path, args: &[&str]) -> Vec<u8> {
    // The signature policy of a host that has none.
    let policy = dir.join("policy.json");
    fs::write(
        &policy,
        r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
    )
    .expect("write");
    let policy = policy.to_str().expect("text");
    run(dir, "skopeo", &[&["--policy", policy], args].concat())
}

/// A registry that ends with this.
struct Registry {
    child: Child,
    host: String,
}

impl Registry {
    fn start(dir: &Path) -> Self {
        let port = crate::server::closed_port();
        let host = format!("127.0.0.1:{port}");
        let config = json!({
            "version": "0.1", "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": dir.join("registry")}},
            "http": {"addr": host}});
        let file = dir.join("registry.yml");
        // YAML is a superset of JSON.
        fs::write(&file, config.to_string()).expect("write");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is here");
        let this = Self { child, host };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(&this.host).is_err() {
            assert!(Instant::now() < end, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        this
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An image of three layers, made by umoci in the layout `made` under the name `v1`.
fn make(dir: &Path) {
    run(dir, "umoci", &["init", "--layout", "made"]);
    run(dir, "umoci", &["new", "--image", "made:v1"]);
    for (n, content) in ["first", "second", "third"].iter().enumerate() {
        let bundle = format!("bundle{n}");
        run(
            dir,
            "umoci",
            &["unpack", "--rootless", "--image", "made:v1", &bundle],
        );
        let root = dir.join(&bundle).join("rootfs");
        fs::create_dir_all(root.join("etc")).expect("mkdir");
        let file = root.join("etc").join(format!("file{n}"));
        fs::write(file, content.repeat(100_000 * (n + 1))).expect("write");
        if n == 2 {
            fs::remove_file(root.join("etc/file0")).expect("of the first layer");
        }
        run(dir, "umoci", &["repack", "--image", "made:v1", &bundle]);
    }
    run(
        dir,
        "umoci",
        &[
            "config",
            "--image",
            "made:v1",
            "--config.env",
            "WHO=umoci",
            "--architecture",
            "amd64",
            "--os",
            "linux",
        ],
    );
}

/// Digests of layers in a manifest, as skopeo gives it.
fn layers(manifest: &[u8]) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(manifest).expect("JSON");
    let layers = manifest["layers"].as_array().expect("a list");
    let digest = |layer: &Value| layer["digest"].as_str().expect("text").to_owned();
    layers.iter().map(digest).collect()
}

#[test]
fn images_are_pulled_as_they_were_pushed() {
    if !tools_are_there() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path();
    make(dir);
    let registry = Registry::start(dir);
    let host = &registry.host;
    let push = |more: &[&str], tag: &str| {
        let to = format!("docker://{host}/team/image:{tag}");
        let args = [
            &["copy", "--dest-tls-verify=false"],
            more,
            &["oci:made:v1", &to],
        ]
        .concat();
        skopeo(dir, &args);
    };
    push(&[], "oci");
    push(&["--format", "v2s2"], "docker");
    // Only what is not compressed yet is compressed so, and what the registry has is not pushed.
    skopeo(
        dir,
        &["copy", "--dest-decompress", "oci:made:v1", "dir:plain"],
    );
    let compress = ["copy", "--dest-compress-format", "zstd"];
    skopeo(
        dir,
        &[&compress[..], &["dir:plain", "oci:zstd:v1"]].concat(),
    );
    let to = format!("docker://{host}/team/image:zstd");
    let push = ["copy", "--dest-tls-verify=false", "--preserve-digests"];
    skopeo(dir, &[&push[..], &["oci:zstd:v1", &to]].concat());
    let made = Here::new().resolve(&format!("oci:{}:v1", dir.join("made").display()));
    let made = made.expect("umoci's layout");
    let diff_ids: Vec<Sha256> = made.layers.iter().map(|layer| layer.diff_id).collect();
    assert_eq!(diff_ids.len(), 3);
    assert!(made.env.contains(&("WHO".to_owned(), "umoci".to_owned())));
    let archive = dir.join("image.tar");
    for (tag, codec) in [
        ("oci", Codec::Gzip),
        ("docker", Codec::Gzip),
        ("zstd", Codec::Zstd),
    ] {
        let image = format!("{host}/team/image:{tag}");
        let remote = format!("docker://{image}");
        let manifest = skopeo(dir, &["inspect", "--tls-verify=false", "--raw", &remote]);
        let here = Here::new();
        let resolved = here.resolve(&image).expect("resolved");
        assert_eq!(resolved.manifest, Some(Sha256::of(&manifest)), "{tag}");
        let found: Vec<String> = resolved
            .layers
            .iter()
            .map(|layer| format!("sha256:{}", layer.digest))
            .collect();
        assert_eq!(found, layers(&manifest), "{tag}");
        assert!(
            resolved
                .layers
                .iter()
                .all(|layer| layer.codec == Some(codec)),
            "{tag}"
        );
        check(&here, &image, &diff_ids);
        // The same by digest, and as archives of both forms.
        let pinned = format!("{host}/team/image@sha256:{}", Sha256::of(&manifest));
        check(&Here::new(), &pinned, &diff_ids);
        for (form, name) in [("docker-archive", "team/image:x"), ("oci-archive", "x")] {
            if form == "docker-archive" && codec == Codec::Zstd {
                continue; // skopeo 1.9 cannot: "zstd compression is not supported for docker images"
            }
            let to = format!("{form}:{}:{name}", archive.display());
            skopeo(dir, &["copy", "--src-tls-verify=false", &remote, &to]);
            check(&Here::new(), &to, &diff_ids);
            check(
                &Here::new(),
                &format!("{form}:{}", archive.display()),
                &diff_ids,
            );
            fs::remove_file(&archive).expect("there");
        }
    }
    let error = Here::new().resolve(&format!("{host}/team/image:none"));
    let error = error.expect_err("not there");
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains("manifest unknown"), "{error}");
    let error = Here::new().resolve(&format!("{host}/nobody/nothing:none"));
    assert!(error.expect_err("not there").is_not_found());
}

/// Pulls an image and looks at what its layers are.
fn check(here: &Here, place: &str, diff_ids: &[Sha256]) {
    let resolved = here.resolve(place).expect(place);
    let found: Vec<Sha256> = resolved.layers.iter().map(|layer| layer.diff_id).collect();
    assert_eq!(found, diff_ids, "{place}");
    let blobs = here.fetch(&resolved).expect(place);
    for (blob, diff_id) in blobs.iter().zip(diff_ids) {
        let file = fs::File::open(blob).expect("the blob");
        let mut tar = pybuild::archive::decoder(file).expect("its codec");
        let (digest, _) = Sha256::of_reader(&mut tar).expect("it decompresses");
        assert_eq!(digest, *diff_id, "{place}");
    }
    here.is_tidy();
}

/// A layer that breaks off is gone on from at a real registry, too.
#[test]
fn a_real_registry_takes_ranges() {
    if !tools_are_there() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path();
    make(dir);
    let registry = Registry::start(dir);
    let image = format!("{}/team/image:v1", registry.host);
    skopeo(
        dir,
        &[
            "copy",
            "--dest-tls-verify=false",
            "oci:made:v1",
            &format!("docker://{image}"),
        ],
    );
    let whole = Here::new();
    let resolved = whole.resolve(&image).expect("resolved");
    let blobs = whole.fetch(&resolved).expect("fetched");
    let here = Here::new();
    for (blob, layer) in blobs.iter().zip(&resolved.layers) {
        let bytes = fs::read(blob).expect("there");
        let half = &bytes[..bytes.len() / 2];
        fs::write(here.store.partial_path(&layer.digest), half).expect("write");
    }
    assert_eq!(here.fetch(&resolved).expect("the rest").len(), blobs.len());
    here.is_tidy();
}
