//! Which builds a matrix of runtimes and stacks is: what is meant by a few words, and what must be
//! done before what. Pure.

use jiff::civil::Date;

use crate::formula::{Catalog, FormulaError, Recipe};
use crate::model::{FormulaRef, NameError, StackName, Wanted, WantedError, nearest};

/// The word that stands for every stack that is supported still.
const SUPPORTED: &str = "supported";

/// Why a matrix cannot be made of what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// A word names no stack.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A word names no runtime.
    #[error(transparent)]
    Wanted(#[from] WantedError),
    /// There is no such stack.
    #[error("there is no stack `{name}`")]
    Stack {
        /// What was asked for.
        name: StackName,
        /// What was probably meant.
        nearest: Option<String>,
        /// What there is.
        known: Vec<StackName>,
    },
    /// There is nothing in what was given.
    #[error("{option} names nothing")]
    Nothing {
        /// The option.
        option: &'static str,
    },
    /// A formula cannot give what was asked for.
    #[error(transparent)]
    Formula(#[from] Box<FormulaError>),
}

/// The words of an option that may be given several times, each with several words.
fn words(option: &[String]) -> impl Iterator<Item = &str> {
    option
        .iter()
        .flat_map(|text| text.split(|c: char| c == ',' || c.is_whitespace()))
        .filter(|word| !word.is_empty())
}

/// What `--runtimes` means.
pub fn wanted(option: &[String]) -> Result<Vec<Wanted>, MatrixError> {
    let wanted: Vec<Wanted> = words(option).map(str::parse).collect::<Result<_, _>>()?;
    if wanted.is_empty() {
        return Err(MatrixError::Nothing {
            option: "--runtimes",
        });
    }
    Ok(wanted)
}

/// The stacks there are, and which of them are supported still.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stacks(pub Vec<(StackName, bool)>);

impl Stacks {
    /// What `--stacks` means: each once, in the order in which they are named.
    pub fn named(&self, option: &[String]) -> Result<Vec<StackName>, MatrixError> {
        let mut named: Vec<StackName> = Vec::new();
        for word in words(option) {
            if word == SUPPORTED {
                let supported = self.0.iter().filter(|(_, supported)| *supported);
                named.extend(supported.map(|(name, _)| name.clone()));
                continue;
            }
            let name: StackName = word.parse()?;
            if !self.0.iter().any(|(known, _)| *known == name) {
                let known = || self.0.iter().map(|(name, _)| name);
                let near = nearest(word, known().map(StackName::as_str));
                return Err(MatrixError::Stack {
                    nearest: near.map(str::to_owned),
                    known: known().cloned().collect(),
                    name,
                });
            }
            named.push(name);
        }
        dedup(&mut named);
        if named.is_empty() {
            return Err(MatrixError::Nothing { option: "--stacks" });
        }
        Ok(named)
    }
}

fn dedup<T: PartialEq>(items: &mut Vec<T>) {
    let mut n = 0;
    while n < items.len() {
        if items[..n].contains(&items[n]) {
            items.remove(n);
        } else {
            n += 1;
        }
    }
}

/// One runtime for one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The stack.
    pub stack: StackName,
    /// How the runtime is built.
    pub recipe: Recipe,
    /// And what it needs, each after what itself needs.
    pub dependencies: Vec<Recipe>,
}

/// A runtime that its formula does not build for a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The stack.
    pub stack: StackName,
    /// The runtime.
    pub reference: FormulaRef,
    /// The formula's own words.
    pub why: String,
}

/// All that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matrix {
    /// The runtimes, in order: the rows of the table.
    pub runtimes: Vec<FormulaRef>,
    /// The stacks, in the order in which they were named: its columns.
    pub stacks: Vec<StackName>,
    /// What there is to be built, stack by stack.
    pub jobs: Vec<Job>,
    /// What cannot be.
    pub refused: Vec<Refused>,
}

/// The runtimes that are wanted, for the stacks. `today` decides what is supported.
pub fn matrix(
    wanted: &[Wanted],
    stacks: &[StackName],
    catalog: &Catalog,
    profile: Option<&str>,
    today: Date,
) -> Result<Matrix, MatrixError> {
    let mut runtimes = catalog.choose(wanted, today).map_err(Box::new)?;
    runtimes.sort();
    let mut matrix = Matrix {
        stacks: stacks.to_vec(),
        ..Matrix::default()
    };
    for stack in stacks {
        for reference in &runtimes {
            match catalog.recipes(reference, profile, stack) {
                Ok(mut dependencies) => {
                    let Some(recipe) = dependencies.pop() else {
                        continue; // the last is always the one asked for
                    };
                    matrix.jobs.push(Job {
                        stack: stack.clone(),
                        recipe,
                        dependencies,
                    });
                }
                // What it needs may be what is refused.
                Err(error @ FormulaError::Refused { .. }) => matrix.refused.push(Refused {
                    stack: stack.clone(),
                    reference: reference.clone(),
                    why: refusal(error, reference),
                }),
                Err(error) => return Err(Box::new(error).into()),
            }
        }
    }
    matrix.runtimes = runtimes;
    Ok(matrix)
}

fn refusal(error: FormulaError, asked: &FormulaRef) -> String {
    match error {
        FormulaError::Refused { reference, why, .. } if *reference == *asked => why,
        other => other.to_string(),
    }
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// For which stack.
    pub stack: StackName,
    /// What is done.
    pub work: Work,
    /// The tasks, by their places in the list, that must be done before.
    pub needs: Vec<usize>,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// The stack's images are made, unless they are there.
    Prepare,
    /// Something that others need is built, unless it is there.
    Build(Box<Recipe>),
    /// The job at this place in the list is built and published.
    Deploy(usize),
}

/// What has to be done for those jobs that are `missing` (by their places in the list), in an
/// order in which it can be done: the stacks, what several jobs may need once, the jobs.
pub fn tasks(jobs: &[Job], missing: &[usize]) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    let wanted = || missing.iter().filter_map(|n| Some((*n, jobs.get(*n)?)));
    for (_, job) in wanted() {
        let at = |task: &Task| task.stack == job.stack && task.work == Work::Prepare;
        if !tasks.iter().any(at) {
            tasks.push(Task {
                stack: job.stack.clone(),
                work: Work::Prepare,
                needs: Vec::new(),
            });
        }
    }
    for (_, job) in wanted() {
        for recipe in &job.dependencies {
            if built(&tasks, &job.stack, &recipe.reference).is_none() {
                let needs = needs(&tasks, &job.stack, &recipe.dependencies, None);
                tasks.push(Task {
                    stack: job.stack.clone(),
                    work: Work::Build(Box::new(recipe.clone())),
                    needs,
                });
            }
        }
    }
    for (n, job) in wanted() {
        let (stack, recipe) = (&job.stack, &job.recipe);
        let needs = needs(&tasks, stack, &recipe.dependencies, Some(&recipe.reference));
        tasks.push(Task {
            stack: stack.clone(),
            work: Work::Deploy(n),
            needs,
        });
    }
    tasks
}

/// The task that builds this for others.
fn built(tasks: &[Task], stack: &StackName, reference: &FormulaRef) -> Option<usize> {
    tasks.iter().position(|task| {
        task.stack == *stack
            && matches!(&task.work, Work::Build(recipe) if recipe.reference == *reference)
    })
}

/// The stack, the dependencies, and what builds the same for others: two at once would only wait
/// for each other.
fn needs(
    tasks: &[Task],
    stack: &StackName,
    dependencies: &[FormulaRef],
    same: Option<&FormulaRef>,
) -> Vec<usize> {
    let prepare = |task: &Task| task.stack == *stack && task.work == Work::Prepare;
    let prepared = tasks.iter().position(prepare);
    let others = dependencies.iter().chain(same);
    let others = others.filter_map(|reference| built(tasks, stack, reference));
    prepared.into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests;
