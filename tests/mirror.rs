//! A mirror of two tiny packages, made here, with everything about it that can be wrong.
#![allow(clippy::print_stderr)]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
};
use pgp::ser::Serialize as _;
use pgp::types::Password;
use pybuild::model::{Arch, Event, Observer, Sha256};
use pybuild::net::{Client, NetError, Settings};
use pybuild::rootfs::debian::openpgp::SignatureError;
use pybuild::rootfs::debian::release::ReleaseError;
use pybuild::rootfs::lock::{self, Drift, MadeOf};
use pybuild::rootfs::oci::Access;
use pybuild::rootfs::{self, Catalog, DebianError, Manifest, Mirrors, RootfsError, Tools, Wanted};
use pybuild::sandbox::Host;
use pybuild::store::Store;
use pybuild::sys::interrupt::Interrupt;

const INDEX: &str = "dists/stable/main/binary-ARCH/Packages.xz";

/// A package's name, what its control file says of its version, and its one file.
type Package = (&'static str, &'static str, &'static str);

const GOOD: [Package; 2] = [("a", "1-1", "usr/share/a"), ("b", "1-1", "usr/share/b")];

struct Bench {
    dir: tempfile::TempDir,
    host: Host,
    key: SignedSecretKey,
    arch: Arch,
}

impl Bench {
    /// A mirror with these packages, and the manifest of a stack that wants them. Nothing, loudly,
    /// on a host that cannot sandbox: what is tested comes before the sandbox, but wants to know.
    fn new(packages: &[Package]) -> Option<Self> {
        // A bootstrap that goes further than it should would start this executable as its sandbox,
        // and that all the tests again, without end.
        let name = std::env::args().next();
        assert_ne!(name.as_deref(), Some("pybuild-sandbox"), "no sandbox");
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let host = match Host::probe(dir.path()) {
            Ok(host) => host,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "no sandbox here: {error}");
                eprintln!("\nNOT RUN: no sandbox here: {error}\n");
                return None;
            }
        };
        let bench = Self {
            dir,
            host,
            key: key(),
            arch: Arch::host().expect("an architecture"),
        };
        // The sandbox's user, who is not root, must get through.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(bench.dir.path(), open).expect("chmod");
        bench.offer(packages, "1-1");
        let manifest = "schema = 1\nname = \"tiny\"\nend_of_life = 2100-01-01\n\
            architectures = [\"amd64\", \"arm64\"]\n[debian]\nsuites = [\"stable\"]\n\
            components = [\"main\"]\nkeyring = \"ours\"\nrun = [\"a\"]\nbuild = [\"b\"]\n";
        bench.write("manifests/tiny.toml", manifest.as_bytes());
        let keyring = bench.key.to_public_key().to_bytes().expect("a key");
        bench.write("manifests/ours.gpg", &keyring);
        Some(bench)
    }

    /// Puts packages to the mirror, all of which its index calls this version.
    fn offer(&self, packages: &[Package], called: &str) {
        let mut index = String::new();
        for (name, version, file) in packages {
            let deb = deb(name, version, self.arch, file);
            let path = format!("pool/{name}.deb");
            let (arch, size, digest) = (self.arch, deb.len(), Sha256::of(&deb));
            let _ = write!(
                index,
                "Package: {name}\nVersion: {called}\nArchitecture: {arch}\nFilename: {path}\n\
                 Size: {size}\nSHA256: {digest}\n\n"
            );
            self.put(&path, &deb);
        }
        let index = liblzma::encode_all(index.as_bytes(), 1).expect("xz");
        self.put(&self.index(), &index);
        self.sign(&self.key, &self.release("stable", ""));
    }

    fn index(&self) -> String {
        INDEX.replace("ARCH", self.arch.as_str())
    }

    /// The text of a release file that lists the index as it is.
    fn release(&self, suite: &str, more: &str) -> String {
        let index = fs::read(self.mirror().join(self.index())).expect("the index");
        let path = self.index();
        format!(
            "Suite: {suite}\nCodename: {suite}\nDate: Sat, 01 Jan 2022 00:00:00 UTC\n{more}\
             Acquire-By-Hash: yes\nSHA256:\n {} {} {}\n",
            Sha256::of(&index),
            index.len(),
            path.strip_prefix("dists/stable/").expect("below the suite")
        )
    }

    fn sign(&self, key: &SignedSecretKey, text: &str) {
        let password = Password::empty();
        let signed =
            CleartextSignedMessage::sign(rand::thread_rng(), text, &key.primary_key, &password)
                .and_then(|message| message.to_armored_string(ArmorOptions::default()))
                .expect("a signed text");
        self.put("dists/stable/InRelease", signed.as_bytes());
    }

    fn mirror(&self) -> PathBuf {
        self.dir.path().join("mirror")
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        self.write(&format!("mirror/{path}"), bytes);
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, bytes).expect("write");
    }

    fn change(&self, path: &str, how: impl FnOnce(&mut Vec<u8>)) {
        let path = self.mirror().join(path);
        let mut bytes = fs::read(&path).expect("read");
        how(&mut bytes);
        fs::write(path, bytes).expect("write");
    }

    fn store(&self) -> Store {
        Store::open(&self.dir.path().join("store")).expect("a store")
    }

    /// What bootstrapping from a mirror fails with.
    fn error_of(&self, mirror: String) -> DebianError {
        let made = self.with(mirror, |manifest, tools| {
            rootfs::prepare(manifest, self.arch, Wanted::Here, tools)
        });
        match made {
            Err(RootfsError::Debian { source, .. }) => *source,
            other => panic!("no error of the bootstrap: {other:?}"),
        }
    }

    fn with<T>(&self, mirror: String, work: impl FnOnce(&Manifest, &Tools<'_>) -> T) -> T {
        let store = self.store();
        let tools = Tools {
            store: &store,
            client: &Client::new(Settings {
                tries: 1,
                ..Settings::default()
            }),
            host: &self.host,
            observer: &Ignore,
            interrupt: &Interrupt::manual().expect("an eventfd"),
            mirrors: Mirrors::none(),
            mirror: Some(mirror),
            access: &|| Ok(Access::default()),
            jobs: 2,
        };
        let catalog = Catalog::load(Some(&self.dir.path().join("manifests"))).expect("manifests");
        let manifest = catalog.get(&"tiny".parse().expect("a name")).expect("ours");
        work(manifest, &tools)
    }

    fn here(&self) -> String {
        format!("file://{}", self.mirror().display())
    }

    fn error(&self) -> DebianError {
        self.error_of(self.here())
    }

    fn count(&self, room: &str) -> usize {
        let room = self.dir.path().join("store").join(room);
        fs::read_dir(room).expect("a room of the store").count()
    }
}

struct Ignore;

impl Observer for Ignore {
    fn event(&self, _event: Event) {}
}

fn key() -> SignedSecretKey {
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .primary_user_id("Archive <archive@example.org>".to_owned())
        .build()
        .expect("parameters")
        .generate(rand::thread_rng())
        .expect("a key")
}

/// A package: an ar archive of three members, the tar archives plain.
fn deb(name: &str, version: &str, arch: Arch, file: &str) -> Vec<u8> {
    let control = format!("Package: {name}\nVersion: {version}\nArchitecture: {arch}\n");
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", tar(&[("./control", control.as_bytes())])),
        ("data.tar", tar(&[(&format!("./{file}"), name.as_bytes())])),
    ];
    let mut deb = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let size = bytes.len();
        deb.extend(format!("{name:<16}0           0     0     100644  {size:<10}`\n").bytes());
        deb.extend(&bytes);
        deb.extend(vec![b'\n'; size % 2]);
    }
    deb
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, *content)
            .expect("a member");
    }
    builder.into_inner().expect("an archive")
}

#[test]
fn a_mirror_that_is_down_is_an_error_of_the_network() {
    let Some(bench) = Bench::new(&GOOD) else {
        return;
    };
    let error = bench.error_of("http://127.0.0.1:1/debian".to_owned());
    assert!(
        matches!(error, DebianError::Net(NetError::Failed { .. })),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("http://127.0.0.1:1/debian/dists/stable/InRelease")
    );
    let error = bench.error_of("file:///nowhere".to_owned());
    assert!(matches!(error, DebianError::Net(_)), "{error}");
    assert_eq!(bench.count("scratch"), 0);
}

#[test]
fn a_release_that_is_not_signed_as_it_should_be_is_refused() {
    let Some(bench) = Bench::new(&GOOD) else {
        return;
    };
    let refused = |error: DebianError| match error {
        DebianError::Signature { source, .. } => source,
        other => panic!("another error: {other}"),
    };
    bench.sign(&key(), &bench.release("stable", ""));
    assert!(matches!(refused(bench.error()), SignatureError::NoGood(_)));
    bench.sign(&bench.key, &bench.release("stable", ""));
    bench.change("dists/stable/InRelease", |bytes| {
        let text = String::from_utf8(bytes.clone()).expect("text");
        *bytes = text.replace("2022", "2023").into_bytes();
    });
    assert!(matches!(refused(bench.error()), SignatureError::NoGood(_)));
    bench.put(
        "dists/stable/InRelease",
        bench.release("stable", "").as_bytes(),
    );
    assert!(matches!(refused(bench.error()), SignatureError::Form(_)));
    assert_eq!(bench.count("blobs"), 0);
}

#[test]
fn a_release_of_another_suite_or_time_is_refused() {
    let Some(bench) = Bench::new(&GOOD) else {
        return;
    };
    let refused = |text: &str| {
        bench.sign(&bench.key, text);
        match bench.error() {
            DebianError::Release { source, .. } => source,
            other => panic!("another error: {other}"),
        }
    };
    let other = refused(&bench.release("sid", ""));
    assert!(matches!(other, ReleaseError::OtherSuite { .. }));
    let until = "Valid-Until: Sat, 08 Jan 2022 00:00:00 UTC\n";
    let expired = refused(&bench.release("stable", until));
    assert!(matches!(expired, ReleaseError::Expired { .. }));
    let future = bench
        .release("stable", "")
        .replace("Sat, 01 Jan 2022", "Fri, 01 Jan 2100");
    assert!(matches!(refused(&future), ReleaseError::Future { .. }));
    let elsewhere = bench.release("stable", "").replace("main/", "contrib/");
    assert!(matches!(refused(&elsewhere), ReleaseError::NoFile(_)));
}

#[test]
fn what_has_not_the_promised_digest_is_refused_and_not_kept() {
    let Some(bench) = Bench::new(&GOOD) else {
        return;
    };
    bench.change(&bench.index(), |bytes| bytes[10] ^= 1);
    let error = bench.error();
    assert!(
        matches!(error, DebianError::Net(NetError::WrongDigest { .. })),
        "{error}"
    );
    assert!(
        error.to_string().contains("the index stable/main/binary-"),
        "{error}"
    );
    assert_eq!(bench.count("blobs"), 0);

    bench.change(&bench.index(), |bytes| bytes[10] ^= 1);
    bench.change("pool/a.deb", |bytes| bytes[300] ^= 1);
    let error = bench.error();
    assert!(
        matches!(error, DebianError::Net(NetError::WrongDigest { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("the package a 1-1"), "{error}");
    assert_eq!(bench.count("scratch"), 0);
    assert_eq!(bench.count("layers"), 0);
}

#[test]
fn a_package_that_is_another_than_the_index_says_is_refused() {
    let Some(bench) = Bench::new(&[("a", "1-2", "usr/share/a"), ("b", "1-1", "usr/share/b")])
    else {
        return;
    };
    assert_eq!(
        bench.error().to_string(),
        "the package a 1-1 cannot be unpacked: its Version is `1-2` where the index says `1-1`"
    );
}

#[test]
fn packages_that_hold_the_same_file_are_refused_in_whatever_order_they_come() {
    // `/lib` is `/usr/lib`.
    for (a, b) in [("usr/share/x", "usr/share/x"), ("usr/lib/x", "lib/x")] {
        let Some(bench) = Bench::new(&[("a", "1-1", a), ("b", "1-1", b)]) else {
            return;
        };
        bench.change("../manifests/tiny.toml", |bytes| {
            let text = String::from_utf8(bytes.clone()).expect("text");
            *bytes = text
                .replace("run = [\"a\"]", "run = [\"a\", \"b\"]")
                .into_bytes();
        });
        let error = bench.error();
        assert!(matches!(error, DebianError::SamePath { .. }), "{error}");
    }
}

#[test]
fn a_spoilt_blob_is_set_aside_and_fetched_again() {
    let Some(bench) = Bench::new(&[("a", "1-1", "usr/share/x"), ("b", "1-1", "usr/share/x")])
    else {
        return;
    };
    bench.change("../manifests/tiny.toml", |bytes| {
        let text = String::from_utf8(bytes.clone()).expect("text");
        *bytes = text
            .replace("run = [\"a\"]", "run = [\"a\", \"b\"]")
            .into_bytes();
    });
    let same =
        |error: DebianError| assert!(matches!(error, DebianError::SamePath { .. }), "{error}");
    same(bench.error());
    assert_eq!((bench.count("blobs"), bench.count("set-aside")), (3, 0));
    for blob in fs::read_dir(bench.dir.path().join("store/blobs")).expect("blobs") {
        let path = blob.expect("a blob").path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        fs::write(&path, "spoilt").expect("write");
    }
    same(bench.error());
    assert_eq!((bench.count("blobs"), bench.count("set-aside")), (3, 3));
    assert_whole(&bench.dir.path().join("store/blobs"));
}

fn assert_whole(blobs: &Path) {
    for blob in fs::read_dir(blobs).expect("blobs") {
        let path = blob.expect("a blob").path();
        let digest = Sha256::of(&fs::read(&path).expect("read")).to_string();
        assert!(path.ends_with(digest), "{}", path.display());
    }
}

#[test]
fn what_was_locked_is_fetched_without_an_index_or_told_to_have_moved() {
    // Both hold one file: the bootstrap ends when all is fetched, before there is a sandbox.
    let old = [("a", "1-1", "usr/share/x"), ("b", "1-1", "usr/share/x")];
    let new = [("a", "1-2", "usr/share/x"), ("b", "1-2", "usr/share/x")];
    let Some(bench) = Bench::new(&old) else {
        return;
    };
    bench.change("../manifests/tiny.toml", |bytes| {
        let text = String::from_utf8(bytes.clone()).expect("text");
        *bytes = text.replace("[\"a\"]", "[\"a\", \"b\"]").into_bytes();
    });
    let locked = bench.with(bench.here(), |manifest, tools| {
        lock::today(manifest, bench.arch, tools).expect("locked")
    });
    let MadeOf::Debian(today) = &locked.made_of else {
        panic!("it is of a mirror");
    };
    assert_eq!(today.releases[0].date, "2022-01-01T00:00:00Z");
    let held = || {
        bench.with(bench.here(), |manifest, tools| {
            let wanted = Wanted::Locked(&locked);
            rootfs::prepare(manifest, bench.arch, wanted, tools).expect_err("not to be had")
        })
    };
    let moved = || {
        bench.with(bench.here(), |manifest, tools| {
            lock::outdated(&locked, manifest, bench.arch, tools).expect("looked up")
        })
    };
    assert!(!moved().is_moved());
    // The index names another version, and the pool has still what was locked.
    let pool = bench.mirror().join("pool");
    let kept = bench.dir.path().join("kept");
    fs::rename(&pool, &kept).expect("rename");
    bench.offer(&new, "1-2");
    fs::remove_dir_all(&pool).expect("removed");
    fs::rename(&kept, &pool).expect("rename");
    let packages = moved().packages;
    let told: Vec<String> = packages.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["a 1-1 → 1-2", "b 1-1 → 1-2"]);
    let error = held();
    let is_later = matches!(&error, RootfsError::Debian { source, .. }
        if matches!(**source, DebianError::SamePath { .. }));
    assert!(is_later, "{error}");

    // The pool has the newer ones alone.
    fs::remove_dir_all(bench.dir.path().join("store")).expect("removed");
    bench.offer(
        &[("a", "1-2", "usr/share/a"), ("b", "1-2", "usr/share/b")],
        "1-2",
    );
    match held() {
        RootfsError::Drift {
            drift: Drift::Packages(moved),
            ..
        } => assert_eq!(moved, packages),
        other => panic!("another error: {other}"),
    }
    // Where nothing has moved, it is an error of the network.
    bench.offer(&old, "1-1");
    fs::remove_file(bench.mirror().join("pool/b.deb")).expect("removed");
    let error = held();
    let is_net = matches!(&error, RootfsError::Debian { source, .. }
        if matches!(**source, DebianError::Net(NetError::Failed { .. })));
    assert!(is_net, "{error}");
}
