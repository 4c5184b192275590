//! What software a tarball holds, as far as its files alone tell.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Serialize;

use super::elf::{Insides, is_elf};
use super::inventory::{Eye, Inventory, What};
use crate::archive::shown;
use crate::artifact::contents::{COMPONENTS, Component, LIST, is_licence};
use crate::artifact::elf::Machine;
use crate::model::{Arch, Version, defined};

/// Headers that say a version, by the end of their path: of what, and the macro.
const HEADERS: [(&[u8], &str, &str); 2] = [
    (b"/patchlevel.h", "CPython", "PY_VERSION"),
    (b"include/sqlite3.h", "SQLite", "SQLITE_VERSION"),
];
/// Bytes of such a header.
const HEADER: u64 = 2 << 20;
/// Names of one kind that are kept: a hostile tarball may have any number.
const MANY: usize = 10_000;

/// What was found. Paths are relative to the prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Software {
    /// Versions that headers say: of what, and which.
    pub versions: BTreeSet<(String, String)>,
    /// The machines that its ELF files are for.
    pub machines: BTreeSet<String>,
    /// What compiled its ELF files, as they say.
    pub compilers: BTreeSet<String>,
    /// How many ELF files there are.
    pub elf_files: usize,
    /// The oldest glibc that all of them run with.
    pub glibc_floor: Option<Version>,
    /// Libraries that they need and that it does not hold.
    pub libraries: BTreeSet<String>,
    /// Python's extension modules.
    pub extensions: BTreeSet<String>,
    /// What it says of the software inside.
    pub components: Vec<Component>,
    /// Texts of licences.
    pub licences: BTreeSet<String>,
    /// ELF files that cannot be looked into, and why.
    pub unsound: BTreeMap<String, String>,
    #[serde(skip)]
    needed: BTreeSet<String>,
    #[serde(skip)]
    named: BTreeSet<String>,
}

impl Software {
    /// To be called when all was seen.
    pub fn finish(&mut self, inside: &Inventory) {
        for (path, member) in &inside.members {
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
            let shown = shown(path);
            if is_licence(path) && matches!(member.what, What::File { .. }) {
                keep(&mut self.licences, shown.clone());
            }
            if memchr::memmem::find(path, b"/lib-dynload/").is_some() && name.ends_with(b".so") {
                let end = name.iter().position(|byte| *byte == b'.');
                let module = &name[..end.unwrap_or(name.len())];
                // 2.7 calls them `name` or `namemodule`.
                let module = module.strip_suffix(b"module").unwrap_or(module);
                let module = String::from_utf8_lossy(module).into_owned();
                keep(&mut self.extensions, module);
            }
            if memchr::memmem::find(name, b".so").is_some() {
                keep(&mut self.named, String::from_utf8_lossy(name).into_owned());
            }
        }
        self.libraries = self.needed.difference(&self.named).cloned().collect();
    }

    fn header(&mut self, path: &[u8], content: &[u8]) {
        let text = String::from_utf8_lossy(content);
        for (end, what, macro_name) in HEADERS {
            let version = defined(&text, macro_name).filter(|_| path.ends_with(end));
            if let Some(version) = version
                && self.versions.len() < MANY
            {
                self.versions.insert((what.to_owned(), version));
            }
        }
    }

    fn elf(&mut self, path: &[u8], content: &[u8]) {
        self.elf_files += 1;
        let insides = match Insides::parse(Path::new(OsStr::from_bytes(path)), content) {
            Ok(insides) => insides,
            Err(why) => {
                if self.unsound.len() < MANY {
                    self.unsound.insert(shown(path), why);
                }
                return;
            }
        };
        let elf = insides.loaded;
        keep(&mut self.machines, machine(elf.machine));
        for compiler in &elf.compilers {
            keep(&mut self.compilers, compiler.clone());
        }
        self.glibc_floor = self.glibc_floor.take().max(elf.glibc_floor());
        for needed in elf.needed {
            keep(&mut self.needed, needed);
        }
        if let Some(soname) = elf.soname {
            keep(&mut self.named, soname);
        }
    }
}

fn keep(names: &mut BTreeSet<String>, name: String) {
    if names.len() < MANY {
        names.insert(name);
    }
}

fn machine(machine: Machine) -> String {
    let known = [Arch::Amd64, Arch::Arm64];
    let known = known.iter().find(|arch| Machine::of(**arch) == machine);
    known.map_or_else(
        || format!("ELF machine {}", machine.number),
        ToString::to_string,
    )
}

impl Eye for Software {
    fn wants(&mut self, path: &[u8], size: u64, start: &[u8]) -> bool {
        let is_header = HEADERS.iter().any(|(end, ..)| path.ends_with(end));
        let is_list = path == COMPONENTS.as_bytes() && size <= LIST;
        is_elf(start) || (is_header && size <= HEADER) || is_list
    }

    fn take(&mut self, path: &[u8], content: Vec<u8>) {
        if is_elf(&content) {
            self.elf(path, &content);
        } else if path == COMPONENTS.as_bytes() {
            // One that is none says nothing.
            self.components = Component::list(&content).unwrap_or_default();
        } else {
            self.header(path, &content);
        }
    }
}

#[cfg(test)]
mod tests;
