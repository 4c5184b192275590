//! Images in tar archives, as `docker save` has written them over the years.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use pybuild::archive::Codec;
use pybuild::model::Sha256;
use pybuild::rootfs::oci::OciError;
use serde_json::{Value, json};

use crate::kit::{Content, Here, INDEX, compressed, config, tar, two_layers};

/// Members of an archive: a name, and its content or where it leads.
#[derive(Clone)]
enum What {
    File(Vec<u8>),
    Symlink(&'static str),
    HardLink(&'static str),
    Device,
}

fn archive(members: &[(&str, What)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, what) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        let empty: &[u8] = &[];
        let content = match what {
            What::File(bytes) => {
                header.set_size(bytes.len() as u64);
                bytes.as_slice()
            }
            What::Symlink(_) => {
                header.set_entry_type(tar::EntryType::Symlink);
                empty
            }
            What::HardLink(_) => {
                header.set_entry_type(tar::EntryType::Link);
                empty
            }
            What::Device => {
                header.set_entry_type(tar::EntryType::Char);
                empty
            }
        };
        // Names that the crate would refuse are what is tested here.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        if let What::Symlink(to) | What::HardLink(to) = what {
            header.as_old_mut().linkname[..to.len()].copy_from_slice(to.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, content).expect("memory");
    }
    builder.into_inner().expect("memory")
}

/// The old form: a configuration, layers, and a list of images.
fn saved(layers: &[Vec<u8>], names: &[&str], tags: &[&str]) -> Vec<(String, What)> {
    let list = json!([{"Config": "c.json", "RepoTags": tags, "Layers": names}]);
    let mut members = vec![
        (
            "c.json".to_owned(),
            What::File(config(layers).to_string().into_bytes()),
        ),
        (
            "manifest.json".to_owned(),
            What::File(list.to_string().into_bytes()),
        ),
    ];
    for (layer, name) in layers.iter().zip(names) {
        members.push(((*name).to_owned(), What::File(layer.clone())));
    }
    members
}

fn bytes(members: &[(String, What)]) -> Vec<u8> {
    let members: Vec<(&str, What)> = members
        .iter()
        .map(|(n, w)| (n.as_str(), w.clone()))
        .collect();
    archive(&members)
}

fn write(here: &Here, bytes: &[u8]) -> PathBuf {
    let path = here.dir.path().join("image.tar");
    let mut file = fs::File::create(&path).expect("create");
    file.write_all(bytes).expect("write");
    path
}

#[test]
fn old_archives_are_read_however_they_are_compressed() {
    let layers = two_layers();
    let names = ["1/layer.tar", "2/layer.tar"];
    let plain = bytes(&saved(&layers, &names, &["team/image:v1"]));
    let codecs = [Codec::Gzip, Codec::Xz, Codec::Zstd];
    let packed = codecs.map(|codec| compressed(codec, &plain));
    for bytes in [plain].iter().chain(&packed) {
        let here = Here::new();
        let path = write(&here, bytes);
        for name in ["", ":team/image:v1", ":docker.io/team/image:v1"] {
            let resolved = here.pull(&format!("docker-archive:{}{name}", path.display()), &layers);
            assert_eq!(resolved.manifest, None);
            assert_eq!(
                resolved.config,
                Sha256::of(config(&layers).to_string().as_bytes())
            );
        }
        let error = here.resolve(&format!("docker-archive:{}:team/other", path.display()));
        assert!(error.expect_err("not there").is_not_found());
    }
}

#[test]
fn layers_may_be_compressed_links_to_others_and_come_twice() {
    let layers = vec![
        tar("a", b"a"),
        tar("b", b"b"),
        tar("a", b"a"),
        tar("a", b"a"),
    ];
    let list = json!([{"Config": "c.json", "RepoTags": null,
        "Layers": ["./a/layer.tar", "b.tar", "c/layer.tar", "d.tar"]}]);
    let members = [
        ("c/layer.tar", What::Symlink("../x/../a/./layer.tar")),
        (
            "a/layer.tar",
            What::File(compressed(Codec::Gzip, &layers[0])),
        ),
        ("b.tar", What::File(compressed(Codec::Zstd, &layers[1]))),
        ("d.tar", What::HardLink("a/layer.tar")),
        ("manifest.json", What::File(list.to_string().into_bytes())),
        (
            "c.json",
            What::File(config(&layers).to_string().into_bytes()),
        ),
        ("repositories", What::File(b"{}".to_vec())),
    ];
    let here = Here::new();
    let path = write(&here, &archive(&members));
    here.pull(&format!("docker-archive:{}", path.display()), &layers);
}

/// The newer form, with the old form's list beside it.
#[test]
fn a_layout_in_an_archive_is_read_as_one() {
    let layers = two_layers();
    let mut content = Content::default();
    let mut wanted = content.image(&layers);
    wanted["annotations"] = json!({"io.containerd.image.name": "docker.io/team/image:v1"});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [wanted]});
    let version = r#"{"imageLayoutVersion": "1.0.0"}"#;
    let mut members = vec![
        ("oci-layout".to_owned(), What::File(version.into())),
        (
            "index.json".to_owned(),
            What::File(index.to_string().into_bytes()),
        ),
        ("manifest.json".to_owned(), What::File(b"[]".to_vec())),
    ];
    let documents = content
        .manifests
        .iter()
        .map(|(name, (_, bytes))| (name, bytes));
    for (name, bytes) in content.blobs.iter().chain(documents) {
        let name = format!("blobs/sha256/{}", &name["sha256:".len()..]);
        members.push((name, What::File(bytes.clone())));
    }
    let here = Here::new();
    let path = write(&here, &bytes(&members));
    let place = format!("docker-archive:{}", path.display());
    let resolved = here.pull(&place, &layers);
    assert!(resolved.manifest.is_some());
    let here = Here::new();
    here.pull(
        &format!("oci-archive:{}:team/image:v1", path.display()),
        &layers,
    );
    // One bit of a layer.
    let here = Here::new();
    let large = format!("blobs/sha256/{}", resolved.layers[1].digest);
    for (name, what) in &mut members {
        if let (true, What::File(bytes)) = (*name == large, what) {
            bytes[1 << 20] ^= 1;
        }
    }
    let path = write(&here, &bytes(&members));
    let resolved = here.resolve(&format!("docker-archive:{}", path.display()));
    let error = here
        .fetch(&resolved.expect("its documents are sound"))
        .expect_err("spoilt");
    assert!(matches!(error, OciError::Digest { .. }), "{error}");
    here.is_tidy();
}

#[test]
fn hostile_archives_are_refused() {
    let layers = two_layers();
    let names = ["1/layer.tar", "2/layer.tar"];
    let sound = saved(&layers, &names, &["a:b"]);
    let with = |name: &str, what: What| {
        let mut members = sound.clone();
        members.push((name.to_owned(), what));
        bytes(&members)
    };
    let with_list = |list: Vec<u8>| {
        let mut members = sound.clone();
        members[1].1 = What::File(list);
        bytes(&members)
    };
    let list = |list: Value| with_list(list.to_string().into_bytes());
    let link = |to: &'static str| {
        let mut members = sound.clone();
        members[3].1 = What::Symlink(to);
        bytes(&members)
    };
    let whole = bytes(&sound);
    let mut garbage = whole.clone();
    garbage.extend_from_slice(b"garbage");
    let file = || What::File(b"x".to_vec());
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("goes up", with("../x", file())),
        ("absolute", with("/etc/x", file())),
        ("absolute link", with("x", What::Symlink("/etc/passwd"))),
        ("link goes up", with("x", What::Symlink("../../etc/passwd"))),
        ("hard link goes up", with("x", What::HardLink("../x"))),
        ("device", with("x", What::Device)),
        ("manifest twice", with("manifest.json", file())),
        ("configuration twice", with("c.json", file())),
        ("layer twice", with("2/layer.tar", file())),
        ("layer that is a link to itself", link("layer.tar")),
        ("layer that leads nowhere", link("../gone")),
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("garbage after", garbage),
        ("nothing", Vec::new()),
        ("no list", list(json!({}))),
        ("huge list", with_list(vec![b' '; (4 << 20) + 1])),
        ("deep list", with_list(b"[".repeat(4 << 20))),
        ("empty list", list(json!([]))),
        (
            "layer missing",
            list(json!([{"Config": "c.json", "Layers": ["1/layer.tar"]}])),
        ),
        (
            "layer up",
            list(json!([{"Config": "c.json", "Layers": ["1/layer.tar", "../x"]}])),
        ),
        (
            "configuration up",
            list(json!([{"Config": "../../etc/passwd", "Layers": names}])),
        ),
        (
            "configuration absolute",
            list(json!([{"Config": "/etc/passwd", "Layers": names}])),
        ),
    ];
    for (what, bytes) in table {
        let here = Here::new();
        let path = write(&here, &bytes);
        let place = format!("docker-archive:{}", path.display());
        here.resolve(&place).expect_err(what);
        here.is_tidy();
        assert!(!here.dir.path().join("x").exists() && !here.dir.path().join("../x").exists());
    }
}

/// What is only found when the layers are read.
#[test]
fn layers_that_are_not_what_they_should_be_are_refused() {
    let layers = two_layers();
    let names = ["1/layer.tar", "2/layer.tar"];
    let bomb = compressed(Codec::Zstd, &vec![0; 600 << 20]);
    let mut cut = compressed(Codec::Gzip, &layers[1]);
    cut.truncate(1 << 20);
    let other = tar("other", b"");
    for (what, layer) in [("other", other), ("cut", cut), ("bomb", bomb)] {
        let mut members = saved(&layers, &names, &[]);
        members[3].1 = What::File(layer);
        let here = Here::new();
        let path = write(&here, &bytes(&members));
        let place = format!("docker-archive:{}", path.display());
        let resolved = here.resolve(&place).expect("its documents are sound");
        here.fetch(&resolved).expect_err(what);
        assert_eq!(here.store.blob(&resolved.layers[1].digest), None, "{what}");
        here.is_tidy();
    }
    // The same member cannot be two layers.
    let list = json!([{"Config": "c.json", "Layers": ["1/layer.tar", "1/layer.tar"]}]);
    let mut members = saved(&layers, &names, &[]);
    members[1].1 = What::File(list.to_string().into_bytes());
    let here = Here::new();
    let path = write(&here, &bytes(&members));
    let place = format!("docker-archive:{}", path.display());
    let resolved = here.resolve(&place).expect("its documents are sound");
    here.fetch(&resolved).expect_err("two diff ids");
}

/// An archive that is compressed a million times is not unpacked to find that out.
#[test]
fn a_bomb_of_an_archive_is_refused() {
    let here = Here::new();
    let zeros = vec![0; 1 << 20];
    let mut out = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    let mut header = tar::Header::new_gnu();
    header.set_size(2 << 30);
    header.set_path("x").expect("short");
    header.set_cksum();
    out.write_all(header.as_bytes()).expect("memory");
    for _ in 0..2 << 10 {
        out.write_all(&zeros).expect("memory");
    }
    let path = write(&here, &out.finish().expect("memory"));
    let error = here.resolve(&format!("docker-archive:{}", path.display()));
    let error = error.expect_err("too much");
    assert!(error.to_string().contains("more than"), "{error}");
}
