//! Extraction of archives, hostile ones above all.

mod breakouts;
mod extracted;
mod layers;
mod merge;
mod model;
mod place;
mod refused;
mod streams;
#[path = "../support/tarball.rs"]
mod tarball;
