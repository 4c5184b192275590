//! Who we are to a registry: what `docker login` and `podman login` have left. Pure; the programs
//! that it may name are run elsewhere.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

use super::document::{DocumentError, json};
use crate::model::Secret;

/// What Docker calls Docker Hub in its settings.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The name of a user whose password is an identity token.
const TOKEN_USER: &str = "<token>";

/// What tells a registry who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Name and password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// What the token server gives tokens for: a refresh token (OAuth 2).
    Identity(Secret),
}

/// Where a registry's credential is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Here.
    Here(Credential),
    /// There is something, but it cannot be read.
    Broken(&'static str),
    /// `docker-credential-NAME` has it, under this key.
    Helper { name: String, key: String },
}

/// `config.json` of Docker, or `auth.json` of podman.
#[derive(Debug, Clone, Default)]
pub(super) struct AuthFile {
    entries: BTreeMap<String, Result<Credential, &'static str>>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    auths: Option<BTreeMap<String, RawEntry>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct RawEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<String>,
}

impl AuthFile {
    pub(super) fn parse(text: &str) -> Result<Self, DocumentError> {
        let raw: Raw = json(text.as_bytes(), "Docker's settings")?;
        let mut entries = BTreeMap::new();
        for (key, entry) in raw.auths.unwrap_or_default() {
            if let Some(credential) = credential(entry).transpose() {
                entries.insert(key, credential);
            }
        }
        let some = |name: &String| !name.is_empty();
        Ok(Self {
            entries,
            helpers: raw.cred_helpers.unwrap_or_default(),
            store: raw.creds_store.filter(some),
        })
    }

    /// Where the credential for a repository is looked for, in this order.
    pub(super) fn lookup(&self, registry: &str, repository: &str) -> Vec<Lookup> {
        let mut found = Vec::new();
        let named = |(key, _): &(&String, &String)| is_registry(key, registry);
        let helper = self.helpers.iter().find(named).map(|(_, name)| name);
        if let Some(name) = helper
            .filter(|name| !name.is_empty())
            .or(self.store.as_ref())
        {
            found.push(Lookup::Helper {
                name: name.clone(),
                key: helper_key(registry),
            });
        }
        found.extend(self.entry(registry, repository).map(|entry| match entry {
            Ok(credential) => Lookup::Here(credential.clone()),
            Err(why) => Lookup::Broken(why),
        }));
        found
    }

    /// The entry of the repository, or of what it is below (podman's files have such), else of the
    /// registry.
    fn entry(&self, registry: &str, repository: &str) -> Option<&Result<Credential, &'static str>> {
        let mut path = format!("{registry}/{repository}");
        while path.len() > registry.len() {
            if let Some(entry) = self.entries.get(&path) {
                return Some(entry);
            }
            path.truncate(path.rfind('/').unwrap_or(0));
        }
        let exact = self.entries.get(registry).or_else(|| {
            let hub = registry == "docker.io";
            hub.then(|| self.entries.get(HUB_KEY)).flatten()
        });
        let other = || {
            let mut others = self.entries.iter();
            others.find(|(key, _)| is_registry(key, registry))
        };
        exact.or_else(|| other().map(|(_, entry)| entry))
    }
}

/// What a helper files a registry under.
fn helper_key(registry: &str) -> String {
    match registry {
        "docker.io" => HUB_KEY.to_owned(),
        other => other.to_owned(),
    }
}

/// Whether a key means this registry: old ones are URLs (`https://registry.example.org/v1/`).
fn is_registry(key: &str, registry: &str) -> bool {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let host = match bare {
        Some(url) => url.split('/').next().unwrap_or_default(),
        None => key,
    };
    match host {
        "index.docker.io" | "registry-1.docker.io" => registry == "docker.io",
        host => host.eq_ignore_ascii_case(registry),
    }
}

/// An entry of `auths`; one that says nothing (a helper has it) is none.
fn credential(raw: RawEntry) -> Result<Option<Credential>, &'static str> {
    let some = |text: &String| !text.is_empty();
    if let Some(token) = raw.identity_token.filter(some) {
        return Ok(Some(Credential::Identity(Secret::new(token))));
    }
    let pair = match (raw.auth.filter(some), raw.username, raw.password) {
        (Some(auth), _, _) => {
            let auth = auth.trim();
            let bytes = STANDARD
                .decode(auth)
                .or_else(|_| STANDARD_NO_PAD.decode(auth));
            let bytes = bytes.map_err(|_| "its `auth` is not base64")?;
            let text = String::from_utf8(bytes).map_err(|_| "its `auth` is no text")?;
            // Docker's own have been seen to end in NULs.
            let text = text.trim_end_matches('\0');
            let (user, password) = text
                .split_once(':')
                .ok_or("its `auth` is no `user:password`")?;
            Some((user.to_owned(), password.to_owned()))
        }
        (None, Some(user), Some(password)) if !user.is_empty() => Some((user, password)),
        _ => None,
    };
    Ok(pair.map(|(user, password)| named(user, password)))
}

/// A user with a password, unless it is the one whose password is a token.
fn named(user: String, password: String) -> Credential {
    let password = Secret::new(password);
    if user == TOKEN_USER {
        Credential::Identity(password)
    } else {
        Credential::Password { user, password }
    }
}

/// Reads what `docker-credential-NAME get` prints; `None` if it says that it has nothing.
pub(super) fn printed(output: &[u8], success: bool) -> Result<Option<Credential>, &'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Printed {
        username: String,
        secret: String,
    }
    if !success {
        // The words are the protocol: docker-credential-helpers' `IsErrCredentialsNotFound`.
        let text = String::from_utf8_lossy(output);
        return match text.trim() {
            "credentials not found in native keychain" => Ok(None),
            _ => Err("it failed"),
        };
    }
    let Printed { username, secret } =
        serde_json::from_slice(output).map_err(|_| "what it prints is no credential")?;
    if username.is_empty() && secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(named(username, secret)))
}

impl Credential {
    /// What `Authorization` says of a name and a password (RFC 7617).
    pub(super) fn basic(&self) -> Option<Secret> {
        match self {
            Self::Password { user, password } => {
                let pair = format!("{user}:{}", password.reveal());
                Some(Secret::new(format!("Basic {}", STANDARD.encode(pair))))
            }
            Self::Identity(_) => None,
        }
    }
}

/// A credential on its way from the process that may read it to the one that uses it.
#[derive(Serialize, Deserialize)]
pub(super) struct Handed {
    user: Option<String>,
    secret: String,
}

impl From<&Credential> for Handed {
    fn from(credential: &Credential) -> Self {
        let (user, secret) = match credential {
            Credential::Password { user, password } => (Some(user.clone()), password),
            Credential::Identity(token) => (None, token),
        };
        Self {
            user,
            secret: secret.reveal().to_owned(),
        }
    }
}

impl From<Handed> for Credential {
    fn from(handed: Handed) -> Self {
        let secret = Secret::new(handed.secret);
        match handed.user {
            Some(user) => Self::Password {
                user,
                password: secret,
            },
            None => Self::Identity(secret),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Credential {
        Credential::Password {
            user: user.to_owned(),
            password: Secret::new(password),
        }
    }

    fn lookup(text: &str, registry: &str, repository: &str) -> Vec<Lookup> {
        let file = AuthFile::parse(text).expect("sound");
        file.lookup(registry, repository)
    }

    #[test]
    fn credentials_are_where_docker_and_podman_leave_them() {
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "https://old.example.org/v2/": {"auth": "dTpwOnE="},
            "example.org:5000": {"username": "u", "password": "p"},
            "quay.example/team": {"auth": "dTp0"},
            "quay.example": {"auth": "dTpx"},
            "token.example": {"auth": "dTpw", "identitytoken": "i"},
            "user.example": {"auth": "PHRva2VuPjppZA=="},
            "nul.example": {"auth": "dTpwAAA="},
            "nopad.example": {"auth": "dTpwOnE"},
            "empty.example": {}
        }}"#;
        let identity = |text: &str| Credential::Identity(Secret::new(text));
        let table = [
            ("docker.io", "library/debian", Some(password("u", "p"))),
            ("old.example.org", "a", Some(password("u", "p:q"))),
            ("example.org:5000", "a", Some(password("u", "p"))),
            ("example.org", "a", None),
            ("quay.example", "team/image", Some(password("u", "t"))),
            ("quay.example", "team2/image", Some(password("u", "q"))),
            ("token.example", "a", Some(identity("i"))),
            ("user.example", "a", Some(identity("id"))),
            ("nul.example", "a", Some(password("u", "p"))),
            ("nopad.example", "a", Some(password("u", "p:q"))),
            ("empty.example", "a", None),
            ("other.example", "a", None),
        ];
        for (registry, repository, credential) in table {
            let expected: Vec<Lookup> = credential.into_iter().map(Lookup::Here).collect();
            assert_eq!(lookup(text, registry, repository), expected, "{registry}");
        }
    }

    #[test]
    fn helpers_come_first() {
        let text = r#"{"credsStore": "desktop", "credHelpers": {"ecr.example": "ecr-login", "plain.example": ""},
            "auths": {"https://index.docker.io/v1/": {}, "a.example": {"auth": "dTpw"}}}"#;
        let helper = |name: &str, key: &str| Lookup::Helper {
            name: name.to_owned(),
            key: key.to_owned(),
        };
        assert_eq!(lookup(text, "docker.io", "a"), [helper("desktop", HUB_KEY)]);
        assert_eq!(
            lookup(text, "ecr.example", "a"),
            [helper("ecr-login", "ecr.example")]
        );
        assert_eq!(
            lookup(text, "a.example", "a"),
            [
                helper("desktop", "a.example"),
                Lookup::Here(password("u", "p"))
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_without_being_shown() {
        let broken =
            r#"{"auths": {"a.example": {"auth": "%canary%"}, "b.example": {"auth": "Y2FuYXJ5"}}}"#;
        for registry in ["a.example", "b.example"] {
            let found = lookup(broken, registry, "a");
            assert!(matches!(found[..], [Lookup::Broken(_)]), "{found:?}");
        }
        for text in [
            "",
            "canary",
            r#"{"auths": "canary"}"#,
            r#"{"auths": {"a": {"auth": ["canary"]}}}"#,
        ] {
            let error = AuthFile::parse(text).expect_err("no settings");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
        let shown = format!(
            "{:?}",
            AuthFile::parse(r#"{"auths": {"a": {"auth": "dTpjYW5hcnk="}}}"#)
        );
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn what_helpers_print_is_read() {
        let good = br#"{"ServerURL": "x", "Username": "u", "Secret": "p"}"#;
        assert_eq!(printed(good, true), Ok(Some(password("u", "p"))));
        let token = br#"{"Username": "<token>", "Secret": "i"}"#;
        let identity = Credential::Identity(Secret::new("i"));
        assert_eq!(printed(token, true), Ok(Some(identity)));
        assert_eq!(
            printed(br#"{"Username": "", "Secret": ""}"#, true),
            Ok(None)
        );
        let none = b"credentials not found in native keychain\n";
        assert_eq!(printed(none, false), Ok(None));
        assert!(printed(none, true).is_err());
        assert!(printed(good, false).is_err());
    }

    #[test]
    fn a_password_is_sent_as_the_standard_says() {
        let basic = password("Aladdin", "open sesame").basic();
        assert_eq!(
            basic,
            Some(Secret::new("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="))
        );
    }
}
