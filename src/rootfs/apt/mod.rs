//! Packages on top of an image: installed once by the image's own apt, in a sandbox, and kept as a
//! layer of the store.
//!
//! The network is open for this step alone. apt's lists, downloads and logs are in the sandbox's
//! `/tmp` and gone with it; what is left is what dpkg has put there.

mod error;
mod script;
mod today;

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use nix::unistd::{UnlinkatFlags, unlinkat};

use self::script::{NO_APT, RESOLVER, spec};
use super::base::Draft;
use super::layer::{self, Finished, Making};
use super::lock::Drift;
use super::owners::{self, Below};
use super::printed::Printed;
use super::wanted::Versions;
use super::{Package, Tools, installed, owner};
use crate::archive::Ownership;
use crate::model::{Amount, Hasher, Phase, Sha256};
use crate::sandbox::{self, Changes, End, Input, Output, Owners, SandboxSpec};
use crate::store::Scratch;
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::inroot::{self, Links};

pub use error::{AptError, Cause};
pub(super) use today::today;

/// Counted up whenever the same packages on the same image would become another layer.
const REVISION: u32 = 1;
/// What is asked of an image's apt.
pub(super) struct Order<'a> {
    /// Which packages.
    pub(super) wanted: &'a [String],
    /// Lines for its `sources.list` in place of the image's own.
    pub(super) sources: &'a [String],
    /// In which versions.
    pub(super) versions: Versions<'a>,
}

/// The image with these packages, and with what they depend on: one more layer, unless the store
/// has it or nothing is wanted.
pub(super) fn install(
    below: Draft,
    order: &Order<'_>,
    tools: &Tools<'_>,
) -> Result<Draft, AptError> {
    let Order {
        wanted,
        sources,
        versions,
    } = *order;
    if wanted.is_empty() {
        return Ok(below);
    }
    let asked = key(&below.digest, wanted, sources);
    let (key, packages) = match versions {
        Versions::Any => layer_of(asked, &below, order, tools)?,
        Versions::Newest => newest(asked, &below, order, tools)?,
        Versions::Exactly(packages) => exactly(asked, packages, &below, order, tools)?,
    };
    let digest = digest(&below.digest, wanted, &packages);
    let Draft {
        mut layers,
        mut trees,
        digest: _,
        packages: _,
        source,
    } = below;
    layers.push(key);
    trees.push(layer::tree(&tools.store.layer_path(&key)));
    Ok(Draft {
        layers,
        trees,
        digest,
        packages,
        source,
    })
}

/// A layer, and all that is installed then.
type Layer = (Sha256, Vec<Package>);

/// The layer of this key, made if the store has it not.
fn layer_of(
    key: Sha256,
    below: &Draft,
    order: &Order<'_>,
    tools: &Tools<'_>,
) -> Result<Layer, AptError> {
    let store = tools.store;
    if let Some(packages) = layer::packages(store, &key)? {
        return Ok((key, packages));
    }
    let _lock = store.lock(&format!("layer-{key}"), tools.observer, tools.interrupt)?;
    // Whoever held the lock may have made it.
    if let Some(packages) = layer::packages(store, &key)? {
        return Ok((key, packages));
    }
    let made = make(below, order, tools)?;
    let packages = made.packages.clone();
    made.keep(key, tools)?;
    Ok((key, packages))
}

/// The layer that apt makes now. If it comes out as one that the store has, that one is taken.
fn newest(
    asked: Sha256,
    below: &Draft,
    order: &Order<'_>,
    tools: &Tools<'_>,
) -> Result<Layer, AptError> {
    let store = tools.store;
    let made = make(below, order, tools)?;
    let packages = made.packages.clone();
    if let Some(key) = found(asked, &packages, tools)? {
        return Ok((key, packages));
    }
    let key = versioned(asked, &packages);
    let _lock = store.lock(&format!("layer-{key}"), tools.observer, tools.interrupt)?;
    if !layer::is_there(store, &key) {
        made.keep(key, tools)?;
    }
    Ok((key, packages))
}

/// The layer with which all these are installed and nothing else.
fn exactly(
    asked: Sha256,
    packages: &[Package],
    below: &Draft,
    order: &Order<'_>,
    tools: &Tools<'_>,
) -> Result<Layer, AptError> {
    let found = found(asked, packages, tools)?;
    let key = found.unwrap_or_else(|| versioned(asked, packages));
    let (key, installed) = layer_of(key, below, order, tools)?;
    match Drift::of_packages(packages, &installed) {
        Some(drift) => Err(drift.into()),
        None => Ok((key, installed)),
    }
}

/// The layer of what was asked for, if the store has one with just these packages.
fn found(
    asked: Sha256,
    packages: &[Package],
    tools: &Tools<'_>,
) -> Result<Option<Sha256>, AptError> {
    for key in [asked, versioned(asked, packages)] {
        if layer::packages(tools.store, &key)?.is_some_and(|found| found == packages) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// What the store files a layer under whose packages' versions are known.
fn versioned(asked: Sha256, packages: &[Package]) -> Sha256 {
    digest(&asked, &[], packages)
}

/// What the store files a layer under: of what is asked for, not of the versions that come.
fn key(below: &Sha256, wanted: &[String], sources: &[String]) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(format!("apt {REVISION} {below}\n").as_bytes());
    for (list, name) in [(wanted, "package"), (sources, "source")] {
        for item in list {
            hasher.update(format!("{name} {item}\n").as_bytes());
        }
    }
    hasher.finish()
}

/// What identifies the image: the same on every host that got the same versions.
fn digest(below: &Sha256, wanted: &[String], packages: &[Package]) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(format!("apt {REVISION} {below}\n").as_bytes());
    for name in wanted {
        hasher.update(format!("package {name}\n").as_bytes());
    }
    for package in packages {
        let Package {
            name,
            version,
            arch,
        } = package;
        hasher.update(format!("{name} {version} {arch}\n").as_bytes());
    }
    hasher.finish()
}

/// A layer that is not in its place yet.
struct Unkept {
    /// Goes with what was not kept.
    _scratch: Scratch,
    path: PathBuf,
    packages: Vec<Package>,
    ownership: Ownership,
}

impl Unkept {
    /// Puts it in its place.
    fn keep(self, key: Sha256, tools: &Tools<'_>) -> Result<(), AptError> {
        let phase = tools.observer.phase("writing to disk", Amount::Unknown);
        let finished = Finished {
            key,
            path: self.path,
            packages: self.packages,
            ownership: self.ownership,
            making: Making::Packages,
            blobs: Vec::new(),
        };
        layer::keep(tools, &[finished])?;
        phase.done();
        Ok(())
    }
}

/// Makes the layer.
fn make(below: &Draft, order: &Order<'_>, tools: &Tools<'_>) -> Result<Unkept, AptError> {
    let Order {
        wanted, versions, ..
    } = *order;
    let store = tools.store;
    store.sweep()?;
    let scratch = store.scratch()?;
    let path = scratch.path().join("packages");
    let (tree, work) = (layer::tree(&path), scratch.path().join("work"));
    owner::create_private_dir(&path, tools.host)?;
    for dir in [&tree, &work] {
        owner::create_dir(dir, tools.host)?;
    }
    let title = match wanted {
        [one] => format!("installing {one} with the image's apt"),
        many => format!("installing {} packages with the image's apt", many.len()),
    };
    let phase = tools.observer.phase(title, Amount::Unknown);
    let arguments = match versions {
        Versions::Any | Versions::Newest => wanted.to_vec(),
        Versions::Exactly(packages) => script::exactly(&below.packages, packages),
    };
    let changes = Changes::Kept {
        upper: tree.clone(),
        work,
    };
    let command = script::install(&arguments, order.sources);
    let spec = spec(below.trees.clone(), changes, &command);
    let owners = run(&spec, order, &phase, &mut |_| {}, tools)?;
    let ownership = {
        let _owner = owner::assume(tools.host);
        tidy(&tree)?;
        owners::take(&tree, &Below::all(&below.trees)?)?
    };
    owner::open_up(&path)?;
    let trees = [&below.trees[..], &[tree]].concat();
    let packages = installed::packages(&trees)?;
    let added = packages.len().saturating_sub(below.packages.len());
    phase.done_with(format!("{added} packages more"));
    owners::tell(owners, tools.observer);
    Ok(Unkept {
        _scratch: scratch,
        path,
        packages,
        ownership,
    })
}

/// Runs apt, and shows each line that it prints to `each`. Says what became of changes of owner.
fn run(
    spec: &SandboxSpec,
    order: &Order<'_>,
    phase: &Phase<'_>,
    each: &mut (dyn FnMut(&str) + Send),
    tools: &Tools<'_>,
) -> Result<Owners, AptError> {
    let mut printed = Printed::new(phase, each);
    let outcome = sandbox::run(
        spec,
        tools.host,
        Input::Null,
        Output::Lines(&mut |bytes| printed.take(bytes)),
        tools.interrupt,
    )?;
    let packages = order.wanted.to_vec();
    match outcome.end {
        End::Exited(0) => Ok(outcome.owners),
        End::Exited(NO_APT) => Err(AptError::NoApt { packages }),
        end => {
            let log = printed.text();
            let gone = error::gone(&log);
            if let (Versions::Exactly(_), false) = (order.versions, gone.is_empty()) {
                return Err(Drift::Gone(gone).into());
            }
            let cause = Cause::of(&log);
            Err(AptError::Failed {
                packages,
                end,
                cause,
                log,
            })
        }
    }
}

/// Takes out the empty file that the host's resolver was bound to, if the image had none.
fn tidy(tree: &Path) -> Result<(), FsError> {
    let root = sysfs::open(tree)?;
    let Ok(etc) = inroot::open(root.as_fd(), Path::new("etc"), Links::Refused) else {
        return Ok(());
    };
    let path = Path::new(RESOLVER);
    let name = path.file_name().unwrap_or_default();
    match fstatat(&etc, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) if found.st_mode & libc::S_IFMT == libc::S_IFREG && found.st_size == 0 => {
            unlinkat(&etc, name, UnlinkatFlags::NoRemoveDir).map_err(FsError::new(
                "unlinkat",
                &tree.join(path.strip_prefix("/").unwrap_or(path)),
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_decides_the_key_and_what_came_the_digest() {
        let list = |text: &str| -> Vec<String> {
            let words = text.split(' ').filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        let (below, other) = (Sha256::of(b"a"), Sha256::of(b"b"));
        let keys = [
            key(&below, &list("a"), &[]),
            key(&other, &list("a"), &[]),
            key(&below, &list("a b"), &[]),
            key(&below, &list("b a"), &[]),
            key(&below, &list("a"), &list("b")),
            key(&below, &list("a"), &list("c")),
        ];
        let package = |version: &str| Package {
            name: "a".to_owned(),
            version: version.to_owned(),
            arch: "all".to_owned(),
        };
        let digests = [
            digest(&below, &list("a"), &[package("1")]),
            digest(&other, &list("a"), &[package("1")]),
            digest(&below, &list("a"), &[package("2")]),
            digest(&below, &list("a b"), &[package("1")]),
        ];
        for all in [&keys[..], &digests] {
            for (n, one) in all.iter().enumerate() {
                assert!(!all[..n].contains(one), "number {n}");
            }
        }
    }
}
