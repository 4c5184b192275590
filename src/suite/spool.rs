//! What one test prints, as it comes: all of it in a file, its last lines in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::sys::fs::FsError;

/// How many of the last lines are kept in memory.
const KEPT: usize = 30;
/// How much of one of them, in bytes.
const WIDEST: usize = 400;
/// How long a result may be, in bytes. A line that is longer is none.
const RESULT: usize = 256 << 10;

/// What a test has printed.
pub(super) struct Spool {
    path: PathBuf,
    file: File,
    line: Vec<u8>,
    /// Whether a line is whole and no other has begun.
    ended: bool,
    tail: VecDeque<String>,
    failed: Option<FsError>,
}

impl Spool {
    pub(super) fn create(path: &Path) -> Result<Self, FsError> {
        Ok(Self {
            path: path.to_owned(),
            file: File::create(path).map_err(FsError::new("create", path))?,
            line: Vec::new(),
            ended: false,
            tail: VecDeque::new(),
            failed: None,
        })
    }

    /// More of it.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if self.failed.is_none()
            && let Err(error) = self.file.write_all(bytes)
        {
            self.failed = Some(FsError::new("write", &self.path)(error));
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if std::mem::take(&mut self.ended) {
                self.turn();
            }
            let text = part.strip_suffix(b"\n");
            self.ended = text.is_some();
            let text = text.unwrap_or(part);
            let room = (RESULT + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
        }
    }

    /// The line is not the last one.
    fn turn(&mut self) {
        if self.tail.len() == KEPT {
            self.tail.pop_front();
        }
        let start = &self.line[..self.line.len().min(WIDEST)];
        let line = String::from_utf8_lossy(start).trim_end().to_owned();
        self.tail.push_back(line);
        self.line.clear();
    }

    /// The last line, and those before it.
    pub(super) fn end(mut self) -> Result<(Vec<u8>, Vec<String>), FsError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let last = std::mem::take(&mut self.line);
        // Too long, whatever it says.
        let last = if last.len() > RESULT {
            Vec::new()
        } else {
            last
        };
        Ok((last, self.tail.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spooled(pieces: &[&[u8]]) -> (Vec<u8>, Vec<String>) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("spool");
        let mut spool = Spool::create(&path).expect("created");
        for piece in pieces {
            spool.take(piece);
        }
        let end = spool.end().expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), pieces.concat());
        end
    }

    /// What is printed piece by piece, the last line of it, and those before.
    type Row = (
        &'static [&'static [u8]],
        &'static str,
        &'static [&'static str],
    );

    #[test]
    fn the_last_line_is_told_from_those_before() {
        let table: [Row; 6] = [
            (&[], "", &[]),
            (&[b"a"], "a", &[]),
            (&[b"a\nb", b"c\n"], "bc", &["a"]),
            (&[b"a\n", b"", b"b\n"], "b", &["a"]),
            (&[b"a\n\n"], "", &["a"]),
            (&[b"a\n", b"\n", b"b"], "b", &["a", ""]),
        ];
        for (pieces, last, tail) in table {
            let (said, before) = spooled(pieces);
            assert_eq!(String::from_utf8_lossy(&said), last, "{pieces:?}");
            assert_eq!(before, tail, "{pieces:?}");
        }
    }

    #[test]
    fn lines_of_any_length_and_number_are_bounded() {
        let (last, tail) = spooled(&[&vec![b'x'; RESULT + 10]]);
        assert!(last.is_empty() && tail.is_empty());
        let long = [vec![b'x'; 3 * RESULT], b"\nend\n".to_vec()].concat();
        let (last, tail) = spooled(&[&b"a\n".repeat(1000), &long]);
        assert_eq!((last.as_slice(), tail.len()), (&b"end"[..], KEPT));
        assert!(tail.iter().all(|line| line.len() <= WIDEST));
    }
}
