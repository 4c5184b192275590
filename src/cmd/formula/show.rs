//! `pybuild formula show`: how one version is built.

use std::collections::BTreeMap;

use super::{added, refused, released};
use crate::cli::{FormulaShow, Global};
use crate::cmd::make::today;
use crate::cmd::session::terminal;
use crate::cmd::{Done, Failure};
use crate::formula::{Catalog, Check, FileContent, Formula, Known, Recipe, Source, Step};
use crate::model::{FormulaRef, Glob};
use crate::ui::{self, ExitKind, ShownFile, ShownForm, ShownFormula, ShownStep};

/// Reads the formulae, and no more.
pub(super) fn run(global: &Global, args: &FormulaShow) -> Result<Done, Failure> {
    let catalog = Catalog::load(args.formulae.dir.as_deref())?;
    let chosen = catalog.choose(std::slice::from_ref(&args.formula), today())?;
    let [reference] = chosen.as_slice() else {
        let all: Vec<String> = chosen.iter().map(FormulaRef::to_string).collect();
        let message = format!("`{}` means {} versions", args.formula, all.len());
        let failure = Failure::new(ExitKind::Usage, message);
        return Err(failure.hint(format!("name one: {}", all.join(", "))));
    };
    let (formula, version) = catalog.release(reference)?;
    let profile = match &args.profile {
        Some(profile) => profile,
        None => formula.usual_profile(version)?,
    };
    let recipe = match &args.stack {
        Some(stack) => formula.recipe(version, profile, stack)?,
        None => formula.recipe_anywhere(version, profile)?,
    };
    let training = formula.training(&recipe, args.stack.as_ref());
    let shown = shown(
        formula,
        &formula.known_of(version)?,
        recipe,
        training.as_ref(),
    )?;
    if global.json {
        ui::print_json(&shown)?;
    } else {
        ui::print(&shown.render(terminal(global).palette()))?;
    }
    Ok(Done::Here)
}

fn shown(
    formula: &Formula,
    known: &Known<'_>,
    recipe: Recipe,
    training: Option<&Recipe>,
) -> Result<ShownFormula, Failure> {
    let Recipe {
        reference,
        kind,
        profile,
        prefix,
        released: _, // as a day
        end_of_life,
        sources,
        dependencies,
        archives: _, // a script's
        patches,
        files,
        env,
        steps,
        prune,
        links,
        checks,
        modules,
        network,
    } = recipe;
    let file = |file: &FileContent| ShownFile {
        path: file.path().to_owned(),
        sha256: file.digest(),
    };
    Ok(ShownFormula {
        profiles: formula.profiles(known.version())?,
        formula: reference.name().clone(),
        version: known.version().clone(),
        kind,
        profile,
        series: known.series().to_string(),
        released: released(known),
        end_of_life: end_of_life.map(|day| day.to_string()),
        is_past: known.is_past(today()),
        prefix: prefix.to_string(),
        network,
        refused: refused(known),
        added: added(known),
        sources: sources.into_iter().map(form).collect(),
        dependencies,
        patches: patches.iter().map(file).collect(),
        files: files.iter().map(file).collect(),
        env: (env.iter())
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
        training: (training.iter())
            .flat_map(|training| training.steps.iter().map(step))
            .collect(),
        steps: steps.iter().map(step).collect(),
        prune: prune.iter().map(Glob::to_string).collect(),
        links: (links.iter())
            .map(|link| (link.path.clone(), link.to.clone()))
            .collect(),
        checks: checks.iter().map(check).collect(),
        modules,
    })
}

fn form(source: Source) -> ShownForm {
    let Source {
        name,
        urls,
        pool,
        sha256,
        file,
    } = source;
    ShownForm {
        source: name,
        file,
        sha256,
        urls,
        pool,
    }
}

fn step(step: &Step) -> ShownStep {
    ShownStep {
        name: step.name.clone(),
        run: step.run.iter().map(ToString::to_string).collect(),
        cwd: step.cwd.as_ref().map(ToString::to_string),
        env: (step.env.iter())
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
        only: step.only.clone(),
        moved: false,
    }
}

fn check(check: &Check) -> ShownStep {
    ShownStep {
        name: check.name.clone(),
        run: check.run.iter().map(ToString::to_string).collect(),
        cwd: None,
        env: BTreeMap::new(),
        only: None,
        moved: check.moved,
    }
}
