//! Looks for byte strings that must not be in a prefix: the paths it was built at.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use memchr::memmem::Finder;

use super::tree::{Kind, Tree};
use crate::sys::fs::FsError;
use crate::sys::interrupt::{Interrupt, Interrupted};

const CHUNK: usize = 256 * 1024;
/// Bytes of context shown on each side of what was found.
const CONTEXT: u64 = 40;

/// Why the search ended early.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Where in an entry something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file's content.
    Content {
        /// Of the first one, from the file's beginning.
        offset: u64,
        /// How many there are in this file, without overlaps.
        count: u64,
    },
    /// In the entry's path below the prefix.
    Name,
    /// In what a symlink holds.
    Target,
}

/// A byte string found where it must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The entry, below the prefix.
    pub path: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What was looked for, as text.
    pub needle: String,
    /// What stands around it, in one printable line.
    pub context: String,
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            place,
            needle,
            context,
        } = self;
        let path = path.to_string_lossy().escape_debug().to_string();
        match place {
            Place::Content { offset, count: 1 } => {
                write!(f, "{path} holds `{needle}` at byte {offset}: {context}")
            }
            Place::Content { offset, count } => {
                write!(
                    f,
                    "{path} holds `{needle}` {count} times, first at byte {offset}: {context}"
                )
            }
            Place::Name => write!(f, "{path} has `{needle}` in its name"),
            Place::Target => write!(f, "{path} is a symlink with `{needle}`: {context}"),
        }
    }
}

/// Every entry of the prefix that holds one of `needles`, by path, then by needle. Files are read
/// on `threads` threads. Empty needles are in everything and are left out.
pub fn scan(
    tree: &Tree,
    needles: &[&str],
    threads: usize,
    interrupt: &Interrupt,
) -> Result<Vec<Hit>, ScanError> {
    let finders: Vec<Finder<'_>> = needles
        .iter()
        .filter(|needle| !needle.is_empty())
        .map(|needle| Finder::new(needle.as_bytes()))
        .collect();
    let mut hits = in_names(tree, &finders);
    // Unreadable ones are for the rules to report.
    let files: Vec<&Path> = tree
        .files()
        .filter(|(_, node)| node.mode & 0o400 != 0 && node.size > 0)
        .map(|(path, _)| path)
        .collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<Hit>, ScanError> {
        let mut hits = Vec::new();
        let mut buffer = vec![0u8; CHUNK];
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            interrupt.check()?;
            let file = tree.open(path)?;
            let found = in_file(&file, path, &finders, &mut buffer, interrupt)?;
            hits.extend(found.map_err(FsError::new("read", &tree.path().join(path)))?);
        }
        Ok(hits)
    };
    let threads = threads.clamp(1, 64);
    let parts: Vec<Result<Vec<Hit>, ScanError>> = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut parts = vec![work()];
        for helper in helpers {
            parts.push(
                helper
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        parts
    });
    for part in parts {
        hits.extend(part?);
    }
    let rank = |hit: &Hit| needles.iter().position(|needle| *needle == hit.needle);
    hits.sort_by(|a, b| a.path.cmp(&b.path).then(rank(a).cmp(&rank(b))));
    Ok(hits)
}

fn in_names(tree: &Tree, finders: &[Finder<'_>]) -> Vec<Hit> {
    let mut hits = Vec::new();
    for (path, node) in tree.nodes() {
        for finder in finders {
            let mut hit = |place, text: &[u8]| {
                hits.push(Hit {
                    path: path.clone(),
                    place,
                    needle: text_of(finder),
                    context: printable(text),
                });
            };
            // With the slash that stands for the prefix: `/build/` is in `build/x` too.
            let mut name = vec![b'/'];
            name.extend_from_slice(path.as_os_str().as_bytes());
            let own = path.file_name().map_or(0, std::ffi::OsStr::len);
            // Found in the parent already, if it does not reach into the last component.
            let fresh = name.len() - own;
            let from = fresh.saturating_sub(finder.needle().len());
            if finder.find(&name[from..]).is_some() {
                hit(Place::Name, &name);
            }
            if let Kind::Link(to) = &node.kind
                && finder.find(to.as_bytes()).is_some()
            {
                hit(Place::Target, to.as_bytes());
            }
        }
    }
    hits
}

type Found = Result<io::Result<Vec<Hit>>, Interrupted>;

/// Reads the file once, in chunks that overlap by what a needle could be cut into.
fn in_file(
    file: &File,
    path: &Path,
    finders: &[Finder<'_>],
    buffer: &mut [u8],
    interrupt: &Interrupt,
) -> Found {
    let overlap = finders
        .iter()
        .map(|finder| finder.needle().len() - 1)
        .max()
        .unwrap_or(0);
    if buffer.len() <= overlap * 2 {
        // A needle longer than a chunk: not a path of this world.
        return Ok(Err(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    let mut firsts: Vec<Option<(u64, u64)>> = vec![None; finders.len()];
    // From where on a needle counts: behind the last one found, so that the overlap counts once.
    let mut behind = vec![0u64; finders.len()];
    let (mut at, mut kept) = (0u64, 0usize);
    loop {
        interrupt.check()?;
        let read = match file.read_at(&mut buffer[kept..], at + kept as u64) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(error)),
        };
        let held = kept + read;
        for ((finder, first), behind) in finders.iter().zip(&mut firsts).zip(&mut behind) {
            for found in finder.find_iter(&buffer[..held]) {
                let offset = at + found as u64;
                if offset < *behind {
                    continue;
                }
                *behind = offset + finder.needle().len() as u64;
                first.get_or_insert((offset, 0)).1 += 1;
            }
        }
        kept = overlap.min(held);
        buffer.copy_within(held - kept..held, 0);
        at += (held - kept) as u64;
    }
    let hits = finders.iter().zip(firsts).filter_map(|(finder, first)| {
        let (offset, count) = first?;
        Some(Hit {
            path: path.to_owned(),
            place: Place::Content { offset, count },
            needle: text_of(finder),
            context: context(file, offset, finder.needle().len()),
        })
    });
    Ok(Ok(hits.collect()))
}

fn context(file: &File, offset: u64, length: usize) -> String {
    let from = offset.saturating_sub(CONTEXT);
    let wanted = offset - from + length as u64 + CONTEXT;
    let mut around = vec![0u8; usize::try_from(wanted).unwrap_or(0)];
    // What cannot be read a second time is not shown; that it was found stands.
    let read = file.read_at(&mut around, from).unwrap_or(0);
    printable(&around[..read])
}

fn text_of(finder: &Finder<'_>) -> String {
    String::from_utf8_lossy(finder.needle()).into_owned()
}

fn printable(bytes: &[u8]) -> String {
    let dots = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    };
    bytes.iter().map(dots).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn found(dir: &Path, needles: &[&str]) -> Vec<Hit> {
        let tree = Tree::read(dir).expect("a tree");
        let interrupt = Interrupt::manual().expect("an eventfd");
        let one = scan(&tree, needles, 1, &interrupt).expect("scanned");
        let more = scan(&tree, needles, 3, &interrupt).expect("scanned");
        assert_eq!(one, more, "threads change nothing");
        one
    }

    #[test]
    fn contents_names_and_link_targets_are_looked_at() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join("build/x")).expect("mkdir");
        fs::write(dir.path().join("build/x/y"), "nothing").expect("write");
        fs::write(
            dir.path().join("data"),
            b"\0-I/build/source/Include \n/build/deps and /home/u",
        )
        .expect("write");
        symlink("../build/source/a", dir.path().join("link")).expect("symlink");
        let shown: Vec<String> = found(dir.path(), &["/home/u", "/build/", ""])
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            [
                "build/x has `/build/` in its name",
                "data holds `/home/u` at byte 42: \
                 I/build/source/Include ./build/deps and /home/u",
                "data holds `/build/` 2 times, first at byte 3: \
                 .-I/build/source/Include ./build/deps and /home/u",
                "link is a symlink with `/build/`: ../build/source/a",
            ]
        );
    }

    #[test]
    fn what_lies_across_two_chunks_is_found_once() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let needle = "/build/source";
        for shift in 0..=needle.len() {
            let mut content = vec![b'x'; CHUNK - shift];
            content.extend_from_slice(needle.as_bytes());
            content.extend_from_slice(&vec![b'y'; CHUNK]);
            content.extend_from_slice(needle.as_bytes());
            fs::write(dir.path().join("file"), content).expect("write");
            let hits = found(dir.path(), &[needle, "/build"]);
            let offset = (CHUNK - shift) as u64;
            assert_eq!(hits.len(), 2, "{shift}");
            for hit in hits {
                assert_eq!(hit.place, Place::Content { offset, count: 2 }, "{shift}");
            }
        }
    }

    #[test]
    fn an_interrupt_ends_the_search() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("file"), "x").expect("write");
        let tree = Tree::read(dir.path()).expect("a tree");
        let interrupt = Interrupt::manual().expect("an eventfd");
        interrupt.raise(nix::sys::signal::Signal::SIGINT);
        assert!(matches!(
            scan(&tree, &["x"], 2, &interrupt),
            Err(ScanError::Interrupted(_))
        ));
    }
}
