//! Packing: a tree becomes a compressed tar archive, the same bytes wherever and whenever.

use std::collections::BTreeMap;
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
use super::sizes::Sizes;
use super::tree::Tree;
use super::walk::{self, FileId, Item, What};
use crate::model::{Hasher, Sha256};
use crate::sys::interrupt::Interrupt;

/// zstd's highest level. 64 MiB, all of most runtimes, can be referred to: half of what `zstd -d` and
/// its kin take without being told. Each thread's pieces refer to all of it, too. It takes 300 MB for
/// each thread, a third of what the level would take by itself for next to nothing.
const ZSTD: Zstd = Zstd {
    level: 22,
    reach: Some(Reach {
        window: 26,
        chain: 26,
        hash: 23,
    }),
    job: 16 << 20,
    overlap: 9,
};
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The archive's digest.
    pub digest: Sha256,
    /// The archive's size in bytes.
    pub size: u64,
    /// Bytes of all files together.
    pub unpacked: u64,
    /// Members.
    pub entries: u64,
    /// Bytes of files by directory, see [`Sizes`].
    pub directories: BTreeMap<String, u64>,
}

/// Packs what is in `tree` (not the directory itself) to where `out` stands. Members are sorted:
/// directories, then what is of one kind together, by their paths' bytes. They belong to uid and
/// gid 0; modes are 0755 for directories and what anyone may execute, else 0644; times are whole
/// seconds, at most the epoch. Device nodes, pipes and sockets are an error. The output is not
/// synced.
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
    let (size, digest, unpacked) = {
        let compress = Compress {
            codec: Some(*codec),
            zstd: ZSTD,
            threads: *threads,
        };
        compressed(&compress, out, |out| {
            let items = items.iter().map(|item| (&tree, item));
            write_items(items, *epoch, out, &|_| {}, interrupt)
        })?
    };
    let mut sizes = Sizes::default();
    for item in &items {
        if let What::File { size, .. } = item.what {
            sizes.add(&item.path, size);
        }
    }
    Ok(Packed {
        digest,
        size,
        unpacked,
        entries: items.len() as u64,
        directories: sizes.largest(),
    })
}

/// How far zstd looks back: logarithms of the bytes that can be referred to, and of how many places
/// in them are remembered. What is far away is looked for, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub(super) window: u32,
    pub(super) chain: u32,
    pub(super) hash: u32,
}

/// How hard zstd tries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zstd {
    pub(super) level: i32,
    /// Where it is not what the level has.
    pub(super) reach: Option<Reach>,
    /// Bytes that one thread compresses at once: part of the format, as with gzip.
    pub(super) job: u32,
    /// How much of what comes before such a piece can be referred to: 9 is the whole window, each
    /// one less half of it.
    pub(super) overlap: u32,
}

/// How a stream is compressed.
pub(super) struct Compress {
    /// None leaves it as it is.
    pub(super) codec: Option<Codec>,
    pub(super) zstd: Zstd,
    /// The bytes do not depend on it.
    pub(super) threads: usize,
}

/// Compresses what `write` writes to where `out` stands: the size, the digest, and what `write`
/// gives.
pub(super) fn compressed<T>(
    how: &Compress,
    out: &mut File,
    write: impl FnOnce(&mut dyn Write) -> Result<T, ArchiveError>,
) -> Result<(u64, Sha256, T), ArchiveError> {
    let output = Output {
        file: BufWriter::with_capacity(256 << 10, out),
        hasher: Hasher::new(),
        size: 0,
    };
    let (given, output) = std::thread::scope(|scope| {
        let mut compressor = Compressor::new(how, output, scope).map_err(ArchiveError::Write)?;
        let given = write(&mut compressor)?;
        let output = compressor.finish().map_err(ArchiveError::Write)?;
        Ok::<_, ArchiveError>((given, output))
    })?;
    let Output {
        mut file,
        hasher,
        size,
    } = output;
    file.flush().map_err(ArchiveError::Write)?;
    Ok((size, hasher.finish(), given))
}

/// Writes the whole tar stream, each item with the tree that it is in, and tells how many bytes of
/// files are in it.
pub(super) fn write_items<'i>(
    items: impl Iterator<Item = (&'i Tree, &'i Item)>,
    epoch: i64,
    out: &mut (impl Write + ?Sized),
    progress: &dyn Fn(u64),
    interrupt: &Interrupt,
) -> Result<u64, ArchiveError> {
    let mut buffer = vec![0; 256 << 10];
    let mut unpacked = 0;
    for (tree, item) in items {
        interrupt.check()?;
        out.write_all(&headers(item, epoch))
            .map_err(ArchiveError::Write)?;
        if let What::File { size, id, .. } = item.what {
            write_file(tree, &item.path, size, id, &mut buffer, out, interrupt)?;
            unpacked += size;
            progress(size);
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
    out: &mut (impl Write + ?Sized),
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
    Plain(Output<'a>),
    Gzip(Gzip<Output<'a>>),
    Xz(liblzma::write::XzEncoder<Output<'a>>),
    Zstd(zstd::stream::write::Encoder<'static, Output<'a>>),
}

impl<'a> Compressor<'a> {
    fn new<'scope>(
        how: &Compress,
        out: Output<'a>,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<Self> {
        let Compress {
            codec,
            zstd,
            threads,
        } = *how;
        let count = u32::try_from(threads.clamp(1, 64)).unwrap_or(1);
        Ok(match codec {
            None => Self::Plain(out),
            Some(Codec::Gzip) => Self::Gzip(Gzip::new(out, threads, scope)?),
            Some(Codec::Xz) => {
                let stream = liblzma::stream::MtStreamBuilder::new()
                    .preset(XZ_LEVEL)
                    .block_size(XZ_BLOCK)
                    .check(liblzma::stream::Check::Crc64)
                    .threads(count)
                    .encoder()?;
                Self::Xz(liblzma::write::XzEncoder::new_stream(out, stream))
            }
            Some(Codec::Zstd) => {
                let Zstd {
                    level,
                    reach,
                    job,
                    overlap,
                } = zstd;
                let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
                encoder.include_checksum(true)?;
                // One worker gives the bytes of many; none would give others.
                encoder.multithread(count)?;
                if let Some(reach) = reach {
                    encoder.set_parameter(CParameter::WindowLog(reach.window))?;
                    encoder.set_parameter(CParameter::ChainLog(reach.chain))?;
                    encoder.set_parameter(CParameter::HashLog(reach.hash))?;
                    encoder.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
                }
                encoder.set_parameter(CParameter::JobSize(job))?;
                encoder.set_parameter(CParameter::OverlapSizeLog(overlap))?;
                Self::Zstd(encoder)
            }
        })
    }

    fn finish(self) -> io::Result<Output<'a>> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(gzip) => gzip.finish(),
            Self::Xz(xz) => xz.finish(),
            Self::Zstd(zstd) => zstd.finish(),
        }
    }
}

impl Write for Compressor<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
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
