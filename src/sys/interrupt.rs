//! The wish to stop: SIGINT, SIGTERM and SIGHUP as a value that long work looks at.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Set by the signal handler: the number of the first signal that came, 0 before.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// The descriptor that the signal handler writes to, -1 before [`Interrupt::install`].
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// Someone asked for the work to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted by {}", .0.as_str())]
pub struct Interrupted(pub Signal);

/// Tells whether the work should stop, and wakes whoever sleeps in `poll` when it should.
#[derive(Clone)]
pub struct Interrupt {
    wake: Arc<OwnedFd>,
    follows_signals: bool,
    raised: Arc<AtomicI32>,
}

impl Interrupt {
    /// From here on SIGINT, SIGTERM and SIGHUP are told to this value instead of ending the
    /// process. For `main`, once.
    pub fn install() -> Result<Self, Errno> {
        let this = Self {
            follows_signals: true,
            ..Self::manual()?
        };
        WAKE.store(
            std::os::fd::AsRawFd::as_raw_fd(&*this.wake),
            Ordering::SeqCst,
        );
        // The descriptor must outlive every signal: it is never closed.
        std::mem::forget(Arc::clone(&this.wake));
        let action = SigAction::new(
            SigHandler::Handler(on_signal),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: `on_signal` only touches atomics and calls write(2), which
            // signal-safety(7) allows.
            unsafe { sigaction(signal, &action) }?;
        }
        Ok(this)
    }

    /// A value that no signal raises: for tests, and for stopping one piece of work alone.
    pub fn manual() -> Result<Self, Errno> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            wake: Arc::new(OwnedFd::from(wake)),
            follows_signals: false,
            raised: Arc::new(AtomicI32::new(0)),
        })
    }

    /// Asks for the work to stop, as `signal` would.
    pub fn raise(&self, signal: Signal) {
        self.raised.store(signal as i32, Ordering::SeqCst);
        // A full counter (EAGAIN) is readable already, which is all that is wanted.
        let _ = nix::unistd::write(&*self.wake, &1u64.to_ne_bytes());
    }

    /// Which signal asked for the work to stop, if one did.
    pub fn raised(&self) -> Option<Signal> {
        let own = self.raised.load(Ordering::SeqCst);
        let number = if own == 0 && self.follows_signals {
            SIGNAL.load(Ordering::SeqCst)
        } else {
            own
        };
        Signal::try_from(number).ok()
    }

    /// Fails once someone asked for the work to stop: for loops.
    pub fn check(&self) -> Result<(), Interrupted> {
        self.raised()
            .map_or(Ok(()), |signal| Err(Interrupted(signal)))
    }

    /// Sleeps, but not past the wish to stop.
    pub fn sleep(&self, duration: Duration) -> Result<(), Interrupted> {
        let timeout = PollTimeout::try_from(duration).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        // EINTR is a signal's doing, and then `check` tells.
        let _ = poll(&mut fds, timeout);
        self.check()
    }

    /// Becomes readable when the work should stop, and stays so.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

extern "C" fn on_signal(number: libc::c_int) {
    let errno = Errno::last();
    let _ = SIGNAL.compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
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
    fn a_raised_interrupt_ends_a_sleep() {
        let interrupt = Interrupt::manual().expect("an eventfd");
        assert_eq!(interrupt.sleep(Duration::from_millis(1)), Ok(()));
        interrupt.raise(Signal::SIGTERM);
        let long = Duration::from_secs(3600);
        assert_eq!(interrupt.sleep(long), Err(Interrupted(Signal::SIGTERM)));
    }
}
