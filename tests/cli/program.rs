//! The program under test: started, watched, and held to what it should say.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// The program.
const PYBUILD: &str = env!("CARGO_BIN_EXE_pybuild");
/// After this a run is not slow but stuck.
const STUCK: Duration = Duration::from_secs(400);

/// The program with a store and an environment of its own.
pub(crate) fn pybuild(store: &Path) -> Pybuild {
    wrapped::<&str>(&[], store)
}

/// The same, started by another program that ends by executing it.
pub(crate) fn wrapped<A: AsRef<str>>(wrapper: &[A], store: &Path) -> Pybuild {
    let mut argv = wrapper.iter().map(A::as_ref).chain([PYBUILD]);
    let mut command = Command::new(argv.next().expect("a program"));
    command.args(argv).env_clear();
    // What leads to the network on this host.
    for (name, value) in std::env::vars_os() {
        let known = name.to_str().is_some_and(|name| {
            let name = name.to_lowercase();
            name.ends_with("_proxy") || name == "pybuild_debian_mirror"
        });
        if known {
            command.env(name, value);
        }
    }
    command
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", store)
        .env("PYBUILD_HOME", store)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Pybuild { command }
}

/// A run to be.
pub(crate) struct Pybuild {
    command: Command,
}

impl Pybuild {
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// To be started in another way.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Without a variable that it would otherwise have.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn cwd(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn stdin(mut self, input: Stdio) -> Self {
        self.command.stdin(input);
        self
    }

    /// To its end.
    pub(crate) fn run(self) -> Ran {
        self.start().wait()
    }

    /// In a process group of its own, as a shell starts what it runs.
    pub(crate) fn grouped(mut self) -> Self {
        self.command.process_group(0);
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.spawn().expect("pybuild starts");
        let out = child.stdout.take().expect("a pipe");
        let err = child.stderr.take().expect("a pipe");
        let out = std::thread::spawn(move || read(out, |_| {}));
        let (tell, lines) = channel();
        let err = std::thread::spawn(move || {
            read(err, |line| {
                let _ = tell.send(line.to_owned()); // nobody may care
            })
        });
        Running {
            child,
            out,
            err,
            lines,
        }
    }
}

/// Reads to the end, line by line.
fn read(mut from: impl Read, mut each: impl FnMut(&str)) -> String {
    let (mut text, mut told) = (Vec::new(), 0);
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        text.extend_from_slice(&buffer[..count]);
        while let Some(end) = memchr::memchr(b'\n', &text[told..]) {
            each(&String::from_utf8_lossy(&text[told..told + end]));
            told += end + 1;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A run under way.
pub(crate) struct Running {
    child: Child,
    out: JoinHandle<String>,
    err: JoinHandle<String>,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("not waited for yet");
    }

    /// The process that was started.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As a terminal does on Ctrl-C: to everyone in the group.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        killpg(pid, signal).expect("a group of its own");
    }

    /// Waits for so many lines on standard error; false if the run ends before.
    pub(crate) fn lines(&self, count: usize) -> bool {
        (0..count).all(|_| self.says(""))
    }

    /// Waits until a line with this on standard error; false if the run ends before.
    pub(crate) fn says(&self, what: &str) -> bool {
        loop {
            match self.lines.recv_timeout(STUCK) {
                Ok(line) if line.contains(what) => return true,
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => panic!("never said: {what}"),
            }
        }
    }

    /// To its end.
    pub(crate) fn wait(self) -> Ran {
        let Self {
            mut child,
            out,
            err,
            ..
        } = self;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait") {
                break status;
            }
            if start.elapsed() > STUCK {
                child.kill().expect("killed");
                panic!("stuck; so far: {}", err.join().expect("a reader"));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Ran {
            code: code(status),
            out: out.join().expect("a reader"),
            err: err.join().expect("a reader"),
        }
    }
}

/// As a shell tells it.
pub(crate) fn code(status: ExitStatus) -> i32 {
    let signalled = || status.signal().map(|signal| 128 + signal);
    status.code().or_else(signalled).expect("an end")
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// All is well.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.err, self.out);
        self
    }

    /// It ends with this code, says all of this on standard error, and gives no result.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.err, self.out);
        for said in said {
            assert!(self.err.contains(said), "not said: {said}\n{}", self.err);
        }
        assert_eq!(self.out, "");
        self.reads_well();
        self
    }

    /// Every message is for a person: no control characters, no Rust, each hint on its line.
    #[track_caller]
    fn reads_well(&self) {
        let plain = |c: char| c == '\n' || !c.is_control();
        assert!(self.err.chars().all(plain), "{:?}", self.err);
        for raw in ["panicked", "Os {", "Some(", "unwrap", "Err("] {
            assert!(!self.err.contains(raw), "{raw}: {}", self.err);
        }
    }
}
