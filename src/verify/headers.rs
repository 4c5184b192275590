//! What the headers of unpacked software say of its version.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::model::{FormulaRef, defined};
use crate::sys::fs::{self as sysfs, FsError};

/// Bytes of a header that are read for a version.
const HEADER: u64 = 16 << 20;

/// What the unpacked software's own headers say of its version, where they are another's.
pub(super) fn own_version(prefix: &Path, claimed: &FormulaRef) -> Result<Vec<String>, FsError> {
    let mut wrong = Vec::new();
    let Some(wanted) = claimed.version() else {
        return Ok(wrong);
    };
    for (file, version) in versions(prefix, claimed.name().as_str())? {
        if version != wanted.as_str() {
            wrong.push(format!("its {file} is of {version}, not {wanted}"));
        }
    }
    Ok(wrong)
}

/// The versions that the headers of a prefix define, each with the header's path.
fn versions(prefix: &Path, name: &str) -> Result<Vec<(String, String)>, FsError> {
    let include = prefix.join("include");
    let (headers, macro_name) = match name {
        "python" => (pythons(&include)?, "PY_VERSION"),
        "sqlite" => (vec![PathBuf::from("sqlite3.h")], "SQLITE_VERSION"),
        _ => return Ok(Vec::new()),
    };
    let mut found = Vec::new();
    for header in headers {
        let path = include.join(&header);
        // What is no file there (a symlink, say) is not followed; the proof tells what is missing.
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            continue;
        }
        let mut bytes = Vec::new();
        let mut reader = sysfs::open(&path)?.take(HEADER);
        reader
            .read_to_end(&mut bytes)
            .map_err(FsError::new("read", &path))?;
        if let Some(version) = defined(&String::from_utf8_lossy(&bytes), macro_name) {
            found.push((format!("include/{}", header.display()), version));
        }
    }
    Ok(found)
}

/// `patchlevel.h` of every Python below `include`.
fn pythons(include: &Path) -> Result<Vec<PathBuf>, FsError> {
    if !fs::symlink_metadata(include).is_ok_and(|found| found.is_dir()) {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(include).map_err(FsError::new("readdir", include))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FsError::new("readdir", include))?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && entry.file_name().to_string_lossy().starts_with("python") {
            found.push(Path::new(&entry.file_name()).join("patchlevel.h"));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_another_version_are_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let headers = [
            ("sqlite3.h", "#define SQLITE_VERSION        \"3.46.1\"\n"),
            ("python3.11/patchlevel.h", "#define PY_VERSION \"3.11.2\"\n"),
        ];
        for (name, text) in headers {
            let path = dir.path().join("include").join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, text).expect("written");
        }
        let told = |claimed: &str| {
            let claimed = claimed.parse().expect("a reference");
            own_version(dir.path(), &claimed).expect("readable")
        };
        for right in ["sqlite-3.46.1", "python-3.11.2", "tool-1.0"] {
            assert_eq!(told(right), [""; 0], "{right}");
        }
        let wrong = "its include/sqlite3.h is of 3.46.1, not 3.46.0";
        assert_eq!(told("sqlite-3.46.0"), [wrong]);
        let wrong = "its include/python3.11/patchlevel.h is of 3.11.2, not 3.11.3";
        assert_eq!(told("python-3.11.3"), [wrong]);
    }
}
