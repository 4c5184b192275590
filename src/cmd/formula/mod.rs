//! `pybuild formula`: what formulae there are, and what is done with them.

mod add;
mod check;
mod list;
mod show;
mod vouch;

use super::{Done, Failure, formula_import};
use crate::cli::{Formula, FormulaCommand, Global};
use crate::formula::Known;
use crate::ui::{AddedOn, RefusedStack};

/// Does what is asked of formulae.
pub(super) fn run(global: &Global, args: &Formula) -> Result<Done, Failure> {
    match &args.command {
        FormulaCommand::List(args) => list::run(global, args),
        FormulaCommand::Show(args) => show::run(global, args),
        FormulaCommand::Check(args) => check::run(global, args),
        FormulaCommand::Add(args) => add::run(global, args),
        FormulaCommand::Import(args) => formula_import::run(global, args),
    }
}

fn released(known: &Known<'_>) -> String {
    known
        .released()
        .map_or_else(String::new, |day| day.to_string())
}

/// What is there besides on some stacks.
fn added(known: &Known<'_>) -> Vec<AddedOn> {
    let added = known.additions().into_iter();
    let added = added.map(|(stacks, dependencies, why)| AddedOn {
        stacks: stacks.to_vec(),
        dependencies: dependencies.into_iter().cloned().collect(),
        why: why.to_owned(),
    });
    added.collect()
}

fn refused(known: &Known<'_>) -> Vec<RefusedStack> {
    let refused = known.refused().into_iter();
    let refused = refused.map(|(stack, why)| RefusedStack {
        stack: stack.clone(),
        why: why.to_owned(),
    });
    refused.collect()
}
