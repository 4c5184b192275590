//! A run image as a process in it sees it: layers merged as overlayfs merges them, the prefix
//! mounted at its place, symlinks resolved inside.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{CStr, OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use crate::model::GuestPath;
use crate::sys::fs::FsError;
use crate::sys::xattr;

/// MAXSYMLINKS of Linux.
const LINK_LIMIT: usize = 40;
/// How a layer says "there is nothing here below" where it cannot make the device 0:0: the files
/// of AUFS, which OCI layers and fuse-overlayfs use.
const WHITEOUT: &str = ".wh.";
const OPAQUE_FILE: &str = ".wh..wh..opq";
/// How it says "nothing of the layers below": `userxattr`, privileged and fuse-overlayfs.
const OPAQUE_MARKS: [&CStr; 3] = [
    c"user.overlay.opaque",
    c"trusted.overlay.opaque",
    c"user.fuseoverlayfs.opaque",
];

/// Layers, the lowest first, and directories of the host that are seen at some place in them.
#[derive(Debug, Clone)]
pub struct Image {
    layers: Vec<PathBuf>,
    mounts: Vec<(PathBuf, PathBuf)>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A regular file.
    File {
        /// Where it really is in the image.
        guest: PathBuf,
        /// Where it is on this host.
        host: PathBuf,
    },
    /// A directory.
    Directory {
        /// Where it really is in the image.
        guest: PathBuf,
        /// The directories on this host that it is merged of, the highest first.
        hosts: Vec<PathBuf>,
    },
    /// Nothing that could be opened.
    Nothing,
}

/// What one name in a merged directory is.
enum Entry {
    Directory(Vec<PathBuf>),
    File(PathBuf),
    Link(PathBuf),
    Nothing,
}

impl Image {
    /// An image of layer directories, the lowest first.
    pub fn new(layers: &[PathBuf]) -> Self {
        Self {
            layers: layers.to_vec(),
            mounts: Vec::new(),
        }
    }

    /// The same image with a host directory seen at `guest`, whatever the layers have there.
    #[must_use]
    pub fn with_mount(mut self, guest: &GuestPath, host: &Path) -> Self {
        let guest = PathBuf::from(guest.as_str());
        self.mounts.push((guest, host.to_owned()));
        self
    }

    /// Finds what a path of the image leads to, as the kernel would with the image as its root
    /// (`path_resolution(7)`): absolute links begin at the image's root, and `..` ends there.
    pub fn find(&self, path: &Path) -> Result<Found, FsError> {
        // The directories from the root to where we are, to go back up by.
        let mut way: Vec<Vec<PathBuf>> = Vec::new();
        let mut at = PathBuf::from("/");
        let root: Vec<PathBuf> = self.layers.iter().rev().cloned().collect();
        let mut left: VecDeque<OsString> = VecDeque::new();
        let mut links = 0;
        push(&mut left, path);
        while let Some(name) = left.pop_front() {
            match Path::new(&name).components().next() {
                Some(Component::Normal(_)) => {}
                Some(Component::ParentDir) => {
                    at.pop();
                    way.pop();
                    continue;
                }
                Some(Component::RootDir) => {
                    at = PathBuf::from("/");
                    way.clear();
                    continue;
                }
                _ => continue,
            }
            match self.look(&at, way.last().unwrap_or(&root), &name)? {
                Entry::Directory(hosts) => {
                    at.push(&name);
                    way.push(hosts);
                }
                Entry::Link(to) => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Ok(Found::Nothing);
                    }
                    push(&mut left, &to);
                }
                Entry::File(host) if left.is_empty() => {
                    at.push(&name);
                    return Ok(Found::File { guest: at, host });
                }
                Entry::File(_) | Entry::Nothing => return Ok(Found::Nothing),
            }
        }
        Ok(Found::Directory {
            guest: at,
            hosts: way.pop().unwrap_or(root),
        })
    }

    /// The names in a directory of the image; none if it is not one.
    pub fn list(&self, path: &Path) -> Result<BTreeSet<OsString>, FsError> {
        let mut names = BTreeSet::new();
        let Found::Directory { guest, hosts } = self.find(path)? else {
            return Ok(names);
        };
        for host in &hosts {
            for entry in fs::read_dir(host).map_err(FsError::new("readdir", host))? {
                names.insert(entry.map_err(FsError::new("readdir", host))?.file_name());
            }
        }
        let mut seen = BTreeSet::new();
        for name in names {
            if !matches!(self.look(&guest, &hosts, &name)?, Entry::Nothing) {
                seen.insert(name);
            }
        }
        Ok(seen)
    }

    /// The content of a file of the image, if it is there; at most `limit` bytes of it.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FsError> {
        use std::io::Read as _;
        let Found::File { host, .. } = self.find(path)? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        crate::sys::fs::open(&host)?
            .take(limit)
            .read_to_end(&mut content)
            .map_err(FsError::new("read", &host))?;
        Ok(Some(content))
    }

    /// One name in a directory that is merged of `dirs`, the highest first.
    fn look(&self, at: &Path, dirs: &[PathBuf], name: &OsStr) -> Result<Entry, FsError> {
        let guest = at.join(name);
        if let Some((_, host)) = self.mounts.iter().rev().find(|(place, _)| *place == guest) {
            return Ok(Entry::Directory(vec![host.clone()]));
        }
        let mut merged: Vec<PathBuf> = Vec::new();
        for dir in dirs {
            let host = dir.join(name);
            let Some(found) = lstat(&host)? else {
                if exists(&dir.join(prefixed(name)))? {
                    break;
                }
                continue;
            };
            let kind = found.file_type();
            let whiteout = kind.is_char_device() && found.rdev() == 0;
            if whiteout || name.as_encoded_bytes().starts_with(WHITEOUT.as_bytes()) {
                break;
            }
            if kind.is_dir() {
                let opaque = is_opaque(&host)?;
                merged.push(host);
                if opaque {
                    break;
                }
                continue;
            }
            if !merged.is_empty() {
                break; // the directory above hides it
            }
            return Ok(if kind.is_symlink() {
                let to = fs::read_link(&host).map_err(FsError::new("readlink", &host))?;
                Entry::Link(to)
            } else if kind.is_file() {
                Entry::File(host)
            } else {
                Entry::Nothing
            });
        }
        // The sandbox makes the directories above its mounts where the layers have none.
        let leads_to_mount = || {
            self.mounts
                .iter()
                .any(|(place, _)| place.starts_with(&guest))
        };
        Ok(if merged.is_empty() && !leads_to_mount() {
            Entry::Nothing
        } else {
            Entry::Directory(merged)
        })
    }
}

fn push(left: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        left.push_front(component.as_os_str().to_owned());
    }
}

fn prefixed(name: &OsStr) -> OsString {
    let mut whiteout = OsString::from(WHITEOUT);
    whiteout.push(name);
    whiteout
}

fn lstat(path: &Path) -> Result<Option<fs::Metadata>, FsError> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG) => Ok(None),
            _ if error.kind() == io::ErrorKind::InvalidInput => Ok(None), // a NUL in it
            _ => Err(FsError::new("lstat", path)(error)),
        },
    }
}

fn exists(path: &Path) -> Result<bool, FsError> {
    Ok(lstat(path)?.is_some())
}

fn is_opaque(dir: &Path) -> Result<bool, FsError> {
    for mark in OPAQUE_MARKS {
        match xattr::get(dir, mark) {
            Ok(value) if value.as_deref() == Some(b"y") => return Ok(true),
            // The `trusted` ones are not for everybody to see.
            Ok(_) | Err(Errno::EPERM | Errno::EACCES | Errno::ERANGE) => {}
            Err(errno) => return Err(FsError::new("getxattr", dir)(errno)),
        }
    }
    exists(&dir.join(OPAQUE_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Layers(tempfile::TempDir, Vec<PathBuf>);

    impl Layers {
        fn new(count: usize) -> Self {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let layers: Vec<_> = (0..count).map(|n| dir.path().join(n.to_string())).collect();
            for layer in &layers {
                fs::create_dir(layer).expect("mkdir");
            }
            Self(dir, layers)
        }

        fn file(&self, layer: usize, path: &str) {
            let path = self.1[layer].join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, layer.to_string()).expect("write");
        }

        fn link(&self, layer: usize, path: &str, to: &str) {
            let path = self.1[layer].join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            symlink(to, path).expect("symlink");
        }

        fn image(&self) -> Image {
            Image::new(&self.1)
        }
    }

    fn found(image: &Image, path: &str) -> Option<(String, String)> {
        match image.find(Path::new(path)).expect("no error") {
            Found::File { guest, host } => Some((
                guest.to_str().expect("UTF-8").to_owned(),
                fs::read_to_string(host).expect("read"),
            )),
            Found::Directory { guest, .. } => {
                Some((guest.to_str().expect("UTF-8").to_owned(), "dir".to_owned()))
            }
            Found::Nothing => None,
        }
    }

    #[test]
    fn links_resolve_inside_and_the_highest_layer_wins() {
        let layers = Layers::new(2);
        layers.file(0, "usr/lib/libc.so.6");
        layers.file(0, "usr/lib/libz.so.1.2");
        layers.file(1, "usr/lib/libz.so.1.2");
        layers.link(0, "lib", "usr/lib");
        layers.link(1, "usr/lib/libz.so.1", "/lib/libz.so.1.2");
        layers.link(0, "usr/lib/up", "../../../../../lib/libc.so.6");
        layers.link(0, "usr/loop", "loop");
        layers.link(0, "usr/host", "/proc/self/exe");
        let image = layers.image();
        let table = [
            ("/lib/libc.so.6", Some(("/usr/lib/libc.so.6", "0"))),
            ("/lib/libz.so.1", Some(("/usr/lib/libz.so.1.2", "1"))),
            ("/usr/lib/up", Some(("/usr/lib/libc.so.6", "0"))),
            ("/lib/../lib", Some(("/usr/lib", "dir"))),
            ("/lib", Some(("/usr/lib", "dir"))),
            ("/", Some(("/", "dir"))),
            ("/usr/loop", None),
            ("/usr/host", None),
            ("/lib/libc.so.6/x", None),
            ("/none", None),
        ];
        for (path, expected) in table {
            let found = found(&image, path);
            let found = found.as_ref().map(|(a, b)| (a.as_str(), b.as_str()));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn what_is_whited_out_is_gone() {
        let layers = Layers::new(3);
        layers.file(0, "lib/gone.so");
        layers.file(1, "lib/.wh.gone.so");
        layers.file(0, "lib/back.so");
        layers.file(1, "lib/.wh.back.so");
        layers.file(2, "lib/back.so");
        layers.file(0, "opaque/old");
        layers.file(1, "opaque/.wh..wh..opq");
        layers.file(1, "opaque/new");
        layers.file(0, "was-dir/x");
        layers.file(1, "was-dir");
        layers.file(0, "was-file");
        layers.file(1, "was-file/x");
        let image = layers.image();
        assert_eq!(found(&image, "/lib/gone.so"), None);
        assert_eq!(found(&image, "/lib/back.so").expect("there").1, "2");
        assert_eq!(found(&image, "/opaque/old"), None);
        assert_eq!(found(&image, "/opaque/new").expect("there").1, "1");
        assert_eq!(found(&image, "/was-dir/x"), None);
        assert_eq!(found(&image, "/was-file/x").expect("there").1, "1");
        let list = |path| image.list(Path::new(path)).expect("no error");
        assert_eq!(list("/lib"), BTreeSet::from(["back.so".into()]));
        assert_eq!(list("/opaque"), BTreeSet::from(["new".into()]));
        assert_eq!(list("/none"), BTreeSet::new());
    }

    #[test]
    fn overlay_marks_are_understood_where_the_file_system_has_them() {
        let layers = Layers::new(2);
        layers.file(0, "a/old");
        layers.file(1, "a/new");
        match xattr::set(&layers.1[1].join("a"), OPAQUE_MARKS[0], b"y") {
            Err(Errno::ENOTSUP) => {} // then no layer here can carry the mark
            result => {
                result.expect("set");
                assert_eq!(found(&layers.image(), "/a/old"), None);
                assert!(found(&layers.image(), "/a/new").is_some());
            }
        }
    }

    #[test]
    fn a_mount_is_seen_at_its_place_alone() {
        let layers = Layers::new(1);
        layers.file(0, "app/old/x");
        layers.link(0, "here", "/app/.heroku/python/bin");
        let prefix = layers.0.path().join("prefix");
        fs::create_dir_all(prefix.join("bin")).expect("mkdir");
        fs::write(prefix.join("bin/python"), "p").expect("write");
        symlink("../../old", prefix.join("out")).expect("symlink");
        let guest = "/app/.heroku/python".parse().expect("a path");
        let image = layers.image().with_mount(&guest, &prefix);
        let whole = "/app/.heroku/python/bin/python";
        assert_eq!(
            found(&image, whole),
            Some((whole.to_owned(), "p".to_owned()))
        );
        assert_eq!(found(&image, "/here/python").expect("there").0, whole);
        assert_eq!(found(&image, "/app/old/x").expect("there").1, "0");
        assert_eq!(
            found(&image, "/app/.heroku/python/out/x").expect("there").0,
            "/app/old/x"
        );
        assert_eq!(found(&image, "/app/.heroku/none"), None);
        assert_eq!(found(&image, "/bin/python"), None);
    }
}
