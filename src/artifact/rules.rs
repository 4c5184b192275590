//! What a prefix may not hold, whoever built it: rules over a [`Tree`], every breach collected.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::tree::{Kind, Tree, TreeError};

/// One thing about a prefix that keeps it from being packaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, below the prefix; empty for the prefix itself.
    pub path: PathBuf,
    /// What is wrong there.
    pub breach: Breach,
}

/// What can be wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    /// There is no file in the prefix.
    Empty,
    /// A symlink to an absolute path: wrong as soon as the prefix is moved.
    AbsoluteLink(OsString),
    /// A symlink that leads out of the prefix.
    LinkLeadsOut(OsString),
    /// A symlink to what is not there.
    LinkToNothing(OsString),
    /// Symlinks that lead in a circle.
    LinkLoop(OsString),
    /// A device node.
    Device,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A file with the setuid or setgid bit.
    SetId(u32),
    /// A file or directory that anybody may write to.
    WorldWritable(u32),
    /// A file or directory that its own owner may not read.
    Unreadable(u32),
    /// A name that is not UTF-8.
    NotUtf8,
    /// A name with a line break or another control character.
    ControlCharacter,
    /// More directories inside one another than pybuild looks into.
    TooDeep,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A hostile name must not break the line it is shown on.
        let shown = |text: &OsStr| text.to_string_lossy().escape_debug().to_string();
        let path = shown(self.path.as_os_str());
        match &self.breach {
            Breach::Empty => f.write_str("the prefix is empty: the build has installed nothing"),
            Breach::AbsoluteLink(to) => {
                write!(f, "{path} is a symlink to the absolute path {}", shown(to))
            }
            Breach::LinkLeadsOut(to) => {
                write!(f, "{path} is a symlink out of the prefix, to {}", shown(to))
            }
            Breach::LinkToNothing(to) => {
                write!(f, "{path} is a symlink to nothing, {}", shown(to))
            }
            Breach::LinkLoop(to) => {
                write!(f, "{path} is a symlink in a circle, by {}", shown(to))
            }
            Breach::Device => write!(f, "{path} is a device"),
            Breach::Fifo => write!(f, "{path} is a named pipe"),
            Breach::Socket => write!(f, "{path} is a socket"),
            Breach::SetId(mode) => write!(f, "{path} is setuid or setgid (mode {mode:04o})"),
            Breach::WorldWritable(mode) => {
                write!(f, "{path} can be written to by anybody (mode {mode:04o})")
            }
            Breach::Unreadable(mode) => {
                write!(f, "{path} cannot be read by its owner (mode {mode:04o})")
            }
            Breach::NotUtf8 => write!(f, "{path} has a name that is not UTF-8"),
            Breach::ControlCharacter => {
                write!(f, "{path} has a control character in its name")
            }
            Breach::TooDeep => write!(f, "{path} lies too deep"),
        }
    }
}

/// Everything about the prefix that breaks a rule, in the order of the paths.
pub fn rules(prefix: &Path) -> Result<Vec<Violation>, TreeError> {
    Ok(rules_of(&Tree::read(prefix)?))
}

/// [`rules`] of a prefix that was read already. Pure.
pub fn rules_of(tree: &Tree) -> Vec<Violation> {
    let mut found: Vec<Violation> = Vec::new();
    for (path, node) in tree.nodes() {
        let mut breaches = Vec::new();
        match path.file_name().map(OsStr::to_str) {
            Some(Some(name)) if name.contains(char::is_control) => {
                breaches.push(Breach::ControlCharacter);
            }
            Some(Some(_)) => {}
            _ => breaches.push(Breach::NotUtf8),
        }
        let mode = node.mode;
        match &node.kind {
            Kind::Device => breaches.push(Breach::Device),
            Kind::Fifo => breaches.push(Breach::Fifo),
            Kind::Socket => breaches.push(Breach::Socket),
            Kind::Link(to) => breaches.extend(link_breach(tree, path, to)),
            Kind::File => {
                if mode & 0o6000 != 0 {
                    breaches.push(Breach::SetId(mode));
                }
                if mode & 0o400 == 0 {
                    breaches.push(Breach::Unreadable(mode));
                }
            }
            // The setgid bit of a directory is inherited from wherever the store lies on this
            // host, so it is not the build's doing; the package leaves it out.
            Kind::Directory => {
                if tree.closed().contains(path) {
                    breaches.push(Breach::Unreadable(mode));
                }
                if tree.deep().contains(path) {
                    breaches.push(Breach::TooDeep);
                }
            }
        }
        if mode & 0o002 != 0 && matches!(node.kind, Kind::File | Kind::Directory) {
            breaches.push(Breach::WorldWritable(mode));
        }
        found.extend(breaches.into_iter().map(|breach| Violation {
            path: path.clone(),
            breach,
        }));
    }
    if tree.files().next().is_none() {
        found.push(Violation {
            path: PathBuf::new(),
            breach: Breach::Empty,
        });
    }
    found
}

fn link_breach(tree: &Tree, path: &Path, to: &OsStr) -> Option<Breach> {
    if Path::new(to).is_absolute() {
        return Some(Breach::AbsoluteLink(to.to_owned()));
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    match place_of(tree, parent, Path::new(to)) {
        Place::Inside(_) => None,
        Place::Outside => Some(Breach::LinkLeadsOut(to.to_owned())),
        Place::Nowhere => Some(Breach::LinkToNothing(to.to_owned())),
        Place::Loop => Some(Breach::LinkLoop(to.to_owned())),
    }
}

/// Where a path leads, symlinks on the way followed as the kernel does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// To this entry of the prefix; empty for the prefix itself.
    Inside(PathBuf),
    /// Out of the prefix.
    Outside,
    /// To what is not there.
    Nowhere,
    /// Nowhere, in more links than Linux follows.
    Loop,
}

/// Follows `to` from the directory `from` of the prefix, both as the kernel would
/// (`path_resolution(7)`), without asking it.
pub(super) fn place_of(tree: &Tree, from: &Path, to: &Path) -> Place {
    place_in(&|path| tree.get(path).map(|node| &node.kind), from, to)
}

/// The same in a tree that need not lie on a disk: `kind` says what is at a path.
pub fn place_in<'t>(kind: &dyn Fn(&Path) -> Option<&'t Kind>, from: &Path, to: &Path) -> Place {
    const LINK_LIMIT: usize = 40; // MAXSYMLINKS
    let mut at = from.to_owned();
    let mut links = 0;
    let mut left: VecDeque<OsString> = VecDeque::new();
    let queue = |left: &mut VecDeque<OsString>, path: &Path| {
        for component in path.components().rev() {
            left.push_front(component.as_os_str().to_owned());
        }
    };
    queue(&mut left, to);
    while let Some(name) = left.pop_front() {
        match Path::new(&name).components().next() {
            Some(Component::Normal(_)) => {}
            Some(Component::ParentDir) => {
                if !at.pop() {
                    return Place::Outside;
                }
                continue;
            }
            Some(Component::RootDir | Component::Prefix(_)) => return Place::Outside,
            Some(Component::CurDir) | None => continue,
        }
        let next = at.join(&name);
        match kind(&next) {
            Some(Kind::Link(target)) => {
                links += 1;
                if links > LINK_LIMIT {
                    return Place::Loop;
                }
                queue(&mut left, Path::new(target));
            }
            Some(Kind::Directory) => at = next,
            Some(_) if left.is_empty() => at = next,
            Some(_) | None => return Place::Nowhere,
        }
    }
    Place::Inside(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::testing;
    use nix::errno::Errno;
    use nix::fcntl::ResolveFlag;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    fn prefix() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join("bin")).expect("mkdir");
        fs::create_dir_all(dir.path().join("lib/deep/er")).expect("mkdir");
        for file in ["bin/python3", "lib/file"] {
            fs::write(dir.path().join(file), "x").expect("write");
            chmod(&dir.path().join(file), 0o644);
        }
        dir
    }

    #[test]
    fn links_are_followed_as_the_kernel_does() {
        let dir = prefix();
        for (path, to) in [
            ("bin/python", "python3"),
            ("bin/again", "python"),
            ("bin/up", "../lib/file"),
            ("bin/self", ".."),
            // Read as text, the first of these leads out and the second stays; followed, `..` of
            // `er` is `lib/deep`, so that it is the other way round.
            ("er", "lib/deep/er"),
            ("lib/fine", "../er/../../../lib/file"),
            ("lib/deep/out", "../../bin/self/../lib/file"),
            ("bin/out", "../../etc/passwd"),
            ("bin/abs", "/etc/passwd"),
            ("bin/none", "nothing"),
            ("bin/through", "python3/x"),
            ("bin/circle", "circle"),
            ("bin/indirect", "abs"),
        ] {
            symlink(to, dir.path().join(path)).expect("symlink");
        }
        let found: Vec<(String, Breach)> = rules(dir.path())
            .expect("readable")
            .into_iter()
            .map(|violation| (violation.path.display().to_string(), violation.breach))
            .collect();
        let breach = |path: &str, breach: fn(OsString) -> Breach, to: &str| {
            (path.to_owned(), breach(OsString::from(to)))
        };
        assert_eq!(
            found,
            [
                breach("bin/abs", Breach::AbsoluteLink, "/etc/passwd"),
                breach("bin/circle", Breach::LinkLoop, "circle"),
                breach("bin/indirect", Breach::LinkLeadsOut, "abs"),
                breach("bin/none", Breach::LinkToNothing, "nothing"),
                breach("bin/out", Breach::LinkLeadsOut, "../../etc/passwd"),
                breach("bin/through", Breach::LinkToNothing, "python3/x"),
                breach(
                    "lib/deep/out",
                    Breach::LinkLeadsOut,
                    "../../bin/self/../lib/file",
                ),
            ]
        );
    }

    #[test]
    fn every_breach_is_collected() {
        let dir = prefix();
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRUSR).expect("mkfifo");
        let _socket = UnixListener::bind(at("socket")).expect("bind");
        for (name, mode) in [
            ("setuid", 0o4755),
            ("setgid", 0o2755),
            ("open", 0o666),
            ("shut", 0o0),
        ] {
            fs::write(at(name), "x").expect("write");
            chmod(&at(name), mode);
        }
        fs::create_dir(at("shutdir")).expect("mkdir");
        chmod(&at("shutdir"), 0o200);
        fs::create_dir(at("opendir")).expect("mkdir");
        chmod(&at("opendir"), 0o1777);
        fs::write(at("new\nline"), "x").expect("write");
        fs::write(dir.path().join(OsStr::from_bytes(b"\xff")), "x").expect("write");
        let shown: Vec<String> = rules(dir.path())
            .expect("readable")
            .iter()
            .map(ToString::to_string)
            .collect();
        chmod(&at("shutdir"), 0o700);
        assert_eq!(
            shown,
            [
                "fifo is a named pipe",
                r"new\nline has a control character in its name",
                "open can be written to by anybody (mode 0666)",
                "opendir can be written to by anybody (mode 1777)",
                "setgid is setuid or setgid (mode 2755)",
                "setuid is setuid or setgid (mode 4755)",
                "shut cannot be read by its owner (mode 0000)",
                "shutdir cannot be read by its owner (mode 0200)",
                "socket is a socket",
                "\u{fffd} has a name that is not UTF-8",
            ]
        );
    }

    #[test]
    fn a_prefix_without_a_file_is_empty() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("lib")).expect("mkdir");
        let found = rules(dir.path()).expect("readable");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].breach, Breach::Empty);
        assert!(rules(&dir.path().join("none")).is_err());
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(100))]

        /// What is said without the kernel is what the kernel says.
        #[test]
        fn links_are_followed_as_the_kernel_follows_them(
            entries in testing::entries(),
            to in testing::target(),
        ) {
            let dir = testing::tree(&entries);
            let tree = Tree::read(dir.path()).expect("a tree");
            let found = place_of(&tree, Path::new(""), Path::new(&to));
            let how = ResolveFlag::RESOLVE_BENEATH;
            let said = match testing::kernel(dir.path(), Path::new(&to), how) {
                Ok(path) => Place::Inside(path),
                Err(Errno::EXDEV) => Place::Outside,
                Err(Errno::ENOENT | Errno::ENOTDIR) => Place::Nowhere,
                Err(Errno::ELOOP) => Place::Loop,
                Err(errno) => panic!("{errno}"),
            };
            proptest::prop_assert_eq!(found, said);
        }
    }
}
