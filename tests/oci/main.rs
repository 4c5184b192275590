//! Images from registries, directories and archives: sound ones, and everything that can be wrong.

mod access;
mod archives;
mod documents;
mod kit;
mod layers;
mod layouts;
mod real;
#[path = "../support/server.rs"]
#[allow(dead_code)] // the downloads' own tests do worse things to it
mod server;
