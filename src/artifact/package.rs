//! From a proven prefix to an artifact in the store, and back.
//!
//! `artifacts/<build id>/` holds a tarball for each codec that was asked for, since compression is
//! not part of the build id, and beside each its `.sha256` and its record, `.json`. A reader
//! begins with the record, which is put there last: without it there is no artifact.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::checksum::{parse_sha256_line, sha256_line};
use super::proof::Proven;
use super::record::{ArtifactRecord, Origin, Record, RecordError, ToolRecord};
use crate::archive::{
    ArchiveError, Codec, Extract, Limits, Pack, Trust, decoder, extract, interruptible, pack,
};
use crate::model::{HashingReader, Sha256};
use crate::store::{Store, StoreError};
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::{Interrupt, Interrupted};

/// Why something could not be packaged, read back or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Packing or unpacking failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The same build gave other bytes than before: it is not reproducible.
    #[error(
        "{file} of build {} is not reproducible: it was {was} and is {is} now",
        build_id.short()
    )]
    Differs {
        /// The tarball.
        file: String,
        /// The build.
        build_id: Sha256,
        /// The digest in the store.
        was: Sha256,
        /// The digest of the new one.
        is: Sha256,
    },
    /// The tarball changed while it was read.
    #[error("{} is not what its record says: it has the digest {is}, not {was}", path.display())]
    Corrupt {
        /// The tarball.
        path: PathBuf,
        /// The digest in its record.
        was: Sha256,
        /// Its digest.
        is: Sha256,
    },
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// How to package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// How the tarball is compressed.
    pub codec: Codec,
    /// How many threads compress it. The bytes do not depend on it.
    pub threads: usize,
}

/// A packaged prefix in the store: a tarball, its digest, its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    dir: PathBuf,
    record: Record,
}

impl Artifact {
    /// The directory in the store.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The tarball.
    pub fn tarball(&self) -> PathBuf {
        self.dir.join(&self.record.artifact.file)
    }

    /// The file with the tarball's digest.
    pub fn checksum_file(&self) -> PathBuf {
        self.dir.join(checksum_name(&self.record.artifact.file))
    }

    /// The file with the record.
    pub fn record_file(&self) -> PathBuf {
        self.dir.join(record_name(&self.record.artifact.file))
    }

    /// The tarball's digest.
    pub fn digest(&self) -> Sha256 {
        self.record.artifact.sha256
    }

    /// The tarball's size in bytes.
    pub fn size(&self) -> u64 {
        self.record.artifact.size
    }

    /// What it is made of and how.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The artifact of a build, compressed so, if the store has it whole: the sizes and digests
    /// are compared, the tarball is read. One that is not what its record says is set aside.
    pub fn open(
        store: &Store,
        build_id: &Sha256,
        codec: Codec,
        interrupt: &Interrupt,
    ) -> Result<Option<Self>, PackageError> {
        let dir = store.artifact_path(build_id);
        let mut seen: Option<Vec<u8>> = None;
        loop {
            let Some(record_file) = find_record(&dir, codec)? else {
                return Ok(None);
            };
            let text = match fs::read(&record_file) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(FsError::new("read", &record_file)(error).into()),
            };
            match sound(&dir, &record_file, &text, build_id, interrupt)? {
                Some(record) => return Ok(Some(Self { dir, record })),
                // Wrong twice with the same record: nobody is replacing it just now.
                None if seen.as_ref() == Some(&text) => {
                    set_aside(store, &record_file)?;
                    return Ok(None);
                }
                None => seen = Some(text),
            }
        }
    }

    /// Sets it aside: another is to take its place.
    pub fn set_aside(self, store: &Store) -> Result<(), PackageError> {
        set_aside(store, &self.record_file())
    }

    /// Unpacks the prefix into an empty directory that is there, as it was when it was packed,
    /// and makes sure that the tarball was what the record says.
    pub fn unpack(&self, into: &Path, interrupt: &Interrupt) -> Result<(), PackageError> {
        let path = self.tarball();
        let mut hashing = HashingReader::new(sysfs::open(&path)?);
        let how = Extract {
            limits: Limits {
                entries: self.record.artifact.entries,
                bytes: self.record.artifact.unpacked_size,
            },
            ..Extract::new(into, Trust::Sealed)
        };
        extract(decoder(interruptible(&mut hashing, interrupt))?, &how)?;
        // What the decoder has left unread, padding say, belongs to the digest too.
        io::copy(&mut hashing, &mut io::sink()).map_err(FsError::new("read", &path))?;
        let (is, _) = hashing.finish();
        let was = self.digest();
        if is == was {
            Ok(())
        } else {
            Err(PackageError::Corrupt { path, was, is })
        }
    }
}

fn checksum_name(file: &str) -> String {
    format!("{file}.sha256")
}

fn record_name(file: &str) -> String {
    format!("{file}.json")
}

/// The record of the tarball of this codec, by its name alone.
fn find_record(dir: &Path, codec: Codec) -> Result<Option<PathBuf>, FsError> {
    let ending = record_name(&format!(".tar.{}", codec.extension()));
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FsError::new("readdir", dir)(error)),
    };
    for entry in entries {
        let name = entry.map_err(FsError::new("readdir", dir))?.file_name();
        if name.to_str().is_some_and(|name| name.ends_with(&ending)) {
            return Ok(Some(dir.join(name)));
        }
    }
    Ok(None)
}

/// The record, if it and what lies beside it are what they should be.
fn sound(
    dir: &Path,
    record_file: &Path,
    text: &[u8],
    build_id: &Sha256,
    interrupt: &Interrupt,
) -> Result<Option<Record>, PackageError> {
    let text = String::from_utf8_lossy(text);
    let record = match Record::parse(&text) {
        Ok(record) => record,
        Err(
            RecordError::Json(_)
            | RecordError::Schema { .. }
            | RecordError::Name
            | RecordError::Contents { .. }
            | RecordError::FileName { .. },
        ) => return Ok(None),
    };
    let ArtifactRecord {
        file,
        sha256,
        size,
        unpacked_size: _, // are the tarball's affair, which the digest answers for
        entries: _,
    } = &record.artifact;
    if record.product.build_id != *build_id || record_file != dir.join(record_name(file)) {
        return Ok(None);
    }
    let checksum = fs::read_to_string(dir.join(checksum_name(file))).unwrap_or_default();
    if parse_sha256_line(&checksum) != Ok((*sha256, file.clone())) {
        return Ok(None);
    }
    let tarball = dir.join(file);
    let opened = match File::open(&tarball) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FsError::new("open", &tarball)(error).into()),
    };
    let found = opened.metadata().map_err(FsError::new("stat", &tarball))?;
    if !found.is_file() || found.len() != *size {
        return Ok(None);
    }
    let digest =
        Sha256::of_reader(&mut interruptible(opened, interrupt)).map_err(
            |error| match interrupt.check() {
                Err(interrupted) => PackageError::Interrupted(interrupted),
                Ok(()) => FsError::new("read", &tarball)(error).into(),
            },
        )?;
    Ok((digest == (*sha256, *size)).then_some(record))
}

/// Puts a tarball and what belongs to it where nobody uses it; what is not there is fine. The
/// record goes first: from then on there is no artifact.
fn set_aside(store: &Store, record_file: &Path) -> Result<(), PackageError> {
    let tarball = record_file.with_extension("");
    let file = tarball.file_name().unwrap_or_default().to_string_lossy();
    let checksum = tarball.with_file_name(checksum_name(&file));
    for path in [record_file, &checksum, &tarball] {
        match store.set_aside(path) {
            Ok(_) => {}
            Err(StoreError::Fs(error)) if error.source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Packages a proven prefix into the store. If the store has the same artifact already, that is
/// the result; if it has one with other bytes, the build is not reproducible, which is an error
/// and leaves the store as it is.
pub fn package(
    proven: &Proven,
    origin: Origin,
    pybuild: ToolRecord,
    how: Packing,
    store: &Store,
    interrupt: &Interrupt,
) -> Result<Artifact, PackageError> {
    let epoch = origin.source_date_epoch;
    let needs = proven.facts().needs.clone();
    let reference = origin.product.reference().stem();
    let mut contents = proven.facts().contents.clone();
    let describe = |artifact, directories| {
        contents.directories = directories;
        Record::new(origin, needs, contents, artifact, pybuild)
    };
    put(
        proven.prefix(),
        &reference,
        epoch,
        how,
        store,
        interrupt,
        describe,
    )
}

/// Files an artifact that another host has made: a tarball in a scratch directory of the store,
/// which has the bytes that its record says, becomes what [`package`] would have made here. If the
/// store has the same build already, that is the result.
pub fn adopt(
    tarball: &Path,
    mut record: Record,
    codec: Codec,
    store: &Store,
    interrupt: &Interrupt,
) -> Result<Artifact, PackageError> {
    let build_id = record.product.build_id;
    if let Some(before) = Artifact::open(store, &build_id, codec, interrupt)? {
        return Ok(before);
    }
    // Where it was published it may have had another name.
    let file = format!("{}.tar.{}", record.reference().stem(), codec.extension());
    record.artifact.file.clone_from(&file);
    let scratch = store.scratch()?;
    let made = scratch.path().join("artifact");
    sysfs::create_dir_all(&made)?;
    sysfs::rename_durably(tarball, &made.join(&file))?;
    finish(&made, record, store)
}

/// The artifact compressed in another way, beside the first: unpacks it and packs it again. Gives
/// the bytes that [`package`] would have given.
pub fn repack(
    artifact: &Artifact,
    how: Packing,
    store: &Store,
    interrupt: &Interrupt,
) -> Result<Artifact, PackageError> {
    let scratch = store.scratch()?;
    let prefix = scratch.path().join("prefix");
    sysfs::create_dir_all(&prefix)?;
    artifact.unpack(&prefix, interrupt)?;
    let mut record = artifact.record.clone();
    let epoch = record.source_date_epoch;
    let reference = record.reference().stem();
    let describe = |artifact, _| {
        record.artifact = artifact;
        record
    };
    put(&prefix, &reference, epoch, how, store, interrupt, describe)
}

fn put(
    prefix: &Path,
    reference: &str,
    epoch: i64,
    how: Packing,
    store: &Store,
    interrupt: &Interrupt,
    describe: impl FnOnce(ArtifactRecord, BTreeMap<String, u64>) -> Record,
) -> Result<Artifact, PackageError> {
    let Packing { codec, threads } = how;
    let scratch = store.scratch()?;
    let made = scratch.path().join("artifact");
    sysfs::create_dir_all(&made)?;
    let file = format!("{reference}.tar.{}", codec.extension());
    let tarball = made.join(&file);
    let mut out = sysfs::create_new(&tarball)?;
    let pack_as = Pack {
        codec,
        epoch,
        threads,
    };
    let packed = pack(prefix, &pack_as, &mut out, interrupt).map_err(|error| match error {
        // That the file cannot take it is the file system's affair, not the prefix's.
        ArchiveError::Write(source) => FsError::new("write", &tarball)(source).into(),
        error => PackageError::from(error),
    })?;
    out.sync_all().map_err(FsError::new("fsync", &tarball))?;
    let artifact = ArtifactRecord {
        file: file.clone(),
        sha256: packed.digest,
        size: packed.size,
        unpacked_size: packed.unpacked,
        entries: packed.entries,
    };
    let record = describe(artifact, packed.directories);
    let build_id = record.product.build_id;
    if let Some(before) = Artifact::open(store, &build_id, codec, interrupt)? {
        if before.digest() == packed.digest {
            return Ok(before);
        }
        return Err(PackageError::Differs {
            file,
            build_id,
            was: before.digest(),
            is: packed.digest,
        });
    }
    finish(&made, record, store)
}

/// Writes what belongs to a tarball beside it, and puts all of it in its place.
fn finish(made: &Path, record: Record, store: &Store) -> Result<Artifact, PackageError> {
    let file = &record.artifact.file;
    let line = sha256_line(&record.artifact.sha256, file);
    write_synced(&made.join(checksum_name(file)), line.as_bytes())?;
    write_synced(&made.join(record_name(file)), record.to_json().as_bytes())?;
    let dir = store.artifact_path(&record.product.build_id);
    place(made, &dir, file)?;
    Ok(Artifact { dir, record })
}

fn write_synced(path: &Path, content: &[u8]) -> Result<(), FsError> {
    let mut file = sysfs::create_new(path)?;
    file.write_all(content)
        .map_err(FsError::new("write", path))?;
    file.sync_all().map_err(FsError::new("fsync", path))
}

/// Puts what was made in its place: the whole directory at once, or, where another codec's files
/// are there already, file by file, the record last.
fn place(made: &Path, dir: &Path, file: &str) -> Result<(), FsError> {
    sysfs::sync_parent(&made.join(file))?;
    match fs::rename(made, dir) {
        Ok(()) => sysfs::sync_parent(dir),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
            ) =>
        {
            for name in [file.to_owned(), checksum_name(file), record_name(file)] {
                sysfs::rename_durably(&made.join(&name), &dir.join(&name))?;
            }
            Ok(())
        }
        Err(error) => Err(FsError::new("rename", dir)(error)),
    }
}

#[cfg(test)]
mod tests;
