//! Variables of the environment and of the env-file as one: the environment wins. Pure.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::SettingsError;
use crate::publish::Secret;

/// What begins the names of what is for the upstream target alone: `UPSTREAM_AWS_PROFILE`.
pub(super) const UPSTREAM: &str = "UPSTREAM_";

/// Who one is, by whatever way.
pub(super) const IDENTITY: &[&str] = &[
    "AWS_SKIP_SIGNATURE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];
/// The region, by its names.
pub(super) const REGION: &[&str] = &["S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"];
/// The endpoint, by its names.
pub(super) const ENDPOINT: &[&str] = &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// What is set, and not to nothing.
pub(super) struct Variables<'a> {
    sources: [BTreeMap<&'a str, &'a str>; 2],
}

impl<'a> Variables<'a> {
    /// Only what is looked for need be UTF-8, but a value that is not is an error when it is.
    pub(super) fn new(
        env: &'a BTreeMap<String, OsString>,
        file: &'a [(String, Secret)],
    ) -> Result<Self, SettingsError> {
        let mut process = BTreeMap::new();
        for (name, value) in env {
            match value.to_str() {
                Some("") => {}
                Some(value) => drop(process.insert(name.as_str(), value)),
                None if is_ours(name) => {
                    return Err(SettingsError::Value {
                        name: name.clone(),
                        why: "it is not UTF-8".to_owned(),
                    });
                }
                None => {}
            }
        }
        let set = file.iter().filter(|(_, value)| !value.is_empty());
        let file = set.map(|(name, value)| (name.as_str(), value.reveal()));
        Ok(Self {
            sources: [process, file.collect()],
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.sources
            .iter()
            .find_map(|source| source.get(name).copied())
    }

    /// Whether any of these is set for the upstream target alone.
    pub(super) fn says_upstream(&self, names: &[&str]) -> bool {
        let set = |name: &&str| self.get(&format!("{UPSTREAM}{name}")).is_some();
        names.iter().any(set)
    }

    /// What is set for the upstream target: what is for it alone, else what is for both. Of the
    /// names of one thing, and of what says who one is, all are for it alone or none is; `apart`
    /// are those of which none is for both whatever is set.
    pub(super) fn upstream(&self, apart: &[&str]) -> Self {
        let own = |name: &str| {
            let together = [IDENTITY, REGION, ENDPOINT];
            let mut groups = together.into_iter().filter(|group| group.contains(&name));
            apart.contains(&name)
                || self.says_upstream(&[name])
                || groups.any(|group| self.says_upstream(group))
        };
        let sources = self.sources.each_ref().map(|source| {
            let shared = source.iter().map(|(name, value)| (*name, *value));
            let shared = shared.filter(|(name, _)| !name.starts_with(UPSTREAM) && !own(name));
            let alone = source
                .iter()
                .filter_map(|(name, value)| Some((name.strip_prefix(UPSTREAM)?, *value)));
            shared.chain(alone).collect()
        });
        Self { sources }
    }

    /// Variables that belong together: all from the first source that has any of them.
    pub(super) fn together<const N: usize>(&self, names: [&str; N]) -> [Option<Secret>; N] {
        let has = |source: &&BTreeMap<_, _>| names.iter().any(|name| source.contains_key(name));
        let source = self.sources.iter().find(has);
        names.map(|name| Some(Secret::new(*source?.get(name)?)))
    }

    /// Whether a switch is on, as AWS's tools read it.
    pub(super) fn is_true(&self, name: &str) -> Result<bool, SettingsError> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "1" | "yes") => Ok(true),
            None | Some("false" | "0" | "no") => Ok(false),
            Some(_) => Err(SettingsError::Value {
                name: name.to_owned(),
                why: "it must be `true` or `false`".to_owned(),
            }),
        }
    }
}

fn is_ours(name: &str) -> bool {
    ["AWS_", "S3_", UPSTREAM]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}
