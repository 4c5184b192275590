//! A Debian suite, bootstrapped natively from a signed mirror.

pub mod deb822;
pub mod index;
pub mod mirror;
pub mod openpgp;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod version;
