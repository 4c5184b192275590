//! Builds: what is done, decided before anything is done; under which id the result is filed;
//! doing it; and what it printed.

mod identity;
pub mod log;
mod plan;
mod planned;
mod run;
mod show;

pub use identity::BUILD_REVISION;
pub use plan::{BuildOptions, plan};
pub use planned::{Bind, BuildPlan, PlannedDependency, PlannedStep, Platform, What};
pub use run::{BuildError, Built, Conduct, FailedStep, Inputs, Tools, run, sandbox_of};
pub use show::common_env;
