//! The command line of `test`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Building, parse_duration};
use crate::model::{StackName, TestName, Wanted};

/// `pybuild test`
#[derive(Debug, Args)]
pub struct Test {
    /// The stack whose run image it is tested in: debian-12
    pub stack: StackName,
    /// What is tested: python-3.11.2, python-3.11 (the newest of it), 'python-3.11.*' (all of it)
    pub formula: Wanted,
    /// The tests to run [default: those of --suite]
    pub tests: Vec<TestName>,
    /// A set of tests that the formula names, or `all` [default: quick, if there is one]
    #[arg(long, value_name = "NAME", conflicts_with = "tests")]
    pub suite: Option<String>,
    /// How long one test may take (`90s`, `10m`)
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "15m")]
    pub test_timeout: Duration,
    /// How many tests, and jobs of make, run at once [default: the processors this process may
    /// use]
    #[arg(long, short)]
    pub jobs: Option<NonZeroUsize>,
    /// Record how the tests end as what is to be expected: in the directory of formulae, or in the
    /// file given with --baseline
    #[arg(long)]
    pub record: bool,
    /// Compare with this file [default: the formula's own for the stack and the minor series]
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// How it is built, if the store has it not.
    #[command(flatten)]
    pub building: Building,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}
