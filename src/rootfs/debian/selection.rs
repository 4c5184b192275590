//! Which packages the two images of a stack take, and what identifies the images thereby.

use serde::{Deserialize, Serialize};

use super::DebianError;
use super::index::{self, Record};
use super::resolve::Universe;
use crate::model::{Arch, Hasher, Sha256};
use crate::net::Download;
use crate::rootfs::Package;
use crate::rootfs::origin::Debian;

/// Counted up whenever the same packages would become other layers.
const BOOTSTRAP_REVISION: u32 = 1;

/// A package to be fetched and installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub arch: String,
    /// Where it is below the mirror's root.
    pub filename: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
}

impl Pick {
    /// How to get it.
    pub(super) fn download(&self, mirror: &str) -> Download {
        Download {
            what: format!("the package {} {}", self.name, self.version),
            urls: vec![format!("{mirror}/{}", self.filename)],
            digest: self.sha256,
            size: Some(self.size),
        }
    }
}

/// The packages of a stack, each list in the order in which they can be configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Those of the run image.
    pub run: Vec<Pick>,
    /// Those that the build image has beside them.
    pub build: Vec<Pick>,
}

impl Selection {
    /// Reads the indexes and chooses.
    pub(super) fn choose(
        debian: &Debian,
        arch: Arch,
        texts: &[String],
    ) -> Result<Self, DebianError> {
        let mut records = Vec::new();
        for text in texts {
            records.extend(index::parse(text, arch.as_str())?);
        }
        let universe = Universe::new(records)?;
        let run = universe.resolve(&debian.run)?;
        // With the run set asked for by name, so that the build image is the run image and more.
        let names = run.iter().map(|record| record.name.to_owned());
        let names: Vec<String> = names.chain(debian.build.iter().cloned()).collect();
        let both = universe.resolve(&names)?;
        let is_run = |record: &&&Record<'_>| run.iter().any(|r| r.name == record.name);
        let build: Vec<&Record<'_>> = both
            .iter()
            .filter(|record| !is_run(record))
            .copied()
            .collect();
        Ok(Self {
            run: picks(&run)?,
            build: picks(&build)?,
        })
    }

    /// What identifies the run image and the build image, in this order. `origin` is the digest of
    /// what the manifest says.
    pub(in crate::rootfs) fn digests(&self, origin: &Sha256, arch: Arch) -> [Sha256; 2] {
        let Self { run, build } = self;
        [
            digest(origin, arch, &[run]),
            digest(origin, arch, &[run, build]),
        ]
    }

    /// What is installed in the run image and in the build image, sorted by name.
    pub fn packages(&self) -> [Vec<Package>; 2] {
        let Self { run, build } = self;
        [packages(run), packages(run.iter().chain(build))]
    }
}

/// As lists of installed packages have them, sorted by name.
pub(super) fn packages<'a>(picks: impl IntoIterator<Item = &'a Pick>) -> Vec<Package> {
    let mut packages: Vec<Package> = picks
        .into_iter()
        .map(|pick| Package {
            name: pick.name.clone(),
            version: pick.version.clone(),
            arch: pick.arch.clone(),
        })
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

fn picks(records: &[&Record<'_>]) -> Result<Vec<Pick>, DebianError> {
    records
        .iter()
        .map(|record| {
            let sha256 = record.sha256.parse();
            let sha256 = sha256.map_err(|_| index::IndexError::Wrong {
                package: record.name.to_owned(),
                field: "SHA256",
                value: record.sha256.to_owned(),
            })?;
            Ok(Pick {
                name: record.name.to_owned(),
                version: record.version.to_owned(),
                arch: record.arch.to_owned(),
                filename: record.filename.to_owned(),
                size: record.size,
                sha256,
            })
        })
        .collect()
}

/// What identifies an image made of these packages: the same on every host.
fn digest(origin: &Sha256, arch: Arch, layers: &[&[Pick]]) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(format!("debian {BOOTSTRAP_REVISION} {arch} {origin}\n").as_bytes());
    for layer in layers {
        hasher.update(b"layer\n");
        let mut sorted: Vec<&Pick> = layer.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        for pick in sorted {
            let Pick {
                name,
                version,
                arch,
                filename: _, // the same package may lie elsewhere on another mirror
                size: _,
                sha256,
            } = pick;
            hasher.update(format!("{name} {version} {arch} {sha256}\n").as_bytes());
        }
    }
    hasher.finish()
}

/// What identifies a stack on this host before it is known which packages it has.
pub(in crate::rootfs) fn key(origin: &Sha256, arch: Arch) -> Sha256 {
    Sha256::of(format!("debian {BOOTSTRAP_REVISION} {arch} {origin}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(name: &str) -> Pick {
        Pick {
            name: name.to_owned(),
            version: "1-1".to_owned(),
            arch: "amd64".to_owned(),
            filename: format!("pool/{name}.deb"),
            size: 1,
            sha256: Sha256::of(name.as_bytes()),
        }
    }

    #[test]
    #[rustfmt::skip] // one change a line
    fn what_can_change_an_image_changes_its_digest() {
        let twelve = &Sha256::of(b"what the manifest says");
        let (a, b) = ([pick("a"), pick("c")], [pick("b")]);
        let digest_of = |layers: &[&[Pick]]| digest(twelve, Arch::Amd64, layers);
        let changed = |change: fn(&mut Pick)| {
            let mut a = a.clone();
            change(&mut a[0]);
            digest_of(&[&a, &b])
        };
        let as_it_is = digest_of(&[&a, &b]);
        let others = [
            ("name", changed(|pick| pick.name.push('x'))),
            ("version", changed(|pick| pick.version.push('0'))),
            ("architecture", changed(|pick| pick.arch = "all".to_owned())),
            ("content", changed(|pick| pick.sha256 = Sha256::of(b"x"))),
            ("layer alone", digest_of(&[&a])),
            ("layers as one", digest_of(&[&[&a[..], &b[..]].concat()])),
            ("a layer in two", digest_of(&[&a[..1], &a[1..], &b])),
            ("order of layers", digest_of(&[&b, &a])),
            ("architecture of all", digest(twelve, Arch::Arm64, &[&a, &b])),
            ("manifest", digest(&Sha256::of(b"something else"), Arch::Amd64, &[&a, &b])),
        ];
        let mut seen = vec![("nothing", as_it_is)];
        for (what, digest) in others {
            let twin = seen.iter().find(|(_, other)| *other == digest);
            assert_eq!(twin, None, "changing {what} gives a digest that is taken");
            seen.push((what, digest));
        }
        let same = [
            ("place on the mirror", changed(|pick| pick.filename.push('x'))),
            ("order of packages", digest_of(&[&[pick("c"), pick("a")], &b])),
        ];
        for (what, digest) in same {
            assert_eq!(digest, as_it_is, "{what}");
        }
    }
}
