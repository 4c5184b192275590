//! Whether a tarball may be unpacked without a second thought: rules over its members, collected.
//!
//! `archive::extract` would refuse some of this and make harmless of the rest; others who unpack
//! it would not. So nothing is left to the unpacker here.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use crate::archive::{Entry, EntryKind, Sizes, shown};
use crate::artifact::rules::{Place, place_in};
use crate::artifact::tree::Kind;

/// What is wrong is told one by one up to so many times for each tarball.
const TOLD: usize = 20;
/// Bytes of names that are kept of one tarball: ten times what the largest known one has.
const NAMES: usize = 64 << 20;
/// What a name costs beside its bytes.
const OVERHEAD: usize = 128;

/// What is wrong with the members of a tarball.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unsafe {
    /// The first few, each a sentence.
    pub told: Vec<String>,
    /// How many there are.
    pub count: usize,
}

impl Unsafe {
    fn tell(&mut self, name: &[u8], what: &str) {
        self.count += 1;
        if self.told.len() < TOLD {
            self.told.push(format!("`{}`: {what}", shown(name)));
        }
    }
}

/// The members that were seen so far.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// By path, without a slash too many, so that equal paths are equal bytes.
    nodes: HashMap<Vec<u8>, Node>,
    kept: usize,
    sizes: Sizes,
    full: bool,
    wrong: Unsafe,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    /// A directory that no member names, only what is below it.
    implied: bool,
}

impl Members {
    /// Takes in the next one.
    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        let path = match &entry.path {
            Ok(path) => path,
            Err(why) => return self.wrong.tell(entry.name, why),
        };
        if entry.name.iter().any(u8::is_ascii_control) {
            let what = "its name has a control character";
            self.wrong.tell(entry.name, what);
        }
        if entry.kind != EntryKind::Symlink {
            if entry.mode & 0o6000 != 0 {
                let what = format!("it is setuid or setgid (mode {:04o})", entry.mode);
                self.wrong.tell(entry.name, &what);
            }
            if entry.mode & 0o002 != 0 {
                let what = format!("anybody may write to it (mode {:04o})", entry.mode);
                self.wrong.tell(entry.name, &what);
            }
        }
        let kind = match entry.kind {
            EntryKind::File => {
                self.sizes.add(path, entry.size);
                Kind::File
            }
            EntryKind::Directory => Kind::Directory,
            EntryKind::Symlink => Kind::Link(OsStr::from_bytes(entry.link).to_owned()),
            EntryKind::HardLink => {
                self.hard_link(entry);
                Kind::File
            }
            EntryKind::Special => {
                let what = "it is a device node or a pipe";
                self.wrong.tell(entry.name, what);
                Kind::Device
            }
        };
        if path.is_empty() && kind == Kind::Directory {
            return; // the root itself, as `tar -C prefix .` writes it
        }
        self.insert(entry.name, path, kind);
    }

    fn hard_link(&mut self, entry: &Entry<'_>) {
        let what = match &entry.target {
            Err(_) => "it is a hard link to somewhere outside",
            Ok(target) => match self.nodes.get(target) {
                Some(node) if node.kind == Kind::File => return,
                Some(_) => "it is a hard link to something that is no file",
                None => "it is a hard link to nothing that came before it",
            },
        };
        self.wrong.tell(entry.name, what);
    }

    fn insert(&mut self, name: &[u8], path: &[u8], kind: Kind) {
        let mut below = path;
        while let Some(end) = below.iter().rposition(|byte| *byte == b'/') {
            let parent = &below[..end];
            below = parent;
            match self.nodes.get(parent).map(|node| &node.kind) {
                Some(Kind::Directory) => break,
                Some(_) => {
                    return self
                        .wrong
                        .tell(name, "it lies below something that is no directory");
                }
                None => self.put(parent, Kind::Directory, true),
            }
        }
        let is_directory = kind == Kind::Directory;
        match self.nodes.get_mut(path) {
            None => self.put(path, kind, false),
            Some(node) if node.implied && is_directory => node.implied = false,
            Some(_) => self.wrong.tell(name, "it comes twice"),
        }
    }

    fn put(&mut self, path: &[u8], kind: Kind, implied: bool) {
        let link = match &kind {
            Kind::Link(to) => to.len(),
            _ => 0,
        };
        self.kept += path.len() + link + OVERHEAD;
        if self.kept > NAMES {
            self.full = true;
            return;
        }
        self.nodes.insert(path.to_owned(), Node { kind, implied });
    }

    /// Bytes of files by directory.
    pub(super) fn directories(&self) -> BTreeMap<String, u64> {
        self.sizes.largest()
    }

    /// What is wrong with all of them, now that every link can be followed.
    pub(super) fn finish(mut self) -> Unsafe {
        if self.full {
            self.wrong.count += 1;
            let what = "it has more names than any runtime, and they were not all looked at";
            self.wrong.told.push(what.to_owned());
        }
        let kind = |path: &Path| {
            let node = self.nodes.get(path.as_os_str().as_bytes());
            node.map(|node| &node.kind)
        };
        let mut found = Vec::new();
        for (path, node) in &self.nodes {
            if let Kind::Link(to) = &node.kind
                && let Some(what) = link(&kind, Path::new(OsStr::from_bytes(path)), Path::new(to))
            {
                found.push((path.clone(), what));
            }
        }
        found.sort();
        for (path, what) in found {
            self.wrong.tell(&path, &what);
        }
        self.wrong
    }
}

/// What is wrong with a symlink. One that leads to nothing inside is not unsafe.
fn link<'t>(kind: &dyn Fn(&Path) -> Option<&'t Kind>, path: &Path, to: &Path) -> Option<String> {
    let shown = shown(to.as_os_str().as_bytes());
    let parent = path.parent().unwrap_or(Path::new(""));
    match place_in(kind, parent, to) {
        Place::Inside(_) => None,
        _ if to.is_absolute() => Some(format!("it is a symlink to the absolute path `{shown}`")),
        Place::Outside => Some(format!("it is a symlink that leads out, to `{shown}`")),
        Place::Loop => Some(format!("it is a symlink in a circle, by `{shown}`")),
        // What is not there now may be there once something else is unpacked over it.
        Place::Nowhere if climbs_out(parent, to) => {
            Some(format!("it is a symlink that leads out, to `{shown}`"))
        }
        Place::Nowhere => None,
    }
}

/// Whether a path leads out when it is read as text, from a directory in the tree.
fn climbs_out(from: &Path, to: &Path) -> bool {
    let mut depth = from.components().count();
    for component in to.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_names_than_are_kept_are_told() {
        let added = |count: u8| {
            let mut members = Members::default();
            for n in 0..count {
                members.add(&Entry {
                    name: b"long",
                    path: Ok(vec![n + 1; NAMES / 4 - 2 * OVERHEAD]),
                    kind: EntryKind::File,
                    link: b"",
                    target: Err("it is no link"),
                    mode: 0o644,
                    size: 0,
                    mtime: 0,
                    owner: (None, None),
                });
            }
            members.finish()
        };
        assert_eq!(added(4), Unsafe::default());
        let wrong = added(5);
        assert_eq!(wrong.count, 1);
        assert!(wrong.told[0].contains("not all looked at"), "{wrong:?}");
    }
}
