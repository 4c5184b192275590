//! Verifying: whether a target holds what it says it holds.
//!
//! ```text
//! Remote ─ gather (listing, sidecars, one pass over each tarball) ─▶ Facts ─ rules ─▶ Report
//! ```
//!
//! Looking and judging are apart: [`rules`] are pure functions over [`Facts`], all of which are
//! asked and none of which stops another. What could not be looked at is neither sound nor wrong;
//! a [`Report`] tells it apart, and one that has looked at nothing is not sound.

pub mod facts;
mod gather;
mod headers;
mod identity;
mod lock;
mod report;
pub mod rules;
mod safe;
mod selection;
mod stream;
mod survey;

pub use facts::{Archive, Facts, Indexed};
pub use gather::{Depth, Options, Seeing, Tools, VerifyError, look, verify};
pub use identity::{Identify, IdentityError};
pub use lock::{Lock, LockError};
pub use report::{Checked, Finding, Report, Unseen, Verdict};
pub use rules::{RULES, Rule};
pub use safe::Unsafe;
pub use selection::{Pattern, Selection};
pub use stream::{Inside, Stream};
pub use survey::stacks;
