//! The sandbox: what a build may see and do, as data; then as operations; then as deeds.

pub mod spec;

pub use spec::*;
