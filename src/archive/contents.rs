//! Reading an archive's members one after the other, with what is in them, without unpacking it.

use std::io::{self, Read};

use super::examine::{Entry, entry};
use super::members::{End, Members};
use super::{ArchiveError, Limits};

/// Reads a (decompressed) tar archive to the very end of its stream and shows each member to
/// `each`, with its content to read as far as that is wanted. Fails where [`super::extract`] would
/// find the archive malformed, cut short, followed by something or too large.
pub fn contents<E: From<ArchiveError>>(
    reader: impl Read + Send,
    limits: &Limits,
    each: &mut dyn FnMut(&Entry<'_>, &mut (dyn Read + Send)) -> Result<(), E>,
) -> Result<(), E> {
    let mut members = Members::new(reader, limits, End::Marked);
    while let Some(member) = members.next()? {
        let mut content = Content {
            members: &mut members,
        };
        each(&entry(&member), &mut content)?;
    }
    Ok(())
}

/// What is in the current member.
struct Content<'m, 'a, R> {
    members: &'m mut Members<'a, R>,
}

impl<R: Read> Read for Content<'_, '_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let piece = self
            .members
            .data_within(buf.len())
            .map_err(io::Error::other)?;
        buf[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_of_a_member_does_not_matter_to_the_next() {
        let mut builder = tar::Builder::new(Vec::new());
        let names = ["a", "b", "c"];
        for (n, name) in names.iter().enumerate() {
            let content = name.repeat(1000 * (n + 1));
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, name, content.as_bytes())
                .expect("memory");
        }
        let archive = builder.into_inner().expect("memory");
        for wanted in [0, 1, 700, usize::MAX] {
            let mut seen = Vec::new();
            let mut each = |entry: &Entry<'_>, content: &mut (dyn Read + Send)| {
                let mut text = String::new();
                let length = content.take(wanted as u64).read_to_string(&mut text);
                let length = length.map_err(ArchiveError::Read)?;
                let name = String::from_utf8_lossy(entry.name).into_owned();
                assert!(text.chars().all(|c| name.starts_with(c)));
                assert_eq!(length as u64, entry.size.min(wanted as u64));
                seen.push(name);
                Ok::<(), ArchiveError>(())
            };
            contents(&archive[..], &Limits::default(), &mut each).expect("sound");
            assert_eq!(seen, names);
        }
        let cut = &archive[..archive.len() - 1500];
        let mut all = |_: &Entry<'_>, content: &mut (dyn Read + Send)| {
            io::copy(content, &mut io::sink()).map_err(ArchiveError::Read)?;
            Ok::<(), ArchiveError>(())
        };
        assert!(contents(cut, &Limits::default(), &mut all).is_err());
    }
}
