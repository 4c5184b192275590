//! Publishing to a directory and to a real S3 server, as its callers do it.

mod any;
mod credentials;
mod directory;
mod faults;
mod killed;
mod kit;
#[path = "../support/record.rs"]
mod record;
mod s3;
#[path = "../support/s3/mod.rs"]
#[allow(dead_code, unused_imports)] // the program's tests use what these do not
mod server;
mod web;
