//! The command line of `pybuild stack`: what this host has of stacks, and what is done with it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ImageKind, StackSources};
use crate::model::StackName;

/// `pybuild stack`
#[derive(Debug, Args)]
pub struct Stack {
    /// What to do.
    #[command(subcommand)]
    pub command: StackCommand,
}

/// What to do with stacks.
#[derive(Debug, Subcommand)]
pub enum StackCommand {
    /// List the stacks there are, and what of them is on this host
    List(StackList),
    /// Tell all about a stack: where it comes from, what its images are made of
    Show(StackShow),
    /// Fetch and prepare stacks as they are today, also those that are on this host already
    Pull(StackPull),
    /// Read again what is on this host's disk, and tell what has changed since it was prepared
    Verify(StackVerify),
    /// Remove stacks from this host
    Remove(StackRemove),
    /// Write one of a stack's images as an OCI layout or a tarball, owners and modes as they are
    /// meant
    Export(StackExport),
    /// Compare two stacks: packages, and files with --files
    Diff(StackDiff),
    /// Write down what stacks are made of today, for --locked to hold everybody to
    Lock(StackLock),
    /// Tell what of locked stacks has moved since they were locked
    Outdated(StackOutdated),
    /// Put a stack as it is on this host to a target, for other hosts to take it from
    Push(StackPush),
}

/// `pybuild stack list`
#[derive(Debug, Args)]
pub struct StackList {
    /// Only these [default: all]
    pub stacks: Vec<StackName>,
    /// Where manifests come from.
    #[command(flatten)]
    pub sources: StackSources,
}

/// `pybuild stack show`
#[derive(Debug, Args)]
pub struct StackShow {
    /// The stack: debian-12
    pub stack: StackName,
    /// List every package too
    #[arg(long)]
    pub packages: bool,
    /// Where manifests come from.
    #[command(flatten)]
    pub sources: StackSources,
}

/// `pybuild stack pull`
#[derive(Debug, Args)]
pub struct StackPull {
    /// The stacks: debian-12
    #[arg(required = true)]
    pub stacks: Vec<StackName>,
    /// Where manifests and packages come from.
    #[command(flatten)]
    pub sources: StackSources,
}

/// `pybuild stack verify`
#[derive(Debug, Args)]
pub struct StackVerify {
    /// Only these [default: all that are on this host]
    pub stacks: Vec<StackName>,
    /// Where manifests come from.
    #[command(flatten)]
    pub sources: StackSources,
}

/// `pybuild stack remove`
#[derive(Debug, Args)]
pub struct StackRemove {
    /// The stacks: debian-12
    #[arg(required = true)]
    pub stacks: Vec<StackName>,
    /// Where manifests come from.
    #[command(flatten)]
    pub sources: StackSources,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `pybuild stack export`
#[derive(Debug, Args)]
pub struct StackExport {
    /// The stack: debian-12
    pub stack: StackName,
    /// What to write: a directory for an OCI layout, a file for a tarball
    #[arg(long, short, value_name = "PATH")]
    pub output: PathBuf,
    /// Which of the stack's images
    #[arg(long, value_enum, default_value_t = ImageKind::Build)]
    pub image: ImageKind,
    /// In which form [default: a tarball if PATH ends in .tar, .tar.gz, .tar.xz or .tar.zst, else
    /// an OCI layout]
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// Where manifests and packages come from.
    #[command(flatten)]
    pub sources: StackSources,
}

/// In which form an image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A directory in the OCI image layout
    Oci,
    /// A tarball of the root file system
    Tar,
}

/// `pybuild stack diff`
#[derive(Debug, Args)]
pub struct StackDiff {
    /// The one stack
    pub a: StackName,
    /// The other
    pub b: StackName,
    /// Which of their images
    #[arg(long, value_enum, default_value_t = ImageKind::Build)]
    pub image: ImageKind,
    /// Compare every file too
    #[arg(long)]
    pub files: bool,
    /// Where manifests and packages come from.
    #[command(flatten)]
    pub sources: StackSources,
}

/// `pybuild stack lock`
#[derive(Debug, Args)]
pub struct StackLock {
    /// The stacks [default: those that have a lock]
    pub stacks: Vec<StackName>,
    /// Where manifests and packages come from.
    #[command(flatten)]
    pub sources: StackSources,
}

/// `pybuild stack outdated`
#[derive(Debug, Args)]
pub struct StackOutdated {
    /// The stacks [default: those that have a lock]
    pub stacks: Vec<StackName>,
    /// Where manifests and packages come from.
    #[command(flatten)]
    pub sources: StackSources,
}

/// `pybuild stack push`
#[derive(Debug, Args)]
#[allow(clippy::doc_markdown)] // these comments are what --help prints
pub struct StackPush {
    /// The stack: debian-12
    pub stack: StackName,
    /// Where to: a bucket (`s3://BUCKET/PREFIX`) or a directory
    pub target: String,
    /// Replace what is there under the stack's name and is another; who named that by its digest
    /// still gets it
    #[arg(long)]
    pub overwrite: bool,
    /// Where manifests and packages come from.
    #[command(flatten)]
    pub sources: StackSources,
}
