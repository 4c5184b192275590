//! `NAME.toml` as it is written: the right keys with the right types, not yet checked for sense.

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
    pub(super) additions: Vec<RawAddition>,
    pub(super) refuse: Vec<RawRefusal>,
    pub(super) profiles: Vec<(Text, RawProfile)>,
    pub(super) tests: Option<RawTests>,
}

/// `[[series]]`.
#[derive(Debug)]
pub(super) struct RawSeries {
    pub(super) span: std::ops::Range<usize>,
    pub(super) versions: Option<Text>,
    pub(super) end_of_life: Option<Spanned<Date>>,
    pub(super) signed_by: Vec<Text>,
    pub(super) sigstore: Option<(Text, Text)>,
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

/// One of `profiles`.
#[derive(Debug, Clone, Default)]
pub(super) struct RawProfile {
    pub(super) versions: Option<Text>,
    pub(super) options: RawOptions,
    pub(super) training: Option<Spanned<Vec<RawStep>>>,
}

/// One of `steps`.
#[derive(Debug, Clone)]
pub(super) struct RawStep {
    pub(super) name: Text,
    pub(super) run: Spanned<Vec<Text>>,
    pub(super) cwd: Option<Text>,
    pub(super) env: Vec<(Text, Text)>,
    pub(super) only: Option<Text>,
    pub(super) profile: Option<Text>,
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

/// One of `on`.
#[derive(Debug, Clone)]
pub(super) struct RawAddition {
    pub(super) versions: Option<Text>,
    pub(super) stacks: Spanned<Vec<Text>>,
    pub(super) why: Text,
    pub(super) dependencies: Vec<Text>,
    pub(super) options: RawOptions,
    pub(super) patches: Vec<Text>,
    pub(super) checks: Vec<RawCheck>,
}

/// One of `refuse`.
#[derive(Debug, Clone)]
pub(super) struct RawRefusal {
    pub(super) versions: Option<Text>,
    pub(super) stacks: Spanned<Vec<Text>>,
    pub(super) why: Text,
}

/// `tests`.
#[derive(Debug, Clone)]
pub(super) struct RawTests {
    pub(super) list: Spanned<Vec<Text>>,
    pub(super) run: Spanned<Vec<Text>>,
    pub(super) suites: Vec<(Text, Spanned<Vec<Text>>)>,
}

impl RawPart {
    /// What holds for a series: lists are appended, tables merged over, `steps`, `checks`
    /// and `tests` replaced.
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
            additions: [common.additions.as_slice(), &self.additions].concat(),
            refuse: [common.refuse.as_slice(), &self.refuse].concat(),
            profiles: [common.profiles.as_slice(), &self.profiles].concat(),
            tests: self.tests.clone().or_else(|| common.tests.clone()),
        }
    }
}

impl RawPart {
    /// What is added to the lists and variables: always, by profiles, on some stacks.
    pub(super) fn all_options(&self) -> impl Iterator<Item = &RawOptions> {
        let profiles = self.profiles.iter().map(|(_, profile)| &profile.options);
        let additions = self.additions.iter().map(|addition| &addition.options);
        std::iter::once(&self.options)
            .chain(profiles)
            .chain(additions)
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
        end_of_life: table.date("end_of_life", sheet),
        signed_by: list(&mut table, "signed_by", sheet),
        sigstore: table
            .table("sigstore", "`sigstore`", sheet)
            .and_then(|table| read_identity(table, sheet)),
        part: read_part(&mut table, sheet),
    };
    table.finish(sheet);
    series
}

fn read_identity(mut table: Table<'_>, sheet: &mut Sheet) -> Option<(Text, Text)> {
    let (identity, issuer) = (
        table.needs_string("identity", sheet),
        table.needs_string("issuer", sheet),
    );
    table.finish(sheet);
    identity.zip(issuer)
}

fn read_part(table: &mut Table<'_>, sheet: &mut Sheet) -> RawPart {
    RawPart {
        dependencies: list(table, "dependencies", sheet),
        options: read_options(table, sheet),
        patches: list(table, "patches", sheet),
        steps: read_steps(table, "steps", sheet),
        prune: list(table, "prune", sheet),
        links: each(table, "links", "a link", sheet, read_link).unwrap_or_default(),
        checks: each(table, "checks", "a check", sheet, read_check),
        modules: list(table, "modules", sheet),
        network: table.boolean("network", sheet),
        additions: each(table, "on", "an addition", sheet, read_addition).unwrap_or_default(),
        refuse: each(table, "refuse", "a refusal", sheet, read_refusal).unwrap_or_default(),
        profiles: read_profiles(table, sheet),
        tests: read_tests(table, sheet),
    }
}

fn read_steps(
    table: &mut Table<'_>,
    key: &str,
    sheet: &mut Sheet,
) -> Option<Spanned<Vec<RawStep>>> {
    let steps = table.tables(key, "a step", sheet)?;
    let span = steps.span();
    let steps = steps.into_inner().into_iter();
    let read = steps.filter_map(|step| read_step(step, sheet)).collect();
    Some(Spanned::new(span, read))
}

fn read_options(table: &mut Table<'_>, sheet: &mut Sheet) -> RawOptions {
    RawOptions {
        configure: list(table, "configure", sheet),
        make: list(table, "make", sheet),
        install: list(table, "install", sheet),
        env: read_env(table, sheet),
    }
}

fn read_profiles(table: &mut Table<'_>, sheet: &mut Sheet) -> Vec<(Text, RawProfile)> {
    let Some(mut profiles) = table.table("profiles", "`profiles`", sheet) else {
        return Vec::new();
    };
    let mut read = Vec::new();
    for name in profiles.rest() {
        if let Some(mut table) = profiles.table(name.get_ref(), "a profile", sheet) {
            let profile = RawProfile {
                versions: table.string("versions", sheet),
                options: read_options(&mut table, sheet),
                training: read_steps(&mut table, "training", sheet),
            };
            table.finish(sheet);
            read.push((name, profile));
        }
    }
    read
}

fn read_tests(table: &mut Table<'_>, sheet: &mut Sheet) -> Option<RawTests> {
    let mut tests = table.table("tests", "`tests`", sheet)?;
    let (list, run) = (
        tests.needs_strings("list", sheet),
        tests.needs_strings("run", sheet),
    );
    let mut suites = Vec::new();
    if let Some(mut table) = tests.table("suites", "`suites`", sheet) {
        for name in table.rest() {
            let tests = table.strings(name.get_ref(), sheet);
            suites.extend(tests.map(|tests| (name, tests)));
        }
    }
    tests.finish(sheet);
    Some(RawTests {
        list: list?,
        run: run?,
        suites,
    })
}

fn read_step(mut table: Table<'_>, sheet: &mut Sheet) -> Option<RawStep> {
    let (name, run) = (
        table.needs_string("name", sheet),
        table.needs_strings("run", sheet),
    );
    let (cwd, env) = (table.string("cwd", sheet), read_env(&mut table, sheet));
    let (only, profile) = (table.string("only", sheet), table.string("profile", sheet));
    table.finish(sheet);
    Some(RawStep {
        name: name?,
        run: run?,
        cwd,
        env,
        only,
        profile,
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
    let versions = table.string("versions", sheet);
    let (stacks, why) = (
        table.needs_strings("stacks", sheet),
        table.needs_string("why", sheet),
    );
    table.finish(sheet);
    Some(RawRefusal {
        versions,
        stacks: stacks?,
        why: why?,
    })
}

fn read_addition(mut table: Table<'_>, sheet: &mut Sheet) -> Option<RawAddition> {
    let versions = table.string("versions", sheet);
    let (stacks, why) = (
        table.needs_strings("stacks", sheet),
        table.needs_string("why", sheet),
    );
    let (dependencies, options) = (
        list(&mut table, "dependencies", sheet),
        read_options(&mut table, sheet),
    );
    let (patches, checks) = (
        list(&mut table, "patches", sheet),
        each(&mut table, "checks", "a check", sheet, read_check),
    );
    table.finish(sheet);
    Some(RawAddition {
        versions,
        stacks: stacks?,
        why: why?,
        dependencies,
        options,
        patches,
        checks: checks.unwrap_or_default(),
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

pub(super) fn list(table: &mut Table<'_>, key: &str, sheet: &mut Sheet) -> Vec<Text> {
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
