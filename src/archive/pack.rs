//! Packing: a tree becomes a compressed tar archive, the same bytes wherever and whenever.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::Path;
use std::thread::Scope;

use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use zstd::zstd_safe::CParameter;

use super::ArchiveError;
use super::codec::Codec;
use super::format::headers;
use super::gzip::Gzip;
use super::header::BLOCK;
use super::tree::Tree;
use super::walk::{self, FileId, Item, What};
use crate::model::{Hasher, Sha256};
use crate::sys::interrupt::Interrupt;

/// zstd's highest level that needs no special memory to unpack.
const ZSTD_LEVEL: i32 = 19;
/// Bytes that one thread of zstd compresses at once: part of the format, as with gzip.
const ZSTD_JOB: u32 = 16 << 20;
/// How much of what comes before such a piece can be referred to: a quarter of the window of 8 MiB.
/// All of it, as this level would have it, takes a fifth longer and makes archives 0.2 % smaller.
const ZSTD_OVERLAP: u32 = 7;
const XZ_LEVEL: u32 = 6;
/// Bytes in a block of xz, which one thread compresses: part of the format.
const XZ_BLOCK: u64 = 16 << 20;

/// How to pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pack {
    /// What to compress with.
    pub codec: Codec,
    /// Seconds since 1970: no member is newer.
    pub epoch: i64,
    /// Threads that compress. The bytes do not depend on it.
    pub threads: usize,
}

/// What was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// The archive's digest.
    pub digest: Sha256,
    /// The archive's size in bytes.
    pub size: u64,
    /// Bytes of all files together.
    pub unpacked: u64,
    /// Members.
    pub entries: u64,
}

/// Packs what is in `tree` (not the directory itself) to where `out` stands. Members are sorted
/// by their paths' bytes and belong to uid and gid 0; modes are 0755 for directories and what
/// anyone may execute, else 0644; times are whole seconds, at most the epoch. Device nodes, pipes
/// and sockets are an error. The output is not synced.
pub fn pack(
    tree: &Path,
    how: &Pack,
    out: &mut File,
    interrupt: &Interrupt,
) -> Result<Packed, ArchiveError> {
    let Pack {
        codec,
        epoch,
        threads,
    } = how;
    let tree = walk::open(tree)?;
    let items = walk::walk(&tree)?;
    let output = Output {
        file: BufWriter::with_capacity(256 << 10, out),
        hasher: Hasher::new(),
        size: 0,
    };
    let (unpacked, output) = std::thread::scope(|scope| {
        let mut compressor =
            Compressor::new(*codec, output, *threads, scope).map_err(ArchiveError::Write)?;
        let unpacked = write_items(&tree, &items, *epoch, &mut compressor, interrupt)?;
        let output = compressor.finish().map_err(ArchiveError::Write)?;
        Ok::<_, ArchiveError>((unpacked, output))
    })?;
    let Output {
        mut file,
        hasher,
        size,
    } = output;
    file.flush().map_err(ArchiveError::Write)?;
    Ok(Packed {
        digest: hasher.finish(),
        size,
        unpacked,
        entries: items.len() as u64,
    })
}

/// Writes the whole tar stream, and tells how many bytes of files are in it.
fn write_items(
    tree: &Tree,
    items: &[Item],
    epoch: i64,
    out: &mut impl Write,
    interrupt: &Interrupt,
) -> Result<u64, ArchiveError> {
    let mut buffer = vec![0; 256 << 10];
    let mut unpacked = 0;
    for item in items {
        interrupt.check()?;
        out.write_all(&headers(item, epoch))
            .map_err(ArchiveError::Write)?;
        if let What::File { size, id, .. } = item.what {
            write_file(tree, &item.path, size, id, &mut buffer, out, interrupt)?;
            unpacked += size;
        }
    }
    out.write_all(&[0; 2 * BLOCK])
        .map_err(ArchiveError::Write)?;
    Ok(unpacked)
}

fn write_file(
    tree: &Tree,
    path: &[u8],
    size: u64,
    id: FileId,
    buffer: &mut [u8],
    out: &mut impl Write,
    interrupt: &Interrupt,
) -> Result<(), ArchiveError> {
    let changed = || ArchiveError::Changed {
        path: tree.path(path),
    };
    // A pipe that has taken the file's place would be waited for.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = tree
        .resolve(path, flags)
        .map_err(tree.error("open", path))?;
    let stat = fstat(&fd).map_err(tree.error("fstat", path))?;
    if walk::id(&stat) != id {
        return Err(changed());
    }
    let mut file = File::from(fd);
    let mut left = size;
    loop {
        interrupt.check()?;
        let read = match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(tree.error("read", path))?,
        };
        if read == 0 {
            break;
        }
        left = left.checked_sub(read as u64).ok_or_else(changed)?;
        out.write_all(&buffer[..read])
            .map_err(ArchiveError::Write)?;
    }
    if left != 0 {
        return Err(changed());
    }
    let size = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    let padding = size.next_multiple_of(BLOCK) - size;
    out.write_all(&[0; BLOCK][..padding])
        .map_err(ArchiveError::Write)
}

/// Where compressed bytes go: hashed and counted on the way.
struct Output<'a> {
    file: BufWriter<&'a mut File>,
    hasher: Hasher,
    size: u64,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

enum Compressor<'a> {
    Gzip(Gzip<Output<'a>>),
    Xz(liblzma::write::XzEncoder<Output<'a>>),
    Zstd(zstd::stream::write::Encoder<'static, Output<'a>>),
}

impl<'a> Compressor<'a> {
    fn new<'scope>(
        codec: Codec,
        out: Output<'a>,
        threads: usize,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<Self> {
        let count = u32::try_from(threads.clamp(1, 64)).unwrap_or(1);
        Ok(match codec {
            Codec::Gzip => Self::Gzip(Gzip::new(out, threads, scope)?),
            Codec::Xz => {
                let stream = liblzma::stream::MtStreamBuilder::new()
                    .preset(XZ_LEVEL)
                    .block_size(XZ_BLOCK)
                    .check(liblzma::stream::Check::Crc64)
                    .threads(count)
                    .encoder()?;
                Self::Xz(liblzma::write::XzEncoder::new_stream(out, stream))
            }
            Codec::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                // One worker gives the bytes of many; none would give others.
                encoder.multithread(count)?;
                encoder.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
                encoder.set_parameter(CParameter::OverlapSizeLog(ZSTD_OVERLAP))?;
                Self::Zstd(encoder)
            }
        })
    }

    fn finish(self) -> io::Result<Output<'a>> {
        match self {
            Self::Gzip(gzip) => gzip.finish(),
            Self::Xz(xz) => xz.finish(),
            Self::Zstd(zstd) => zstd.finish(),
        }
    }
}

impl Write for Compressor<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Xz(xz) => xz.write(bytes),
            Self::Zstd(zstd) => zstd.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // a flush in the middle would change the bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_while_it_is_packed_is_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("file"), "four").expect("written");
        std::os::unix::fs::symlink("file", dir.path().join("link")).expect("symlink");
        let tree = walk::open(dir.path()).expect("a tree");
        let items = walk::walk(&tree).expect("readable");
        let What::File { size, id, .. } = items[0].what else {
            panic!("no file: {items:?}");
        };
        let interrupt = Interrupt::manual().expect("an eventfd");
        let write = |path: &[u8], size, id| {
            let (mut buffer, mut out) = ([0; 3], Vec::new());
            write_file(&tree, path, size, id, &mut buffer, &mut out, &interrupt).map(|()| out)
        };
        let whole = write(b"file", size, id).expect("as it was seen");
        assert_eq!(whole.len(), BLOCK);
        let other = (id.0, id.1 + 1);
        for (what, size, id) in [
            ("grew", size - 1, id),
            ("shrank", size + 1, id),
            ("was replaced", size, other),
        ] {
            let told = write(b"file", size, id);
            assert!(matches!(told, Err(ArchiveError::Changed { .. })), "{what}");
        }
        // Not even one with the same content.
        assert!(write(b"link", size, id).is_err());
    }
}
