//! The commands: each a short pipeline over the rooms below.

mod delivery;
mod steward;
