//! The command line of what publishes: `deploy`, `deploy-runtimes`, `index` and `gc`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Building, Compression, parse_duration};
use crate::model::{StackName, Wanted};

/// Which targets, and where what they take is written down.
#[derive(Debug, Default, Args)]
#[allow(clippy::doc_markdown)] // these comments are what --help prints
pub struct Targets {
    /// Where artifacts are published: s3://BUCKET/PREFIX or a directory [default: S3_BUCKET and
    /// S3_PREFIX, else what pybuild.toml says, else ./dist]
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Where dependencies are looked for that the target does not have [default:
    /// UPSTREAM_S3_BUCKET and UPSTREAM_S3_PREFIX, else what pybuild.toml says]
    #[arg(long, value_name = "TARGET")]
    pub upstream: Option<String>,
    /// A file of variables, in the format of Docker's --env-file: KEY=value, a bare KEY forwards
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
}

/// How artifacts are published.
#[derive(Debug, Args)]
pub struct Publishing {
    /// Which targets.
    #[command(flatten)]
    pub targets: Targets,
    /// How keys are made
    #[arg(long, value_enum, default_value_t = Layout::Tree)]
    pub layout: Layout,
    /// How tarballs are compressed [default: gz in the tree layout, zst in the flat one]
    #[arg(long, value_enum)]
    pub compress: Option<Compression>,
    /// Replace what is there already and is another build
    #[arg(long)]
    pub overwrite: bool,
    /// Publish even what a formula builds with the network open (network = true)
    #[arg(long)]
    pub allow_network: bool,
}

/// How keys are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// `debian-12/runtimes/python-3.11.2.tar.gz`
    Tree,
    /// `python-3.11.2-debian-12-amd64.tar.zst`
    Flat,
}

/// `pybuild deploy`
#[derive(Debug, Args)]
pub struct Deploy {
    /// The stack to build for: debian-12
    pub stack: StackName,
    /// What to build and publish: python-3.11.2, python-3.11 (the newest of it), 'python-3.11.*'
    /// (all of it), python-supported (the newest of each series whose end of life has not come)
    #[arg(required = true)]
    pub formulae: Vec<Wanted>,
    /// How it is published.
    #[command(flatten)]
    pub publishing: Publishing,
    /// Publish it under this name instead of python-3.11.2; with a slash in it, below the stack
    #[arg(long)]
    pub name: Option<String>,
    /// How it is built.
    #[command(flatten)]
    pub building: Building,
    /// How many jobs make runs at once [default: the processors this process may use]
    #[arg(long, short)]
    pub jobs: Option<NonZeroUsize>,
    /// Say what would be built and published, and do neither
    #[arg(long)]
    pub dry_run: bool,
    /// Build a second time, elsewhere and with another number of jobs, and compare the bytes
    /// before anything is published
    #[arg(long)]
    pub check_reproducible: bool,
    /// When a step fails, open a shell where it failed
    #[arg(long)]
    pub shell_on_failure: bool,
}

/// `pybuild deploy-runtimes`
#[derive(Debug, Args)]
pub struct DeployRuntimes {
    /// Which runtimes, separated by spaces or commas: python-3.11.2, python-3.11 (the newest of
    /// it), 'python-3.9.*' (all of it), or `supported` for the newest of each series of each
    /// runtime whose end of life has not come
    #[arg(long, required = true, value_name = "RUNTIMES")]
    pub runtimes: Vec<String>,
    /// For which stacks, separated by spaces or commas: debian-12, or `supported` for every stack
    /// whose end of life has not come
    #[arg(long, required = true, value_name = "STACKS")]
    pub stacks: Vec<String>,
    /// How they are published.
    #[command(flatten)]
    pub publishing: Publishing,
    /// How they are built.
    #[command(flatten)]
    pub building: Building,
    /// How many builds run at once; they share the processors [default: 2, more on a host with
    /// more than 8 processors]
    #[arg(long, short)]
    pub jobs: Option<NonZeroUsize>,
    /// Say what would be built and published, and do neither
    #[arg(long)]
    pub dry_run: bool,
}

/// `pybuild index`
#[derive(Debug, Args)]
#[allow(clippy::doc_markdown)] // these comments are what --help prints
pub struct Index {
    /// Which target: s3://BUCKET/PREFIX or a directory [default: S3_BUCKET and S3_PREFIX, else
    /// what pybuild.toml says, else ./dist]
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// A file of variables, in the format of Docker's --env-file: KEY=value, a bare KEY forwards
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Say what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `pybuild gc`
#[derive(Debug, Args)]
pub struct Gc {
    /// Which target.
    #[command(flatten)]
    pub targets: Targets,
    /// How old an upload must be, at least: one under way looks the same (`90m`, `24h`)
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "24h")]
    pub older_than: Duration,
    /// Print what would be given up, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}
