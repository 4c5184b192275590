//! The command line of `shell` and `run`: a sandbox of a stack for a command by hand.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::{ImageKind, SourceMirror, Sources};
use crate::model::{GuestPath, GuestPathError, StackName, Wanted};

/// `pybuild shell`
#[derive(Debug, Args)]
pub struct Shell {
    /// The stack: debian-12
    pub stack: StackName,
    /// What it sees.
    #[command(flatten)]
    pub inside: Inside,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `pybuild run`
#[derive(Debug, Args)]
pub struct Run {
    /// The stack: debian-12
    pub stack: StackName,
    /// What it sees.
    #[command(flatten)]
    pub inside: Inside,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What a command by hand sees.
#[derive(Debug, Args)]
pub struct Inside {
    /// Which of the stack's images
    #[arg(long, value_enum, default_value_t = ImageKind::Build)]
    pub image: ImageKind,
    /// Show a file or directory of this host, read-only or (`:rw`) to be written to; at the same
    /// path if no other is given
    #[arg(long = "bind", value_name = "DIR[:TARGET][:rw]")]
    pub binds: Vec<Bind>,
    /// Have a runtime or library in its place, built now if the store has it not: python-3.11.2,
    /// python-3.11 (the newest of it)
    #[arg(long = "with", value_name = "FORMULA")]
    pub with: Vec<Wanted>,
    /// Which set of build options the formulae of --with are built with
    /// [default: what they are published with]
    #[arg(long)]
    pub profile: Option<String>,
    /// Let it use this host's network
    #[arg(long)]
    pub network: bool,
    /// Where formulae and manifests come from.
    #[command(flatten)]
    pub sources: Sources,
    /// Where sources come from.
    #[command(flatten)]
    pub mirror: SourceMirror,
}

/// A file or directory of this host, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On this host, perhaps relative.
    pub source: PathBuf,
    /// In the sandbox, if not at the same path.
    pub target: Option<GuestPath>,
    /// Whether it can be written to.
    pub writable: bool,
}

/// Why a text is not `DIR[:TARGET][:rw]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Nothing before the first colon.
    #[error("there is no directory in `{0}`")]
    NoSource(String),
    /// Something after a colon that is neither.
    #[error("`{0}` is neither an absolute path nor `rw` or `ro`")]
    Word(String),
    /// A target that is none.
    #[error(transparent)]
    Target(#[from] GuestPathError),
}

impl FromStr for Bind {
    type Err = BindError;

    /// A source that holds a colon is understood if a target is given.
    fn from_str(text: &str) -> Result<Self, BindError> {
        let (rest, writable) = match text.rsplit_once(':') {
            Some((rest, "rw")) => (rest, true),
            Some((rest, "ro")) => (rest, false),
            _ => (text, false),
        };
        let (source, target) = match rest.rsplit_once(":/") {
            Some((source, target)) => match target.rsplit_once(':') {
                Some((_, word)) => return Err(BindError::Word(word.to_owned())),
                None => (source, Some(format!("/{target}").parse()?)),
            },
            None => match rest.rsplit_once(':') {
                Some((_, word)) => return Err(BindError::Word(word.to_owned())),
                None => (rest, None),
            },
        };
        if source.is_empty() {
            return Err(BindError::NoSource(text.to_owned()));
        }
        Ok(Self {
            source: PathBuf::from(source),
            target,
            writable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_read() {
        let table = [
            ("src", "src", None, false),
            ("src:rw", "src", None, true),
            ("src:ro", "src", None, false),
            ("/a/b:/c/d", "/a/b", Some("/c/d"), false),
            (".:/c//d/:rw", ".", Some("/c/d"), true),
            ("a:b:/c", "a:b", Some("/c"), false),
            ("rw", "rw", None, false),
            ("a b:/é", "a b", Some("/é"), false),
        ];
        for (text, source, target, writable) in table {
            let bind: Bind = text.parse().expect(text);
            assert_eq!(bind.source, PathBuf::from(source), "{text}");
            let found = bind.target.as_ref().map(GuestPath::as_str);
            assert_eq!((found, bind.writable), (target, writable), "{text}");
        }
        for text in ["", ":rw", ":/a", "a:b", "a:b:rw", "a:/..", "a:/b:rx", "a:"] {
            assert!(text.parse::<Bind>().is_err(), "{text:?}");
        }
    }
}
