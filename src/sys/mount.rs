//! Mounts: detached trees, binds by descriptor, `pivot_root`; `mount(2)` where a kernel is older.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::NixPath;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

use super::call::CallError;

const EMPTY: &CStr = c"";

/// What a mount forbids beyond what the mounted file system itself does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forbid {
    /// Writing.
    pub write: bool,
    /// Opening device nodes.
    pub devices: bool,
}

/// The path by which a descriptor can be handed to `mount(2)`: nothing can be swapped below it,
/// it needs no escaping in a file system's options, and it is short.
pub fn fd_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// `open_tree(2)` with `OPEN_TREE_CLONE`: a detached copy of the mount at `path` below `dir`, and
/// of those below it if `recursive`. An empty path means `dir` itself.
pub fn clone_tree(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd, CallError> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= libc::AT_RECURSIVE.cast_unsigned();
    }
    if path.as_os_str().is_empty() {
        flags |= libc::AT_EMPTY_PATH.cast_unsigned();
    }
    // SAFETY: open_tree(2) reads a NUL-terminated path and touches no other memory of ours.
    let fd = path.with_nix_path(|path| unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            dir.as_raw_fd(),
            path.as_ptr(),
            libc::c_ulong::from(flags),
        )
    });
    let fd = fd
        .and_then(Errno::result)
        .map_err(CallError::path("open_tree", path))?;
    let fd = i32::try_from(fd).expect("the kernel gives descriptors as int");
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `mount_setattr(2)` on a detached tree: adds what is forbidden. It never takes a flag away, so
/// flags that the kernel has locked on mounts of another user namespace stay as they are.
pub fn restrict_tree(
    tree: BorrowedFd<'_>,
    forbid: Forbid,
    recursive: bool,
) -> Result<(), CallError> {
    let attr = libc::mount_attr {
        attr_set: attr_bits(forbid),
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path and `attr` outlive the call, and the size given is that of `attr`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            EMPTY.as_ptr(),
            libc::c_ulong::from(flags.cast_unsigned()),
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result)
        .map(drop)
        .map_err(CallError::new("mount_setattr", format!("{forbid:?}")))
}

fn attr_bits(forbid: Forbid) -> u64 {
    let Forbid { write, devices } = forbid;
    let mut bits = libc::MOUNT_ATTR_NOSUID;
    if write {
        bits |= libc::MOUNT_ATTR_RDONLY;
    }
    if devices {
        bits |= libc::MOUNT_ATTR_NODEV;
    }
    bits
}

/// `move_mount(2)`: attaches a detached tree on top of what `target` refers to.
pub fn attach_tree(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), CallError> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: two descriptors, two empty NUL-terminated paths and flags.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            EMPTY.as_ptr(),
            target.as_raw_fd(),
            EMPTY.as_ptr(),
            libc::c_ulong::from(flags),
        )
    };
    Errno::result(result)
        .map(drop)
        .map_err(CallError::new("move_mount", target.as_raw_fd()))
}

/// `mount(2)` of a new file system on top of what `target` refers to.
pub fn mount_new(
    kind: &'static str,
    target: BorrowedFd<'_>,
    flags: MsFlags,
    options: &str,
) -> Result<(), CallError> {
    nix::mount::mount(
        Some(kind),
        &fd_path(target),
        Some(kind),
        flags,
        Some(options),
    )
    .map_err(CallError::new("mount", format_args!("{kind}, {options}")))
}

/// `mount(2)` with `MS_BIND`, for kernels without `open_tree`.
pub fn bind_by_path(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    recursive: bool,
) -> Result<(), CallError> {
    let mut flags = MsFlags::MS_BIND;
    if recursive {
        flags |= MsFlags::MS_REC;
    }
    let none = None::<&str>;
    nix::mount::mount(Some(&fd_path(source)), &fd_path(target), none, flags, none)
        .map_err(CallError::new("mount", "MS_BIND"))
}

/// `mount(2)` with `MS_REMOUNT | MS_BIND`: sets all flags of the one mount that `at` refers to.
/// The flags that are locked on it must be among `flags`.
pub fn remount(at: &Path, flags: MsFlags) -> Result<(), CallError> {
    let none = None::<&str>;
    let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    nix::mount::mount(none, at, none, flags, none).map_err(CallError::new(
        "mount",
        format_args!("{}, {flags:?}", at.display()),
    ))
}

/// Cuts every mount's ties to the namespace it was copied from: nothing done here is seen there.
pub fn make_all_private() -> Result<(), CallError> {
    let none = None::<&str>;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(none, "/", none, flags, none)
        .map_err(CallError::new("mount", "/, MS_REC | MS_PRIVATE"))
}

/// Makes `root` the root of this mount namespace and lets go of the old one for good.
pub fn pivot_into(root: BorrowedFd<'_>) -> Result<(), CallError> {
    nix::unistd::fchdir(root).map_err(CallError::new("fchdir", "the new root"))?;
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one, and is
    // the one that umount2 then finds at ".".
    nix::unistd::pivot_root(".", ".").map_err(CallError::new("pivot_root", "., ."))?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH)
        .map_err(CallError::new("umount2", "., MNT_DETACH"))?;
    nix::unistd::chdir("/").map_err(CallError::new("chdir", "/"))
}

/// Whether the mount that `fd` is on is read-only, as a whole file system or as this mount.
pub fn is_read_only(fd: BorrowedFd<'_>) -> Result<bool, CallError> {
    use nix::sys::statvfs::{FsFlags, fstatvfs};
    let found = fstatvfs(fd).map_err(CallError::new("fstatvfs", fd.as_raw_fd()))?;
    Ok(found.flags().contains(FsFlags::ST_RDONLY))
}

/// Opens a path without any right to read or write what is there: to be mounted on or from.
pub fn open_path(path: &Path) -> Result<OwnedFd, CallError> {
    use nix::fcntl::{OFlag, open};
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    open(path, flags, nix::sys::stat::Mode::empty()).map_err(CallError::path("open", path))
}

/// The current working directory as a descriptor number for calls that take one.
pub fn cwd() -> BorrowedFd<'static> {
    nix::fcntl::AT_FDCWD
}
