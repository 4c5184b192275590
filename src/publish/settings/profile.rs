//! The files of AWS's own tools, `~/.aws/config` and `~/.aws/credentials`: profiles by name. Pure.

use std::collections::BTreeMap;
use std::fmt;

use crate::publish::Secret;

/// What a file says of each profile. Every value counts as secret, since some are.
#[derive(Clone, Default)]
pub(super) struct Profiles(BTreeMap<String, Profile>);

/// What is known of one profile. A nested setting is `s3.addressing_style`.
#[derive(Clone, Default)]
pub(super) struct Profile(BTreeMap<String, Secret>);

impl fmt::Debug for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Profile {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key).map(Secret::reveal);
        value.filter(|value| !value.is_empty())
    }
}

impl Profiles {
    /// Reads a file. Where `prefixed`, a section is `[profile NAME]`, but `[default]` may stand
    /// alone; sections of other kinds (`[sso-session x]`) say nothing of profiles. Lines that
    /// cannot be understood are passed over, as AWS's tools do.
    pub(super) fn parse(text: &str, prefixed: bool) -> Self {
        let mut profiles = Self::default();
        let mut section: Option<&mut Profile> = None;
        let mut parent: Option<String> = None;
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(header) = trimmed.strip_prefix('[') {
                let header = header.split(']').next().unwrap_or_default();
                parent = None;
                section = name(header.trim(), prefixed)
                    .map(|name| profiles.0.entry(name.to_owned()).or_default());
                continue;
            }
            let (Some(profile), Some((key, value))) = (&mut section, trimmed.split_once('='))
            else {
                continue;
            };
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            let nested = line.starts_with([' ', '\t']);
            let key = match &parent {
                Some(parent) if nested => format!("{parent}.{key}"),
                _ => {
                    parent = value.is_empty().then(|| key.clone());
                    key
                }
            };
            profile.0.insert(key, Secret::new(value));
        }
        profiles
    }

    pub(super) fn get(&self, name: &str) -> Option<&Profile> {
        self.0.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn name(header: &str, prefixed: bool) -> Option<&str> {
    if !prefixed || header == "default" {
        return Some(header);
    }
    let name = header.strip_prefix("profile")?;
    let name = name.strip_prefix([' ', '\t'])?.trim();
    Some(name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
key = before any section
[default]
region=eu-west-1
s3 =
    addressing_style = path
    max_concurrent_requests = 4
output = json
[profile my team]
aws_access_key_id = AKID
  aws_secret_access_key = with = signs
; another
[sso-session x]
region = elsewhere
[other]
region = not a profile here
";

    #[test]
    fn files_are_read_as_awss_tools_read_them() {
        let profiles = Profiles::parse(TEXT, true);
        assert_eq!(profiles.names().collect::<Vec<_>>(), ["default", "my team"]);
        let default = profiles.get("default").expect("it is there");
        assert_eq!(default.get("region"), Some("eu-west-1"));
        assert_eq!(default.get("s3.addressing_style"), Some("path"));
        assert_eq!(default.get("output"), Some("json"));
        assert_eq!(default.get("s3"), None);
        let team = profiles.get("my team").expect("it is there");
        assert_eq!(team.get("aws_secret_access_key"), Some("with = signs"));
        let credentials = Profiles::parse(TEXT, false);
        assert!(credentials.get("other").is_some());
        assert!(!format!("{profiles:?}").contains("AKID"));
    }
}
