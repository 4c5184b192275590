//! Building: what is to be done, doing it, and what it printed.

pub mod log;
