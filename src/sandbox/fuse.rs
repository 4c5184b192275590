//! The root file system by fuse-overlayfs, where the kernel's overlay is refused.

use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;

use super::wire::Failure;
use crate::sys::call::CallError;
use crate::sys::fs::create_dir_all;
use crate::sys::{mount, namespace, process};

/// As much of what the program complains about as a person reads.
const COMPLAINT: u64 = 2000;

/// Mounts the layers, with `upper` above them, over a directory in `work`: it must not be `upper`,
/// which the program goes on to walk by its path. Called in pid 1 before it gives anything up.
///
/// The program is handed the mount when it is made, and serves it from a mount namespace of its
/// own: there its root stays what it was when pid 1 pivots into the new one, which would otherwise
/// be the program's root too, so that it would wait for itself. It ends with the pid namespace,
/// and the command cannot look into it, since it has a capability that the command lacks.
pub(super) fn mount_overlay(
    program: &Path,
    layers: &[PathBuf],
    upper: &Path,
    work: &Path,
) -> Result<OwnedFd, Failure> {
    let layers = layers
        .iter()
        .map(|layer| mount::open_path(layer))
        .collect::<Result<Vec<_>, _>>()?;
    let (root, work) = (work.join("root"), work.join("work"));
    for dir in [&root, &work] {
        create_dir_all(dir).map_err(|error| Failure::Other(error.to_string()))?;
    }
    let (upper, work) = (mount::open_path(upper)?, mount::open_path(&work)?);
    let (device, at) = mount_device(&root)?;
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .map_err(CallError::new("pipe2", ""))?;
    let Some(child) = process::fork()? else {
        let child = Server {
            program,
            layers: &layers,
            upper: &upper,
            work: &work,
            device: &device,
            errors: &write,
        };
        return Err(child.become_program());
    };
    // It ends once it serves, or failed; the daemon that it leaves keeps its standard error.
    if process::wait(child)?.success() {
        return Ok(at);
    }
    let mut complaint = Vec::new();
    let _ = File::from(read).take(COMPLAINT).read_to_end(&mut complaint);
    let (program, complaint) = (program.display(), String::from_utf8_lossy(&complaint));
    Err(Failure::Other(format!("{program}: {}", complaint.trim())))
}

/// Mounts what is served by whoever holds the first descriptor; the second is its root.
fn mount_device(root: &Path) -> Result<(OwnedFd, OwnedFd), Failure> {
    let device = Path::new("/dev/fuse");
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let fd =
        nix::fcntl::open(device, flags, Mode::empty()).map_err(CallError::path("open", device))?;
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other",
        fd.as_raw_fd(),
        nix::unistd::geteuid(),
        nix::unistd::getegid(),
    );
    let below = mount::open_path(root)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount::mount_new("fuse", below.as_fd(), flags, &options)?;
    Ok((fd, mount::open_path(root)?))
}

/// The child that becomes the program.
struct Server<'a> {
    program: &'a Path,
    layers: &'a [OwnedFd],
    upper: &'a OwnedFd,
    work: &'a OwnedFd,
    device: &'a OwnedFd,
    errors: &'a OwnedFd,
}

impl Server<'_> {
    /// Returns only what went wrong.
    fn become_program(&self) -> Failure {
        if let Err(error) = self.prepare() {
            return error.into();
        }
        // By descriptor, as for the kernel: there is nothing to escape.
        let at = |fd: &OwnedFd| mount::fd_path(fd.as_fd()).display().to_string();
        // Of an owner who does not exist inside the kernel would not even hear.
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        let mut options = format!(
            "squash_to_uid={uid},squash_to_gid={gid},upperdir={},workdir={}",
            at(self.upper),
            at(self.work)
        );
        for (n, layer) in self.layers.iter().rev().enumerate() {
            let before = if n == 0 { ",lowerdir=" } else { ":" };
            let _ = write!(options, "{before}{}", at(layer));
        }
        let text = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
        let path = text(self.program.as_os_str().as_bytes());
        let mounted = format!("/dev/fd/{}", self.device.as_raw_fd());
        let argv = [
            path.clone(),
            text(b"-o"),
            text(options.as_bytes()),
            text(mounted.as_bytes()),
        ];
        CallError::path("execve", self.program)(process::exec(&path, &argv, &[])).into()
    }

    fn prepare(&self) -> Result<(), CallError> {
        let Self {
            program: _,
            layers,
            upper,
            work,
            device,
            errors,
        } = self;
        namespace::unshare(CloneFlags::CLONE_NEWNS)?;
        for fd in layers.iter().chain([*upper, *work, *device]) {
            process::keep_at_exec(fd.as_fd())?;
        }
        process::install_fd(errors.as_fd(), std::io::stdout().as_raw_fd())?;
        process::install_fd(errors.as_fd(), std::io::stderr().as_raw_fd())?;
        process::hand_down_capabilities()
    }
}
