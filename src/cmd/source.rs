//! Getting a recipe's source: which of its forms, and from which of the places that have it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::session::Session;
use super::{Failure, locking};
use crate::cli;
use crate::formula::{Recipe, Source};
use crate::model::{Amount, Phase, Sha256};
use crate::net::{Client, Download, NetError, Settings};
use crate::rootfs::{Manifest, Rootfs, debian};
use crate::sys::fs::{self as sysfs, FsError};
use crate::ui::ExitKind;

/// The places that are asked besides upstream.
#[derive(Debug, Clone, Default)]
pub(super) struct Mirrors {
    /// Has source tarballs by file name.
    source: Option<String>,
    /// Has Debian's pool.
    debian: Option<String>,
}

impl Mirrors {
    pub(super) fn of(args: &cli::Building) -> Self {
        let debian = args.sources.stacks.debian_mirror.clone();
        Self::new(args.mirror.source_mirror.clone(), debian)
    }

    /// Those that were given, and the host's own Debian mirror where none was.
    pub(super) fn new(source: Option<String>, debian: Option<String>) -> Self {
        Self {
            source,
            debian: debian.or_else(|| debian::mirror::of_host(Path::new("/etc/apt"))),
        }
    }

    /// Where a source may be, in the order in which to ask: upstream, the mirror of sources, the
    /// Debian pool.
    fn urls(&self, source: &Source) -> Vec<String> {
        let below = |base: &Option<String>, path: &str| {
            base.as_ref().map(|base| {
                let base = base.trim_end_matches('/');
                if base.contains("://") {
                    format!("{base}/{path}")
                } else {
                    // A directory is as good as a server.
                    let base = std::path::absolute(base).unwrap_or_else(|_| PathBuf::from(base));
                    format!("file://{}/{path}", base.display())
                }
            })
        };
        let pool = source
            .pool
            .as_ref()
            .and_then(|pool| below(&self.debian, pool));
        let mut urls = source.urls.clone();
        urls.extend(below(&self.source, &source.file));
        urls.extend(pool);
        urls
    }
}

/// A source on this host.
#[derive(Debug)]
pub(super) struct Fetched<'a> {
    pub(super) source: &'a Source,
    /// None of a script, which is its own source.
    pub(super) blob: Option<PathBuf>,
}

/// The first of a recipe's sources that can be had: what the store has, else what is fetched.
pub(super) fn fetch<'a>(
    recipe: &'a Recipe,
    mirrors: &Mirrors,
    session: &Session,
) -> Result<Fetched<'a>, Failure> {
    if recipe.reference.is_script()
        && let Some(source) = recipe.sources.first()
    {
        return Ok(Fetched { source, blob: None });
    }
    for source in &recipe.sources {
        if let Some(blob) = kept(source, session)? {
            let blob = Some(blob);
            return Ok(Fetched { source, blob });
        }
    }
    let title = format!("fetching the source of {}", recipe.reference);
    let phase = session.observer().phase(title, Amount::Bytes(0));
    let mut failed = BTreeMap::new();
    for settings in patience(recipe.sources.len()) {
        let client = Client::new(settings);
        for (n, source) in recipe.sources.iter().enumerate() {
            // Whoever gives other bytes today will give them a moment later.
            if matches!(failed.get(&n), Some(NetError::WrongDigest { .. })) {
                continue;
            }
            match fetch_one(source, mirrors, &client, session, &phase) {
                Ok(blob) => {
                    phase.done();
                    let blob = Some(blob);
                    return Ok(Fetched { source, blob });
                }
                Err(error @ (NetError::Failed { .. } | NetError::WrongDigest { .. })) => {
                    failed.insert(n, error);
                }
                // Another form does not help against what remains.
                Err(error) => return Err(error.into()),
            }
        }
    }
    Err(none_of(recipe, failed.into_values().collect()))
}

/// The stack, for builds of all of these. If it is not there yet their sources are fetched first: what
/// cannot be had is better known before a stack is bootstrapped than after.
pub(super) fn stack_for(
    recipes: &[Recipe],
    mirrors: &Mirrors,
    session: &Session,
    (manifest, stacks): (&Manifest, &cli::StackSources),
) -> Result<Rootfs, Failure> {
    if locking::prepared(manifest, stacks, &session.store)?.is_none() {
        for recipe in recipes {
            fetch(recipe, mirrors, session)?;
        }
    }
    session.rootfs(manifest, stacks)
}

/// What the store has kept of a source, read again before it is believed. What a disk has spoilt is
/// set aside, to be fetched again.
fn kept(source: &Source, session: &Session) -> Result<Option<PathBuf>, Failure> {
    let Some(blob) = session.store.blob(&source.sha256) else {
        return Ok(None);
    };
    let mut file = sysfs::open(&blob)?;
    let (digest, _) = Sha256::of_reader(&mut file).map_err(FsError::new("read", &blob))?;
    if digest == source.sha256 {
        return Ok(Some(blob));
    }
    let aside = session.store.set_aside(&blob)?;
    session.observer().warn(format!(
        "{} was spoilt in the store: it is at {}, and fetched again",
        source.file,
        aside.display()
    ));
    Ok(None)
}

/// What to say when no form of a source can be had.
fn none_of(recipe: &Recipe, errors: Vec<NetError>) -> Failure {
    let mut message = format!("the source of {} cannot be had", recipe.reference);
    let mut exit = ExitKind::TryAgain;
    for error in errors {
        message = format!("{message}\n{error}");
        if matches!(error, NetError::WrongDigest { .. }) {
            exit = ExitKind::BuildFailed;
        }
    }
    let failure = Failure::new(exit, message);
    let failure = match exit {
        ExitKind::BuildFailed => {
            failure.hint("nothing was kept; do not use what these places give before you know why")
        }
        _ => failure,
    };
    let files: Vec<&str> = recipe
        .sources
        .iter()
        .map(|source| source.file.as_str())
        .collect();
    failure.hint(format!(
        "put {} into a directory and give it as --source-mirror, or let this host reach one of \
         these places",
        files.join(" or ")
    ))
}

/// How patiently to ask, round by round. With several forms of a source one is as good as another:
/// only when none can be had at once is it worth waiting for one.
fn patience(forms: usize) -> Vec<Settings> {
    let hasty = Settings {
        tries: 1,
        ..Settings::default()
    };
    match forms {
        0 | 1 => vec![Settings::default()],
        _ => vec![hasty, Settings::default()],
    }
}

fn fetch_one(
    source: &Source,
    mirrors: &Mirrors,
    client: &Client,
    session: &Session,
    phase: &Phase<'_>,
) -> Result<PathBuf, NetError> {
    let download = Download {
        what: source.file.clone(),
        urls: mirrors.urls(source),
        digest: source.sha256,
        size: None,
    };
    phase.detail(&source.file);
    let progress = |bytes| phase.advance(bytes);
    client.fetch(&download, &session.store, &session.interrupt, &progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_is_asked_first_and_the_pool_last() {
        let source = Source {
            name: "tgz".to_owned(),
            urls: vec!["https://www.python.org/ftp/python/3.11.2/Python-3.11.2.tgz".to_owned()],
            pool: Some("pool/main/p/python3.11/python3.11_3.11.2.orig.tar.gz".to_owned()),
            sha256: Sha256::of(b""),
            file: "Python-3.11.2.tgz".to_owned(),
        };
        let mirrors = Mirrors {
            source: Some("/srv/sources/".to_owned()),
            debian: Some("http://mirror.example.org/debian/".to_owned()),
        };
        assert_eq!(
            mirrors.urls(&source),
            [
                "https://www.python.org/ftp/python/3.11.2/Python-3.11.2.tgz",
                "file:///srv/sources/Python-3.11.2.tgz",
                "http://mirror.example.org/debian/pool/main/p/python3.11/python3.11_3.11.2.orig.tar.gz",
            ]
        );
        assert_eq!(Mirrors::default().urls(&source).len(), 1);
    }
}
