//! `pybuild formula add`: a release's source is fetched and verified, and its line is written.

use std::fmt::Write as _; // into a String, which takes everything
use std::io::{Cursor, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::vouch::{self, Evidence, Vouched};
use crate::archive::{self, Limits};
use crate::cli::{FormulaAdd, Global};
use crate::cmd::session::{Opened, Session};
use crate::cmd::{Done, Failure};
use crate::formula::{Ledger, Place, Signers};
use crate::model::{Amount, Sha256};
use crate::net::{self, NetError};
use crate::rootfs::debian::openpgp::Keyring;
use crate::sys::fs::{self as sysfs, FsError};
use crate::ui::{self, ExitKind};

/// Where formulae are if nobody says.
const HERE: &str = "formulae";
/// Of a tarball, in bytes: it is held in memory. CPython's have less than 40 million.
const TARBALL: u64 = 512 << 20;
/// Of a signature beside it.
const SIGNATURE: u64 = 1 << 20;

/// A form of the source, fetched.
struct Fetched {
    place: Place,
    bytes: Vec<u8>,
    digest: Sha256,
    vouched: Vouched,
}

/// What was added, for machines. Its keys are stable.
#[derive(Debug, Serialize)]
struct Added {
    formula: String,
    released: String,
    table: PathBuf,
    line: String,
    written: bool,
    sources: Vec<AddedSource>,
}

#[derive(Debug, Serialize)]
struct AddedSource {
    source: String,
    file: String,
    sha256: Sha256,
    size: usize,
    /// Who signed it, as the formula names them.
    signers: Vec<String>,
    /// Whether anybody vouches for it.
    verified: bool,
}

/// Adds a release.
pub(super) fn run(global: &Global, args: &FormulaAdd) -> Result<Done, Failure> {
    let dir = args.dir.as_deref().unwrap_or(Path::new(HERE));
    let ledger = Ledger::open(dir, &args.name)?;
    let asked = format!("{}-{}", args.name, args.version);
    if ledger.has(&args.version)? {
        let message = format!("{} has {asked} already", ledger.path().display());
        return Err(Failure::new(ExitKind::Usage, message));
    }
    let places = ledger.places(&args.version, &args.words).map_err(|word| {
        let message = format!("the URL of {asked} takes `{word}`");
        Failure::new(ExitKind::Usage, message).hint(format!("give it: --word {word}=VALUE"))
    })?;
    let keyring = args.keyring.as_deref().map(keyring).transpose()?;
    let signers = ledger.signers(&args.version)?;
    let session = match Session::open(global, Some(dir))? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let mut fetched = Vec::new();
    let mut unreached = None;
    for place in places {
        let file = place.file.clone();
        match fetch(&session, place, args, keyring.as_ref(), signers) {
            Ok(form) => fetched.extend(form),
            Err(Trouble::Here(failure)) => return Err(failure),
            Err(Trouble::There(error)) => {
                let why = match &error {
                    NetError::Failed { attempts, .. } => attempts.0.first(),
                    _ => None,
                };
                let why = why.map_or_else(|| error.to_string(), |it| it.trouble.to_string());
                let note = format!("{file} cannot be fetched and is left out: {why}");
                session.observer().warn(note);
                unreached = Some(error);
            }
        }
    }
    if let (true, Some(error)) = (fetched.is_empty(), unreached) {
        return Err(error.into());
    }
    if fetched.is_empty() {
        let message = format!("upstream has no source of {asked}");
        let failure = Failure::new(ExitKind::Usage, message);
        return Err(failure.hint("is that the version's whole name?"));
    }
    for form in &fetched {
        if let (Vouched::Nobody(lacking), false) = (&form.vouched, args.unsigned) {
            return Err(vouch::refuse(
                &form.place.file,
                form.digest,
                *lacking,
                signers,
            ));
        }
    }
    let released = released(&fetched)?;
    let sources: Vec<(String, Sha256)> = (fetched.iter())
        .map(|form| (form.place.flavour.clone(), form.digest))
        .collect();
    let (table, line) = ledger.with(&args.version, released, &sources, &args.words)?;
    if !args.dry_run {
        write(&session, ledger.path(), &table)?;
    }
    let added = Added {
        formula: asked,
        released: released.to_string(),
        table: ledger.path().to_owned(),
        line,
        written: !args.dry_run,
        sources: fetched.into_iter().map(AddedSource::of).collect(),
    };
    if global.json {
        ui::print_json(&added)?;
    } else {
        ui::print(&added.render())?;
    }
    Ok(Done::Here)
}

fn keyring(path: &Path) -> Result<Keyring, Failure> {
    let bytes = sysfs::open_regular(path).and_then(|_| sysfs::read(path));
    let bytes = bytes.map_err(|error| Failure::new(ExitKind::Usage, error))?;
    Keyring::parse_any(&bytes).map_err(|error| {
        Failure::new(ExitKind::Usage, format!("{}: {error}", path.display()))
            .hint("it is what `gpg --export` or `gpg --export --armor` writes")
    })
}

/// Why a form of the source is not had.
enum Trouble {
    /// It is not to be had just now.
    There(NetError),
    /// It is, and must not be used; or there is something wrong with this host.
    Here(Failure),
}

impl From<NetError> for Trouble {
    fn from(error: NetError) -> Self {
        match error {
            error @ NetError::Failed { .. } => Self::There(error),
            error => Self::Here(error.into()),
        }
    }
}

/// One form of the source; `None` if upstream does not have it in this form.
fn fetch(
    session: &Session,
    place: Place,
    args: &FormulaAdd,
    keyring: Option<&Keyring>,
    signers: Signers<'_>,
) -> Result<Option<Fetched>, Trouble> {
    let mut urls = place.urls.clone();
    urls.extend(mirrored(args.mirror.source_mirror.as_deref(), &place.file));
    let phase = session
        .observer()
        .phase(format!("fetching {}", place.file), Amount::Unknown);
    let mut unreached = None;
    for url in urls {
        let bytes = match get(session, &url, TARBALL) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => continue,
            // The next may have it.
            Err(error @ NetError::Failed { .. }) => {
                unreached.get_or_insert(error);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        phase.done();
        let signature = get(session, &format!("{url}.asc"), SIGNATURE)?;
        let bundle = get(session, &format!("{url}.sigstore"), SIGNATURE)?;
        let digest = Sha256::of(&bytes);
        let evidence = Evidence {
            file: &place.file,
            bytes: &bytes,
            digest,
            signature: signature.as_deref(),
            bundle: bundle.as_deref(),
            keyring,
            signers,
            digests: &args.digests,
        };
        let vouched = vouch::judge(&evidence, Timestamp::now()).map_err(Trouble::Here)?;
        return Ok(Some(Fetched {
            place,
            bytes,
            digest,
            vouched,
        }));
    }
    unreached.map_or(Ok(None), |error| Err(Trouble::There(error)))
}

/// Where a mirror has a file: a URL, or a directory.
fn mirrored(base: Option<&str>, file: &str) -> Option<String> {
    let base = base?.trim_end_matches('/');
    if base.contains("://") {
        return Some(format!("{base}/{file}"));
    }
    let base = std::path::absolute(base).ok()?;
    Some(format!("file://{}/{file}", base.display()))
}

/// What is at a URL; `None` if nothing is.
fn get(session: &Session, url: &str, limit: u64) -> Result<Option<Vec<u8>>, NetError> {
    if url
        .strip_prefix("file://")
        .is_some_and(|path| !Path::new(path).exists())
    {
        return Ok(None);
    }
    match session.client.get(url, limit, &session.interrupt) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(NetError::Failed { attempts, .. })
            if (attempts.0.iter()).all(|attempt| is_absence(&attempt.trouble)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_absence(trouble: &net::Trouble) -> bool {
    matches!(
        trouble,
        net::Trouble::Status {
            code: 404 | 410,
            ..
        }
    )
}

/// The day of the newest file in any of the tarballs: they are made when a release is.
fn released(fetched: &[Fetched]) -> Result<Date, Failure> {
    let mut newest = 0;
    for form in fetched {
        let file = &form.place.file;
        let unreadable = |why: String| {
            let message = format!("{file} is no tarball that can be read: {why}");
            Failure::new(ExitKind::Usage, message)
        };
        let reader = archive::decoder(Cursor::new(&form.bytes))
            .map_err(|error| unreadable(error.to_string()))?;
        archive::examine(reader, &Limits::default(), &mut |entry| {
            newest = newest.max(entry.mtime);
        })
        .map_err(|error| unreadable(error.to_string()))?;
    }
    let newest = Timestamp::from_second(newest).unwrap_or(Timestamp::UNIX_EPOCH);
    let day = newest.to_zoned(TimeZone::UTC).date();
    if newest.as_second() <= 0 || newest > Timestamp::now() {
        let message = format!("the newest file in the tarball is of {day}, which cannot be");
        let failure = Failure::new(ExitKind::Usage, message);
        return Err(failure.hint("add the line by hand, with the day of the release"));
    }
    Ok(day)
}

fn write(session: &Session, path: &Path, table: &str) -> Result<(), Failure> {
    let scratch = session.store.scratch()?;
    let beside = scratch.path().join("table");
    let mut content = sysfs::create_new(&beside)?;
    let written = content.write_all(table.as_bytes());
    let written = written.and_then(|()| content.rewind());
    written.map_err(FsError::new("write", &beside))?;
    let content = sysfs::open(&beside)?;
    let name = path.file_name().map_or(path, Path::new);
    Ok(session.delivery.put(name, &content)?)
}

impl AddedSource {
    fn of(form: Fetched) -> Self {
        Self {
            source: form.place.flavour,
            file: form.place.file,
            sha256: form.digest,
            size: form.bytes.len(),
            verified: !matches!(form.vouched, Vouched::Nobody(_)),
            signers: match form.vouched {
                Vouched::Signed(signers) => signers,
                Vouched::Digest | Vouched::Nobody(_) => Vec::new(),
            },
        }
    }

    fn told(&self) -> String {
        match (self.signers.as_slice(), self.verified) {
            ([], true) => "the digest is the one that was given".to_owned(),
            ([], false) => "NOT VERIFIED: nobody vouches for it".to_owned(),
            (signers, _) => format!("signed by {}", signers.join(" and ")),
        }
    }
}

impl Added {
    fn render(&self) -> String {
        let mut out = format!("{}, released {}\n", self.formula, self.released);
        for source in &self.sources {
            let file = ui::text::clean(&source.file);
            let _ = writeln!(out, "  {file}: {}", source.told());
        }
        let what = if self.written {
            "added to"
        } else {
            "would be added to"
        };
        let table = self.table.display().to_string();
        let _ = writeln!(out, "{what} {}:\n{}", ui::text::clean(&table), self.line);
        out
    }
}
