//! What can be wrong with a formula, or with what was asked of one.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{NamedSource, SourceSpan};

use crate::model::{FormulaName, FormulaRef, StackName, Version};
use crate::sys::fs::FsError;

use super::placeholder::Wrong;
use super::raw::Text;

/// Why a formula or a recipe cannot be had.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FormulaError {
    /// Formula files say something that they must not; all mistakes of all files are here.
    #[error("{}", mistakes(problems))]
    Invalid {
        /// The mistakes, by file and then by place. At least one.
        #[related]
        problems: Vec<Problem>,
    },
    /// A formula file cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The directory that was to be laid over the built-in formulae holds something unusable.
    #[error("cannot read formulae from {}: {why}", path.display())]
    Directory {
        /// What cannot be used.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// There is no formula of this name.
    #[error("there is no formula `{name}`")]
    #[diagnostic(help("{}", name_help(nearest.as_ref(), known)))]
    UnknownFormula {
        /// The name asked for.
        name: FormulaName,
        /// The formulae there are.
        known: Vec<FormulaName>,
        /// The one that was probably meant.
        nearest: Option<FormulaName>,
    },
    /// The formula has no such version.
    #[error("formula `{}` has no version {}", reference.name(), reference.version())]
    #[diagnostic(help("{}", version_help(reference.name(), nearest.as_ref(), known)))]
    UnknownVersion {
        /// The formula and the version asked for.
        reference: Box<FormulaRef>,
        /// The versions it has, in order.
        known: Vec<Version>,
        /// The one that was probably meant.
        nearest: Option<Version>,
    },
    /// The formula has no such profile for this version.
    #[error("{reference} has no profile `{profile}`")]
    #[diagnostic(help("{}", profile_help(nearest.as_deref(), known)))]
    UnknownProfile {
        /// The formula and the version.
        reference: Box<FormulaRef>,
        /// The profile asked for.
        profile: String,
        /// The profiles there are.
        known: Vec<String>,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// The formula says that this version cannot be built on this stack.
    #[error("{reference} cannot be built on {stack}: {why}")]
    Refused {
        /// The formula and the version.
        reference: Box<FormulaRef>,
        /// The stack.
        stack: StackName,
        /// The formula's own words.
        why: String,
    },
}

/// One mistake in one file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("{message}")]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// The same in a word or two, to stand at the place itself.
    pub label: String,
    /// Where in `text`, in bytes.
    #[label("{label}")]
    pub span: SourceSpan,
    /// What to write instead, where that can be told.
    #[help]
    pub help: Option<String>,
    /// The file's name and its whole text.
    #[source_code]
    pub text: NamedSource<Arc<str>>,
}

/// A file being read, and the mistakes found in it so far.
#[derive(Debug)]
pub(super) struct Sheet {
    text: NamedSource<Arc<str>>,
    problems: Vec<Problem>,
}

impl Sheet {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            text: NamedSource::new(file, Arc::from(text)),
            problems: Vec::new(),
        }
    }

    /// The whole text of the file.
    pub(super) fn text(&self) -> &str {
        self.text.inner()
    }

    /// Whether no mistake was found so far.
    pub(super) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Notes a mistake. The same one is noted once: what `[common]` says is checked for every
    /// series.
    pub(super) fn problem(
        &mut self,
        span: Range<usize>,
        label: impl Into<String>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let problem = Problem {
            message: message.into(),
            label: label.into(),
            span: span.into(),
            help,
            text: self.text.clone(),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Notes what is wrong with a string that holds placeholders, at the very place inside it.
    pub(super) fn wrong(&mut self, text: &Text, wrong: Wrong) {
        let Wrong {
            at,
            label,
            message,
            help,
        } = wrong;
        let span = text.span();
        // A string without escapes stands in the file as it is, behind its quote.
        let start = span.start + 1;
        let verbatim = self.text().get(start..start + text.get_ref().len());
        let span = if verbatim == Some(text.get_ref()) && !at.is_empty() {
            start + at.start..start + at.end
        } else {
            span
        };
        self.problem(span, label, message, help);
    }

    /// The mistakes, in the order of their places.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.span.offset());
        self.problems
    }
}

fn mistakes(problems: &[Problem]) -> String {
    let mut files: Vec<&str> = problems.iter().map(|p| p.text.name()).collect();
    files.dedup();
    let count = match problems.len() {
        1 => "a mistake".to_owned(),
        n => format!("{n} mistakes"),
    };
    format!("{count} in {}", files.join(", "))
}

/// `help` for a name that is probably another one, misspelt.
pub(super) fn did_you_mean(nearest: Option<&str>) -> Option<String> {
    nearest.map(|nearest| format!("did you mean `{nearest}`?"))
}

fn list<T: ToString>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(", ")
}

fn name_help(nearest: Option<&FormulaName>, known: &[FormulaName]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`? known formulae: {}", list(known)),
        None => format!("known formulae: {}", list(known)),
    }
}

fn version_help(name: &FormulaName, nearest: Option<&Version>, known: &[Version]) -> String {
    match nearest {
        Some(nearest) => format!(
            "did you mean `{name}-{nearest}`? known versions: {}",
            list(known)
        ),
        None => format!("known versions: {}", list(known)),
    }
}

fn profile_help(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`? known profiles: {}", list(known)),
        None => format!("known profiles: {}", list(known)),
    }
}
