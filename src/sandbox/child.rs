//! The sandbox's own process: executes the plan's operations one after the other.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::resource::Resource;
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::exec::execute;
use super::op::{FileSystem, Namespace, Op};
use super::overlay::{open_all, overlay_options, tmpfs_options, unused_work};
use super::seccomp;
use super::spec::{Identity, Privileges};
use super::wire::{Failure, ROLE, Report};
use super::{End, Owners, bind, copy, fuse, init, pty};
use crate::model::GuestPath;
use crate::sys::call::CallError;
use crate::sys::inroot::{self, Links};
use crate::sys::mount::{self, Forbid};
use crate::sys::{landlock, namespace, process, socket, xattr};

/// If this process is a sandbox's child, be it, and never return. The first line of `main`:
/// before threads, arguments or logging.
pub fn become_child_if_asked() {
    let asked = std::env::args_os().next().is_some_and(|name| name == ROLE);
    if asked && socket::is_stream(std::io::stdin().as_fd()) {
        process::exit_now(run())
    }
}

/// Be a sandbox's child, in a process that was forked for it; `socket` leads to the launcher.
pub(super) fn become_child(socket: &OwnedFd) -> ! {
    // What this process was started with is not for those inside to read.
    if process::install_fd(socket.as_fd(), 0).is_ok() && process::rename(ROLE).is_ok() {
        process::exit_now(run());
    }
    process::exit_now(127) // the launcher sees that nothing was said
}

/// Receives the plan and executes it. What it returns is seen by nobody: all that is to be known
/// is reported by the socket.
fn run() -> i32 {
    let Ok(socket) = open_socket() else {
        return 127; // the launcher sees that nothing was said
    };
    process::set_name(c"pybuild-sandbox");
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    let mut child = Child {
        socket: &socket,
        stdio: Vec::new(),
        root: None,
        listener: None,
        step: 0,
    };
    child.receive_and_follow();
    127
}

fn report(socket: &OwnedFd, step: usize, done: Result<(), Failure>) {
    match done {
        // A plan that ends without a command was one to try things out.
        Ok(()) => Report::Ended {
            end: End::Exited(0),
            cpu: Duration::ZERO,
            peak_memory: 0,
            owners: Owners::Denied,
        },
        Err(failure) => Report::Failed { step, failure },
    }
    .send(socket.as_fd());
}

/// The connection to the launcher, moved away from where the command's standard input will be.
/// Whatever else this process was started with is closed.
fn open_socket() -> Result<OwnedFd, Failure> {
    process::block_signals()?;
    process::close_from(3, false)?;
    let socket = process::duplicate(std::io::stdin().as_fd())?;
    // Nor are the launcher's own standard streams: they may be a person's terminal.
    let null = mount::open_null()?;
    for place in 0..3 {
        process::install_fd(null.as_fd(), place)?;
    }
    Ok(socket)
}

fn receive(socket: &OwnedFd) -> Result<(Vec<Op>, Vec<OwnedFd>), Failure> {
    let (message, stdio) = socket::receive(socket.as_fd())?
        .ok_or_else(|| Failure::Other("the launcher is gone".to_owned()))?;
    let plan = serde_json::from_slice(&message)
        .map_err(|error| Failure::Other(format!("the plan cannot be read: {error}")))?;
    Ok((plan, stdio))
}

/// What the steps so far have led to.
struct Child<'s> {
    socket: &'s OwnedFd,
    /// The command's standard input, output and error.
    stdio: Vec<OwnedFd>,
    /// The new root, once it is mounted.
    root: Option<OwnedFd>,
    /// Where pid 1 gets the descriptor by which it answers the command's calls.
    listener: Option<OwnedFd>,
    /// The place in the plan.
    step: usize,
}

impl Child<'_> {
    /// Receives the plan and follows it. The command's descriptors come with its last part.
    fn receive_and_follow(&mut self) {
        while self.stdio.is_empty() {
            match receive(self.socket) {
                Ok((plan, stdio)) => {
                    self.stdio = stdio;
                    let is_last = !self.stdio.is_empty();
                    match self.follow(&plan) {
                        Ok(()) if !is_last => {}
                        done => return report(self.socket, self.step, done),
                    }
                }
                failed => return report(self.socket, self.step, failed.map(drop)),
            }
        }
    }

    /// What follows a fork is done by the child; the parent ends with it.
    fn follow(&mut self, mut plan: &[Op]) -> Result<(), Failure> {
        while let Some((op, rest)) = plan.split_first() {
            match op {
                Op::BecomeInit => {
                    let init = process::fork_sharing(&mut || {
                        self.step += 1;
                        let done = process::die_with_parent().map_err(Failure::from);
                        init::introduce(self.socket.as_fd());
                        let done = done.and_then(|()| self.follow(rest));
                        self.leave(done)
                    })?;
                    end_with(init)
                }
                Op::StartCommand { wall, memory } => {
                    // pid 1 runs the host's executable: nobody inside may look into it.
                    process::set_dumpable(false)?;
                    let listener = self.listener(rest)?;
                    let launcher = self.socket.as_fd();
                    init::start_command(launcher, *wall, *memory, listener, &mut || {
                        self.step += 1;
                        let done = self.follow(rest);
                        self.leave(done)
                    })?;
                }
                op => self.execute(op)?,
            }
            self.step += 1;
            plan = rest;
        }
        Ok(())
    }

    /// Where pid 1 waits for what a command that may pretend sends it.
    fn listener(&mut self, rest: &[Op]) -> Result<Option<OwnedFd>, Failure> {
        let prepares = |op: &Op| {
            let privileges = Privileges::Prepare;
            *op == Op::FilterCalls { privileges }
        };
        if !rest.iter().any(prepares) {
            return Ok(None);
        }
        let (ours, theirs) = socket::pair()?;
        self.listener = Some(theirs);
        Ok(Some(ours))
    }

    fn leave(&self, done: Result<(), Failure>) -> ! {
        report(self.socket, self.step, done);
        process::exit_now(127)
    }

    #[allow(clippy::too_many_lines)] // one arm an operation
    fn execute(&mut self, op: &Op) -> Result<(), Failure> {
        match op {
            Op::BecomeUser {
                identity: Identity { uid, gid },
            } => {
                process::become_user(*uid, *gid)?;
                // Otherwise /proc/self/uid_map belongs to root and cannot be written.
                Ok(process::set_dumpable(true)?)
            }
            Op::TieToLauncher { oom_score } => {
                // Where a service manager has raised it further, it stays there.
                let _ = namespace::write_proc("/proc/self/oom_score_adj", &oom_score.to_string());
                Ok(process::die_with_parent()?)
            }
            Op::Unshare { namespaces } => Ok(namespace::unshare(clone_flags(namespaces))?),
            Op::MapIdentity { inside, outside } => Ok(namespace::map_identity(
                (inside.uid, inside.gid),
                (outside.uid, outside.gid),
            )?),
            Op::SetHostname { name } => Ok(namespace::set_hostname(name)?),
            Op::RaiseLoopback => Ok(namespace::raise_loopback()?),
            Op::BecomeInit | Op::StartCommand { .. } => unreachable!("they fork: see `follow`"),
            Op::MakeMountsPrivate => Ok(mount::make_all_private()?),
            Op::MountOverlay {
                layers,
                upper,
                work,
            } => self.mount_overlay(layers, upper, work),
            Op::MountOverlayInMemory { layers, size } => {
                self.mount_overlay_in_memory(layers, *size)
            }
            Op::MountFuseOverlay {
                program,
                layers,
                upper,
                work,
            } => {
                self.root = Some(fuse::mount_overlay(program, layers, upper, work)?);
                Ok(())
            }
            Op::CopyLayers {
                layers,
                upper,
                work,
            } => self.copy_layers(layers, upper, work),
            Op::ChangeRoot => self.change_root(),
            Op::Mount { kind, target } => self.mount(*kind, target),
            Op::Protect { target } => self.protect(target),
            Op::Mask { target } => self.mask(target),
            Op::ShowDevice { target } => self.show_device(target),
            Op::Link { target, to } => self.link(target, to),
            Op::Finish { target } => self.finish(target),
            Op::Bind {
                source,
                target,
                access,
            } => bind::bind(self.root().as_fd(), source, target, *access),
            Op::PivotRoot => Ok(mount::pivot_into(self.root().as_fd())?),
            Op::KeepCapabilities { keep } => {
                let set = keep.iter().fold(0, |set, one| set | 1 << (*one as u8));
                Ok(process::keep_capabilities(set)?)
            }
            Op::ScopeSockets => Ok(landlock::scope()?),
            Op::NoNewPrivileges => Ok(process::no_new_privileges()?),
            Op::NewSession => nix::unistd::setsid()
                .map(drop)
                .map_err(|errno| CallError::new("setsid", "")(errno).into()),
            Op::OpenTerminal { terminal } => {
                Ok(pty::open(terminal, &mut self.stdio, self.socket.as_fd())?)
            }
            Op::LimitResources {
                processes,
                file_size,
                data,
                descriptors,
            } => {
                process::limit(Resource::RLIMIT_CORE, 0)?;
                process::limit(Resource::RLIMIT_NPROC, *processes)?;
                process::limit(Resource::RLIMIT_FSIZE, *file_size)?;
                process::limit(Resource::RLIMIT_DATA, *data)?;
                Ok(process::limit(Resource::RLIMIT_NOFILE, *descriptors)?)
            }
            Op::FilterCalls { privileges } => {
                let listener = self.listener.as_ref().map(OwnedFd::as_fd);
                Ok(seccomp::install(*privileges, listener)?)
            }
            Op::Execute { argv, env, cwd } => Err(self.become_command(argv, env, cwd)),
        }
    }

    fn root(&self) -> &OwnedFd {
        self.root.as_ref().expect("a plan mounts its root first")
    }

    fn mount_overlay(
        &mut self,
        layers: &[PathBuf],
        upper: &Path,
        work: &Path,
    ) -> Result<(), Failure> {
        let layers = open_all(layers)?;
        let work = unused_work(work)?;
        let (upper_fd, work_fd) = (mount::open_path(upper)?, mount::open_path(&work)?);
        let options = overlay_options(&layers, &upper_fd, &work_fd, ",volatile");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount::mount_new("overlay", upper_fd.as_fd(), flags, &options)?;
        let root = mount::open_path(upper)?;
        // Where it cannot write its work directory the kernel mounts read-only and says nothing.
        if mount::is_read_only(root.as_fd())? {
            return Err(CallError::path("mkdirat", &work.join("work"))(Errno::EACCES).into());
        }
        self.root = Some(root);
        Ok(())
    }

    /// Mounts a tmpfs over the lowest layer, where no one else sees it, and the root over that.
    fn mount_overlay_in_memory(&mut self, layers: &[PathBuf], size: u64) -> Result<(), Failure> {
        let place = layers.first().expect("a plan has a layer");
        let layers = open_all(layers)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount::mount_new(
            "tmpfs",
            layers[0].as_fd(),
            flags,
            &tmpfs_options(size, 0o755),
        )?;
        let memory = mount::open_path(place)?;
        let at = mount::fd_path(memory.as_fd());
        // Without user attributes, with which it marks directories, overlayfs mounts all the same,
        // and fails when one is replaced.
        xattr::set(&at.join("."), c"user.overlay.test", b"y")
            .map_err(CallError::new("setxattr", "tmpfs"))?;
        for name in ["upper", "work"] {
            nix::sys::stat::mkdirat(&memory, name, Mode::from_bits_truncate(0o755))
                .map_err(CallError::new("mkdirat", name))?;
        }
        let upper = mount::open_path(&at.join("upper"))?;
        let work = mount::open_path(&at.join("work"))?;
        let options = overlay_options(&layers, &upper, &work, "");
        mount::mount_new("overlay", memory.as_fd(), flags, &options)?;
        self.root = Some(mount::open_path(place)?);
        Ok(())
    }

    fn copy_layers(
        &mut self,
        layers: &[PathBuf],
        upper: &Path,
        work: &Path,
    ) -> Result<(), Failure> {
        copy::layers(layers, upper, work, self.socket.as_fd())?;
        let at = mount::open_path(upper)?;
        let forbid = Forbid {
            write: false,
            devices: true,
        };
        mount::bind(at.as_fd(), at.as_fd(), false, forbid)?;
        self.root = Some(mount::open_path(upper)?);
        Ok(())
    }

    fn change_root(&self) -> Result<(), Failure> {
        let root = mount::fd_path(self.root().as_fd());
        let (file, moved) = (root.join("file"), root.join("moved"));
        let change = || {
            std::fs::remove_file(&file)?;
            std::fs::create_dir(&file)?;
            std::fs::rename(&file, &moved)?;
            std::fs::remove_dir(&moved)
        };
        change().map_err(|error| Failure::Other(format!("the root cannot be changed: {error}")))
    }

    fn mount(&self, kind: FileSystem, target: &GuestPath) -> Result<(), Failure> {
        let target =
            inroot::open_or_make_dir(self.root().as_fd(), target.relative(), Links::Refused)?;
        let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let noexec = MsFlags::MS_NOEXEC;
        let (name, flags, options) = match kind {
            FileSystem::Proc => ("proc", safe | noexec, String::new()),
            FileSystem::Tmpfs {
                size,
                mode,
                executable,
            } => {
                let flags = if executable { safe } else { safe | noexec };
                ("tmpfs", flags, tmpfs_options(size, mode))
            }
            FileSystem::DevPts => (
                "devpts",
                MsFlags::MS_NOSUID | noexec,
                "newinstance,ptmxmode=0666,mode=620".to_owned(),
            ),
        };
        Ok(mount::mount_new(name, target.as_fd(), flags, &options)?)
    }

    /// What is at `target`, if anything is.
    fn found(&self, target: &GuestPath) -> Result<Option<OwnedFd>, Failure> {
        match inroot::open(self.root().as_fd(), target.relative(), Links::Refused) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.errno == Errno::ENOENT => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn protect(&self, target: &GuestPath) -> Result<(), Failure> {
        let Some(at) = self.found(target)? else {
            return Ok(());
        };
        let forbid = Forbid {
            write: true,
            devices: true,
        };
        Ok(mount::bind(at.as_fd(), at.as_fd(), true, forbid)?)
    }

    fn mask(&self, target: &GuestPath) -> Result<(), Failure> {
        let Some(at) = self.found(target)? else {
            return Ok(());
        };
        if inroot::is_dir(at.as_fd())? {
            let flags =
                MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            return Ok(mount::mount_new(
                "tmpfs",
                at.as_fd(),
                flags,
                "size=4k,mode=555",
            )?);
        }
        show_device(Path::new("/dev/null"), at.as_fd())
    }

    fn show_device(&self, target: &GuestPath) -> Result<(), Failure> {
        let at = inroot::open_or_make_file(self.root().as_fd(), target.relative(), Links::Refused)?;
        show_device(Path::new(target.as_str()), at.as_fd())
    }

    fn link(&self, target: &GuestPath, to: &str) -> Result<(), Failure> {
        let path = target.relative();
        let parent = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default();
        let dir = inroot::open(self.root().as_fd(), parent, Links::Refused)?;
        nix::unistd::symlinkat(to, &dir, name)
            .map_err(|errno| CallError::path("symlinkat", path)(errno).into())
    }

    fn finish(&self, target: &GuestPath) -> Result<(), Failure> {
        let at = inroot::open(self.root().as_fd(), target.relative(), Links::Refused)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        Ok(mount::remount(&mount::fd_path(at.as_fd()), flags)?)
    }

    /// Returns only if the command cannot be executed.
    fn become_command(
        &self,
        argv: &[String],
        env: &BTreeMap<String, String>,
        cwd: &GuestPath,
    ) -> Failure {
        match self.prepare_command(cwd) {
            Ok(()) => execute(argv, env),
            Err(failure) => failure,
        }
    }

    fn prepare_command(&self, cwd: &GuestPath) -> Result<(), Failure> {
        nix::unistd::chdir(cwd.as_str()).map_err(CallError::new("chdir", cwd))?;
        for (fd, place) in self.stdio.iter().zip(0..) {
            process::install_fd(fd.as_fd(), place)?;
        }
        process::close_from(3, true)?;
        process::reset_signals().map_err(Failure::from)
    }
}

fn clone_flags(namespaces: &[Namespace]) -> CloneFlags {
    namespaces
        .iter()
        .map(|namespace| match namespace {
            Namespace::User => CloneFlags::CLONE_NEWUSER,
            Namespace::Mount => CloneFlags::CLONE_NEWNS,
            Namespace::Pid => CloneFlags::CLONE_NEWPID,
            Namespace::Ipc => CloneFlags::CLONE_NEWIPC,
            Namespace::Uts => CloneFlags::CLONE_NEWUTS,
            Namespace::Network => CloneFlags::CLONE_NEWNET,
            Namespace::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        })
        .collect()
}

/// The parent of pid 1 only waits: when it closes the socket, so that the launcher sees the end of
/// it, every process of the sandbox has ended, since the kernel kills a pid namespace before it
/// lets anyone know that its pid 1 is dead. The mounts are cleared away when the parent ends.
/// Should it be killed instead, the launcher learns the same from the descriptor of pid 1.
fn end_with(init: Pid) -> ! {
    let _ = process::wait(init);
    // By name, since the kernel would do it after the mounts only.
    let _ = process::close_from(0, false);
    process::exit_now(0)
}

fn show_device(device: &Path, at: BorrowedFd<'_>) -> Result<(), Failure> {
    let device = mount::open_path(device)?;
    // A read-only mount would not keep anyone from writing to a device, only from touching it.
    let forbid = Forbid {
        write: false,
        devices: false,
    };
    Ok(mount::bind(device.as_fd(), at, false, forbid)?)
}
