//! What talking to S3 takes: where, how, and as whom. Pure.

use reqwest::Url;

use super::config::S3Config;
use super::credentials::{Credentials, Profiled, choose};
use super::variables::{ENDPOINT, REGION};
use super::{SettingsError, Variables};

/// Where AWS's tools ask when nobody says.
const DEFAULT_REGION: &str = "us-east-1";

/// How a bucket is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publish) enum Addressing {
    /// In the path where another endpoint is given, else in the host's name where that works.
    Auto,
    /// In the path.
    Path,
    /// In the host's name.
    Virtual,
}

/// What talking to S3 takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publish) struct S3Settings {
    pub(in crate::publish) region: String,
    /// Another store than AWS.
    pub(in crate::publish) endpoint: Option<Url>,
    pub(in crate::publish) addressing: Addressing,
    pub(in crate::publish) storage_class: Option<String>,
    pub(in crate::publish) encryption: Option<String>,
    pub(in crate::publish) kms_key_id: Option<String>,
    /// Whether uploads carry checksum headers, which older stores reject.
    pub(in crate::publish) checksums: bool,
    pub(in crate::publish) credentials: Credentials,
}

impl Default for S3Settings {
    fn default() -> Self {
        Self {
            region: DEFAULT_REGION.to_owned(),
            endpoint: None,
            addressing: Addressing::Auto,
            storage_class: None,
            encryption: None,
            kms_key_id: None,
            checksums: true,
            credentials: Credentials::Missing("they were not looked for".to_owned()),
        }
    }
}

impl S3Settings {
    pub(super) fn resolve(
        variables: &Variables<'_>,
        config: &S3Config,
        profile: &Profiled<'_>,
    ) -> Result<Self, SettingsError> {
        let S3Config {
            region,
            upstream_region: _, // what is upstream has been sorted out
            endpoint,
            upstream_endpoint: _,
            addressing,
            storage_class,
            encryption,
            kms_key_id,
            request_checksum,
            profile: _, // has been looked up
            upstream_profile: _,
        } = config;
        let first = |names: &'static [&'static str], config: &Option<String>, key: &str| {
            let variable = names
                .iter()
                .find_map(|name| Some(((*name).to_owned(), variables.get(name)?.to_owned())));
            let config = || Some(("pybuild.toml's [s3]".to_owned(), config.clone()?));
            let from = || format!("the profile `{}`", profile.name);
            let profiled = || Some((from(), profile.get(key)?.to_owned()));
            variable.or_else(config).or_else(profiled)
        };
        let value = |names, config, key| first(names, config, key).map(|(_, value)| value);
        let checksums = &["AWS_REQUEST_CHECKSUM_CALCULATION"];
        let styles = &["S3_ADDRESSING_STYLE"];
        let wrong = |name, why: &str| SettingsError::Value {
            name,
            why: why.to_owned(),
        };
        let endpoint = match first(ENDPOINT, endpoint, "endpoint_url") {
            None => None,
            Some((name, text)) => Some(parse_endpoint(&text).map_err(|why| wrong(name, &why))?),
        };
        let addressing = match first(styles, addressing, "s3.addressing_style") {
            None => Addressing::Auto,
            Some((name, text)) => match text.as_str() {
                "auto" => Addressing::Auto,
                "path" => Addressing::Path,
                "virtual" => Addressing::Virtual,
                _ => return Err(wrong(name, "it must be `auto`, `path` or `virtual`")),
            },
        };
        let checksums = match first(checksums, request_checksum, "request_checksum_calculation") {
            None => true,
            Some((name, text)) => match text.to_ascii_lowercase().as_str() {
                "when_supported" => true,
                "when_required" => false,
                _ => {
                    return Err(wrong(
                        name,
                        "it must be `when_supported` or `when_required`",
                    ));
                }
            },
        };
        let region = value(REGION, region, "region");
        let header = |names: &'static [&'static str], config, key| match first(names, config, key) {
            Some((name, text)) if !is_token(&text) => {
                Err(wrong(name, "it holds what cannot be in a header"))
            }
            found => Ok(found.map(|(_, text)| text)),
        };
        Ok(Self {
            region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            endpoint,
            addressing,
            storage_class: header(&["S3_STORAGE_CLASS"], storage_class, "")?,
            encryption: header(&["S3_ENCRYPTION"], encryption, "")?,
            kms_key_id: header(&["S3_KMS_KEY_ID"], kms_key_id, "")?,
            checksums,
            credentials: choose(variables, profile)?,
        })
    }
}

fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn parse_endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it must be an `http` or `https` URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("it holds a user, a password or a query".to_owned());
    }
    Ok(url)
}
