//! What a steward and its worker say to each other: wishes and replies, with descriptors.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::errand::{self, Answer, Errand, Errands, Trouble};
use crate::cmd::delivery::{Delivery, DeliveryError, Direct};
use crate::cmd::handed::Handed;
use crate::cmd::{keeper, mirrors, registries};
use crate::publish::{Inputs, Remote, Target};
use crate::rootfs::oci;
use crate::sys::interrupt::Interrupt;
use crate::sys::socket;

/// What a steward does for its worker.
pub(super) struct Duties<'a> {
    pub(super) output: Option<&'a Direct>,
    /// What is only read.
    pub(super) source: Option<&'a Remote>,
    pub(super) target: Option<&'a Remote>,
    /// What the worker's settings are resolved from.
    pub(super) inputs: Option<&'a Inputs>,
}

/// What the worker asks of the steward.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Wish {
    /// Put the descriptor's content there.
    Put(PathBuf),
    /// Remove what is there.
    Remove(PathBuf),
    /// Show what was put.
    Finish,
    /// Tell what the settings are resolved from.
    Inputs,
    /// Tell who we are to registries, if that was found out.
    Registries,
    /// Tell what mirrors of stacks are opened with, if that was read.
    Mirrors,
    /// Do this with the target.
    Target(Errand),
    /// Do this, which only reads, with what is copied from.
    Source(Errand),
}

/// What the steward answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    Refused(String),
    Inputs(Box<Handed>),
    Registries(Box<oci::Inputs>),
    Target(Result<Answer, Trouble>),
}

/// A reply and the descriptor that came with it.
pub(super) struct Answered {
    pub(super) reply: Reply,
    pub(super) file: Option<File>,
}

/// Does what the worker wishes until it closes its end.
pub(super) fn serve(worker_end: &OwnedFd, duties: &Duties<'_>, interrupt: &Interrupt, worker: Pid) {
    let mut told = false;
    loop {
        let mut fds = vec![PollFd::new(worker_end.as_fd(), PollFlags::POLLIN)];
        if !told {
            fds.push(PollFd::new(interrupt.fd(), PollFlags::POLLIN));
        }
        let _ = poll(&mut fds, PollTimeout::NONE); // EINTR: the interrupt's descriptor tells
        let asked = fds[0].revents().is_some_and(|events| !events.is_empty());
        if let (false, Some(signal)) = (told, interrupt.raised()) {
            told = true;
            let _ = kill(worker, signal); // a worker that is gone needs no signal
        }
        if !asked {
            continue;
        }
        let Ok(Some((message, content))) = socket::receive(worker_end.as_fd()) else {
            return;
        };
        let (reply, opened) = grant(&message, content.into_iter().next(), duties, interrupt);
        let reply = serde_json::to_vec(&reply).unwrap_or_default();
        let fds: Vec<_> = opened.iter().map(AsRawFd::as_raw_fd).collect();
        if socket::send(worker_end.as_fd(), &reply, &fds).is_err() {
            return;
        }
    }
}

fn grant(
    message: &[u8],
    content: Option<OwnedFd>,
    duties: &Duties<'_>,
    interrupt: &Interrupt,
) -> (Reply, Option<File>) {
    let wish = match serde_json::from_slice(message) {
        Ok(wish) => wish,
        Err(error) => return (Reply::Refused(error.to_string()), None),
    };
    let Duties {
        output,
        source,
        target,
        inputs,
    } = *duties;
    if let (Wish::Inputs, Some(inputs)) = (&wish, inputs) {
        // Whoever resolves them asks the same keeper.
        let keeper = keeper::descriptor().map(File::from);
        return (Reply::Inputs(Box::new(inputs.into())), keeper);
    }
    if let (Wish::Mirrors, Some(inputs)) = (&wish, mirrors::gathered()) {
        let keeper = keeper::descriptor().map(File::from);
        return (Reply::Inputs(Box::new(inputs.into())), keeper);
    }
    if let (Wish::Registries, Some(inputs)) = (&wish, registries::gathered()) {
        return (Reply::Registries(Box::new(inputs.clone())), None);
    }
    if let (Wish::Source(errand), None, Some(remote)) = (&wish, &content, source)
        && errand.only_reads()
    {
        let (answer, opened) = errand::run(errand.clone(), None, remote, interrupt);
        return (Reply::Target(answer), opened);
    }
    let done = match (wish, content, output, target) {
        (Wish::Put(path), Some(content), Some(output), _) => {
            output.put(&path, &File::from(content))
        }
        (Wish::Remove(path), None, Some(output), _) => output.remove(&path),
        (Wish::Finish, None, Some(output), _) => output.finish(),
        (Wish::Target(errand), content, _, Some(remote)) => {
            let (answer, opened) = errand::run(errand, content, remote, interrupt);
            return (Reply::Target(answer), opened);
        }
        (wish, ..) => {
            let why = format!("{wish:?} is not among this steward's duties");
            return (Reply::Refused(why), None);
        }
    };
    let reply = match done {
        Ok(()) => Reply::Done,
        Err(DeliveryError::Fs(cause)) => Reply::Refused(cause.to_string()),
        Err(other) => Reply::Refused(other.to_string()),
    };
    (reply, None)
}

/// The worker's end.
pub(crate) struct ToSteward {
    // One conversation at a time.
    socket: Mutex<OwnedFd>,
}

impl ToSteward {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket: Mutex::new(socket),
        }
    }

    pub(super) fn ask(&self, wish: &Wish, content: Option<&File>) -> io::Result<Answered> {
        let steward = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let message = serde_json::to_vec(wish)?;
        let fds: Vec<_> = content.iter().map(|file| file.as_raw_fd()).collect();
        let talk = || {
            socket::send(steward.as_fd(), &message, &fds)?;
            socket::receive(steward.as_fd())
        };
        let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
        let (reply, files) = talk().map_err(io::Error::other)?.ok_or_else(gone)?;
        Ok(Answered {
            reply: serde_json::from_slice(&reply)?,
            file: files.into_iter().next().map(File::from),
        })
    }

    fn deliver(&self, wish: &Wish, content: Option<&File>) -> Result<(), DeliveryError> {
        let Answered { reply, .. } = self.ask(wish, content).map_err(DeliveryError::Steward)?;
        match reply {
            Reply::Done => Ok(()),
            Reply::Refused(why) => Err(DeliveryError::Refused(why)),
            other => Err(DeliveryError::Refused(format!("{other:?}"))),
        }
    }

    /// What the settings are to be resolved from.
    pub(crate) fn inputs(&self) -> io::Result<Inputs> {
        self.told(&Wish::Inputs)
    }

    /// What mirrors of stacks are opened with, if the steward has read that.
    pub(crate) fn mirrors(&self) -> io::Result<Inputs> {
        self.told(&Wish::Mirrors)
    }

    fn told(&self, wish: &Wish) -> io::Result<Inputs> {
        let Answered { reply, file } = self.ask(wish, None)?;
        match reply {
            Reply::Inputs(handed) => {
                if let Some(socket) = file {
                    keeper::adopt(socket.into());
                }
                Ok((*handed).into())
            }
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// Who we are to registries, if the steward has found that out.
    pub(crate) fn registries(&self) -> io::Result<oci::Inputs> {
        match self.ask(&Wish::Registries, None)?.reply {
            Reply::Registries(inputs) => Ok(*inputs),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// The target that the steward keeps.
    pub(crate) fn remote(self: &Arc<Self>, target: &Target) -> Remote {
        self.through(target, Wish::Target)
    }

    /// The directory that the steward reads for us.
    pub(crate) fn source(self: &Arc<Self>, target: &Target) -> Remote {
        self.through(target, Wish::Source)
    }

    fn through(self: &Arc<Self>, target: &Target, wish: fn(Errand) -> Wish) -> Remote {
        let errands = Errands::new(Arc::clone(self), target, wish);
        Remote::through(target, Box::new(errands))
    }
}

impl Delivery for Arc<ToSteward> {
    fn put(&self, relative: &Path, content: &File) -> Result<(), DeliveryError> {
        self.deliver(&Wish::Put(relative.to_owned()), Some(content))
    }

    fn remove(&self, relative: &Path) -> Result<(), DeliveryError> {
        self.deliver(&Wish::Remove(relative.to_owned()), None)
    }

    fn finish(&self) -> Result<(), DeliveryError> {
        self.deliver(&Wish::Finish, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;

    #[test]
    fn the_steward_does_what_it_is_asked_and_nothing_outside() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let output = dir.path().join("dist");
        let (ours, theirs) = socket::pair().expect("a pair");
        let steward = std::thread::spawn({
            let output = Direct::new(&output);
            move || {
                let interrupt = Interrupt::manual().expect("an eventfd");
                let duties = Duties {
                    output: Some(&output),
                    source: None,
                    target: None,
                    inputs: None,
                };
                serve(&ours, &duties, &interrupt, Pid::this());
            }
        });
        let worker = Arc::new(ToSteward::new(theirs));
        let mut content = tempfile::tempfile().expect("a temporary file");
        content.write_all(b"bytes").expect("written");
        worker.put(Path::new("a/b"), &content).expect("delivered");
        assert_eq!(fs::read(output.join("a/b")).expect("there"), b"bytes");
        let refused = worker
            .put(Path::new("../b"), &content)
            .expect_err("outside");
        assert!(matches!(refused, DeliveryError::Refused(_)), "{refused}");
        worker.remove(Path::new("a/b")).expect("removed");
        assert!(!output.join("a/b").exists());
        assert!(!dir.path().join("b").exists());
        drop(worker);
        steward.join().expect("the steward ends with its worker");
    }

    #[test]
    fn what_is_copied_from_is_read_and_stays_as_it_is() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("a"), "bytes").expect("written");
        let target = Target::Directory(dir.path().to_owned());
        let remote = Remote::open(&target, &crate::publish::Settings::default());
        let remote = remote.expect("nothing is done yet");
        let (ours, theirs) = socket::pair().expect("a pair");
        let steward = std::thread::spawn(move || {
            let interrupt = Interrupt::manual().expect("an eventfd");
            let duties = Duties {
                output: None,
                source: Some(&remote),
                target: None,
                inputs: None,
            };
            serve(&ours, &duties, &interrupt, Pid::this());
        });
        let worker = Arc::new(ToSteward::new(theirs));
        let interrupt = Interrupt::manual().expect("an eventfd");
        let source = worker.source(&target);
        let read = source.read_small("a", 9, &interrupt).expect("read");
        assert_eq!(read.as_deref(), Some(&b"bytes"[..]));
        assert!(source.read_small("../a", 9, &interrupt).is_err());
        assert!(source.remove("a", &interrupt).is_err());
        assert!(source.check_writable(&interrupt).is_err());
        let content = crate::publish::Content::Bytes(b"b");
        let mode = crate::publish::Mode::Overwrite;
        assert!(source.put("b", content, mode, &|_| {}, &interrupt).is_err());
        // Nor is it a target to write to.
        let other = worker.remote(&target);
        assert!(other.remove("a", &interrupt).is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1);
        drop((worker, source, other));
        steward.join().expect("the steward ends with its worker");
    }
}
