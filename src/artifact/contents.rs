//! What a prefix holds, as its record says it: directories, compilers, licences, and components.
//!
//! Which software of others is inside, only the build knows: what `CPython` has compiled in of expat
//! and libmpdec leaves no name in the files. So a build may say it, in [`COMPONENTS`] of its prefix;
//! it can ask what it has built, or read the source's own headers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::elf::Elf;
use super::tree::{Kind, Tree};
use crate::archive::shown;
use crate::sys::fs::FsError;

/// Where a prefix says what is inside: a list of [`Component`]s as JSON.
pub const COMPONENTS: &str = "share/components.json";
/// Bytes of such a list.
pub const LIST: u64 = 256 << 10;
/// Bytes of one text in it.
const TEXT: usize = 512;

/// What an artifact holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// Bytes of files by directory, of the two levels at the top.
    pub directories: BTreeMap<String, u64>,
    /// What compiled it: what its ELF files say (`.comment`).
    pub compilers: BTreeSet<String>,
    /// The software that it consists of, itself among it, as far as its build has said.
    pub components: Vec<Component>,
    /// The texts of licences in it, by path.
    pub licenses: BTreeSet<String>,
}

/// A piece of software.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its name: `expat`.
    pub name: String,
    /// Its version: `2.5.0`, or the revision that was taken.
    pub version: String,
    /// The licence it is under, as an SPDX expression: `MIT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// What package registries and advisories call it: `pkg:generic/expat@2.5.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// What NVD's advisories call it: `cpe:2.3:a:libexpat_project:libexpat:2.5.0:*:*:*:*:*:*:*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpe: Option<String>,
}

impl Component {
    /// Reads a list of them, sorted by name; or says what is wrong with it.
    pub fn list(json: &[u8]) -> Result<Vec<Self>, String> {
        let mut list: Vec<Self> =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        for component in &list {
            component.check()?;
        }
        list.sort();
        for pair in list.windows(2) {
            if pair[0].name == pair[1].name {
                return Err(format!("it names {} twice", pair[0].name));
            }
        }
        Ok(list)
    }

    fn check(&self) -> Result<(), String> {
        let Self {
            name,
            version,
            license,
            purl,
            cpe,
        } = self;
        let spdx = |c: char| c.is_ascii_alphanumeric() || " .+-()".contains(c);
        let graphic = |c: char| c.is_ascii_graphic();
        let texts = [
            ("name", Some(name), "", graphic as fn(char) -> bool),
            ("version", Some(version), "", graphic),
            ("license", license.as_ref(), "", spdx),
            ("purl", purl.as_ref(), "pkg:", graphic),
            ("cpe", cpe.as_ref(), "cpe:2.3:", graphic),
        ];
        for (what, text, start, fits) in texts {
            let Some(text) = text else { continue };
            let is_one = text.starts_with(start) && text.len() > start.len();
            if !is_one || text.len() > TEXT || !text.chars().all(fits) {
                return Err(format!("{text:?} is no {what}"));
            }
        }
        Ok(())
    }
}

/// Whether a file is called as the texts of licences are.
pub fn is_licence(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let upper = name.to_ascii_uppercase();
    let words: [&[u8]; 4] = [b"LICENSE", b"LICENCE", b"COPYING", b"COPYRIGHT"];
    let is_text = !upper.contains(&b'.') || upper.ends_with(b".TXT") || upper.ends_with(b".MD");
    let called = words.iter().any(|word| upper.starts_with(word));
    (called && is_text) || memchr::memmem::find(path, b"share/licenses/").is_some()
}

/// What a prefix holds, but for its directories, which are measured when it is packed. The inner
/// error is the prefix's.
pub(super) fn contents(tree: &Tree, elves: &[Elf]) -> Result<Result<Contents, String>, FsError> {
    let paths = tree.files().map(|(path, _)| path.as_os_str().as_bytes());
    let licenses = paths.filter(|path| is_licence(path)).map(shown).collect();
    let compilers = elves.iter().flat_map(|elf| &elf.compilers);
    let compilers = compilers.cloned().collect();
    let components = match components(tree)? {
        Ok(components) => components,
        Err(why) => return Ok(Err(why)),
    };
    Ok(Ok(Contents {
        directories: BTreeMap::new(),
        compilers,
        components,
        licenses,
    }))
}

fn components(tree: &Tree) -> Result<Result<Vec<Component>, String>, FsError> {
    let path = Path::new(COMPONENTS);
    match tree.get(path) {
        None => return Ok(Ok(Vec::new())),
        Some(node) if node.kind != Kind::File => return Ok(Err("it is no file".to_owned())),
        Some(node) if node.size > LIST => {
            return Ok(Err(format!("it has more than {LIST} bytes")));
        }
        // An unreadable one is for the rules to report.
        Some(node) if node.mode & 0o400 == 0 => return Ok(Ok(Vec::new())),
        Some(_) => {}
    }
    let mut json = Vec::new();
    tree.open(path)?
        .take(LIST)
        .read_to_end(&mut json)
        .map_err(FsError::new("read", &tree.path().join(path)))?;
    Ok(Component::list(&json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn components_are_read_and_what_is_none_is_told() {
        let sound = br#"[
            {"name": "expat", "version": "2.5.0", "license": "MIT OR Apache-2.0",
             "purl": "pkg:generic/expat@2.5.0", "cpe": "cpe:2.3:a:x:y:2.5.0"},
            {"name": "a", "version": "1"}
        ]"#;
        let names = Component::list(sound).expect("a list");
        let names: Vec<&str> = names.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["a", "expat"]);
        for (wrong, said) in [
            ("{}", "expected a sequence"),
            (r#"[{"name": "a"}]"#, "missing field `version`"),
            (
                r#"[{"name": "a", "version": "1", "x": 1}]"#,
                "unknown field `x`",
            ),
            (r#"[{"name": "", "version": "1"}]"#, "\"\" is no name"),
            (r#"[{"name": "a\nb", "version": "1"}]"#, "is no name"),
            (
                r#"[{"name": "a", "version": "1", "purl": "pkg:"}]"#,
                "is no purl",
            ),
            (
                r#"[{"name": "a", "version": "1", "cpe": "x"}]"#,
                "is no cpe",
            ),
            (
                r#"[{"name": "a", "version": "1", "license": "<b>"}]"#,
                "is no license",
            ),
            (
                r#"[{"name": "a", "version": "1"}, {"name": "a", "version": "2"}]"#,
                "it names a twice",
            ),
        ] {
            let error = Component::list(wrong.as_bytes()).expect_err(wrong);
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_prefix_says_what_it_holds() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, text).expect("written");
        };
        let held = || {
            let tree = Tree::read(dir.path()).expect("a tree");
            contents(&tree, &[]).expect("readable")
        };
        write("lib/python3.11/LICENSE.txt", "text");
        write("lib/python3.11/license.py", "code");
        write("share/licenses/x/anything", "text");
        let found = held().expect("sound");
        let licenses: Vec<_> = found.licenses.iter().cloned().collect();
        assert_eq!(
            licenses,
            ["lib/python3.11/LICENSE.txt", "share/licenses/x/anything"]
        );
        assert_eq!(found.components, []);
        write(COMPONENTS, r#"[{"name": "expat", "version": "2.5.0"}]"#);
        assert_eq!(held().expect("sound").components.len(), 1);
        write(COMPONENTS, "[");
        assert!(held().is_err());
        write(COMPONENTS, &" ".repeat(300 << 10));
        let why = held().expect_err("too long");
        assert!(why.contains("more than"), "{why}");
        fs::remove_file(dir.path().join(COMPONENTS)).expect("removed");
        fs::create_dir(dir.path().join(COMPONENTS)).expect("mkdir");
        assert_eq!(held(), Err("it is no file".to_owned()));
    }
}
