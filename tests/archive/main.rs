//! Extraction of archives, hostile ones above all.

mod extracted;
mod layers;
mod merge;
mod place;
mod refused;
#[path = "../support/tarball.rs"]
mod tarball;
