//! Compression formats: told apart by their first bytes, decoded within bounds of memory.

use std::io::{self, BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};

use super::ArchiveError;
use crate::sys::interrupt::Interrupt;

/// Memory that an xz decoder may ask for. `xz -9` needs 65 MiB; a header can claim 1.5 GiB.
const XZ_MEMORY: u64 = 256 << 20;
/// Logarithm of the window that a zstd decoder accepts: 128 MiB, what `zstd --long` writes.
const ZSTD_WINDOW: u32 = 27;
const BUFFER: usize = 128 << 10;

/// A compression format that archives are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// gzip (RFC 1952): read everywhere.
    Gzip,
    /// xz: small.
    Xz,
    /// Zstandard (RFC 8878): fast to unpack.
    Zstd,
}

impl Codec {
    /// What follows `.tar.` in a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Xz => "xz",
            Self::Zstd => "zst",
        }
    }
}

impl Codec {
    /// The format of a stream by its first six bytes; `None` if it is plain, or another's.
    pub fn of(start: &[u8]) -> Option<Self> {
        match magic(start) {
            Magic::Known(codec) => Some(codec),
            Magic::Plain | Magic::Unsupported(_) => None,
        }
    }
}

/// What the first bytes of a stream say.
#[derive(Debug, PartialEq, Eq)]
enum Magic {
    Known(Codec),
    Plain,
    Unsupported(&'static str),
}

fn magic(start: &[u8]) -> Magic {
    // lzma's has no magic number; these are its usual properties and a plausible dictionary size.
    let table: [(&[u8], Magic); 7] = [
        (b"\x1f\x8b", Magic::Known(Codec::Gzip)),
        (b"\xfd7zXZ\0", Magic::Known(Codec::Xz)),
        (b"\x28\xb5\x2f\xfd", Magic::Known(Codec::Zstd)),
        (b"BZh", Magic::Unsupported("bzip2")),
        (b"\x5d\0\0", Magic::Unsupported("lzma")),
        (b"LZIP", Magic::Unsupported("lzip")),
        (b"\x1f\x9d", Magic::Unsupported("compress")),
    ];
    table
        .into_iter()
        .find(|(bytes, _)| start.starts_with(bytes))
        .map_or(Magic::Plain, |(_, magic)| magic)
}

/// Decompresses a stream, whatever it is compressed with, or passes it through if it is not.
/// Several gzip members, xz streams or zstd frames count as one; garbage behind them is an error.
pub fn decoder<'a>(
    reader: impl Read + Send + 'a,
) -> Result<Box<dyn Read + Send + 'a>, ArchiveError> {
    let mut reader = Peeked::new(reader).map_err(ArchiveError::read)?;
    match magic(reader.fill_buf().map_err(ArchiveError::read)?) {
        Magic::Known(Codec::Gzip) => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader))),
        Magic::Known(Codec::Xz) => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)
                .map_err(|error| ArchiveError::Read(error.into()))?;
            Ok(Box::new(liblzma::bufread::XzDecoder::new_stream(
                reader, stream,
            )))
        }
        Magic::Known(Codec::Zstd) => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(reader).map_err(ArchiveError::Read)?;
            decoder
                .window_log_max(ZSTD_WINDOW)
                .map_err(ArchiveError::Read)?;
            Ok(Box::new(decoder))
        }
        Magic::Plain => Ok(Box::new(reader)),
        Magic::Unsupported(name) => Err(ArchiveError::Compression(name)),
    }
}

/// A buffered reader whose first bytes are sure to be there at once, short reads or not.
struct Peeked<R> {
    start: Vec<u8>,
    given: usize,
    rest: BufReader<R>,
}

impl<R: Read> Peeked<R> {
    fn new(reader: R) -> io::Result<Self> {
        let mut rest = BufReader::with_capacity(BUFFER, reader);
        let mut start = Vec::new();
        (&mut rest).take(6).read_to_end(&mut start)?;
        Ok(Self {
            start,
            given: 0,
            rest,
        })
    }
}

impl<R: Read> BufRead for Peeked<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &self.start[self.given..] {
            [] => self.rest.fill_buf(),
            start => Ok(start),
        }
    }

    fn consume(&mut self, amount: usize) {
        if self.given < self.start.len() {
            self.given += amount;
        } else {
            self.rest.consume(amount);
        }
    }
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}

/// A reader that fails once someone asked for the work to stop; the rooms' errors then say so.
pub fn interruptible<'a>(
    reader: impl Read + Send + 'a,
    interrupt: &'a Interrupt,
) -> impl Read + Send + 'a {
    struct Interruptible<'a, R>(R, &'a Interrupt);
    impl<R: Read> Read for Interruptible<'_, R> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.1.check().map_err(io::Error::other)?;
            self.0.read(buf)
        }
    }
    Interruptible(reader, interrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const TEXT: &[u8] = b"the same text, twice over; ";

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).expect("memory");
        encoder.finish().expect("memory")
    }

    fn xz(data: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(data).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zst(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 1).expect("memory")
    }

    fn decode(data: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let mut out = Vec::new();
        decoder(data)?
            .read_to_end(&mut out)
            .map_err(ArchiveError::read)?;
        Ok(out)
    }

    #[test]
    fn every_format_is_recognised_and_members_are_joined() {
        for encode in [gzip, xz, zst] {
            let one = encode(TEXT);
            assert_eq!(decode(&one).expect("sound"), TEXT);
            assert_eq!(
                decode(&one.repeat(2)).expect("sound"),
                TEXT.repeat(2),
                "two members"
            );
        }
        assert_eq!(Codec::of(&gzip(TEXT)), Some(Codec::Gzip));
        assert_eq!(Codec::of(&xz(TEXT)), Some(Codec::Xz));
        assert_eq!(Codec::of(&zst(TEXT)), Some(Codec::Zstd));
        assert_eq!((Codec::of(TEXT), Codec::of(b"BZh9")), (None, None));
        assert_eq!(decode(TEXT).expect("plain"), TEXT);
        assert_eq!(decode(b"").expect("plain"), b"");
    }

    #[test]
    fn garbage_after_and_cuts_are_errors() {
        for encode in [gzip, xz, zst] {
            let one = encode(TEXT);
            let mut longer = one.clone();
            longer.extend_from_slice(b"garbage!");
            assert!(decode(&longer).is_err(), "garbage");
            for length in 6..one.len() {
                assert!(decode(&one[..length]).is_err(), "cut at {length}");
            }
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (start, name) in [(&b"BZh91AY"[..], "bzip2"), (b"\x5d\0\0\x80\0", "lzma")] {
            match decoder(start).map(drop) {
                Err(ArchiveError::Compression(found)) => assert_eq!(found, name),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_window_or_a_dictionary_too_large_is_refused() {
        // A frame header that claims a window of 2 GiB (RFC 8878, 3.1.1.1.2).
        assert!(decode(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 1, 0, 0]).is_err());
        // The encoder would need gigabytes: the dictionary's size is patched into a small one's
        // header instead, where it is one byte of the LZMA2 filter's properties.
        let mut stream = xz(TEXT);
        let at = 12 + 4;
        assert_eq!(&stream[12 + 2..at], [0x21, 1], "LZMA2 with one byte");
        stream[at] = 39;
        let size = (usize::from(stream[12]) + 1) * 4;
        let mut crc = flate2::Crc::new();
        crc.update(&stream[12..12 + size - 4]);
        stream[12 + size - 4..12 + size].copy_from_slice(&crc.sum().to_le_bytes());
        let error = decode(&stream).expect_err("needs 3 GiB");
        assert!(error.to_string().contains("memory"), "{error}");
    }

    #[test]
    fn an_interrupt_ends_reading() {
        let interrupt = Interrupt::manual().expect("an eventfd");
        interrupt.raise(nix::sys::signal::Signal::SIGINT);
        let error = decoder(interruptible(TEXT, &interrupt)).map(drop);
        assert!(matches!(error, Err(ArchiveError::Interrupted(_))));
    }
}
