//! Puts every file below a directory to a target, as the library publishes, with the settings that
//! `pybuild deploy` would take: `put DIRECTORY TARGET [AT_ONCE]`.
//!
//! This is also what uploading is measured by.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use pybuild::model::Sha256;
use pybuild::publish::{Content, Inputs, Mode, Put, Remote, Settings};
use pybuild::sys::interrupt::Interrupt;

type Failure = Box<dyn Error + Send + Sync>;

/// What a crowd puts at once, if nobody says: what rclone does.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [directory, target, at_once @ ..] = &args[..] else {
        eprintln!("usage: put DIRECTORY TARGET [AT_ONCE]");
        return ExitCode::from(2);
    };
    match run(directory, target, at_once.first()) {
        Ok((files, bytes)) => {
            println!("{files} files, {bytes} bytes");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &str, target: &str, at_once: Option<&String>) -> Result<(usize, u64), Failure> {
    let at_once = at_once.map_or(Ok(AT_ONCE), |text| text.parse())?;
    let root = Path::new(directory);
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect();
    let target = Some(target.to_owned());
    let inputs = Inputs::gather(target, None, None, env, &std::env::current_dir()?)?;
    let settings = Settings::resolve(&inputs)?;
    let remote = Remote::open(settings.target(), &settings)?;
    let interrupt = Interrupt::manual()?;
    remote.check_writable(&interrupt)?;

    let count = files.len();
    let left = Mutex::new(files);
    let next = || left.lock().ok().and_then(|mut left| left.pop());
    let work = || {
        let mut bytes = 0;
        while let Some(path) = next() {
            bytes += put(&remote, root, &path, &interrupt)?;
        }
        Ok(bytes)
    };
    let bytes: Result<u64, Failure> = std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        crowd
            .into_iter()
            .map(|one| one.join().map_err(|_| "a thread is gone")?)
            .sum()
    });
    Ok((count, bytes?))
}

/// Every file below a directory.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn put(remote: &Remote, root: &Path, path: &Path, interrupt: &Interrupt) -> Result<u64, Failure> {
    let key = path.strip_prefix(root)?;
    let key = key.to_str().ok_or("a name that is no text")?;
    let mut file = File::open(path)?;
    let (digest, size) = Sha256::of_reader(&mut file)?;
    let content = Content::File {
        file: &file,
        size,
        digest,
    };
    match remote.put(key, content, Mode::Create, &|_| {}, interrupt)? {
        Put::Written => Ok(size),
        Put::AlreadySame => Err(format!("{key} was there already").into()),
    }
}
