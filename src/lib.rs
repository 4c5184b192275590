//! pybuild builds `CPython` and `SQLite` for operating-system stacks, sandboxed, reproducibly,
//! without Docker and without root.
#![deny(unsafe_code)]

pub mod archive;
pub mod model;
pub mod net;
pub mod rootfs;
pub mod sandbox;
pub mod store;
pub mod sys;
