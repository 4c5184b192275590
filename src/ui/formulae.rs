//! What `pybuild formula list` prints: every version of every formula.

use serde::Serialize;

use crate::model::{FormulaName, Kind, StackName, Version};

use super::style::Palette;
use super::table::{Align, Table};

/// All rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Formulae(pub Vec<FormulaRow>);

/// A version. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormulaRow {
    /// Of which formula.
    pub formula: FormulaName,
    /// Which.
    pub version: Version,
    /// What it makes.
    pub kind: Kind,
    /// The day it was released.
    pub released: String,
    /// Which versions are built as it is.
    pub series: String,
    /// The last day on which upstream mends its series, if that is known.
    pub end_of_life: Option<String>,
    /// Whether that is over.
    pub is_past: bool,
    /// The forms of its source, the preferred first.
    pub sources: Vec<SourceName>,
    /// The stacks it is not for.
    pub refused: Vec<RefusedStack>,
}

/// A form of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceName {
    /// What it is called.
    pub source: String,
    /// Whether Debian's pool has it too.
    pub pool: bool,
}

/// A stack that a version is not for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedStack {
    /// Which.
    pub stack: StackName,
    /// The formula's own words.
    pub why: String,
}

/// So many stacks are named in a row; of more, how many they are.
const NAMED: usize = 2;

impl Formulae {
    /// For people.
    pub fn render(&self, palette: Palette) -> String {
        let mut table = Table::new([Align::Left; 6]);
        let head = [
            "FORMULA",
            "VERSION",
            "RELEASED",
            "END OF LIFE",
            "SOURCES",
            "NOT FOR",
        ];
        table.row(head.map(str::to_owned));
        for row in &self.0 {
            let end = row.end_of_life.as_ref().map_or_else(
                || "-".to_owned(),
                |day| format!("{day}{}", if row.is_past { " (past)" } else { "" }),
            );
            let source = |it: &SourceName| {
                let pool = if it.pool { " (Debian)" } else { "" };
                format!("{}{pool}", it.source)
            };
            let sources: Vec<String> = row.sources.iter().map(source).collect();
            table.row([
                row.formula.to_string(),
                row.version.to_string(),
                row.released.clone(),
                end,
                sources.join(", "),
                row.not_for(),
            ]);
        }
        let text = table.render();
        let mut lines = text.lines();
        let mut out = lines
            .next()
            .map_or_else(String::new, |head| format!("{}\n", palette.strong(head)));
        for (line, row) in lines.zip(&self.0) {
            let line = if row.is_past {
                palette.faint(line)
            } else {
                line.to_owned()
            };
            out.extend([line.as_str(), "\n"]);
        }
        out
    }
}

impl FormulaRow {
    fn not_for(&self) -> String {
        let names: Vec<&str> = self.refused.iter().map(|it| it.stack.as_str()).collect();
        match names.as_slice() {
            [] => "-".to_owned(),
            few if few.len() <= NAMED + 1 => few.join(", "),
            many => format!(
                "{} and {} more",
                many[..NAMED].join(", "),
                many.len() - NAMED
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(formula: &str, version: &str, end: Option<&str>, refused: &[&str]) -> FormulaRow {
        let source = |source: &str, pool| SourceName {
            source: source.to_owned(),
            pool,
        };
        let refused = refused.iter().map(|stack| RefusedStack {
            stack: stack.parse().expect("a stack"),
            why: "its OpenSSL is too new".to_owned(),
        });
        FormulaRow {
            formula: formula.parse().expect("a name"),
            version: version.parse().expect("a version"),
            kind: Kind::Runtime,
            released: "2020-04-20".to_owned(),
            series: ">=2.7, <2.8".to_owned(),
            end_of_life: end.map(str::to_owned),
            is_past: end.is_some_and(|day| day < "2026"),
            sources: vec![source("tgz", true), source("xz", false)],
            refused: refused.collect(),
        }
    }

    fn formulae() -> Formulae {
        let stacks = ["debian-11", "debian-12", "debian-13", "heroku-22"];
        Formulae(vec![
            row("python", "2.7.9", Some("2020-01-01"), &stacks),
            row("python", "3.11.2", Some("2027-10-31"), &stacks[..3]),
            row("sqlite", "3.46.1", None, &[]),
        ])
    }

    #[test]
    fn the_list_is_one_to_read() {
        insta::assert_snapshot!(formulae().render(Palette::default()));
    }

    #[test]
    fn the_json_has_stable_keys() {
        let json = serde_json::to_string_pretty(&Formulae(vec![formulae().0.remove(0)]));
        insta::assert_snapshot!(json.expect("it serialises"));
    }
}
