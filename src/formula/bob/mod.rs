//! Scripts written for bob-builder, run as they are.
//!
//! ```text
//! DIR ─▶ Workspace ─▶ Script (by its path) ─ archives it begins with ─▶ Recipe
//! ```
//!
//! A script is a file below a directory of formulae, named by its path there:
//! `runtimes/python-3.8.8`. bash runs it with the path it is to install to, and what it may want
//! to know in its environment; what it leaves there is the artifact. It says two things about
//! itself, in comments that begin their lines: `# Build Path: ` is where it installs to,
//! `# Build Deps: ` which archives are to lie there when it begins.

mod headers;
pub mod import;
mod script;
mod wildcard;
mod workspace;

use std::path::PathBuf;

use crate::model::FormulaRef;
use crate::sys::fs::FsError;

pub use script::{Script, Surroundings, VISIBLE};
pub use wildcard::{highest, is_wildcard};
pub use workspace::Workspace;

/// Why a script cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The directory holds more than scripts do.
    #[error("{} holds more than a directory of scripts should: {what}", path.display())]
    TooMuch {
        /// The directory.
        path: PathBuf,
        /// What there is too much of.
        what: String,
    },
    /// There is no such script.
    #[error("there is no script {reference} in {}", directory.display())]
    Missing {
        /// What was asked for.
        reference: Box<FormulaRef>,
        /// Where it was looked for.
        directory: PathBuf,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// It says something of itself that cannot be.
    #[error("{reference} says `{line}`: {why}")]
    Header {
        /// The script.
        reference: Box<FormulaRef>,
        /// The line.
        line: String,
        /// What is wrong with it.
        why: String,
    },
}
