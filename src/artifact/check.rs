//! A check: a command that proves something of a prefix by running.

use std::collections::BTreeMap;

use crate::model::GuestPath;

/// A command that must exit with 0 in the run image, every placeholder filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What a person calls it.
    pub name: String,
    /// Where the prefix is seen, and nowhere else: its own place, or another to show that it can
    /// be moved.
    pub prefix: GuestPath,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it starts.
    pub cwd: GuestPath,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
}
