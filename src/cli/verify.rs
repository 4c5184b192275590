//! The command line of `verify`, and what `promote` shares of it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::{Limits, SourceMirror, Sources};
use crate::model::StackName;

/// Which archives of a target.
#[derive(Debug, Args)]
pub struct Selected {
    /// Only the archives of this stack: debian-12
    pub stack: Option<StackName>,
    /// Only those of these formulae: python, python-3.11.2, 'python-3.9.*'
    pub formulae: Vec<String>,
}

/// What says beside the target what should be there.
#[derive(Debug, Args)]
pub struct Witnesses {
    /// The digests that were recorded before [default of `verify`: checksums.lock, if it is there]
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// A file with keys that must be there, one a line, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
}

/// `pybuild verify`
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // a flag is a bool
pub struct Verify {
    /// Which archives.
    #[command(flatten)]
    pub selected: Selected,
    /// What to verify: `s3://BUCKET/PREFIX`, `https://…` or a directory
    /// [default: what `S3_BUCKET` or `pybuild.toml` says, else dist]
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// A file with environment variables as Docker reads it: KEY=value, or KEY to forward
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Look at what the target says of its archives and at what lies beside them, not into them
    #[arg(long, conflicts_with_all = ["digests", "identity", "rebuild", "record"])]
    pub quick: bool,
    /// Compare the bytes of archives with what is recorded, and do not unpack them
    #[arg(long, conflicts_with_all = ["identity", "rebuild", "record"])]
    pub digests: bool,
    /// Prove that what is inside is what the name says: run it in the stack's run image
    #[arg(long)]
    pub identity: bool,
    /// Build each archive again and compare the bytes
    #[arg(long)]
    pub rebuild: bool,
    /// Write what is found sound to the lock, and accept archives that have no record
    #[arg(long)]
    pub record: bool,
    /// What else says what should be there.
    #[command(flatten)]
    pub witnesses: Witnesses,
    /// How many archives to look at at once [default: the processors this process may use]
    #[arg(long, short)]
    pub jobs: Option<NonZeroUsize>,
    /// Where formulae and manifests come from.
    #[command(flatten)]
    pub sources: Sources,
    /// Where the sources of what is built again come from.
    #[command(flatten)]
    pub mirror: SourceMirror,
    /// What a check, or a step of building again, may use up.
    #[command(flatten)]
    pub limits: Limits,
}
