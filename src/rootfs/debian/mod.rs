//! A Debian suite, bootstrapped natively from a signed mirror.
//!
//! ```text
//! InRelease ─▶ Packages ─▶ Selection ─▶ packages, fetched and unpacked in parallel
//!                                       ─▶ dpkg's database ─▶ dpkg --configure, sandboxed
//! ```
//!
//! The run image is the lower layer, and what the build image has beside it the upper one. While
//! the lower is configured, the packages of the upper are still being fetched and unpacked.

mod blob;
mod bootstrap;
mod configure;
mod deb;
pub mod deb822;
mod dpkg;
mod error;
pub mod index;
pub mod mirror;
pub mod openpgp;
pub mod relation;
pub mod release;
pub mod resolve;
mod selection;
mod stamp;
mod suite;
mod unpack;
pub mod version;

pub use bootstrap::Today;
pub(super) use bootstrap::{prepare, today};
pub use error::DebianError;
pub(super) use selection::key;
pub use selection::{Pick, Selection};
pub use suite::Released;
