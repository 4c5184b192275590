//! What an ELF file is made of beside what the loader needs: sections, symbols, who compiled it.
//!
//! The bytes are hostile, so what is read of them is bounded; a file that goes beyond is told of by
//! its digest alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

use crate::artifact::elf::Elf;
use crate::model::Sha256;

use super::text::{few, moved};

/// Bytes of sections that are hashed, for each byte of the file: sections may overlap.
const OVERLAP: u64 = 2;
/// Bytes of names that are kept.
const NAMES: usize = 32 << 20;
/// Bytes of one name.
const NAME: usize = 4096;
/// Sections of one file.
const SECTIONS: usize = 1 << 16;

/// What an ELF file is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Insides {
    /// What the loader sees.
    pub(super) loaded: Elf,
    /// `NT_GNU_BUILD_ID`, in hexadecimal.
    pub(super) build_id: Option<String>,
    /// By name, those of the same name together: bytes, and a digest of them.
    sections: BTreeMap<String, Section>,
    /// The names that others can use.
    exports: BTreeSet<String>,
    /// The names that it takes from others.
    imports: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Section {
    size: u64,
    digests: Vec<Sha256>,
}

/// Whether a content begins as an ELF file does.
pub(super) fn is_elf(start: &[u8]) -> bool {
    start.starts_with(b"\x7fELF")
}

impl Insides {
    /// Understands a file, or says why not.
    pub(super) fn parse(path: &Path, data: &[u8]) -> Result<Self, String> {
        let loaded = Elf::parse(path, data).map_err(|error| error.reason)?;
        let loaded = loaded.ok_or("it is no ELF file")?;
        let file = object::File::parse(data).map_err(|error| error.to_string())?;
        let build_id = file.build_id().ok().flatten();
        let build_id = build_id.map(|id| hex(&id[..id.len().min(64)]));
        let mut sections: BTreeMap<String, Section> = BTreeMap::new();
        let mut left = (data.len() as u64).saturating_mul(OVERLAP);
        let mut names = NAMES;
        for (n, section) in file.sections().enumerate() {
            let name = lossy(section.name_bytes().unwrap_or_default(), &mut names)?;
            if n == SECTIONS {
                return Err("it has more sections than any program".to_owned());
            }
            let bytes = match section.kind() {
                SectionKind::UninitializedData | SectionKind::UninitializedTls => &[],
                _ => section.data().map_err(|error| error.to_string())?,
            };
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or("its sections overlap")?;
            let known = sections.entry(name).or_default();
            known.size = known.size.saturating_add(section.size());
            known.digests.push(Sha256::of(bytes));
        }
        let (mut exports, mut imports) = (BTreeSet::new(), BTreeSet::new());
        for symbol in file.dynamic_symbols() {
            let name = symbol.name_bytes().unwrap_or_default();
            if name.is_empty() {
                continue;
            }
            let into = if symbol.is_undefined() {
                &mut imports
            } else {
                &mut exports
            };
            into.insert(lossy(name, &mut names)?);
        }
        Ok(Self {
            loaded,
            build_id,
            sections,
            exports,
            imports,
        })
    }

    /// In what two files differ, each a sentence.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let Self {
            loaded,
            build_id,
            sections,
            exports,
            imports,
        } = self;
        let Elf {
            path: _, // they are compared because they have one
            role,
            machine,
            interpreter,
            soname,
            needed,
            rpath,
            runpath,
            versions_needed: _, // the libraries' names and the glibc are told
            versions_defined,
            compilers,
        } = loaded;
        let mut told = Vec::new();
        if machine != &other.loaded.machine {
            told.push("is for another machine".to_owned());
        }
        if role != &other.loaded.role {
            told.push("is another kind of ELF file".to_owned());
        }
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        if *compilers != other.loaded.compilers {
            let (from, to) = (list(compilers), list(&other.loaded.compilers));
            told.push(format!("compiled by {}", moved(&from, &to)));
        }
        let texts = [
            ("interpreter", interpreter, &other.loaded.interpreter),
            ("soname", soname, &other.loaded.soname),
            ("build id", build_id, &other.build_id),
        ];
        for (what, from, to) in texts {
            if from != to {
                let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
                told.push(format!("{what} {}", moved(&or_none(from), &or_none(to))));
            }
        }
        for (what, from, to) in [
            ("rpath", rpath, &other.loaded.rpath),
            ("runpath", runpath, &other.loaded.runpath),
        ] {
            if from != to {
                told.push(format!("{what} {}", moved(&from.join(":"), &to.join(":"))));
            }
        }
        let floor = |elf: &Elf| {
            elf.glibc_floor()
                .map_or_else(String::new, |v| v.to_string())
        };
        let (from, to) = (floor(loaded), floor(&other.loaded));
        if from != to {
            told.push(format!("needs glibc {}", moved(&from, &to)));
        }
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        let (from, to) = (set(needed), set(&other.loaded.needed));
        for (what, from, to) in [
            (("library", "libraries"), &from, &to),
            (
                ("version", "versions"),
                versions_defined,
                &other.loaded.versions_defined,
            ),
            (("export", "exports"), exports, &other.exports),
            (("import", "imports"), imports, &other.imports),
        ] {
            told.extend(names(what, from, to));
        }
        if from == to && *needed != other.loaded.needed {
            told.push("needs its libraries in another order".to_owned());
        }
        told.extend(changed(sections, &other.sections));
        if told.is_empty() {
            told.push("differs outside of its sections".to_owned());
        }
        told
    }
}

/// What is among the one names and not among the other. `what` is one of them, and several.
fn names(what: (&str, &str), from: &BTreeSet<String>, to: &BTreeSet<String>) -> Vec<String> {
    let mut told = Vec::new();
    for (word, some, than) in [("fewer", from, to), ("more", to, from)] {
        let only: Vec<&str> = some.difference(than).map(String::as_str).collect();
        let what = if only.len() == 1 { what.0 } else { what.1 };
        if !only.is_empty() {
            told.push(format!("{} {what} {word}: {}", only.len(), few(&only)));
        }
    }
    told
}

/// Which sections differ, and how.
fn changed(from: &BTreeMap<String, Section>, to: &BTreeMap<String, Section>) -> Vec<String> {
    let all: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let mut sizes = Vec::new();
    let mut contents = Vec::new();
    for name in all {
        match (from.get(name), to.get(name)) {
            (Some(from), Some(to)) if from.size != to.size => {
                sizes.push(format!("{name} {} → {} bytes", from.size, to.size));
            }
            (Some(from), Some(to)) if from != to => contents.push(name.as_str()),
            (Some(_), None) => sizes.push(format!("{name} only in the first")),
            (None, Some(_)) => sizes.push(format!("{name} only in the second")),
            _ => {}
        }
    }
    let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
    let mut told = Vec::new();
    if !sizes.is_empty() {
        told.push(format!("sections: {}", few(&sizes)));
    }
    if !contents.is_empty() {
        told.push(format!("other bytes in {}", few(&contents)));
    }
    told
}

fn lossy(bytes: &[u8], left: &mut usize) -> Result<String, String> {
    let bytes = &bytes[..bytes.len().min(NAME)];
    *left = left
        .checked_sub(bytes.len())
        .ok_or("it has more names than any program")?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // into a String, which takes everything
        text
    })
}

#[cfg(test)]
mod tests;
