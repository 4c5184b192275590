//! A terminal with a person at it, as the program under test finds one.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use pybuild::sys::terminal::{self, Size};

use crate::kit::{Case, eventually};
use crate::program::{Pybuild, code, wrapped};

/// After this nothing more is coming.
const STUCK: Duration = Duration::from_secs(60);

/// A terminal, and what is at it.
pub(crate) struct Terminal {
    /// The person's end.
    keys: OwnedFd,
    /// The program's end.
    own: OwnedFd,
    before: Termios,
    /// What was shown and is not spoken for.
    shown: String,
}

impl Terminal {
    /// Of 24 lines.
    pub(crate) fn new(columns: u16) -> Self {
        // Closed at exec: no other test's program has it.
        let pair = terminal::open_pair(Path::new("/dev/ptmx"));
        let (keys, own) = pair.expect("a terminal");
        let terminal = Self {
            keys,
            before: tcgetattr(&own).expect("modes"),
            own,
            shown: String::new(),
        };
        terminal.resize(columns);
        terminal
    }

    /// The program, to be controlled by the terminal that it is started at.
    pub(crate) fn pybuild(case: &Case) -> Pybuild {
        wrapped(&["setsid", "--ctty", "--"], &case.store()).env("TERM", "dumb")
    }

    /// For a standard stream.
    pub(crate) fn stream(&self) -> Stdio {
        Stdio::from(self.own.try_clone().expect("dup"))
    }

    /// Starts it, at all three of its streams.
    pub(crate) fn start(&self, pybuild: Pybuild) -> Child {
        let mut command = pybuild.into_command();
        command
            .stdin(self.stream())
            .stdout(self.stream())
            .stderr(self.stream());
        command.spawn().expect("pybuild starts")
    }

    pub(crate) fn resize(&self, columns: u16) {
        let size = Size {
            rows: 24,
            columns,
            ..Size::default()
        };
        terminal::resize(self.keys.as_fd(), size).expect("resized");
    }

    /// Presses these keys.
    pub(crate) fn types(&self, keys: &str) {
        let written = nix::unistd::write(&self.keys, keys.as_bytes());
        assert_eq!(written, Ok(keys.len()));
    }

    /// Waits until this is shown; gives what was before it.
    #[track_caller]
    pub(crate) fn shows(&mut self, what: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.shown.find(what) {
                let rest = self.shown.split_off(at + what.len());
                let mut before = std::mem::replace(&mut self.shown, rest);
                before.truncate(at);
                return before;
            }
            assert!(start.elapsed() < STUCK, "never: {what}\n{}", self.shown);
            self.read();
        }
    }

    /// Takes what is shown meanwhile.
    fn read(&mut self) {
        let mut fds = [PollFd::new(self.keys.as_fd(), PollFlags::POLLIN)];
        let tenth = PollTimeout::from(100u16);
        if poll(&mut fds, tenth).is_ok_and(|count| count > 0) {
            let mut buffer = [0; 4096];
            match nix::unistd::read(&self.keys, &mut buffer) {
                Ok(count) => self
                    .shown
                    .push_str(&String::from_utf8_lossy(&buffer[..count])),
                Err(Errno::EINTR) => {}
                Err(errno) => panic!("{errno}: {}", self.shown),
            }
        }
    }

    /// As it was before.
    pub(crate) fn make_cooked(&self) {
        tcsetattr(&self.own, SetArg::TCSANOW, &self.before).expect("modes");
    }

    /// Whether whoever is at it has every key to itself.
    pub(crate) fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.own).expect("modes");
        !modes
            .local_flags
            .intersects(LocalFlags::ICANON | LocalFlags::ISIG)
    }

    /// The end of what runs at it; and the terminal is as it was.
    #[track_caller]
    pub(crate) fn ends(&mut self, mut child: Child) -> i32 {
        let mut status = None;
        eventually("the end", || {
            self.read();
            status = child.try_wait().expect("wait");
            status.is_some()
        });
        assert_eq!(tcgetattr(&self.own), Ok(self.before.clone()));
        code(status.expect("an end"))
    }

    /// What is shown and not spoken for.
    pub(crate) fn rest(&mut self) -> String {
        self.read();
        std::mem::take(&mut self.shown)
    }
}

/// Sends a signal to a program.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).expect("not waited for yet");
}
