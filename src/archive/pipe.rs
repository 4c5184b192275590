//! A compressed stream, decompressed on one thread, hashed on another, read on a third.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use super::{ArchiveError, decoder};
use crate::model::{Hasher, Sha256};

/// Bytes handed over at once: enough that handing over costs nothing.
const PIECE: usize = 256 << 10;
/// Pieces that may wait for the next thread: whoever is quicker for a while gets ahead so far.
const AHEAD: usize = 8;

type Piece = Result<Vec<u8>, ArchiveError>;

/// Gives `work` the decompressed content of `blob`, and the digest of all of it. That digest means
/// something only if `work` has read to the end.
pub(super) fn hashed<T>(
    blob: impl Read + Send,
    work: impl FnOnce(&mut dyn Read) -> Result<T, ArchiveError>,
) -> Result<(T, Sha256), ArchiveError> {
    let (decoded, to_hash) = mpsc::sync_channel(AHEAD);
    let (hashed, to_read) = mpsc::sync_channel(AHEAD);
    let (used, free) = mpsc::channel();
    thread::scope(|scope| {
        let decode = scope.spawn(move || {
            if let Err(error) = decode(blob, &decoded, &free) {
                // Whoever reads has given up, if nobody takes it.
                let _ = decoded.send(Err(error));
            }
        });
        let hash = scope.spawn(move || hash(&to_hash, &hashed));
        let mut reader = Pieces {
            coming: to_read,
            used,
            piece: Vec::new(),
            read: 0,
        };
        let value = work(&mut reader);
        drop(reader); // the other threads end, also if not all was read
        // A scope that ends knows that they are done, but not that they are gone with all they had.
        let decode = decode.join();
        let digest = hash.join();
        let digest = digest.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        decode.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((value?, digest))
    })
}

/// Sends what the blob holds, until it ends or nobody wants more.
fn decode(
    blob: impl Read + Send,
    out: &SyncSender<Piece>,
    free: &Receiver<Vec<u8>>,
) -> Result<(), ArchiveError> {
    let mut decoded = decoder(blob)?;
    loop {
        let mut piece = free.try_recv().unwrap_or_else(|_| vec![0; PIECE]);
        piece.resize(PIECE, 0);
        let read = fill(&mut *decoded, &mut piece).map_err(ArchiveError::read)?;
        piece.truncate(read);
        if read == 0 || out.send(Ok(piece)).is_err() {
            return Ok(());
        }
    }
}

fn fill(reader: &mut dyn Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match reader.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn hash(pieces: &Receiver<Piece>, out: &SyncSender<Piece>) -> Sha256 {
    let mut hasher = Hasher::new();
    for piece in pieces {
        if let Ok(piece) = &piece {
            hasher.update(piece);
        }
        if out.send(piece).is_err() {
            break;
        }
    }
    hasher.finish()
}

/// The pieces as a stream.
struct Pieces {
    coming: Receiver<Piece>,
    used: Sender<Vec<u8>>,
    piece: Vec<u8>,
    read: usize,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.read == self.piece.len() {
            let Ok(piece) = self.coming.recv() else {
                return Ok(0);
            };
            let next = piece.map_err(io::Error::other)?;
            // If nobody takes it, nobody needs it.
            let _ = self.used.send(std::mem::replace(&mut self.piece, next));
            self.read = 0;
        }
        let length = buf.len().min(self.piece.len() - self.read);
        buf[..length].copy_from_slice(&self.piece[self.read..self.read + length]);
        self.read += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_is_what_was_compressed_and_so_is_the_digest() {
        let content: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
        let blob = zstd::encode_all(&content[..], 1).expect("memory");
        for blob in [&blob, &content] {
            let (read, digest) = hashed(&blob[..], |reader| {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).map_err(ArchiveError::read)?;
                Ok(all)
            })
            .expect("sound");
            assert!(read == content);
            assert_eq!(digest, Sha256::of(&content));
        }
    }

    #[test]
    fn whoever_gives_up_ends_all_of_it() {
        let endless = io::repeat(0);
        let result: Result<((), _), _> = hashed(endless, |reader| {
            reader
                .read_exact(&mut [0; 10])
                .map_err(ArchiveError::read)?;
            Err(ArchiveError::Compression("enough"))
        });
        assert!(matches!(result, Err(ArchiveError::Compression("enough"))));
    }

    #[test]
    fn what_cannot_be_decompressed_is_told_as_what_it_is() {
        let all = |reader: &mut dyn Read| {
            let copied = io::copy(reader, &mut io::sink());
            copied.map_err(ArchiveError::read)
        };
        let bzip2 = hashed(&b"BZh91AY"[..], all);
        assert!(matches!(bzip2, Err(ArchiveError::Compression("bzip2"))));
        let blob = zstd::encode_all(&vec![7; 100_000][..], 1).expect("memory");
        let cut = hashed(&blob[..blob.len() - 1], all);
        assert!(matches!(cut, Err(ArchiveError::Read(_))));
    }
}
