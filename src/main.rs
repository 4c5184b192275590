//! The pybuild command line.

fn main() {
    pybuild::sandbox::become_child_if_asked();
}
