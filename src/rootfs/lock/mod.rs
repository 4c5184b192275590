//! A stack's lock, `<stack>.lock` beside its manifest: what the stack was made of on the day it was
//! locked. With it the same bytes are used, or none.

mod drift;
mod outdated;
mod text;

use std::collections::BTreeMap;

use super::debian::{DebianError, Today};
use super::manifest::ManifestError;
use super::origin::{Debian, Origin};
use super::record::Source;
use super::{
    Image, Manifest, Package, Rootfs, RootfsError, Tools, Wanted, debian, origins, prepare,
};
use crate::model::{Arch, Sha256, StackName};
use crate::net::NetError;

pub use drift::Drift;
pub use outdated::{MovedImage, Outdated, outdated};

/// What a stack was made of when it was locked, for each architecture that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    stack: StackName,
    parts: BTreeMap<Arch, Locked>,
}

/// What a stack was made of for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// What of the manifest's origin the layers do not tell ([`Origin::recipe`]).
    pub origin: Sha256,
    /// That origin in a few words.
    pub from: String,
    /// The digest of the run image.
    pub run: Sha256,
    /// The digest of the build image.
    pub build: Sha256,
    /// What they were made of.
    pub made_of: MadeOf,
}

/// What a stack's images were made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MadeOf {
    /// Packages of Debian suites.
    Debian(Today),
    /// What others made.
    Images {
        /// The run image.
        run: Box<LockedImage>,
        /// The build image.
        build: Box<LockedImage>,
    },
}

/// An image that was made of what others made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedImage {
    /// What it was made from.
    pub source: Source,
    /// All that is installed in it.
    pub packages: Vec<Package>,
}

impl Lock {
    /// A lock that says nothing yet.
    pub fn new(stack: StackName) -> Self {
        let parts = BTreeMap::new();
        Self { stack, parts }
    }

    /// Reads a lock. `file` is its name in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, ManifestError> {
        text::parse(text).map_err(|(span, message)| ManifestError {
            file: file.to_owned(),
            text: text.to_owned(),
            span,
            message,
            nearest: None,
        })
    }

    /// The text of its file.
    pub fn render(&self) -> String {
        text::render(self)
    }

    /// The stack.
    pub fn stack(&self) -> &StackName {
        &self.stack
    }

    /// What is locked for an architecture.
    pub fn part(&self, arch: Arch) -> Option<&Locked> {
        self.parts.get(&arch)
    }

    /// Locks the stack for one architecture; what is said of others stays.
    pub fn set(&mut self, arch: Arch, locked: Locked) {
        self.parts.insert(arch, locked);
    }
}

impl Locked {
    /// What the store files the stack under if it is made to be just this.
    pub(super) fn key(&self, stack: &StackName, arch: Arch) -> Sha256 {
        let Self {
            origin, run, build, ..
        } = self;
        Sha256::of(format!("locked {stack} {arch} {origin} {run} {build}").as_bytes())
    }

    /// Whether a stack is just this.
    pub fn is(&self, rootfs: &Rootfs) -> bool {
        self.run == rootfs.run.digest && self.build == rootfs.build.digest
    }

    /// The origin of the manifest that this was made from, or one like it: whether its layers are
    /// the same is seen when they are looked up.
    pub fn origin<'m>(&self, manifest: &'m Manifest) -> Result<&'m Origin, Drift> {
        let name = manifest.name();
        let alike = || {
            let origins = manifest.origins().iter();
            origins.filter(|origin| origin.recipe(name) == self.origin)
        };
        let mut same = alike().filter(|origin| manifest.beside(&origin.to_string()) == self.from);
        same.next()
            .or_else(|| alike().next())
            .ok_or_else(|| Drift::Manifest {
                from: self.from.clone(),
            })
    }
}

/// Locks a stack: what it is made of today. What is bootstrapped from a mirror is only looked up;
/// what others made is prepared, since apt alone knows what it installs.
pub fn today(manifest: &Manifest, arch: Arch, tools: &Tools<'_>) -> Result<Locked, RootfsError> {
    let stack = manifest.name();
    let origins = origins(manifest, tools.mirror.as_deref())?;
    if let Some(origin @ Origin::Debian(suites)) = origins.first() {
        return of_suites(suites, origin, manifest, arch, tools);
    }
    let rootfs = prepare(manifest, arch, Wanted::Today, tools)?;
    // Mirrors that do not have it were passed over.
    let made = |origin: &&&Origin| rootfs.origin.as_ref() == Some(&origin.to_string());
    let found = origins.iter().find(made).or(origins.first());
    let unlockable = || RootfsError::Unlockable {
        stack: stack.clone(),
    };
    let origin = *found.ok_or_else(unlockable)?;
    if let Origin::Debian(suites) = origin {
        return of_suites(suites, origin, manifest, arch, tools);
    }
    let image = |image: Image| {
        let Image {
            packages, source, ..
        } = image;
        let source = source.ok_or_else(unlockable)?;
        Ok::<_, RootfsError>(Box::new(LockedImage {
            source: Source {
                place: manifest.beside(&source.place),
                ..source
            },
            packages,
        }))
    };
    Ok(Locked {
        origin: origin.recipe(stack),
        from: manifest.beside(&origin.to_string()),
        run: rootfs.run.digest,
        build: rootfs.build.digest,
        made_of: MadeOf::Images {
            run: image(rootfs.run)?,
            build: image(rootfs.build)?,
        },
    })
}

fn of_suites(
    suites: &Debian,
    origin: &Origin,
    manifest: &Manifest,
    arch: Arch,
    tools: &Tools<'_>,
) -> Result<Locked, RootfsError> {
    manifest.check(arch)?;
    let recipe = origin.recipe(manifest.name());
    let today = debian::today(suites, arch, tools);
    let today = today.map_err(|source| RootfsError::debian(manifest.name(), source))?;
    let [run, build] = today.selection.digests(&recipe, arch);
    Ok(Locked {
        origin: recipe,
        from: manifest.beside(&origin.to_string()),
        run,
        build,
        made_of: MadeOf::Debian(today),
    })
}

/// Why a locked package cannot be had, if it is because the mirror has others now.
pub(super) fn explained(
    error: &DebianError,
    suites: &Debian,
    locked: &Today,
    arch: Arch,
    tools: &Tools<'_>,
) -> Option<Drift> {
    let DebianError::Net(NetError::Failed { .. } | NetError::WrongDigest { .. }) = error else {
        return None;
    };
    let now = debian::today(suites, arch, tools).ok()?;
    let ([_, then], [_, now]) = (locked.selection.packages(), now.selection.packages());
    Drift::of_packages(&then, &now)
}
