//! Makes a formula of its two files, or says everything that is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{FormulaName, FormulaRef, GuestPath, StackName, Version, nearest};

use super::error::{FormulaError, Problem, Sheet, did_you_mean};
use super::lines::{self, Release};
use super::placeholder::{List, Template};
use super::raw::{self, RawFormula, RawPart, Text};
use super::recipe::{Check, FileContent, Kind, Link, Recipe, Step};
use super::series::{self, Arg, Options, PLAIN, Series, Surroundings};

/// How a piece of software is built, and its versions.
#[derive(Debug, Clone)]
pub struct Formula {
    name: FormulaName,
    kind: Kind,
    prefix: GuestPath,
    pub(super) series: Vec<Series>,
    pub(super) releases: Vec<Release>,
    files: Vec<FileContent>,
}

/// The texts that make a formula.
pub(super) struct Texts<'a> {
    /// What `NAME.toml` must call itself.
    pub(super) name: &'a FormulaName,
    /// `NAME.versions.toml`, if it is there.
    pub(super) has_versions: bool,
    /// Its helper files.
    pub(super) files: &'a BTreeMap<String, FileContent>,
    /// All patches.
    pub(super) patches: &'a BTreeMap<String, FileContent>,
}

/// Reads and checks both files; mistakes are noted on their sheets. `None` if there is nothing
/// to go on with.
pub(super) fn check(texts: &Texts<'_>, own: &mut Sheet, table: &mut Sheet) -> Option<Formula> {
    let raw = raw::read_formula(own);
    let raw_versions = if texts.has_versions {
        raw::read_versions(table)
    } else {
        let span = raw.as_ref().and_then(|raw| Some(raw.name.as_ref()?.span()));
        own.problem(
            span.unwrap_or(0..0),
            "no versions",
            format!(
                "`{0}` has no versions: {0}.versions.toml is missing",
                texts.name
            ),
            None,
        );
        None
    };
    let flavours = raw_versions.as_ref().map(|raw| {
        let flavours = raw.flavours.iter();
        flavours
            .map(|f| f.name.get_ref().clone())
            .collect::<Vec<_>>()
    });
    for flavour in raw_versions.iter().flat_map(|raw| &raw.flavours) {
        if !series::is_word(flavour.name.get_ref()) {
            let message = format!("`{}` cannot name a source", flavour.name.get_ref());
            table.problem(flavour.name.span(), "not a name", message, None);
        }
    }
    let around = Surroundings {
        flavours: flavours.as_deref(),
        files: texts.files,
        patches: texts.patches,
    };
    let releases = raw_versions.as_ref().map(|raw| lines::check(raw, table));
    let raw = raw?;
    lines::check_schema(raw.schema.as_ref(), own);
    if let Some(name) = &raw.name {
        check_name(name, texts.name, own);
    }
    let kind = raw.kind.as_ref().and_then(|kind| check_kind(kind, own));
    let prefix = (raw.prefix.as_ref()).and_then(|prefix| check_prefix(prefix, own));
    let series = check_series(&raw, &around, own);
    let releases = releases.unwrap_or_default();
    for release in &releases {
        if !series.iter().any(|s| s.versions.contains(&release.version)) && !series.is_empty() {
            let ranges: Vec<String> = series.iter().map(|s| s.versions.to_string()).collect();
            table.problem(
                release.span.clone(),
                "in no series",
                format!(
                    "no series of `{}` is for version {}",
                    texts.name, release.version
                ),
                Some(format!("the series are for {}", ranges.join(" · "))),
            );
        }
    }
    // What is wrong is on the sheets, and nobody gets a catalog with a mistake in it. The rest
    // is kept for the checks that look at all formulae together.
    Some(Formula {
        name: texts.name.clone(),
        kind: kind.unwrap_or(Kind::Library),
        prefix: prefix.unwrap_or_else(|| "/".parse().expect("a path")),
        series,
        releases,
        files: texts.files.values().cloned().collect(),
    })
}

fn check_series(raw: &RawFormula, around: &Surroundings<'_>, sheet: &mut Sheet) -> Vec<Series> {
    if raw.series.is_empty() {
        // What `[common]` says is checked nevertheless.
        check_part(
            ">=0",
            &RawPart::default().merged_over(&raw.common),
            around,
            sheet,
        );
        sheet.problem(
            0..0,
            "no series",
            "a formula needs at least one `[[series]]`",
            Some("the simplest is `[[series]]` with `versions = \">=0\"`".to_owned()),
        );
    }
    let mut checked = Vec::new();
    for series in &raw.series {
        let part = series.part.merged_over(&raw.common);
        if part.steps.is_none() {
            let message = "neither this series nor `[common]` has `steps`";
            sheet.problem(series.span.clone(), "no step", message, None);
        }
        let range = series.versions.as_ref().map_or(">=0", |v| v.get_ref());
        let range = if range.parse::<crate::model::VersionRange>().is_ok() {
            range
        } else if let Some(versions) = &series.versions {
            sheet.problem(
                versions.span(),
                "not a range",
                format!("`{range}` is not a range of versions"),
                Some("it looks like >=3.10, <3.12".to_owned()),
            );
            ">=0"
        } else {
            range
        };
        checked.push(check_part(range, &part, around, sheet));
    }
    checked
}

fn check_part(range: &str, part: &RawPart, around: &Surroundings<'_>, sheet: &mut Sheet) -> Series {
    let versions = range.parse().expect("a range that was tried");
    series::check(
        versions,
        &format!("the series `{range}`"),
        part,
        around,
        sheet,
    )
}

fn check_name(text: &Text, file: &FormulaName, sheet: &mut Sheet) {
    let name = text.get_ref();
    if name != file.as_str() {
        sheet.problem(
            text.span(),
            "not the file's name",
            format!("{file}.toml calls itself `{name}`"),
            Some(format!("write name = \"{file}\", or rename the file")),
        );
    }
}

fn check_kind(text: &Text, sheet: &mut Sheet) -> Option<Kind> {
    let kinds = [Kind::Runtime, Kind::Library];
    let kind = kinds
        .into_iter()
        .find(|kind| kind.as_str() == text.get_ref());
    if kind.is_none() {
        let names = kinds.map(Kind::as_str);
        sheet.problem(
            text.span(),
            "unknown kind",
            format!("there is no kind `{}`", text.get_ref()),
            did_you_mean(nearest(text.get_ref(), names))
                .or_else(|| Some(format!("known kinds: {}", names.join(", ")))),
        );
    }
    kind
}

fn check_prefix(text: &Text, sheet: &mut Sheet) -> Option<GuestPath> {
    let prefix = text.get_ref().parse::<GuestPath>();
    // Something must be left to pack, and the build's own directories are no place for it.
    let taken = ["/build", "/tmp", "/proc", "/sys", "/dev"];
    let why = match &prefix {
        Err(error) => Some(error.to_string()),
        Ok(prefix) if prefix.as_str() == "/" => Some("the prefix cannot be the root".to_owned()),
        Ok(prefix) => taken
            .iter()
            .find(|taken| prefix.is_within(&taken.parse().expect("a path")))
            .map(|taken| format!("the prefix cannot lie in {taken}, which the sandbox uses")),
    };
    if let Some(message) = why {
        sheet.problem(
            text.span(),
            "not a prefix",
            message,
            Some("it looks like /app/.heroku/python".to_owned()),
        );
        return None;
    }
    prefix.ok()
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

/// The mistakes of several sheets, file by file.
pub(super) fn problems(sheets: impl IntoIterator<Item = Sheet>) -> Vec<Problem> {
    sheets.into_iter().flat_map(Sheet::into_problems).collect()
}
