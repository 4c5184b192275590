//! Other readers of tar archives, and what they list: GNU tar, bsdtar and Python's `tarfile`.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pybuild::archive::{Entry, EntryKind, Limits, examine};
use tempfile::TempDir;

/// A member, as far as all readers tell of it. Slashes at the end of a name are left out.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) kind: EntryKind,
    pub(crate) name: Vec<u8>,
    /// Of a file; of anything else 0, whatever its header says.
    pub(crate) size: u64,
    /// Where a link leads.
    pub(crate) link: Vec<u8>,
}

impl std::fmt::Debug for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kind,
            name,
            size,
            link,
        } = self;
        let (name, link) = (name.escape_ascii(), link.escape_ascii());
        write!(f, "{kind:?} `{name}` {size} `{link}`")
    }
}

impl Listed {
    fn new(kind: EntryKind, name: &[u8], size: u64, link: &[u8]) -> Self {
        let slashes = name.iter().rev().take_while(|byte| **byte == b'/').count();
        let is_link = matches!(kind, EntryKind::Symlink | EntryKind::HardLink);
        Self {
            kind,
            name: name[..name.len() - slashes].to_vec(),
            size: if kind == EntryKind::File { size } else { 0 },
            link: if is_link { link.to_vec() } else { Vec::new() },
        }
    }
}

/// What a reader lists, or what it says instead.
pub(crate) type Listing = Result<Vec<Listed>, String>;

/// What we list.
pub(crate) fn ours(archive: &[u8]) -> Listing {
    let mut listing = Vec::new();
    let mut each = |entry: &Entry<'_>| {
        listing.push(Listed::new(entry.kind, entry.name, entry.size, entry.link));
    };
    examine(archive, &Limits::default(), &mut each).map_err(|error| error.to_string())?;
    Ok(listing)
}

/// What each of the others lists.
#[derive(Debug)]
pub(crate) struct Others {
    pub(crate) gnu: Listing,
    pub(crate) bsd: Listing,
    pub(crate) python: Listing,
}

/// The other readers, and a place for an archive that they read.
pub(crate) struct Peers {
    dir: TempDir,
    python: RefCell<Python>,
}

/// A process that lists one archive after the other: starting it takes longer than that.
struct Python {
    child: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// For each path on a line: members as `KIND NAME SIZE LINK`, names in hexadecimal, and `end`; or
/// `error`.
const PYTHON: &str = r#"
import sys, tarfile
def kind(m):
    for test, name in ((m.isreg, "file"), (m.isdir, "dir"), (m.issym, "symlink"),
                       (m.islnk, "hardlink"), (m.isdev, "special")):
        if test():
            return name
    return "other"
def text(name):
    return name.encode("utf-8", "surrogateescape").hex() or "-"
for path in sys.stdin:
    try:
        with tarfile.open(path.rstrip("\n"), "r:", errors="surrogateescape",
                          encoding="utf-8") as archive:
            lines = [" ".join((kind(m), text(m.name), str(m.size), text(m.linkname)))
                     for m in archive]
        print("\n".join(lines + ["end"]), flush=True)
    except Exception as error:
        print("error", repr(error).replace("\n", " "), flush=True)
"#;

impl Peers {
    /// Starts what has to be started; `None` if something is not installed. Under CI that fails.
    #[allow(clippy::print_stderr)] // whoever runs the tests is to know
    pub(crate) fn new() -> Option<Self> {
        for program in ["tar", "bsdtar", "python3"] {
            let found = Command::new(program).arg("--version").output();
            let version = found.map(|output| output.stdout).unwrap_or_default();
            let is_it = program != "tar" || version.starts_with(b"tar (GNU tar)");
            if version.is_empty() || !is_it {
                assert!(std::env::var_os("CI").is_none(), "{program} is missing");
                eprintln!("not run: {program} is missing");
                return None;
            }
        }
        let mut child = Command::new("python3")
            .args(["-c", PYTHON])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let asked = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let python = Python {
            child,
            asked,
            answers,
        };
        Some(Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            python: RefCell::new(python),
        })
    }

    pub(crate) fn list(&self, archive: &[u8]) -> Others {
        let file = self.dir.path().join("archive.tar");
        fs::write(&file, archive).expect("write");
        Others {
            gnu: gnu(&file),
            bsd: bsd(&file),
            python: self.python.borrow_mut().list(&file),
        }
    }
}

impl Python {
    fn list(&mut self, file: &Path) -> Listing {
        let mut path = file.as_os_str().as_bytes().to_vec();
        path.push(b'\n');
        self.asked.write_all(&path).expect("python3 is there");
        let mut listing = Vec::new();
        loop {
            let mut line = String::new();
            self.answers.read_line(&mut line).expect("an answer");
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["end"] => return Ok(listing),
                ["error", ..] => return Err(line),
                [kind, name, size, target] => {
                    let kind = match kind {
                        "file" => EntryKind::File,
                        "dir" => EntryKind::Directory,
                        "symlink" => EntryKind::Symlink,
                        "hardlink" => EntryKind::HardLink,
                        "special" => EntryKind::Special,
                        // The rest of the answer is to be read all the same.
                        _ => {
                            while line != "end\n" {
                                line.clear();
                                self.answers.read_line(&mut line).expect("an answer");
                            }
                            return Err("of another kind".into());
                        }
                    };
                    let size = size.parse().expect("a number");
                    listing.push(Listed::new(kind, &hex(name), size, &hex(target)));
                }
                _ => panic!("python3 says {line}"),
            }
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.trim_matches('-').as_bytes();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("hexadecimal")
    };
    digits.chunks(2).map(byte).collect()
}

/// What `tar --list` says. Names come in quotes, so nothing in them can be taken for more.
fn gnu(file: &Path) -> Listing {
    let args = ["--list", "--verbose", "--numeric-owner", "--full-time"];
    let output = Command::new("tar")
        .args(args)
        .args(["--absolute-names", "--quoting-style=c", "--file"])
        .arg(file)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()
        .expect("tar");
    let said = String::from_utf8_lossy(&output.stderr);
    // That it has dropped a slash, or that a time is of the future, is no refusal; but what it
    // says of the archive is.
    if !output.status.success() {
        return Err(said.into_owned());
    }
    let lines = output.stdout.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(gnu_line)
        .collect()
}

/// `-rw-r--r-- 0/0  4 2024-01-01 00:00:00 "name" -> "target"`
fn gnu_line(line: &[u8]) -> Result<Listed, String> {
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let (fields, quoted) = text.split_at(text.find('"').ok_or(text)?);
    let kind = kind_of(text)?;
    let size = fields.split_whitespace().nth(2).unwrap_or_default();
    let size = size.parse().unwrap_or(0); // a device has none
    let mut texts = in_quotes(quoted).into_iter();
    let name = texts.next().ok_or(text)?;
    let target = texts.next().unwrap_or_default();
    Ok(Listed::new(
        kind,
        &unescaped(&name),
        size,
        &unescaped(&target),
    ))
}

/// The texts in quotes, their escapes still in them.
fn in_quotes(text: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut inside: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (&mut inside, c) {
            (Some(_), '"') => texts.extend(inside.take()),
            (Some(text), '\\') => text.extend(std::iter::once(c).chain(chars.next())),
            (Some(text), c) => text.push(c),
            (None, '"') => inside = Some(String::new()),
            (None, _) => {}
        }
    }
    texts
}

/// What `bsdtar -t` says.
fn bsd(file: &Path) -> Listing {
    let output = Command::new("bsdtar")
        .args(["-t", "-v", "--numeric-owner", "-f"])
        .arg(file)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .output()
        .expect("bsdtar");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let lines = output.stdout.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(bsd_line)
        .collect()
}

/// `-rw-r--r--  0 0  0  4 Jan  1  2024 name -> target`: names hold no arrow, or cannot be told.
fn bsd_line(line: &[u8]) -> Result<Listed, String> {
    let text = String::from_utf8_lossy(line).into_owned();
    let kind = kind_of(&text)?;
    let mut rest = &text[..];
    let mut size = 0;
    for field in 0..8 {
        let end = rest.find(' ').ok_or("too few fields")?;
        if field == 4 {
            size = rest[..end].parse().unwrap_or(0);
        }
        rest = if field < 7 {
            rest[end..].trim_start_matches(' ')
        } else {
            &rest[end + 1..]
        };
    }
    let between = match kind {
        EntryKind::Symlink => " -> ",
        EntryKind::HardLink => " link to ",
        _ => "\n",
    };
    let (name, target) = rest.split_once(between).unwrap_or((rest, ""));
    Ok(Listed::new(
        kind,
        &unescaped(name),
        size,
        &unescaped(target),
    ))
}

fn kind_of(line: &str) -> Result<EntryKind, String> {
    match line.as_bytes().first() {
        Some(b'-' | b'C') => Ok(EntryKind::File),
        Some(b'd') => Ok(EntryKind::Directory),
        Some(b'l') => Ok(EntryKind::Symlink),
        Some(b'h') => Ok(EntryKind::HardLink),
        Some(b'c' | b'b' | b'p') => Ok(EntryKind::Special),
        _ => Err(format!("of another kind: {line}")),
    }
}

/// A name without C's escapes.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes().peekable();
    let mut name = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            name.push(byte);
            continue;
        }
        let Some(next) = bytes.next() else { break };
        let value = match next {
            b'0'..=b'7' => {
                let mut value = u32::from(next - b'0');
                for _ in 0..2 {
                    match bytes.peek() {
                        Some(digit @ b'0'..=b'7') => {
                            value = value * 8 + u32::from(digit - b'0');
                            bytes.next();
                        }
                        _ => break,
                    }
                }
                u8::try_from(value).unwrap_or(b'?')
            }
            b'a' => 7,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            b's' => b' ',
            other => other,
        };
        name.push(value);
    }
    name
}

#[test]
fn what_readers_print_is_understood() {
    let gnu = gnu_line(br#"lrwxrwxrwx 0/0   0 2024-01-01 00:00:00 "a\"b\\" -> "c\nd\303\274""#);
    let link = Listed::new(EntryKind::Symlink, b"a\"b\\", 0, "c\nd\u{fc}".as_bytes());
    assert_eq!(gnu, Ok(link));
    let bsd = bsd_line(br"hrw-r--r--  0 0      0           0 Jan  1  2024  a\\\n link to b c");
    let link = Listed::new(EntryKind::HardLink, b" a\\\n", 0, b"b c");
    assert_eq!(bsd, Ok(link));
    let file = bsd_line(b"-rw-r--r--  0 0      0          12 Jan  1 10:00 a -> b");
    assert_eq!(file, Ok(Listed::new(EntryKind::File, b"a -> b", 12, b"")));
}
