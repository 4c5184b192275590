//! `pybuild promote`: from any kind of target to any other, and whatever comes in between.

mod buckets;
mod directories;
mod killed;
#[path = "../verify/kit.rs"]
#[allow(dead_code)] // verifying spoils more of it
mod kit;
mod place;
#[path = "../cli/program.rs"]
#[allow(dead_code)] // the command line's own tests do more with it
mod program;
#[path = "../support/record.rs"]
mod record;
#[path = "../support/s3/mod.rs"]
#[allow(dead_code, unused_imports)] // publishing's own tests do worse things to it
mod server;
#[path = "../support/server.rs"]
#[allow(dead_code)] // the downloads' own tests do worse things to it
mod web;
