//! What the fuzz targets share: a place to extract into, and archives taken apart to be changed.

pub mod archive;
pub mod layout;
pub mod place;
