//! Which credentials are to be used: the first that AWS's own tools would find. Pure.

use std::path::PathBuf;

use super::profile::Profile;
use super::{SettingsError, Variables};
use crate::publish::Secret;

/// Where a container's credentials are when only a path is given.
const CONTAINER_HOST: &str = "http://169.254.170.2";
const METADATA: &str = "http://169.254.169.254";

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publish) enum Credentials {
    /// They are known.
    Static(Keys),
    /// A program prints them.
    Process {
        /// The command with its arguments, quoted as for a shell.
        command: Secret,
    },
    /// A token in a file is exchanged for them.
    WebIdentity {
        token_file: PathBuf,
        role_arn: String,
        session_name: Option<String>,
        /// Where to exchange it, if not at AWS itself.
        endpoint: Option<String>,
    },
    /// The container's agent hands them out.
    Container {
        url: String,
        /// The token, or the file that holds it.
        authorization: Option<Authorization>,
    },
    /// The instance's metadata service hands them out.
    Instance { endpoint: String },
    /// Requests are not signed.
    Anonymous,
    /// There are none, for this reason.
    Missing(String),
}

/// What a container's agent wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publish) enum Authorization {
    Token(Secret),
    File(PathBuf),
}

/// A key and its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publish) struct Keys {
    pub(in crate::publish) id: Secret,
    pub(in crate::publish) secret: Secret,
    pub(in crate::publish) token: Option<Secret>,
}

/// What the files say of the profile that is used.
pub(super) struct Profiled<'a> {
    pub(super) name: &'a str,
    /// In `~/.aws/credentials`.
    pub(super) credentials: Option<&'a Profile>,
    /// In `~/.aws/config`.
    pub(super) config: Option<&'a Profile>,
}

impl Profiled<'_> {
    /// What either file says.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let get = |profile: Option<&'_ Profile>| profile?.get(key).map(str::len);
        if get(self.credentials).is_some() {
            self.credentials?.get(key)
        } else {
            self.config?.get(key)
        }
    }
}

/// Chooses: keys of the environment, a web identity, keys or a process of the profile, the
/// container's, the instance's.
pub(super) fn choose(
    variables: &Variables<'_>,
    profile: &Profiled<'_>,
) -> Result<Credentials, SettingsError> {
    if variables.is_true("AWS_SKIP_SIGNATURE")? {
        return Ok(Credentials::Anonymous);
    }
    if let Some(keys) = environment(variables)? {
        return Ok(Credentials::Static(keys));
    }
    if let Some(found) = web_identity(variables, profile)? {
        return Ok(found);
    }
    if let Some(found) = profiled(profile)? {
        return Ok(found);
    }
    if let Some(found) = container(variables)? {
        return Ok(found);
    }
    if variables.is_true("AWS_EC2_METADATA_DISABLED")? {
        return Ok(Credentials::Missing(
            "neither in the environment, nor in a profile, nor of a container; the instance's are switched off".to_owned(),
        ));
    }
    let endpoint = variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    Ok(Credentials::Instance {
        endpoint: endpoint.unwrap_or(METADATA).to_owned(),
    })
}

/// A key, its secret and its token belong together, so all are from where the key is.
fn environment(variables: &Variables<'_>) -> Result<Option<Keys>, SettingsError> {
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ];
    let [id, secret, token] = variables.together(names);
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Some(Keys { id, secret, token })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(SettingsError::HalfOfAKey {
            there: names[0].to_owned(),
            missing: names[1].to_owned(),
        }),
        (None, Some(_)) => Err(SettingsError::HalfOfAKey {
            there: names[1].to_owned(),
            missing: names[0].to_owned(),
        }),
    }
}

fn web_identity(
    variables: &Variables<'_>,
    profile: &Profiled<'_>,
) -> Result<Option<Credentials>, SettingsError> {
    let from = |name: &str, key: &str| variables.get(name).or_else(|| profile.get(key));
    let Some(token_file) = from("AWS_WEB_IDENTITY_TOKEN_FILE", "web_identity_token_file") else {
        return Ok(None);
    };
    let role_arn = from("AWS_ROLE_ARN", "role_arn").ok_or_else(|| SettingsError::HalfOfAKey {
        there: "AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(),
        missing: "AWS_ROLE_ARN".to_owned(),
    })?;
    Ok(Some(Credentials::WebIdentity {
        token_file: PathBuf::from(token_file),
        role_arn: role_arn.to_owned(),
        session_name: from("AWS_ROLE_SESSION_NAME", "role_session_name").map(str::to_owned),
        endpoint: variables.get("AWS_ENDPOINT_URL_STS").map(str::to_owned),
    }))
}

/// The keys in the credentials file, the process, the keys in the config file.
fn profiled(profile: &Profiled<'_>) -> Result<Option<Credentials>, SettingsError> {
    let wrong = |why: &str| SettingsError::Profile {
        name: profile.name.to_owned(),
        why: why.to_owned(),
    };
    let keys = |of: Option<&Profile>| -> Result<Option<Credentials>, SettingsError> {
        let Some(of) = of else { return Ok(None) };
        let secret = |key| of.get(key).map(Secret::new);
        match (secret("aws_access_key_id"), secret("aws_secret_access_key")) {
            (None, None) => Ok(None),
            (Some(id), Some(secret)) => {
                let token = of.get("aws_session_token").map(Secret::new);
                Ok(Some(Credentials::Static(Keys { id, secret, token })))
            }
            _ => Err(wrong("it has only half of a key")),
        }
    };
    if let Some(found) = keys(profile.credentials)? {
        return Ok(Some(found));
    }
    if let Some(command) = profile.get("credential_process") {
        let command = Secret::new(command);
        return Ok(Some(Credentials::Process { command }));
    }
    if let Some(found) = keys(profile.config)? {
        return Ok(Some(found));
    }
    let known = ["sso_session", "sso_start_url", "role_arn", "login_session"];
    if known.iter().any(|key| profile.get(key).is_some()) {
        return Err(wrong(
            "its credentials come by a role or a login, which is not done here: a profile with `credential_process = aws configure export-credentials --profile NAME` gives the same",
        ));
    }
    Ok(None)
}

fn container(variables: &Variables<'_>) -> Result<Option<Credentials>, SettingsError> {
    let relative = variables.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let url = match (
        relative,
        variables.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ) {
        (Some(path), _) => format!("{CONTAINER_HOST}{path}"),
        (None, Some(url)) => url.to_owned(),
        (None, None) => return Ok(None),
    };
    let file = variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let token = variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    let authorization = match (file, token) {
        (Some(file), _) => Some(Authorization::File(PathBuf::from(file))),
        (None, Some(token)) => Some(Authorization::Token(Secret::new(token))),
        (None, None) => None,
    };
    if !container_url_is_fine(&url) {
        return Err(SettingsError::Value {
            name: "AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(),
            why: "it must be https, or http to this host or the container's agent".to_owned(),
        });
    }
    Ok(Some(Credentials::Container { url, authorization }))
}

/// What AWS's tools allow: over plain HTTP only what never leaves the host.
fn container_url_is_fine(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else {
        return false;
    };
    let agents = [
        "169.254.170.2",
        "169.254.170.23",
        "[fd00:ec2::23]",
        "localhost",
        "[::1]",
    ];
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "https" => true,
        "http" => agents.contains(&host) || host.starts_with("127."),
        _ => false,
    }
}
