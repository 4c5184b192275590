//! A formula's two files as they are written: the right keys with the right types, not yet
//! checked for sense.

use toml::Spanned;
use toml::value::Date;

use super::reader::{Table, parse};
use super::sheet::{Sheet, Text};

/// The schema that this pybuild reads.
pub(super) const SCHEMA: i64 = 1;

/// `NAME.toml`.
#[derive(Debug, Default)]
pub(super) struct RawFormula {
    pub(super) schema: Option<Spanned<i64>>,
    pub(super) name: Option<Text>,
    pub(super) kind: Option<Text>,
    pub(super) prefix: Option<Text>,
    pub(super) common: RawPart,
    pub(super) series: Vec<RawSeries>,
}

/// What `[common]` and `[[series]]` can both say.
#[derive(Debug, Clone, Default)]
pub(super) struct RawPart {
    pub(super) dependencies: Vec<Text>,
    pub(super) options: RawOptions,
    pub(super) patches: Vec<Text>,
    pub(super) steps: Option<Spanned<Vec<RawStep>>>,
    pub(super) prune: Vec<Text>,
    pub(super) links: Vec<RawLink>,
    pub(super) checks: Option<Vec<RawCheck>>,
    pub(super) modules: Vec<Text>,
    pub(super) network: Option<bool>,
    pub(super) refuse: Vec<RawRefusal>,
    pub(super) profiles: Vec<(Text, RawOptions)>,
}

/// `[[series]]`.
#[derive(Debug)]
pub(super) struct RawSeries {
    pub(super) span: std::ops::Range<usize>,
    pub(super) versions: Option<Text>,
    pub(super) part: RawPart,
}

/// What a profile can add to.
#[derive(Debug, Clone, Default)]
pub(super) struct RawOptions {
    pub(super) configure: Vec<Text>,
    pub(super) make: Vec<Text>,
    pub(super) install: Vec<Text>,
    pub(super) env: Vec<(Text, Text)>,
}

/// One of `steps`.
#[derive(Debug, Clone)]
pub(super) struct RawStep {
    pub(super) name: Text,
    pub(super) run: Spanned<Vec<Text>>,
    pub(super) cwd: Option<Text>,
    pub(super) env: Vec<(Text, Text)>,
    pub(super) only: Option<Text>,
}

/// One of `links`.
#[derive(Debug, Clone)]
pub(super) struct RawLink {
    pub(super) path: Text,
    pub(super) to: Text,
}

/// One of `checks`.
#[derive(Debug, Clone)]
pub(super) struct RawCheck {
    pub(super) name: Text,
    pub(super) run: Spanned<Vec<Text>>,
    pub(super) moved: bool,
}

/// One of `refuse`.
#[derive(Debug, Clone)]
pub(super) struct RawRefusal {
    pub(super) stacks: Spanned<Vec<Text>>,
    pub(super) why: Text,
}

/// `NAME.versions.toml`.
#[derive(Debug, Default)]
pub(super) struct RawVersions {
    pub(super) schema: Option<Spanned<i64>>,
    /// In the order of the file.
    pub(super) flavours: Vec<RawFlavour>,
    pub(super) versions: Vec<RawVersion>,
}

/// `[sources.FLAVOUR]`.
#[derive(Debug)]
pub(super) struct RawFlavour {
    pub(super) name: Text,
    pub(super) urls: Vec<Text>,
}

/// A line of `[versions]`.
#[derive(Debug)]
pub(super) struct RawVersion {
    pub(super) version: Text,
    pub(super) released: Option<Spanned<Date>>,
    pub(super) sources: Vec<RawSource>,
}

/// What a version says of one flavour of its source.
#[derive(Debug)]
pub(super) struct RawSource {
    pub(super) span: std::ops::Range<usize>,
    pub(super) flavour: String,
    pub(super) sha256: Option<Text>,
    pub(super) pool: Option<Text>,
    /// What the flavour's URLs take besides the version.
    pub(super) words: Vec<(String, Text)>,
}

impl RawPart {
    /// What holds for a series: lists are appended, tables merged over, `steps` and `checks`
    /// replaced.
    pub(super) fn merged_over(&self, common: &Self) -> Self {
        let appended = |common: &[Text], own: &[Text]| [common, own].concat();
        Self {
            dependencies: appended(&common.dependencies, &self.dependencies),
            options: self.options.merged_over(&common.options),
            patches: appended(&common.patches, &self.patches),
            steps: self.steps.clone().or_else(|| common.steps.clone()),
            prune: appended(&common.prune, &self.prune),
            links: [common.links.as_slice(), &self.links].concat(),
            checks: self.checks.clone().or_else(|| common.checks.clone()),
            modules: appended(&common.modules, &self.modules),
            network: self.network.or(common.network),
            refuse: [common.refuse.as_slice(), &self.refuse].concat(),
            profiles: [common.profiles.as_slice(), &self.profiles].concat(),
        }
    }
}

impl RawOptions {
    fn merged_over(&self, common: &Self) -> Self {
        Self {
            configure: [common.configure.as_slice(), &self.configure].concat(),
            make: [common.make.as_slice(), &self.make].concat(),
            install: [common.install.as_slice(), &self.install].concat(),
            // The later of two values of one variable wins when the map is made.
            env: [common.env.as_slice(), &self.env].concat(),
        }
    }
}

/// Reads `NAME.toml`.
pub(super) fn read_formula(sheet: &mut Sheet) -> Option<RawFormula> {
    let text = sheet.text().to_owned();
    let document = parse(&text, sheet)?;
    let mut table = Table::new("a formula", 0..0, document.get_ref());
    let formula = RawFormula {
        schema: table.needs_integer("schema", sheet),
        name: table.needs_string("name", sheet),
        kind: table.needs_string("kind", sheet),
        prefix: table.needs_string("prefix", sheet),
        common: table
            .table("common", "`[common]`", sheet)
            .map(|mut common| {
                let part = read_part(&mut common, sheet);
                common.finish(sheet);
                part
            })
            .unwrap_or_default(),
        series: table
            .tables("series", "`[[series]]`", sheet)
            .map(Spanned::into_inner)
            .unwrap_or_default()
            .into_iter()
            .map(|table| read_series(table, sheet))
            .collect(),
    };
    table.finish(sheet);
    Some(formula)
}

fn read_series(mut table: Table<'_>, sheet: &mut Sheet) -> RawSeries {
    let series = RawSeries {
        span: table.span(),
        versions: table.needs_string("versions", sheet),
        part: read_part(&mut table, sheet),
    };
    table.finish(sheet);
    series
}

fn read_part(table: &mut Table<'_>, sheet: &mut Sheet) -> RawPart {
    RawPart {
        dependencies: list(table, "dependencies", sheet),
        options: read_options(table, sheet),
        patches: list(table, "patches", sheet),
        steps: table.tables("steps", "a step", sheet).map(|steps| {
            let span = steps.span();
            let steps = steps.into_inner().into_iter();
            Spanned::new(span, steps.filter_map(|s| read_step(s, sheet)).collect())
        }),
        prune: list(table, "prune", sheet),
        links: each(table, "links", "a link", sheet, read_link).unwrap_or_default(),
        checks: each(table, "checks", "a check", sheet, read_check),
        modules: list(table, "modules", sheet),
        network: table.boolean("network", sheet),
        refuse: each(table, "refuse", "a refusal", sheet, read_refusal).unwrap_or_default(),
        profiles: read_profiles(table, sheet),
    }
}

fn read_options(table: &mut Table<'_>, sheet: &mut Sheet) -> RawOptions {
    RawOptions {
        configure: list(table, "configure", sheet),
        make: list(table, "make", sheet),
        install: list(table, "install", sheet),
        env: read_env(table, sheet),
    }
}

fn read_profiles(table: &mut Table<'_>, sheet: &mut Sheet) -> Vec<(Text, RawOptions)> {
    let Some(mut profiles) = table.table("profiles", "`profiles`", sheet) else {
        return Vec::new();
    };
    let mut read = Vec::new();
    for name in profiles.rest() {
        if let Some(mut profile) = profiles.table(name.get_ref(), "a profile", sheet) {
            read.push((name, read_options(&mut profile, sheet)));
            profile.finish(sheet);
        }
    }
    read
}

fn read_step(mut table: Table<'_>, sheet: &mut Sheet) -> Option<RawStep> {
    let (name, run) = (
        table.needs_string("name", sheet),
        table.needs_strings("run", sheet),
    );
    let (cwd, env, only) = (
        table.string("cwd", sheet),
        read_env(&mut table, sheet),
        table.string("only", sheet),
    );
    table.finish(sheet);
    Some(RawStep {
        name: name?,
        run: run?,
        cwd,
        env,
        only,
    })
}

fn read_link(mut table: Table<'_>, sheet: &mut Sheet) -> Option<RawLink> {
    let (path, to) = (
        table.needs_string("path", sheet),
        table.needs_string("to", sheet),
    );
    table.finish(sheet);
    Some(RawLink {
        path: path?,
        to: to?,
    })
}

fn read_check(mut table: Table<'_>, sheet: &mut Sheet) -> Option<RawCheck> {
    let (name, run) = (
        table.needs_string("name", sheet),
        table.needs_strings("run", sheet),
    );
    let moved = table.boolean("moved", sheet).unwrap_or(false);
    table.finish(sheet);
    Some(RawCheck {
        name: name?,
        run: run?,
        moved,
    })
}

fn read_refusal(mut table: Table<'_>, sheet: &mut Sheet) -> Option<RawRefusal> {
    let (stacks, why) = (
        table.needs_strings("stacks", sheet),
        table.needs_string("why", sheet),
    );
    table.finish(sheet);
    Some(RawRefusal {
        stacks: stacks?,
        why: why?,
    })
}

fn read_env(table: &mut Table<'_>, sheet: &mut Sheet) -> Vec<(Text, Text)> {
    let Some(mut env) = table.table("env", "`env`", sheet) else {
        return Vec::new();
    };
    env.rest()
        .into_iter()
        .filter_map(|name| {
            let value = env.string(name.get_ref(), sheet)?;
            Some((name, value))
        })
        .collect()
}

fn list(table: &mut Table<'_>, key: &str, sheet: &mut Sheet) -> Vec<Text> {
    table
        .strings(key, sheet)
        .map(Spanned::into_inner)
        .unwrap_or_default()
}

fn each<'t, T>(
    table: &mut Table<'t>,
    key: &str,
    what: &'static str,
    sheet: &mut Sheet,
    read: fn(Table<'t>, &mut Sheet) -> Option<T>,
) -> Option<Vec<T>> {
    let tables = table.tables(key, what, sheet)?.into_inner();
    Some(tables.into_iter().filter_map(|t| read(t, sheet)).collect())
}

/// Reads `NAME.versions.toml`.
pub(super) fn read_versions(sheet: &mut Sheet) -> Option<RawVersions> {
    let text = sheet.text().to_owned();
    let document = parse(&text, sheet)?;
    let mut table = Table::new("a table of versions", 0..0, document.get_ref());
    let schema = table.needs_integer("schema", sheet);
    let flavours = table
        .table("sources", "`[sources]`", sheet)
        .map(|sources| read_flavours(sources, sheet))
        .unwrap_or_default();
    let versions = table
        .table("versions", "`[versions]`", sheet)
        .map(|versions| read_lines(versions, &flavours, sheet))
        .unwrap_or_default();
    table.finish(sheet);
    Some(RawVersions {
        schema,
        flavours,
        versions,
    })
}

fn read_flavours(mut sources: Table<'_>, sheet: &mut Sheet) -> Vec<RawFlavour> {
    let mut flavours = Vec::new();
    for name in sources.rest() {
        if let Some(mut flavour) = sources.table(name.get_ref(), "a source", sheet) {
            let urls = list(&mut flavour, "urls", sheet);
            flavour.finish(sheet);
            flavours.push(RawFlavour { name, urls });
        }
    }
    flavours
}

fn read_lines(
    mut versions: Table<'_>,
    flavours: &[RawFlavour],
    sheet: &mut Sheet,
) -> Vec<RawVersion> {
    let mut lines = Vec::new();
    for version in versions.rest() {
        let Some(mut line) = versions.table(version.get_ref(), "a version", sheet) else {
            continue;
        };
        let released = line.needs_date("released", sheet);
        let sources = flavours
            .iter()
            .filter_map(|flavour| {
                let source = line.table(flavour.name.get_ref(), "a version's source", sheet)?;
                Some(read_source(source, flavour, sheet))
            })
            .collect();
        line.finish(sheet);
        lines.push(RawVersion {
            version,
            released,
            sources,
        });
    }
    lines
}

fn read_source(mut table: Table<'_>, flavour: &RawFlavour, sheet: &mut Sheet) -> RawSource {
    let sha256 = table.needs_string("sha256", sheet);
    let pool = table.string("pool", sheet);
    // A word that no URL takes is a mistake like any unknown key.
    let words = super::url::words(&flavour.urls)
        .into_iter()
        .filter_map(|word| {
            let value = table.word(&word, sheet)?;
            Some((word, value))
        })
        .collect();
    let span = table.span();
    table.finish(sheet);
    RawSource {
        span,
        flavour: flavour.name.get_ref().clone(),
        sha256,
        pool,
        words,
    }
}
