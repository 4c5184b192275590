//! The command line of what makes formulae of scripts for bob-builder.

use std::path::PathBuf;

use clap::Args;

use super::SourceMirror;

/// `pybuild formula import`
#[derive(Debug, Args)]
pub struct FormulaImport {
    /// The directory of scripts: each is named by its path below it, runtimes/python-3.8.8
    pub directory: PathBuf,
    /// Where the formulae go
    #[arg(long, short, value_name = "DIR", default_value = "formulae")]
    pub output: PathBuf,
    /// Where what they fetch is looked for, if it cannot be had where they say.
    #[command(flatten)]
    pub mirror: SourceMirror,
}
