//! Gathers what [`Access`] is resolved from: the only part of it that reads files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::credentials::{Credential, Handed, Lookup};
use super::super::reference::Reference;
use super::{Access, AccessError, MIRRORS, PLAIN};
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

/// Bytes of a file with credentials at most.
const FILE_LIMIT: u64 = 1 << 20;

/// Everything that [`Access`] is resolved from. Its `Debug` shows places alone.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Inputs {
    /// Files with credentials, the first that has some for a registry is believed: where they are
    /// and what they say.
    pub files: Vec<(PathBuf, String)>,
    /// `PYBUILD_REGISTRY_MIRRORS`: `docker.io=mirror.example.org/hub,other.example.org`, several
    /// registries separated by spaces.
    pub mirrors: Option<String>,
    /// `PYBUILD_PLAIN_REGISTRIES`: hosts, with ports, separated by commas or spaces.
    pub plain: Option<String>,
    /// The environment that credential helpers get.
    pub env: BTreeMap<String, OsString>,
    /// What helpers have said already ([`Inputs::settled`]); `None` is that they have nothing.
    pub told: BTreeMap<String, Option<Told>>,
}

/// A credential that can be handed over, but not shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Handed", into = "Handed")]
pub struct Told(pub(super) Credential);

impl From<Handed> for Told {
    fn from(handed: Handed) -> Self {
        Self(handed.into())
    }
}

impl From<Told> for Handed {
    fn from(told: Told) -> Self {
        (&told.0).into()
    }
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<&PathBuf> = self.files.iter().map(|(path, _)| path).collect();
        f.debug_struct("Inputs")
            .field("files", &paths)
            .field("mirrors", &self.mirrors)
            .field("plain", &self.plain)
            .finish_non_exhaustive()
    }
}

impl Inputs {
    /// Reads what there is: `$REGISTRY_AUTH_FILE`, then Docker's `config.json` in
    /// `$DOCKER_CONFIG`, else in `$HOME/.docker`, then podman's
    /// `$XDG_RUNTIME_DIR/containers/auth.json`. What is not there, or below a home that is not
    /// ours, is passed over; what somebody has named must be readable.
    pub fn gather(env: BTreeMap<String, OsString>) -> Result<Self, AccessError> {
        let set = |name: &str| env.get(name).filter(|value| !value.is_empty());
        let path = |name: &str, below: &str| set(name).map(|dir| Path::new(dir).join(below));
        let named = |name: &str| set(name).map(|file| (PathBuf::from(file), true));
        let docker = path("DOCKER_CONFIG", "config.json").map(|path| (path, true));
        let docker =
            docker.or_else(|| path("HOME", ".docker/config.json").map(|path| (path, false)));
        let podman = path("XDG_RUNTIME_DIR", "containers/auth.json").map(|path| (path, false));
        let mut files = Vec::new();
        let places = [named("REGISTRY_AUTH_FILE"), docker, podman];
        for (path, named) in places.into_iter().flatten() {
            if let Some(text) = read(&path, named)? {
                files.push((path, text));
            }
        }
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        Ok(Self {
            files,
            mirrors: text(MIRRORS),
            plain: text(PLAIN),
            env,
            told: BTreeMap::new(),
        })
    }

    /// The same with the helpers' answers for these images in it, and without their environment:
    /// what a process that is somebody else may be given.
    pub fn settled(
        mut self,
        references: &[Reference],
        interrupt: &Interrupt,
    ) -> Result<Self, AccessError> {
        let access = Access::resolve(&self)?;
        for reference in references {
            for endpoint in access.endpoints(reference) {
                for lookup in access.lookups(&endpoint.registry, &endpoint.repository) {
                    let (_, Lookup::Helper { name, key }) = lookup else {
                        continue;
                    };
                    let asked = format!("{name} {key}");
                    if self.told.contains_key(&asked) {
                        continue;
                    }
                    let told = access.help(&endpoint.registry, &name, &key, interrupt)?;
                    self.told.insert(asked, told.map(Told));
                }
            }
        }
        self.env.clear();
        Ok(self)
    }
}

/// What a file says, if it is there.
fn read(path: &Path, named: bool) -> Result<Option<String>, AccessError> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let error = |error| AccessError::Fs(FsError::new("read", path)(error));
    match fs::metadata(path) {
        Ok(found) if found.len() > FILE_LIMIT || !found.is_file() => {
            return Err(error(io::Error::from(io::ErrorKind::InvalidInput)));
        }
        _ => {}
    }
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(found) => match found.kind() {
            NotFound | NotADirectory => Ok(None),
            PermissionDenied if !named => Ok(None),
            _ => Err(error(found)),
        },
    }
}
