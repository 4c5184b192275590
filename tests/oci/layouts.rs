//! Images in directories.

use std::fs;
use std::path::Path;

use pybuild::rootfs::oci::OciError;
use serde_json::{Value, json};

use crate::kit::{Content, Here, INDEX, tar, two_layers};

/// Writes a layout whose index names these.
fn write(dir: &Path, content: &Content, entries: &[Value]) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("mkdir");
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).expect("write");
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    fs::write(dir.join("index.json"), index.to_string()).expect("write");
    let documents = content
        .manifests
        .iter()
        .map(|(name, (_, bytes))| (name, bytes));
    for (name, bytes) in content.blobs.iter().chain(documents) {
        if let Some(digest) = name.strip_prefix("sha256:") {
            fs::write(blobs.join(digest), bytes).expect("write");
        }
    }
}

fn called(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    descriptor
}

#[test]
fn an_image_is_found_by_its_name_or_by_itself() {
    let layers = two_layers();
    let others = vec![tar("other", b"")];
    let mut content = Content::default();
    let wanted = content.image(&layers);
    let other = content.image(&others);
    let here = Here::new();
    let dir = here.dir.path().join("one");
    write(&dir, &content, std::slice::from_ref(&wanted));
    here.pull(&format!("oci:{}", dir.display()), &layers);
    let dir = here.dir.path().join("two");
    let full = json!({"io.containerd.image.name": "docker.io/library/other:12",
        "org.opencontainers.image.ref.name": "12"});
    let mut second = other.clone();
    second["annotations"] = full;
    write(
        &dir,
        &content,
        &[called(wanted.clone(), "v1"), second, called(wanted, "v2")],
    );
    for (name, layers) in [
        ("v1", &layers),
        ("v2", &layers),
        ("12", &others),
        ("other:12", &others),
    ] {
        here.pull(&format!("oci:{}:{name}", dir.display()), layers);
    }
    for name in ["", ":v3"] {
        let error = here.resolve(&format!("oci:{}{name}", dir.display()));
        let error = error.expect_err("which?");
        assert!(matches!(error, OciError::Which { .. }), "{error}");
        assert!(error.to_string().contains("`v1`, `12`"), "{error}");
        assert_eq!(error.is_not_found(), name == ":v3");
    }
}

#[test]
fn what_lies_there_is_verified() {
    let layers = two_layers();
    let mut content = Content::default();
    let wanted = content.image(&layers);
    let manifest = wanted["digest"].as_str().expect("text")["sha256:".len()..].to_owned();
    let here = Here::new();
    let dir = here.dir.path().join("layout");
    let place = format!("oci:{}", dir.display());
    let blobs = dir.join("blobs/sha256");
    let fresh = || {
        let _ = fs::remove_dir_all(&dir);
        write(&dir, &content, std::slice::from_ref(&wanted));
    };
    fresh();
    let resolved = here.resolve(&place).expect("sound");
    let large = resolved.layers[1].digest.to_string();
    let config = resolved.config.to_string();
    for document in [&manifest, &config] {
        fresh();
        let path = blobs.join(document);
        let mut bytes = fs::read(&path).expect("there");
        bytes.push(b'\n');
        fs::write(&path, bytes).expect("write");
        let error = here.resolve(&place).expect_err("spoilt");
        assert!(matches!(error, OciError::Digest { .. }), "{error}");
        fs::remove_file(&path).expect("there");
        assert!(matches!(here.resolve(&place), Err(OciError::Fs(_))));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        assert!(matches!(here.resolve(&place), Err(OciError::Fs(_))));
        fs::remove_file(&path).expect("there");
        let file = fs::File::create(&path).expect("create");
        file.set_len(1 << 40).expect("sparse");
        assert!(matches!(here.resolve(&place), Err(OciError::Fs(_))));
    }
    let path = blobs.join(&large);
    let spoil: [&dyn Fn(); 4] = [
        &|| fs::write(&path, b"short").expect("write"),
        &|| {
            let mut bytes = fs::read(&path).expect("there");
            bytes[1 << 20] ^= 1;
            fs::write(&path, bytes).expect("write");
        },
        &|| fs::remove_file(&path).expect("there"),
        &|| {
            fs::remove_file(&path).expect("there");
            std::os::unix::fs::symlink("/etc/passwd", &path).expect("symlink");
        },
    ];
    for spoil in spoil {
        fresh();
        spoil();
        here.fetch(&resolved).expect_err("spoilt");
        assert_eq!(here.store.blob(&resolved.layers[1].digest), None);
    }
    fresh();
    here.pull(&place, &layers);
}

#[test]
fn directories_that_are_none_are_told() {
    let here = Here::new();
    let dir = here.dir.path().join("layout");
    let place = format!("oci:{}", dir.display());
    assert!(matches!(here.resolve(&place), Err(OciError::Fs(_))));
    fs::create_dir(&dir).expect("mkdir");
    let huge = " ".repeat((4 << 20) + 1);
    for (file, text) in [
        ("oci-layout", &*huge),
        ("oci-layout", "{}"),
        ("oci-layout", r#"{"imageLayoutVersion": "1.0.0"}"#),
        ("index.json", &*huge),
        ("index.json", "{}"),
        ("index.json", r#"{"schemaVersion": 2, "manifests": []}"#),
    ] {
        fs::write(dir.join(file), text).expect("write");
        here.resolve(&place).expect_err(text);
    }
}
