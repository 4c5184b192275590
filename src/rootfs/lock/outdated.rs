//! What of a locked stack has moved since it was locked: found out without making it anew.

use super::super::apt::{self, Order};
use super::super::base::{self, BaseError, Draft};
use super::super::image;
use super::super::mirror::{self, Now};
use super::super::oci::Registries;
use super::super::origin::{Base, Made};
use super::super::wanted::Versions;
use super::super::{Manifest, Moved, Origin, RootfsError, Tools, debian, moved};
use super::{Drift, Locked, LockedImage, MadeOf};
use crate::model::{Arch, Sha256, StackName};

/// What has moved since a stack was locked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outdated {
    /// The manifest does not name any more what was locked: this it was.
    pub manifest: Option<String>,
    /// Images that have other layers now.
    pub images: Vec<MovedImage>,
    /// Packages that have other versions now, sorted by name.
    pub packages: Vec<Moved>,
    /// What could not be looked at, and why.
    pub unknown: Vec<String>,
}

/// An image that has other layers now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedImage {
    /// Where it is.
    pub place: String,
    /// The chain id of the layers that were locked.
    pub from: Sha256,
    /// The chain id of those that it has now.
    pub to: Sha256,
}

impl Outdated {
    /// Whether anything has moved, as far as could be looked at.
    pub fn is_moved(&self) -> bool {
        self.manifest.is_some() || !self.images.is_empty() || !self.packages.is_empty()
    }

    fn add(&mut self, packages: Vec<Moved>) {
        for moved in packages {
            // What is in both images moves in both.
            if !self.packages.contains(&moved) {
                self.packages.push(moved);
            }
        }
        self.packages.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

/// Looks at what was locked for one architecture.
pub fn outdated(
    locked: &Locked,
    manifest: &Manifest,
    arch: Arch,
    tools: &Tools<'_>,
) -> Result<Outdated, RootfsError> {
    let stack = manifest.name();
    let Ok(origin) = locked.origin(manifest) else {
        return Ok(Outdated {
            manifest: Some(locked.from.clone()),
            ..Outdated::default()
        });
    };
    let mut found = Outdated::default();
    match (origin, &locked.made_of) {
        (Origin::Debian(suites), MadeOf::Debian(then)) => {
            let now = debian::today(suites, arch, tools);
            let now = now.map_err(|source| RootfsError::debian(stack, source))?;
            let [_, then] = then.selection.packages();
            let [_, now] = now.selection.packages();
            found.add(moved(&then, &now));
        }
        (Origin::Made(made), MadeOf::Images { run, build }) => {
            images(&mut found, made, [run, build], stack, arch, tools)
                .map_err(|source| RootfsError::base(stack, source))?;
        }
        (Origin::Mirror(at), MadeOf::Images { run, build }) => {
            match mirror::now(at, stack, arch, tools)? {
                Some(now) => mirrored(&mut found, [run, build], now),
                None => found.unknown.push(format!("{origin} has no {stack}")),
            }
        }
        // The digest of the origin is right and its kind is not: the lock was edited.
        _ => {
            return Err(RootfsError::drift(stack)(Drift::Manifest {
                from: locked.from.clone(),
            }));
        }
    }
    Ok(found)
}

/// What a mirror says of a stack today, beside what was locked.
fn mirrored(found: &mut Outdated, locked: [&LockedImage; 2], now: Now) {
    let Now { chains, packages } = now;
    for ((then, chain), packages) in locked.into_iter().zip(chains).zip(packages) {
        let moved = moved(&then.packages, &packages);
        if moved.is_empty() && then.source.chain != chain {
            let image = MovedImage {
                place: then.source.place.clone(),
                from: then.source.chain,
                to: chain,
            };
            if !found.images.contains(&image) {
                found.images.push(image);
            }
        }
        found.add(moved);
    }
}

fn images(
    found: &mut Outdated,
    made: &Made,
    locked: [&LockedImage; 2],
    stack: &StackName,
    arch: Arch,
    tools: &Tools<'_>,
) -> Result<(), BaseError> {
    let Made { base, packages } = made;
    let now = chains(base, arch, locked, tools)?;
    let of_build = packages.of_build();
    for (n, wanted) in [&packages.run, &of_build].into_iter().enumerate() {
        let LockedImage {
            source,
            packages: then,
        } = locked[n];
        if source.chain != now[n] {
            let moved = MovedImage {
                place: source.place.clone(),
                from: source.chain,
                to: now[n],
            };
            if !found.images.contains(&moved) {
                found.images.push(moved);
            }
            continue;
        }
        if wanted.is_empty() {
            continue;
        }
        let Some(flat) = image::flat(&source.chain, tools.store) else {
            let place = &source.place;
            let unknown = format!("the packages on top of {place}, which is not on this host");
            if !found.unknown.contains(&unknown) {
                found.unknown.push(unknown);
            }
            continue;
        };
        let below = Draft::new((flat, source.clone()), stack, arch)?;
        let order = Order {
            wanted,
            sources: &packages.sources,
            versions: Versions::Newest,
        };
        let now = apt::today(&below, &order, tools)?;
        found.add(moved(then, &now));
    }
    Ok(())
}

/// The chain ids of the run image and of the build image as they are now.
fn chains(
    base: &Base,
    arch: Arch,
    locked: [&LockedImage; 2],
    tools: &Tools<'_>,
) -> Result<[Sha256; 2], BaseError> {
    match base {
        Base::Images { build, run } => {
            let registries = Registries::new((tools.access)()?);
            let (run, build) = base::resolve(build, run, arch, None, &tools.oci(&registries))?;
            let run = base::chain(&run)?;
            let build = build.as_ref().map(base::chain).transpose()?;
            Ok([run, build.unwrap_or(run)])
        }
        // Its digest is in the manifest.
        Base::Tarball { .. } => Ok(locked.map(|locked| locked.source.chain)),
        Base::Directory(path) => {
            let (flat, _) = base::directory(path, tools)?;
            Ok([flat.chain; 2])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_both_images_is_told_once() {
        let package = |name: &str| Moved {
            name: name.to_owned(),
            from: Some("1".to_owned()),
            to: Some("2".to_owned()),
        };
        let mut found = Outdated::default();
        assert!(!found.is_moved());
        found.add(vec![package("b")]);
        found.add(vec![package("a"), package("b")]);
        assert_eq!(found.packages, [package("a"), package("b")]);
        assert!(found.is_moved());
    }
}
