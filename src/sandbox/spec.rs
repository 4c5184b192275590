//! What a sandbox is, as a value: the isolation that a caller asks for, before any kernel is met.
//!
//! A [`SandboxSpec`] is plain data. [`super::plan()`] turns it into the operations that make it
//! true, and `--dry-run` prints those.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::GuestPath;
use crate::sys::terminal::{Modes, Size};

/// Everything about one run of one command in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The root file system.
    pub root: Root,
    /// What else of the host is seen, in this order (a later one may lie inside an earlier).
    pub binds: Vec<Bind>,
    /// Who the command is inside: the one uid and gid that exist there.
    pub identity: Identity,
    /// What the command may ask of the kernel.
    pub privileges: Privileges,
    /// Which network it sees.
    pub network: Network,
    /// What it may use up.
    pub limits: Limits,
    /// The terminal it is used at; without one, none controls it.
    pub terminal: Option<Terminal>,
    /// What is run.
    pub command: Command,
}

/// The root file system: read-only layers below, and above them what the command changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Layer directories of the host, the lowest first. At least one.
    pub layers: Vec<PathBuf>,
    /// What becomes of what the command changes.
    pub changes: Changes,
}

/// What becomes of what a command changes in its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changes {
    /// It is kept in a directory of the host, for later runs to go on from.
    Kept {
        /// Takes the changes. Made by the caller, empty at first.
        upper: PathBuf,
        /// For the kernel's (or the copying fallback's) own use: on the file system of `upper`,
        /// empty at first, of no use to anyone else.
        work: PathBuf,
    },
    /// It is held in memory, within [`Limits::tmpfs`], and gone with the sandbox. Not every host
    /// can: [`super::Host::can_discard`].
    Discarded,
}

/// A file or directory of the host that the sandbox sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Where it is on the host; symlinks in it are followed.
    pub source: PathBuf,
    /// Where the sandbox sees it; made if the root has no such place.
    pub target: GuestPath,
    /// Whether the sandbox may change it.
    pub access: Access,
}

/// Whether a bind may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// The sandbox reads it.
    ReadOnly,
    /// The sandbox owns it.
    ReadWrite,
}

/// The one user and group that exist in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The uid inside.
    pub uid: u32,
    /// The gid inside.
    pub gid: u32,
}

impl Identity {
    /// Root inside (and an unprivileged user outside): what package managers insist on.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
    /// An ordinary user inside: what builds are.
    pub const BUILDER: Self = Self {
        uid: 1000,
        gid: 1000,
    };
}

/// What the command may ask of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Privileges {
    /// For builds: no capability at all, no setuid bits, the strict system call filter.
    Build,
    /// For preparing a root file system: changes of owner, device nodes and capabilities, which one
    /// uid cannot make, are written on the files ([`crate::model::Stamp`]) and answered with
    /// success; so are syncs, which nobody depends on, without being done.
    Prepare,
}

/// Which network the sandbox sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// An empty network namespace with `lo` up.
    None,
    /// The host's.
    Host,
}

/// A terminal of the sandbox's own, in place of those standard streams that are this process's
/// terminal: what is typed at that one is handed in, what is printed is handed out, and the sandbox
/// never has that one itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Whether it is standard input. Then it also controls the command: keys are signals, and jobs
    /// can be stopped and brought back.
    pub input: bool,
    /// Whether it is standard output.
    pub output: bool,
    /// Whether it is standard error.
    pub errors: bool,
    /// Its size at first.
    pub size: Size,
    /// Its modes at first.
    pub modes: Modes,
}

/// What a run may use up. Reaching one ends the run, and the outcome says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall-clock time.
    pub wall: Duration,
    /// Memory of all processes together, in bytes, watched by the sandbox's pid 1.
    pub memory: u64,
    /// Processes and threads at once.
    pub processes: u64,
    /// Bytes in any one file.
    pub file_size: u64,
    /// Bytes on standard output and standard error together.
    pub output: u64,
    /// Bytes in each of the sandbox's tmpfs (`/tmp`, `/dev/shm`, and the changes that are
    /// discarded).
    pub tmpfs: u64,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program, looked up in `env`'s `PATH` if it holds no slash, and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub cwd: GuestPath,
}
