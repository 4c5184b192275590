//! Every formula there is, by name, checked all together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::model::{FormulaName, FormulaRef, StackName, Version, nearest};

use super::check::{self, Texts};
use super::error::FormulaError;
use super::recipe::{FileContent, Recipe};
use super::resolve::Formula;
use super::series::PLAIN;
use super::sheet::{Sheet, did_you_mean};
use super::tests::{BASELINES, TESTS};
use super::training::training_name;
use super::tree::{self, Entry, Tree};

/// The formulae.
#[derive(Debug, Clone)]
pub struct Catalog {
    formulae: BTreeMap<FormulaName, Formula>,
}

impl Catalog {
    /// The built-in formulae, with the files of `extra_dir` laid over them: `NAME.toml`,
    /// `NAME.versions.toml`, helper files in `NAME/`, patches in `patches/`.
    ///
    /// All mistakes of all files come as one [`FormulaError::Invalid`].
    pub fn load(extra_dir: Option<&Path>) -> Result<Self, FormulaError> {
        Self::from_tree(&tree::load(extra_dir)?)
    }

    pub(super) fn from_tree(tree: &Tree) -> Result<Self, FormulaError> {
        let mut sheets = Sheets::default();
        let patches = files_below(tree, "patches/");
        let mut formulae = BTreeMap::new();
        for name in names(tree, &mut sheets) {
            let own = format!("{name}.toml");
            let table = format!("{name}.versions.toml");
            let has_versions = tree.contains_key(&table);
            let files = Files::of(&name, tree);
            let texts = Texts {
                name: &name,
                has_versions,
                files: &files.builds,
                test_files: &files.tests,
                baselines: &files.baselines,
                patches: &patches,
            };
            let mut own_sheet = sheets.open(&own, tree);
            let mut table_sheet = sheets.open(&table, tree);
            // What is not UTF-8 cannot be read any further.
            if own_sheet.is_clean()
                && table_sheet.is_clean()
                && let Some(formula) = check::check(&texts, &mut own_sheet, &mut table_sheet)
            {
                formulae.insert(name, formula);
            }
            sheets.close(own, own_sheet);
            sheets.close(table, table_sheet);
        }
        let catalog = Self { formulae };
        catalog.check_dependencies(&mut sheets);
        catalog.check_trainings(&mut sheets);
        let problems = check::problems(sheets.0.into_values());
        if problems.is_empty() {
            Ok(catalog)
        } else {
            Err(FormulaError::Invalid { problems })
        }
    }

    /// The formulae's names, in order.
    pub fn names(&self) -> impl Iterator<Item = &FormulaName> {
        self.formulae.keys()
    }

    /// The formula of this name.
    pub fn get(&self, name: &FormulaName) -> Result<&Formula, FormulaError> {
        self.formulae.get(name).ok_or_else(|| {
            let near = nearest(name.as_str(), self.names().map(FormulaName::as_str));
            FormulaError::UnknownFormula {
                name: name.clone(),
                known: self.names().cloned().collect(),
                nearest: self
                    .names()
                    .find(|name| Some(name.as_str()) == near)
                    .cloned(),
            }
        })
    }

    /// How `reference` is built, and before it everything that it depends on, in an order in
    /// which they can be built; each once, `reference` last.
    ///
    /// Without a profile it is built with its usual one. A dependency is built with the same
    /// profile if it has it, else with `plain`. What a profile is trained by comes last before it.
    pub fn recipes(
        &self,
        reference: &FormulaRef,
        profile: Option<&str>,
        stack: &StackName,
    ) -> Result<Vec<Recipe>, FormulaError> {
        let (formula, version) = self.release(reference)?;
        let profile = match profile {
            Some(profile) => profile,
            None => formula.usual_profile(version)?,
        };
        let recipe = formula.recipe(version, profile, stack)?;
        let training = formula.training(&recipe, Some(stack));
        let is_training =
            |reference: &FormulaRef| training.as_ref().is_some_and(|t| t.reference == *reference);
        let mut ordered: Vec<Recipe> = Vec::new();
        for dependency in &recipe.dependencies {
            if is_training(dependency) {
                continue;
            }
            let known = self.profiles(dependency)?;
            let shared = known.iter().any(|known| known == profile);
            let profile = if shared { profile } else { PLAIN };
            // There are no cycles: `load` would have said so.
            for recipe in self.recipes(dependency, Some(profile), stack)? {
                if !ordered.iter().any(|r| r.reference == recipe.reference) {
                    ordered.push(recipe);
                }
            }
        }
        ordered.extend(training);
        ordered.push(recipe);
        Ok(ordered)
    }

    /// The formula and the version that are meant by what is no script.
    pub fn release<'a>(
        &self,
        reference: &'a FormulaRef,
    ) -> Result<(&Formula, &'a Version), FormulaError> {
        match reference.release() {
            Some((name, version)) => Ok((self.get(name)?, version)),
            None => Err(FormulaError::Script {
                reference: Box::new(reference.clone()),
            }),
        }
    }

    /// The profiles that a formula can be built with at a version.
    fn profiles(&self, reference: &FormulaRef) -> Result<Vec<String>, FormulaError> {
        let (formula, version) = self.release(reference)?;
        formula.profiles(version)
    }

    /// Notes formulae that are called as another's training is.
    fn check_trainings(&self, sheets: &mut Sheets) {
        for formula in self.formulae.values().filter(|formula| formula.trains()) {
            let taken = training_name(formula.name());
            if self.formulae.contains_key(&taken) {
                let message = format!(
                    "`{taken}` is what the training of `{}` is called",
                    formula.name()
                );
                sheets.note(&taken, 0..0, "taken", message, None);
            }
        }
    }

    /// Notes dependencies that do not exist or lead back to where they started.
    fn check_dependencies(&self, sheets: &mut Sheets) {
        let mut finished = BTreeSet::new();
        for formula in self.formulae.values() {
            for version in formula.versions() {
                let start = FormulaRef::new(formula.name().clone(), version.clone());
                self.visit(&start, &mut Vec::new(), &mut finished, sheets);
            }
        }
    }

    /// Walks depth first from `at`, which exists; `path` is how it was reached.
    fn visit(
        &self,
        at: &FormulaRef,
        path: &mut Vec<FormulaRef>,
        finished: &mut BTreeSet<FormulaRef>,
        sheets: &mut Sheets,
    ) {
        if finished.contains(at) {
            return;
        }
        path.push(at.clone());
        for (span, dependency) in self.dependencies(at) {
            let begins = path.iter().position(|earlier| *earlier == dependency);
            if let Some(begins) = begins {
                let round: Vec<String> = path[begins..]
                    .iter()
                    .chain([&dependency])
                    .map(FormulaRef::to_string)
                    .collect();
                let message = format!("dependencies run in a circle: {}", round.join(" → "));
                sheets.note(at.name(), span, "leads back", message, None);
            } else if let Some((message, help)) = self.missing(&dependency) {
                let name = dependency.name();
                if !sheets.hide(name, self.formulae.get(name)) {
                    sheets.note(at.name(), span, "does not exist", message, help);
                }
            } else {
                self.visit(&dependency, path, finished, sheets);
            }
        }
        path.pop();
        finished.insert(at.clone());
    }

    fn dependencies(&self, of: &FormulaRef) -> Vec<(std::ops::Range<usize>, FormulaRef)> {
        let found = self.formulae.get(of.name()).and_then(|formula| {
            let mut releases = formula.releases.iter();
            let release = releases.find(|release| Some(&release.version) == of.version())?;
            formula.series_of(release)
        });
        let (Some(series), Some(version)) = (found, of.version()) else {
            return Vec::new();
        };
        // On whichever stack: a circle on one alone is one.
        let added = series.additions_of(version);
        let added = added.flat_map(|addition| &addition.dependencies);
        let dependencies = series.dependencies.iter().chain(added);
        dependencies
            .map(|dependency| (dependency.span(), dependency.get_ref().clone()))
            .collect()
    }

    /// What there is to say if `reference` cannot be had.
    fn missing(&self, reference: &FormulaRef) -> Option<(String, Option<String>)> {
        match self.profiles(reference) {
            Ok(_) => None,
            Err(error) => {
                let near = match &error {
                    FormulaError::UnknownFormula { nearest, .. } => {
                        nearest.as_ref().map(FormulaName::to_string)
                    }
                    FormulaError::UnknownVersion { nearest, .. } => nearest
                        .as_ref()
                        .map(|version| format!("{}-{version}", reference.name())),
                    _ => None,
                };
                Some((error.to_string(), did_you_mean(near.as_deref())))
            }
        }
    }
}

/// The sheets of all files, by path.
#[derive(Default)]
struct Sheets(BTreeMap<String, Sheet>);

impl Sheets {
    /// The sheet of a file, which may be missing.
    fn open(&mut self, path: &str, tree: &Tree) -> Sheet {
        if let Some(sheet) = self.0.remove(path) {
            return sheet;
        }
        let Some(Entry { shown, bytes }) = tree.get(path) else {
            return Sheet::new(path, "");
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => Sheet::new(shown, text),
            Err(error) => {
                let mut sheet = Sheet::new(shown, &String::from_utf8_lossy(bytes));
                let at = error.valid_up_to();
                sheet.problem(at..at, "not UTF-8", "this file is not UTF-8", None);
                sheet
            }
        }
    }

    /// Whether a formula's versions are not known for a mistake in its files.
    fn hide(&self, name: &FormulaName, formula: Option<&Formula>) -> bool {
        let own = self.0.contains_key(&format!("{name}.toml"));
        let table = self.0.get(&format!("{name}.versions.toml"));
        own && (formula.is_none() || !table.is_some_and(Sheet::is_clean))
    }

    fn close(&mut self, path: String, sheet: Sheet) {
        self.0.insert(path, sheet);
    }

    /// Notes a mistake in a formula's own file.
    fn note(
        &mut self,
        name: &FormulaName,
        span: std::ops::Range<usize>,
        label: &str,
        message: String,
        help: Option<String>,
    ) {
        if let Some(sheet) = self.0.get_mut(&format!("{name}.toml")) {
            sheet.problem(span, label, message, help);
        }
    }
}

/// The names of the formulae, from the names of their files.
fn names(tree: &Tree, sheets: &mut Sheets) -> Vec<FormulaName> {
    let mut names = Vec::new();
    for path in tree.keys().filter(|path| !path.contains('/')) {
        let table = path.strip_suffix(".versions.toml");
        let Some(stem) = table.or_else(|| path.strip_suffix(".toml")) else {
            continue;
        };
        let wrong = match stem.parse::<FormulaName>() {
            Err(error) => Some((error.to_string(), "not a formula's name")),
            Ok(name) if table.is_none() => {
                names.push(name);
                None
            }
            Ok(name) if !tree.contains_key(&format!("{name}.toml")) => Some((
                format!("these are the versions of `{name}`, but there is no {name}.toml"),
                "no formula",
            )),
            Ok(_) => None,
        };
        if let Some((message, label)) = wrong {
            let mut sheet = sheets.open(path, tree);
            sheet.problem(0..0, label, message, None);
            sheets.close(path.clone(), sheet);
        }
    }
    names
}

/// A formula's helper files, by who sees them.
struct Files {
    builds: BTreeMap<String, FileContent>,
    /// What builds see is part of their ids; what tests see is not.
    tests: BTreeMap<String, FileContent>,
    baselines: BTreeMap<String, FileContent>,
}

impl Files {
    fn of(name: &FormulaName, tree: &Tree) -> Self {
        let mut builds = files_below(tree, &format!("{name}/"));
        let mut taken = |room: &str| {
            let (taken, left) = std::mem::take(&mut builds)
                .into_iter()
                .partition(|(path, _)| path.starts_with(room));
            builds = left;
            taken
        };
        Self {
            tests: taken(TESTS),
            baselines: taken(BASELINES),
            builds,
        }
    }
}

/// The files below a directory, by their path below it.
fn files_below(tree: &Tree, directory: &str) -> BTreeMap<String, FileContent> {
    let files = tree.iter().filter_map(|(path, entry)| {
        let path = path.strip_prefix(directory)?;
        let file = FileContent::new(path.to_owned(), entry.bytes.clone());
        Some((path.to_owned(), file))
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in() -> Catalog {
        Catalog::load(None).unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
    }

    #[test]
    fn the_built_in_formulae_have_the_versions_promised() {
        let catalog = built_in();
        let table = [
            (
                "python",
                vec!["2.7.18", "3.8.8", "3.9.2", "3.11.2", "3.13.5"],
            ),
            ("sqlite", vec!["3.34.1", "3.40.1", "3.46.1"]),
        ];
        for (name, promised) in table {
            let formula = catalog
                .get(&name.parse().expect("a name"))
                .expect("built in");
            let versions: Vec<&str> = formula.versions().map(Version::as_str).collect();
            for version in promised {
                assert!(versions.contains(&version), "{name}-{version}");
            }
        }
    }
}
