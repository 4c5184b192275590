//! Which packages a root file system says that it has: dpkg's `status` file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::Package;
use super::debian::deb822;
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::inroot::{self, Links};

const STATUS: &str = "var/lib/dpkg/status";
/// A desktop's takes 5 MB.
const LIMIT: u64 = 64 << 20;

/// The packages of the uppermost layer that says which there are, sorted by name. None says so
/// where there is no dpkg.
pub(super) fn packages(layers: &[PathBuf]) -> Result<Vec<Package>, FsError> {
    for tree in layers.iter().rev() {
        if let Some(status) = read(tree)? {
            return Ok(parse(&status));
        }
    }
    Ok(Vec::new())
}

/// Symlinks of a tree lead nowhere but into it.
fn read(tree: &Path) -> Result<Option<String>, FsError> {
    let shown = tree.join(STATUS);
    let root = sysfs::open(tree)?;
    let found = match inroot::open(root.as_fd(), Path::new(STATUS), Links::Inside) {
        Ok(found) => found,
        Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {
            return Ok(None);
        }
        Err(error) => return Err(FsError::new("openat2", &shown)(error.errno)),
    };
    let of = |call| FsError::new(call, &shown);
    // A pipe would be waited for for ever.
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    if !std::fs::metadata(&path).map_err(of("stat"))?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(of("open"))?;
    file.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(of("read"))?;
    if bytes.len() as u64 > LIMIT {
        return Err(of("read")(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn parse(status: &str) -> Vec<Package> {
    let installed = deb822::stanzas(status).filter(|stanza| {
        let state = stanza.get("Status").unwrap_or_default();
        state.split_ascii_whitespace().last() == Some("installed")
    });
    let mut packages: Vec<Package> = installed
        .filter_map(|stanza| {
            Some(Package {
                name: stanza.get("Package")?.to_owned(),
                version: stanza.get("Version")?.to_owned(),
                arch: stanza.get("Architecture")?.to_owned(),
            })
        })
        .collect();
    packages.sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
    packages
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const TEXT: &str = "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\n\
        Multi-Arch: same\nVersion: 1:1.2.11-1\nDescription: a\n library\n\n\
        Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n\
        Package: half\nStatus: install ok unpacked\nArchitecture: all\nVersion: 1\n\n\
        Package: held\nStatus: hold ok installed\nArchitecture: all\nVersion: 2\n\n\
        Package: nameless-version\nStatus: install ok installed\n\n";

    fn tree(status: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        if let Some(text) = status {
            fs::create_dir_all(dir.path().join("var/lib/dpkg")).expect("mkdir");
            fs::write(dir.path().join(STATUS), text).expect("write");
        }
        dir
    }

    fn names(trees: &[&tempfile::TempDir]) -> Vec<String> {
        let trees: Vec<PathBuf> = trees.iter().map(|dir| dir.path().to_owned()).collect();
        let found = packages(&trees).expect("readable").into_iter();
        found
            .map(|package| format!("{} {} {}", package.name, package.version, package.arch))
            .collect()
    }

    #[test]
    fn what_is_installed_is_listed() {
        let (lower, upper, none) = (tree(Some(TEXT)), tree(Some("")), tree(None));
        let all = ["held 2 all", "zlib1g 1:1.2.11-1 amd64"];
        assert_eq!(names(&[&lower]), all);
        assert_eq!(names(&[&lower, &none]), all);
        assert_eq!(names(&[&lower, &upper]), [""; 0]);
        assert_eq!(names(&[&none]), [""; 0]);
    }

    #[test]
    fn nothing_outside_is_read() {
        let outside = tempfile::tempdir().expect("a temporary directory");
        let secret = outside.path().join("status");
        fs::write(&secret, TEXT).expect("write");
        let dir = tree(Some(""));
        let status = dir.path().join(STATUS);
        fs::remove_file(&status).expect("unlink");
        symlink(&secret, &status).expect("symlink");
        assert_eq!(names(&[&dir]), [""; 0]);
        fs::remove_file(&status).expect("unlink");
        nix::unistd::mkfifo(&status, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        assert_eq!(names(&[&dir]), [""; 0]);
    }
}
