//! Verifying: each rule, each with what breaks it; damage anywhere; and what the program says.

mod corpus;
mod damage;
mod identity;
#[path = "../support/image.rs"]
mod image;
mod index;
mod kit;
mod program;
#[path = "../support/record.rs"]
mod record;
mod remote;
#[path = "../support/s3/mod.rs"]
#[allow(dead_code, unused_imports)] // publishing's own tests do worse things to it
mod server;
#[path = "../support/server.rs"]
#[allow(dead_code)] // the downloads' own tests do worse things to it
mod web;
