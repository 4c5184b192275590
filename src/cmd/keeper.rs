//! The keeper: where root's pybuild becomes somebody else, one small process stays who it was, to
//! run the program or read the file that credentials begin with (`credential_process`, the token of
//! a web identity or of a container), as often as they expire.
//!
//! It is told once what settings are resolved from, and from then on only when to look: nobody can
//! have it run another program or read another file. It talks to no server.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::handed::Handed;
use super::steward::inherited_socket;
use super::target::keep_secrets;
use crate::publish::{self, Inputs, PublishError, Secret, Settings, Whose};
use crate::sys::interrupt::Interrupt;
use crate::sys::{inherit, socket};
use crate::ui::ExitKind;

/// How a keeper's argv\[0\] begins; the number of its socket follows.
const NAME: &str = "pybuild-keeper:";

/// What a keeper answers: what it was asked for, else what cannot be had and why.
#[derive(Serialize, Deserialize)]
enum Answer {
    Told(String),
    Failed(String, String),
}

/// Resolves settings. Whoever is root has a keeper from here on, if the settings need one; a worker
/// has its steward's.
pub(super) fn settings(inputs: &Inputs) -> Result<Settings, Failure> {
    let settings = Settings::resolve(inputs)?;
    if !settings.needs_keeper() {
        return Ok(settings);
    }
    if KEEPER.get().is_none() && geteuid().is_root() {
        let keeper = start(inputs).map_err(|error| {
            let why = format!("cannot start the process that asks for credentials: {error}");
            Failure::new(ExitKind::TryAgain, why)
        })?;
        adopt(keeper);
    }
    Ok(match KEEPER.get() {
        Some(keeper) => settings.with_keeper(Arc::clone(keeper) as Arc<dyn publish::Keeper>),
        None => settings,
    })
}

/// The keeper that this process can ask.
static KEEPER: OnceLock<Arc<ToKeeper>> = OnceLock::new();

/// The keeper that this process has started.
static CHILD: Mutex<Option<Child>> = Mutex::new(None);

/// Takes over the socket to a keeper. The first counts: there is but one.
pub(super) fn adopt(keeper: OwnedFd) {
    let socket = Mutex::new(keeper);
    KEEPER.get_or_init(|| Arc::new(ToKeeper { socket }));
}

/// The socket to the keeper, for another process of ours.
pub(super) fn descriptor() -> Option<OwnedFd> {
    let socket = KEEPER.get()?.socket.lock();
    socket
        .unwrap_or_else(PoisonError::into_inner)
        .try_clone()
        .ok()
}

fn start(inputs: &Inputs) -> io::Result<OwnedFd> {
    let (ours, theirs) = socket::pair().map_err(io::Error::other)?;
    inherit::keep_over_exec(theirs.as_fd())?;
    // With the whole environment: that of the program, which is as its user made it.
    let child = Command::new("/proc/self/exe")
        .arg0(format!("{NAME}{}", theirs.as_raw_fd()))
        .spawn()?;
    drop(theirs);
    *CHILD.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    let handed = serde_json::to_vec(&Handed::from(inputs))?;
    socket::send(ours.as_fd(), &handed, &[]).map_err(io::Error::other)?;
    Ok(ours)
}

/// Lets the keeper go that this process has started, and whatever it runs.
pub(super) fn dismiss() {
    let child = CHILD.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (Some(mut child), Some(socket)) = (child, descriptor()) else {
        return;
    };
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Both); // it may be gone
    let end = Instant::now() + Duration::from_secs(1);
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// If this process was started as a keeper, is one until nobody is left to ask it.
pub(super) fn be_if_asked() -> bool {
    let Some(socket) = inherited_socket(NAME) else {
        return false;
    };
    keep_secrets();
    if let (Ok(interrupt), Ok(other_end)) = (Interrupt::install(), socket.try_clone()) {
        let stop = interrupt.clone();
        std::thread::spawn(move || {
            gone(&other_end);
            stop.raise(Signal::SIGTERM);
        });
        serve(&socket, &interrupt);
    }
    true
}

/// Waits until nobody is left to ask. The signal of a parent's death (prctl(2)) does not come from
/// one that is not root any more.
fn gone(socket: &OwnedFd) {
    let over = PollFlags::POLLHUP | PollFlags::POLLERR;
    loop {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        let _ = poll(&mut fds, PollTimeout::NONE); // EINTR: it is asked again
        if fds[0]
            .revents()
            .is_some_and(|events| events.intersects(over))
        {
            return;
        }
    }
}

fn serve(socket: &OwnedFd, interrupt: &Interrupt) -> Option<()> {
    let (message, _) = socket::receive(socket.as_fd()).ok()??;
    let handed: Handed = serde_json::from_slice(&message).ok()?;
    let settings = Settings::resolve(&handed.into()).ok()?;
    while wait(socket, interrupt) {
        let (question, _) = socket::receive(socket.as_fd()).ok()??;
        let whose: Whose = serde_json::from_slice(&question).ok()?;
        let answer = match settings.tell(whose, interrupt) {
            Ok(secret) => Answer::Told(secret.reveal().to_owned()),
            Err(PublishError::CredentialSource { source_name, why }) => {
                Answer::Failed(source_name, why)
            }
            Err(error) => Answer::Failed("this host".to_owned(), error.to_string()),
        };
        let answer = serde_json::to_vec(&answer).ok()?;
        socket::send(socket.as_fd(), &answer, &[]).ok()?;
    }
    None
}

/// Waits until there is something to read, or nobody who could write it; false if the work should
/// stop.
fn wait(socket: &OwnedFd, interrupt: &Interrupt) -> bool {
    loop {
        let mut fds = [
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(interrupt.fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut fds, PollTimeout::NONE); // EINTR: the interrupt's descriptor tells
        if interrupt.raised().is_some() {
            return false;
        }
        if fds[0].revents().is_some_and(|events| !events.is_empty()) {
            return true;
        }
    }
}

/// The asking end.
#[derive(Debug)]
struct ToKeeper {
    // One question at a time.
    socket: Mutex<OwnedFd>,
}

impl publish::Keeper for ToKeeper {
    fn tell(&self, whose: Whose, interrupt: &Interrupt) -> Result<Secret, PublishError> {
        let question = serde_json::to_vec(&whose).unwrap_or_default();
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = socket::send(socket.as_fd(), &question, &[]);
        let answered = asked.map(|()| wait(&socket, interrupt));
        interrupt.check()?;
        let message = answered.and_then(|_| socket::receive(socket.as_fd()));
        let failed =
            |source_name: String, why: String| PublishError::CredentialSource { source_name, why };
        let answer = message.ok().flatten();
        let answer = answer.and_then(|(message, _)| serde_json::from_slice(&message).ok());
        match answer {
            Some(Answer::Told(text)) => Ok(Secret::new(text)),
            Some(Answer::Failed(source_name, why)) => Err(failed(source_name, why)),
            None => Err(failed(
                "root's part of pybuild".to_owned(),
                "it is gone".to_owned(),
            )),
        }
    }
}
