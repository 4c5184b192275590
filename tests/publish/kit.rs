//! What the tests of publishing share.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use pybuild::archive::Codec;
use pybuild::artifact::checksum::sha256_line;
use pybuild::artifact::package::Artifact;
use pybuild::artifact::record::ArtifactRecord;
use pybuild::model::{Kind, Sha256};
use pybuild::publish::{Content, Head, Mode, PublishError, Put, Remote, Settings, Target, Way};
use pybuild::store::Store;
use pybuild::sys::interrupt::Interrupt;

use crate::record::record;

/// Bytes that no two seeds have in common.
pub(crate) fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(size);
    bytes
}

pub(crate) fn interrupt() -> Interrupt {
    Interrupt::manual().expect("an eventfd")
}

/// The directory as an open target.
pub(crate) fn directory(path: &Path) -> Remote {
    let target = Target::Directory(path.to_owned());
    Remote::open(&target, &Settings::default()).expect("nothing is done yet")
}

pub(crate) fn put(
    remote: &Remote,
    key: &str,
    bytes: &[u8],
    mode: Mode,
) -> Result<Put, PublishError> {
    remote.put(key, Content::Bytes(bytes), mode, &|_| {}, &interrupt())
}

pub(crate) fn put_file(
    remote: &Remote,
    key: &str,
    bytes: &[u8],
    mode: Mode,
) -> Result<Put, PublishError> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("file");
    fs::write(&path, bytes).expect("write");
    let file = File::open(&path).expect("open");
    let content = Content::File {
        file: &file,
        size: bytes.len() as u64,
        digest: Sha256::of(bytes),
    };
    remote.put(key, content, mode, &|_| {}, &interrupt())
}

/// Copies an object as it is by now.
pub(crate) fn copy(
    to: &Remote,
    from: &Remote,
    key: &str,
    head: &Head,
    mode: Mode,
) -> Result<(Put, Way), PublishError> {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let digest = from.digest(key, &interrupt())?.expect("it is there");
    let what = (head, digest);
    let copied = to.copy_from(from, key, what, mode, scratch.path(), &|_| {}, &interrupt());
    let left = fs::read_dir(scratch.path()).expect("there").count();
    assert_eq!(left, 0, "nothing is left over");
    copied
}

/// All of an object.
pub(crate) fn get(remote: &Remote, key: &str) -> Result<Option<Vec<u8>>, PublishError> {
    let interrupt = interrupt();
    let Some(mut reader) = remote.read(key, &interrupt)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) => Err(PublishError::from_reader(error).expect("a remote's error")),
    }
}

/// The keys of all objects.
pub(crate) fn list(remote: &Remote, below: &str) -> Vec<String> {
    let objects = remote.list(below, &interrupt()).expect("listed");
    let objects = objects.expect("this kind of target can be listed");
    objects.into_iter().map(|object| object.key).collect()
}

/// An artifact in the store whose tarball has these bytes.
pub(crate) fn artifact(store: &Store, tarball: &[u8]) -> Artifact {
    let build_id = Sha256::of(tarball);
    let file = "python-3.11.2.tar.gz".to_owned();
    let described = ArtifactRecord {
        file: file.clone(),
        sha256: Sha256::of(tarball),
        size: tarball.len() as u64,
        unpacked_size: 0,
        entries: 0,
    };
    let reference = "python-3.11.2".parse().expect("a formula");
    let record = record(&reference, Kind::Runtime, build_id, described);
    let dir = store.artifact_path(&build_id);
    fs::create_dir_all(&dir).expect("mkdir");
    fs::write(dir.join(&file), tarball).expect("write");
    let line = sha256_line(&Sha256::of(tarball), &file);
    fs::write(dir.join(format!("{file}.sha256")), line).expect("write");
    fs::write(dir.join(format!("{file}.json")), record.to_json()).expect("write");
    Artifact::open(store, &build_id, Codec::Gzip, &interrupt())
        .expect("the store is sound")
        .expect("it was just put there")
}
