//! How registries are spoken to: credentials, mirrors, which of them over plain HTTP.
//!
//! [`Inputs`] is a plain value that is gathered at the edge, by whoever started pybuild; it can be
//! handed over to the process that does the work. [`Access::resolve`] is pure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::credentials::{AuthFile, Credential, Handed, Lookup};
use super::document::DocumentError;
use super::helper::{self, HelperError};
use super::reference::{Reference, is_registry};
use crate::sys::fs::FsError;
use crate::sys::interrupt::{Interrupt, Interrupted};

/// Bytes of a file with credentials at most.
const FILE_LIMIT: u64 = 1 << 20;
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
pub struct Told(Credential);

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
mod tests {
    use super::*;

    fn inputs(mirrors: &str, plain: &str) -> Inputs {
        Inputs {
            mirrors: Some(mirrors.to_owned()),
            plain: Some(plain.to_owned()),
            ..Inputs::default()
        }
    }

    fn endpoints(mirrors: &str, plain: &str, image: &str) -> Vec<String> {
        let access = Access::resolve(&inputs(mirrors, plain)).expect("sound");
        let endpoints = access.endpoints(&image.parse().expect("an image"));
        let show = |at: Endpoint| format!("{} {}", at.origin, at.repository);
        endpoints.into_iter().map(show).collect()
    }

    #[test]
    fn images_are_asked_for_at_mirrors_first() {
        let mirrors = "docker.io=m.example.org/hub/x,localhost:5000 ghcr.io=g.example.org";
        let hub = "https://registry-1.docker.io library/debian";
        assert_eq!(endpoints("", "", "debian"), [hub]);
        assert_eq!(
            endpoints(mirrors, "", "debian"),
            [
                "https://m.example.org hub/x/library/debian",
                "http://localhost:5000 library/debian",
                hub
            ]
        );
        assert_eq!(
            endpoints(mirrors, "g.example.org", "ghcr.io/o/i"),
            ["http://g.example.org o/i", "https://ghcr.io o/i"]
        );
    }

    #[test]
    fn only_loopback_is_plain_by_itself() {
        let access =
            Access::resolve(&inputs("", "Plain.example.org:80, other.example.org")).expect("sound");
        for plain in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.1.2.3:1",
            "[::1]:5000",
            "[::1]",
            "plain.example.org:80",
            "other.example.org",
        ] {
            assert!(access.is_plain(plain), "{plain}");
        }
        for secure in [
            "docker.io",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "10.0.0.1:5000",
            "plain.example.org",
            "other.example.org:80",
            "[2001:db8::1]",
        ] {
            assert!(!access.is_plain(secure), "{secure}");
        }
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for mirrors in [
            "docker.io",
            "docker.io=mirror",
            "docker.io=https://m.example.org",
            "docker.io=m.example.org/",
            "docker.io=m.example.org/Hub",
            "do cker.io=m.example.org",
            "=m.example.org",
            "docker.io=m.example.org/../x",
        ] {
            assert!(Access::resolve(&inputs(mirrors, "")).is_err(), "{mirrors}");
        }
        for plain in ["http://example.org", "example.org/x", "*"] {
            assert!(Access::resolve(&inputs("", plain)).is_err(), "{plain}");
        }
        assert!(Access::resolve(&inputs("docker.io=", " , ")).is_ok());
    }

    #[test]
    fn credentials_are_gathered_from_where_they_are() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let write = |path: &str, registry: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("below")).expect("mkdir");
            let text = format!(r#"{{"auths": {{"{registry}": {{"auth": "dTpw"}}}}}}"#);
            fs::write(path, text).expect("write");
        };
        write("home/.docker/config.json", "home.example");
        write("docker/config.json", "docker.example");
        write("run/containers/auth.json", "podman.example");
        write("named.json", "named.example");
        fs::write(dir.path().join("empty.json"), "\n").expect("write");
        let known = |pairs: &[(&str, &str)]| {
            let pair = |(name, path): &(&str, &str)| {
                ((*name).to_owned(), dir.path().join(path).into_os_string())
            };
            let inputs = Inputs::gather(pairs.iter().map(pair).collect()).expect("readable");
            let access = Access::resolve(&inputs).expect("sound");
            let interrupt = Interrupt::manual().expect("an eventfd");
            let has = |registry: &&&str| {
                let registry = format!("{registry}.example");
                let found = access.credential(&registry, "a", &interrupt);
                found.expect("no helper").is_some()
            };
            let names = ["home", "docker", "podman", "named"];
            names.iter().filter(has).copied().collect::<Vec<_>>()
        };
        assert_eq!(known(&[]), Vec::<&str>::new());
        assert_eq!(known(&[("HOME", "home")]), ["home"]);
        let both = [("HOME", "home"), ("DOCKER_CONFIG", "docker")];
        assert_eq!(known(&both), ["docker"]);
        let all = [
            both[0],
            ("XDG_RUNTIME_DIR", "run"),
            ("REGISTRY_AUTH_FILE", "named.json"),
        ];
        assert_eq!(known(&all), ["home", "podman", "named"]);
        let absent = [("HOME", "nowhere"), ("REGISTRY_AUTH_FILE", "empty.json")];
        assert_eq!(known(&absent), Vec::<&str>::new());
    }

    #[test]
    fn inputs_travel_and_show_nothing() {
        let text = r#"{"auths": {"a.example": {"auth": "dTpjYW5hcnk="}}}"#;
        let mut inputs = Inputs {
            files: vec![("config.json".into(), text.to_owned())],
            ..Inputs::default()
        };
        let password = Credential::Password {
            user: "u".to_owned(),
            password: crate::model::Secret::new("canary"),
        };
        inputs
            .told
            .insert("h k".to_owned(), Some(Told(password.clone())));
        let json = serde_json::to_string(&inputs).expect("it is plain");
        let back: Inputs = serde_json::from_str(&json).expect("the same");
        assert_eq!(back.files, inputs.files);
        let told = back.told["h k"].clone().map(|told| told.0);
        assert_eq!(told, Some(password));
        let access = Access::resolve(&back).expect("sound");
        for shown in [format!("{back:?}"), format!("{access:?}")] {
            assert!(
                !shown.contains("canary") && !shown.contains("dTpj"),
                "{shown}"
            );
        }
    }
}
