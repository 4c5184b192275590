//! The gate to the kernel: the only room in which `unsafe` is allowed.
//!
//! What is here is thin: one function a system call or a small group of them, each failing with
//! the call and its arguments. What to do about a failure is the business of the rooms above.

pub mod call;
pub mod fs;
pub mod inherit;
pub mod inroot;
pub mod interrupt;
pub mod landlock;
pub mod mount;
pub mod namespace;
pub mod notify;
pub mod process;
pub mod socket;
pub mod terminal;
pub mod xattr;
