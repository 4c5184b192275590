//! Simple scripts as formulae: those that fetch one tarball, and configure, make and install it.
//!
//! A script is followed line by line as bash would, as far as that can be done without running
//! anything. What cannot be followed is told by its line, and nothing is guessed: a script is
//! understood whole or not at all.

mod fetch;
mod follow;
mod lexer;
mod values;
mod write;

use std::fmt;

use crate::model::{FormulaRef, Kind, Sha256, Version};

use super::{Script, ScriptError, Workspace};

pub use write::write;

/// Stands for the prefix in values, and for the directory of scripts. No script can hold them.
const PREFIX: &str = "\u{1}";
const WORKSPACE: &str = "\u{2}";

/// What became of following something, or what is not understood.
type Followed<T = ()> = Result<T, String>;

/// A script that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Understood {
    /// Which script.
    pub script: FormulaRef,
    /// The version of what it builds: its own, else that of what it fetches.
    pub version: Version,
    /// What it fetches.
    pub url: String,
    pub(super) kind: Kind,
    pub(super) prefix: String,
    /// The archives it begins with.
    pub(super) dependencies: Vec<String>,
    pub(super) body: Body,
}

/// What a script does, with placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Body {
    pub(super) env: Vec<(String, String)>,
    pub(super) steps: Vec<Vec<String>>,
    pub(super) prune: Vec<String>,
    pub(super) links: Vec<(String, String)>,
}

/// What was found out about what a script fetches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its digest.
    pub sha256: Sha256,
    /// The day of the newest file in it: `2021-02-19`.
    pub released: String,
}

/// Why a script was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which script.
    pub script: String,
    /// The file with the line, which may be one that the script reads; and the line, from 1.
    pub place: Option<(String, usize)>,
    /// What is not understood.
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((file, line)) if *file == self.script => {
                write!(f, "{file}, line {line}: {}", self.why)
            }
            Some((file, line)) => {
                write!(f, "{}: {file}, line {line}: {}", self.script, self.why)
            }
            None => write!(f, "{}: {}", self.script, self.why),
        }
    }
}

/// Follows every script of a directory. Files that scripts read, and files without a directory of
/// their own (a README, a Dockerfile), are no scripts.
pub fn understand(workspace: &Workspace) -> Result<(Vec<Understood>, Vec<Refusal>), ScriptError> {
    let (mut understood, mut refused) = (Vec::new(), Vec::new());
    let mut read: Vec<String> = Vec::new();
    for file in workspace.files() {
        let path = file.path();
        let is_script = file.bytes().starts_with(b"#!") && path.contains('/');
        let Ok(reference) = path.parse::<FormulaRef>() else {
            continue;
        };
        if !is_script {
            continue;
        }
        let script = workspace.script(&reference)?;
        let followed = follow::follow(&script, workspace, &mut read);
        match followed {
            Ok(one) => understood.push(one),
            Err(refusal) => refused.push(refusal),
        }
    }
    let is_read = |path: &str| read.iter().any(|read| read == path);
    understood.retain(|one: &Understood| !is_read(&one.script.to_string()));
    refused.retain(|one: &Refusal| !is_read(&one.script));
    Ok((understood, refused))
}

/// The version in the name of a file: `3.1` of `libffi-3.1.tar.gz`.
fn version_of(file: &str) -> Option<Version> {
    let (_, version) = stem(file).rsplit_once('-')?;
    version.parse().ok()
}

/// The name of a tarball without its ending: what its top directory is called.
fn stem(file: &str) -> &str {
    let endings = [
        ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar",
    ];
    let stem = endings.iter().find_map(|ending| file.strip_suffix(ending));
    stem.unwrap_or(file)
}

#[cfg(test)]
mod tests;
