//! Stack images: from a manifest to read-only layer directories in the store.

mod catalog;
pub mod debian;
pub mod manifest;

pub use catalog::{Catalog, CatalogError};
pub use manifest::{Manifest, ManifestError};
