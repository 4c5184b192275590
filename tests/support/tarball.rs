//! Archives built by hand, entry by entry: also those that no tool would write.

/// An archive with nothing in it yet.
pub(crate) fn tar() -> Tarball {
    Tarball::default()
}

/// A tar archive under construction: what a careful library would refuse to write, this writes.
#[derive(Default, Clone)]
pub(crate) struct Tarball(pub(crate) Vec<u8>);

/// One entry's fields, all of them free.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) flag: u8,
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) size: Option<u64>,
    pub(crate) data: &'a [u8],
    pub(crate) magic: &'a [u8; 8],
    pub(crate) owner: (u32, u32),
    pub(crate) device: (u32, u32),
    pub(crate) mtime: u64,
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            name: b"",
            flag: b'0',
            link: b"",
            mode: 0o644,
            size: None,
            data: b"",
            magic: b"ustar\x0000",
            owner: (0, 0),
            device: (0, 0),
            mtime: 0o14_371_573_400,
        }
    }
}

impl Tarball {
    pub(crate) fn entry(mut self, entry: &Entry<'_>) -> Self {
        let mut block = [0u8; 512];
        let put = |block: &mut [u8; 512], at: usize, bytes: &[u8]| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(&mut block, 0, entry.name);
        put(&mut block, 100, format!("{:07o}\0", entry.mode).as_bytes());
        let size = entry.size.unwrap_or(entry.data.len() as u64);
        put(&mut block, 124, format!("{size:011o}\0").as_bytes());
        let number = |value: u32| format!("{value:07o}\0");
        put(&mut block, 108, number(entry.owner.0).as_bytes());
        put(&mut block, 116, number(entry.owner.1).as_bytes());
        put(&mut block, 329, number(entry.device.0).as_bytes());
        put(&mut block, 337, number(entry.device.1).as_bytes());
        put(
            &mut block,
            136,
            format!("{:011o}\0", entry.mtime).as_bytes(),
        );
        block[156] = entry.flag;
        put(&mut block, 157, entry.link);
        put(&mut block, 257, entry.magic);
        let at = self.0.len();
        self.0.extend_from_slice(&block);
        self = self.seal(at);
        self.0.extend_from_slice(entry.data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Writes the checksum of the header at `at`.
    pub(crate) fn seal(mut self, at: usize) -> Self {
        let block = &mut self.0[at..at + 512];
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self
    }

    pub(crate) fn file(self, name: &str, data: &str) -> Self {
        self.entry(&Entry {
            name: name.as_bytes(),
            data: data.as_bytes(),
            ..Entry::default()
        })
    }

    pub(crate) fn other(self, flag: u8, name: &str, link: &str, mode: u32) -> Self {
        self.entry(&Entry {
            name: name.as_bytes(),
            flag,
            link: link.as_bytes(),
            mode,
            ..Entry::default()
        })
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.other(b'5', name, "", 0o755)
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.other(b'2', name, target, 0o777)
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.other(b'1', name, target, 0o644)
    }

    pub(crate) fn extension(self, flag: u8, data: &[u8]) -> Self {
        self.entry(&Entry {
            name: b"extension",
            flag,
            data,
            ..Entry::default()
        })
    }

    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        use std::fmt::Write as _;
        let mut data = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest + 1..rest + 6)
                .find(|length| length - rest == length.to_string().len())
                .expect("a record has a length");
            writeln!(data, "{length} {key}={value}").expect("memory");
        }
        self.extension(b'x', data.as_bytes())
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}
