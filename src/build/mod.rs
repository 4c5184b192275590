//! Builds: what is done, decided before anything is done, and under which id the result is filed.

mod identity;
mod plan;
mod show;

pub use identity::BUILD_REVISION;
pub use plan::{
    Bind, BuildOptions, BuildPlan, PlannedCheck, PlannedDependency, PlannedStep, Platform, What,
    plan,
};
