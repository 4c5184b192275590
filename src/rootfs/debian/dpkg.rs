//! dpkg's database (`/var/lib/dpkg`) as dpkg would have left it after unpacking packages: from
//! there its own `--configure` goes on.
//!
//! What dpkg does at this point is in its `src/main/unpack.c`: the status is `install ok
//! unpacked`, configuration files lie beside their places as `.dpkg-new` and count as
//! `newconffile`, interests in triggers are registered, and files that are unpacked below a path
//! that an installed package watches have activated its trigger.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::deb::ControlFiles;
use super::deb822;
use crate::archive::Owned;

/// A package whose files are in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unpacked {
    /// Its name.
    pub(super) name: String,
    /// Its architecture, or `all`.
    pub(super) arch: String,
    /// What is in its control archive.
    pub(super) control: ControlFiles,
    /// Its files and directories, from the root and without a leading slash.
    pub(super) paths: Vec<String>,
    /// Those of them that are not as they lie on the disk: [`crate::archive::Extracted::owned`].
    pub(super) owned: Vec<(Vec<u8>, Owned)>,
}

/// The database's changeable files, as they are before the packages are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Before {
    /// `status`.
    pub(super) status: String,
    /// `triggers/File`.
    pub(super) file_triggers: String,
    /// `triggers/<name>`, by name.
    pub(super) named_triggers: BTreeMap<String, String>,
}

/// A file of the database: its path below `/var/lib/dpkg`, its content, whether it is a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DatabaseFile {
    /// Below `/var/lib/dpkg`.
    pub(super) path: String,
    /// What is in it.
    pub(super) content: Vec<u8>,
    /// Whether it is executable.
    pub(super) program: bool,
}

impl Unpacked {
    /// `libc6:amd64` for what can be installed for several architectures at once, else `dpkg`.
    pub(super) fn qualified(&self) -> String {
        let same = self.field("Multi-Arch") == Some("same");
        if same {
            format!("{}:{}", self.name, self.arch)
        } else {
            self.name.clone()
        }
    }

    /// The configuration files, from the root and without a leading slash.
    pub(super) fn conffiles(&self) -> Vec<&str> {
        let lines = self.text("conffiles").lines().map(str::trim);
        // A line may begin with a flag: `remove-on-upgrade /etc/x` names no file of the package.
        lines.filter_map(|line| line.strip_prefix('/')).collect()
    }

    /// Whether there is a maintainer script of this name.
    pub(super) fn has(&self, control_file: &str) -> bool {
        self.control.contains_key(control_file)
    }

    fn text(&self, control_file: &str) -> &str {
        let bytes = self.control.get(control_file);
        bytes
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<&str> {
        deb822::stanzas(self.text("control")).next()?.get(name)
    }

    fn interests(&self) -> Vec<Interest<'_>> {
        let lines = self.text("triggers").lines();
        lines.filter_map(Interest::parse).collect()
    }
}

/// A line of a `triggers` control file (deb-triggers(5)) that asks to be told.
struct Interest<'a> {
    of: &'a str,
    awaited: bool,
}

impl<'a> Interest<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let awaited = match words.next()? {
            "interest" | "interest-await" => true,
            "interest-noawait" => false,
            _ => return None,
        };
        // A name with a slash inside would be a path below `triggers/`.
        let of = words.next()?;
        (of.starts_with('/') || !of.contains('/')).then_some(Self { of, awaited })
    }
}

/// The files of the database, once `packages` are unpacked on top of `before`.
pub(super) fn unpacked(before: &Before, packages: &[Unpacked]) -> Vec<DatabaseFile> {
    let mut files = Vec::new();
    let mut file = |path: String, content: Vec<u8>, program| {
        files.push(DatabaseFile {
            path,
            content,
            program,
        });
    };
    let Before {
        status,
        file_triggers,
        named_triggers,
    } = before;
    let mut status = status.clone();
    let mut watched = file_triggers.clone();
    let mut named = named_triggers.clone();
    for package in packages {
        let name = package.qualified();
        status.push_str(&stanza(package));
        file(format!("info/{name}.list"), list(package), false);
        for (kind, content) in &package.control {
            if kind == "control" {
                continue;
            }
            let program = ["preinst", "postinst", "prerm", "postrm", "config"];
            let program = program.contains(&kind.as_str());
            file(format!("info/{name}.{kind}"), content.clone(), program);
        }
        for Interest { of, awaited } in package.interests() {
            let suffix = if awaited { "" } else { "/noawait" };
            if of.starts_with('/') {
                let _ = writeln!(watched, "{of} {name}{suffix}");
            } else {
                let named = named.entry(of.to_owned()).or_default();
                let _ = writeln!(named, "{name}{suffix}");
            }
        }
    }
    let activated = activated(&before.file_triggers, packages);
    file("info/format".to_owned(), b"1\n".to_vec(), false);
    file("status".to_owned(), status.into_bytes(), false);
    file("triggers/File".to_owned(), watched.into_bytes(), false);
    file("triggers/Unincorp".to_owned(), activated, false);
    for (name, interested) in named {
        file(format!("triggers/{name}"), interested.into_bytes(), false);
    }
    files
}

/// A stanza of `status`, with the blank line that ends it.
fn stanza(package: &Unpacked) -> String {
    let control = deb822::stanzas(package.text("control")).next();
    let control = control.map(deb822::Stanza::text).unwrap_or_default();
    let control = control.trim_end();
    let mut stanza = format!("{control}\nStatus: install ok unpacked\n");
    let conffiles = package.conffiles();
    if !conffiles.is_empty() {
        stanza.push_str("Conffiles:\n");
        for path in conffiles {
            let _ = writeln!(stanza, " /{path} newconffile");
        }
    }
    stanza.push('\n');
    stanza
}

fn list(package: &Unpacked) -> Vec<u8> {
    let mut list = "/.\n".to_owned();
    for path in &package.paths {
        let _ = writeln!(list, "/{path}");
    }
    list.into_bytes()
}

/// The triggers of installed packages that the new files set off: lines of `triggers/Unincorp`,
/// where `-` stands for nobody who waits for them.
fn activated(file_triggers: &str, packages: &[Unpacked]) -> Vec<u8> {
    let watched: BTreeSet<&str> = file_triggers
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let is_hit = |watched: &&&str| {
        let below = watched.trim_start_matches('/');
        let mut paths = packages.iter().flat_map(|package| &package.paths);
        paths.any(|path| {
            path.strip_prefix(below)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let mut lines = String::new();
    for path in watched.iter().filter(is_hit) {
        let _ = writeln!(lines, "{path} -");
    }
    lines.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, control: &[(&str, &str)], paths: &[&str]) -> Unpacked {
        Unpacked {
            name: name.to_owned(),
            arch: "amd64".to_owned(),
            owned: Vec::new(),
            control: control
                .iter()
                .map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec()))
                .collect(),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }
    }

    #[test]
    fn the_database_is_what_dpkg_would_have_written() {
        let before = Before {
            status: "Package: old\nStatus: install ok installed\n\n".to_owned(),
            file_triggers: "/usr/share/man man-db/noawait\n/usr/lib/x old\n".to_owned(),
            named_triggers: BTreeMap::from([("ldconfig".to_owned(), "old\n".to_owned())]),
        };
        let library = package(
            "liba",
            &[
                ("control", "Package: liba\nMulti-Arch: same\n"),
                ("conffiles", "/etc/a\nremove-on-upgrade /etc/b\n"),
                ("postinst", "#!/bin/sh\n"),
                (
                    "triggers",
                    "# comment\nactivate-noawait ldconfig\ninterest-noawait ldconfig\n\
                     interest /usr/share/a\ninterest ../status\n",
                ),
            ],
            &["etc", "etc/a", "usr/share/manual", "usr/lib/x/y"],
        );
        let files = unpacked(&before, &[library]);
        let text = |path: &str| {
            let file = files.iter().find(|file| file.path == path).expect(path);
            String::from_utf8(file.content.clone()).expect("text")
        };
        assert_eq!(
            text("status"),
            "Package: old\nStatus: install ok installed\n\n\
             Package: liba\nMulti-Arch: same\nStatus: install ok unpacked\n\
             Conffiles:\n /etc/a newconffile\n\n"
        );
        assert_eq!(
            text("info/liba:amd64.list"),
            "/.\n/etc\n/etc/a\n/usr/share/manual\n/usr/lib/x/y\n"
        );
        assert_eq!(text("triggers/ldconfig"), "old\nliba:amd64/noawait\n");
        assert_eq!(
            text("triggers/File"),
            "/usr/share/man man-db/noawait\n/usr/lib/x old\n/usr/share/a liba:amd64\n"
        );
        assert_eq!(text("triggers/Unincorp"), "/usr/lib/x -\n");
        let programs: Vec<&str> = files
            .iter()
            .filter(|file| file.program)
            .map(|file| file.path.as_str())
            .collect();
        assert_eq!(programs, ["info/liba:amd64.postinst"]);
        assert!(!files.iter().any(|file| file.path.contains("..")));
    }
}
