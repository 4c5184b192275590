//! Profiles: the options that a series adds under a name, and which versions have them.

use std::collections::BTreeMap;

use crate::model::Version;

use super::raw::RawProfile;
use super::series::{Options, Profile, Series, check_range, is_word};
use super::sheet::Text;
use super::strings::Checker;

impl Checker<'_> {
    pub(super) fn profiles(&mut self, raw: &[(Text, RawProfile)]) -> BTreeMap<String, Profile> {
        let mut profiles: BTreeMap<String, Profile> = BTreeMap::new();
        for (name, profile) in raw {
            if !is_word(name.get_ref()) {
                let message = format!("`{}` cannot name a profile", name.get_ref());
                self.sheet.problem(
                    name.span(),
                    "not a name",
                    message,
                    Some("names take lower-case letters, digits, `-` and `_`".to_owned()),
                );
            }
            let Options {
                configure,
                make,
                install,
                env,
            } = self.options(&profile.options);
            let versions = profile.versions.as_ref();
            let versions = versions.and_then(|text| check_range(text, self.sheet));
            let training = profile.training.as_ref();
            let training = training.map(|training| self.steps(Some(training)));
            // `[common]` and the series may both speak of a profile.
            let profile = profiles.entry(name.get_ref().clone()).or_default();
            profile.options.configure.extend(configure);
            profile.options.make.extend(make);
            profile.options.install.extend(install);
            profile.options.env.extend(env);
            profile.versions = versions.or(profile.versions.take());
            if let Some(training) = training {
                profile.training = training;
            }
        }
        profiles
    }
}

impl Series {
    /// The profiles that a version of it has, besides `plain` if nothing is said of that.
    pub(super) fn profiles_of(&self, version: &Version) -> impl Iterator<Item = (&str, &Profile)> {
        let profiles = self.profiles.iter();
        let of = |profile: &Profile| {
            let versions = profile.versions.as_ref();
            versions.is_none_or(|versions| versions.contains(version))
        };
        profiles
            .filter(move |(_, profile)| of(profile))
            .map(|(name, profile)| (name.as_str(), profile))
    }

    /// What a profile says, if the version has it and it says anything.
    pub(super) fn profile(&self, name: &str, version: &Version) -> Option<&Profile> {
        let mut profiles = self.profiles_of(version);
        profiles.find(|(known, _)| *known == name).map(|(_, it)| it)
    }
}

impl Profile {
    pub(super) fn is_trained(&self) -> bool {
        !self.training.is_empty()
    }
}
