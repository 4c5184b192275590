//! One pass over a tarball: its size and digest, and, on a thread of its own, its decompression
//! and members. Memory is bounded, however large the tarball is and whatever it says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::safe::{Members, Unsafe};
use crate::archive::{Codec, Limits, decoder, examine};
use crate::model::{Hasher, Sha256};

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Pieces that are under way between the two threads.
const PIECES: usize = 8;
/// Bytes that tell a compression format.
const MAGIC: usize = 6;
/// Members of one tarball.
const ENTRIES: u64 = 500_000;

/// What reading a tarball to its end has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its bytes.
    pub size: u64,
    /// Their digest.
    pub sha256: Sha256,
    /// What it is compressed with, by its first bytes.
    pub codec: Option<Codec>,
    /// What is in it, if that was asked for.
    pub inside: Option<Inside>,
}

/// What is in a tarball.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    /// It does not decompress, or is not a tar archive that ends where its file does.
    Broken(String),
    /// It is whole.
    Whole {
        /// Members.
        entries: u64,
        /// Bytes of all files together.
        bytes: u64,
        /// Bytes of files by directory, see [`crate::archive::Sizes`].
        directories: BTreeMap<String, u64>,
        /// What is wrong with them.
        wrong: Unsafe,
    },
}

/// What is done with the bytes of a tarball.
pub(super) struct Pass<'a> {
    /// How large it is said to be: a bound on what it may unpack to.
    pub(super) expected: u64,
    /// Whether it is decompressed.
    pub(super) decode: bool,
    /// Where the bytes are kept.
    pub(super) keep: Option<&'a File>,
    /// Called with each piece's length; an error ends the pass.
    pub(super) progress: &'a dyn Fn(u64) -> io::Result<()>,
}

/// Why a pass did not get to the end.
#[derive(Debug)]
pub(super) enum PassError {
    /// The tarball cannot be read.
    Read(io::Error),
    /// The bytes cannot be kept.
    Keep(io::Error),
}

/// Reads a tarball to its end, hashing on this thread and decoding on another.
pub(super) fn pass(reader: &mut dyn Read, how: &Pass<'_>) -> Result<Stream, PassError> {
    if !how.decode {
        return hash(reader, how, None);
    }
    let (full, pieces) = sync_channel(PIECES);
    let (done, empty) = channel();
    let limits = Limits {
        entries: ENTRIES,
        ..Limits::for_compressed(how.expected)
    };
    std::thread::scope(|scope| {
        let decoding = scope.spawn(move || inside(Pieces::new(pieces, done), &limits));
        let hashed = hash(reader, how, Some(Feed { full, empty }));
        let inside = decoding.join();
        let inside = inside.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        hashed.map(|stream| Stream {
            inside: Some(inside),
            ..stream
        })
    })
}

/// A piece of the stream; an empty one is its end.
struct Piece {
    data: Box<[u8]>,
    length: usize,
}

/// The hashing thread's end: full pieces go, empty ones come back.
struct Feed {
    full: SyncSender<Piece>,
    empty: Receiver<Piece>,
}

fn blank() -> Piece {
    Piece {
        data: vec![0; PIECE].into_boxed_slice(),
        length: 0,
    }
}

fn hash(
    reader: &mut dyn Read,
    how: &Pass<'_>,
    mut feed: Option<Feed>,
) -> Result<Stream, PassError> {
    let mut hasher = Hasher::new();
    let mut start = Vec::new();
    let mut size = 0;
    let mut piece = blank();
    loop {
        piece.length = read(reader, &mut piece.data).map_err(PassError::Read)?;
        let bytes = &piece.data[..piece.length];
        hasher.update(bytes);
        size += bytes.len() as u64;
        let wanted = MAGIC.saturating_sub(start.len()).min(bytes.len());
        start.extend_from_slice(&bytes[..wanted]);
        if let Some(mut file) = how.keep {
            file.write_all(bytes).map_err(PassError::Keep)?;
        }
        (how.progress)(bytes.len() as u64).map_err(PassError::Read)?;
        let at_end = piece.length == 0;
        if let Some(Feed { full, empty }) = &feed {
            if full.send(piece).is_ok() {
                piece = empty.try_recv().unwrap_or_else(|_| blank());
            } else {
                // The decoder has seen enough; the digest is wanted all the same.
                feed = None;
                piece = blank();
            }
        }
        if at_end {
            return Ok(Stream {
                size,
                sha256: hasher.finish(),
                codec: Codec::of(&start),
                inside: None,
            });
        }
    }
}

fn read(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The decoding thread's end, as a reader.
struct Pieces {
    full: Receiver<Piece>,
    empty: Sender<Piece>,
    current: Option<Piece>,
    given: usize,
    ended: bool,
}

impl Pieces {
    fn new(full: Receiver<Piece>, empty: Sender<Piece>) -> Self {
        Self {
            full,
            empty,
            current: None,
            given: 0,
            ended: false,
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.ended {
                return Ok(0);
            }
            if let Some(piece) = &self.current
                && self.given < piece.length
            {
                let rest = &piece.data[self.given..piece.length];
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                self.given += length;
                return Ok(length);
            }
            if let Some(piece) = self.current.take() {
                let _ = self.empty.send(piece); // the other thread may be done
            }
            // A stream that broke off must not look like one that ended.
            let next = self.full.recv().map_err(io::Error::other)?;
            self.given = 0;
            self.ended = next.length == 0;
            self.current = Some(next);
        }
    }
}

/// What is in a tarball.
fn inside(reader: impl Read + Send, limits: &Limits) -> Inside {
    let mut members = Members::default();
    let examined =
        decoder(reader).and_then(|tar| examine(tar, limits, &mut |entry| members.add(entry)));
    match examined {
        Ok(examined) => Inside::Whole {
            entries: examined.entries,
            bytes: examined.bytes,
            directories: members.directories(),
            wrong: members.finish(),
        },
        Err(error) => Inside::Broken(error.to_string()),
    }
}
