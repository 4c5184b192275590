//! Tells cargo that the program holds these directories, so that a file added to one is seen.

fn main() {
    for directory in ["formulae", "keyrings", "patches", "rootfs-manifests"] {
        println!("cargo::rerun-if-changed={directory}");
    }
}
