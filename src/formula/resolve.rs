//! A formula: one piece of software, its versions, and the recipe of each.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{FormulaName, FormulaRef, GuestPath, Kind, Link, StackName, Version, nearest};

use super::error::FormulaError;
use super::lines::Release;
use super::placeholder::{List, Template};
use super::recipe::{Check, FileContent, Recipe, Step};
use super::series::{self, Options, PLAIN, Series};
use super::stacks::Refusal;
use super::strings::Arg;
use super::training::training_name;

/// The profile that a runtime is built with if nobody says which.
const OPTIMIZED: &str = "optimized";

/// How a piece of software is built, and its versions.
#[derive(Debug, Clone)]
pub struct Formula {
    pub(super) name: FormulaName,
    pub(super) kind: Kind,
    pub(super) prefix: GuestPath,
    pub(super) series: Vec<Series>,
    pub(super) releases: Vec<Release>,
    pub(super) files: Vec<FileContent>,
    pub(super) test_files: Vec<FileContent>,
    pub(super) baselines: BTreeMap<String, FileContent>,
}

impl Formula {
    /// What it is called.
    pub fn name(&self) -> &FormulaName {
        &self.name
    }

    /// What it makes.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it installs to.
    pub fn prefix(&self) -> &GuestPath {
        &self.prefix
    }

    /// The versions it can build, in order.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        self.releases.iter().map(|release| &release.version)
    }

    /// The profiles that a version can be built with, in order; `plain` is always among them.
    pub fn profiles(&self, version: &Version) -> Result<Vec<String>, FormulaError> {
        let (_, series) = self.find(version)?;
        let profiles = series.profiles_of(version);
        let mut names: BTreeSet<String> = profiles.map(|(name, _)| name.to_owned()).collect();
        names.insert(PLAIN.to_owned());
        Ok(names.into_iter().collect())
    }

    /// How `version` is built with `profile` on `stack`.
    pub fn recipe(
        &self,
        version: &Version,
        profile: &str,
        stack: &StackName,
    ) -> Result<Recipe, FormulaError> {
        let (release, series) = self.find(version)?;
        let mut refusals = series.refuse.iter();
        let refusal = refusals.find(|Refusal(about)| about.is_about(version, stack));
        if let Some(Refusal(about)) = refusal {
            return Err(FormulaError::Refused {
                reference: Box::new(FormulaRef::new(self.name.clone(), release.version.clone())),
                stack: stack.clone(),
                why: about.why.clone(),
            });
        }
        self.recipe_of(version, profile, Some(stack))
    }

    /// How `version` is built with `profile` on a stack that nothing is said of.
    pub fn recipe_anywhere(
        &self,
        version: &Version,
        profile: &str,
    ) -> Result<Recipe, FormulaError> {
        self.recipe_of(version, profile, None)
    }

    fn recipe_of(
        &self,
        version: &Version,
        profile: &str,
        stack: Option<&StackName>,
    ) -> Result<Recipe, FormulaError> {
        let (release, series) = self.find(version)?;
        let reference = FormulaRef::new(self.name.clone(), release.version.clone());
        let known = self.profiles(version)?;
        if !known.iter().any(|name| name == profile) {
            let near = nearest(profile, known.iter().map(String::as_str));
            return Err(FormulaError::UnknownProfile {
                reference: Box::new(reference),
                profile: profile.to_owned(),
                nearest: near.map(str::to_owned),
                known,
            });
        }
        Ok(self.assemble(reference, profile, release, series, stack))
    }

    /// Whether a profile of it is trained.
    pub(super) fn trains(&self) -> bool {
        let profiles = self
            .series
            .iter()
            .flat_map(|series| series.profiles.values());
        profiles.into_iter().any(series::Profile::is_trained)
    }

    /// The profile that `version` is built with if nobody says which: a runtime's `optimized`, if it
    /// has that.
    pub fn usual_profile(&self, version: &Version) -> Result<&'static str, FormulaError> {
        let (_, series) = self.find(version)?;
        let is_optimized =
            self.kind == Kind::Runtime && series.profile(OPTIMIZED, version).is_some();
        Ok(if is_optimized { OPTIMIZED } else { PLAIN })
    }

    /// The training that a recipe depends on, if it is optimized by one: another
    /// build of the same source, whose result is what was learned.
    pub fn training(&self, recipe: &Recipe, stack: Option<&StackName>) -> Option<Recipe> {
        let (_, version) = recipe.reference.release()?;
        let (_, series) = self.find(version).ok()?;
        let own = series.profile(&recipe.profile, version);
        let trained = own.filter(|own| own.is_trained())?;
        let options = options(series, Some(trained), version, stack);
        let recipe = recipe.clone();
        let mut dependencies = recipe.dependencies;
        dependencies.pop(); // itself
        Some(Recipe {
            reference: self.training_of(version),
            kind: Kind::Profile,
            dependencies,
            steps: steps(
                &trained.training,
                &recipe.profile,
                &options,
                &series.modules,
            ),
            prune: Vec::new(),
            links: Vec::new(),
            checks: Vec::new(),
            modules: Vec::new(),
            ..recipe
        })
    }

    /// What the training of a version is called.
    fn training_of(&self, version: &Version) -> FormulaRef {
        FormulaRef::new(training_name(&self.name), version.clone())
    }

    fn assemble(
        &self,
        reference: FormulaRef,
        profile: &str,
        release: &Release,
        series: &Series,
        stack: Option<&StackName>,
    ) -> Recipe {
        let own = series.profile(profile, &release.version);
        let additions = || series.additions(&release.version, stack);
        let options = options(series, own, &release.version, stack);
        let training = own.filter(|own| own.is_trained());
        let training = training.map(|_| self.training_of(&release.version));
        let for_version = |template: &Template| {
            let filled = template.fill_version(&release.version);
            filled.expect("only the version stands in what describes the prefix")
        };
        let added = additions().flat_map(|addition| &addition.checks);
        let checks = series.checks.iter().chain(added).map(|check| Check {
            name: check.name.clone(),
            run: splice(&check.run, &options, &series.modules),
            moved: check.moved,
        });
        let links = series.links.iter().map(|(path, to)| Link {
            path: for_version(path),
            to: for_version(to),
        });
        let prune = series.prune.iter().map(|glob| {
            let glob = for_version(glob).parse();
            glob.expect("digits and dots make no glob invalid that was valid with others")
        });
        Recipe {
            kind: self.kind,
            profile: profile.to_owned(),
            prefix: self.prefix.clone(),
            released: release.released,
            end_of_life: series.end_of_life,
            sources: release.sources.clone(),
            dependencies: (series.dependencies.iter())
                .chain(additions().flat_map(|addition| &addition.dependencies))
                .map(|dependency| dependency.get_ref().clone())
                .chain(training)
                .collect(),
            archives: Vec::new(),
            patches: (series.patches.iter())
                .chain(additions().flat_map(|addition| &addition.patches))
                .cloned()
                .collect(),
            files: self.files.clone(),
            env: options
                .iter()
                .flat_map(|options| options.env.clone())
                .collect(),
            steps: steps(&series.steps, profile, &options, &series.modules),
            prune: prune.collect(),
            links: links.collect(),
            checks: checks.collect(),
            modules: series.modules.clone(),
            network: series.network,
            reference,
        }
    }

    /// The release called exactly `version`, and its series: `3.9` does not mean `3.9.0`.
    pub(super) fn find(&self, version: &Version) -> Result<(&Release, &Series), FormulaError> {
        let found = self.releases.iter().find_map(|release| {
            if release.version.as_str() != version.as_str() {
                return None;
            }
            Some((release, self.series_of(release)?))
        });
        found.ok_or_else(|| self.unknown(version))
    }

    /// What there is to say of a version that it has not.
    pub(super) fn unknown(&self, version: &Version) -> FormulaError {
        FormulaError::UnknownVersion {
            reference: Box::new(FormulaRef::new(self.name.clone(), version.clone())),
            known: self.versions().cloned().collect(),
            nearest: self.nearest_version(version).cloned(),
        }
    }

    /// The first series that is for this release.
    pub(super) fn series_of(&self, release: &Release) -> Option<&Series> {
        Some(&self.series[self.place_of(release)?])
    }

    /// Its place among the series.
    pub(super) fn place_of(&self, release: &Release) -> Option<usize> {
        let mut series = self.series.iter();
        series.position(|series| series.versions.contains(&release.version))
    }

    /// The newest version that begins with the same two numbers, else what looks most alike.
    fn nearest_version(&self, version: &Version) -> Option<&Version> {
        let first = &version.numbers()[..version.numbers().len().min(2)];
        let alike = |known: &&Version| known.numbers().starts_with(first);
        self.versions().filter(alike).last().or_else(|| {
            let known = self.versions().map(Version::as_str);
            let near = nearest(version.as_str(), known)?;
            self.versions().find(|known| known.as_str() == near)
        })
    }
}

/// The lists and variables that hold for a build, the later over the earlier: always, on this stack,
/// by this profile.
fn options<'a>(
    series: &'a Series,
    profile: Option<&'a series::Profile>,
    version: &'a Version,
    stack: Option<&'a StackName>,
) -> Vec<&'a Options> {
    let added = series.additions(version, stack).map(|it| &it.options);
    std::iter::once(&series.options)
        .chain(added)
        .chain(profile.map(|profile| &profile.options))
        .collect()
}

/// The steps of a profile.
fn steps(
    steps: &[series::Step],
    profile: &str,
    options: &[&Options],
    modules: &[String],
) -> Vec<Step> {
    let steps = steps.iter().filter(|step| {
        let only = step.profile.as_ref();
        only.is_none_or(|only| only == profile)
    });
    let steps = steps.map(|step| Step {
        name: step.name.clone(),
        run: splice(&step.run, options, modules),
        cwd: step.cwd.clone(),
        env: step.env.clone(),
        only: step.only.clone(),
    });
    steps.collect()
}

/// Puts the lists in the place of the arguments that stand for them.
pub(super) fn splice(run: &[Arg], options: &[&Options], modules: &[String]) -> Vec<Template> {
    let mut argv = Vec::new();
    for arg in run {
        match arg {
            Arg::Text(template) => argv.push(template.clone()),
            Arg::List(List::Modules) => argv.extend(modules.iter().map(|m| Template::literal(m))),
            Arg::List(List::Configure) => {
                argv.extend(options.iter().flat_map(|o| &o.configure).cloned());
            }
            Arg::List(List::Make) => argv.extend(options.iter().flat_map(|o| &o.make).cloned()),
            Arg::List(List::Install) => {
                argv.extend(options.iter().flat_map(|o| &o.install).cloned());
            }
        }
    }
    argv
}
