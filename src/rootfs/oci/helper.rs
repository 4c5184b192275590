//! `docker-credential-NAME get`: programs that keep credentials, run within bounds.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::credentials::{Credential, printed};
use crate::sys::interrupt::{Interrupt, Interrupted};

/// How long one may take: it may ask somebody else.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
const LIMIT: usize = 64 << 10;
/// How often is looked up.
const TICK: Duration = Duration::from_millis(10);

/// Why a helper gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelperError {
    /// It cannot be run, or what it says is of no use.
    #[error("docker-credential-{name}: {why}")]
    Failed {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Asks a helper for what it files under `key`. It gets the environment of whoever started
/// pybuild (what it needs, a keyring's address, say, only it knows), and its words on standard
/// error are thrown away: they may hold what it keeps.
pub(super) fn ask(
    name: &str,
    key: &str,
    env: &BTreeMap<String, OsString>,
    patience: Duration,
    interrupt: &Interrupt,
) -> Result<Option<Credential>, HelperError> {
    let failed = |why: &str| HelperError::Failed {
        name: name.escape_debug().to_string(),
        why: why.to_owned(),
    };
    let Some(program) = find(name, env) else {
        return Err(failed("there is no such program in PATH"));
    };
    let mut child = Command::new(program)
        .arg("get")
        .env_clear()
        .envs(env)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Less than a pipe holds. One that does not read it says so by what it prints.
        let _ = stdin.write_all(key.as_bytes());
    }
    let outcome = converse(&mut child, patience, interrupt, &failed);
    if outcome.is_err()
        && let Ok(pid) = i32::try_from(child.id())
    {
        // It may have ended by itself just now.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        let _ = child.wait();
    }
    let (output, success) = outcome?;
    printed(&output, success).map_err(failed)
}

/// Reads what it prints until it ends. What it leaves running may hold the pipe: that is not
/// waited for.
fn converse(
    child: &mut Child,
    patience: Duration,
    interrupt: &Interrupt,
    failed: &dyn Fn(&str) -> HelperError,
) -> Result<(Vec<u8>, bool), HelperError> {
    let io = |error: std::io::Error| failed(&error.to_string());
    let mut stdout = child
        .stdout
        .take()
        .ok_or_else(|| failed("it has no output"))?;
    fcntl(&stdout, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| io(error.into()))?;
    let end = Instant::now() + patience;
    let mut output = Vec::new();
    loop {
        // Before its output is read: what it printed before it ended is there then.
        let status = child.try_wait().map_err(io)?;
        let mut buffer = [0; 4096];
        loop {
            match stdout.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => output.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(io(error)),
            }
            if output.len() > LIMIT {
                return Err(failed("it prints too much"));
            }
        }
        if let Some(status) = status {
            return Ok((output, status.success()));
        }
        if Instant::now() >= end {
            return Err(failed("it did not end"));
        }
        interrupt.sleep(TICK)?;
    }
}

/// Where the program is. A name is no path, and a relative `PATH` means no place of ours.
fn find(name: &str, env: &BTreeMap<String, OsString>) -> Option<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        return None;
    }
    let program = format!("docker-credential-{name}");
    std::env::split_paths(env.get("PATH")?)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(&program))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::Secret;

    /// Another process writes it: a descriptor of ours could be open in a child that another
    /// test is just starting, and then it cannot be executed (ETXTBSY).
    fn install(dir: &Path, script: &str) {
        let made = Command::new("/bin/sh")
            .args([
                "-c",
                "printf '#!/bin/sh\n%s\n' \"$1\" > \"$2\" && chmod 755 \"$2\"",
                "sh",
                script,
            ])
            .arg(dir.join("docker-credential-test"))
            .status();
        assert!(made.expect("a shell").success());
    }

    fn run(script: &str, patience: Duration) -> Result<Option<Credential>, HelperError> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        install(dir.path(), script);
        let path = format!("relative:{}:/usr/bin:/bin", dir.path().display());
        let env = BTreeMap::from([
            ("PATH".to_owned(), OsString::from(path)),
            ("WHO".to_owned(), OsString::from("me")),
        ]);
        let interrupt = Interrupt::manual().expect("an eventfd");
        ask("test", "registry.example.org", &env, patience, &interrupt)
    }

    #[test]
    fn it_is_told_the_registry_and_knows_its_environment() {
        let script = r#"read -r key || true
            [ "$1" = get ] && printf '{"Username":"%s","Secret":"%s"}' "$WHO" "$key""#;
        let expected = Credential::Password {
            user: "me".to_owned(),
            password: Secret::new("registry.example.org"),
        };
        assert_eq!(run(script, PATIENCE), Ok(Some(expected)));
    }

    #[test]
    fn having_nothing_is_no_failure() {
        let script = "echo credentials not found in native keychain; exit 1";
        assert_eq!(run(script, PATIENCE), Ok(None));
    }

    #[test]
    fn what_goes_wrong_is_told_without_its_words() {
        let short = Duration::from_millis(300);
        for (script, patience, why) in [
            ("echo canary; exit 1", PATIENCE, "it failed"),
            (
                "echo canary >&2; echo '{canary'",
                PATIENCE,
                "what it prints is no credential",
            ),
            (
                "while :; do echo canary canary canary canary; done",
                PATIENCE,
                "it prints too much",
            ),
            ("sleep 600", short, "it did not end"),
            ("sleep 600 & wait", short, "it did not end"),
            ("trap '' TERM; exec >&-; sleep 600", short, "it did not end"),
        ] {
            let error = run(script, patience).expect_err(script).to_string();
            assert_eq!(error, format!("docker-credential-test: {why}"));
        }
    }

    #[test]
    fn what_it_leaves_running_is_not_waited_for() {
        let script = "sleep 30 & echo '{\"Username\":\"u\",\"Secret\":\"p\"}'";
        assert!(matches!(run(script, Duration::from_secs(20)), Ok(Some(_))));
    }

    #[test]
    fn names_are_no_paths() {
        let env = BTreeMap::from([("PATH".to_owned(), OsString::from("/usr/bin:/bin"))]);
        let interrupt = Interrupt::manual().expect("an eventfd");
        for name in ["", "../x", "/bin/sh", "a b", "nowhere-to-be-found", "a\nb"] {
            let error = ask(name, "k", &env, PATIENCE, &interrupt).expect_err(name);
            assert!(error.to_string().contains("no such program"), "{error}");
        }
    }

    #[test]
    fn an_interrupt_ends_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        install(dir.path(), "exec /bin/sleep 600");
        let env = BTreeMap::from([("PATH".to_owned(), dir.path().into())]);
        let interrupt = Interrupt::manual().expect("an eventfd");
        interrupt.raise(Signal::SIGINT);
        let asked = ask("test", "k", &env, PATIENCE, &interrupt);
        assert!(matches!(asked, Err(HelperError::Interrupted(_))));
    }
}
