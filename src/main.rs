//! The pybuild command line.

fn main() {}
