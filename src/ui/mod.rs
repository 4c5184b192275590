//! What a person or a script gets to see: the only room that prints.
//!
//! Data goes to standard output, talk goes to standard error. Every other room hands values
//! ([`crate::model::Event`]s, errors, plans) to its caller; here they become text. What a build
//! prints is hostile, so text from outside passes through [`text::clean`] on its way to a screen.

mod deployment;
mod doctor;
mod grid;
mod indexed;
mod live;
mod out;
mod page;
mod plain;
mod plan;
mod promotion;
mod report;
mod style;
mod summary;
mod table;
mod terminal;
pub mod text;
mod verification;

pub use deployment::{Deployed, Deployment, How};
pub use doctor::{Doctor, Line, Mark};
pub use grid::{Cell, Grid, State};
pub use indexed::{Indexed, Writing};
pub use out::{print, print_json, print_log};
pub use page::{Fact, Listed, Page, Value};
pub use plan::Section;
pub use promotion::{Outcome, Promoted, Promotion};
pub use report::{Excerpt, ExitKind, Failure};
pub use style::{ColorChoice, Manner, Palette, Wish};
pub use summary::{Built, PhaseTime, Summary};
pub use table::{Align, Table};
pub use terminal::Terminal;
pub use verification::{Closeness, Verification, Wrong};
