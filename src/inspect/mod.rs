//! What an artifact is and holds, and in what two differ: told from its bytes and its record.
//!
//! ```text
//! tarball ─ read ─▶ Tarball, Inventory ─ compare ─▶ Vec<Difference> ─ explain ─▶ reasons
//! ```
//!
//! Tarballs may be an enemy's: they are read as a stream and never unpacked, and what is kept of
//! them is bounded. Looking and judging are apart: all but [`read`] are pure.

mod ar;
mod compare;
mod cyclonedx;
mod elf;
mod explain;
mod inventory;
mod marshal;
mod papers;
mod pyc;
mod slsa;
mod software;
mod text;

pub use compare::{Change, Difference, Kind, Outside, compare, outside};
pub use cyclonedx::cyclonedx;
pub use explain::explain;
pub use inventory::{Eye, Inventory, KEPT, Member, Pass, Tarball, Unseeing, What, read};
pub use papers::{PaperChange, contradictions, papers};
pub use slsa::slsa;
pub use software::Software;
