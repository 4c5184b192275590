//! `NAME.versions.toml` as it is written: the right keys with the right types, not yet checked for
//! sense.

use toml::Spanned;
use toml::value::Date;

use super::raw::list;
use super::reader::{Table, parse};
use super::sheet::{Sheet, Text};

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
