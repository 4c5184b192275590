//! Mounts: detached trees, binds by descriptor, `pivot_root`; `mount(2)` where a kernel is older.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
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
fn clone_tree(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd, CallError> {
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
fn restrict_tree(tree: BorrowedFd<'_>, forbid: Forbid, recursive: bool) -> Result<(), CallError> {
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
fn attach_tree(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), CallError> {
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

/// Which mount a descriptor lies on: `STATX_MNT_ID` of statx(2), Linux 5.8.
pub fn id(fd: BorrowedFd<'_>) -> Result<u64, CallError> {
    let failed = || CallError::new("statx", fd.as_raw_fd());
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path ends in NUL, and the kernel fills the structure, which is as it expects.
    let result = unsafe {
        libc::statx(
            fd.as_raw_fd(),
            EMPTY.as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_MNT_ID,
            found.as_mut_ptr(),
        )
    };
    Errno::result(result).map_err(failed())?;
    // SAFETY: it was zeroed, which is a value of every field, and then filled.
    let found = unsafe { found.assume_init() };
    if found.stx_mask & libc::STATX_MNT_ID == 0 {
        return Err(failed()(Errno::ENOSYS));
    }
    Ok(found.stx_mnt_id)
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

/// Mounts what `source` refers to on top of what `target` refers to, with less allowed.
///
/// By `open_tree`, so that nothing is ever seen there unrestricted; on kernels before 5.12 it is
/// restricted after it is mounted, and on kernels before 5.2 it is mounted by `mount(2)`.
pub fn bind(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    recursive: bool,
    forbid: Forbid,
) -> Result<(), CallError> {
    match clone_tree(source, Path::new(""), recursive) {
        Ok(tree) => match restrict_tree(tree.as_fd(), forbid, recursive) {
            Ok(()) => return attach_tree(tree.as_fd(), target),
            Err(error) if error.errno == Errno::ENOSYS => attach_tree(tree.as_fd(), target)?,
            Err(error) => return Err(error),
        },
        Err(error) if error.errno == Errno::ENOSYS => bind_by_path(source, target, recursive)?,
        Err(error) => return Err(error),
    }
    restrict_by_path(target, forbid)
}

/// `mount(2)` with `MS_BIND`.
fn bind_by_path(
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

/// Restricts each mount at and below what is mounted on `target`. `mount(2)` sets all flags at
/// once and refuses to clear one that is locked, so each mount's own are kept.
fn restrict_by_path(target: BorrowedFd<'_>, forbid: Forbid) -> Result<(), CallError> {
    let shown = nix::fcntl::readlink(&fd_path(target)).map_err(CallError::new("readlink", "fd"))?;
    let table = std::fs::read("/proc/self/mountinfo").map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
        CallError::new("read", "/proc/self/mountinfo")(errno)
    })?;
    for (point, flags) in mounts(&table) {
        if point.starts_with(Path::new(&shown)) {
            remount(&point, flags | mount_flags(forbid))?;
        }
    }
    Ok(())
}

/// Mount points and their flags: `proc_pid_mountinfo(5)`.
fn mounts(table: &[u8]) -> impl Iterator<Item = (PathBuf, MsFlags)> {
    table.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').skip(4);
        let point = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
        let options = fields.next()?.split(|byte| *byte == b',');
        Some((point, options.map(flag).collect()))
    })
}

fn flag(option: &[u8]) -> MsFlags {
    match option {
        b"ro" => MsFlags::MS_RDONLY,
        b"nosuid" => MsFlags::MS_NOSUID,
        b"nodev" => MsFlags::MS_NODEV,
        b"noexec" => MsFlags::MS_NOEXEC,
        b"noatime" => MsFlags::MS_NOATIME,
        b"nodiratime" => MsFlags::MS_NODIRATIME,
        b"relatime" => MsFlags::MS_RELATIME,
        _ => MsFlags::empty(),
    }
}

fn mount_flags(forbid: Forbid) -> MsFlags {
    let Forbid { write, devices } = forbid;
    let mut flags = MsFlags::MS_NOSUID;
    flags.set(MsFlags::MS_RDONLY, write);
    flags.set(MsFlags::MS_NODEV, devices);
    flags
}

/// Blanks, tabs, line breaks and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..3).filter(|_| *first == b'\\');
        let octal = digits
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    bytes
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

/// Opens `/dev/null`.
pub fn open_null() -> Result<OwnedFd, CallError> {
    use nix::fcntl::{OFlag, open};
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    open("/dev/null", flags, nix::sys::stat::Mode::empty())
        .map_err(CallError::new("open", "/dev/null"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_tables_are_read() {
        let table = b"22 27 0:21 / /proc rw,nosuid,relatime shared:5 - proc proc rw\n\
            66 42 0:40 / /a\\040b\\134c ro,nodev,noexec,noatime - overlay overlay rw\n\
            broken line\n";
        let found: Vec<_> = mounts(table).collect();
        let first = MsFlags::MS_NOSUID | MsFlags::MS_RELATIME;
        let second =
            MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
        assert_eq!(
            found,
            [
                (PathBuf::from("/proc"), first),
                (PathBuf::from("/a b\\c"), second)
            ]
        );
    }
}
