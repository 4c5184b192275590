//! Variables of the environment and of the env-file as one: the environment wins. Pure.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::SettingsError;
use crate::publish::Secret;

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
    ["AWS_", "S3_", "UPSTREAM_S3_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}
