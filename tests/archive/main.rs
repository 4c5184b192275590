//! Extraction of archives, hostile ones above all.

mod breakouts;
mod chance;
mod extracted;
mod generated;
mod layers;
mod listing;
mod merge;
mod model;
mod peers;
mod place;
mod refused;
mod seeds;
mod streams;
#[path = "../support/tarball.rs"]
mod tarball;
