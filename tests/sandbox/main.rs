//! The sandbox against the real kernel: what is denied, what is bounded, what is left behind.
//!
//! They run as root and as an ordinary user; as root the sandbox becomes `nobody` first.

mod denied;
mod kit;
mod life;
mod limits;
mod owners;
mod rootfs;
