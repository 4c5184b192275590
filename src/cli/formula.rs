//! The command line of `pybuild formula`: what formulae there are, and what is done with them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{FormulaImport, SourceMirror};
use crate::model::{FormulaName, Sha256, StackName, Version, Wanted};

/// `pybuild formula`
#[derive(Debug, Args)]
pub struct Formula {
    /// What to do.
    #[command(subcommand)]
    pub command: FormulaCommand,
}

/// What to do with formulae.
#[derive(Debug, Subcommand)]
pub enum FormulaCommand {
    /// List every version of every formula: sources, end of life, stacks it is not for
    List(FormulaList),
    /// Tell how a version is built: sources, dependencies, patches, steps, checks, modules
    Show(FormulaShow),
    /// Find every mistake in all formulae, and build nothing
    Check(FormulaCheck),
    /// Add a release to a table of versions, once its source is fetched and verified
    Add(FormulaAdd),
    /// Make formulae of simple scripts for bob-builder, and tell the line that is not understood
    /// of each that is not simple
    Import(FormulaImport),
}

/// A directory of formulae.
#[derive(Debug, Args)]
pub struct FormulaDir {
    /// A directory of formulae that add to or replace the built-in ones
    #[arg(
        long = "formulae",
        value_name = "DIR",
        env = "PYBUILD_FORMULAE",
        hide_env_values = true
    )]
    pub dir: Option<PathBuf>,
}

/// `pybuild formula list`
#[derive(Debug, Args)]
pub struct FormulaList {
    /// Only these: python [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<FormulaName>,
    /// Where formulae come from.
    #[command(flatten)]
    pub formulae: FormulaDir,
}

/// `pybuild formula show`
#[derive(Debug, Args)]
pub struct FormulaShow {
    /// Which: python-3.11.2, or python-3.11 for the newest of it
    pub formula: Wanted,
    /// Fail if it is not for this stack
    #[arg(long, value_name = "STACK")]
    pub stack: Option<StackName>,
    /// Which set of build options [default: what it is published with]
    #[arg(long)]
    pub profile: Option<String>,
    /// Where formulae come from.
    #[command(flatten)]
    pub formulae: FormulaDir,
}

/// `pybuild formula check`
#[derive(Debug, Args)]
pub struct FormulaCheck {
    /// The directory of formulae, laid over those built in [default: ./formulae if it is there,
    /// else those built in alone]
    #[arg(env = "PYBUILD_FORMULAE", hide_env_values = true)]
    pub dir: Option<PathBuf>,
}

/// `pybuild formula add`
#[derive(Debug, Args)]
pub struct FormulaAdd {
    /// The formula: python
    pub name: FormulaName,
    /// The version: 3.9.3
    pub version: Version,
    /// The directory whose NAME.versions.toml gets the line [default: ./formulae]
    #[arg(
        long = "formulae",
        value_name = "DIR",
        env = "PYBUILD_FORMULAE",
        hide_env_values = true
    )]
    pub dir: Option<PathBuf>,
    /// A file of PGP keys, armored or not, that the signature beside the tarball (.asc) is
    /// verified with; of them those count that the formula names. A Sigstore bundle beside it
    /// (.sigstore) needs none
    #[arg(long, value_name = "FILE")]
    pub keyring: Option<PathBuf>,
    /// A digest that you know to be the right one
    #[arg(long = "sha256", value_name = "DIGEST")]
    pub digests: Vec<Sha256>,
    /// Write the line even if nobody vouches for the tarball
    #[arg(long)]
    pub unsigned: bool,
    /// What a URL takes besides the version: --word year=2026 --word code=3530400
    #[arg(long = "word", value_name = "NAME=VALUE", value_parser = parse_word)]
    pub words: Vec<(String, String)>,
    /// Where tarballs come from.
    #[command(flatten)]
    pub mirror: SourceMirror,
    /// Fetch and verify, print the line, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn parse_word(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}
