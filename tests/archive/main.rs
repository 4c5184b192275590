//! Extraction of archives, hostile ones above all.

mod extracted;
mod layers;
mod place;
mod refused;
mod tarball;
