//! Formulae: how a piece of software is built, its versions and where their sources come from.
//!
//! ```text
//! NAME.toml, NAME.versions.toml ─ raw (shape, places) ─ check (sense) ─▶ Formula
//! Formula × version × profile × stack ─▶ Recipe, which `build::plan` takes
//! ```
//!
//! The built-in formulae are part of the program; [`Catalog::load`] lays a directory over them,
//! file by file.

mod catalog;
mod check;
mod error;
mod lines;
mod placeholder;
mod raw;
mod reader;
mod recipe;
mod resolve;
mod series;
mod sheet;
mod strings;
mod tree;
mod url;

pub use catalog::Catalog;
pub use error::{FormulaError, Problem};
pub use placeholder::{PathTemplate, Placeholder, Template, Values};
pub use recipe::{Check, FileContent, Recipe, Source, Step};
pub use resolve::Formula;
