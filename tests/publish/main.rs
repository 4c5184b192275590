//! Publishing to a directory and to a real S3 server, as its callers do it.

mod credentials;
mod directory;
mod faults;
mod kit;
mod s3;
mod server;
mod web;
