//! The words of the trade as types: what a stack, a version, a digest and a platform are.
//!
//! Everything here is pure. Values are parsed once, at the edge, and cannot be built invalid:
//! fields are private and [`std::str::FromStr`] is the way in.

mod amount;
mod digest;
mod event;
mod glob;
mod guest_path;
mod header;
mod name;
mod percent;
mod platform;
mod product;
mod secret;
mod shell;
mod stack_key;
mod stamp;
mod suggest;
mod test_name;
mod version;
mod wanted;

pub use amount::{Age, Bytes, Elapsed};
pub use digest::{DigestError, Hasher, HashingReader, Sha256};
pub use event::{Amount, Event, Observer, Phase, PhaseId, Quiet};
pub use glob::{Glob, GlobError};
pub use guest_path::{GuestPath, GuestPathError};
pub use header::defined;
pub use name::{FormulaName, FormulaRef, NameError, StackName};
pub use percent::{decode_path, encode_path};
pub use platform::{Arch, ArchError};
pub use product::{Kind, Link};
pub use secret::Secret;
pub use shell::{command_line, quoted};
pub use stack_key::{StackKey, StackKeyError};
pub use stamp::{Stamp, StampedDevice};
pub use suggest::nearest;
pub use test_name::{TestName, TestNameError};
pub use version::{Version, VersionError, VersionRange};
pub use wanted::{Wanted, WantedError};
