//! A directory to extract into, and what must not change beside it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pybuild::archive::{ArchiveError, Extract, Extracted, Trust, extract};
use tempfile::TempDir;

/// A directory to extract into, and beside it something that must stay as it is.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    root: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("root")).expect("mkdir");
        fs::create_dir(dir.path().join("outside")).expect("mkdir");
        fs::write(dir.path().join("outside/kept"), "kept").expect("write");
        fs::set_permissions(
            dir.path().join("outside/kept"),
            fs::Permissions::from_mode(0o640),
        )
        .expect("chmod");
        let root = dir.path().join("root");
        Self { dir, root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn extract(&self, trust: Trust, archive: &[u8]) -> Result<Extracted, ArchiveError> {
        let result = extract(archive, &Extract::new(self.root(), trust));
        self.assert_outside_is_untouched();
        result
    }

    pub(crate) fn assert_outside_is_untouched(&self) {
        let names = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path)
                .expect("readdir")
                .map(|entry| entry.expect("readdir").file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(self.dir.path()), ["outside", "root"]);
        assert_eq!(names(&self.dir.path().join("outside")), ["kept"]);
        let kept = self.dir.path().join("outside/kept");
        assert_eq!(fs::read(&kept).expect("read"), b"kept");
        let found = fs::metadata(&kept).expect("stat");
        assert_eq!((found.mode() & 0o7777, found.nlink()), (0o640, 1));
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root().join(name)).expect("a file in the root")
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        let found = fs::symlink_metadata(self.root().join(name)).expect("lstat");
        found.mode() & 0o7777
    }
}
