//! The pybuild command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    pybuild::sandbox::become_child_if_asked();
    pybuild::cmd::main()
}
