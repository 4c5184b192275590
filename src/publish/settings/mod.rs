//! Everything that opening targets takes: from flags, the environment, an env-file, `pybuild.toml`
//! and the files of AWS's own tools, in this order. [`Settings::resolve`] is pure.

mod config;
mod credentials;
pub mod env_file;
mod inputs;
mod profile;
mod s3;
mod variables;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::config::{Config, S3Config};
use self::credentials::Profiled;
use self::env_file::EnvFileError;
use self::profile::Profiles;
use self::variables::{ENDPOINT, IDENTITY, REGION, Variables};
use super::error::PublishError;
use super::s3::{Keeper, Kept};
use super::target::{Target, TargetError};
use crate::model::Secret;
use crate::net;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

pub(super) use credentials::{Authorization, Credentials, Keys};
pub use inputs::Inputs;
pub(super) use s3::{Addressing, S3Settings};

/// Where artifacts go when nobody says.
const DEFAULT_TARGET: &str = "dist";

/// Why the settings cannot be understood. No value is shown that could be a secret.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The env-file has a mistake.
    #[error("{}: {source}", path.display())]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// The mistake.
        source: EnvFileError,
    },
    /// `pybuild.toml` has a mistake.
    #[error("{}:{line}: {why}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The mistake.
        why: String,
    },
    /// A target cannot be one.
    #[error("{from}: {source}")]
    Target {
        /// Where it is given: `--target`, `S3_BUCKET`, `pybuild.toml`.
        from: String,
        /// What is wrong with it.
        source: TargetError,
    },
    /// A setting has a value that means nothing.
    #[error("{name}: {why}")]
    Value {
        /// The setting.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// One of two settings that belong together is missing.
    #[error("{there} is set but {missing} is not")]
    HalfOfAKey {
        /// What is set.
        there: String,
        /// What is not.
        missing: String,
    },
    /// The profile cannot be used.
    #[error("the profile `{name}`: {why}")]
    Profile {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Whose settings and credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whose {
    /// The target's.
    Target,
    /// Those of the upstream target alone.
    Upstream,
}

/// Everything that opening targets takes.
#[derive(Debug, Clone)]
pub struct Settings {
    target: Target,
    upstream: Option<Target>,
    s3: S3Settings,
    upstream_s3: S3Settings,
    patience: net::Settings,
    keeper: Option<Arc<dyn Keeper>>,
}

impl Default for Settings {
    /// What applies where nothing is said anywhere, not even in the environment.
    fn default() -> Self {
        Self {
            target: Target::Directory(PathBuf::from(DEFAULT_TARGET)),
            upstream: None,
            s3: S3Settings::default(),
            upstream_s3: S3Settings::default(),
            patience: net::Settings::default(),
            keeper: None,
        }
    }
}

impl Settings {
    /// Puts together what the inputs say.
    pub fn resolve(inputs: &Inputs) -> Result<Self, SettingsError> {
        let forwarded = |name: &str| inputs.env.get(name).cloned();
        let file = match &inputs.env_file {
            None => Vec::new(),
            Some((path, text)) => {
                env_file::parse(text, &forwarded).map_err(|source| SettingsError::EnvFile {
                    path: path.clone(),
                    source,
                })?
            }
        };
        let variables = Variables::new(&inputs.env, &file)?;
        let config = match &inputs.config {
            None => Config::default(),
            Some((path, text)) => Config::parse(path, text)?,
        };
        let files = Files {
            credentials: Profiles::parse(
                inputs.aws_credentials.as_deref().unwrap_or_default(),
                false,
            ),
            config: Profiles::parse(inputs.aws_config.as_deref().unwrap_or_default(), true),
        };
        let asked = variables.get("AWS_PROFILE");
        let profile = files.profile(asked.or(config.s3.profile.as_deref()))?;
        let s3 = S3Settings::resolve(&variables, &config.s3, &profile)?;
        let target = target(inputs, &variables, &config)?;
        let upstream = upstream(inputs, &variables, &config)?;
        let upstream_s3 = match &upstream {
            Some(Target::S3 { .. }) => upstream_s3(&variables, &config.s3, &files)?,
            _ => s3.clone(),
        };
        let patience = net::Settings::default();
        Ok(Self {
            target,
            upstream,
            s3,
            upstream_s3,
            patience,
            keeper: None,
        })
    }

    /// Where artifacts are published: `./dist` if nobody says.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Where dependencies are looked for that the target does not have.
    pub fn upstream(&self) -> Option<&Target> {
        self.upstream.as_ref()
    }

    /// The same with other tries and time-outs.
    #[must_use]
    pub fn with_patience(self, patience: net::Settings) -> Self {
        Self { patience, ..self }
    }

    /// Whether credentials begin with a program or a file that another user than whoever started
    /// pybuild may not be able to run or read.
    pub fn needs_keeper(&self) -> bool {
        [
            (Some(&self.target), Whose::Target),
            (self.upstream.as_ref(), Whose::Upstream),
        ]
        .into_iter()
        .any(|(target, whose)| {
            matches!(target, Some(Target::S3 { .. }))
                && super::s3::is_own(&self.s3(whose).credentials)
        })
    }

    /// What that program prints, or that file holds, now.
    pub fn tell(&self, whose: Whose, interrupt: &Interrupt) -> Result<Secret, PublishError> {
        super::s3::tell(&self.s3(whose).credentials, interrupt)
    }

    /// The same, but that program is run, or that file is read, by another process.
    #[must_use]
    pub fn with_keeper(self, keeper: Arc<dyn Keeper>) -> Self {
        let keeper = Some(keeper);
        Self { keeper, ..self }
    }

    pub(super) fn keeper(&self, whose: Whose) -> Option<Kept> {
        let keeper = self.keeper.clone()?;
        Some(Kept { keeper, whose })
    }

    /// How patient connections are.
    pub(super) fn patience(&self) -> &net::Settings {
        &self.patience
    }

    /// Whose settings this target is opened with.
    pub(super) fn whose(&self, target: &Target) -> Whose {
        if self.upstream.as_ref() == Some(target) && self.target != *target {
            Whose::Upstream
        } else {
            Whose::Target
        }
    }

    /// What opening a bucket takes: the upstream one may be in another region, in another store,
    /// or somebody else's.
    pub(super) fn s3(&self, whose: Whose) -> &S3Settings {
        match whose {
            Whose::Target => &self.s3,
            Whose::Upstream => &self.upstream_s3,
        }
    }

    /// Whether the target and the upstream target are in one store, as far as both are buckets.
    pub(super) fn one_store(&self) -> bool {
        self.s3.endpoint == self.upstream_s3.endpoint
    }
}

/// What the files of AWS's own tools say.
struct Files {
    credentials: Profiles,
    config: Profiles,
}

impl Files {
    /// The profile of this name, which must be there; `default` if nobody asks for one.
    fn profile<'a>(&'a self, asked: Option<&'a str>) -> Result<Profiled<'a>, SettingsError> {
        let Self {
            credentials,
            config,
        } = self;
        let name = asked.unwrap_or("default");
        let profile = Profiled {
            name,
            credentials: credentials.get(name),
            config: config.get(name),
        };
        if asked.is_some() && profile.credentials.is_none() && profile.config.is_none() {
            let known = credentials.names().chain(config.names());
            let near = crate::model::nearest(name, known);
            let near = near.map(|near| format!(", but there is `{near}`"));
            return Err(SettingsError::Profile {
                name: name.to_owned(),
                why: format!("there is no such profile{}", near.unwrap_or_default()),
            });
        }
        Ok(profile)
    }
}

/// The settings of the upstream bucket: what is said for it alone, else what holds for both. A
/// profile of its own says where it is unless something says so for it alone.
fn upstream_s3(
    variables: &Variables<'_>,
    config: &S3Config,
    files: &Files,
) -> Result<S3Settings, SettingsError> {
    let said = config.upstream_profile.as_deref();
    let apart = said.is_some() || variables.says_upstream(IDENTITY);
    let name = variables.upstream(if apart { IDENTITY } else { &[] });
    let name = name.get("AWS_PROFILE");
    let shared = config.profile.as_deref().filter(|_| !apart);
    let profile = files.profile(name.or(said).or(shared))?;
    let mut own: Vec<&str> = Vec::new();
    let mut config = config.clone();
    if apart {
        own.extend(IDENTITY);
    }
    let places = [
        (
            REGION,
            "region",
            &mut config.region,
            &config.upstream_region,
        ),
        (
            ENDPOINT,
            "endpoint_url",
            &mut config.endpoint,
            &config.upstream_endpoint,
        ),
    ];
    for (names, key, shared, alone) in places {
        let by_profile = apart && profile.get(key).is_some();
        if alone.is_some() || by_profile {
            own.extend(names);
            shared.clone_from(alone);
        }
    }
    S3Settings::resolve(&variables.upstream(&own), &config, &profile)
}

fn target(
    inputs: &Inputs,
    variables: &Variables<'_>,
    config: &Config,
) -> Result<Target, SettingsError> {
    if let Some(text) = &inputs.target {
        return parse("--target", text);
    }
    let given = bucket(variables, "S3_BUCKET", "S3_PREFIX")?;
    if let Some(target) = given {
        return Ok(target);
    }
    if let Some(target) = configured(inputs, config.target.as_deref())? {
        return Ok(target);
    }
    Ok(Settings::default().target)
}

fn upstream(
    inputs: &Inputs,
    variables: &Variables<'_>,
    config: &Config,
) -> Result<Option<Target>, SettingsError> {
    if let Some(text) = &inputs.upstream {
        return parse("--upstream", text).map(Some);
    }
    let given = bucket(variables, "UPSTREAM_S3_BUCKET", "UPSTREAM_S3_PREFIX")?;
    match given {
        Some(target) => Ok(Some(target)),
        None => configured(inputs, config.upstream.as_deref()),
    }
}

fn parse(from: &str, text: &str) -> Result<Target, SettingsError> {
    text.parse().map_err(|source| SettingsError::Target {
        from: from.to_owned(),
        source,
    })
}

fn bucket(
    variables: &Variables<'_>,
    bucket: &str,
    prefix: &str,
) -> Result<Option<Target>, SettingsError> {
    let Some(name) = variables.get(bucket) else {
        return Ok(None);
    };
    let made = Target::s3(name, variables.get(prefix).unwrap_or_default());
    let wrong = |source| {
        let prefixed = matches!(source, TargetError::Prefix { .. });
        SettingsError::Target {
            from: if prefixed { prefix } else { bucket }.to_owned(),
            source,
        }
    };
    made.map(Some).map_err(wrong)
}

fn configured(inputs: &Inputs, text: Option<&str>) -> Result<Option<Target>, SettingsError> {
    let (Some(text), Some((path, _))) = (text, &inputs.config) else {
        return Ok(None);
    };
    let target = parse(&path.display().to_string(), text)?;
    Ok(Some(Config::place(path, target)))
}

#[cfg(test)]
mod tests;
