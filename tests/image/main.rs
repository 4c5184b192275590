//! Images: their layers as one tree in the store, beside what umoci makes of them.

mod flatten;
mod kit;
#[path = "../support/tarball.rs"]
mod tarball;
mod umoci;
