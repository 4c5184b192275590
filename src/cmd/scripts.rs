//! Scripts for bob-builder among what is asked for: where they are, what they see, and in which
//! order they are run.

use std::path::{Path, PathBuf};

use super::Failure;
use super::make::Made;
use super::shelf::Shelf;
use crate::formula::bob::{Script, Surroundings, VISIBLE, Workspace, highest, is_wildcard};
use crate::formula::{Archive, Recipe};
use crate::model::{FormulaRef, Sha256, Wanted};
use crate::publish::Inputs;
use crate::ui::ExitKind;

/// The time that files bear where nobody says when the software was released: the first that a
/// zip file can say, which Python's own installer would otherwise refuse.
const EPOCH: i64 = 315_532_800;

/// The scripts that are asked for, in an order in which they can be run.
pub(super) struct Scripts {
    all: Vec<Script>,
    around: Surroundings,
    left_out: Vec<String>,
}

/// Which of these are formulae.
pub(super) fn formulae(wanted: &[Wanted]) -> Vec<Wanted> {
    let formulae = wanted.iter().filter(|wanted| script(wanted).is_none());
    formulae.cloned().collect()
}

/// Which of these are scripts.
pub(super) fn asked(wanted: &[Wanted]) -> Vec<FormulaRef> {
    wanted.iter().filter_map(script).cloned().collect()
}

fn script(wanted: &Wanted) -> Option<&FormulaRef> {
    match wanted {
        Wanted::Version(reference) => Some(reference).filter(|reference| reference.is_script()),
        Wanted::Range { .. } | Wanted::Supported(_) => None,
    }
}

/// An archive that a script begins with.
enum Beginning {
    /// It is here.
    Here(Archive),
    /// It is what this command makes before.
    Own(String),
}

/// A script whose archives are here, but for those that this command makes.
pub(super) struct Ready<'a> {
    script: &'a Script,
    around: &'a Surroundings,
    archives: Vec<Beginning>,
}

impl Scripts {
    /// Reads the scripts among what is asked for, and finds out what is wrong with them. `inputs`
    /// hold the environment; `name` is what the archive is published as.
    pub(super) fn read(
        asked: &[FormulaRef],
        directory: Option<&Path>,
        inputs: &Inputs,
        name: Option<&str>,
    ) -> Result<Self, Failure> {
        let references = asked.iter().filter(|reference| reference.is_script());
        let mut references: Vec<&FormulaRef> = references.collect();
        references.dedup();
        let around = surroundings(inputs, name)?;
        let Some(first) = references.first() else {
            return Ok(Self {
                all: Vec::new(),
                around,
                left_out: Vec::new(),
            });
        };
        let named = inputs.variable("WORKSPACE_DIR")?.map(PathBuf::from);
        let Some(directory) = directory.or(named.as_deref()) else {
            let message = format!("{first} is a script, and nobody says where scripts are");
            return Err(Failure::new(ExitKind::Usage, message)
                .hint("give their directory as --formulae DIR, or set WORKSPACE_DIR"));
        };
        let workspace = Workspace::read(directory)?;
        let scripts = references
            .into_iter()
            .map(|reference| workspace.script(reference))
            .collect::<Result<Vec<_>, _>>()?;
        for script in &scripts {
            // What it says of itself is wrong with any archives.
            script.recipe(&around, Vec::new())?;
        }
        Ok(Self {
            all: ordered(scripts),
            around,
            left_out: workspace.left_out().to_vec(),
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Each script, and how it is run with archives whose bytes nobody knows yet.
    pub(super) fn unread(&self) -> Result<Vec<(&Script, Recipe)>, Failure> {
        let unread = |script| -> Result<_, Failure> {
            let archive = |name: &String| Archive {
                name: name.clone(),
                sha256: Sha256::of(b""),
            };
            let archives = Script::dependencies(script).iter().map(archive);
            Ok((script, script.recipe(&self.around, archives.collect())?))
        };
        self.all.iter().map(unread).collect()
    }

    /// Takes from the shelf what the scripts begin with, unless this command makes it before: from
    /// `recipes`, or from an earlier script.
    pub(super) fn ready(
        &self,
        recipes: &[Recipe],
        places: &Shelf<'_>,
    ) -> Result<Vec<Ready<'_>>, Failure> {
        if let Some(first) = self.left_out.first() {
            let more = match self.left_out.len() - 1 {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            places.session.observer().warn(format!(
                "scripts do not see {first}{more}: links that lead out of their directory or to \
                 directories, and what is no file"
            ));
        }
        let made = recipes
            .iter()
            .map(|recipe| format!("{}/{}", recipe.kind.directory(), recipe.reference));
        let mut own: Vec<String> = made.collect();
        let mut ready = Vec::new();
        for script in &self.all {
            let begin = |name: &String| match meant(name, &own) {
                Some(own) => Ok(Beginning::Own(own.to_owned())),
                None => Ok(Beginning::Here(places.take(script.reference(), name)?)),
            };
            let archives = script.dependencies().iter().map(begin);
            let archives = archives.collect::<Result<Vec<_>, Failure>>()?;
            ready.push(Ready {
                script,
                around: &self.around,
                archives,
            });
            own.push(script.reference().to_string());
        }
        Ok(ready)
    }
}

impl Ready<'_> {
    /// How it is run, now that all it begins with is here: in what this command has `made`, or
    /// where it has been published meanwhile.
    pub(super) fn recipe(&self, made: &[Made], places: &Shelf<'_>) -> Result<Recipe, Failure> {
        let archive = |beginning: &Beginning| match beginning {
            Beginning::Here(archive) => Ok(archive.clone()),
            Beginning::Own(name) => match made.iter().find(|made| path(made) == *name) {
                Some(made) => places.keep(name, made),
                None => places.take(self.script.reference(), name),
            },
        };
        let archives = self.archives.iter().map(archive);
        let archives = archives.collect::<Result<Vec<_>, Failure>>()?;
        Ok(self.script.recipe(self.around, archives)?)
    }
}

/// What an artifact is called below its stack, without its ending.
fn path(made: &Made) -> String {
    if made.reference.is_script() {
        made.reference.to_string()
    } else {
        let kind = made.artifact.record().product.kind;
        format!("{}/{}", kind.directory(), made.reference)
    }
}

/// Which of `names` a script means, if any.
pub(super) fn meant<'a>(name: &str, names: &'a [String]) -> Option<&'a str> {
    let mut names = names.iter().map(String::as_str);
    if is_wildcard(name) {
        highest(name, names)
    } else {
        names.find(|known| *known == name)
    }
}

/// The scripts as they are asked for, but each after those that it begins with. Where that goes
/// round in a circle, they stay as they are.
fn ordered(mut rest: Vec<Script>) -> Vec<Script> {
    let mut ordered = Vec::new();
    while !rest.is_empty() {
        let names: Vec<String> = rest.iter().map(|one| one.reference().to_string()).collect();
        let waits = |n: &usize| {
            let others: Vec<String> = names
                .iter()
                .filter(|name| **name != names[*n])
                .cloned()
                .collect();
            let mut begins = rest[*n].dependencies().iter();
            begins.any(|name| meant(name, &others).is_some())
        };
        let next = (0..rest.len()).find(|n| !waits(n)).unwrap_or(0);
        ordered.push(rest.remove(next));
    }
    ordered
}

fn surroundings(inputs: &Inputs, name: Option<&str>) -> Result<Surroundings, Failure> {
    let mut around = Surroundings {
        epoch: EPOCH,
        name: name.map(str::to_owned),
        ..Surroundings::default()
    };
    for variable in VISIBLE {
        if let Some(value) = inputs.variable(variable)? {
            around.variables.insert(variable.to_owned(), value);
        }
    }
    if let Some(epoch) = inputs.variable("SOURCE_DATE_EPOCH")? {
        let Ok(seconds @ 0..=0x7fff_ffff_ffff) = epoch.parse() else {
            let message = format!("SOURCE_DATE_EPOCH: `{epoch}` is no number of seconds");
            return Err(Failure::new(ExitKind::Usage, message));
        };
        around.epoch = seconds;
    }
    Ok(around)
}
