//! How registries are spoken to: credentials, mirrors, which of them over plain HTTP.
//!
//! [`Inputs`] is a plain value that is gathered at the edge, by whoever started pybuild; it can be
//! handed over to the process that does the work. [`Access::resolve`] is pure.

mod inputs;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::credentials::{AuthFile, Credential, Lookup};
use super::document::DocumentError;
use super::helper::{self, HelperError};
use super::reference::{Reference, is_registry};
use crate::sys::fs::FsError;
use crate::sys::interrupt::{Interrupt, Interrupted};

pub use inputs::{Inputs, Told};

/// Says which mirrors are asked before a registry.
const MIRRORS: &str = "PYBUILD_REGISTRY_MIRRORS";
/// Says which registries are spoken to over plain HTTP.
const PLAIN: &str = "PYBUILD_PLAIN_REGISTRIES";

/// Why the settings for registries cannot be understood. Nothing of a file is shown.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A file is not what it should be.
    #[error("{} {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// A setting has a value that means nothing.
    #[error("{name}: {why}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// There are credentials, but they cannot be read.
    #[error("the credentials for {registry} in {}: {why}", path.display())]
    Credential {
        /// For which registry.
        registry: String,
        /// Where they are.
        path: PathBuf,
        /// What is wrong with them.
        why: &'static str,
    },
    /// A program that should have credentials gave none.
    #[error("the credentials for {registry} cannot be had: {source}")]
    Helper {
        /// For which registry.
        registry: String,
        /// Why.
        source: HelperError,
    },
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Where an image may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// What credentials are filed under.
    pub(super) registry: String,
    /// `https://registry.example.org`.
    pub(super) origin: String,
    pub(super) repository: String,
}

/// How registries are spoken to.
#[derive(Clone, Default)]
pub struct Access {
    files: Vec<(PathBuf, AuthFile)>,
    mirrors: BTreeMap<String, Vec<Mirror>>,
    plain: Vec<String>,
    env: BTreeMap<String, OsString>,
    told: BTreeMap<String, Option<Told>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("mirrors", &self.mirrors)
            .field("plain", &self.plain)
            .finish_non_exhaustive()
    }
}

/// A registry that has another's images, below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    registry: String,
    prefix: Option<String>,
}

impl Access {
    /// Puts together what the inputs say.
    pub fn resolve(inputs: &Inputs) -> Result<Self, AccessError> {
        let mut files = Vec::new();
        for (path, text) in &inputs.files {
            let file = AuthFile::parse(text).map_err(|source| AccessError::File {
                path: path.clone(),
                source,
            })?;
            files.push((path.clone(), file));
        }
        let mirrors = inputs.mirrors.as_deref().unwrap_or_default();
        let mirrors =
            parse_mirrors(mirrors).map_err(|why| AccessError::Value { name: MIRRORS, why })?;
        let plain = inputs.plain.as_deref().unwrap_or_default();
        let plain = plain
            .split([',', ' ', '\t', '\n'])
            .map(str::to_ascii_lowercase);
        let plain: Vec<String> = plain.filter(|host| !host.is_empty()).collect();
        if let Some(wrong) = plain.iter().find(|host| !is_registry(host)) {
            let why = format!("`{}` is no host name", wrong.escape_debug());
            return Err(AccessError::Value { name: PLAIN, why });
        }
        Ok(Self {
            files,
            mirrors,
            plain,
            env: inputs.env.clone(),
            told: inputs.told.clone(),
        })
    }

    /// Where an image is asked for, in this order: its registry's mirrors, then the registry.
    pub(super) fn endpoints(&self, reference: &Reference) -> Vec<Endpoint> {
        let registry = reference.registry();
        let mirrors = self.mirrors.get(registry).map_or(&[][..], Vec::as_slice);
        let own = Mirror {
            registry: registry.to_owned(),
            prefix: None,
        };
        let endpoint = |mirror: &Mirror| Endpoint {
            registry: mirror.registry.clone(),
            origin: self.origin(&mirror.registry),
            repository: match &mirror.prefix {
                Some(prefix) => format!("{prefix}/{}", reference.repository()),
                None => reference.repository().to_owned(),
            },
        };
        mirrors.iter().chain([&own]).map(endpoint).collect()
    }

    fn origin(&self, registry: &str) -> String {
        let scheme = if self.is_plain(registry) {
            "http"
        } else {
            "https"
        };
        let host = match registry {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        format!("{scheme}://{host}")
    }

    /// Whether this host is spoken to over plain HTTP: nobody listens in on loopback.
    pub(super) fn is_plain(&self, host: &str) -> bool {
        is_loopback(host) || self.plain.iter().any(|plain| plain == host)
    }

    fn lookups(&self, registry: &str, repository: &str) -> Vec<(&PathBuf, Lookup)> {
        let files = self.files.iter();
        files
            .flat_map(|(path, file)| {
                let found = file.lookup(registry, repository).into_iter();
                found.map(move |lookup| (path, lookup))
            })
            .collect()
    }

    /// Who we are to a registry, and which file says so.
    pub(super) fn credential(
        &self,
        registry: &str,
        repository: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<(Credential, PathBuf)>, AccessError> {
        for (path, lookup) in self.lookups(registry, repository) {
            let found = match lookup {
                Lookup::Here(credential) => Some(credential),
                Lookup::Broken(why) => {
                    return Err(AccessError::Credential {
                        registry: registry.to_owned(),
                        path: path.clone(),
                        why,
                    });
                }
                Lookup::Helper { name, key } => self.help(registry, &name, &key, interrupt)?,
            };
            if let Some(credential) = found {
                return Ok(Some((credential, path.clone())));
            }
        }
        Ok(None)
    }

    fn help(
        &self,
        registry: &str,
        name: &str,
        key: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<Credential>, AccessError> {
        if let Some(told) = self.told.get(&format!("{name} {key}")) {
            return Ok(told.clone().map(|told| told.0));
        }
        helper::ask(name, key, &self.env, helper::PATIENCE, interrupt).map_err(
            |error| match error {
                HelperError::Interrupted(interrupted) => interrupted.into(),
                source @ HelperError::Failed { .. } => AccessError::Helper {
                    registry: registry.to_owned(),
                    source,
                },
            },
        )
    }
}

/// Whether a host, with or without a port, is this one.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if !port.ends_with(']') => bare,
        _ => host,
    };
    let address = bare.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// `docker.io=mirror.example.org/hub,other.example.org ghcr.io=…`
fn parse_mirrors(text: &str) -> Result<BTreeMap<String, Vec<Mirror>>, String> {
    let mut mirrors: BTreeMap<String, Vec<Mirror>> = BTreeMap::new();
    for part in text.split_ascii_whitespace() {
        let shown = part.escape_debug();
        let (registry, list) = part
            .split_once('=')
            .ok_or_else(|| format!("`{shown}` is not `registry=mirror,mirror`"))?;
        if !is_registry(registry) {
            return Err(format!("`{}` is no registry", registry.escape_debug()));
        }
        let all = list.split(',').filter(|mirror| !mirror.is_empty());
        for mirror in all {
            let wrong = || {
                format!(
                    "`{}` is no mirror: `host`, `host:port` or one of them with a path",
                    mirror.escape_debug()
                )
            };
            // With an image behind it, it must be the name of one.
            let sample = format!("{mirror}/image");
            let sample: Reference = sample.parse().map_err(|_| wrong())?;
            let (host, prefix) = match mirror.split_once('/') {
                None => (mirror, None),
                Some((host, prefix)) => (host, Some(prefix.to_owned())),
            };
            let host = host.to_ascii_lowercase();
            // `mirror/image` alone would be an image of Docker Hub's.
            if sample.registry() != host {
                return Err(wrong());
            }
            let list = mirrors.entry(registry.to_ascii_lowercase()).or_default();
            list.push(Mirror {
                registry: host,
                prefix,
            });
        }
    }
    Ok(mirrors)
}

#[cfg(test)]
mod tests;
