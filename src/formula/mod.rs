//! Formulae: how a piece of software is built, its versions and where their sources come from.
//!
//! ```text
//! NAME.toml, NAME.versions.toml ─ raw (shape, places) ─ check (sense) ─▶ Formula
//! Formula × version × profile × stack ─▶ Recipe, which `build::plan` takes
//! ```
//!
//! The built-in formulae are part of the program; [`Catalog::load`] lays a directory over them,
//! file by file. Scripts written for bob-builder become recipes too: [`bob`].

pub mod bob;
mod catalog;
mod check;
mod choice;
mod error;
mod known;
mod ledger;
mod lines;
mod placeholder;
mod profiles;
mod raw;
mod raw_versions;
mod reader;
mod recipe;
mod resolve;
mod series;
mod sheet;
mod sigstore;
mod stacks;
mod strings;
mod tests;
mod training;
mod tree;
mod url;

pub use catalog::Catalog;
pub use error::{FormulaError, Problem};
pub use known::{Known, Signers};
pub use ledger::{Ledger, Place};
pub use placeholder::{PathTemplate, Placeholder, Template, Values};
pub use recipe::{Archive, Check, FileContent, Recipe, Source, Step};
pub use resolve::Formula;
pub use sigstore::Identity;
pub use tests::{Baselines, Tests};
