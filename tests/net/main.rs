//! Downloads from a server that does everything wrong, on loopback.

mod ask;
mod disk;
mod fetch;
mod kit;
mod many;
mod resume;
#[path = "../support/server.rs"]
#[allow(dead_code)] // the registries' own tests use the rest
mod server;
mod trouble;
