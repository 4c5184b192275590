//! `pybuild.toml`: what a project says once for all of its people. It holds no secrets.

use std::path::Path;

use serde::Deserialize;

use super::SettingsError;
use crate::publish::Target;

/// The name of the file, looked for in the working directory and those above it.
pub(super) const FILE: &str = "pybuild.toml";

/// What it says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Config {
    /// Where artifacts are published.
    pub(super) target: Option<String>,
    /// Where dependencies are looked for that the target does not have.
    pub(super) upstream: Option<String>,
    #[serde(default)]
    pub(super) s3: S3Config,
}

/// The table `[s3]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct S3Config {
    pub(super) region: Option<String>,
    pub(super) upstream_region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) upstream_endpoint: Option<String>,
    /// `auto`, `path` or `virtual`.
    pub(super) addressing: Option<String>,
    pub(super) storage_class: Option<String>,
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub(super) encryption: Option<String>,
    pub(super) kms_key_id: Option<String>,
    /// `when_supported` or `when_required`.
    pub(super) request_checksum: Option<String>,
    /// A profile of AWS's own tools.
    pub(super) profile: Option<String>,
    /// The one for the upstream target.
    pub(super) upstream_profile: Option<String>,
}

impl Config {
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            SettingsError::Config {
                path: path.to_owned(),
                line: text[..at.min(text.len())].matches('\n').count() + 1,
                // The library's `Display` quotes the line.
                why: error.message().to_owned(),
            }
        })
    }

    /// A directory it names is meant from where the file is.
    pub(super) fn place(path: &Path, target: Target) -> Target {
        match target {
            Target::Directory(directory) => {
                let from = path.parent().map(Path::to_owned);
                Target::Directory(from.unwrap_or_default().join(directory))
            }
            other => other,
        }
    }
}
