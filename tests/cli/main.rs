//! The program as a user meets it: what can be got wrong, and what can go wrong around it.
//!
//! Every test asserts the exit code, what the message teaches, and that nothing half-written and
//! no process is left. They run as root, whose builds become another uid's, and as an ordinary
//! user.

mod artifacts;
mod bucket;
mod credentials;
mod crossing;
mod deploy;
mod diff;
mod disk;
mod exported;
mod farm;
mod faults;
mod formula;
mod formulae;
mod gc;
mod hostile;
#[path = "../support/image.rs"]
#[allow(dead_code)] // the proofs' own tests use the rest
mod image;
mod images;
mod imports;
mod inspect;
mod killed;
mod kit;
mod layers;
mod locks;
mod mirrors;
mod mistakes;
#[path = "../oci/kit.rs"]
#[allow(dead_code)] // the registries' own tests use the rest
mod oci;
mod program;
mod proofs;
mod registries;
mod removed;
mod reproducible;
mod runs;
#[path = "../support/s3/mod.rs"]
#[allow(dead_code, unused_imports)] // publishing's own tests do worse things to it
mod s3;
mod script_archives;
mod scripts;
mod secrets;
#[path = "../support/server.rs"]
#[allow(dead_code)] // the downloads' own tests do worse things to it
mod server;
mod shell;
mod stack_hostile;
mod stack_mirror;
mod stack_push;
mod stacks;
mod steps;
#[path = "../support/tarball.rs"]
#[allow(dead_code)] // the archives' own tests do worse things with it
mod tarball;
mod terminal;
mod tested;
mod training;
