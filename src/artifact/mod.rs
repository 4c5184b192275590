//! A built prefix on its way to an artifact: put in order, proven, packaged, described.

pub mod check;
pub mod checksum;
pub mod contents;
pub mod elf;
pub mod failure;
pub mod image;
pub mod loader;
pub mod package;
pub mod prefix;
pub mod proof;
pub mod record;
pub mod rules;
pub mod scan;
pub mod tree;

#[cfg(test)]
mod testing;
