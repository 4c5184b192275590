//! What can be wrong with a formula, or with what was asked of one.

use std::path::PathBuf;
use std::sync::Arc;

use miette::{NamedSource, SourceSpan};

use crate::model::{FormulaName, FormulaRef, StackName, Version, Wanted};
use crate::sys::fs::FsError;

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
    #[error("formula `{}` has no version {}", reference.name(), reference.version().map_or("", Version::as_str))]
    #[diagnostic(help("{}", version_help(reference.name(), nearest.as_ref(), known)))]
    UnknownVersion {
        /// The formula and the version asked for.
        reference: Box<FormulaRef>,
        /// The versions it has, in order.
        known: Vec<Version>,
        /// The one that was probably meant.
        nearest: Option<Version>,
    },
    /// No version is meant by a word.
    #[error("no version of {name} is in `{wanted}`")]
    #[diagnostic(help("known versions: {}", spans(known)))]
    Nothing {
        /// The word.
        wanted: Box<Wanted>,
        /// The formula.
        name: FormulaName,
        /// The versions it has, in order.
        known: Vec<Version>,
    },
    /// The end of life of all that is known has come.
    #[error("no runtime is supported any more")]
    #[diagnostic(help("name what is wanted: python-3.9.*"))]
    NoneSupported,
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
    /// A script for bob-builder was asked for where only formulae serve.
    #[error("{reference} is a script for bob-builder, not a formula")]
    #[diagnostic(help("`pybuild sandbox` and `pybuild deploy` take scripts"))]
    Script {
        /// The script.
        reference: Box<FormulaRef>,
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

fn mistakes(problems: &[Problem]) -> String {
    let mut files: Vec<&str> = problems.iter().map(|p| p.text.name()).collect();
    files.dedup();
    let count = match problems.len() {
        1 => "a mistake".to_owned(),
        n => format!("{n} mistakes"),
    };
    format!("{count} in {}", files.join(", "))
}

fn list<T: ToString>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(", ")
}

/// Versions in order, of each minor version the first and the last if there are many.
fn spans(versions: &[Version]) -> String {
    let minor = |version: &Version| version.prefix(2);
    let mut spans: Vec<String> = Vec::new();
    for alike in versions.chunk_by(|a, b| minor(a) == minor(b)) {
        match alike {
            [first, .., last] if alike.len() > 2 => spans.push(format!("{first} … {last}")),
            _ => spans.extend(alike.iter().map(Version::to_string)),
        }
    }
    list(&spans)
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
            spans(known)
        ),
        None => format!("known versions: {}", spans(known)),
    }
}

fn profile_help(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`? known profiles: {}", list(known)),
        None => format!("known profiles: {}", list(known)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_versions_are_told_in_short() {
        let table = [
            (&[][..], "none"),
            (&["1.0"], "1.0"),
            (&["3.9.1", "3.9.2", "3.10.0"], "3.9.1, 3.9.2, 3.10.0"),
            (&["3.9.1", "3.9.2", "3.9.10", "4"], "3.9.1 … 3.9.10, 4"),
        ];
        for (versions, told) in table {
            let versions: Vec<Version> = versions.iter().map(|v| v.parse().expect(v)).collect();
            assert_eq!(spans(&versions), told);
        }
    }
}
