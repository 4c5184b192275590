//! What an ELF file says about how it is to be loaded: needed libraries, search paths, versions.
//!
//! Read through the program headers alone, as ld.so(8) reads it: section headers are for linkers,
//! and a file can be without them. The bytes are hostile; what does not add up is an error.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use object::elf;
use object::endian::{Endian as _, Endianness};
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _, SectionHeader as _};

use super::tree::Tree;
use crate::model::{Arch, Version};
use crate::sys::fs::FsError;

/// Files larger than this are not looked into; a `CPython` with debug symbols has a tenth of it.
const SIZE_LIMIT: u64 = 1 << 29;
/// Strings and list entries that no honest file comes near.
const STRING_LIMIT: usize = 4096;
const ENTRY_LIMIT: usize = 1 << 16;
/// How many compilers a file may name, and how long such a name is.
const COMPILERS: usize = 64;
const COMPILER: usize = 256;

/// What an ELF file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The kernel starts it: it names an interpreter, or is of the fixed-address kind.
    Program,
    /// The loader maps it: a library or an extension module.
    Library,
    /// Neither runs: an object file, a core.
    Other,
}

/// Which machine code an ELF file holds, as far as the loader distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Machine {
    /// 64-bit class.
    pub wide: bool,
    /// Little-endian data.
    pub little: bool,
    /// `e_machine`.
    pub number: u16,
}

impl Machine {
    /// The machine of an architecture.
    pub fn of(arch: Arch) -> Self {
        let number = match arch {
            Arch::Amd64 => elf::EM_X86_64,
            Arch::Arm64 => elf::EM_AARCH64,
        };
        Self {
            wide: true,
            little: true,
            number: number.0,
        }
    }
}

/// A version of a library that a file was linked against (`VERNEED`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeededVersion {
    /// The library: `libc.so.6`.
    pub library: String,
    /// The version: `GLIBC_2.34`.
    pub version: String,
    /// Whether the loader goes on without it.
    pub weak: bool,
}

/// One ELF file. Texts that are not UTF-8 are kept with replacement characters: they name nothing
/// that could be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// Where it is: below the prefix, or in the run image.
    pub path: PathBuf,
    /// What it is.
    pub role: Role,
    /// For which machine.
    pub machine: Machine,
    /// The program's interpreter (`PT_INTERP`).
    pub interpreter: Option<String>,
    /// The name that others need it by (`DT_SONAME`).
    pub soname: Option<String>,
    /// What it needs (`DT_NEEDED`), in order.
    pub needed: Vec<String>,
    /// Where to look (`DT_RPATH`), unexpanded.
    pub rpath: Vec<String>,
    /// Where to look (`DT_RUNPATH`), unexpanded. Where there is one, the loader ignores `rpath`.
    pub runpath: Vec<String>,
    /// Which versions of its libraries it needs.
    pub versions_needed: Vec<NeededVersion>,
    /// Which versions it has (`VERDEF`).
    pub versions_defined: BTreeSet<String>,
    /// What compiled it, as it says itself (`.comment`).
    pub compilers: BTreeSet<String>,
}

/// An ELF file that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a sound ELF file: {reason}", path.display())]
pub struct ElfError {
    /// Which file.
    pub path: PathBuf,
    /// What does not add up.
    pub reason: String,
}

impl Elf {
    /// Understands the bytes of a file. `None` if they are not those of an ELF file at all.
    pub fn parse(path: &Path, data: &[u8]) -> Result<Option<Self>, ElfError> {
        if !is_elf(data) {
            return Ok(None);
        }
        let parsed = match data.get(4) {
            Some(1) => parse::<elf::FileHeader32<Endianness>>(path, data),
            Some(2) => parse::<elf::FileHeader64<Endianness>>(path, data),
            _ => Err("its class is neither 32 nor 64 bits".to_owned()),
        };
        parsed.map(Some).map_err(|reason| ElfError {
            path: path.to_owned(),
            reason,
        })
    }

    /// The newest glibc that it asks for by version, if it asks at all.
    pub fn glibc_floor(&self) -> Option<Version> {
        self.versions_needed
            .iter()
            .filter_map(|needed| glibc_version(&needed.version))
            .max()
    }
}

/// The glibc that has a symbol version: 2.34 for `GLIBC_2.34`.
fn glibc_version(version: &str) -> Option<Version> {
    match version.strip_prefix("GLIBC_")? {
        // Packed relative relocations are announced by this mark (glibc 2.36's NEWS).
        "ABI_DT_RELR" => "2.36".parse().ok(),
        number => number.parse().ok(),
    }
}

fn is_elf(data: &[u8]) -> bool {
    data.starts_with(b"\x7fELF")
}

/// Every ELF file below the prefix, by path, and what looks like one and is broken.
pub fn elves(tree: &Tree) -> Result<(Vec<Elf>, Vec<ElfError>), FsError> {
    let (mut sound, mut broken) = (Vec::new(), Vec::new());
    for (path, node) in tree.files() {
        // Unreadable ones are for the rules to report.
        if node.size < 16 || node.mode & 0o400 == 0 {
            continue;
        }
        let mut file = tree.open(path)?;
        let failed = |error: io::Error| FsError::new("read", &tree.path().join(path))(error);
        let mut magic = [0u8; 4];
        if let Err(error) = file.read_exact_at(&mut magic, 0) {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                continue;
            }
            return Err(failed(error));
        }
        if !is_elf(&magic) {
            continue;
        }
        let mut data = Vec::new();
        (&mut file)
            .take(SIZE_LIMIT + 1)
            .read_to_end(&mut data)
            .map_err(failed)?;
        let parsed = if data.len() as u64 > SIZE_LIMIT {
            Err(ElfError {
                path: path.to_owned(),
                reason: "it is too large to be looked into".to_owned(),
            })
        } else {
            Elf::parse(path, &data)
        };
        match parsed {
            Ok(elf) => sound.extend(elf),
            Err(error) => broken.push(error),
        }
    }
    Ok((sound, broken))
}

fn parse<H: FileHeader<Endian = Endianness>>(path: &Path, data: &[u8]) -> Result<Elf, String> {
    let say = |error: object::read::Error| error.to_string();
    let header = H::parse(data).map_err(say)?;
    let endian = header.endian().map_err(say)?;
    let segments = header.program_headers(endian, data).map_err(say)?;
    let machine = Machine {
        wide: header.is_type_64(),
        little: endian == Endianness::Little,
        number: header.e_machine(endian).0,
    };
    let mut interpreter = None;
    let mut dynamic = Dynamic::default();
    for segment in segments {
        if let Some(text) = segment.interpreter(endian, data).map_err(say)? {
            interpreter = Some(text_of(text)?);
        }
        if let Some(entries) = segment.dynamic(endian, data).map_err(say)? {
            for entry in entries {
                let tag = entry.d_tag(endian);
                if tag == elf::DT_NULL {
                    break;
                }
                dynamic.take(tag, entry.d_val(endian).into())?;
            }
        }
    }
    let role = match header.e_type(endian) {
        elf::ET_EXEC => Role::Program,
        elf::ET_DYN if interpreter.is_some() => Role::Program,
        elf::ET_DYN => Role::Library,
        _ => Role::Other,
    };
    let image = Loaded::<H> {
        data,
        endian,
        segments,
    };
    let strings = Strings(match dynamic.strings {
        Some(address) => {
            let all = image.from(address)?;
            let size = usize::try_from(dynamic.strings_size).unwrap_or(usize::MAX);
            all.get(..size).ok_or("its string table is cut off")?
        }
        None => &[],
    });
    let paths = |offsets: &[u64]| -> Result<Vec<String>, String> {
        let texts = offsets.iter().map(|offset| strings.at(*offset));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        Ok(texts
            .iter()
            .flat_map(|text| text.split(':'))
            .map(str::to_owned)
            .collect())
    };
    let needed = dynamic.needed.iter().map(|offset| strings.at(*offset));
    Ok(Elf {
        path: path.to_owned(),
        role,
        machine,
        interpreter,
        soname: dynamic.soname.map(|at| strings.at(at)).transpose()?,
        needed: needed.collect::<Result<_, _>>()?,
        rpath: paths(&dynamic.rpath)?,
        runpath: paths(&dynamic.runpath)?,
        versions_needed: versions_needed(&image, &strings, dynamic.verneed)?,
        versions_defined: versions_defined(&image, &strings, dynamic.verdef)?,
        compilers: compilers::<H>(header, endian, data),
    })
}

/// What `.comment` says. The one thing that is read through the section headers, which a file may
/// be without, or have in any state: it is a claim and nothing depends on it.
fn compilers<H: FileHeader<Endian = Endianness>>(
    header: &H,
    endian: Endianness,
    data: &[u8],
) -> BTreeSet<String> {
    let comment = || {
        let sections = header.sections(endian, data).ok()?;
        let (_, section) = sections.section_by_name(endian, b".comment")?;
        section.data(endian, data).ok()
    };
    let texts = comment().unwrap_or_default().split(|byte| *byte == 0);
    let texts = texts.filter(|text| !text.is_empty()).take(COMPILERS);
    let shown = |text: &[u8]| text.len() <= COMPILER && text.iter().all(|b| (32..127).contains(b));
    texts
        .filter(|text| shown(text))
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

/// What the dynamic section says, before addresses and offsets are looked up.
#[derive(Default)]
struct Dynamic {
    strings: Option<u64>,
    strings_size: u64,
    soname: Option<u64>,
    needed: Vec<u64>,
    rpath: Vec<u64>,
    runpath: Vec<u64>,
    verneed: Option<u64>,
    verdef: Option<u64>,
}

impl Dynamic {
    fn take(&mut self, tag: elf::DynamicTag, value: u64) -> Result<(), String> {
        match tag {
            elf::DT_STRTAB => self.strings = Some(value),
            elf::DT_STRSZ => self.strings_size = value,
            elf::DT_SONAME => self.soname = Some(value),
            elf::DT_NEEDED => self.needed.push(value),
            // Of several, the loader uses the last.
            elf::DT_RPATH => self.rpath = vec![value],
            elf::DT_RUNPATH => self.runpath = vec![value],
            elf::DT_VERNEED => self.verneed = Some(value),
            elf::DT_VERDEF => self.verdef = Some(value),
            _ => {}
        }
        if self.needed.len() > STRING_LIMIT {
            return Err("it needs more libraries than any program".to_owned());
        }
        Ok(())
    }
}

/// The file as the loader maps it.
struct Loaded<'a, H: FileHeader<Endian = Endianness>> {
    data: &'a [u8],
    endian: Endianness,
    segments: &'a [H::ProgramHeader],
}

impl<'a, H: FileHeader<Endian = Endianness>> Loaded<'a, H> {
    /// The bytes from an address to the end of what its segment has in the file.
    fn from(&self, address: u64) -> Result<&'a [u8], String> {
        for segment in self.segments {
            if segment.p_type(self.endian) != elf::PT_LOAD {
                continue;
            }
            let start: u64 = segment.p_vaddr(self.endian).into();
            let Some(inside) = address.checked_sub(start) else {
                continue;
            };
            let held = segment
                .data(self.endian, self.data)
                .map_err(|()| "a segment lies outside the file".to_owned())?;
            let inside = usize::try_from(inside).unwrap_or(usize::MAX);
            if let Some(bytes) = held.get(inside..).filter(|bytes| !bytes.is_empty()) {
                return Ok(bytes);
            }
        }
        Err(format!("its address {address:#x} is in no segment"))
    }

    fn half(&self, bytes: &[u8], at: usize) -> Result<u16, String> {
        let bytes = bytes.get(at..at + 2).and_then(|b| b.try_into().ok());
        Ok(self.endian.read_u16(bytes.ok_or(CUT_OFF)?))
    }

    fn word(&self, bytes: &[u8], at: usize) -> Result<u32, String> {
        let bytes = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        Ok(self.endian.read_u32(bytes.ok_or(CUT_OFF)?))
    }
}

const CUT_OFF: &str = "its version table is cut off";

/// The string table of the dynamic section.
struct Strings<'a>(&'a [u8]);

impl Strings<'_> {
    fn at(&self, offset: u64) -> Result<String, String> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.0.get(offset..);
        let rest = rest.ok_or("a name lies outside its string table")?;
        let end = rest.iter().position(|byte| *byte == 0);
        text_of(&rest[..end.ok_or("a name has no end")?])
    }
}

fn text_of(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > STRING_LIMIT {
        return Err("a name is longer than any path".to_owned());
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// Steps from one record of a chain to the next; `next` is relative, 0 at the end.
fn step(bytes: &[u8], next: u32) -> Result<Option<&[u8]>, String> {
    match next {
        0 => Ok(None),
        next => Ok(Some(bytes.get(next as usize..).ok_or(CUT_OFF)?)),
    }
}

/// `Elfxx_Verneed` and `Elfxx_Vernaux` (LSB core, "Symbol Versioning"): the same in both classes.
fn versions_needed<H: FileHeader<Endian = Endianness>>(
    image: &Loaded<'_, H>,
    strings: &Strings<'_>,
    table: Option<u64>,
) -> Result<Vec<NeededVersion>, String> {
    let mut found = Vec::new();
    let mut record = table.map(|address| image.from(address)).transpose()?;
    let mut seen = 0;
    while let Some(bytes) = record {
        let library = strings.at(image.word(bytes, 4)?.into())?;
        let mut aux = step(bytes, image.word(bytes, 8)?)?;
        while let Some(bytes) = aux {
            found.push(NeededVersion {
                library: library.clone(),
                version: strings.at(image.word(bytes, 8)?.into())?,
                weak: image.half(bytes, 4)? & elf::VER_FLG_WEAK.0 != 0,
            });
            bounded(&mut seen)?;
            aux = step(bytes, image.word(bytes, 12)?)?;
        }
        bounded(&mut seen)?;
        record = step(bytes, image.word(bytes, 12)?)?;
    }
    Ok(found)
}

/// `Elfxx_Verdef` and `Elfxx_Verdaux`: of each definition the first name is its own.
fn versions_defined<H: FileHeader<Endian = Endianness>>(
    image: &Loaded<'_, H>,
    strings: &Strings<'_>,
    table: Option<u64>,
) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    let mut record = table.map(|address| image.from(address)).transpose()?;
    let mut seen = 0;
    while let Some(bytes) = record {
        if let Some(aux) = step(bytes, image.word(bytes, 12)?)? {
            found.insert(strings.at(image.word(aux, 0)?.into())?);
        }
        bounded(&mut seen)?;
        record = step(bytes, image.word(bytes, 16)?)?;
    }
    Ok(found)
}

fn bounded(seen: &mut usize) -> Result<(), String> {
    *seen += 1;
    if *seen > ENTRY_LIMIT {
        return Err("its version table does not end".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
