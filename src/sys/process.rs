//! Processes: fork, capabilities, limits, the system call filter, signals, exec.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};

use super::call::CallError;

/// `fork(2)`: in the parent the child's pid, in the child nothing.
///
/// Only for processes with one thread (the sandbox's own): in the child everything still works.
pub fn fork() -> Result<Option<Pid>, CallError> {
    // SAFETY: this process has one thread, so no lock can be held by another at the fork.
    match unsafe { nix::unistd::fork() }.map_err(CallError::new("fork", ""))? {
        nix::unistd::ForkResult::Parent { child } => Ok(Some(child)),
        nix::unistd::ForkResult::Child => Ok(None),
    }
}

/// How many threads this process has, if that can be told.
pub fn threads() -> Option<u64> {
    // The kernel counts them like directories, whose links they are.
    let tasks = std::fs::metadata("/proc/self/task").ok()?;
    std::os::unix::fs::MetadataExt::nlink(&tasks).checked_sub(2)
}

/// Writes another name over the arguments that this process was started with, for all who look
/// into `/proc/PID/cmdline`, which no right keeps anyone from. Nobody in this process may ask for
/// its arguments afterwards.
pub fn rename(name: &str) -> Result<(), CallError> {
    let (start, end) =
        arguments().ok_or_else(|| CallError::new("read", "/proc/self/stat")(Errno::EBADMSG))?;
    let length = end - start;
    let name = &name.as_bytes()[..name.len().min(length.saturating_sub(1))];
    let at = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: proc_pid_stat(5) says that the arguments are there, which the kernel has put on this
    // process's own stack, to be written to; both parts are within them.
    unsafe {
        std::ptr::copy_nonoverlapping(name.as_ptr(), at, name.len());
        std::ptr::write_bytes(at.add(name.len()), 0, length - name.len());
    }
    Ok(())
}

/// Where this process's arguments begin and end: `arg_start` and `arg_end` of `proc_pid_stat(5)`.
fn arguments() -> Option<(usize, usize)> {
    let line = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name, which may hold anything, the third field is the first.
    let (_, fields) = line.rsplit_once(") ")?;
    let mut fields = fields.split_ascii_whitespace().skip(48 - 3);
    let start = fields.next()?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    (start != 0 && start <= end).then_some((start, end))
}

/// Starts a child that shares this process's memory, as `vfork(2)` does, and runs `child` on a
/// stack of its own; this process stands still until the child executes a program or ends. Nothing
/// is copied, which is most of what a fork costs.
///
/// Only for processes with one thread: nobody else sees the memory change meanwhile.
pub fn fork_sharing(child: &mut dyn FnMut() -> Infallible) -> Result<Pid, CallError> {
    use nix::sched::{CloneFlags, clone};
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
    const STACK: usize = 8 << 20;
    const GUARD: usize = 64 << 10; // a multiple of every page size
    let length = NonZeroUsize::new(STACK).expect("not zero");
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE | MapFlags::MAP_STACK;
    // SAFETY: a new mapping where the kernel likes, which nothing else refers to.
    let stack = unsafe { mmap_anonymous(None, length, access, flags) }
        .map_err(CallError::new("mmap", STACK))?;
    // SAFETY: the low end of that mapping, which is not used yet.
    unsafe { mprotect(stack, GUARD, ProtFlags::PROT_NONE) }
        .map_err(CallError::new("mprotect", GUARD))?;
    let run = Box::new(|| match child() {});
    // SAFETY: the part above the guard can be read and written, is zeroed, and is the child's
    // alone; `child` does not return, and this process does not run before the child has left the
    // shared memory, so that nothing is seen half-changed.
    let started = unsafe {
        let usable = stack.byte_add(GUARD).cast().as_ptr();
        let usable = std::slice::from_raw_parts_mut(usable, STACK - GUARD);
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        clone(run, usable, flags, Some(libc::SIGCHLD))
    };
    // SAFETY: the child is gone from this memory, and with it the only user of the stack.
    let _ = unsafe { munmap(stack, STACK) };
    started.map_err(CallError::new("clone", "CLONE_VM | CLONE_VFORK"))
}

/// `_exit(2)`: ends the process without running anything of the parent's that was forked along.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) does not return and touches nothing.
    unsafe { libc::_exit(code) }
}

/// Another descriptor for the same, out of the way of the standard ones, and closed at exec.
pub fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, CallError> {
    use nix::fcntl::{FcntlArg, fcntl};
    let duplicate = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))
        .map_err(CallError::new("fcntl", "F_DUPFD_CLOEXEC"))?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// Becomes an unprivileged user for good: no groups, gid, uid, in this order.
pub fn become_user(uid: u32, gid: u32) -> Result<(), CallError> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::setgroups(&[]).map_err(CallError::new("setgroups", "[]"))?;
    nix::unistd::setresgid(gid, gid, gid).map_err(CallError::new("setresgid", gid))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(CallError::new("setresuid", uid))
}

/// Whether other processes of this user may look into this one; also whether this process may
/// write its own `/proc/self/uid_map`. Lost whenever the uid changes.
pub fn set_dumpable(dumpable: bool) -> Result<(), CallError> {
    nix::sys::prctl::set_dumpable(dumpable).map_err(CallError::new(
        "prctl",
        format_args!("PR_SET_DUMPABLE, {dumpable}"),
    ))
}

/// Lets the kernel kill this process when the thread that made it ends.
pub fn die_with_parent() -> Result<(), CallError> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(CallError::new("prctl", "PR_SET_PDEATHSIG, SIGKILL"))
}

/// The name that `ps` shows.
pub fn set_name(name: &CStr) {
    // Nothing depends on it.
    let _ = nix::sys::prctl::set_name(name);
}

/// From here on no exec gives more rights than this process has.
pub fn no_new_privileges() -> Result<(), CallError> {
    nix::sys::prctl::set_no_new_privs().map_err(CallError::new("prctl", "PR_SET_NO_NEW_PRIVS"))
}

/// Blocks every signal, for those who wait for them by descriptor or not at all.
pub fn block_signals() -> Result<(), CallError> {
    let all = SigSet::all();
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)
        .map_err(CallError::new("sigprocmask", "SIG_SETMASK, all"))
}

/// Gives every signal back its default meaning and blocks none, as a program expects to start.
pub fn reset_signals() -> Result<(), CallError> {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is no handler of ours; signals that cannot be changed answer EINVAL.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    let none = SigSet::empty();
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&none), None)
        .map_err(CallError::new("sigprocmask", "SIG_SETMASK, none"))
}

/// `close_range(2)`: closes every descriptor from `first` on, or only marks it to be closed at
/// exec.
pub fn close_from(first: u32, at_exec: bool) -> Result<(), CallError> {
    let flags = if at_exec {
        libc::CLOSE_RANGE_CLOEXEC
    } else {
        0
    };
    // SAFETY: integers only. The callers own no descriptor in the range that they go on to use.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            libc::c_ulong::from(first),
            libc::c_ulong::from(libc::c_uint::MAX),
            libc::c_ulong::from(flags),
        )
    };
    match Errno::result(result) {
        Ok(_) => Ok(()),
        Err(Errno::ENOSYS | Errno::EINVAL) => close_each_from(first, at_exec),
        Err(errno) => Err(CallError::new("close_range", first)(errno)),
    }
}

/// Before Linux 5.9 (for the flag 5.11): one by one.
fn close_each_from(first: u32, at_exec: bool) -> Result<(), CallError> {
    let listed = std::fs::read_dir("/proc/self/fd").map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
        CallError::new("open", "/proc/self/fd")(errno)
    })?;
    let open: Vec<RawFd> = listed
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd: &RawFd| u32::try_from(*fd).is_ok_and(|fd| fd >= first))
        .collect();
    for fd in open {
        // SAFETY: integers only; a descriptor that is gone (the listing's own) answers EBADF.
        unsafe {
            if at_exec {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            } else {
                libc::close(fd);
            }
        }
    }
    Ok(())
}

/// Puts `fd` in the place of a standard descriptor, to be inherited by what is executed.
pub fn install_fd(fd: BorrowedFd<'_>, place: RawFd) -> Result<(), CallError> {
    // SAFETY: dup2(2) takes integers; nothing in this process owns the standard descriptors.
    let result = unsafe { libc::dup2(fd.as_raw_fd(), place) };
    Errno::result(result)
        .map(drop)
        .map_err(CallError::new("dup2", place))
}

/// Lets what is executed inherit a descriptor that would be closed.
pub fn keep_at_exec(fd: BorrowedFd<'_>) -> Result<(), CallError> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))
        .map(drop)
        .map_err(CallError::new("fcntl", "F_SETFD, 0"))
}

/// `setrlimit(2)`, soft and hard alike; more than what is allowed means as much as is allowed.
pub fn limit(resource: nix::sys::resource::Resource, to: u64) -> Result<(), CallError> {
    use nix::sys::resource::{getrlimit, setrlimit};
    let (_, hard) =
        getrlimit(resource).map_err(CallError::new("getrlimit", format_args!("{resource:?}")))?;
    let to = to.min(hard);
    setrlimit(resource, to, to).map_err(CallError::new(
        "setrlimit",
        format_args!("{resource:?}, {to}"),
    ))
}

/// Gives up every capability that is not in the set `keep` (bits as in `capabilities(7)`), for
/// this process and whatever it executes.
pub fn keep_capabilities(keep: u64) -> Result<(), CallError> {
    // The kernel numbers capabilities without gaps; the first that it does not know ends them.
    for capability in 0..64u64 {
        if keep & 1 << capability != 0 {
            continue;
        }
        // SAFETY: integers only.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(result) {
            Ok(_) => {}
            Err(Errno::EINVAL) => break,
            Err(errno) => {
                return Err(CallError::new(
                    "prctl",
                    format_args!("PR_CAPBSET_DROP, {capability}"),
                )(errno));
            }
        }
    }
    // SAFETY: integers only.
    let ambient = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    };
    Errno::result(ambient).map_err(CallError::new("prctl", "PR_CAP_AMBIENT_CLEAR_ALL"))?;
    set_capabilities(keep, 0)
}

/// Hands the right to mount down to what is executed next, which has it by right only if it is
/// root: `capabilities(7)`, "ambient".
pub fn hand_down_capabilities() -> Result<(), CallError> {
    const SYS_ADMIN: u64 = 21;
    let set = 1 << SYS_ADMIN;
    set_capabilities(set, set)?;
    // SAFETY: integers only.
    let raised = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE,
            SYS_ADMIN,
            0,
            0,
        )
    };
    Errno::result(raised).map(drop).map_err(CallError::new(
        "prctl",
        "PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN",
    ))
}

/// `capset(2)`, version 3: what it permits is effective.
fn set_capabilities(set: u64, inheritable: u64) -> Result<(), CallError> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let bits =
        |set: u64, shift: u32| u32::try_from(set >> shift & u64::from(u32::MAX)).expect("32 bits");
    let half = |shift: u32| Data {
        effective: bits(set, shift),
        permitted: bits(set, shift),
        inheritable: bits(inheritable, shift),
    };
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads one header and two data elements, both laid out as capset(2) says.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    Errno::result(result)
        .map(drop)
        .map_err(CallError::new("capset", format_args!("{set:#x}")))
}

/// Installs a system call filter (`seccomp(2)`), for this process and whatever it executes.
pub fn install_filter(program: &[libc::sock_filter]) -> Result<(), CallError> {
    let failed = || CallError::new("seccomp", format!("{} instructions", program.len()));
    let length = u16::try_from(program.len()).map_err(|_| failed()(Errno::E2BIG))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions and never writes to them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
            0,
            &raw const program,
        )
    };
    Errno::result(result).map(drop).map_err(failed())
}

/// `execve(2)`; returns only what went wrong.
pub fn exec(program: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    match nix::unistd::execve(program, argv, env) {
        Ok(never) => {
            let _: Infallible = never;
            match never {}
        }
        Err(errno) => errno,
    }
}

/// Waits for a child, through interruptions.
pub fn wait(child: Pid) -> Result<std::process::ExitStatus, CallError> {
    use std::os::unix::process::ExitStatusExt;
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one integer, which is there.
        let result = unsafe { libc::waitpid(child.as_raw(), &raw mut status, 0) };
        match Errno::result(result) {
            Ok(_) => return Ok(std::process::ExitStatus::from_raw(status)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(CallError::new("waitpid", child)(errno)),
        }
    }
}

/// `pidfd_open(2)`: a descriptor of a process, whatever becomes of its number. It is readable once
/// the process is dead; that of a pid 1, once everyone in its pid namespace is. Linux 5.3.
pub fn descriptor(pid: Pid) -> Result<OwnedFd, CallError> {
    // SAFETY: integers only.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = Errno::result(result).map_err(CallError::new("pidfd_open", pid))?;
    let fd = RawFd::try_from(fd).expect("a descriptor is a small number");
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// As pid 1 of a pid namespace: kills every other process in it, and waits until all are dead.
pub fn kill_all_others() {
    loop {
        // ESRCH: there is none. One that forks meanwhile is killed before the fork is done.
        let _ = nix::sys::signal::kill(Pid::from_raw(-1), nix::sys::signal::Signal::SIGKILL);
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Any child that has ended, if there is one now.
pub fn reap() -> Result<Option<(Pid, WaitStatus)>, CallError> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
        Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => Ok(None),
        Ok(status) => Ok(status.pid().map(|pid| (pid, status))),
        Err(errno) => Err(CallError::new("waitpid", -1)(errno)),
    }
}
