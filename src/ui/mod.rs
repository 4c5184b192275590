//! What a person or a script gets to see: the only room that prints.
//!
//! Data goes to standard output, talk goes to standard error. Every other room hands values
//! ([`crate::model::Event`]s, errors, plans) to its caller; here they become text. What a build
//! prints is hostile, so text from outside passes through [`text::clean`] on its way to a screen.

mod artifacts;
mod deployment;
mod differences;
mod doctor;
mod formula;
mod formulae;
mod grid;
mod imported;
mod indexed;
mod live;
mod out;
mod page;
mod plain;
mod plan;
mod promotion;
mod pulled;
mod removed;
mod report;
mod sheet;
mod soundness;
mod stack;
mod stacks;
mod style;
mod summary;
mod table;
mod terminal;
mod tested;
pub mod text;
mod verification;

pub use artifacts::{ArtifactDifferences, FileRow, PaperRow};
pub use deployment::{Deployed, Deployment, How};
pub use differences::{Differences, PackageMove, PathDifference, Side};
pub use doctor::{Doctor, Line, Mark};
pub use formula::{AddedOn, ShownFile, ShownForm, ShownFormula, ShownStep};
pub use formulae::{FormulaRow, Formulae, RefusedStack, SourceName};
pub use grid::{Cell, Grid, State};
pub use imported::Imported;
pub use indexed::{Indexed, Writing};
pub use out::{print, print_json, print_log};
pub use page::{Fact, Listed, Page, Value};
pub use plan::Section;
pub use promotion::{Outcome, Promoted, Promotion};
pub use pulled::{Change, Pulled, PulledStack};
pub use removed::Removed;
pub use report::{Excerpt, ExitKind, Failure};
pub use sheet::{Part, Sheet};
pub use soundness::{CheckedLayer, CheckedStack, Condition, Soundness};
pub use stack::{OriginRow, ShownImage, ShownLayer, ShownPackage, ShownSource, ShownStack};
pub use stacks::{StackRow, StackState, Stacks};
pub use style::{ColorChoice, Manner, Palette, Wish};
pub use summary::{Built, PhaseTime, Summary};
pub use table::{Align, Table};
pub use terminal::Terminal;
pub use tested::{Standing, TestRow, TestRun, Tested};
pub use verification::{Closeness, Verification, Wrong};
