//! Trainings: what the build of a trained profile is optimized by is another build, of the same
//! source, which the formula's own steps may refer to.

use toml::Spanned;

use crate::model::{FormulaName, nearest};

use super::raw::{RawPart, RawStep};
use super::sheet::did_you_mean;
use super::strings::Checker;

impl Checker<'_> {
    /// What a training gave is there for the steps of its profile, and for no others. A profile
    /// that is misspelt would leave its steps out without a word.
    pub(super) fn untrained(&mut self, raw: &RawPart) {
        let place = format!("{{deps.{}", training_name(self.around.formula));
        let known = self.around.profiles;
        let here = |name: &String| {
            raw.profiles
                .iter()
                .any(|(known, _)| known.get_ref() == name)
        };
        let is_trained = |name: &String| {
            let mut profiles = raw.profiles.iter();
            profiles.any(|(known, it)| known.get_ref() == name && it.training.is_some())
        };
        // A series that has not the profile never runs the step.
        let has_it = |name: &String| known[name] && (is_trained(name) || !here(name));
        let training = raw.profiles.iter();
        let training = training.filter_map(|(_, profile)| profile.training.as_ref());
        let training = training.flat_map(|steps| steps.get_ref().iter().map(|step| (step, true)));
        self.untrained_elsewhere(raw, &place);
        let own = raw.steps.iter().flat_map(Spanned::get_ref);
        let steps: Vec<(&RawStep, bool)> = own.map(|step| (step, false)).chain(training).collect();
        for (step, trains) in steps {
            let profile = step.profile.as_ref();
            if let Some(name) = profile.filter(|name| !known.contains_key(name.get_ref())) {
                let near = nearest(name.get_ref(), known.keys().map(String::as_str));
                self.sheet.problem(
                    name.span(),
                    "unknown profile",
                    format!("no series has a profile `{}`", name.get_ref()),
                    did_you_mean(near),
                );
                continue;
            }
            let has_it = !trains && profile.is_some_and(|name| has_it(name.get_ref()));
            let args = step.run.get_ref().iter();
            let texts = args
                .chain(step.cwd.as_ref())
                .chain(step.env.iter().map(|(_, value)| value));
            for text in texts.filter(|text| !has_it && text.get_ref().contains(&place)) {
                let trained = known.iter().filter(|(_, trains)| **trains);
                let names: Vec<String> = trained.map(|(name, _)| format!("{name:?}")).collect();
                let help = (!trains && !names.is_empty())
                    .then(|| format!("add `profile = {}` to the step", names.join(" or ")));
                self.sheet.problem(
                    text.span(),
                    "not there",
                    "what the training gives is there only for steps of its profile",
                    help,
                );
            }
        }
    }
}

impl Checker<'_> {
    /// Lists and variables are for the training, too, and checks for every profile.
    fn untrained_elsewhere(&mut self, raw: &RawPart, place: &str) {
        let options = raw.all_options().flat_map(|options| {
            let lists = [&options.configure, &options.make, &options.install];
            let lists = lists.into_iter().flatten();
            lists.chain(options.env.iter().map(|(_, value)| value))
        });
        let added = raw.additions.iter().flat_map(|addition| &addition.checks);
        let checks = raw.checks.iter().flatten().chain(added);
        let checks = checks.flat_map(|check| check.run.get_ref());
        for text in options.chain(checks) {
            if text.get_ref().contains(place) {
                self.sheet.problem(
                    text.span(),
                    "not there",
                    "what the training gives is there only for steps of its profile",
                    Some("name it in a step: what stands here is for the training, too".to_owned()),
                );
            }
        }
    }
}

/// What the training of a formula is called, as a build of its own: `python-profile`.
pub(super) fn training_name(formula: &FormulaName) -> FormulaName {
    let name = format!("{formula}-profile");
    name.parse().expect("a name and a word make a name")
}
