//! What files alone tell of the software they are.

use super::*;
use crate::inspect::inventory::{Member, What};
use crate::model::Sha256;

fn seen(files: &[(&str, &[u8])]) -> Software {
    let mut software = Software::default();
    let mut inside = Inventory::default();
    for (path, content) in files {
        let path = path.as_bytes();
        if software.wants(path, content.len() as u64, &content[..content.len().min(6)]) {
            software.take(path, content.to_vec());
        }
        let member = Member {
            what: What::File {
                size: content.len() as u64,
                sha256: Sha256::of(content),
            },
            mode: 0o644,
            mtime: 0,
            owner: (None, None),
        };
        inside.members.insert(path.to_vec(), member);
    }
    let directory = Member {
        what: What::Directory,
        mode: 0o755,
        mtime: 0,
        owner: (None, None),
    };
    inside
        .members
        .insert(b"share/licenses/python".to_vec(), directory);
    software.finish(&inside);
    software
}

#[test]
fn a_python_is_known_by_its_files() {
    let cat = std::fs::read("/bin/cat").expect("a program");
    let software = seen(&[
        ("bin/python3.11", &cat),
        (
            "include/python3.11/patchlevel.h",
            b"#define PY_VERSION \"3.11.2\"\n",
        ),
        (
            "include/sqlite3.h",
            b"#define SQLITE_VERSION        \"3.46.1\"\n",
        ),
        ("lib/python3.11/LICENSE.txt", b"text"),
        ("lib/python3.11/license.py", b"code"),
        (
            "lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so",
            b"no ELF",
        ),
        ("lib/python2.7/lib-dynload/cmathmodule.so", b"no ELF"),
        ("share/licenses/python/expat", b"text"),
        ("lib/broken.so", b"\x7fELF and nothing else"),
    ]);
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
    let version = |what: &str, version: &str| (what.to_owned(), version.to_owned());
    let versions = [version("CPython", "3.11.2"), version("SQLite", "3.46.1")];
    assert_eq!(software.versions, versions.into());
    assert_eq!(
        list(&software.machines),
        [Arch::host().expect("known").to_string()]
    );
    assert_eq!(list(&software.libraries), ["libc.so.6"]);
    assert_eq!(list(&software.extensions), ["_ssl", "cmath"]);
    assert_eq!(
        list(&software.licences),
        ["lib/python3.11/LICENSE.txt", "share/licenses/python/expat"]
    );
    assert_eq!(software.elf_files, 2);
    assert!(software.glibc_floor >= "2.2".parse().ok());
    let unsound: Vec<_> = software.unsound.keys().collect();
    assert_eq!(unsound, ["lib/broken.so"]);
}

#[test]
fn a_library_that_it_holds_is_not_needed_of_others() {
    let cat = std::fs::read("/bin/cat").expect("a program");
    let software = seen(&[("bin/cat", &cat), ("lib/libc.so.6", b"no ELF")]);
    assert_eq!(software.libraries, BTreeSet::new());
}
