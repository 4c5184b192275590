//! Terminals: pairs of pseudo-terminals, their modes and sizes, whom they control.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcgetsid, tcsetattr};
use nix::unistd::{getpgrp, isatty, tcgetpgrp};
use serde::{Deserialize, Serialize};

use super::call::CallError;

/// How large a terminal is: `TIOCGWINSZ(2const)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Characters from top to bottom.
    pub rows: u16,
    /// Characters from left to right.
    pub columns: u16,
    /// Pixels from left to right, 0 if unknown.
    pub width: u16,
    /// Pixels from top to bottom, 0 if unknown.
    pub height: u16,
}

/// How a terminal treats what is typed and printed: `termios(3)`, as the kernel's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modes {
    /// `c_iflag`.
    pub input: u32,
    /// `c_oflag`.
    pub output: u32,
    /// `c_lflag`.
    pub local: u32,
    /// `c_cc`: which characters mean what.
    pub characters: Vec<u8>,
}

impl Modes {
    /// The same, but what is printed goes through as it is.
    #[must_use]
    pub fn without_output_processing(mut self) -> Self {
        self.output &= !libc::OPOST;
        self
    }
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    isatty(fd).unwrap_or(false)
}

/// How large a terminal is.
pub fn size(fd: BorrowedFd<'_>) -> Result<Size, CallError> {
    let mut size = winsize(Size::default());
    // SAFETY: TIOCGWINSZ writes one `winsize`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    Errno::result(result).map_err(CallError::new("ioctl", "TIOCGWINSZ"))?;
    Ok(Size {
        rows: size.ws_row,
        columns: size.ws_col,
        width: size.ws_xpixel,
        height: size.ws_ypixel,
    })
}

/// Resizes a terminal, by either end; those in its foreground get SIGWINCH if that is a change.
pub fn resize(fd: BorrowedFd<'_>, to: Size) -> Result<(), CallError> {
    let size = winsize(to);
    // SAFETY: TIOCSWINSZ reads one `winsize`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(result)
        .map(drop)
        .map_err(CallError::new("ioctl", "TIOCSWINSZ"))
}

fn winsize(size: Size) -> libc::winsize {
    libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: size.width,
        ws_ypixel: size.height,
    }
}

/// A terminal's modes.
pub fn modes(fd: BorrowedFd<'_>) -> Result<Modes, CallError> {
    let found: libc::termios = attributes(fd)?.into();
    Ok(Modes {
        input: found.c_iflag,
        output: found.c_oflag,
        local: found.c_lflag,
        characters: found.c_cc.to_vec(),
    })
}

/// Gives a terminal these modes, at once.
pub fn set_modes(fd: BorrowedFd<'_>, modes: &Modes) -> Result<(), CallError> {
    let mut wanted: libc::termios = attributes(fd)?.into();
    wanted.c_iflag = modes.input;
    wanted.c_oflag = modes.output;
    wanted.c_lflag = modes.local;
    for (to, from) in wanted.c_cc.iter_mut().zip(&modes.characters) {
        *to = *from;
    }
    set_attributes(fd, &wanted.into())
}

fn attributes(fd: BorrowedFd<'_>) -> Result<Termios, CallError> {
    tcgetattr(fd).map_err(CallError::new("tcgetattr", fd.as_raw_fd()))
}

/// Waits for nothing: what is still to be printed may never be, on a terminal that stands still.
fn set_attributes(fd: BorrowedFd<'_>, to: &Termios) -> Result<(), CallError> {
    loop {
        match tcsetattr(fd, SetArg::TCSANOW, to) {
            Err(Errno::EINTR) => {}
            result => return result.map_err(CallError::new("tcsetattr", fd.as_raw_fd())),
        }
    }
}

/// A terminal that hands on every key and every byte as it is, until this is dropped: then it is as
/// it was.
#[derive(Debug)]
pub struct Raw {
    fd: OwnedFd,
    before: Termios,
}

impl Raw {
    /// In the background of a terminal this process is stopped here until it is brought to the
    /// foreground, as is right.
    pub fn enter(fd: OwnedFd) -> Result<Self, CallError> {
        let before = attributes(fd.as_fd())?;
        let raw = Self { fd, before };
        raw.again()?;
        Ok(raw)
    }

    /// Once more, after this process was stopped: the shell that stopped it has changed them.
    pub fn again(&self) -> Result<(), CallError> {
        let mut wanted = self.before.clone();
        cfmakeraw(&mut wanted);
        set_attributes(self.fd.as_fd(), &wanted)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // In the background it is the terminal of others, who have given it modes of their own.
        if tcgetpgrp(self.fd.as_fd()).is_ok_and(|group| group != getpgrp()) {
            return;
        }
        // Had that changed just now, the change would stop this process on its way out.
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGTTOU);
        let mut old = SigSet::empty();
        let _ =
            nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&mask), Some(&mut old));
        // If the terminal is gone there is nothing to restore.
        let _ = set_attributes(self.fd.as_fd(), &self.before);
        let _ = nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&old), None);
    }
}

/// Opens a terminal again, so that this process alone does not wait for it: a descriptor that was
/// inherited shares such settings with whoever else has it.
pub fn reopen(fd: BorrowedFd<'_>) -> Result<OwnedFd, CallError> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    match open(path.as_str(), flags, Mode::empty()) {
        // It is another user's, who has become this one (sudo). The terminal that controls this
        // process, and no other tells this process its session, is open to it all the same.
        Err(Errno::EACCES) if tcgetsid(fd).is_ok() => {
            open("/dev/tty", flags, Mode::empty()).map_err(CallError::new("open", "/dev/tty"))
        }
        result => result.map_err(CallError::new("open", path)),
    }
}

/// Makes reads and writes fail rather than wait, for whoever else has this open too.
pub fn do_not_wait(fd: BorrowedFd<'_>) -> Result<(), CallError> {
    let flags = fcntl(fd, FcntlArg::F_GETFL).map_err(CallError::new("fcntl", "F_GETFL"))?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(fd, FcntlArg::F_SETFL(flags))
        .map(drop)
        .map_err(CallError::new("fcntl", "F_SETFL"))
}

/// A new pair of the `devpts` that this `ptmx` belongs to: the master, and the terminal itself.
pub fn open_pair(ptmx: &Path) -> Result<(OwnedFd, OwnedFd), CallError> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open(ptmx, flags, Mode::empty()).map_err(CallError::path("open", ptmx))?;
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one integer.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) };
    Errno::result(result).map_err(CallError::new("ioctl", "TIOCSPTLCK, 0"))?;
    // Not by its path, at which another mount may have put something else. Linux 4.13.
    // SAFETY: TIOCGPTPEER takes flags of open(2).
    let peer = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags.bits()) };
    let peer = Errno::result(peer).map_err(CallError::new("ioctl", "TIOCGPTPEER"))?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let peer = unsafe { OwnedFd::from_raw_fd(peer) };
    Ok((master, peer))
}

/// Makes it the controlling terminal of this session, which has none and which this process leads.
pub fn control(terminal: BorrowedFd<'_>) -> Result<(), CallError> {
    // SAFETY: TIOCSCTTY takes an integer: 0, not to steal it from another session.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    Errno::result(result)
        .map(drop)
        .map_err(CallError::new("ioctl", "TIOCSCTTY, 0"))
}

/// The descriptor that the handler of [`Changes`] writes to, -1 while there is none.
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// Becomes readable when this process's terminal was resized, or when it goes on after it was
/// stopped (SIGWINCH, SIGCONT): until this is dropped. One at a time.
#[derive(Debug)]
pub struct Changes {
    wake: EventFd,
    before: [(Signal, SigAction); 2],
}

impl Changes {
    /// From here on.
    pub fn watch() -> Result<Self, CallError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_flags(flags).map_err(CallError::new("eventfd", ""))?;
        WAKE.store(wake.as_fd().as_raw_fd(), Ordering::SeqCst);
        let action = SigAction::new(
            SigHandler::Handler(on_change),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        let handle = |signal: Signal| {
            // SAFETY: `on_change` only reads an atomic and calls write(2), which
            // signal-safety(7) allows.
            let before = unsafe { sigaction(signal, &action) };
            before
                .map(|before| (signal, before))
                .map_err(CallError::new("sigaction", signal))
        };
        Ok(Self {
            before: [handle(Signal::SIGWINCH)?, handle(Signal::SIGCONT)?],
            wake,
        })
    }

    /// Whether there was a change since this was asked last.
    pub fn take(&self) -> bool {
        self.wake.read().is_ok()
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: what was there before [`Changes::watch`].
            let _ = unsafe { sigaction(*signal, before) };
        }
        WAKE.store(-1, Ordering::SeqCst);
    }
}

extern "C" fn on_change(_: libc::c_int) {
    let errno = Errno::last();
    let one = 1u64.to_ne_bytes();
    // SAFETY: write(2) with a buffer of its stated length; a bad descriptor is an error return.
    unsafe {
        libc::write(WAKE.load(Ordering::SeqCst), one.as_ptr().cast(), one.len());
    }
    errno.set();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_leaves_no_terminal_raw() {
        let (_master, slave) = open_pair(Path::new("/dev/ptmx")).expect("a terminal");
        let before = modes(slave.as_fd()).expect("modes");
        let ended = std::panic::catch_unwind(|| {
            let raw = Raw::enter(slave.try_clone().expect("dup")).expect("raw");
            let now = modes(slave.as_fd()).expect("modes");
            assert_eq!(now.local & (libc::ICANON | libc::ECHO | libc::ISIG), 0);
            drop(raw.again());
            panic!("on purpose");
        });
        let why = ended.expect_err("a panic");
        assert_eq!(why.downcast_ref(), Some(&"on purpose"));
        assert_eq!(modes(slave.as_fd()), Ok(before));
    }

    #[test]
    fn modes_and_sizes_are_taken_over() {
        let ptmx = Path::new("/dev/ptmx");
        let (master, slave) = open_pair(ptmx).expect("a terminal");
        let mut wanted = modes(slave.as_fd()).expect("modes");
        wanted.characters[libc::VERASE] = 8;
        wanted.input |= libc::IUTF8;
        set_modes(slave.as_fd(), &wanted).expect("set");
        assert_eq!(modes(slave.as_fd()), Ok(wanted.clone()));
        assert_ne!(wanted.clone().without_output_processing(), wanted);
        let size_wanted = Size {
            rows: 3,
            columns: 500,
            width: 7000,
            height: 60,
        };
        resize(master.as_fd(), size_wanted).expect("resized");
        assert_eq!(size(slave.as_fd()), Ok(size_wanted));
    }
}
