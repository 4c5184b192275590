//! What this host can do, as far as a plan depends on it: looked up, cheaply, not tried.
//!
//! [`super::doctor`] tries it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{FsType, statfs};

use super::spec::Identity;
use crate::sys::call::CallError;
use crate::sys::landlock;

/// `nobody`, on every Linux: the overflow uid.
const NOBODY: u32 = 65534;

/// File systems that overlayfs refuses to write to, or that cannot hold what it writes:
/// `filesystems/overlayfs.rst`. `statfs(2)` has the numbers.
const NO_UPPER: [(i64, &str); 8] = [
    (0x6969, "NFS"),
    (0x6573_5546, "FUSE"),
    (0x794c_7630, "overlayfs"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0102_1997, "9p"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x4d44, "FAT"),
];

const TMPFS: i64 = 0x0102_1994;

/// Why nothing can be said about this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A question to the kernel was not answered.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// How the root file system is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rooting {
    /// By the kernel's overlayfs.
    Overlay,
    /// By fuse-overlayfs.
    Fuse {
        /// The program.
        program: PathBuf,
    },
    /// By copying the layers. The upper directory is then the whole root, not its changes.
    Copy,
}

/// What this host can do, and whom to become if this process is root.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // each is a capability that is there or is not
pub struct Host {
    pub(super) is_root: bool,
    pub(super) outside: Identity,
    pub(super) rooting: Rooting,
    /// Whether overlayfs can write to a tmpfs.
    pub(super) memory: bool,
    pub(super) cgroup_namespaces: bool,
    pub(super) scopes: bool,
}

impl Host {
    /// Looks at this process, the kernel, and the file system of `scratch`, a directory in which
    /// roots are going to be made. Takes well under a millisecond.
    ///
    /// Root becomes the owner of `scratch`, or `nobody` if that is root too.
    pub fn probe(scratch: &Path) -> Result<Self, HostError> {
        let is_root = nix::unistd::geteuid().is_root();
        let outside = if is_root {
            unprivileged(owner(scratch)?)
        } else {
            this_process()
        };
        let kernel = kernel()?;
        Ok(Self {
            is_root,
            outside,
            rooting: rooting(scratch, kernel, is_root)?,
            memory: can_overlay(kernel, TMPFS),
            cgroup_namespaces: has_cgroup_namespaces(),
            scopes: landlock::version() >= landlock::SCOPES,
        })
    }

    /// The same host, but as root become this user. A uid or gid of 0 is refused by the plan.
    #[must_use]
    pub fn run_as(mut self, identity: Identity) -> Self {
        if self.is_root {
            self.outside = identity;
        }
        self
    }

    /// The same host, but put roots together in this way.
    #[must_use]
    pub fn with_rooting(mut self, rooting: Rooting) -> Self {
        self.rooting = rooting;
        self
    }

    /// Who the sandbox's processes are on the host.
    pub fn outside(&self) -> Identity {
        self.outside
    }

    /// Whether this process is root, and has to become [`Host::outside`].
    pub fn is_root(&self) -> bool {
        self.is_root
    }

    /// Whether a root's changes can be held in memory, to be discarded: they never are copies of
    /// whole layers.
    pub fn can_discard(&self) -> bool {
        self.memory && self.rooting == Rooting::Overlay
    }

    /// How roots are put together.
    pub fn rooting(&self) -> &Rooting {
        &self.rooting
    }

    /// Whether Landlock can keep a sandbox on the host's network from abstract sockets.
    pub fn can_scope(&self) -> bool {
        self.scopes
    }

    /// Whether the kernel has cgroup namespaces.
    pub fn has_cgroup_namespaces(&self) -> bool {
        self.cgroup_namespaces
    }
}

/// Whether the kernel has cgroup namespaces.
pub(super) fn has_cgroup_namespaces() -> bool {
    Path::new("/proc/self/ns/cgroup").exists()
}

/// Who this process is.
pub(super) fn this_process() -> Identity {
    Identity {
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
    }
}

fn owner(scratch: &Path) -> Result<Identity, CallError> {
    let found = std::fs::metadata(scratch).map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
        CallError::path("stat", scratch)(errno)
    })?;
    Ok(Identity {
        uid: found.uid(),
        gid: found.gid(),
    })
}

fn unprivileged(owner: Identity) -> Identity {
    match owner {
        Identity { uid: 0, .. } => Identity {
            uid: NOBODY,
            gid: NOBODY,
        },
        Identity { uid, gid: 0 } => Identity { uid, gid: NOBODY },
        owner => owner,
    }
}

fn kernel() -> Result<(u32, u32), CallError> {
    let name = nix::sys::utsname::uname().map_err(CallError::new("uname", ""))?;
    Ok(kernel_version(&name.release().to_string_lossy()))
}

fn rooting(scratch: &Path, kernel: (u32, u32), is_root: bool) -> Result<Rooting, CallError> {
    let FsType(kind) = statfs(scratch)
        .map_err(CallError::path("statfs", scratch))?
        .filesystem_type();
    if can_overlay(kernel, kind) {
        return Ok(Rooting::Overlay);
    }
    Ok(without_overlay(is_root))
}

/// What is left where the kernel's overlayfs does not work.
pub(super) fn without_overlay(is_root: bool) -> Rooting {
    let dirs = ["/usr/local/bin", "/usr/bin", "/bin"];
    let programs = dirs.map(|dir| Path::new(dir).join("fuse-overlayfs"));
    match programs.into_iter().find(|program| program.exists()) {
        Some(program) if is_open_to_all(Path::new("/dev/fuse"), is_root) => {
            Rooting::Fuse { program }
        }
        _ => Rooting::Copy,
    }
}

/// Whether an ordinary user, who this process is or is to become, may read and write it.
fn is_open_to_all(device: &Path, is_root: bool) -> bool {
    use nix::unistd::{AccessFlags, access};
    if is_root {
        let others = 0o006;
        return std::fs::metadata(device).is_ok_and(|found| found.mode() & others == others);
    }
    access(device, AccessFlags::R_OK | AccessFlags::W_OK).is_ok()
}

/// Unprivileged overlay mounts exist since Linux 5.11; tmpfs keeps user extended attributes, which
/// they need, since 6.6.
fn can_overlay(kernel: (u32, u32), filesystem: i64) -> bool {
    if NO_UPPER.iter().any(|(magic, _)| *magic == filesystem) {
        return false;
    }
    kernel >= if filesystem == TMPFS { (6, 6) } else { (5, 11) }
}

/// The first two numbers of what `uname -r` says.
pub(super) fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_becomes_someone_else() {
        let table = [
            ((0, 0), (NOBODY, NOBODY)),
            ((0, 100), (NOBODY, NOBODY)),
            ((1000, 0), (1000, NOBODY)),
            ((1000, 1001), (1000, 1001)),
        ];
        for ((uid, gid), (to_uid, to_gid)) in table {
            let to = unprivileged(Identity { uid, gid });
            assert_eq!((to.uid, to.gid), (to_uid, to_gid));
        }
    }

    #[test]
    fn overlay_is_chosen_where_it_works() {
        let (ext4, tmpfs, nfs) = (0xef53, 0x0102_1994, 0x6969);
        let table = [
            ("6.18.44-cloud-amd64", ext4, true),
            ("5.11.0", ext4, true),
            ("5.10.0-32-amd64", ext4, false),
            ("6.5.0", tmpfs, false),
            ("6.6.1", tmpfs, true),
            ("6.18.44", nfs, false),
            ("unheard of", ext4, false),
        ];
        for (release, filesystem, works) in table {
            let chosen = can_overlay(kernel_version(release), filesystem);
            assert_eq!(chosen, works, "{release} {filesystem:#x}");
        }
    }
}
