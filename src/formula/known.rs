//! What is known of a formula's releases, for those who look at them.

use jiff::civil::Date;
use toml::Spanned;

use crate::model::{FormulaRef, StackName, Version, VersionRange};

use super::error::FormulaError;
use super::lines::Release;
use super::recipe::Source;
use super::resolve::Formula;
use super::series::Series;
use super::sigstore::Identity;
use super::stacks::Refusal;

/// Whose signatures on a release count.
#[derive(Debug, Clone, Copy)]
pub struct Signers<'a> {
    /// The fingerprints of PGP keys.
    pub keys: &'a [String],
    /// Who signs with Sigstore.
    pub sigstore: Option<&'a Identity>,
}

/// A release, and what its series says of it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    release: &'a Release,
    series: &'a Series,
}

impl<'a> Known<'a> {
    /// Which version.
    pub fn version(&self) -> &'a Version {
        &self.release.version
    }

    /// The day upstream released it.
    pub fn released(&self) -> Option<Date> {
        let time = jiff::Timestamp::from_second(self.release.released).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).date())
    }

    /// The forms of its source, the preferred first.
    pub fn sources(&self) -> &'a [Source] {
        &self.release.sources
    }

    /// Which versions are built as it is.
    pub fn series(&self) -> &'a VersionRange {
        &self.series.versions
    }

    /// The last day on which upstream mends its series, if that is known.
    pub fn end_of_life(&self) -> Option<Date> {
        self.series.end_of_life
    }

    /// Whether that is over.
    pub fn is_past(&self, today: Date) -> bool {
        self.series.is_past(today)
    }

    /// The stacks that it cannot be built on, each with the formula's own words.
    pub fn refused(&self) -> Vec<(&'a StackName, &'a str)> {
        let refusals = self.series.refuse.iter();
        let mut refused: Vec<(&StackName, &str)> = Vec::new();
        for Refusal(about) in refusals {
            for stack in &about.stacks {
                let is_new = !refused.iter().any(|(known, _)| *known == stack);
                if is_new && about.is_about(self.version(), stack) {
                    refused.push((stack, &about.why));
                }
            }
        }
        refused
    }

    /// What it is built with besides on some stacks: which, what, and the formula's own words.
    pub fn additions(&self) -> Vec<(&'a [StackName], Vec<&'a FormulaRef>, &'a str)> {
        let additions = self.series.additions_of(self.version());
        let additions = additions.map(|addition| {
            let dependencies = addition.dependencies.iter().map(Spanned::get_ref);
            let about = &addition.about;
            (
                about.stacks.as_slice(),
                dependencies.collect(),
                about.why.as_str(),
            )
        });
        additions.collect()
    }
}

impl Formula {
    /// All that is known of each release, in the order of the versions.
    pub fn known(&self) -> impl Iterator<Item = Known<'_>> {
        self.releases.iter().filter_map(|release| {
            let series = self.series_of(release)?;
            Some(Known { release, series })
        })
    }

    /// The same of one release.
    pub fn known_of(&self, version: &Version) -> Result<Known<'_>, FormulaError> {
        let mut known = self.known();
        let found = known.find(|it| it.version().as_str() == version.as_str());
        found.ok_or_else(|| self.unknown(version))
    }

    /// Whose signatures on a release of this version count, whether it is known or not.
    pub(super) fn signers(&self, version: &Version) -> Signers<'_> {
        let mut series = self.series.iter();
        let series = series.find(|series| series.versions.contains(version));
        Signers {
            keys: series.map_or(&[], |series| &series.signed_by),
            sigstore: series.and_then(|series| series.sigstore.as_ref()),
        }
    }
}
