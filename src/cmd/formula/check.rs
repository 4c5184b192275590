//! `pybuild formula check`: every mistake in all formulae, and nothing is built.

use std::path::{Path, PathBuf};

use miette::NamedSource;
use serde::Serialize;

use crate::cli::{FormulaCheck, Global};
use crate::cmd::{Done, Failure};
use crate::formula::{Catalog, FormulaError, Problem};
use crate::suite::Baseline;
use crate::ui;

/// Where formulae are looked for if nobody says.
const HERE: &str = "formulae";

/// What came of it, for machines.
#[derive(Debug, Serialize)]
struct Checked {
    formulae: usize,
    versions: usize,
    mistakes: Vec<Mistake>,
}

/// A mistake and its place: line and column count from 1, columns in characters.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Mistake {
    file: String,
    line: usize,
    column: usize,
    message: String,
    hint: Option<String>,
}

/// Reads all formulae and says whether they are sound.
pub(super) fn run(global: &Global, args: &FormulaCheck) -> Result<Done, Failure> {
    let here = || Some(PathBuf::from(HERE)).filter(|dir| dir.is_dir());
    let dir = args.dir.clone().or_else(here);
    let loaded = Catalog::load(dir.as_deref()).and_then(|catalog| {
        check_baselines(&catalog)?;
        Ok(catalog)
    });
    match loaded {
        Ok(catalog) => sound(global, dir.as_deref(), &catalog),
        Err(error) => {
            if let (true, FormulaError::Invalid { problems }) = (global.json, &error) {
                ui::print_json(&Checked {
                    formulae: 0,
                    versions: 0,
                    mistakes: problems.iter().map(mistake).collect(),
                })?;
            }
            Err(error.into())
        }
    }
}

/// What is recorded of tests is read where it is used; here all of it is.
fn check_baselines(catalog: &Catalog) -> Result<(), FormulaError> {
    let mut problems = Vec::new();
    for name in catalog.names() {
        let baselines = catalog.get(name)?.baselines();
        for (path, text) in baselines.all() {
            let (message, span) = match Baseline::parse(&text) {
                Ok(baseline) => {
                    let (version, stack) = (&baseline.version, &baseline.stack);
                    let place = baselines.path(version, stack);
                    if place == path {
                        continue;
                    }
                    let message = format!(
                        "it is of version {version} on {stack}, and so nobody reads it here: its \
                         place is {}",
                        place.display()
                    );
                    (message, None)
                }
                Err(error) => (error.what().to_owned(), error.span()),
            };
            problems.push(Problem {
                message: format!("not a baseline: {message}"),
                label: "here".to_owned(),
                span: span.unwrap_or(0..0).into(),
                help: Some("`pybuild test --record` writes one".to_owned()),
                text: NamedSource::new(path.display().to_string(), text.into()),
            });
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(FormulaError::Invalid { problems })
}

fn sound(global: &Global, dir: Option<&Path>, catalog: &Catalog) -> Result<Done, Failure> {
    let mut versions = 0;
    for name in catalog.names() {
        versions += catalog.get(name)?.versions().count();
    }
    let formulae = catalog.names().count();
    if global.json {
        ui::print_json(&Checked {
            formulae,
            versions,
            mistakes: Vec::new(),
        })?;
        return Ok(Done::Here);
    }
    let what = match dir {
        Some(dir) => format!("{} over those built in", dir.display()),
        None => "those built in".to_owned(),
    };
    let plural = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    ui::print(&format!(
        "{} with {} ({}): no mistake\n",
        plural(formulae, "formula", "formulae"),
        plural(versions, "version", "versions"),
        ui::text::clean(&what),
    ))?;
    Ok(Done::Here)
}

fn mistake(problem: &Problem) -> Mistake {
    let text: &str = problem.text.inner();
    let (line, column) = place(text, problem.span.offset());
    Mistake {
        file: problem.text.name().to_owned(),
        line,
        column,
        message: problem.message.clone(),
        hint: problem.help.clone(),
    }
}

/// The line and the column of a byte, from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.matches('\n').count() + 1;
    let begin = before.rfind('\n').map_or(0, |n| n + 1);
    (line, before[begin..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_in_characters() {
        let table = [
            (0, (1, 1)),
            (2, (1, 2)),
            (1, (1, 1)),
            (4, (2, 1)),
            (99, (2, 2)),
        ];
        for (offset, expected) in table {
            assert_eq!(place("éa\nb", offset), expected, "{offset}");
        }
        assert_eq!(place("", 3), (1, 1));
    }
}
