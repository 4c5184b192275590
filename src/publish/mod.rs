//! Publishing: targets, what is put there and where, and what is found there.
//!
//! A [`Target`] is a name, pure; a [`Remote`] is one that is open. What is put there is put
//! create-only unless told otherwise, and nobody ever sees half of an object.

mod content;
mod copy;
mod directory;
mod error;
mod found;
mod layout;
mod remote;
mod s3;
mod settings;
mod stream;
mod target;
mod upload;
mod web;
mod wire;

pub use crate::model::Secret;
pub use content::{Conditional, Content, Head, Mode, Object, Put, StaleUpload};
pub use error::PublishError;
pub use found::{Found, are_there, fetch, find};
pub use layout::{Keys, Layout, Named, Role, keys, read_key, release};
pub use remote::{Place, Remote};
pub use settings::{Inputs, Settings, SettingsError, env_file};
pub use target::{Target, TargetError};
pub use upload::{Published, publish};
