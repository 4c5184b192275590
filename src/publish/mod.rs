//! Publishing: targets, what is put there and where, and what is found there.
//!
//! A [`Target`] is a name, pure; a [`Remote`] is one that is open. What is put there is put
//! create-only unless told otherwise, and nobody ever sees half of an object.

mod apart;
mod content;
mod copy;
mod directory;
mod error;
mod flaw;
mod found;
mod index;
mod layout;
mod promote;
mod remote;
mod s3;
mod settings;
mod stream;
mod target;
mod upload;
mod web;
mod wire;

pub use crate::model::Secret;
pub use apart::overlap;
pub use content::{Conditional, Content, Head, Mode, Object, Put, StaleUpload};
pub use copy::Way;
pub use error::PublishError;
pub use flaw::{Flaw, misplaced};
pub use found::{Found, are_there, fetch, find, read_into};
pub use index::{
    Date, Entry, INDEX_HTML, INDEX_JSON, INDEX_LIMIT, Index, IndexError, MadeOf, Surveyed, replace,
    survey,
};
pub use layout::{Keys, Layout, Named, Role, keys, profile_keys, read_key, release, trained_for};
pub use promote::{Has, Plan, There, Verified, plan};
pub use remote::{Place, Remote};
pub use s3::Keeper;
pub use settings::{Inputs, Settings, SettingsError, Whose, env_file};
pub use target::{Target, TargetError};
pub use upload::{Published, publish};
