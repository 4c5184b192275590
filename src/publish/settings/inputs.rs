//! Gathers what settings are resolved from: the only part of it that reads files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{SettingsError, config, env_file};
use crate::sys::fs::FsError;

/// Everything that settings are resolved from. Its `Debug` shows names alone.
#[derive(Clone, Default)]
pub struct Inputs {
    /// `--target`.
    pub target: Option<String>,
    /// `--upstream`.
    pub upstream: Option<String>,
    /// The environment.
    pub env: BTreeMap<String, OsString>,
    /// `--env-file`: where it is and what it says.
    pub env_file: Option<(PathBuf, String)>,
    /// `pybuild.toml`: where it is and what it says.
    pub config: Option<(PathBuf, String)>,
    /// What `~/.aws/config` says.
    pub aws_config: Option<String>,
    /// What `~/.aws/credentials` says.
    pub aws_credentials: Option<String>,
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |file: &Option<(PathBuf, String)>| file.as_ref().map(|(path, _)| path.clone());
        f.debug_struct("Inputs")
            .field("env", &self.env.keys())
            .field("env_file", &place(&self.env_file))
            .field("config", &place(&self.config))
            .finish_non_exhaustive()
    }
}

impl Inputs {
    /// Reads what there is: `env_file` must be there if it is given, `pybuild.toml` is looked for
    /// in `cwd` and above, AWS's files where `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE`
    /// say, else below `$HOME/.aws`.
    pub fn gather(
        target: Option<String>,
        upstream: Option<String>,
        env_file: Option<&Path>,
        env: BTreeMap<String, OsString>,
        cwd: &Path,
    ) -> Result<Self, SettingsError> {
        let env_file = match env_file {
            None => None,
            Some(path) => {
                let text = read(path)?.ok_or_else(|| missing(path))?;
                Some((path.to_owned(), text))
            }
        };
        let mut config = None;
        for dir in cwd.ancestors() {
            let path = dir.join(config::FILE);
            if let Some(text) = read(&path)? {
                config = Some((path, text));
                break;
            }
        }
        let file =
            match &env_file {
                None => Vec::new(),
                Some((path, text)) => env_file::parse(text, &|name| env.get(name).cloned())
                    .map_err(|source| SettingsError::EnvFile {
                        path: path.clone(),
                        source,
                    })?,
            };
        let set = |name: &str| -> Option<PathBuf> {
            let process = env.get(name).filter(|value| !value.is_empty());
            let said = file
                .iter()
                .find(|(key, value)| key == name && !value.is_empty())
                .map(|(_, value)| PathBuf::from(value.reveal()));
            process.map(PathBuf::from).or(said)
        };
        let aws = |name: &str, default: &str| -> Result<Option<String>, SettingsError> {
            let home = || Some(set("HOME")?.join(".aws").join(default));
            set(name).or_else(home).map_or(Ok(None), |path| read(&path))
        };
        let aws_config = aws("AWS_CONFIG_FILE", "config")?;
        let aws_credentials = aws("AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
        Ok(Self {
            target,
            upstream,
            env,
            env_file,
            config,
            aws_config,
            aws_credentials,
        })
    }
}

impl Inputs {
    /// What a variable says, if it is set and not to nothing: the environment wins over the
    /// env-file. Not for secrets.
    pub fn variable(&self, name: &str) -> Result<Option<String>, SettingsError> {
        if let Some(value) = self.env.get(name).filter(|value| !value.is_empty()) {
            return match value.to_str() {
                Some(value) => Ok(Some(value.to_owned())),
                None => Err(SettingsError::Value {
                    name: name.to_owned(),
                    why: "it is not UTF-8".to_owned(),
                }),
            };
        }
        let Some((path, text)) = &self.env_file else {
            return Ok(None);
        };
        let process = |name: &str| self.env.get(name).cloned();
        let file = env_file::parse(text, &process).map_err(|source| SettingsError::EnvFile {
            path: path.clone(),
            source,
        })?;
        let said = file.iter().rev().find(|(key, _)| key == name);
        let said = said.map(|(_, value)| value.reveal().to_owned());
        Ok(said.filter(|value| !value.is_empty()))
    }
}

fn missing(path: &Path) -> SettingsError {
    FsError::new("open", path)(io::Error::from(io::ErrorKind::NotFound)).into()
}

/// What a file says, if it is there.
fn read(path: &Path) -> Result<Option<String>, SettingsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(FsError::new("read", path)(error).into()),
    }
}
