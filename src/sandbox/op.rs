//! The operations that make a sandbox, as data: what `--dry-run` prints is what is executed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spec::{Access, Identity, Privileges, Terminal};
use crate::model::{Bytes, Elapsed, GuestPath, quoted};
use crate::sys::terminal::Size;

/// One step on the way from a process of the host to the command in its sandbox.
///
/// They are executed in order by one process after the other: [`Op::BecomeInit`] and
/// [`Op::StartCommand`] fork, and the child goes on with the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// As root only: become an ordinary user before anything else, for good.
    BecomeUser {
        /// The uid and gid of the host.
        identity: Identity,
    },
    /// Be killed when the launcher ends, and before anything of the host's when memory runs out.
    TieToLauncher {
        /// What is written to `oom_score_adj`.
        oom_score: u16,
    },
    /// Enter new namespaces.
    Unshare {
        /// Which.
        namespaces: Vec<Namespace>,
    },
    /// Map the one uid and gid that exist inside to those outside.
    MapIdentity {
        /// Inside.
        inside: Identity,
        /// Outside: never 0.
        outside: Identity,
    },
    /// Name the host.
    SetHostname {
        /// The name.
        name: String,
    },
    /// Bring `lo` up.
    RaiseLoopback,
    /// Fork: the child is pid 1 of the new pid namespace, and does what follows.
    BecomeInit,
    /// Cut the mounts' ties to the host's mount namespace.
    MakeMountsPrivate,
    /// Mount the root with the kernel's overlayfs.
    MountOverlay {
        /// Read-only layers, the lowest first.
        layers: Vec<PathBuf>,
        /// What is written; the root is mounted over it too.
        upper: PathBuf,
        /// The kernel's own.
        work: PathBuf,
    },
    /// Mount the root with the kernel's overlayfs, and keep in memory what is written. The root
    /// is mounted over the lowest layer.
    MountOverlayInMemory {
        /// Read-only layers, the lowest first.
        layers: Vec<PathBuf>,
        /// Bytes that may be written.
        size: u64,
    },
    /// Mount the root with the program fuse-overlayfs.
    MountFuseOverlay {
        /// The program.
        program: PathBuf,
        /// Read-only layers, the lowest first.
        layers: Vec<PathBuf>,
        /// What is written.
        upper: PathBuf,
        /// The program's own; the root is mounted in it too.
        work: PathBuf,
    },
    /// Make the root by copying the layers, sharing blocks where the file system can.
    CopyLayers {
        /// Read-only layers, the lowest first.
        layers: Vec<PathBuf>,
        /// Where the root is then, whole.
        upper: PathBuf,
        /// Where it is noted that the copy is complete.
        work: PathBuf,
    },
    /// Try what a root must be able to: hide a file of a layer, put a directory in its place, move
    /// it. For [`super::doctor`], whose root has nothing in it but `file`.
    ChangeRoot,
    /// Mount a new file system on a directory that is made if missing and must be no symlink.
    Mount {
        /// Which.
        kind: FileSystem,
        /// Where.
        target: GuestPath,
    },
    /// Make what is there read-only, if it is there.
    Protect {
        /// A file or directory of `/proc`.
        target: GuestPath,
    },
    /// Hide what is there, if it is there: a file behind `/dev/null`, a directory behind an empty
    /// one.
    Mask {
        /// A file or directory of `/proc`.
        target: GuestPath,
    },
    /// Show a device of the host's.
    ShowDevice {
        /// Its path, the same in both.
        target: GuestPath,
    },
    /// Make a symlink in a file system that an earlier step has mounted.
    Link {
        /// Where.
        target: GuestPath,
        /// What it says.
        to: String,
    },
    /// Make a file system that an earlier step has mounted and filled read-only.
    Finish {
        /// Where it is mounted.
        target: GuestPath,
    },
    /// Show a file or directory of the host's.
    Bind {
        /// On the host.
        source: PathBuf,
        /// In the sandbox.
        target: GuestPath,
        /// Whether it can be changed.
        access: Access,
    },
    /// Make the new root the root, and let go of the old one.
    PivotRoot,
    /// Give up capabilities, for good.
    KeepCapabilities {
        /// Those that stay, which mean something inside the sandbox only.
        keep: Vec<Capability>,
    },
    /// No exec gives more rights than there are.
    NoNewPrivileges,
    /// Reach no abstract socket, and signal no process, outside.
    ScopeSockets,
    /// Fork: the parent, pid 1, reaps, watches, and ends everything; the child does what follows.
    StartCommand {
        /// Wall-clock time after which everything is killed.
        wall: Duration,
        /// Bytes of memory above which everything is killed.
        memory: u64,
    },
    /// Be the leader of a new session, without a terminal.
    NewSession,
    /// Open a terminal in that session, for the command; its other end goes to the launcher.
    OpenTerminal {
        /// What for, how large, in which modes.
        terminal: Terminal,
    },
    /// Lower what a process may use up.
    LimitResources {
        /// Processes and threads of the sandbox.
        processes: u64,
        /// Bytes in a file.
        file_size: u64,
        /// Bytes of private writable memory a process may map.
        data: u64,
        /// Open descriptors a process may have.
        descriptors: u64,
    },
    /// Filter system calls from here on.
    FilterCalls {
        /// How strictly.
        privileges: Privileges,
    },
    /// Become the command.
    Execute {
        /// Program and arguments.
        argv: Vec<String>,
        /// The whole environment.
        env: BTreeMap<String, String>,
        /// The working directory.
        cwd: GuestPath,
    },
}

/// A kind of namespace: `namespaces(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Namespace {
    User,
    Mount,
    Pid,
    Ipc,
    Uts,
    Network,
    Cgroup,
}

/// A file system that is new in each sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileSystem {
    /// `/proc` of the sandbox's own processes.
    Proc,
    /// A directory in memory.
    Tmpfs {
        /// Bytes it may hold.
        size: u64,
        /// Its permission bits.
        mode: u16,
        /// Whether programs in it can be run.
        executable: bool,
    },
    /// Pseudo-terminals of the sandbox's own.
    DevPts,
}

/// The capabilities that package managers need within their own user namespace:
/// `capabilities(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Capability {
    Chown = 0,
    DacOverride = 1,
    Fowner = 3,
    Fsetid = 4,
    Kill = 5,
    Setgid = 6,
    Setuid = 7,
    SysChroot = 18,
    Setfcap = 31,
}

impl fmt::Display for Op {
    #[allow(clippy::too_many_lines)] // one line an operation
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BecomeUser {
                identity: Identity { uid, gid },
            } => write!(f, "become uid {uid}, gid {gid}, with no other group"),
            Self::TieToLauncher { oom_score } => {
                write!(f, "die with the launcher; oom_score_adj {oom_score}")
            }
            Self::Unshare { namespaces } => {
                write!(f, "enter new namespaces: {}", Listed(namespaces))
            }
            Self::MapIdentity { inside, outside } => write!(
                f,
                "map uid {} to {} outside, gid {} to {}; no other, no setgroups",
                inside.uid, outside.uid, inside.gid, outside.gid
            ),
            Self::SetHostname { name } => write!(f, "name the host {name}"),
            Self::RaiseLoopback => write!(f, "bring lo up"),
            Self::BecomeInit => write!(f, "fork: be pid 1"),
            Self::MakeMountsPrivate => write!(f, "make all mounts private"),
            Self::MountOverlay {
                layers,
                upper,
                work,
            } => write!(
                f,
                "mount overlay on /: lower {}, upper {}, work {}",
                Paths(layers),
                upper.display(),
                work.display()
            ),
            Self::MountOverlayInMemory { layers, size } => write!(
                f,
                "mount overlay on /: lower {}, changes in a tmpfs of {}",
                Paths(layers),
                Bytes(*size)
            ),
            Self::MountFuseOverlay {
                program,
                layers,
                upper,
                work,
            } => write!(
                f,
                "mount {} on /: lower {}, upper {}, work {}",
                program.display(),
                Paths(layers),
                upper.display(),
                work.display()
            ),
            Self::CopyLayers {
                layers,
                upper,
                work: _,
            } => {
                write!(f, "copy {} to {} as /", Paths(layers), upper.display())
            }
            Self::ChangeRoot => write!(f, "change the new root"),
            Self::Mount { kind, target } => write!(f, "mount {kind} on {target}"),
            Self::Protect { target } => write!(f, "make {target} read-only"),
            Self::Mask { target } => write!(f, "hide {target}"),
            Self::ShowDevice { target } => write!(f, "show the device {target}"),
            Self::Link { target, to } => write!(f, "link {target} to {to}"),
            Self::Finish { target } => write!(f, "make the finished {target} read-only"),
            Self::Bind {
                source,
                target,
                access,
            } => {
                let access = match access {
                    Access::ReadOnly => "read-only",
                    Access::ReadWrite => "read-write",
                };
                write!(f, "bind {} to {target}, {access}", source.display())
            }
            Self::PivotRoot => write!(f, "pivot into the new root, let go of the old one"),
            Self::KeepCapabilities { keep } if keep.is_empty() => {
                write!(f, "give up every capability")
            }
            Self::KeepCapabilities { keep } => {
                write!(f, "give up every capability but {}", Listed(keep))
            }
            Self::NoNewPrivileges => write!(f, "set no_new_privs"),
            Self::ScopeSockets => write!(f, "reach no abstract socket outside (Landlock)"),
            Self::StartCommand { wall, memory } => write!(
                f,
                "fork: pid 1 kills everything after {}, above {} of memory, when the command or the launcher ends",
                Elapsed(*wall),
                Bytes(*memory)
            ),
            Self::NewSession => write!(f, "start a session without a terminal"),
            Self::OpenTerminal {
                terminal:
                    Terminal {
                        input,
                        output,
                        errors,
                        size,
                        modes: _,
                    },
            } => {
                let streams = [(input, "input"), (output, "output"), (errors, "error")];
                let streams = streams.into_iter().filter(|(is, _)| **is);
                let streams: Vec<&str> = streams.map(|(_, name)| name).collect();
                let Size { rows, columns, .. } = size;
                let streams = streams.join(", ");
                write!(
                    f,
                    "open a terminal of {columns}x{rows} as standard {streams}"
                )?;
                if *input {
                    f.write_str("; it controls the session")?;
                }
                Ok(())
            }
            Self::LimitResources {
                processes,
                file_size,
                data,
                descriptors,
            } => write!(
                f,
                "limit to {processes} processes, files of {}, {} of data a process, {descriptors} descriptors, no core dumps",
                Bytes(*file_size),
                Bytes(*data)
            ),
            Self::FilterCalls { privileges } => match privileges {
                Privileges::Build => write!(f, "filter system calls: build"),
                Privileges::Prepare => write!(f, "filter system calls: prepare"),
            },
            Self::Execute { argv, env, cwd } => {
                write!(f, "in {cwd} execute")?;
                for (name, value) in env {
                    write!(f, " {name}={}", Quoted(value))?;
                }
                argv.iter()
                    .try_for_each(|arg| write!(f, " {}", Quoted(arg)))
            }
        }
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proc => f.write_str("proc"),
            Self::Tmpfs {
                size,
                mode,
                executable,
            } => {
                write!(f, "tmpfs of {}, mode {mode:04o}", Bytes(*size))?;
                if !executable {
                    f.write_str(", noexec")?;
                }
                Ok(())
            }
            Self::DevPts => f.write_str("devpts"),
        }
    }
}

/// `{:?}` of each, lower case, with commas.
struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Debug> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, item) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{}", format!("{item:?}").to_lowercase())?;
        }
        Ok(())
    }
}

struct Paths<'a>(&'a [PathBuf]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, path) in self.0.iter().enumerate() {
            let plus = if n == 0 { "" } else { " + " };
            write!(f, "{plus}{}", path.display())?;
        }
        Ok(())
    }
}

/// As a POSIX shell would have to be told, always on one line.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.chars().any(char::is_control) {
            // $'…' keeps what would break the line.
            return write!(f, "$'{}'", self.0.escape_default());
        }
        f.write_str(&quoted(self.0))
    }
}
