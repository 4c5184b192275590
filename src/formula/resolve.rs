//! A formula: one piece of software, its versions, and the recipe of each.

use std::collections::BTreeSet;

use crate::model::{FormulaName, FormulaRef, GuestPath, Kind, Link, StackName, Version, nearest};

use super::error::FormulaError;
use super::lines::Release;
use super::placeholder::{List, Template};
use super::recipe::{Check, FileContent, Recipe, Step};
use super::series::{Options, PLAIN, Series};
use super::strings::Arg;

/// How a piece of software is built, and its versions.
#[derive(Debug, Clone)]
pub struct Formula {
    pub(super) name: FormulaName,
    pub(super) kind: Kind,
    pub(super) prefix: GuestPath,
    pub(super) series: Vec<Series>,
    pub(super) releases: Vec<Release>,
    pub(super) files: Vec<FileContent>,
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
        let mut names: BTreeSet<String> = series.profiles.keys().cloned().collect();
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
        let reference = FormulaRef::new(self.name.clone(), release.version.clone());
        let refusal = series.refuse.iter().find(|r| r.stacks.contains(stack));
        if let Some(refusal) = refusal {
            return Err(FormulaError::Refused {
                reference: Box::new(reference),
                stack: stack.clone(),
                why: refusal.why.clone(),
            });
        }
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
        let options = [Some(&series.options), series.profiles.get(profile)];
        let options: Vec<&Options> = options.into_iter().flatten().collect();
        Ok(self.assemble(reference, profile, release, series, &options))
    }

    fn assemble(
        &self,
        reference: FormulaRef,
        profile: &str,
        release: &Release,
        series: &Series,
        options: &[&Options],
    ) -> Recipe {
        let spliced = |run: &[Arg]| splice(run, options, &series.modules);
        let for_version = |template: &Template| {
            let filled = template.fill_version(&release.version);
            filled.expect("only the version stands in what describes the prefix")
        };
        let steps = series.steps.iter().map(|step| Step {
            name: step.name.clone(),
            run: spliced(&step.run),
            cwd: step.cwd.clone(),
            env: step.env.clone(),
            only: step.only.clone(),
        });
        let checks = series.checks.iter().map(|check| Check {
            name: check.name.clone(),
            run: spliced(&check.run),
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
            sources: release.sources.clone(),
            dependencies: series
                .dependencies
                .iter()
                .map(|dependency| dependency.get_ref().clone())
                .collect(),
            patches: series.patches.clone(),
            files: self.files.clone(),
            env: options
                .iter()
                .flat_map(|options| options.env.clone())
                .collect(),
            steps: steps.collect(),
            prune: prune.collect(),
            links: links.collect(),
            checks: checks.collect(),
            modules: series.modules.clone(),
            network: series.network,
            reference,
        }
    }

    /// The release called exactly `version`, and its series: `3.9` does not mean `3.9.0`.
    fn find(&self, version: &Version) -> Result<(&Release, &Series), FormulaError> {
        let found = self.releases.iter().find_map(|release| {
            if release.version.as_str() != version.as_str() {
                return None;
            }
            Some((release, self.series_of(release)?))
        });
        found.ok_or_else(|| FormulaError::UnknownVersion {
            reference: Box::new(FormulaRef::new(self.name.clone(), version.clone())),
            known: self.versions().cloned().collect(),
            nearest: self.nearest_version(version).cloned(),
        })
    }

    /// The first series that is for this release.
    pub(super) fn series_of(&self, release: &Release) -> Option<&Series> {
        let mut series = self.series.iter();
        series.find(|series| series.versions.contains(&release.version))
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

/// Puts the lists in the place of the arguments that stand for them.
fn splice(run: &[Arg], options: &[&Options], modules: &[String]) -> Vec<Template> {
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
