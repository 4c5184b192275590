//! A tar stream as its members: extension headers applied, contents bounded, the end insisted on.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::header::{self, BLOCK, Block, Header};
use super::pax::{self, Extension, Time};
use super::{ArchiveError, Limits};

/// Bytes of one extended header that are read at most; real ones stay below a few thousand.
const EXTENSION_LIMIT: u64 = 1 << 20;
/// Extension headers that a member can have: a pax header, or GNU's for its name and its link.
const HEADERS_EACH: u64 = 2;
/// Bytes of zeros after the end that are read at most; tape blocking gives a few thousand.
const PADDING_LIMIT: u64 = 64 << 20;
const BUFFER: usize = 256 << 10;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// One more name of a file that came before.
    HardLink,
    /// A device node or a named pipe.
    Special,
}

/// One member of an archive; its content, if it is a file, is read from [`Members::data`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// The name as it lies in the archive: any bytes but NUL.
    pub(super) name: Vec<u8>,
    /// The target of a link.
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) size: u64,
    /// Permission bits, setuid, setgid and sticky included.
    pub(super) mode: u32,
    pub(super) mtime: Time,
    /// Owner and group by number; `None` is what no system has.
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// What a special member is; a named pipe if it is no device.
    pub(super) device: Option<Device>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A device node: what it is, and its major and minor number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) block: bool,
    pub(super) number: (u32, u32),
}

/// Whether a stream may end without the two blocks of zeros that end an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It may not: what is cut between two members looks whole otherwise.
    Marked,
    /// It may, where a member could begin: whoever reads it knows its digest. Some image builders
    /// leave the mark out.
    Anywhere,
}

/// Reads members one after the other.
pub(super) struct Members<'a, R> {
    reader: R,
    limits: &'a Limits,
    end: End,
    buffer: Box<[u8]>,
    /// What of the buffer has been read and not yet given out.
    filled: std::ops::Range<usize>,
    /// Bytes given out: where in the archive we are.
    position: u64,
    /// Bytes of the current member's content still to be given out.
    content: u64,
    /// Zeros after the current member's content.
    padding: u64,
    global: Extension,
    entries: u64,
    bytes: u64,
    /// Extension headers, and bytes in them: they are not to be without end either.
    headers: u64,
    header_bytes: u64,
}

impl<'a, R: Read> Members<'a, R> {
    pub(super) fn new(reader: R, limits: &'a Limits, end: End) -> Self {
        Self {
            reader,
            limits,
            end,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            filled: 0..0,
            position: 0,
            content: 0,
            padding: 0,
            global: Extension::default(),
            entries: 0,
            bytes: 0,
            headers: 0,
            header_bytes: 0,
        }
    }

    /// Members given so far.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes of content in the members given so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next member, or `None` once the archive has ended properly. What is left of the
    /// member before is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        let mut extension = None;
        let mut long_name = None;
        let mut long_link = None;
        loop {
            self.skip_rest()?;
            let at = self.position;
            let malformed = |why| ArchiveError::Malformed { at, why };
            let header = if self.end == End::Anywhere && self.at_end()? {
                None
            } else {
                header::parse(&self.block()?).map_err(malformed)?
            };
            let Some(header) = header else {
                if extension.is_some() || long_name.is_some() || long_link.is_some() {
                    return Err(malformed("an extension header describes no member"));
                }
                return self.end().map(|()| None);
            };
            match header.flag {
                b'x' => {
                    let found = pax::parse(&self.extension(&header)?).map_err(malformed)?;
                    put(&mut extension, found).map_err(malformed)?;
                }
                b'g' => {
                    let found = pax::parse(&self.extension(&header)?).map_err(malformed)?;
                    // Applied to every member that follows, these could only mislead.
                    if found.path.is_some() || found.link.is_some() || found.size.is_some() {
                        return Err(malformed("a global header gives a path or a size"));
                    }
                    self.global = found;
                }
                b'L' => put(&mut long_name, self.long(&header)?).map_err(malformed)?,
                b'K' => put(&mut long_link, self.long(&header)?).map_err(malformed)?,
                _ => {
                    let gnu = long_name.is_some() || long_link.is_some();
                    if gnu && extension.is_some() {
                        return Err(malformed("it has pax and GNU extension headers at once"));
                    }
                    let mut extension = extension.unwrap_or_default();
                    extension.path = extension.path.or(long_name);
                    extension.link = extension.link.or(long_link);
                    extension.mtime = extension.mtime.or(self.global.mtime);
                    extension.uid = extension.uid.or(self.global.uid);
                    extension.gid = extension.gid.or(self.global.gid);
                    let member = member(header, extension).map_err(malformed)?;
                    self.count(&member)?;
                    return Ok(Some(member));
                }
            }
        }
    }

    /// The next piece of the current member's content, empty at its end.
    pub(super) fn data(&mut self) -> Result<&[u8], ArchiveError> {
        self.data_within(usize::MAX)
    }

    /// The same, of at most so many bytes.
    pub(super) fn data_within(&mut self, limit: usize) -> Result<&[u8], ArchiveError> {
        if self.content == 0 {
            return Ok(&[]);
        }
        if self.filled.is_empty() {
            self.fill()?;
        }
        let most = usize::try_from(self.content).unwrap_or(usize::MAX);
        let length = most.min(self.filled.len()).min(limit);
        self.content -= length as u64;
        let start = self.take(length);
        Ok(&self.buffer[start..start + length])
    }

    fn count(&mut self, member: &Member) -> Result<(), ArchiveError> {
        let limit = |what, limit| ArchiveError::Limit { what, limit };
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(limit("members", self.limits.entries));
        }
        self.bytes = self.bytes.saturating_add(member.size);
        if self.bytes.saturating_add(self.header_bytes) > self.limits.bytes {
            return Err(limit("bytes unpacked", self.limits.bytes));
        }
        self.content = member.size;
        self.padding = padding(member.size);
        Ok(())
    }

    /// The content of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        let limit = |what, limit| Err(ArchiveError::Limit { what, limit });
        if header.size > EXTENSION_LIMIT {
            return limit("bytes in an extension header", EXTENSION_LIMIT);
        }
        self.headers += 1;
        if self.headers > self.limits.entries.saturating_mul(HEADERS_EACH) {
            return limit("extension headers", self.limits.entries);
        }
        self.header_bytes += header.size;
        if self.bytes.saturating_add(self.header_bytes) > self.limits.bytes {
            return limit("bytes unpacked", self.limits.bytes);
        }
        self.content = header.size;
        self.padding = padding(header.size);
        let mut data = Vec::new();
        loop {
            let piece = self.data()?;
            if piece.is_empty() {
                return Ok(data);
            }
            data.extend_from_slice(piece);
        }
    }

    /// A GNU long name: ended by one NUL, or by its size.
    fn long(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        let at = self.position;
        let mut name = self.extension(header)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        if name.is_empty() || name.contains(&0) {
            let why = "a long name is empty or holds a NUL";
            return Err(ArchiveError::Malformed { at, why });
        }
        Ok(name)
    }

    fn skip_rest(&mut self) -> Result<(), ArchiveError> {
        while !self.data()?.is_empty() {}
        self.content = std::mem::take(&mut self.padding);
        while !self.data()?.is_empty() {}
        Ok(())
    }

    /// Whether the stream has ended here.
    fn at_end(&mut self) -> Result<bool, ArchiveError> {
        if self.filled.is_empty() {
            self.filled = 0..self.read(0)?;
        }
        Ok(self.filled.is_empty())
    }

    /// A second block of zeros must follow the first, and nothing but zeros after it: another
    /// reader could take what is there for members.
    fn end(&mut self) -> Result<(), ArchiveError> {
        let at = self.position;
        let malformed = |why| ArchiveError::Malformed { at, why };
        if self.end == End::Anywhere && self.at_end()? {
            return Ok(());
        }
        if header::parse(&self.block()?).map_err(malformed)?.is_some() {
            return Err(malformed("a member follows a block of zeros"));
        }
        let mut after = 0u64;
        loop {
            if self.buffer[self.filled.clone()]
                .iter()
                .any(|byte| *byte != 0)
            {
                return Err(malformed("something follows the end of the archive"));
            }
            after += self.filled.len() as u64;
            if after > PADDING_LIMIT {
                return Err(ArchiveError::Limit {
                    what: "bytes after the end",
                    limit: PADDING_LIMIT,
                });
            }
            self.filled = 0..self.read(0)?;
            if self.filled.is_empty() {
                return Ok(());
            }
        }
    }

    fn block(&mut self) -> Result<Block, ArchiveError> {
        if self.filled.len() < BLOCK {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
            while self.filled.len() < BLOCK {
                self.fill()?;
            }
        }
        let start = self.take(BLOCK);
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.buffer[start..start + BLOCK]);
        Ok(block)
    }

    /// Gives out bytes of the buffer: where they begin.
    fn take(&mut self, length: usize) -> usize {
        let start = self.filled.start;
        self.filled.start += length;
        self.position += length as u64;
        start
    }

    /// Reads more, behind what is there; the end of the stream is premature here.
    fn fill(&mut self) -> Result<(), ArchiveError> {
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
        let read = self.read(self.filled.end)?;
        if read == 0 {
            return Err(ArchiveError::Truncated { at: self.position });
        }
        self.filled.end += read;
        Ok(())
    }

    fn read(&mut self, at: usize) -> Result<usize, ArchiveError> {
        loop {
            match self.reader.read(&mut self.buffer[at..]) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::read(error)),
            }
        }
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn put<T>(slot: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("it has two extension headers of one kind"),
    }
}

/// Joins a header and its extensions. Pure; where two readers would see two different things,
/// nobody gets either.
fn member(header: Header, extension: Extension) -> Result<Member, &'static str> {
    let Header {
        name,
        link,
        flag,
        size,
        mode,
        mtime,
        uid,
        gid,
        device,
    } = header;
    // The field takes 11 octal digits; only a larger size may be absent from it.
    if let Some(pax) = extension.size
        && pax != size
        && pax < 1 << 33
    {
        return Err("its pax header and its header give different sizes");
    }
    let size = extension.size.unwrap_or(size);
    let name = extension.path.unwrap_or(name);
    let link = extension.link.unwrap_or(link);
    // Some readers leave such a member out, others list it: nothing has no name.
    if name.is_empty() {
        return Err("its name is empty");
    }
    let kind = match flag {
        // Before POSIX, a directory was a file whose name ended in a slash, and some write so yet.
        b'0' | 0 if name.ends_with(b"/") => Kind::Directory,
        b'7' if name.ends_with(b"/") => return Err("it is a file that is named like a directory"),
        b'0' | 0 | b'7' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' | b'4' | b'6' => Kind::Special,
        b'5' => Kind::Directory,
        b'S' => return Err("it is a sparse file"),
        _ => return Err("it is of an unknown type"),
    };
    if kind != Kind::File && size != 0 {
        return Err("it is no file but has content");
    }
    if matches!(kind, Kind::Symlink | Kind::HardLink) && link.is_empty() {
        return Err("it is a link to nothing");
    }
    let device = match (flag, device) {
        (b'3' | b'4', Some(number)) => Some(Device {
            block: flag == b'4',
            number,
        }),
        (b'3' | b'4', None) => return Err("its device number is not a number"),
        _ => None,
    };
    Ok(Member {
        name,
        link,
        kind,
        size,
        mode,
        mtime: extension.mtime.unwrap_or((mtime, 0)),
        uid: extension.uid.or(uid),
        gid: extension.gid.or(gid),
        device,
        xattrs: extension.xattrs,
    })
}
