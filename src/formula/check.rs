//! Makes a formula of its two files, or says everything that is wrong with them.

use std::collections::BTreeMap;

use crate::model::{FormulaName, GuestPath, Kind, VersionRange, nearest};

use super::error::Problem;
use super::lines::{self, Release};
use super::raw::{self, RawFormula, RawPart};
use super::raw_versions;
use super::recipe::FileContent;
use super::resolve::Formula;
use super::series::{self, About, Series};
use super::sheet::{Sheet, Text, did_you_mean};
use super::strings::Surroundings;

/// The texts that make a formula.
pub(super) struct Texts<'a> {
    /// What `NAME.toml` must call itself.
    pub(super) name: &'a FormulaName,
    /// `NAME.versions.toml`, if it is there.
    pub(super) has_versions: bool,
    /// Its helper files, as builds see them.
    pub(super) files: &'a BTreeMap<String, FileContent>,
    /// Those of its tests, which no build sees.
    pub(super) test_files: &'a BTreeMap<String, FileContent>,
    /// How its tests have ended before.
    pub(super) baselines: &'a BTreeMap<String, FileContent>,
    /// All patches.
    pub(super) patches: &'a BTreeMap<String, FileContent>,
}

/// Reads and checks both files; mistakes are noted on their sheets. `None` if there is nothing
/// to go on with.
pub(super) fn check(texts: &Texts<'_>, own: &mut Sheet, table: &mut Sheet) -> Option<Formula> {
    let raw = raw::read_formula(own);
    let raw_versions = texts
        .has_versions
        .then(|| raw_versions::read_versions(table));
    if raw_versions.is_none() {
        note_no_versions(texts.name, raw.as_ref(), own);
    }
    let raw_versions = raw_versions.flatten();
    let flavours = raw_versions.as_ref().map(|raw| {
        let flavours = raw.flavours.iter();
        flavours
            .map(|f| f.name.get_ref().clone())
            .collect::<Vec<_>>()
    });
    for path in texts.files.keys().filter(|p| p.starts_with("patches/")) {
        let message = format!("the helper file `{path}` lies where the build finds its patches");
        own.problem(0..0, "misplaced helper file", message, None);
    }
    let profiles = raw.as_ref().map(all_profiles).unwrap_or_default();
    let around = Surroundings {
        formula: texts.name,
        profiles: &profiles,
        flavours: flavours.as_deref(),
        files: texts.files,
        test_files: texts.test_files,
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
    note_homeless(&releases, &series, table);
    for release in &releases {
        let home = series
            .iter()
            .find(|it| it.versions.contains(&release.version));
        if let Some(series) = home {
            series.note_overlaps(&release.version, own);
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
        test_files: texts.test_files.values().cloned().collect(),
        baselines: texts.baselines.clone(),
    })
}

/// The profiles of all series, and whether one is trained there.
fn all_profiles(raw: &RawFormula) -> BTreeMap<String, bool> {
    let parts = raw.series.iter().map(|series| &series.part);
    let profiles = parts.chain([&raw.common]).flat_map(|part| &part.profiles);
    let mut known = BTreeMap::from([(series::PLAIN.to_owned(), false)]);
    for (name, profile) in profiles {
        *known.entry(name.get_ref().clone()).or_default() |= profile.training.is_some();
    }
    known
}

fn note_no_versions(name: &FormulaName, raw: Option<&RawFormula>, sheet: &mut Sheet) {
    let named = raw.and_then(|raw| raw.name.as_ref());
    sheet.problem(
        named.map_or(0..0, Text::span),
        "no versions",
        format!("`{name}` has no versions: {name}.versions.toml is missing"),
        None,
    );
}

/// Notes the releases that no series is for.
fn note_homeless(releases: &[Release], series: &[Series], sheet: &mut Sheet) {
    let ranges: Vec<String> = series.iter().map(|s| s.versions.to_string()).collect();
    for release in releases {
        let has_home = series.iter().any(|s| s.versions.contains(&release.version));
        if !has_home && !series.is_empty() {
            sheet.problem(
                release.span.clone(),
                "in no series",
                format!("no series is for version {}", release.version),
                Some(format!("the series are for {}", ranges.join(" · "))),
            );
        }
    }
}

fn check_series(raw: &RawFormula, around: &Surroundings<'_>, sheet: &mut Sheet) -> Vec<Series> {
    if raw.series.is_empty() {
        // What `[common]` says is checked nevertheless.
        check_part(
            About {
                versions: everything(),
                end_of_life: None,
                signed_by: Vec::new(),
                sigstore: None,
            },
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
        let range = series.versions.as_ref();
        let range = range.and_then(|versions| series::check_range(versions, sheet));
        let end_of_life = series.end_of_life.as_ref();
        let end_of_life = end_of_life.and_then(|day| lines::check_day(day, sheet));
        let about = About {
            versions: range.unwrap_or_else(everything),
            end_of_life,
            signed_by: series::check_signers(&series.signed_by, sheet),
            sigstore: (series.sigstore.as_ref()).map(|it| series::check_identity(it, sheet)),
        };
        checked.push(check_part(about, &part, around, sheet));
    }
    checked
}

/// What a series is for that does not say it.
fn everything() -> VersionRange {
    ">=0".parse().expect("a range")
}

fn check_part(
    about: About,
    part: &RawPart,
    around: &Surroundings<'_>,
    sheet: &mut Sheet,
) -> Series {
    let name = format!("the series `{}`", about.versions);
    series::check(about, &name, part, around, sheet)
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
    match prefix(text.get_ref()) {
        Ok(prefix) => Some(prefix),
        Err(message) => {
            let help = Some("it looks like /app/.heroku/python".to_owned());
            sheet.problem(text.span(), "not a prefix", message, help);
            None
        }
    }
}

/// The path that something can be installed to in a sandbox, or why it cannot be.
pub(super) fn prefix(text: &str) -> Result<GuestPath, String> {
    let prefix = text.parse::<GuestPath>();
    let prefix = prefix.map_err(|error| error.to_string())?;
    if prefix.as_str() == "/" {
        return Err("the prefix cannot be the root".to_owned());
    }
    // Something must be left to pack, and the build's own directories are no place for it.
    let taken = ["/build", "/tmp", "/proc", "/sys", "/dev"];
    let taken = taken
        .iter()
        .find(|taken| prefix.is_within(&taken.parse().expect("a path")));
    match taken {
        Some(taken) => Err(format!(
            "the prefix cannot lie in {taken}, which the sandbox uses"
        )),
        None => Ok(prefix),
    }
}

/// The mistakes of several sheets, file by file.
pub(super) fn problems(sheets: impl IntoIterator<Item = Sheet>) -> Vec<Problem> {
    sheets.into_iter().flat_map(Sheet::into_problems).collect()
}
