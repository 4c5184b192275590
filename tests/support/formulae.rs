//! Formulae in a directory of their own, and one that others can depend on.

use std::fs;

use tempfile::TempDir;

/// A file's path below the directory, and its text.
pub(crate) type File = (&'static str, String);

/// `other.toml`.
pub(crate) const OTHER: &str = r#"schema = 1
name   = "other"
kind   = "library"
prefix = "/opt/other"

[[series]]
versions = ">=1"
steps = [{ name = "install", run = ["make", "install"] }]
"#;

/// `other.versions.toml`.
pub(crate) const OTHER_VERSIONS: &str = r#"schema = 1

[sources.tgz]
urls = ["https://example.org/other-{version}.tgz"]

[versions]
"1.0" = { released = 2020-01-01, tgz = { sha256 = "4444444444444444444444444444444444444444444444444444444444444444" } }
"#;

/// Replaces in one of the files what must be there, once.
pub(crate) fn edit(files: &mut [File], path: &str, from: &str, to: &str) {
    let mut all = files.iter_mut();
    let (_, text) = all.find(|(known, _)| *known == path).expect(path);
    assert!(text.contains(from), "{path} has no {from:?} to edit");
    *text = text.replacen(from, to, 1);
}

/// A directory with these files.
pub(crate) fn laid_out(files: &[File]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("mkdir");
        fs::write(path, text).expect("write");
    }
    dir
}
