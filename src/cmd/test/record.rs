//! Where a baseline is read, and where it is recorded.

use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::cli::Test;
use crate::cmd::Failure;
use crate::cmd::session::Session;
use crate::suite::Baseline;
use crate::sys::fs::{self as sysfs, FsError};
use crate::ui::ExitKind;

/// Where formulae are if nobody says.
const HERE: &str = "formulae";
/// Of a baseline, in bytes. CPython's have a hundredth of it.
const LARGEST: u64 = 4 << 20;

/// Where a baseline is recorded.
pub(super) struct Place {
    /// What is written below.
    pub(super) directory: PathBuf,
    /// Where there, if that is not the formula's own place.
    name: std::cell::OnceCell<PathBuf>,
}

impl Place {
    /// None if nothing is recorded.
    pub(super) fn of(args: &Test) -> Result<Option<Self>, Failure> {
        if !args.record {
            return Ok(None);
        }
        let name = std::cell::OnceCell::new();
        if let Some(file) = &args.baseline {
            let file = std::path::absolute(file).map_err(FsError::new("absolute", file))?;
            let (Some(directory), Some(own)) = (file.parent(), file.file_name()) else {
                let message = format!("{} is no file to record in", file.display());
                return Err(Failure::new(ExitKind::Usage, message));
            };
            let _ = name.set(PathBuf::from(own));
            let directory = directory.to_owned();
            return Ok(Some(Self { directory, name }));
        }
        let given = args.building.sources.formulae_dir.as_deref();
        let directory = given.unwrap_or(Path::new(HERE)).to_owned();
        if !directory.is_dir() {
            let message = format!("there is no directory {} to record in", directory.display());
            return Err(Failure::new(ExitKind::Usage, message)
                .hint("give one with --formulae DIR, or a file with --baseline FILE"));
        }
        Ok(Some(Self { directory, name }))
    }

    /// Where it will be, and what is there now. `known` is the formula's own place.
    pub(super) fn now(&self, known: &Path) -> Result<(PathBuf, Option<String>), Failure> {
        let path = self
            .directory
            .join(self.name.get_or_init(|| known.to_owned()));
        let text = path.is_file().then(|| read(&path)).transpose()?;
        Ok((path, text))
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join(self.name())
    }

    fn name(&self) -> &Path {
        self.name.get().map_or(Path::new(""), PathBuf::as_path)
    }

    pub(super) fn put(&self, baseline: &Baseline, session: &Session) -> Result<(), Failure> {
        let scratch = session.store.scratch()?;
        let beside = scratch.path().join("baseline");
        let mut content = sysfs::create_new(&beside)?;
        let written = content.write_all(baseline.render().as_bytes());
        let written = written.and_then(|()| content.rewind());
        written.map_err(FsError::new("write", &beside))?;
        let content = sysfs::open(&beside)?;
        Ok(session.delivery.put(self.name(), &content)?)
    }
}

/// The file that is given, which must be there.
pub(super) fn given(file: &Path) -> Result<(PathBuf, Option<String>), Failure> {
    let text = read(file)
        .map_err(|failure| failure.hint("--record writes one, from how the tests end"))?;
    Ok((file.to_owned(), Some(text)))
}

fn read(path: &Path) -> Result<String, Failure> {
    let usage = |error: FsError| Failure::new(ExitKind::Usage, error);
    let file = sysfs::open_regular(path).map_err(usage)?;
    let size = file.metadata().map_err(FsError::new("stat", path))?.len();
    if size > LARGEST {
        let message = format!("{} is larger than 4 MiB", path.display());
        return Err(Failure::new(ExitKind::Usage, message));
    }
    let bytes = sysfs::read(path).map_err(usage)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn parse(text: &str, path: &Path) -> Result<Baseline, Failure> {
    Baseline::parse(text).map_err(|error| {
        let message = format!("{}: {error}", path.display());
        Failure::new(ExitKind::Usage, message).hint("--record with another --baseline writes one")
    })
}
