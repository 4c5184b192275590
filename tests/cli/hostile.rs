//! Images that want to do harm, as a user meets them: what the program says, that it ends with the
//! right exit code, and that nothing of them is left.

use std::fs;

use pybuild::archive::Codec;
use pybuild::model::Sha256;
use serde_json::json;

use crate::images::{manifest, prepare};
use crate::kit::{Case, files_below};
use crate::oci::{CONFIG, Content, INDEX, LAYER, MANIFEST, compressed, config};
use crate::server::{Reply, Server};
use crate::tarball::{Tarball, tar};

const UNTRUSTED: &str = "do not use what these places give";

/// A registry with one image of these layers.
fn of(layers: &[Tarball]) -> Content {
    let mut content = Content::default();
    let layers: Vec<Vec<u8>> = layers.iter().cloned().map(Tarball::end).collect();
    let image = content.image(&layers);
    content.tag("v1", &image);
    content
}

/// An image whose only layer has another diff id than its configuration says.
fn of_another_diff_id() -> Content {
    let mut content = Content::default();
    let config = config(&[tar().file("other", "").end()]);
    let config = content.blob(CONFIG, config.to_string().as_bytes());
    let layer = compressed(Codec::Gzip, &tar().file("a", "").end());
    let layer = content.blob(LAYER, &layer);
    let image = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
        "layers": [layer]});
    let image = content.document(MANIFEST, &image);
    content.tag("v1", &image);
    content
}

/// Indexes in indexes, deeper than any that mean something.
fn of_indexes() -> Content {
    let mut content = of(&[tar().file("a", "")]);
    let (_, bytes) = content.manifests["v1"].clone();
    let mut entry = json!({"mediaType": MANIFEST, "size": bytes.len(),
        "digest": format!("sha256:{}", Sha256::of(&bytes))});
    for _ in 0..8 {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
        entry = content.document(INDEX, &index);
    }
    content.tag("v1", &entry);
    content
}

/// What is sound but for its layer, of which the registry gives something else.
fn with_layer(change: fn(Vec<u8>) -> Vec<u8>) -> Content {
    let mut content = of(&[tar().file("a", "content")]);
    for bytes in content.blobs.values_mut() {
        if !bytes.starts_with(b"{") {
            *bytes = change(std::mem::take(bytes));
        }
    }
    content
}

#[test]
fn hostile_images_are_refused_and_nothing_of_them_is_left() {
    let bomb = || tar().file("zeros", &"\0".repeat(600 << 20));
    let table: Vec<(&str, Content, &[&str])> = vec![
        (
            "up",
            of(&[tar().file("../kept", "x")]),
            &["`../kept` is refused: its name goes up"],
        ),
        (
            "a hard link to outside",
            of(&[tar().symlink("l", "/").hard_link("h", "l/etc/passwd")]),
            &["`h` is refused: it links to nothing"],
        ),
        (
            "the root as a symlink",
            of(&[tar().symlink("/", "/tmp")]),
            &["`/` is refused: it would replace the root"],
        ),
        (
            "a whiteout of ..",
            of(&[tar().dir("d"), tar().file("d/.wh...", "")]),
            &["`d/.wh...` is refused"],
        ),
        (
            "two sizes",
            of(&[tar().pax(&[("size", "512")]).file("f", "x")]),
            &["malformed at byte 1024: its pax header and its header give different sizes"],
        ),
        (
            "a bomb",
            of(&[bomb()]),
            &["the archive has more than", "bytes unpacked"],
        ),
        ("another diff id", of_another_diff_id(), &[UNTRUSTED]),
        (
            "indexes",
            of_indexes(),
            &["its indexes lie too deep in one another"],
        ),
        (
            "another layer",
            with_layer(|mut bytes| {
                bytes[5] ^= 1;
                bytes
            }),
            &["has SHA-256", UNTRUSTED],
        ),
        (
            "a longer layer",
            with_layer(|bytes| [bytes, vec![0]].concat()),
            &["bytes where there should be", UNTRUSTED],
        ),
        (
            "a shorter layer",
            with_layer(|bytes| bytes[1..].to_vec()),
            &["bytes where there should be", UNTRUSTED],
        ),
    ];
    for (what, content, said) in table {
        let case = Case::bare();
        fs::write(case.at("kept"), "kept").expect("written");
        let server = Server::start(move |_, request| content.answer(request));
        let image = server.url("/team/image:v1").replace("http://", "");
        manifest(&case, &format!("image.build = \"{image}\""));
        prepare(&case).run().fails(1, said);
        for room in ["layers", "rootfs"] {
            assert_eq!(files_below(&case.store().join(room)), [""; 0], "{what}");
        }
        let kept = fs::read_to_string(case.at("kept")).expect("there");
        assert_eq!(kept, "kept", "{what}");
        case.is_clean();
    }
}

/// A manifest of a gigabyte is not read, however it comes.
#[test]
fn a_manifest_of_a_gigabyte_is_refused() {
    for chunked in [false, true] {
        let case = Case::bare();
        let server = Server::start(move |_, _| {
            let giant = Reply::ok(&vec![b' '; 1 << 20]).repeated(1 << 10);
            if chunked { giant.chunked() } else { giant }
        });
        let image = server.url("/team/image:v1").replace("http://", "");
        manifest(&case, &format!("image.build = \"{image}\""));
        prepare(&case).run().fails(1, &["more than 4194304 bytes"]);
        case.is_clean();
    }
}
