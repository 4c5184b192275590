//! Artifacts in a store: what is put there, what is read back, what is not trusted.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use super::*;
use crate::artifact::record::{Contents, Needs, tests as records};

struct World {
    dir: tempfile::TempDir,
    store: Store,
    interrupt: Interrupt,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&dir.path().join("store")).expect("a store");
        let prefix = dir.path().join("prefix");
        fs::create_dir_all(prefix.join("bin")).expect("mkdir");
        fs::create_dir_all(prefix.join("lib/empty")).expect("mkdir");
        fs::write(prefix.join("bin/python3"), vec![7u8; 100_000]).expect("write");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(prefix.join("bin/python3"), executable).expect("chmod");
        // As CPython 2.7's own installation makes it.
        fs::hard_link(prefix.join("bin/python3"), prefix.join("bin/python3.11")).expect("link");
        symlink("python3", prefix.join("bin/python")).expect("symlink");
        fs::write(prefix.join("lib/data"), "text").expect("write");
        Self {
            dir,
            store,
            interrupt: Interrupt::manual().expect("an eventfd"),
        }
    }

    fn prefix(&self) -> PathBuf {
        self.dir.path().join("prefix")
    }

    /// Packages the prefix as if it were proven.
    fn put(&self, codec: Codec) -> Result<Artifact, PackageError> {
        let origin = records::origin();
        let epoch = origin.source_date_epoch;
        let how = Packing { codec, threads: 2 };
        put(
            &self.prefix(),
            "python-3.11.2",
            epoch,
            how,
            &self.store,
            &self.interrupt,
            |artifact, directories| {
                let contents = Contents {
                    directories,
                    ..Contents::default()
                };
                let tool = records::tool();
                Record::new(origin, Needs::default(), contents, artifact, tool)
            },
        )
    }

    fn open(&self, codec: Codec) -> Option<Artifact> {
        let build_id = records::origin().product.build_id;
        Artifact::open(&self.store, &build_id, codec, &self.interrupt).expect("no error")
    }

    fn set_aside(&self) -> usize {
        let room = self.store.root().join("set-aside");
        fs::read_dir(room).expect("readdir").count()
    }

    fn names(&self) -> Vec<String> {
        let dir = self
            .store
            .artifact_path(&records::origin().product.build_id);
        let entries = fs::read_dir(dir).expect("readdir");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        names
    }
}

fn flip(path: &Path) {
    let mut data = fs::read(path).expect("read");
    data[20] ^= 1;
    fs::write(path, data).expect("write");
}

fn append(path: &Path) {
    let mut data = fs::read(path).expect("read");
    data.extend_from_slice(b"more");
    fs::write(path, data).expect("write");
}

/// What is in a tree: by path the mode and the content or the link's target.
fn content(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let tree = crate::artifact::tree::Tree::read(root).expect("a tree");
    let nodes = tree.nodes().iter().map(|(path, node)| {
        let whole = root.join(path);
        let held = match &node.kind {
            crate::artifact::tree::Kind::Link(to) => to.as_encoded_bytes().to_vec(),
            crate::artifact::tree::Kind::File => fs::read(whole).expect("read"),
            _ => Vec::new(),
        };
        (path.clone(), (node.mode, held))
    });
    nodes.collect()
}

#[test]
fn an_artifact_is_a_tarball_a_checksum_and_a_record() {
    let world = World::new();
    assert_eq!(world.open(Codec::Gzip), None);
    let artifact = world.put(Codec::Gzip).expect("packaged");
    assert_eq!(
        world.names(),
        [
            "python-3.11.2.tar.gz",
            "python-3.11.2.tar.gz.json",
            "python-3.11.2.tar.gz.sha256"
        ]
    );
    assert_eq!(world.open(Codec::Gzip).as_ref(), Some(&artifact));
    assert_eq!(world.open(Codec::Zstd), None);
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--status"])
        .arg(artifact.checksum_file())
        .current_dir(artifact.dir())
        .status()
        .expect("sha256sum (coreutils) is there");
    assert!(checked.success());
    let size = fs::metadata(artifact.tarball()).expect("there").len();
    assert_eq!(artifact.size(), size);
    assert_eq!(artifact.record().artifact.unpacked_size, 100_004);
    assert_eq!(artifact.record().artifact.entries, 7);
    let text = fs::read_to_string(artifact.record_file()).expect("read");
    assert_eq!(&Record::parse(&text).expect("a record"), artifact.record());
    let scratch = fs::read_dir(world.store.root().join("scratch")).expect("readdir");
    assert_eq!(scratch.count(), 0);
}

#[test]
fn what_was_packed_is_unpacked() {
    let world = World::new();
    let artifact = world.put(Codec::Gzip).expect("packaged");
    let into = world.dir.path().join("into");
    fs::create_dir(&into).expect("mkdir");
    artifact.unpack(&into, &world.interrupt).expect("unpacked");
    assert_eq!(content(&into), content(&world.prefix()));
}

#[test]
fn repacking_gives_what_packaging_gives() {
    let world = World::new();
    let gzip = world.put(Codec::Gzip).expect("packaged");
    let how = Packing {
        codec: Codec::Zstd,
        threads: 1,
    };
    let zstd = repack(&gzip, how, &world.store, &world.interrupt).expect("repacked");
    let files = world.names();
    assert_eq!(files.len(), 6, "{files:?}");
    assert_eq!(world.open(Codec::Zstd).as_ref(), Some(&zstd));
    assert_eq!(world.open(Codec::Gzip).as_ref(), Some(&gzip));
    let other = World::new();
    let straight = other.put(Codec::Zstd).expect("packaged");
    assert_eq!(straight.record(), zstd.record());
}

#[test]
fn the_same_again_is_the_same_and_other_bytes_are_an_error() {
    let world = World::new();
    let first = world.put(Codec::Gzip).expect("packaged");
    assert_eq!(world.put(Codec::Gzip).expect("the same again"), first);
    fs::write(world.prefix().join("lib/data"), "other").expect("write");
    match world.put(Codec::Gzip) {
        Err(PackageError::Differs { was, is, .. }) => {
            assert_eq!(was, first.digest());
            assert_ne!(is, was);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.open(Codec::Gzip), Some(first));
    assert_eq!(world.set_aside(), 0);
}

#[test]
fn what_is_not_what_its_record_says_is_set_aside_and_can_be_made_again() {
    type Damage = fn(&Artifact);
    let table: [(&str, Damage, usize); 7] = [
        ("a flipped bit", |a| flip(&a.tarball()), 3),
        ("a longer tarball", |a| append(&a.tarball()), 3),
        (
            "no tarball",
            |a| fs::remove_file(a.tarball()).expect("unlink"),
            2,
        ),
        (
            "no checksum",
            |a| fs::remove_file(a.checksum_file()).expect("unlink"),
            2,
        ),
        ("another checksum", |a| flip(&a.checksum_file()), 3),
        ("half a record", |a| append(&a.record_file()), 3),
        (
            "the record of another build",
            |a| {
                let text = fs::read_to_string(a.record_file()).expect("read");
                let other = Sha256::of(b"other").to_string();
                let text = text.replace(&a.record().product.build_id.to_string(), &other);
                fs::write(a.record_file(), text).expect("write");
            },
            3,
        ),
    ];
    for (what, damage, files) in table {
        let world = World::new();
        let artifact = world.put(Codec::Gzip).expect("packaged");
        let other = world.put(Codec::Zstd).expect("packaged");
        damage(&artifact);
        assert_eq!(world.open(Codec::Gzip), None, "{what}");
        assert_eq!(world.set_aside(), files, "{what}");
        assert_eq!(world.names().len(), 3, "{what}");
        assert_eq!(world.open(Codec::Zstd), Some(other), "{what}");
        assert_eq!(world.put(Codec::Gzip).expect("again"), artifact, "{what}");
        assert_eq!(world.open(Codec::Gzip), Some(artifact), "{what}");
    }
}

#[test]
fn without_a_record_there_is_no_artifact_and_nothing_is_in_the_way() {
    let world = World::new();
    let artifact = world.put(Codec::Gzip).expect("packaged");
    fs::remove_file(artifact.record_file()).expect("unlink");
    fs::write(artifact.tarball(), "half").expect("write");
    assert_eq!(world.open(Codec::Gzip), None);
    assert_eq!(world.set_aside(), 0);
    assert_eq!(world.put(Codec::Gzip).expect("again"), artifact);
    assert_eq!(world.open(Codec::Gzip), Some(artifact));
}

#[test]
fn a_tarball_that_changed_since_it_was_opened_is_not_taken_for_it() {
    let world = World::new();
    let artifact = world.put(Codec::Gzip).expect("packaged");
    // A whole tarball, only another one.
    let other = World::new();
    fs::write(other.prefix().join("lib/data"), "TEXT").expect("write");
    let other = other.put(Codec::Gzip).expect("packaged");
    fs::copy(other.tarball(), artifact.tarball()).expect("copied");
    let into = world.dir.path().join("into");
    fs::create_dir(&into).expect("mkdir");
    assert!(matches!(
        artifact.unpack(&into, &world.interrupt),
        Err(PackageError::Corrupt { .. })
    ));
}

#[test]
fn an_interrupt_leaves_nothing() {
    let world = World::new();
    world.interrupt.raise(nix::sys::signal::Signal::SIGTERM);
    assert!(matches!(
        world.put(Codec::Gzip),
        Err(PackageError::Archive(ArchiveError::Interrupted(_)) | PackageError::Interrupted(_))
    ));
    let artifacts = fs::read_dir(world.store.root().join("artifacts")).expect("readdir");
    assert_eq!(artifacts.count(), 0);
}
