//! The command lines of `inspect` and `diff`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `pybuild inspect`
#[derive(Debug, Args)]
#[allow(clippy::doc_markdown)] // these comments are what --help prints
pub struct Inspect {
    /// The tarball: a file, an https:// address or s3://BUCKET/KEY; its record and its .sha256 are
    /// read where they lie beside it
    #[arg(value_name = "FILE|URL")]
    pub artifact: String,
    /// Print what its record says as another document: SLSA v1 provenance in an in-toto statement,
    /// or a CycloneDX 1.6 bill of materials
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<DocumentFormat>,
    /// A file with environment variables as Docker reads it: KEY=value, or KEY to forward
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
}

/// `pybuild diff`
#[derive(Debug, Args)]
#[allow(clippy::doc_markdown)] // these comments are what --help prints
pub struct Diff {
    /// The one tarball: a file, an https:// address or s3://BUCKET/KEY; UPSTREAM_AWS_PROFILE and
    /// their like are for it alone if both are in buckets
    #[arg(value_name = "A")]
    pub a: String,
    /// The other
    #[arg(value_name = "B")]
    pub b: String,
    /// A file with environment variables as Docker reads it: KEY=value, or KEY to forward
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
}

/// A document that a record can be put as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DocumentFormat {
    /// An in-toto statement of SLSA v1 provenance
    Slsa,
    /// A `CycloneDX` 1.6 bill of materials
    Cyclonedx,
}
