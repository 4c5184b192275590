//! Random layers, applied to a tree of the file system and to one in memory that is simple enough
//! to be right: both must come out the same.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use proptest::prelude::*;

use crate::chance;
use crate::place::Place;
use crate::tarball::tar;

/// An entry of a layer.
#[derive(Debug, Clone)]
enum Change {
    File(String),
    Dir(String, u32),
    Symlink(String, &'static str),
    HardLink(String, String),
    Whiteout(String),
    Opaque(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Dir(u32, BTreeMap<String, Node>),
    /// Two names of one file have one number, which is its content too.
    File(usize),
    Symlink(usize, String),
}

impl Node {
    fn children(&mut self) -> Option<&mut BTreeMap<String, Node>> {
        match self {
            Self::Dir(_, children) => Some(children),
            _ => None,
        }
    }
}

/// The root, and how many files and symlinks there have been.
struct Model(Node, usize);

impl Model {
    fn at(&mut self, path: &[String]) -> Option<&mut Node> {
        let mut node = &mut self.0;
        for name in path {
            node = node.children()?.get_mut(name)?;
        }
        Some(node)
    }

    /// Where a directory is without symlinks. `Err` is one that cannot be; `None` is not there.
    fn dir(&mut self, text: &str, make: bool) -> Result<Option<Vec<String>>, ()> {
        let split = |text: &str| -> VecDeque<String> {
            let names = text.split('/').filter(|name| !matches!(*name, "" | "."));
            names.map(str::to_owned).collect()
        };
        let (mut left, mut at, mut followed) = (split(text), Vec::new(), 0);
        while let Some(name) = left.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            let children = self.at(&at).and_then(Node::children).expect("a directory");
            match children.get(&name) {
                None | Some(Node::File(_)) if !make => return Ok(None),
                None => {
                    children.insert(name.clone(), Node::Dir(0o755, BTreeMap::new()));
                    at.push(name);
                }
                Some(Node::Dir(..)) => at.push(name),
                Some(Node::File(_)) => return Err(()),
                Some(Node::Symlink(_, target)) => {
                    followed += 1;
                    if followed > 40 {
                        return Err(());
                    }
                    if target.starts_with('/') {
                        at.clear();
                    }
                    let mut target = split(target);
                    target.append(&mut left);
                    left = target;
                }
            }
        }
        Ok(Some(at))
    }

    fn children_of(
        &mut self,
        text: &str,
        make: bool,
    ) -> Result<Option<&mut BTreeMap<String, Node>>, ()> {
        let at = self.dir(text, make)?;
        Ok(at.and_then(|at| self.at(&at)).and_then(Node::children))
    }

    /// Applies a layer: first what it takes away, then what it puts there.
    fn apply(&mut self, layer: &[Change]) -> Result<(), ()> {
        for change in layer {
            match change {
                Change::Whiteout(path) => {
                    let (dir, name) = split(path);
                    if let Some(children) = self.children_of(dir, false)? {
                        children.remove(name);
                    }
                }
                Change::Opaque(dir) => {
                    if let Some(children) = self.children_of(dir, false)? {
                        children.clear();
                    }
                }
                _ => {}
            }
        }
        for change in layer {
            self.1 += 1;
            let id = self.1;
            match change {
                Change::File(path) => self.put(path, Node::File(id))?,
                Change::Symlink(path, to) => {
                    self.put(path, Node::Symlink(id, (*to).to_owned()))?;
                }
                Change::Dir(path, mode) => {
                    let (dir, name) = split(path);
                    let children = self.children_of(dir, true)?.ok_or(())?;
                    let node = Node::Dir(*mode, BTreeMap::new());
                    match children.get_mut(name) {
                        Some(Node::Dir(old, _)) => *old = *mode,
                        _ => drop(children.insert(name.to_owned(), node)),
                    }
                }
                Change::HardLink(path, target) => self.link(path, target)?,
                Change::Whiteout(_) | Change::Opaque(_) => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &str, node: Node) -> Result<(), ()> {
        let (dir, name) = split(path);
        let children = self.children_of(dir, true)?.ok_or(())?;
        children.insert(name.to_owned(), node);
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str) -> Result<(), ()> {
        let (dir, name) = split(path);
        let mut at = self.dir(dir, true)?.ok_or(())?;
        at.push(name.to_owned());
        let (dir, last) = split(target);
        let mut source = self.dir(dir, false)?.ok_or(())?;
        source.push(last.to_owned());
        let node = self.at(&source).ok_or(())?.clone();
        // What is replaced may hold the target.
        if matches!(node, Node::Dir(..)) || (source != at && source.starts_with(&at)) {
            return Err(());
        }
        self.put(path, node)
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn archive(layer: &[Change], first: usize) -> Vec<u8> {
    let mut archive = tar();
    for (n, change) in layer.iter().enumerate() {
        archive = match change {
            Change::File(path) => archive.file(path, &(first + n).to_string()),
            Change::Dir(path, mode) => archive.other(b'5', path, "", *mode),
            Change::Symlink(path, to) => archive.symlink(path, to),
            Change::HardLink(path, to) => archive.hard_link(path, to),
            Change::Whiteout(path) => match split(path) {
                ("", name) => archive.file(&format!(".wh.{name}"), ""),
                (dir, name) => archive.file(&format!("{dir}/.wh.{name}"), ""),
            },
            Change::Opaque(dir) => archive.file(&format!("{dir}/.wh..wh..opq"), ""),
        };
    }
    archive.end()
}

/// What lies on the disk, as the model has it. Files' numbers are their content; those of symlinks
/// are made up, the same for the same inode.
fn found(path: &Path, inodes: &mut HashMap<u64, usize>) -> Node {
    let stat = fs::symlink_metadata(path).expect("lstat");
    if stat.is_dir() {
        let entries = fs::read_dir(path).expect("readdir");
        let children = entries.map(|entry| {
            let entry = entry.expect("readdir");
            let name = String::from_utf8(entry.file_name().into_vec()).expect("ASCII");
            (name, found(&entry.path(), inodes))
        });
        return Node::Dir(stat.mode() & 0o7777, children.collect());
    }
    let made_up = inodes.len();
    let number = *inodes.entry(stat.ino()).or_insert(made_up);
    if stat.is_symlink() {
        let target = fs::read_link(path).expect("readlink");
        return Node::Symlink(number, target.to_string_lossy().into_owned());
    }
    let content = fs::read_to_string(path).expect("read");
    Node::File(content.parse().expect("a number"))
}

/// The pairs of paths that are two names of one thing, and the tree without its numbers of symlinks.
fn comparable(node: &Node) -> (Vec<Vec<String>>, Node) {
    fn walk(node: &Node, at: &str, names: &mut BTreeMap<usize, Vec<String>>) -> Node {
        match node {
            Node::Dir(mode, children) => {
                let children = children.iter().map(|(name, child)| {
                    (name.clone(), walk(child, &format!("{at}/{name}"), names))
                });
                Node::Dir(*mode, children.collect())
            }
            Node::File(number) => Node::File(*number),
            Node::Symlink(number, target) => {
                names.entry(*number).or_default().push(at.to_owned());
                Node::Symlink(0, target.clone())
            }
        }
    }
    let mut names = BTreeMap::new();
    let node = walk(node, "", &mut names);
    let mut groups: Vec<_> = names
        .into_values()
        .filter(|names| names.len() > 1)
        .collect();
    groups.sort();
    (groups, node)
}

/// Names of one file are one inode, and one content is one inode.
fn assert_links(node: &Node, path: &Path, seen: &mut HashMap<usize, u64>) {
    match node {
        Node::Dir(_, children) => {
            for (name, child) in children {
                assert_links(child, &path.join(name), seen);
            }
        }
        Node::File(number) => {
            let inode = fs::symlink_metadata(path).expect("lstat").ino();
            assert_eq!(
                *seen.entry(*number).or_insert(inode),
                inode,
                "{}",
                path.display()
            );
        }
        Node::Symlink(..) => {}
    }
}

fn name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

/// Paths some of whose parts are likely to be symlinks.
fn twisted() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "s", "t"]);
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn mode() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0o755, 0o700, 0o1777])
}

fn removal(name: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => name.clone().prop_map(Change::Whiteout),
        1 => name.prop_map(Change::Opaque),
    ]
}

/// A layer with symlinks and hard links, its whiteouts first.
fn orderly() -> impl Strategy<Value = Vec<Change>> {
    let targets = [
        "a", "/b", "../a", "a/b", ".", "..", "s", "/", "/a/../b", "/t/a",
    ];
    let put = prop_oneof![
        3 => twisted().prop_map(Change::File),
        2 => (twisted(), mode()).prop_map(|(path, mode)| Change::Dir(path, mode)),
        3 => (twisted(), prop::sample::select(targets.to_vec()))
            .prop_map(|(path, to)| Change::Symlink(path, to)),
        1 => (twisted(), twisted()).prop_map(|(path, to)| Change::HardLink(path, to)),
    ];
    let removals = prop::collection::vec(removal(twisted().boxed()), 0..3);
    let puts = prop::collection::vec(put, 0..6);
    (removals, puts).prop_map(|(removals, puts)| [removals, puts].concat())
}

/// A layer whose whiteouts come anywhere.
fn shuffled() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        3 => name().prop_map(Change::File),
        3 => (name(), mode()).prop_map(|(path, mode)| Change::Dir(path, mode)),
        2 => removal(name().boxed()),
    ];
    prop::collection::vec(change, 0..8)
}

/// Applies layers to both; what came of it, if both could.
fn both(layers: &[Vec<Change>]) -> (Result<(), ()>, Result<(), String>, Node, Node, Place) {
    let mut model = Model(Node::Dir(0o755, BTreeMap::new()), 0);
    let mut archives = Vec::new();
    let mut first = 1;
    for layer in layers {
        archives.push(archive(layer, first));
        first += layer.len();
    }
    let expected = layers.iter().try_for_each(|layer| model.apply(layer));
    let place = Place::new();
    let result = place.merge(&archives).map(drop);
    let result = result.map_err(|error| error.to_string());
    let real = found(place.root(), &mut HashMap::new());
    (expected, result, model.0, real, place)
}

/// The symlink is on the way to the target, but the target is not in it.
#[test]
fn a_hard_link_may_replace_a_symlink_through_which_it_is_named() {
    let below = vec![
        Change::Symlink("a".to_owned(), "."),
        Change::Symlink("b".to_owned(), "../a"),
    ];
    let above = vec![Change::HardLink("a".to_owned(), "a/b".to_owned())];
    let (expected, result, model, real, _place) = both(&[below, above]);
    assert_eq!((expected, result), (Ok(()), Ok(())));
    assert_eq!(comparable(&model), comparable(&real));
}

proptest! {
    // Each case is a tree on the disk.
    #![proptest_config(chance::config(250))]

    /// With symlinks anywhere, both come out the same, or both refuse.
    #[test]
    fn layers_with_links_come_out_as_the_model_has_them(layers in prop::collection::vec(orderly(), 1..4)) {
        let (expected, result, model, real, place) = both(&layers);
        prop_assert_eq!(expected.is_ok(), result.is_ok(), "{:?}", result);
        if expected.is_ok() {
            prop_assert_eq!(comparable(&model), comparable(&real));
            assert_links(&model, place.root(), &mut HashMap::new());
        }
    }

    /// Whiteouts take the same away wherever they come. An entry below a file that is taken away
    /// only later is refused: that is the one thing that the order decides.
    #[test]
    fn whiteouts_anywhere_are_as_whiteouts_first(layers in prop::collection::vec(shuffled(), 1..4)) {
        let (expected, result, model, real, _place) = both(&layers);
        match result {
            Ok(()) => {
                prop_assert!(expected.is_ok());
                prop_assert_eq!(model, real);
            }
            Err(why) => prop_assert!(why.contains("what it lies in is no directory"), "{}", why),
        }
    }
}
