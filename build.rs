//! Tells cargo that the program holds these directories, so that a file added to one is seen, and
//! the linker where the unwinder is.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    link_unwinder_statically();
    for directory in ["formulae", "keyrings", "patches", "rootfs-manifests"] {
        println!("cargo::rerun-if-changed={directory}");
    }
}

/// Lets `libgcc_s`, which the standard library asks for, mean the static archives of the same
/// compiler. As a shared library it is loaded at each start of the program, and asks the processor
/// what it can, which takes a virtual machine longer than all else that it does: together a tenth
/// of a millisecond, twice for each sandbox.
fn link_unwinder_statically() {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let at_home = env::var("HOST") == env::var("TARGET");
    if !at_home || !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    // It answers with the bare name if it has no such file.
    let asked = Command::new("cc")
        .arg("-print-file-name=libgcc_eh.a")
        .output();
    let found = asked
        .ok()
        .and_then(|answer| String::from_utf8(answer.stdout).ok());
    if !found.is_some_and(|path| PathBuf::from(path.trim()).is_absolute()) {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n").expect("OUT_DIR can be written");
    println!("cargo::rustc-link-search=native={}", out.display());
}
