//! The command line of `promote`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::{Limits, Selected, Sources, Witnesses};

/// `pybuild promote`
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // a flag is a bool
#[allow(clippy::doc_markdown)] // these comments are what --help prints
pub struct Promote {
    /// Where archives are verified and copied from: s3://BUCKET/PREFIX, a directory, or https://…;
    /// UPSTREAM_AWS_PROFILE, UPSTREAM_S3_REGION and their like are for it alone
    pub from: String,
    /// Where they are copied to: s3://BUCKET/PREFIX or a directory
    pub to: String,
    /// Which archives.
    #[command(flatten)]
    pub selected: Selected,
    /// A file with environment variables as Docker reads it: KEY=value, or KEY to forward
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Compare the bytes of archives with what is recorded, and do not unpack them
    #[arg(long, conflicts_with = "identity")]
    pub digests: bool,
    /// Prove that what is inside is what the name says: run it in the stack's run image
    #[arg(long)]
    pub identity: bool,
    /// Replace what is there already and is another archive
    #[arg(long)]
    pub overwrite: bool,
    /// Verify, say what would be copied, and copy nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What else says what FROM should have.
    #[command(flatten)]
    pub witnesses: Witnesses,
    /// How many archives are verified, and then copied, at once [default: the processors this
    /// process may use]
    #[arg(long, short)]
    pub jobs: Option<NonZeroUsize>,
    /// Where formulae and manifests come from.
    #[command(flatten)]
    pub sources: Sources,
    /// What a check may use up.
    #[command(flatten)]
    pub limits: Limits,
}
