//! What credentials begin with that only whoever started pybuild may run or read: a program, or a
//! file with a token. AWS's own tools run and read it as that user, with that user's environment.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{LIMIT, wrong};
use crate::publish::Secret;
use crate::publish::error::PublishError;
use crate::publish::settings::{Authorization, Credentials, Whose};
use crate::sys::interrupt::Interrupt;

/// How a `credential_process` is called in messages.
pub(super) const PROCESS: &str = "credential_process";
/// How long a `credential_process` may take: it may ask a person.
const PATIENCE: Duration = Duration::from_secs(600);

/// A process with the rights to what credentials begin with. It is told nothing but whose they
/// are: which program or file that is, it knows itself.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// What the program prints, or the file holds, now.
    fn tell(&self, whose: Whose, interrupt: &Interrupt) -> Result<Secret, PublishError>;
}

/// A keeper, and whose credentials it is asked for.
#[derive(Debug)]
pub(in crate::publish) struct Kept {
    pub(in crate::publish) keeper: Arc<dyn Keeper>,
    pub(in crate::publish) whose: Whose,
}

/// Whether credentials begin with something of that kind.
pub(in crate::publish) fn is_own(credentials: &Credentials) -> bool {
    own(credentials).is_some()
}

/// What the program prints, or the file holds, now.
pub(in crate::publish) fn tell(
    credentials: &Credentials,
    interrupt: &Interrupt,
) -> Result<Secret, PublishError> {
    match own(credentials) {
        Some(Own::Program(command)) => run(command, interrupt),
        Some(Own::File(path)) => {
            let read = fs::read_to_string(path);
            let token = read.map_err(|error| {
                wrong(&format!("the token {}", path.display()), error.to_string())
            })?;
            Ok(Secret::new(token.trim_end()))
        }
        None => Err(wrong("nowhere", "there is no program and no file to ask")),
    }
}

enum Own<'a> {
    Program(&'a str),
    File(&'a Path),
}

fn own(credentials: &Credentials) -> Option<Own<'_>> {
    match credentials {
        Credentials::Process { command } => Some(Own::Program(command.reveal())),
        Credentials::WebIdentity { token_file, .. } => Some(Own::File(token_file)),
        Credentials::Container { authorization, .. } => match authorization {
            Some(Authorization::File(path)) => Some(Own::File(path)),
            Some(Authorization::Token(_)) | None => None,
        },
        Credentials::Static(_)
        | Credentials::Instance { .. }
        | Credentials::Anonymous
        | Credentials::Missing(_) => None,
    }
}

/// Runs a `credential_process`: its standard error is the person's to see, its output ours.
fn run(command: &str, interrupt: &Interrupt) -> Result<Secret, PublishError> {
    let wrong = |why: String| wrong(PROCESS, why);
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| wrong(error.to_string()))?;
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What cannot be read is missing from the JSON, and told so.
        let _ = output.map(|output| output.take(LIMIT as u64).read_to_end(&mut bytes));
        bytes
    });
    let end = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) => {}
            Err(error) => break Err(wrong(error.to_string())),
        }
        if let Err(interrupted) = interrupt.sleep(Duration::from_millis(20)) {
            break Err(interrupted.into());
        }
        if Instant::now() > end {
            break Err(wrong("it did not end".to_owned()));
        }
    };
    if status.is_err() {
        // It may have ended by itself just now.
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = status?;
    if !status.success() {
        return Err(wrong(status.to_string()));
    }
    let output = reader.join().ok().map(String::from_utf8);
    match output {
        Some(Ok(text)) => Ok(Secret::new(text)),
        _ => Err(wrong("its output could not be read".to_owned())),
    }
}
