//! `pybuild formula import`: simple scripts for bob-builder to formulae.

use std::fs;
use std::path::Path;

use super::session::{Opened, Session};
use super::{Done, Failure};
use crate::archive::{self, Extract, Limits, Trust};
use crate::cli::{FormulaImport, Global};
use crate::formula::Catalog;
use crate::formula::bob::Workspace;
use crate::formula::bob::import::{self, Fetched, Refusal, Understood};
use crate::model::{Amount, Sha256};
use crate::net::{Client, NetError, Settings};
use crate::sys::fs::{self as sysfs, FsError};
use crate::ui::{self, ExitKind, Imported};

/// Of a source, in bytes.
const SOURCE: u64 = 512 << 20;

/// Follows the scripts, fetches what they fetch for its digest, and writes what has become of them.
pub(super) fn run(global: &Global, args: &FormulaImport) -> Result<Done, Failure> {
    let workspace = Workspace::read(&args.directory)?;
    let (understood, mut refused) = import::understand(&workspace)?;
    if understood.is_empty() && refused.is_empty() {
        let message = format!("there is no script in {}", args.directory.display());
        return Err(Failure::new(ExitKind::Usage, message)
            .hint("a script lies in a directory below it and begins with `#!`"));
    }
    for one in &understood {
        let path = args.output.join(format!("{}.toml", one.script.name()));
        if path.symlink_metadata().is_ok() {
            let message = format!("{} is there already, and is not replaced", path.display());
            return Err(Failure::new(ExitKind::Usage, message)
                .hint("choose another directory with --output, or remove it"));
        }
    }
    let session = match Session::open(global, Some(&args.output))? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let mut fetched = Vec::new();
    let mut unreachable = false;
    for one in understood {
        match fetch(&session, &one, args.mirror.source_mirror.as_deref()) {
            Ok(found) => fetched.push((one, found)),
            Err(Unfetched::Failure(failure)) => return Err(*failure),
            Err(Unfetched::Source { why, passes }) => {
                unreachable |= passes;
                refused.push(Refusal {
                    script: one.script.to_string(),
                    place: None,
                    why,
                });
            }
        }
    }
    let (files, more) = import::write(&fetched);
    refused.extend(more);
    let scratch = session.store.scratch()?;
    for (name, text) in &files {
        let path = scratch.path().join(name);
        fs::write(&path, text).map_err(FsError::new("write", &path))?;
    }
    // What is written is read first: with the built-in formulae, as it will be.
    Catalog::load(Some(scratch.path())).map_err(|error| {
        let others = "nothing was written; formulae replace built-in ones of the same name, on which \
                      others may depend";
        Failure::from(error).hint(others)
    })?;
    for name in files.keys() {
        let file = sysfs::open(&scratch.path().join(name))?;
        session.delivery.put(Path::new(name), &file)?;
    }
    let written = files.keys().map(|name| args.output.join(name)).collect();
    let taken = |script: &str| refused.iter().all(|refusal| refusal.script != script);
    let scripts = fetched.iter().map(|(one, _)| one.script.to_string());
    let imported = Imported {
        scripts: scripts.filter(|script| taken(script)).collect(),
        written,
        refused: refused.iter().map(Refusal::to_string).collect(),
    };
    if global.json {
        ui::print_json(&imported)?;
    } else {
        ui::print(&imported.render())?;
    }
    Ok(match (refused.is_empty(), unreachable) {
        (true, _) => Done::Here,
        (false, true) => Done::Code(ExitKind::TryAgain.code()),
        (false, false) => Done::Code(ExitKind::Found.code()),
    })
}

/// Why nobody knows what a script fetches.
enum Unfetched {
    /// The script's affair: it cannot be had, or is no tarball; whether that may pass.
    Source { why: String, passes: bool },
    /// This host's.
    Failure(Box<Failure>),
}

impl<E: Into<Failure>> From<E> for Unfetched {
    fn from(error: E) -> Self {
        Self::Failure(Box::new(error.into()))
    }
}

/// Fetches what a script fetches: its digest, and the day of the newest file in it.
fn fetch(session: &Session, one: &Understood, mirror: Option<&str>) -> Result<Fetched, Unfetched> {
    let phase = session
        .observer()
        .phase(format!("fetching {}", one.url), Amount::Unknown);
    let client = Client::new(Settings::default());
    let bytes = match client.get(&one.url, SOURCE, &session.interrupt) {
        Err(NetError::Failed { .. }) if mirror.is_some() => {
            let (mirror, file) = (mirror.unwrap_or_default(), one.url.rsplit('/').next());
            let mirror = mirror.trim_end_matches('/');
            let url = format!("{mirror}/{}", file.unwrap_or_default());
            let url = if url.contains("://") {
                url
            } else {
                format!("file://{url}")
            };
            client.get(&url, SOURCE, &session.interrupt)
        }
        answer => answer,
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error @ NetError::Failed { .. }) => {
            return Err(Unfetched::Source {
                why: error.to_string(),
                passes: true,
            });
        }
        Err(error) => return Err(error.into()),
    };
    let scratch = session.store.scratch()?;
    let how = Extract {
        // As a build unpacks it: what a formula builds has a top directory.
        strip: 1,
        limits: Limits::for_compressed(bytes.len() as u64),
        ..Extract::new(scratch.path(), Trust::Sealed)
    };
    let reader = archive::interruptible(bytes.as_slice(), &session.interrupt);
    let extracted = archive::decoder(reader).and_then(|tar| archive::extract(tar, &how));
    let extracted = match extracted {
        Ok(extracted) => extracted,
        Err(error) if error.is_host() => return Err(error.into()),
        Err(error) => {
            return Err(Unfetched::Source {
                why: format!("what it fetches cannot be unpacked: {error}"),
                passes: false,
            });
        }
    };
    let newest = jiff::Timestamp::from_second(extracted.newest_mtime.max(0)).unwrap_or_default();
    let day = newest.to_zoned(jiff::tz::TimeZone::UTC).date();
    phase.done();
    Ok(Fetched {
        sha256: Sha256::of(&bytes),
        released: day.to_string(),
    })
}
