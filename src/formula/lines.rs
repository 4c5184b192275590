//! Checks the lines of `NAME.versions.toml`: which versions there are and where their sources
//! come from.

use jiff::civil;
use jiff::tz::TimeZone;
use toml::Spanned;

use crate::model::{Sha256, Version};

use super::raw::SCHEMA;
use super::raw_versions::{RawFlavour, RawSource, RawVersion, RawVersions};
use super::recipe::Source;
use super::sheet::{Sheet, Text};
use super::url;

/// One version and its sources, checked.
#[derive(Debug, Clone)]
pub(super) struct Release {
    pub(super) version: Version,
    /// Seconds since 1970.
    pub(super) released: i64,
    pub(super) sources: Vec<Source>,
    /// Where the file names the version.
    pub(super) span: std::ops::Range<usize>,
}

/// The releases of a file, in the order of their versions.
pub(super) fn check(raw: &RawVersions, sheet: &mut Sheet) -> Vec<Release> {
    check_schema(raw.schema.as_ref(), sheet);
    for RawFlavour { name, .. } in &raw.flavours {
        if !super::series::is_word(name.get_ref()) {
            let message = format!("`{}` cannot name a source", name.get_ref());
            sheet.problem(name.span(), "not a name", message, None);
        }
    }
    for pattern in raw.flavours.iter().flat_map(|flavour| &flavour.urls) {
        if let Err(wrong) = url::check(pattern.get_ref()) {
            sheet.wrong(pattern, wrong);
        }
    }
    if raw.versions.is_empty() {
        sheet.problem(
            0..0,
            "no version",
            "there is no version in `[versions]`",
            None,
        );
    }
    let mut releases: Vec<Release> = Vec::new();
    for line in &raw.versions {
        let Some(release) = check_line(line, &raw.flavours, sheet) else {
            continue;
        };
        if let Some(twin) = releases.iter().find(|r| r.version == release.version) {
            sheet.problem(
                release.span,
                "the same again",
                format!(
                    "version {} is there twice: `{}` is the same version",
                    release.version, twin.version
                ),
                None,
            );
            continue;
        }
        releases.push(release);
    }
    releases.sort_by(|a, b| a.version.cmp(&b.version));
    releases
}

/// Notes a schema that this pybuild does not read.
pub(super) fn check_schema(schema: Option<&Spanned<i64>>, sheet: &mut Sheet) {
    if let Some(schema) = schema
        && *schema.get_ref() != SCHEMA
    {
        sheet.problem(
            schema.span(),
            "unknown schema",
            format!(
                "this pybuild reads schema {SCHEMA}, not {}",
                schema.get_ref()
            ),
            None,
        );
    }
}

fn check_line(line: &RawVersion, flavours: &[RawFlavour], sheet: &mut Sheet) -> Option<Release> {
    let version: Option<Version> = match line.version.get_ref().parse() {
        Ok(version) => Some(version),
        Err(error) => {
            let message = format!("{error}");
            sheet.problem(line.version.span(), "not a version", message, None);
            None
        }
    };
    if line.sources.is_empty() {
        let known: Vec<&str> = flavours.iter().map(|f| f.name.get_ref().as_str()).collect();
        let known = known.join("`, `");
        sheet.problem(
            line.version.span(),
            "no source",
            format!("version {} has no source", line.version.get_ref()),
            Some(format!("give the digest of at least one of `{known}`")),
        );
    }
    let version = version?;
    let sources = line.sources.iter().filter_map(|source| {
        let flavour = flavours
            .iter()
            .find(|f| *f.name.get_ref() == source.flavour)?;
        check_source(source, flavour, &version, sheet)
    });
    let sources = sources.collect();
    Some(Release {
        released: midnight(line.released.as_ref()?, sheet)?,
        sources,
        span: line.version.span(),
        version,
    })
}

/// A day that there is.
pub(super) fn check_day(
    date: &Spanned<toml::value::Date>,
    sheet: &mut Sheet,
) -> Option<civil::Date> {
    let toml::value::Date { year, month, day } = *date.get_ref();
    let civil = (year.try_into().ok())
        .zip(month.try_into().ok())
        .zip(day.try_into().ok())
        .and_then(|((year, month), day)| civil::Date::new(year, month, day).ok());
    if civil.is_none() {
        sheet.problem(date.span(), "no such day", "there is no such day", None);
    }
    civil
}

fn midnight(date: &Spanned<toml::value::Date>, sheet: &mut Sheet) -> Option<i64> {
    let zoned = check_day(date, sheet)?.to_zoned(TimeZone::UTC).ok()?;
    let seconds = zoned.timestamp().as_second();
    // SOURCE_DATE_EPOCH and the times in a tarball cannot be before the epoch.
    if seconds < 0 {
        let message = "a release before 1970 cannot be told in an archive";
        sheet.problem(date.span(), "before 1970", message, None);
        return None;
    }
    Some(seconds)
}

fn check_source(
    source: &RawSource,
    flavour: &RawFlavour,
    version: &Version,
    sheet: &mut Sheet,
) -> Option<Source> {
    let sha256 = check_digest(source.sha256.as_ref()?, sheet);
    let pool = source.pool.as_ref().map(|pool| check_pool(pool, sheet));
    let mut urls = Vec::new();
    for pattern in &flavour.urls {
        match url::fill(pattern.get_ref(), version, &source.words) {
            Ok(url) => urls.push(url),
            Err(word) => sheet.problem(
                source.span.clone(),
                format!("no `{word}`"),
                format!(
                    "`{}` of {version} does not say `{word}`, which its URL takes",
                    source.flavour
                ),
                Some(format!("the URL is {}", pattern.get_ref())),
            ),
        }
    }
    if flavour.urls.is_empty() && pool.is_none() {
        sheet.problem(
            source.span.clone(),
            "nowhere to fetch it from",
            format!(
                "`{}` of {version} has neither a URL nor a `pool`",
                source.flavour
            ),
            None,
        );
        return None;
    }
    let pool = pool.flatten();
    let first = urls.first().or(pool.as_ref())?;
    let Some(file) = url::file_name(first).map(str::to_owned) else {
        let message = format!("{first} does not end with the name of a file");
        sheet.problem(source.span.clone(), "names no file", message, None);
        return None;
    };
    Some(Source {
        name: source.flavour.clone(),
        urls,
        pool,
        sha256: sha256?,
        file,
    })
}

fn check_digest(text: &Text, sheet: &mut Sheet) -> Option<Sha256> {
    let digest = text.get_ref().parse();
    if let Err(error) = &digest {
        let message = format!("{error}");
        let digits = text.get_ref().len();
        let help = (digits != 64).then(|| format!("there are {digits} characters here"));
        sheet.problem(text.span(), "not a SHA-256 digest", message, help);
    }
    digest.ok()
}

fn check_pool(text: &Text, sheet: &mut Sheet) -> Option<String> {
    let path = text.get_ref();
    if super::strings::is_relative(path) && path.starts_with("pool/") {
        return Some(path.clone());
    }
    sheet.problem(
        text.span(),
        "not a path in the pool",
        format!("`{path}` is not a path below a Debian mirror's root"),
        Some("it looks like pool/main/s/sqlite3/sqlite3_3.46.1.orig.tar.xz".to_owned()),
    );
    None
}
