//! A binary package (deb(5)): an `ar` archive of a version, the control files and the data, each
//! at its stated length and nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::deb822;
use crate::archive::{self, ArchiveError};
use crate::sys::fs::{self as sysfs, FsError};

const MAGIC: &[u8; 8] = b"!<arch>\n";
/// The control files of the largest packages take a few megabytes (`md5sums`, `symbols`).
const CONTROL_LIMIT: u64 = 64 << 20;

/// Why a package is not one.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// It has not the form of a package.
    #[error("it is no Debian package: {0}")]
    Form(&'static str),
    /// One of the archives in it is wrong.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It is not the package that the index promised.
    #[error("its {field} is `{found}` where the index says `{promised}`")]
    Other {
        /// `Package`, `Version` or `Architecture`.
        field: &'static str,
        /// What it says itself.
        found: String,
        /// What the index says.
        promised: String,
    },
}

/// A package that has been opened: its control files, by name, and where its data are.
#[derive(Debug)]
pub(super) struct Deb {
    control: BTreeMap<String, Vec<u8>>,
    file: File,
    data: (u64, u64),
}

impl Deb {
    /// Opens a package and reads its control files.
    pub(super) fn open(path: &Path) -> Result<Self, DebError> {
        let mut file = sysfs::open(path)?;
        let length = file.metadata()?.len();
        let mut magic = [0; 8];
        file.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(DebError::Form("it is no ar archive"));
        }
        let (start, size) = member(&mut file, length, |name| name == "debian-binary")?;
        let mut version = Vec::new();
        (&file).take(size.min(16)).read_to_end(&mut version)?;
        // A new minor number adds members that may be passed over.
        if !version.starts_with(b"2.") {
            return Err(DebError::Form("its format is not 2.x"));
        }
        file.seek(SeekFrom::Start(start + size + size % 2))?;
        let (start, size) = member(&mut file, length, |name| name.starts_with("control.tar"))?;
        let control = control(&file, size)?;
        file.seek(SeekFrom::Start(start + size + size % 2))?;
        let data = member(&mut file, length, |name| name.starts_with("data.tar"))?;
        Ok(Self {
            control,
            file,
            data,
        })
    }

    /// The text of `control`, if it is that of this package, version and architecture.
    pub(super) fn check(&self, name: &str, version: &str, arch: &str) -> Result<&str, DebError> {
        let text = self.control.get("control");
        let text = text.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let text = text.ok_or(DebError::Form("it has no control file"))?;
        let stanza = deb822::stanzas(text).next();
        let stanza = stanza.ok_or(DebError::Form("its control file is empty"))?;
        for (field, promised) in [
            ("Package", name),
            ("Version", version),
            ("Architecture", arch),
        ] {
            let found = stanza.get(field).unwrap_or_default();
            if found != promised {
                return Err(DebError::Other {
                    field,
                    found: found.to_owned(),
                    promised: promised.to_owned(),
                });
            }
        }
        Ok(stanza.text())
    }

    /// The data, decompressed, and the control files.
    pub(super) fn into_parts(
        mut self,
    ) -> Result<(Box<dyn Read + Send>, BTreeMap<String, Vec<u8>>), DebError> {
        let (start, size) = self.data;
        self.file.seek(SeekFrom::Start(start))?;
        let data = archive::decoder(self.file.take(size))?;
        Ok((data, self.control))
    }

    /// How many bytes the compressed data take.
    pub(super) fn data_size(&self) -> u64 {
        self.data.1
    }
}

/// Goes to the next member that is `wanted`, past those that deb(5) allows between (their names
/// begin with `_`), and gives where its bytes begin and how many there are.
fn member(
    file: &mut File,
    length: u64,
    wanted: impl Fn(&str) -> bool,
) -> Result<(u64, u64), DebError> {
    loop {
        let mut header = [0; 60];
        file.read_exact(&mut header)?;
        if &header[58..] != b"`\n" {
            return Err(DebError::Form("a member of it has a broken header"));
        }
        let name = std::str::from_utf8(&header[..16]).unwrap_or_default();
        let name = name.trim_end().trim_end_matches('/');
        let size = std::str::from_utf8(&header[48..58]).unwrap_or_default();
        let size: u64 = size
            .trim_end()
            .parse()
            .map_err(|_| DebError::Form("a member of it has no size"))?;
        let start = file.stream_position()?;
        if start + size > length {
            return Err(DebError::Form("it is cut short"));
        }
        if wanted(name) {
            return Ok((start, size));
        }
        if !name.starts_with('_') {
            return Err(DebError::Form("its members are not in the order of deb(5)"));
        }
        file.seek(SeekFrom::Start(start + size + size % 2))?;
    }
}

fn control(file: &File, size: u64) -> Result<BTreeMap<String, Vec<u8>>, DebError> {
    let decoded = archive::decoder(BufReader::new(file.take(size)))?;
    let mut archive = tar::Archive::new(decoded.take(CONTROL_LIMIT));
    let mut files = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?;
        let name = path.strip_prefix(".").unwrap_or(&path);
        let name = name.to_str().unwrap_or_default().to_owned();
        // The names become parts of file names of dpkg's database.
        let of_name = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if name.is_empty() || !name.bytes().all(of_name) {
            return Err(DebError::Form("a control file has a name that none has"));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        files.insert(name, bytes);
    }
    Ok(files)
}
