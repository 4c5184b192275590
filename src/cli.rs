//! The command line, as clap reads it. Definitions only: what the commands do is in `cmd`.

mod deploy;
mod formula;
mod formula_import;
mod inspect;
mod promote;
mod shell;
mod stack;
mod test;
mod verify;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::{StackName, Wanted};

pub use deploy::{Deploy, DeployRuntimes, Gc, Index, Layout, Publishing, Targets};
pub use formula::{Formula, FormulaAdd, FormulaCheck, FormulaCommand, FormulaList, FormulaShow};
pub use formula_import::FormulaImport;
pub use inspect::{Diff, DocumentFormat, Inspect};
pub use promote::Promote;
pub use shell::{Bind, BindError, Inside, Run, Shell};
pub use stack::{
    ExportFormat, Stack, StackCommand, StackDiff, StackExport, StackList, StackLock, StackOutdated,
    StackPull, StackPush, StackRemove, StackShow, StackVerify,
};
pub use test::Test;
pub use verify::{Selected, Verify, Witnesses};

/// Builds CPython and SQLite for operating-system stacks: sandboxed, reproducibly, without Docker
/// and without root.
#[derive(Debug, Parser)]
#[command(name = "pybuild", bin_name = "pybuild", version, max_term_width = 100)]
pub struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub struct Global {
    /// pybuild's own directory on this host [default: /var/cache/pybuild as root, else
    /// ~/.cache/pybuild]
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "DIR",
        env = "PYBUILD_HOME",
        hide_env_values = true
    )]
    pub store: Option<PathBuf>,
    /// As root: the uid that builds run as [default: the store's owner, else nobody]
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "UID"
    )]
    pub run_as: Option<u32>,
    /// Say only what went wrong
    #[arg(
        long,
        short,
        global = true,
        help_heading = "Global options",
        conflicts_with = "verbose"
    )]
    pub quiet: bool,
    /// Say everything: plans as they are executed, every line a build prints
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub verbose: bool,
    /// When to use colours and moving progress bars
    #[arg(long, global = true, help_heading = "Global options", value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Results as JSON on standard output
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build, prove and package formulae for a stack, in a sandbox, on this host
    Sandbox(Sandbox),
    /// Build, prove and package formulae, and publish them to a bucket or a directory
    Deploy(Deploy),
    /// Deploy a matrix of runtimes and stacks: whatever is missing there
    DeployRuntimes(DeployRuntimes),
    /// Fetch and prepare a stack's root file systems, and nothing else
    Prepare(Prepare),
    /// List, pull, show, verify, lock, compare, export and remove stacks
    Stack(Stack),
    /// List, show and check formulae, and add releases to them
    Formula(Formula),
    /// Run a command in a fresh sandbox of a stack
    Run(Run),
    /// Open a shell in a fresh sandbox of a stack
    Shell(Shell),
    /// Run a runtime's own tests in the run image, and tell what has become worse
    Test(Test),
    /// Prove that a target holds what it says: every archive there, whole, safe, as recorded
    Verify(Verify),
    /// List what a target has: index.json for programs, index.html to browse
    Index(Index),
    /// Verify what a target has, and copy what is sound to another
    Promote(Promote),
    /// Tell what an artifact is, what it is made of and what it holds
    Inspect(Inspect),
    /// Tell in what two artifacts differ, and why: their records, and file by file
    Diff(Diff),
    /// Give up the uploads to a target that nobody is going to finish
    Gc(Gc),
    /// Tell what this host can do, and what to change where it cannot
    Doctor,
    /// Show the log of a build: the newest, or the newest of a formula or build id
    Log(Log),
}

/// Where formulae and manifests come from besides those built in.
#[derive(Debug, Args)]
pub struct Sources {
    /// A directory of formulae that add to or replace the built-in ones
    #[arg(
        long = "formulae",
        help_heading = "Where things come from",
        value_name = "DIR",
        env = "PYBUILD_FORMULAE",
        hide_env_values = true
    )]
    pub formulae_dir: Option<PathBuf>,
    /// The same for stacks.
    #[command(flatten)]
    pub stacks: StackSources,
}

/// Where manifests and packages come from besides those built in.
#[derive(Debug, Args)]
pub struct StackSources {
    /// A directory of stack manifests that add to or replace the built-in ones
    #[arg(
        long,
        help_heading = "Where things come from",
        value_name = "DIR",
        env = "PYBUILD_MANIFESTS",
        hide_env_values = true
    )]
    pub manifests: Option<PathBuf>,
    /// The Debian mirror to bootstrap from [default: the host's apt configuration's]
    #[arg(
        long,
        help_heading = "Where things come from",
        value_name = "URL",
        env = "PYBUILD_DEBIAN_MIRROR",
        hide_env_values = true
    )]
    pub debian_mirror: Option<String>,
    /// Use stacks as their locks say (STACK.lock beside the manifests, else in ./rootfs-manifests),
    /// or fail [default where CI is set and there is a lock]
    #[arg(
        long,
        help_heading = "Where things come from",
        conflicts_with = "unlocked"
    )]
    pub locked: bool,
    /// Pass over the locks of stacks, also where CI is set
    #[arg(long, help_heading = "Where things come from")]
    pub unlocked: bool,
    /// A target that stacks were pushed to, asked for each stack before anybody else: a bucket
    /// (`s3://BUCKET/PREFIX`), a directory or an `https://` address
    #[arg(
        long,
        help_heading = "Where things come from",
        value_name = "TARGET",
        env = "PYBUILD_STACK_MIRROR",
        hide_env_values = true
    )]
    pub stack_mirror: Option<String>,
}

/// `pybuild sandbox`
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // a flag is a bool
pub struct Sandbox {
    /// The stack to build for: debian-12
    pub stack: StackName,
    /// What to build: python-3.11.2, python-3.11 (the newest of it), 'python-3.11.*' (all of it),
    /// python-supported (the newest of each series whose end of life has not come)
    #[arg(required = true)]
    pub formulae: Vec<Wanted>,
    /// How it is built.
    #[command(flatten)]
    pub building: Building,
    /// Where the artifacts go
    #[arg(long, short, value_name = "DIR", default_value = "dist")]
    pub output: PathBuf,
    /// How the tarball is compressed
    #[arg(long, value_enum, default_value_t = Compression::Gz)]
    pub compress: Compression,
    /// How many jobs make runs at once [default: the processors this process may use]
    #[arg(long, short)]
    pub jobs: Option<NonZeroUsize>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Build what is asked for even if this very build is in the store already; what it depends
    /// on is still taken from there
    #[arg(long)]
    pub rebuild: bool,
    /// Build a second time, elsewhere and with another number of jobs, and compare the bytes
    #[arg(long)]
    pub check_reproducible: bool,
    /// When a step fails, open a shell where it failed
    #[arg(long)]
    pub shell_on_failure: bool,
}

/// How things are built, in every command that builds.
#[derive(Debug, Args)]
pub struct Building {
    /// Where formulae and manifests come from.
    #[command(flatten)]
    pub sources: Sources,
    /// Where sources come from.
    #[command(flatten)]
    pub mirror: SourceMirror,
    /// Which set of build options: `plain`, `optimized` [default: what the formula is published
    /// with: optimized for runtimes that have it, else plain]
    #[arg(long)]
    pub profile: Option<String>,
    /// What a step may use up.
    #[command(flatten)]
    pub limits: Limits,
}

/// Where sources come from besides upstream.
#[derive(Debug, Args)]
pub struct SourceMirror {
    /// A directory or URL that holds source tarballs by file name, asked after upstream
    #[arg(
        long,
        help_heading = "Where things come from",
        value_name = "URL",
        env = "PYBUILD_SOURCE_MIRROR",
        hide_env_values = true
    )]
    pub source_mirror: Option<String>,
}

/// What one build step may use up.
#[derive(Debug, Args)]
pub struct Limits {
    /// Wall-clock limit of each step (`90s`, `45m`, `2h`)
    #[arg(long, help_heading = "Limits", value_name = "TIME", value_parser = parse_duration, default_value = "2h")]
    pub timeout: Duration,
    /// Memory that all processes of a step may use together (`512M`, `8G`) [default: what the
    /// host has]
    #[arg(long, help_heading = "Limits", value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,
    /// What a step may print (`64M`)
    #[arg(long, help_heading = "Limits", value_name = "SIZE", value_parser = parse_size, default_value = "256M")]
    pub max_output: u64,
}

/// `pybuild prepare`
#[derive(Debug, Args)]
pub struct Prepare {
    /// The stacks to prepare: debian-12
    #[arg(required = true)]
    pub stacks: Vec<StackName>,
    /// Where manifests and packages come from.
    #[command(flatten)]
    pub sources: StackSources,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `pybuild log`
#[derive(Debug, Args)]
pub struct Log {
    /// A build id (or its beginning), or a formula: python-3.11.2
    pub build: Option<String>,
}

/// How an artifact is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// gzip: .tar.gz
    Gz,
    /// Zstandard: .tar.zst
    Zst,
    /// xz: .tar.xz
    Xz,
}

/// One of a stack's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImageKind {
    /// The one that builds run in: compilers and headers.
    Build,
    /// The one that runtimes run on.
    Run,
}

/// Splits `90s` into 90 and `s`.
fn split_unit(text: &str) -> Result<(u64, &str), String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number
        .parse()
        .map_err(|_| format!("`{text}` does not begin with a number"))?;
    Ok((number, unit))
}

fn scale(text: &str, number: u64, by: u64) -> Result<u64, String> {
    match number.checked_mul(by) {
        Some(scaled) if scaled > 0 => Ok(scaled),
        _ => Err(format!("`{text}` is out of range")),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text)?;
    let seconds = match unit {
        "s" | "" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(format!("`{unit}` is not a unit of time: s, m and h are")),
    };
    scale(text, number, seconds).map(Duration::from_secs)
}

fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text)?;
    let bytes = match unit {
        "" | "B" => 1,
        "K" | "k" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(format!("`{unit}` is not a unit of size: K, M and G are")),
    };
    scale(text, number, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_and_sizes_are_read_with_their_units() {
        let seconds = |text| parse_duration(text).map(|d| d.as_secs());
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("45m"), Ok(2700));
        assert_eq!(seconds("2h"), Ok(7200));
        assert_eq!(parse_size("512M"), Ok(512 << 20));
        for text in ["", "h", "0s", "3d", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        for text in ["", "0", "1T", "18446744073709551615G"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }
}
