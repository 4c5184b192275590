//! Mirrors that give something else than was pushed to them, by mistake or on purpose.

use std::fs;
use std::path::{Path, PathBuf};

use pybuild::model::Sha256;
use serde_json::{Value, json};

use crate::images::{can_sandbox, content, lay_out, manifest, prepare, say};
use crate::kit::{Case, files_below};
use crate::program::Ran;
use crate::server::Server;
use crate::stack_mirror::{index_digest, on_the_web, push};

/// A mirror with the stack `ours`, and the digest of its index.
fn mirror() -> (Case, PathBuf, String) {
    let case = Case::bare();
    lay_out(&content(), &case.at("images"));
    let images = "image.build = \"oci:../images:build\"\nimage.run = \"oci:../images:run\"";
    manifest(&case, images);
    let dir = case.at("mirror");
    let pushed = push(&case, dir.to_str().expect("ASCII"));
    let index = index_digest(&pushed.run().succeeds());
    (case, dir, index)
}

fn copy(from: &Path, to: &Path) {
    for name in files_below(from) {
        let path = to.join(&name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::copy(from.join(&name), path).expect("copied");
    }
}

/// What comes of taking the stack from a mirror; of this very index, if one is given.
fn taken(mirror: &str, digest: Option<&str>) -> (Case, Ran) {
    let case = Case::bare();
    let digest = digest.map(|digest| format!("\ndigest = \"{digest}\""));
    let digest = digest.unwrap_or_default();
    manifest(&case, &format!("mirror = \"{mirror}\"{digest}"));
    let ran = prepare(&case).run();
    (case, ran)
}

/// Nothing that could be taken for the stack is left.
#[track_caller]
fn left_nothing(case: &Case) {
    assert_eq!(files_below(&case.store().join("rootfs")), [""; 0]);
    case.is_clean();
}

/// What is done to an object, in a word, and how.
type Damage = (&'static str, fn(&mut Vec<u8>));

#[test]
fn wrong_bytes_of_any_object_are_refused_by_its_name() {
    if !can_sandbox() {
        return;
    }
    let (case, dir, index) = mirror();
    let objects = files_below(&dir.join("stacks/blobs"));
    assert!(objects.len() >= 8, "{objects:?}");
    let damages: [Damage; 4] = [
        ("a bit", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }),
        ("less", |bytes| bytes.truncate(bytes.len() - 1)),
        ("more", |bytes| bytes.push(b'\n')),
        ("nothing", Vec::clear),
    ];
    for object in &objects {
        for (what, damage) in damages {
            let copied = case.at("copied");
            copy(&dir, &copied);
            let path = copied.join("stacks/blobs").join(object);
            let mut bytes = fs::read(&path).expect("there");
            damage(&mut bytes);
            fs::write(&path, &bytes).expect("written");
            let (host, ran) = taken(copied.to_str().expect("ASCII"), Some(&index));
            let named = object.rsplit('/').next().expect("a name");
            let ran = ran.fails(1, &[named, "hint: "]);
            assert!(ran.err.contains("stacks/blobs/"), "{what}: {}", ran.err);
            left_nothing(&host);
            fs::remove_dir_all(&copied).expect("removed");
        }
        // And what is not there is missed.
        let copied = case.at("copied");
        copy(&dir, &copied);
        fs::remove_file(copied.join("stacks/blobs").join(object)).expect("removed");
        let at = copied.to_str().expect("ASCII");
        let (host, ran) = taken(at, None);
        let named = object.rsplit('/').next().expect("a name");
        if index.ends_with(named) {
            // The stack's name has the same index.
            ran.succeeds();
            host.is_clean();
        } else {
            ran.fails(
                1,
                &[named, "is not there", "`pybuild stack push` completes"],
            );
            left_nothing(&host);
        }
        fs::remove_dir_all(&copied).expect("removed");
    }
}

#[test]
fn a_server_that_breaks_off_or_never_ends_is_no_danger() {
    if !can_sandbox() {
        return;
    }
    let (case, dir, index) = mirror();
    let layers = files_below(&dir.join("stacks/blobs"));
    let size = |name: &String| fs::metadata(dir.join("stacks/blobs").join(name)).expect("there");
    let largest = layers
        .iter()
        .max_by_key(|name| size(name).len())
        .expect("one");
    let largest = format!("/stacks/blobs/{largest}");
    // It breaks off once, in the middle, and is gone on with.
    let serve = on_the_web(&dir);
    let broken = std::sync::atomic::AtomicBool::new(false);
    let wanted = largest.clone();
    let server = Server::start(move |n, request| {
        let reply = serve(n, request);
        if request.path == wanted && !broken.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return reply.close_after(1000);
        }
        reply
    });
    let (host, ran) = taken(&server.url("/"), Some(&index));
    ran.succeeds();
    assert_eq!(say(&host, "build", "cat /etc/build"), "build\n");
    // One that always has a few bytes more.
    let serve = on_the_web(&dir);
    let server = Server::start(move |n, request| {
        let reply = serve(n, request);
        if request.path != largest {
            return reply;
        }
        let bytes = fs::read(case.at("mirror").join(&largest[1..])).expect("there");
        crate::server::Reply::ok(&[&bytes[..], &vec![0; 1 << 20]].concat()).unframed()
    });
    let (host, ran) = taken(&server.url("/"), Some(&index));
    ran.fails(1, &["does not have the", "hint: "]);
    left_nothing(&host);
}

/// What a mirror says, to be said otherwise: everything that names it follows.
struct Forged {
    dir: PathBuf,
    index: Value,
}

impl Forged {
    fn new(case: &Case, dir: &Path, name: &str) -> Self {
        let to = case.at(name);
        copy(dir, &to);
        let index = fs::read(to.join("stacks/ours-amd64.json")).expect("there");
        let index = serde_json::from_slice(&index).expect("JSON");
        Self { dir: to, index }
    }

    fn blob(&self, digest: &str) -> PathBuf {
        let digest = digest.strip_prefix("sha256:").expect("a digest");
        self.dir.join("stacks/blobs/sha256").join(digest)
    }

    fn read(&self, digest: &Value) -> Value {
        let path = self.blob(digest.as_str().expect("a digest"));
        serde_json::from_slice(&fs::read(path).expect("there")).expect("JSON")
    }

    fn put(&self, document: &Value) -> (String, usize) {
        let text = document.to_string();
        let digest = format!("sha256:{}", Sha256::of(text.as_bytes()));
        fs::write(self.blob(&digest), &text).expect("written");
        (digest, text.len())
    }

    /// Another record.
    fn record(mut self, change: impl Fn(&mut Value)) -> Self {
        let mut record = self.read(&self.index["annotations"]["pybuild.stack.record"]);
        change(&mut record);
        let (digest, _) = self.put(&record);
        self.index["annotations"]["pybuild.stack.record"] = digest.into();
        self
    }

    /// Another manifest and configuration of the n-th image.
    fn image(mut self, n: usize, change: impl Fn(&mut Value, &mut Value)) -> Self {
        let mut manifest = self.read(&self.index["manifests"][n]["digest"]);
        let mut config = self.read(&manifest["config"]["digest"]);
        change(&mut manifest, &mut config);
        let (digest, size) = self.put(&config);
        manifest["config"]["digest"] = digest.into();
        manifest["config"]["size"] = size.into();
        let (digest, size) = self.put(&manifest);
        self.index["manifests"][n]["digest"] = digest.into();
        self.index["manifests"][n]["size"] = size.into();
        self
    }

    fn taken(self) -> (Case, Ran) {
        let index = self.dir.join("stacks/ours-amd64.json");
        fs::write(index, self.index.to_string()).expect("written");
        taken(self.dir.to_str().expect("ASCII"), None)
    }
}

#[test]
fn claims_that_do_not_hold_are_refused() {
    if !can_sandbox() {
        return;
    }
    let (case, dir, _) = mirror();
    let mut count = 0;
    let mut refused = |said: &[&str], forge: &dyn Fn(Forged) -> Forged| {
        count += 1;
        let forged = forge(Forged::new(&case, &dir, &format!("forged-{count}")));
        let (host, ran) = forged.taken();
        ran.fails(1, said);
        left_nothing(&host);
    };
    let zero = format!("sha256:{}", Sha256::of(b""));
    refused(
        &["the run image has base 2.0 (amd64), but it has base 1.0"],
        &|f| {
            f.record(|record| {
                record["run"]["packages"][0]["version"] = "2.0".into();
                record["run"]["packages"][0]["arch"] = "amd64".into();
            })
        },
    );
    refused(
        &["the build image has nothing else, but it has base 1.0 (all)"],
        &|f| f.record(|record| record["build"]["packages"] = json!([])),
    );
    refused(&["is of other for amd64"], &|f| {
        f.record(|record| record["stack"] = "other".into())
    });
    refused(&["is of ours for arm64"], &|f| {
        f.record(|record| record["arch"] = "arm64".into())
    });
    refused(&["it is of schema 2"], &|f| {
        f.record(|record| record["schema"] = 2.into())
    });
    refused(&["something is missing, or of another type"], &|f| {
        f.record(|record| record["run"]["digest"] = "abc".into())
    });
    refused(&["something is missing, or of another type"], &|f| {
        f.record(|record| record["more"] = 1.into())
    });
    refused(&["has the diff id"], &|f| {
        f.image(0, |_, config| {
            config["rootfs"]["diff_ids"][0] = zero.clone().into();
        })
    });
    refused(&["does not have the 10 bytes"], &|f| {
        f.image(0, |manifest, _| manifest["layers"][0]["size"] = 10.into())
    });
    refused(&["diff ids"], &|f| {
        f.image(1, |_, config| config["rootfs"]["diff_ids"] = json!([]))
    });
    refused(&["has no image for linux/amd64"], &|f| {
        f.image(1, |_, config| config["architecture"] = "arm64".into())
    });
    refused(
        &[&zero[7..], "is not there, though the manifest names it"],
        &|f| {
            f.image(0, |manifest, _| {
                manifest["layers"][0]["digest"] = zero.clone().into();
            })
        },
    );
    refused(&["it names no record"], &|mut f| {
        f.index["annotations"] = json!({});
        f
    });
    refused(&["it names no record"], &|mut f| {
        f.index["annotations"]["pybuild.stack.record"] = "../../../etc/passwd".into();
        f
    });
    refused(&["stacks/ours-amd64.json"], &|mut f| {
        f.index["manifests"] = json!([]);
        f
    });
    refused(&["it is no index"], &|mut f| {
        f.index = json!(["canary"]);
        f
    });
    // What a mirror says of where a stack came from is shown, and does nothing to a terminal.
    let forged = Forged::new(&case, &dir, "forged-origin");
    let forged = forged.record(|record| record["origin"] = "\u{1b}[2Jevil\n".into());
    let (host, ran) = forged.taken();
    let ran = ran.succeeds();
    assert!(!ran.err.contains('\u{1b}'), "{:?}", ran.err);
    let kept = files_below(&host.store().join("rootfs"));
    let kept = host.store().join("rootfs").join(&kept[0]);
    let kept = fs::read_to_string(kept).expect("there");
    assert!(
        kept.contains("?[2Jevil?") && !kept.contains("\\u001b"),
        "{kept}"
    );
}

#[test]
fn a_document_without_end_is_not_read_to_it() {
    if !can_sandbox() {
        return;
    }
    let (case, dir, _) = mirror();
    let forged = Forged::new(&case, &dir, "forged");
    let index = forged.dir.join("stacks/ours-amd64.json");
    let file = fs::File::create(&index).expect("created");
    file.set_len(1 << 30).expect("sparse");
    let (host, ran) = taken(forged.dir.to_str().expect("ASCII"), None);
    ran.fails(
        1,
        &["stacks/ours-amd64.json does not have the 4194304 bytes"],
    );
    left_nothing(&host);
}
