//! An artifact to a target: the tarball, then its digest, then its record, which readers trust in
//! reverse. What is there already is compared.

use super::content::{Content, Mode, Put};
use super::error::PublishError;
use super::layout::{Keys, Role};
use super::remote::Remote;
use crate::artifact::checksum::{parse_sha256_line, sha256_line};
use crate::artifact::package::Artifact;
use crate::artifact::record::Record;
use crate::model::{Amount, Observer, Sha256};
use crate::sys::fs as sysfs;
use crate::sys::interrupt::Interrupt;

/// What a `.sha256` or a record may have at most.
pub(super) const SIDECAR: u64 = 4 << 20;

/// An artifact that is there for all to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Where its three objects are, relative to the target.
    pub keys: Keys,
    /// The tarball's digest.
    pub digest: Sha256,
    /// The tarball's size in bytes.
    pub size: u64,
    /// What became of the tarball.
    pub tarball: Put,
    /// What became of its digest.
    pub sha256: Put,
    /// What became of its record.
    pub record: Put,
}

/// Publishes an artifact. With `overwrite` it replaces what is there; without, the same tarball
/// is fine and another an error. A sidecar that says the same of the tarball in other words (an
/// older pybuild's record) stays.
pub fn publish(
    remote: &Remote,
    keys: &Keys,
    artifact: &Artifact,
    overwrite: bool,
    observer: &dyn Observer,
    interrupt: &Interrupt,
) -> Result<Published, PublishError> {
    let digest = artifact.digest();
    let size = artifact.size();
    let mode = if overwrite {
        Mode::Overwrite
    } else {
        Mode::Create
    };
    let file = sysfs::open(&artifact.tarball())?;
    let content = Content::File {
        file: &file,
        size,
        digest,
    };
    let phase = observer.phase(format!("uploading {}", keys.tarball), Amount::Bytes(size));
    let progress = |bytes| phase.advance(bytes);
    let tarball = remote.put(&keys.tarball, content, mode, &progress, interrupt)?;
    let (line, record) = sidecars(keys, artifact);
    let papers = Papers {
        digest,
        sha256: line.as_bytes(),
        record: record.as_bytes(),
    };
    let sha256 = papers.put(remote, keys, Role::Sha256, mode, interrupt)?;
    let record = papers.put(remote, keys, Role::Record, mode, interrupt)?;
    match tarball {
        Put::Written => phase.done(),
        Put::AlreadySame => phase.done_with("already there"),
    };
    Ok(Published {
        keys: keys.clone(),
        digest,
        size,
        tarball,
        sha256,
        record,
    })
}

/// The sidecars' texts. They name the tarball as it is named where it is published.
fn sidecars(keys: &Keys, artifact: &Artifact) -> (String, String) {
    let mut record = artifact.record().clone();
    keys.file_name().clone_into(&mut record.artifact.file);
    let line = sha256_line(&artifact.digest(), keys.file_name());
    (line, record.to_json())
}

/// What lies beside a tarball of this digest.
#[derive(Clone, Copy)]
pub(super) struct Papers<'a> {
    pub(super) digest: Sha256,
    pub(super) sha256: &'a [u8],
    pub(super) record: &'a [u8],
}

impl Papers<'_> {
    /// What one of them has. The tarball is none of them.
    pub(super) fn text(&self, role: Role) -> &[u8] {
        match role {
            Role::Tarball => &[],
            Role::Sha256 => self.sha256,
            Role::Record => self.record,
        }
    }

    /// Whether a text says the same of the tarball as the sidecar, in other words perhaps.
    pub(super) fn says_the_same(&self, keys: &Keys, role: Role, text: &[u8]) -> bool {
        let text = String::from_utf8_lossy(text);
        match role {
            Role::Tarball => false,
            Role::Sha256 => parse_sha256_line(&text)
                .is_ok_and(|(said, name)| said == self.digest && name == keys.file_name()),
            Role::Record => Record::parse(&text).is_ok_and(|record| {
                record.artifact.sha256 == self.digest && record.artifact.file == keys.file_name()
            }),
        }
    }

    /// Puts one of them, unless one that says the same is there.
    pub(super) fn put(
        &self,
        remote: &Remote,
        keys: &Keys,
        role: Role,
        mode: Mode,
        interrupt: &Interrupt,
    ) -> Result<Put, PublishError> {
        let (key, text) = (keys.key(role), self.text(role));
        let result = remote.put(key, Content::Bytes(text), mode, &|_| {}, interrupt);
        if let Err(PublishError::Exists { .. }) = result
            && let Some(theirs) = remote.read_small(key, SIDECAR, interrupt)?
            && self.says_the_same(keys, role, &theirs)
        {
            return Ok(Put::AlreadySame);
        }
        result
    }
}
