//! What a build printed: kept whole in the store, and its last meaningful lines for an error.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::model::{Elapsed, FormulaRef, Sha256, StackName};
use crate::sys::fs::{self as sysfs, FsError};

/// The first line of every log.
const MAGIC: &str = "# pybuild log 1";
/// How many of the newest lines are kept in memory to find the meaningful ones in.
const KEPT: usize = 400;
/// How much of one line is kept in memory, in bytes: a build may print a line of any length.
const WIDEST: usize = 400;
/// How many lines an excerpt has at most.
const EXCERPT: usize = 15;

/// Which build a log is of: its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// The build id.
    pub build: Sha256,
    /// For which stack.
    pub stack: StackName,
    /// What.
    pub reference: FormulaRef,
    /// With which options.
    pub profile: String,
}

/// A log being written.
pub struct BuildLog {
    path: PathBuf,
    file: BufWriter<File>,
    line: Vec<u8>,
    tail: VecDeque<String>,
    /// Whether the file ends in the middle of a line.
    midline: bool,
}

impl BuildLog {
    /// Begins a log, in place of an older one of the same build.
    pub fn create(path: &Path, head: &LogHead) -> Result<Self, FsError> {
        let file = File::create(path).map_err(FsError::new("create", path))?;
        let mut log = Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(64 * 1024, file),
            line: Vec::new(),
            tail: VecDeque::new(),
            midline: false,
        };
        log.put(head.render().as_bytes())?;
        Ok(log)
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A step begins: its name, and the command as one would paste it.
    pub fn begin(&mut self, step: &str, command: &str) -> Result<(), FsError> {
        self.end_line();
        self.tail.clear();
        self.put(format!("\n# {step}\n$ {command}\n").as_bytes())
    }

    /// A step ended: how, and how long it took.
    pub fn end(&mut self, how: &str, elapsed: std::time::Duration) -> Result<(), FsError> {
        self.end_line();
        if self.midline {
            self.put(b"\n")?;
        }
        self.put(format!("# {how} after {}\n", Elapsed(elapsed)).as_bytes())?;
        self.file.flush().map_err(FsError::new("write", &self.path))
    }

    /// More of what the step prints. Calls `each` with every line that became whole.
    pub fn output(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) -> Result<(), FsError> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = WIDEST.saturating_sub(self.line.len());
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if part.ends_with(b"\n")
                && let Some(line) = self.end_line()
            {
                each(line);
            }
        }
        self.put(bytes)
    }

    /// The last meaningful lines of the step under way or just ended.
    pub fn excerpt(&self) -> Vec<String> {
        let lines: Vec<&str> = self.tail.iter().map(String::as_str).collect();
        excerpt(&lines)
    }

    fn end_line(&mut self) -> Option<&str> {
        if self.line.is_empty() {
            return None;
        }
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if self.tail.len() == KEPT {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
        self.tail.back().map(String::as_str)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), FsError> {
        if let Some(last) = bytes.last() {
            self.midline = *last != b'\n';
        }
        self.file
            .write_all(bytes)
            .map_err(FsError::new("write", &self.path))
    }
}

impl LogHead {
    fn render(&self) -> String {
        format!(
            "{MAGIC}\n# build {}\n# stack {}\n# formula {}\n# profile {}\n",
            self.build, self.stack, self.reference, self.profile
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name).map(str::trim);
        field(MAGIC)?;
        Some(Self {
            build: field("# build ")?.parse().ok()?,
            stack: field("# stack ")?.parse().ok()?,
            reference: field("# formula ")?.parse().ok()?,
            profile: field("# profile ")?.to_owned(),
        })
    }
}

/// The logs below `dir`, the newest first.
pub fn logs(dir: &Path) -> Result<Vec<(LogHead, PathBuf)>, FsError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(FsError::new("readdir", dir))? {
        let path = entry.map_err(FsError::new("readdir", dir))?.path();
        let mut head = Vec::new();
        let file = sysfs::open(&path)?;
        let modified = file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map_err(FsError::new("stat", &path))?;
        file.take(1024)
            .read_to_end(&mut head)
            .map_err(FsError::new("read", &path))?;
        // Whatever else lies there is not a log of ours.
        if let Some(head) = LogHead::parse(&String::from_utf8_lossy(&head)) {
            found.push((modified, head, path));
        }
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.2.cmp(&b.2)));
    Ok(found
        .into_iter()
        .map(|(_, head, path)| (head, path))
        .collect())
}

/// The lines that tell a person what went wrong: the end, without what only repeats that
/// something did, and the first complaint with its neighbours if it lies further up.
pub fn excerpt(lines: &[&str]) -> Vec<String> {
    let end = lines
        .iter()
        .rposition(|line| !is_empty_talk(line))
        .map_or(lines.len(), |last| last + 1);
    let lines = &lines[..end];
    let start = end.saturating_sub(EXCERPT);
    let complaint = lines.iter().position(|line| is_complaint(line));
    let shown: Vec<String> = match complaint {
        Some(at) if at < start => {
            let head = &lines[at.saturating_sub(1)..(at + 4).min(start)];
            let rest = EXCERPT - head.len() - 1;
            let tail = &lines[end - rest..];
            let owned = |lines: &[&str]| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
            [owned(head), vec!["…".to_owned()], owned(tail)].concat()
        }
        _ => lines[start..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect(),
    };
    shown
}

/// Lines with which make and shells close every failure, whatever it was.
fn is_empty_talk(line: &str) -> bool {
    let line = line.trim();
    line.is_empty()
        || (line.starts_with("make") && line.contains("Leaving directory"))
        || line.contains("*** Waiting for unfinished jobs")
}

fn is_complaint(line: &str) -> bool {
    [
        "error:",
        "Error:",
        "ERROR",
        "fatal:",
        "undefined reference",
        "cannot find",
        "*** ",
    ]
    .iter()
    .any(|mark| line.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> LogHead {
        LogHead {
            build: Sha256::of(b"a build"),
            stack: "debian-12".parse().expect("a name"),
            reference: "python-3.11.2".parse().expect("a reference"),
            profile: "plain".to_owned(),
        }
    }

    #[test]
    fn a_log_is_written_as_it_goes_and_found_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("x.log");
        let mut log = BuildLog::create(&path, &head()).expect("created");
        log.begin("make", "make -j2").expect("written");
        let mut lines = Vec::new();
        for chunk in [&b"one\ntw"[..], b"o\n\xff\n", b"last"] {
            log.output(chunk, |line| lines.push(line.to_owned()))
                .expect("written");
        }
        log.end(
            "failed with exit code 2",
            std::time::Duration::from_millis(1500),
        )
        .expect("written");
        assert_eq!(lines, ["one", "two", "\u{fffd}"]);
        assert_eq!(log.excerpt(), ["one", "two", "\u{fffd}", "last"]);
        let text = fs::read(&path).expect("there");
        let text = String::from_utf8_lossy(&text);
        assert!(text.ends_with(
            "\n# make\n$ make -j2\none\ntwo\n\u{fffd}\nlast\n# failed with exit code 2 after 1.5 s\n"
        ), "{text}");
        fs::write(dir.path().join("other"), "not a log").expect("written");
        assert_eq!(logs(dir.path()).expect("read"), [(head(), path)]);
    }

    #[test]
    fn endless_lines_do_not_fill_memory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut log = BuildLog::create(&dir.path().join("x.log"), &head()).expect("created");
        for _ in 0..100 {
            log.output(&[b'x'; 10_000], |_| {}).expect("written");
        }
        assert_eq!(log.line.len(), WIDEST);
        for _ in 0..10_000 {
            log.output(b"\ny", |_| {}).expect("written");
        }
        assert_eq!(log.tail.len(), KEPT);
    }

    #[test]
    fn an_excerpt_shows_the_first_complaint_and_the_end() {
        let mut lines = vec!["cc -c a.c"; 100];
        lines[10] = "a.c:1:1: error: expected identifier";
        lines.extend([
            "make: *** [Makefile:3: all] Error 1",
            "",
            "make[1]: Leaving directory '/b'",
        ]);
        let shown = excerpt(&lines);
        assert_eq!(shown.len(), EXCERPT);
        assert_eq!(shown[1], lines[10]);
        assert_eq!(shown[5], "…");
        assert_eq!(shown[EXCERPT - 1], "make: *** [Makefile:3: all] Error 1");
        assert_eq!(excerpt(&["one", "two", ""]), ["one", "two"]);
        assert_eq!(excerpt(&[]), Vec::<String>::new());
    }
}
