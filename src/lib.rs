//! pybuild builds `CPython` and `SQLite` for operating-system stacks, sandboxed, reproducibly,
//! without Docker and without root.
#![deny(unsafe_code)]

pub mod archive;
pub mod artifact;
pub mod build;
pub mod cli;
pub mod cmd;
pub mod farm;
pub mod formula;
pub mod inspect;
pub mod model;
pub mod net;
pub mod publish;
pub mod rootfs;
pub mod sandbox;
pub mod store;
pub mod suite;
pub mod sys;
pub mod ui;
pub mod verify;
