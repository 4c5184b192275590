//! Targets that the tests verify: sound ones, and what spoils them.

use std::fs::{self, Permissions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pybuild::archive::{Codec, Pack, pack};
use pybuild::artifact::checksum::sha256_line;
use pybuild::artifact::record::{ArtifactRecord, Record};
use pybuild::model::{Arch, FormulaRef, Kind, Quiet, Sha256};
use pybuild::publish::{
    INDEX_JSON, Index, Layout, Remote, Settings, Surveyed, Target, keys, survey,
};
use pybuild::sys::interrupt::Interrupt;
use pybuild::verify::{Depth, Lock, Options, Report, Rule, Selection, Tools, VerifyError, verify};

use crate::record::record;

/// The key that most cases spoil something of.
pub(crate) const PYTHON: &str = "debian-12/runtimes/python-3.11.2.tar.gz";
pub(crate) const SQLITE: &str = "debian-12/libraries/sqlite-3.46.1.tar.xz";
pub(crate) const FLAT: &str = "python-3.9.2-debian-12-amd64.tar.zst";

/// A directory as a target.
pub(crate) struct Dist {
    dir: tempfile::TempDir,
    pub(crate) lock: Option<Lock>,
    pub(crate) expected: Vec<String>,
    pub(crate) what: Selection,
    pub(crate) options: Options,
}

impl Dist {
    /// With nothing in it.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Root's pybuild becomes somebody else, who must get through.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
        Self {
            dir,
            lock: None,
            expected: Vec::new(),
            what: Selection::default(),
            options: Options {
                depth: Depth::Whole,
                record: false,
                jobs: 2,
                stale_after: 60,
                now: 1_700_000_000,
            },
        }
    }

    /// With three archives as pybuild publishes them, one of each codec, in both layouts.
    pub(crate) fn sound() -> Self {
        let this = Self::empty();
        let one = |layout, kind, reference: &str, codec| {
            let reference: FormulaRef = reference.parse().expect("a reference");
            let stack = "debian-12".parse().expect("a stack");
            let key = keys(layout, &stack, kind, &reference, Arch::Amd64, codec, None).tarball;
            this.publish(&key, kind, &reference, &tarball(codec));
            key
        };
        let made = [
            one(Layout::Tree, Kind::Runtime, "python-3.11.2", Codec::Gzip),
            one(Layout::Tree, Kind::Library, "sqlite-3.46.1", Codec::Xz),
            one(Layout::Flat, Kind::Runtime, "python-3.9.2", Codec::Zstd),
        ];
        assert_eq!(made, [PYTHON, SQLITE, FLAT]);
        this
    }

    pub(crate) fn at(&self, key: &str) -> PathBuf {
        self.dir.path().join(key)
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        let path = self.at(key);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, bytes).expect("written");
    }

    pub(crate) fn get(&self, key: &str) -> Vec<u8> {
        fs::read(self.at(key)).expect("there")
    }

    pub(crate) fn remove(&self, key: &str) {
        fs::remove_file(self.at(key)).expect("it was there");
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        let to = self.at(to);
        fs::create_dir_all(to.parent().expect("a parent")).expect("mkdir");
        fs::rename(self.at(from), to).expect("renamed");
    }

    pub(crate) fn put_sidecars(&self, key: &str, record: &Record) {
        let line = sha256_line(&record.artifact.sha256, &record.artifact.file);
        self.put(&format!("{key}.sha256"), line.as_bytes());
        self.put(&format!("{key}.json"), record.to_json().as_bytes());
    }

    pub(crate) fn record_of(&self, key: &str) -> Record {
        let text = self.get(&format!("{key}.json"));
        Record::parse(str::from_utf8(&text).expect("UTF-8")).expect("our own record")
    }

    /// Changes what the record of an archive says.
    pub(crate) fn amend(&self, key: &str, change: impl FnOnce(&mut Record)) {
        let mut record = self.record_of(key);
        change(&mut record);
        self.put(&format!("{key}.json"), record.to_json().as_bytes());
    }

    /// Replaces a tarball by other bytes, and has its sidecars say that all is well.
    pub(crate) fn forge(&self, key: &str, tarball: &Tarball) {
        self.put(key, &tarball.bytes);
        let mut record = self.record_of(key);
        record.artifact.sha256 = Sha256::of(&tarball.bytes);
        record.artifact.size = tarball.bytes.len() as u64;
        record.artifact.entries = tarball.entries;
        record.artifact.unpacked_size = tarball.unpacked;
        self.put_sidecars(key, &record);
    }

    /// Writes its index, as `pybuild index` does.
    pub(crate) fn index(&self) -> Index {
        let target = Target::Directory(self.path().to_owned());
        let remote = Remote::open(&target, &Settings::default()).expect("nothing is done yet");
        let interrupt = Interrupt::manual().expect("an eventfd");
        let surveyed = survey(&remote, &Quiet, &interrupt).expect("a directory can be read");
        let Surveyed { index, .. } = surveyed.expect("a directory can be listed");
        self.put(INDEX_JSON, index.to_json().as_bytes());
        index
    }

    /// Puts one more archive there.
    pub(crate) fn add(&self, key: &str, reference: &str) {
        let reference = reference.parse().expect("a reference");
        self.publish(key, Kind::Runtime, &reference, &tarball(Codec::Gzip));
    }

    fn publish(&self, key: &str, kind: Kind, reference: &FormulaRef, tarball: &Tarball) {
        let artifact = ArtifactRecord {
            file: key.rsplit('/').next().expect("a name").to_owned(),
            sha256: Sha256::of(&tarball.bytes),
            size: tarball.bytes.len() as u64,
            unpacked_size: tarball.unpacked,
            entries: tarball.entries,
        };
        let record = record(reference, kind, Sha256::of(key.as_bytes()), artifact);
        self.put(key, &tarball.bytes);
        self.put_sidecars(key, &record);
    }

    pub(crate) fn locked(&mut self, digests: &[(&str, Sha256)]) {
        self.lock = Some(Lock {
            target: self.path().display().to_string(),
            digests: digests
                .iter()
                .map(|(key, digest)| ((*key).to_owned(), *digest))
                .collect(),
        });
    }

    pub(crate) fn try_verify(&self) -> Result<Report, VerifyError> {
        let target = Target::Directory(self.path().to_owned());
        let remote = Remote::open(&target, &Settings::default()).expect("nothing is done yet");
        let tools = Tools {
            lock: self.lock.as_ref(),
            expected: &self.expected,
            identify: None,
        };
        let interrupt = Interrupt::manual().expect("an eventfd");
        verify(
            &remote,
            &self.what,
            &self.options,
            &tools,
            &Quiet,
            &interrupt,
        )
    }

    pub(crate) fn verify(&self) -> Report {
        self.try_verify().expect("a directory can be looked at")
    }
}

/// What a report found: of what, and against which rule.
pub(crate) fn found(report: &Report) -> Vec<(&str, Rule)> {
    let mut found: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.key.as_str(), finding.rule))
        .collect();
    found.dedup();
    found
}

/// A tarball and what is in it.
pub(crate) struct Tarball {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: u64,
    pub(crate) unpacked: u64,
}

/// A small prefix, packed as pybuild packs.
pub(crate) fn tarball(codec: Codec) -> Tarball {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name);
    for (name, content) in [
        ("bin/python3.11", &b"\x7fELF, so to speak"[..]),
        ("lib/python3.11/os.py", &b"import sys\n".repeat(500)),
        ("lib/python3.11/empty.py", b""),
        (
            "include/python3.11/patchlevel.h",
            b"#define PY_VERSION \"3.11.2\"\n",
        ),
    ] {
        fs::create_dir_all(at(name).parent().expect("a parent")).expect("mkdir");
        fs::write(at(name), content).expect("written");
    }
    std::os::unix::fs::symlink("python3.11", at("bin/python3")).expect("a link");
    std::os::unix::fs::symlink("../bin/python3", at("lib/up")).expect("a link");
    fs::hard_link(at("bin/python3.11"), at("bin/twin")).expect("a hard link");
    let mut out = tempfile::tempfile().expect("a temporary file");
    let how = Pack {
        codec,
        epoch: 1_600_000_000,
        threads: 1,
    };
    let interrupt = Interrupt::manual().expect("an eventfd");
    let packed = pack(dir.path(), &how, &mut out, &interrupt).expect("packed");
    let mut bytes = Vec::new();
    out.rewind().expect("seek");
    out.read_to_end(&mut bytes).expect("read");
    Tarball {
        bytes,
        entries: packed.entries,
        unpacked: packed.unpacked,
    }
}

/// One member of a tar made by hand.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) flag: u8,
    pub(crate) mode: u32,
    pub(crate) link: &'a str,
    pub(crate) content: &'a [u8],
}

pub(crate) fn file(name: &str) -> Entry<'_> {
    Entry {
        name,
        flag: b'0',
        mode: 0o644,
        link: "",
        content: b"content",
    }
}

pub(crate) fn directory(name: &str) -> Entry<'_> {
    Entry {
        flag: b'5',
        mode: 0o755,
        content: b"",
        ..file(name)
    }
}

pub(crate) fn symlink<'a>(name: &'a str, link: &'a str) -> Entry<'a> {
    Entry {
        flag: b'2',
        mode: 0o777,
        link,
        content: b"",
        ..file(name)
    }
}

/// The members as a ustar archive, without its end.
pub(crate) fn members(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, entry.name.as_bytes());
        put(100, format!("{:07o}", entry.mode).as_bytes());
        put(124, format!("{:011o}", entry.content.len()).as_bytes());
        put(136, b"00000000000");
        put(148, b"        ");
        put(156, &[entry.flag]);
        put(157, entry.link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend(block);
        tar.extend(entry.content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A whole tarball of these members.
pub(crate) fn made_of(entries: &[Entry<'_>]) -> Tarball {
    let mut tar = members(entries);
    tar.extend([0; 1024]);
    Tarball {
        bytes: gzip(&tar),
        entries: entries.len() as u64,
        unpacked: entries.iter().map(|entry| entry.content.len() as u64).sum(),
    }
}
