//! The words of the trade as types: what a stack, a version, a digest and a platform are.
//!
//! Everything here is pure. Values are parsed once, at the edge, and cannot be built invalid:
//! fields are private and [`std::str::FromStr`] is the way in.

mod amount;
mod digest;
mod event;
mod glob;
mod guest_path;
mod name;
mod percent;
mod platform;
mod product;
mod secret;
mod shell;
mod suggest;
mod version;

pub use amount::{Bytes, Elapsed};
pub use digest::{DigestError, Hasher, HashingReader, Sha256};
pub use event::{Amount, Event, Observer, Phase, PhaseId, Quiet};
pub use glob::{Glob, GlobError};
pub use guest_path::{GuestPath, GuestPathError};
pub use name::{FormulaName, FormulaRef, NameError, StackName};
pub use percent::encode_path;
pub use platform::{Arch, ArchError};
pub use product::{Kind, Link};
pub use secret::Secret;
pub use shell::{command_line, quoted};
pub use suggest::nearest;
pub use version::{Version, VersionError, VersionRange};
