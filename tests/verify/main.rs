//! Verifying: each rule, each with what breaks it; damage anywhere; and what the program says.

mod corpus;
mod damage;
mod identity;
#[path = "../support/image.rs"]
mod image;
mod index;
mod kit;
mod program;
mod remote;
#[path = "../publish/server.rs"]
#[allow(dead_code)] // publishing's own tests do worse things to it
mod server;
#[path = "../support/server.rs"]
#[allow(dead_code)] // the downloads' own tests do worse things to it
mod web;
