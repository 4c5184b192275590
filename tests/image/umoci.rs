//! The tree of an image, file by file beside the one that umoci makes of it.
//!
//! Where they differ, and why:
//!
//! - umoci keeps setuid and setgid bits, and sticky bits of files; here they are on record only.
//! - umoci keeps modes that take away the owner's own rights; here the owner can read.
//! - umoci, rootless, puts an empty file where a device would be; here nothing is there.
//! - What a directory that no entry names gets, nothing says: umoci gives it the time it was made.
//! - With umoci, what is put into the root, and what no entry names, changes the time of the directory
//!   that it is put into; here a directory has the time that its entry says.
//! - Where a directory becomes a symlink, umoci writes the symlink, and then whiteouts of what was in
//!   the directory; and when it reads that, it takes these files away from where the symlink leads.
//!   Here the tree comes out as it was.
//! - umoci notes owners in the attribute `user.rootlesscontainers`; here they are in a file beside.

#![allow(clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use pybuild::model::Sha256;
use pybuild::rootfs::image::{self, LayerBlob};
use serde_json::{Value, json};

use crate::kit::{Found, Place, gzip, look};
use crate::tarball::{Entry, tar};

/// Whether the tool is here. If it is not, that is said, and in CI it is a failure.
fn has(tool: &str, what: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        assert!(
            std::env::var_os("CI").is_none(),
            "no {tool}: apt-get install {tool}"
        );
        eprintln!("\n{what} WAS NOT RUN: no {tool} here: apt-get install {tool}\n");
    }
    found
}

fn run(command: &mut Command) {
    let output = command.output().expect("started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
}

fn umoci(arguments: &[&str]) {
    run(Command::new("umoci").args(arguments));
}

/// Puts a blob into an OCI layout.
fn put(layout: &Path, media: &str, bytes: &[u8]) -> Value {
    let digest = Sha256::of(bytes);
    fs::write(layout.join(format!("blobs/sha256/{digest}")), bytes).expect("write");
    json!({ "mediaType": media, "digest": format!("sha256:{digest}"), "size": bytes.len() })
}

/// An OCI layout with one image, tagged `test`.
fn layout(dir: &Path, tars: &[Vec<u8>]) {
    fs::create_dir_all(dir.join("blobs/sha256")).expect("mkdir");
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("write");
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let layers: Vec<Value> = tars.iter().map(|tar| put(dir, layer, &gzip(tar))).collect();
    let diff_ids: Vec<String> = tars
        .iter()
        .map(|tar| format!("sha256:{}", Sha256::of(tar)))
        .collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = put(
        dir,
        "application/vnd.oci.image.config.v1+json",
        config.to_string().as_bytes(),
    );
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let media = "application/vnd.oci.image.manifest.v1+json";
    let mut entry = put(dir, media, manifest.to_string().as_bytes());
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "test" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(dir.join("index.json"), index.to_string()).expect("write");
}

fn document(dir: &Path, digest: &Value) -> Value {
    let digest = digest
        .as_str()
        .expect("a digest")
        .trim_start_matches("sha256:");
    let bytes = fs::read(dir.join("blobs/sha256").join(digest)).expect("a blob");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// The layers of the image `test` of a layout.
fn layers(dir: &Path) -> Vec<LayerBlob> {
    let index = fs::read(dir.join("index.json")).expect("an index");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let manifests = index["manifests"].as_array().expect("manifests");
    let name = "org.opencontainers.image.ref.name";
    let entry = manifests
        .iter()
        .find(|entry| entry["annotations"][name] == "test");
    let manifest = document(dir, &entry.expect("the image")["digest"]);
    let config = document(dir, &manifest["config"]["digest"]);
    let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("diff ids");
    let blobs = manifest["layers"].as_array().expect("layers");
    let text = |value: &Value| {
        value
            .as_str()
            .expect("a digest")
            .trim_start_matches("sha256:")
            .to_owned()
    };
    let both = blobs.iter().zip(diff_ids);
    both.map(|(blob, diff_id)| LayerBlob {
        blob: dir.join("blobs/sha256").join(text(&blob["digest"])),
        diff_id: text(diff_id).parse().expect("SHA-256"),
    })
    .collect()
}

/// What both trees have, once the differences above are taken out.
fn common(
    mut tree: BTreeMap<Vec<u8>, Found>,
    implied: &[&str],
    devices: &[&str],
) -> BTreeMap<Vec<u8>, Found> {
    for device in devices {
        tree.remove(device.as_bytes());
    }
    for (path, found) in &mut tree {
        if matches!(&path[..], b"" | b"usr") {
            found.time = (0, 0);
        }
        match found.kind {
            "directory" => found.mode = found.mode & 0o1777 | 0o700,
            "symlink" => found.mode = 0,
            _ => found.mode = found.mode & 0o777 | 0o400,
        }
        if implied.iter().any(|implied| implied.as_bytes() == path) {
            found.time = (0, 0);
            found.mode = 0;
        }
    }
    tree
}

fn assert_same(ours: &Path, theirs: &Path, implied: &[&str], devices: &[&str]) {
    let ours = common(look(ours), implied, devices);
    let theirs = common(look(theirs), implied, devices);
    assert_equal(&ours, &theirs);
}

fn assert_equal(ours: &BTreeMap<Vec<u8>, Found>, theirs: &BTreeMap<Vec<u8>, Found>) {
    let shown = |path: &Vec<u8>| path.escape_ascii().to_string();
    let missing: Vec<_> = theirs
        .keys()
        .filter(|path| !ours.contains_key(*path))
        .map(shown)
        .collect();
    let more: Vec<_> = ours
        .keys()
        .filter(|path| !theirs.contains_key(*path))
        .map(shown)
        .collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "missing {missing:?}, more {more:?}"
    );
    for (path, found) in ours {
        assert_eq!(found, &theirs[path], "{}", shown(path));
    }
}

/// Layers written by hand: all that the specification speaks of.
#[allow(clippy::too_many_lines)] // one image
fn by_hand() -> Vec<Vec<u8>> {
    let entry = |name: &'static str, flag, mode, mtime| Entry {
        name: name.as_bytes(),
        flag,
        mode,
        mtime,
        ..Entry::default()
    };
    let long = format!("usr/{}", vec!["long-name"; 30].join("/"));
    vec![
        tar()
            .entry(&entry("./", b'5', 0o755, 1000))
            .entry(&entry("usr", b'5', 0o755, 2000))
            .entry(&entry("usr/bin", b'5', 0o755, 2001))
            .entry(&entry("usr/lib", b'5', 0o755, 2002))
            .symlink("bin", "usr/bin")
            .symlink("lib", "usr/lib")
            .entry(&entry("tmp", b'5', 0o1777, 3))
            .entry(&entry("root", b'5', 0o700, 4))
            .entry(&entry("var/mail", b'5', 0o2775, 5))
            .entry(&entry("usr/bin/su", b'0', 0o4755, 6))
            .entry(&entry("usr/bin/tool", b'0', 0o755, 7))
            .hard_link("usr/bin/other-name", "usr/bin/tool")
            .file("usr/lib/libc.so.6", "c library")
            .symlink("usr/lib/libc.so", "libc.so.6")
            .entry(&entry("pipe", b'6', 0o622, 8))
            .other(b'3', "dev/null", "", 0o666)
            .file("etc/hosts", "hosts")
            .file("etc/opaque/a", "a")
            .file("etc/opaque/b/c", "c")
            .file("etc/replaced-by-dir", "file")
            .dir("etc/replaced-by-file")
            .dir("etc/replaced-by-file/d")
            .file("etc/replaced-by-file/d/f", "f")
            .pax(&[("mtime", "1234567890.123456789")])
            .file("etc/precise", "nanoseconds")
            .pax(&[("SCHILY.xattr.user.note", "kept")])
            .file("etc/noted", "x")
            .entry(&Entry {
                name: b"etc/caf\xe9",
                ..Entry::default()
            })
            .entry(&Entry {
                name: b"etc/new\nline",
                ..Entry::default()
            })
            .pax(&[("path", &format!("{long}/file"))])
            .file("x", "long")
            .extension(b'L', format!("{long}/gnu\0").as_bytes())
            .file("x", "gnu long")
            .end(),
        // Through usr-merge symlinks, and links into the layer below.
        tar()
            .file("lib/libm.so.6", "m library")
            .hard_link("lib/libm-too.so", "lib/libm.so.6")
            .hard_link("sbin-tool", "bin/tool")
            .entry(&entry("bin/added", b'0', 0o711, 9))
            .entry(&entry("usr/bin", b'5', 0o755, 3001))
            .end(),
        // Whiteouts before and after; opaque before and after.
        tar()
            .file("etc/.wh.hosts", "")
            .dir("etc/opaque")
            .file("etc/opaque/.wh..wh..opq", "")
            .file("etc/opaque/new", "new")
            .file("usr/bin/.wh.other-name", "")
            .file(".wh.sbin-tool", "")
            .file(".wh.not-there", "")
            .end(),
        tar()
            .dir("etc/opaque")
            .dir("etc/opaque/b")
            .file("etc/opaque/b/late", "late")
            .file("etc/opaque/.wh..wh..opq", "")
            .dir("etc/replaced-by-dir")
            .file("etc/replaced-by-dir/inside", "x")
            .file("etc/replaced-by-file", "a file now")
            .end(),
        // And back.
        tar()
            .file("etc/replaced-by-dir", "a file again")
            .dir("etc/replaced-by-file")
            .file("etc/replaced-by-file/again", "x")
            .symlink("etc/link", "opaque")
            .end(),
        tar()
            .dir("etc/link")
            .file("etc/link/own", "x")
            .symlink("pipe", "tmp")
            .end(),
        tar()
            .file(".wh.root", "")
            .entry(&entry("root", b'5', 0o750, 10))
            .file("root/x", "x")
            .end(),
        // The same file in three layers, then a link to it, then another file in its place.
        tar().file("v", "1").end(),
        tar().file("v", "2").hard_link("w", "v").end(),
        tar().file("v", "3").end(),
        tar().end(),
    ]
}

#[test]
fn an_image_by_hand_comes_out_as_with_umoci() {
    if !has("umoci", "an_image_by_hand_comes_out_as_with_umoci") {
        return;
    }
    let place = Place::new();
    let at = |name: &str| place.dir.path().join(name);
    layout(&at("layout"), &by_hand());
    let image = format!("{}:test", at("layout").display());
    let bundle = at("bundle").display().to_string();
    umoci(&["unpack", "--rootless", "--image", &image, &bundle]);
    let flat = place.flatten(&layers(&at("layout")), None).expect("sound");
    let mut implied = vec!["var".to_owned(), "etc".to_owned(), "dev".to_owned()];
    implied.push("etc/replaced-by-dir".to_owned());
    let mut long = "usr".to_owned();
    for _ in 0..30 {
        long.push_str("/long-name");
        implied.push(long.clone());
    }
    let implied: Vec<&str> = implied.iter().map(String::as_str).collect();
    assert_same(&flat.tree, &at("bundle/rootfs"), &implied, &["dev/null"]);
    let attribute = |tree: PathBuf| pybuild::sys::xattr::get(&tree.join("etc/noted"), c"user.note");
    assert_eq!(attribute(flat.tree.clone()), attribute(at("bundle/rootfs")));
    let ownership = image::ownership(&flat, &place.store).expect("readable");
    let recorded: Vec<_> = ownership.iter().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(recorded, [&b"dev/null"[..], b"usr/bin/su", b"var/mail"]);
}

/// A time of whole seconds: umoci writes no others.
fn set_time(file: &Path, n: usize) {
    let file = fs::File::options().append(true).open(file).expect("open");
    let time = Duration::from_secs(1_600_000_000 + n as u64);
    file.set_modified(UNIX_EPOCH + time).expect("utimensat");
}

/// Changes a tree the way the n-th build of an image does.
fn change(root: &Path, n: usize) {
    let at = |name: String| root.join(name);
    for i in 0..6 {
        let dir = at(format!("d{}", (n + i) % 5));
        if (n * 7 + i).is_multiple_of(4) {
            let _ = fs::remove_dir_all(&dir);
            let _ = fs::remove_file(&dir);
        }
        match (n + i * 3) % 5 {
            0 if !dir.exists() => symlink(format!("d{}", (n + i + 1) % 5), &dir).expect("symlink"),
            1 if !dir.exists() => {
                fs::write(&dir, format!("{n} {i}")).expect("write");
                set_time(&dir, n);
            }
            _ => {
                let _ = fs::create_dir_all(&dir);
            }
        }
        let plain = fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir());
        if plain {
            let file = dir.join(format!("f{}", (n * i) % 4));
            let _ = fs::remove_file(&file);
            fs::write(&file, format!("{n} {i} {}", file.display())).expect("write");
            set_time(&file, n);
            let mode = [0o644, 0o755, 0o600][(n + i) % 3];
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("chmod");
            let link = dir.join(format!("l{}", i % 2));
            let _ = fs::remove_file(&link);
            fs::hard_link(&file, &link).expect("link");
        }
    }
}

/// Layers that umoci writes, which skopeo copies as another tool would have them. What they must
/// give is the tree that they were made of.
#[test]
fn an_image_by_umoci_and_skopeo_comes_out_as_it_was() {
    let name = "an_image_by_umoci_and_skopeo_comes_out_as_it_was";
    if !has("umoci", name) || !has("skopeo", name) {
        return;
    }
    let place = Place::new();
    let at = |name: &str| place.dir.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    let image = format!("{}:test", text("layout"));
    umoci(&["init", "--layout", &text("layout")]);
    umoci(&["new", "--image", &image]);
    umoci(&["unpack", "--rootless", "--image", &image, &text("bundle")]);
    for n in 0..12 {
        change(&at("bundle/rootfs"), n);
        umoci(&[
            "repack",
            "--refresh-bundle",
            "--image",
            &image,
            &text("bundle"),
        ]);
    }
    let copy = format!("oci:{}:test", text("copy"));
    run(Command::new("skopeo")
        .args([
            "--insecure-policy",
            "copy",
            "--dest-compress-format",
            "zstd",
            "--dest-oci-accept-uncompressed-layers",
        ])
        .args([format!("oci:{image}"), copy]));
    let ours = layers(&at("layout"));
    assert_eq!(ours.len(), 12);
    let flat = place.flatten(&ours, None).expect("sound");
    // umoci leaves directories out of whom only the time has changed, and rounds the symlinks'.
    let coarse = |root: &Path| {
        let mut tree = look(root);
        for found in tree.values_mut() {
            if found.kind != "file" {
                found.time = (0, 0);
            }
        }
        tree
    };
    assert_equal(&coarse(&flat.tree), &coarse(&at("bundle/rootfs")));
    let again = Place::new();
    let copied = again.flatten(&layers(&at("copy")), None).expect("sound");
    assert_eq!(look(&copied.tree), look(&flat.tree));
}
