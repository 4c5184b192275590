//! Builds: what is done, decided before anything is done; under which id the result is filed;
//! doing it; and what it printed.

mod identity;
pub mod log;
mod plan;
mod run;
mod show;

pub use identity::BUILD_REVISION;
pub use plan::{
    Bind, BuildOptions, BuildPlan, PlannedDependency, PlannedStep, Platform, What, plan,
};
pub use run::{BuildError, Built, Conduct, FailedStep, Inputs, Tools, run, sandbox_of};
pub use show::common_env;
