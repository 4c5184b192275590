//! What a series says of some stacks alone: what it has besides there, and where it cannot be built.

use toml::Spanned;

use crate::model::{FormulaRef, StackName, Version, VersionRange};

use super::raw::{RawAddition, RawPart};
use super::recipe::FileContent;
use super::series::{Check, Options, Series, check_dependencies, check_range};
use super::sheet::{Sheet, Text};
use super::strings::Checker;

/// Which of a series' builds something is about.
#[derive(Debug, Clone)]
pub(super) struct Whereabouts {
    /// All of the series, if nothing is said.
    pub(super) versions: Option<VersionRange>,
    pub(super) stacks: Vec<StackName>,
    pub(super) why: String,
}

/// Stacks that a series, or some of its versions, cannot be built on.
#[derive(Debug, Clone)]
pub(super) struct Refusal(pub(super) Whereabouts);

/// What a series, or some of its versions, has besides on some stacks.
#[derive(Debug, Clone)]
pub(super) struct Addition {
    pub(super) about: Whereabouts,
    pub(super) dependencies: Vec<Spanned<FormulaRef>>,
    pub(super) options: Options,
    pub(super) patches: Vec<FileContent>,
    pub(super) checks: Vec<Check>,
}

impl Whereabouts {
    fn is_of(&self, version: &Version) -> bool {
        let versions = self.versions.as_ref();
        versions.is_none_or(|range| range.contains(version))
    }

    /// Whether it is about this version on this stack.
    pub(super) fn is_about(&self, version: &Version, stack: &StackName) -> bool {
        self.stacks.contains(stack) && self.is_of(version)
    }
}

impl Series {
    /// What `version` has besides on `stack`.
    pub(super) fn additions<'a>(
        &'a self,
        version: &'a Version,
        stack: Option<&'a StackName>,
    ) -> impl Iterator<Item = &'a Addition> {
        let all = self.additions.iter();
        all.filter(move |it| stack.is_some_and(|stack| it.about.is_about(version, stack)))
    }

    /// What `version` has besides on some stack or other.
    pub(super) fn additions_of<'a>(
        &'a self,
        version: &'a Version,
    ) -> impl Iterator<Item = &'a Addition> {
        let all = self.additions.iter();
        all.filter(move |addition| addition.about.is_of(version))
    }

    /// Notes what `version` would have twice on one stack, where dependencies have one place each.
    pub(super) fn note_overlaps(&self, version: &Version, sheet: &mut Sheet) {
        let additions: Vec<&Addition> = self.additions_of(version).collect();
        for (i, addition) in additions.iter().enumerate() {
            for other in &additions[..i] {
                let stacks = &addition.about.stacks;
                let mut shared = stacks.iter().filter(|it| other.about.stacks.contains(it));
                let Some(stack) = shared.next() else { continue };
                for dependency in &addition.dependencies {
                    let name = dependency.get_ref().name();
                    let mut others = other.dependencies.iter();
                    if others.any(|other| other.get_ref().name() == name) {
                        let message = format!(
                            "`{name}` is there twice on {stack}, but {{deps.{name}}} is one place"
                        );
                        sheet.problem(dependency.span(), "the same again", message, None);
                    }
                }
            }
        }
    }
}

impl Checker<'_> {
    /// Where a series cannot be built.
    pub(super) fn refusals(&mut self, raw: &RawPart) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for refusal in &raw.refuse {
            let place = (&refusal.versions, &refusal.stacks, &refusal.why);
            refusals.push(Refusal(self.whereabouts("a refusal", place)));
        }
        refusals
    }

    /// What a series has besides. What its own strings may refer to, those of an addition may, too.
    pub(super) fn additions(&mut self, raw: &RawPart) -> Vec<Addition> {
        let mut additions = Vec::new();
        for addition in &raw.additions {
            let place = (&addition.versions, &addition.stacks, &addition.why);
            let about = self.whereabouts("an addition", place);
            self.needs_something(addition);
            let dependencies = check_dependencies(&addition.dependencies, self.sheet);
            let own = self.dependencies.clone();
            for dependency in &dependencies {
                let name = dependency.get_ref().name();
                if own.as_ref().is_some_and(|own| own.contains(name)) {
                    let message = format!(
                        "`{name}` is a dependency everywhere, but {{deps.{name}}} is one place"
                    );
                    self.sheet
                        .problem(dependency.span(), "the same again", message, None);
                }
            }
            let names = dependencies.iter().map(|it| it.get_ref().name().clone());
            self.dependencies = own
                .clone()
                .filter(|_| dependencies.len() == addition.dependencies.len())
                .map(|own| own.into_iter().chain(names).collect());
            let (options, checks) = (
                self.options(&addition.options),
                self.checks(&addition.checks),
            );
            self.dependencies = own;
            additions.push(Addition {
                about,
                dependencies,
                options,
                patches: self.patches(&addition.patches),
                checks,
            });
        }
        additions
    }

    fn needs_something(&mut self, raw: &RawAddition) {
        let RawAddition {
            versions: _,
            stacks,
            why: _,
            dependencies,
            options,
            patches,
            checks,
        } = raw;
        let lists = [dependencies, patches].into_iter().chain([
            &options.configure,
            &options.make,
            &options.install,
        ]);
        let is_empty = lists.map(Vec::len).sum::<usize>() == 0;
        if is_empty && options.env.is_empty() && checks.is_empty() {
            let message = "an addition adds nothing";
            let help = "it takes `dependencies`, `configure`, `make`, `install`, `env`, `patches` and \
                        `checks`";
            let help = Some(help.to_owned());
            self.sheet
                .problem(stacks.span(), "nothing follows", message, help);
        }
    }

    fn whereabouts(
        &mut self,
        what: &str,
        (versions, stacks, why): (&Option<Text>, &Spanned<Vec<Text>>, &Text),
    ) -> Whereabouts {
        if stacks.get_ref().is_empty() {
            let message = format!("{what} needs at least one stack");
            self.sheet.problem(stacks.span(), "no stack", message, None);
        }
        if why.get_ref().trim().is_empty() {
            let message = format!("{what} must say why");
            self.sheet.problem(why.span(), "no reason", message, None);
        }
        let versions = versions.as_ref();
        let versions = versions.map(|versions| check_range(versions, self.sheet));
        let mut names = Vec::new();
        for stack in stacks.get_ref() {
            match stack.get_ref().parse() {
                Ok(stack) => names.push(stack),
                Err(error) => {
                    let message = format!("{error}");
                    self.sheet
                        .problem(stack.span(), "not a stack's name", message, None);
                }
            }
        }
        Whereabouts {
            versions: versions.flatten(),
            stacks: names,
            why: why.get_ref().clone(),
        }
    }
}
