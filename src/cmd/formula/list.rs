//! `pybuild formula list`: every version of every formula.

use super::{refused, released};
use crate::cli::{FormulaList, Global};
use crate::cmd::make::today;
use crate::cmd::session::terminal;
use crate::cmd::{Done, Failure};
use crate::formula::{Catalog, Formula};
use crate::model::FormulaName;
use crate::ui::{self, FormulaRow, Formulae, SourceName};

/// Reads the formulae, and no more.
pub(super) fn run(global: &Global, args: &FormulaList) -> Result<Done, Failure> {
    let catalog = Catalog::load(args.formulae.dir.as_deref())?;
    let names: Vec<&FormulaName> = if args.names.is_empty() {
        catalog.names().collect()
    } else {
        args.names.iter().collect()
    };
    let mut formulae = Formulae(Vec::new());
    for name in names {
        formulae.0.extend(rows(catalog.get(name)?));
    }
    if global.json {
        ui::print_json(&formulae)?;
    } else {
        ui::print(&formulae.render(terminal(global).palette()))?;
    }
    Ok(Done::Here)
}

fn rows(formula: &Formula) -> impl Iterator<Item = FormulaRow> {
    let today = today();
    formula.known().map(move |known| FormulaRow {
        formula: formula.name().clone(),
        version: known.version().clone(),
        kind: formula.kind(),
        released: released(&known),
        series: known.series().to_string(),
        end_of_life: known.end_of_life().map(|day| day.to_string()),
        is_past: known.is_past(today),
        sources: (known.sources().iter())
            .map(|source| SourceName {
                source: source.name.clone(),
                pool: source.pool.is_some(),
            })
            .collect(),
        refused: refused(&known),
    })
}
