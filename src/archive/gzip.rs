//! gzip by several threads: one member whose bytes do not depend on how many they were.
//!
//! The input is cut into blocks of a fixed size. Each is deflated alone, with the end of the block
//! before as its dictionary, up to a byte boundary (RFC 1951's empty stored block), so that the
//! pieces put together are one deflate stream: what pigz does.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Bytes that a thread compresses at once. They are part of the format: another size gives other
/// bytes for the same input.
const BLOCK: usize = 1 << 20;
/// How far back deflate can refer.
const WINDOW: usize = 32 << 10;
/// 1.5 % larger than `pigz`'s default and 2.6 % than `gzip -9` on a `CPython` prefix, in 0.4 times
/// the former's time; the next lower level is 3.7 % larger. As fixed as the block size.
const LEVEL: u32 = 5;
/// No name, no time, "Unix" (RFC 1952).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// A block to compress: the dictionary, then the block.
struct Job {
    data: Vec<u8>,
    dictionary: usize,
    last: bool,
    reply: SyncSender<io::Result<Done>>,
}

struct Done {
    compressed: Vec<u8>,
    crc: Crc,
    /// The job's buffer, to be used again.
    buffer: Vec<u8>,
}

/// Compresses what is written to it; [`Gzip::finish`] must be called.
pub(super) struct Gzip<W> {
    out: W,
    jobs: Sender<Job>,
    /// The block that is being filled, behind its dictionary.
    data: Vec<u8>,
    dictionary: usize,
    pending: VecDeque<Receiver<io::Result<Done>>>,
    most_pending: usize,
    spare: Vec<Vec<u8>>,
    crc: Crc,
    length: u32,
}

impl<W: Write> Gzip<W> {
    /// Starts so many threads, which end when this is dropped or finished.
    pub(super) fn new<'scope>(
        mut out: W,
        threads: usize,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<Self> {
        let threads = threads.max(1);
        let (jobs, taken) = channel();
        let taken = Arc::new(Mutex::new(taken));
        for _ in 0..threads {
            let taken = Arc::clone(&taken);
            scope.spawn(move || work(&taken));
        }
        out.write_all(&HEADER)?;
        Ok(Self {
            out,
            jobs,
            data: Vec::with_capacity(WINDOW + BLOCK),
            dictionary: 0,
            pending: VecDeque::new(),
            most_pending: 2 * threads,
            spare: Vec::new(),
            crc: Crc::new(),
            length: 0,
        })
    }

    /// Writes what is still to be written.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.submit(true)?;
        while !self.pending.is_empty() {
            self.collect()?;
        }
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.length.to_le_bytes())?;
        Ok(self.out)
    }

    fn submit(&mut self, last: bool) -> io::Result<()> {
        if self.pending.len() >= self.most_pending {
            self.collect()?;
        }
        let mut next = self.spare.pop().unwrap_or_default();
        next.reserve(WINDOW + BLOCK);
        next.extend_from_slice(&self.data[self.data.len().saturating_sub(WINDOW)..]);
        let dictionary = std::mem::replace(&mut self.dictionary, next.len());
        let data = std::mem::replace(&mut self.data, next);
        // The format's length is modulo 2^32.
        #[allow(clippy::cast_possible_truncation)]
        let length = (data.len() - dictionary) as u32;
        self.length = self.length.wrapping_add(length);
        let (reply, receiver) = sync_channel(1);
        self.pending.push_back(receiver);
        let job = Job {
            data,
            dictionary,
            last,
            reply,
        };
        self.jobs.send(job).map_err(|_| gone())
    }

    /// Writes the oldest block, when it is done.
    fn collect(&mut self) -> io::Result<()> {
        let Some(receiver) = self.pending.pop_front() else {
            return Ok(());
        };
        let done = receiver.recv().map_err(|_| gone())??;
        self.out.write_all(&done.compressed)?;
        self.crc.combine(&done.crc);
        let mut buffer = done.buffer;
        buffer.clear();
        self.spare.push(buffer);
        Ok(())
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.dictionary + BLOCK - self.data.len();
        let taken = room.min(bytes.len());
        self.data.extend_from_slice(&bytes[..taken]);
        if taken == room {
            self.submit(false)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // what is flushed when would be part of the format
    }
}

fn gone() -> io::Error {
    io::Error::other("a compressing thread is gone")
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return;
        };
        let Job {
            data,
            dictionary,
            last,
            reply,
        } = job;
        let result = compress(data, dictionary, last);
        // Nobody waits for it if the writer has failed.
        let _ = reply.send(result);
    }
}

fn compress(data: Vec<u8>, dictionary: usize, last: bool) -> io::Result<Done> {
    // A fresh one for each block, all zeros. A reset one keeps the window's old bytes, and the
    // hash of a dictionary's last strings takes in one of those: bytes that would then depend on
    // which thread did what before.
    let mut deflate = Compress::new(Compression::new(LEVEL), false);
    let (before, block) = data.split_at(dictionary);
    if !before.is_empty() {
        deflate.set_dictionary(before)?;
    }
    let flush = if last {
        FlushCompress::Finish
    } else {
        FlushCompress::Sync
    };
    let mut compressed = Vec::with_capacity(block.len() + block.len() / 64 + 1024);
    let mut at = 0;
    loop {
        let before = deflate.total_in();
        let status = deflate.compress_vec(&block[at..], &mut compressed, flush)?;
        at += usize::try_from(deflate.total_in() - before).unwrap_or(usize::MAX);
        let room = compressed.len() < compressed.capacity();
        if at == block.len() && room && (!last || status == Status::StreamEnd) {
            break;
        }
        compressed.reserve(64 << 10);
    }
    let mut crc = Crc::new();
    crc.update(block);
    Ok(Done {
        compressed,
        crc,
        buffer: data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn gzip(data: &[u8], threads: usize, piece: usize) -> Vec<u8> {
        std::thread::scope(|scope| {
            let mut gzip = Gzip::new(Vec::new(), threads, scope).expect("memory");
            for piece in data.chunks(piece.max(data.len() / 1000)) {
                gzip.write_all(piece).expect("memory");
            }
            gzip.finish().expect("memory")
        })
    }

    /// Program code, which has matches of every length and distance: this test itself.
    fn program() -> Vec<u8> {
        let path = std::env::current_exe().expect("this program");
        let mut file = std::fs::File::open(path).expect("open");
        let mut code = Vec::new();
        (&mut file)
            .take(12 * BLOCK as u64)
            .read_to_end(&mut code)
            .expect("read");
        assert!(code.len() > 3 * BLOCK, "several blocks");
        code
    }

    /// The compressing library takes other instructions on other processors, and may make other
    /// choices in another version. Artifacts are compared by their bytes, so if this fails the
    /// build revision must be raised.
    #[test]
    fn the_bytes_are_the_same_on_every_processor_and_with_every_version() {
        // Words of a small vocabulary, so that there are matches near and far.
        let mut state = 0x2545_f491u32;
        let mut text = Vec::new();
        while text.len() < 2 * BLOCK + 12_345 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let word = (state >> 8) % 5_000;
            text.extend_from_slice(&word.wrapping_mul(2_654_435_761).to_le_bytes());
            text.extend_from_slice(&vec![b'a'; (state >> 28) as usize]);
        }
        let packed = gzip(&text, 2, 65_536);
        let digest = crate::model::Sha256::of(&packed).to_string();
        let pinned = "f1fdb708578e15e2579ced19f6ed4d63f5a9c7c52cff9a672fbad6edc9c0a8f8";
        assert_eq!((packed.len(), &*digest), (803_389, pinned));
    }

    #[test]
    fn one_member_whatever_the_threads_and_the_pieces() {
        let code = program();
        let noise: Vec<u8> = code
            .iter()
            .scan(0u8, |last, byte| {
                *last = last.wrapping_mul(167).wrapping_add(*byte);
                Some(*last)
            })
            .collect();
        let two = 2 * BLOCK;
        for data in [&code[..], &noise[..=two], &code[..two], b"x", b""] {
            let one = gzip(data, 1, 70_000);
            // Not `assert_eq`, which would print them.
            assert!(one == gzip(data, 2, 1_234_567), "two threads");
            assert!(one == gzip(data, 5, 1), "five threads, small pieces");
            let mut back = Vec::new();
            // Not the decoder of many members: it must be one.
            flate2::bufread::GzDecoder::new(&one[..])
                .read_to_end(&mut back)
                .expect("sound, and of the right length and checksum");
            assert!(back == data, "the same content");
        }
    }
}
