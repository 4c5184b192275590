//! The keys that artifacts are published under, and what a key says. Pure.

use serde::{Deserialize, Serialize};

use crate::archive::Codec;
use crate::model::{Arch, FormulaRef, Kind, Sha256, StackName};

/// How keys are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `debian-12/runtimes/python-3.11.2.tar.gz`, as bob-builder has it.
    #[default]
    Tree,
    /// `python-3.11.2-debian-12-amd64.tar.zst`, as newer buildpacks read.
    Flat,
}

/// The keys of an artifact's three objects, relative to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The tarball.
    pub tarball: String,
    /// Its digest, as sha256sum(1) writes it.
    pub sha256: String,
    /// Its record.
    pub record: String,
}

impl Keys {
    /// The keys of a tarball's own and of what belongs to it.
    pub fn of(tarball: String) -> Self {
        Self {
            sha256: format!("{tarball}{}", Role::Sha256.suffix()),
            record: format!("{tarball}{}", Role::Record.suffix()),
            tarball,
        }
    }

    /// The key of one of them.
    pub fn key(&self, role: Role) -> &str {
        match role {
            Role::Tarball => &self.tarball,
            Role::Sha256 => &self.sha256,
            Role::Record => &self.record,
        }
    }

    /// The file name in the tarball's key.
    pub fn file_name(&self) -> &str {
        self.tarball
            .rsplit_once('/')
            .map_or(&*self.tarball, |(_, name)| name)
    }
}

/// Which of an artifact's three objects a key is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The tarball.
    Tarball,
    /// Its digest.
    Sha256,
    /// Its record.
    Record,
}

impl Role {
    /// What follows the tarball's key.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Tarball => "",
            Self::Sha256 => ".sha256",
            Self::Record => ".json",
        }
    }
}

/// What a key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// How the key is made.
    pub layout: Layout,
    /// The stack. In the flat layout what a stack is a release of: `ubuntu-20.04`, see [`release`].
    pub stack: StackName,
    /// The machine, which only the flat layout says.
    pub arch: Option<Arch>,
    /// The kind, which only the tree layout says.
    pub kind: Option<Kind>,
    /// The formula and its version.
    pub reference: FormulaRef,
    /// How the tarball is compressed.
    pub codec: Codec,
    /// Which object it is.
    pub role: Role,
    /// The key of the tarball.
    pub tarball: String,
}

/// The distribution's release that a stack is made of, as the flat layout names it: `ubuntu-20.04`
/// for `heroku-20`; a stack that is a release itself stays what it is.
pub fn release(stack: &StackName) -> String {
    let name = stack.as_str();
    let ubuntu = match name {
        "cedar-14" => Some("14"),
        "cflinuxfs3" => Some("18"),
        "cflinuxfs4" => Some("22"),
        "cflinuxfs5" => Some("24"),
        _ => name
            .strip_prefix("heroku-")
            .filter(|year| year.len() == 2 && year.bytes().all(|byte| byte.is_ascii_digit())),
    };
    ubuntu.map_or_else(|| name.to_owned(), |year| format!("ubuntu-{year}.04"))
}

/// The keys of an artifact. `name` stands in for the formula and its version; with a slash in it,
/// it stands in for the directory too, as bob-builder's `--name` does. Whether it can be a key is
/// found out by the remote that is asked for it.
pub fn keys(
    layout: Layout,
    stack: &StackName,
    kind: Kind,
    reference: &FormulaRef,
    arch: Arch,
    codec: Codec,
    name: Option<&str>,
) -> Keys {
    let extension = codec.extension();
    let stem = name.map_or_else(
        || match layout {
            // A script's path is that of what it makes.
            Layout::Tree => reference.to_string(),
            Layout::Flat => reference.stem(),
        },
        str::to_owned,
    );
    Keys::of(match layout {
        Layout::Tree if stem.contains('/') => format!("{stack}/{stem}.tar.{extension}"),
        Layout::Tree => format!("{stack}/{}/{stem}.tar.{extension}", kind.directory()),
        Layout::Flat => format!("{stem}-{}-{arch}.tar.{extension}", release(stack)),
    })
}

/// The keys of what a training gave: under the id of that training, so that every one that an
/// artifact was ever optimized by can stay.
pub fn profile_keys(
    layout: Layout,
    stack: &StackName,
    reference: &FormulaRef,
    arch: Arch,
    training: Sha256,
) -> Keys {
    let kind = Kind::Profile;
    let name = format!("{}/{reference}/{}", kind.directory(), training.short());
    let codec = Codec::Gzip;
    keys(layout, stack, kind, reference, arch, codec, Some(&name))
}

/// What was optimized by what lies at such a key: `python-3.13.5`. Others say nothing.
pub fn trained_for(key: &str) -> Option<FormulaRef> {
    let mut parts = key.rsplit('/').skip(1);
    let training = parts.next()?;
    if parts.next()? != Kind::Profile.directory() {
        return None;
    }
    let (name, version) = training.rsplit_once("-profile-")?;
    format!("{name}-{version}").parse().ok()
}

/// Reads a key that [`keys`] may have made, without a name of its own; others say nothing.
pub fn read_key(key: &str) -> Option<Named> {
    let (tarball, role) = [Role::Sha256, Role::Record]
        .into_iter()
        .find_map(|role| Some((key.strip_suffix(role.suffix())?, role)))
        .unwrap_or((key, Role::Tarball));
    let (stem, codec) = [Codec::Gzip, Codec::Xz, Codec::Zstd]
        .into_iter()
        .find_map(|codec| {
            let stem = tarball.strip_suffix(codec.extension())?;
            Some((stem.strip_suffix(".tar.")?, codec))
        })?;
    let parts: Vec<&str> = stem.split('/').collect();
    let (layout, stack, kind, arch, reference) = match *parts {
        [stack, directory, stem] => {
            let kind = Kind::ALL
                .into_iter()
                .find(|kind| kind.directory() == directory)?;
            (Layout::Tree, stack, Some(kind), None, stem.parse().ok()?)
        }
        [stem] => {
            let (stem, arch) = stem.rsplit_once('-')?;
            let (reference, stack) = flat(stem)?;
            (
                Layout::Flat,
                stack,
                None,
                Some(arch.parse().ok()?),
                reference,
            )
        }
        _ => return None,
    };
    let stack = stack.parse().ok()?;
    Some(Named {
        layout,
        stack,
        arch,
        kind,
        reference,
        codec,
        role,
        tarball: tarball.to_owned(),
    })
}

/// `python-3.11.2-debian-12` apart: the version is the first part that begins with a digit.
fn flat(stem: &str) -> Option<(FormulaRef, &str)> {
    let version = stem
        .match_indices('-')
        .map(|(at, _)| at + 1)
        .find(|at| stem[*at..].starts_with(|c: char| c.is_ascii_digit()))?;
    let end = version + stem[version..].find('-')?;
    Some((stem[..end].parse().ok()?, &stem[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(layout: Layout, stack: &str, reference: &str, name: Option<&str>) -> String {
        let stack = stack.parse().expect("a stack");
        let reference = reference.parse().expect("a formula");
        let codec = match layout {
            Layout::Tree => Codec::Gzip,
            Layout::Flat => Codec::Zstd,
        };
        let kind = Kind::Runtime;
        keys(layout, &stack, kind, &reference, Arch::Amd64, codec, name).tarball
    }

    #[test]
    fn keys_are_what_buildpacks_read() {
        let table = [
            (
                Layout::Tree,
                "heroku-20",
                None,
                "heroku-20/runtimes/python-3.8.8.tar.gz",
            ),
            (
                Layout::Tree,
                "heroku-20",
                Some("mine"),
                "heroku-20/runtimes/mine.tar.gz",
            ),
            (
                Layout::Tree,
                "heroku-20",
                Some("a/mine"),
                "heroku-20/a/mine.tar.gz",
            ),
            (
                Layout::Flat,
                "heroku-20",
                None,
                "python-3.8.8-ubuntu-20.04-amd64.tar.zst",
            ),
            (
                Layout::Flat,
                "cedar-14",
                None,
                "python-3.8.8-ubuntu-14.04-amd64.tar.zst",
            ),
            (
                Layout::Flat,
                "cflinuxfs4",
                None,
                "python-3.8.8-ubuntu-22.04-amd64.tar.zst",
            ),
            (
                Layout::Flat,
                "debian-12",
                None,
                "python-3.8.8-debian-12-amd64.tar.zst",
            ),
            (
                Layout::Flat,
                "heroku-x",
                None,
                "python-3.8.8-heroku-x-amd64.tar.zst",
            ),
        ];
        for (layout, stack, name, expected) in table {
            assert_eq!(key(layout, stack, "python-3.8.8", name), expected);
        }
    }

    #[test]
    fn what_a_script_makes_is_where_its_path_says() {
        let table = [
            (
                Layout::Tree,
                "runtimes/python-3.8.8",
                "heroku-20/runtimes/python-3.8.8.tar.gz",
            ),
            (
                Layout::Tree,
                "libraries/sqlite",
                "heroku-20/libraries/sqlite.tar.gz",
            ),
            (
                Layout::Tree,
                "libraries/vendor/libffi",
                "heroku-20/libraries/vendor/libffi.tar.gz",
            ),
            (
                Layout::Flat,
                "libraries/sqlite",
                "sqlite-ubuntu-20.04-amd64.tar.zst",
            ),
        ];
        for (layout, script, expected) in table {
            assert_eq!(key(layout, "heroku-20", script, None), expected);
        }
    }

    #[test]
    fn a_key_is_read_as_it_was_made() {
        for layout in [Layout::Tree, Layout::Flat] {
            for stack in ["heroku-20", "debian-12", "cflinuxfs3"] {
                for reference in ["python-3.8.8", "sqlite-3.45.1", "a-b-1.0"] {
                    let keys = Keys::of(key(layout, stack, reference, None));
                    let table = [
                        (&keys.tarball, Role::Tarball),
                        (&keys.sha256, Role::Sha256),
                        (&keys.record, Role::Record),
                    ];
                    for (key, role) in table {
                        let named = read_key(key).expect(key);
                        assert_eq!(named.role, role, "{key}");
                        assert_eq!(named.tarball, keys.tarball);
                        assert_eq!(named.layout, layout);
                        assert_eq!(named.reference.to_string(), reference);
                        let stack = stack.parse().expect("a stack");
                        match layout {
                            Layout::Tree => assert_eq!(named.stack, stack),
                            Layout::Flat => assert_eq!(named.stack.as_str(), release(&stack)),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn other_keys_say_nothing() {
        for key in [
            "",
            "index.json",
            "debian-12/runtimes/python.tar.gz",
            "debian-12/runtimes/python-3.8.8.tar.bz2",
            "debian-12/runtimes/python-3.8.8.zip",
            "debian-12/wheels/python-3.8.8.tar.gz",
            "debian-12/python-3.8.8.tar.gz",
            "a/debian-12/runtimes/python-3.8.8.tar.gz",
            "Debian/runtimes/python-3.8.8.tar.gz",
            "debian-12/runtimes/python-3.8.8.tar.gz.sha256.json",
            "python-3.8.8-amd64.tar.zst",
            "python-3.8.8-debian-12-mips.tar.zst",
            ".tar.gz",
        ] {
            assert_eq!(read_key(key), None, "{key}");
        }
    }
}
