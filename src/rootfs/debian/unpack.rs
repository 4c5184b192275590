//! Packages become files: fetched and unpacked on several threads, two layers at once.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use super::deb::{Deb, DebError};
use super::dpkg::Unpacked;
use super::selection::Pick;
use super::{DebianError, blob};
use crate::archive::{self, Extract, Limits, Trust};
use crate::model::Arch;
use crate::rootfs::Tools;
use crate::rootfs::owner;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

/// The packages of one layer, and where they are unpacked.
pub(super) struct Batch<'a> {
    /// The packages, in the order in which they can be configured.
    pub(super) picks: &'a [Pick],
    /// The layer's tree, as [`new_tree`] made it.
    pub(super) tree: &'a Path,
}

/// Makes the tree of a layer: with the directories that every Debian since buster merges into
/// `/usr` as symlinks, before any package can make them real ones. In a tree that will lie above
/// another the symlinks that base-files ships are needed too: what is unpacked into it does not
/// see the tree below.
pub(super) fn new_tree(tree: &Path, arch: Arch, above_another: bool) -> Result<(), FsError> {
    let merged: &[&str] = match arch {
        Arch::Amd64 => &["bin", "sbin", "lib", "lib64"],
        Arch::Arm64 => &["bin", "sbin", "lib"],
    };
    let link = |name: &str, target: &str| {
        let path = tree.join(name);
        symlink(target, &path).map_err(FsError::new("symlink", &path))
    };
    for name in merged {
        owner::open_dir(&tree.join("usr").join(name))?;
        link(name, &format!("usr/{name}"))?;
    }
    owner::open_dir(&tree.join("var/lib/dpkg"))?;
    if above_another {
        link("var/run", "/run")?;
        link("var/lock", "/run/lock")?;
    }
    Ok(())
}

/// How far the unpacking has got. Shared by the threads of [`Board::work`] and by whoever waits.
pub(super) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Of each batch its packages, as far as they are unpacked, and how many are not.
    batches: Vec<(Vec<Option<Unpacked>>, usize)>,
    /// The first thing that went wrong.
    failed: Option<DebianError>,
}

impl Board {
    /// Nothing is unpacked yet.
    pub(super) fn new(batches: &[Batch<'_>]) -> Self {
        let empty = |batch: &Batch<'_>| {
            (
                batch.picks.iter().map(|_| None).collect(),
                batch.picks.len(),
            )
        };
        Self {
            state: Mutex::new(State {
                batches: batches.iter().map(empty).collect(),
                failed: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked has left a state that can be read.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn fail(&self, error: DebianError) {
        self.lock().failed.get_or_insert(error);
        self.changed.notify_all();
    }

    fn put(&self, batch: usize, i: usize, unpacked: Unpacked) {
        let (packages, left) = &mut self.lock().batches[batch];
        packages[i] = Some(unpacked);
        *left -= 1;
        self.changed.notify_all();
    }

    /// Waits until a batch is unpacked.
    pub(super) fn wait(
        &self,
        batch: usize,
        interrupt: &Interrupt,
    ) -> Result<Vec<Unpacked>, DebianError> {
        let mut state = self.lock();
        loop {
            interrupt.check()?;
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            let (packages, left) = &mut state.batches[batch];
            if *left == 0 {
                return Ok(packages.iter_mut().filter_map(Option::take).collect());
            }
            // A signal wakes no condition variable: it is looked for now and then.
            let now_and_then = Duration::from_millis(50);
            state = match self.changed.wait_timeout(state, now_and_then) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Fetches and unpacks all packages. Ends early, without an error of its own, when one was
    /// noted or `stop` is raised.
    pub(super) fn work(
        &self,
        batches: &[Batch<'_>],
        mirror: &str,
        tools: &Tools<'_>,
        stop: &Interrupt,
        progress: &(dyn Fn(u64) + Sync),
    ) {
        let order = order(batches);
        let downloads: Vec<_> = order
            .iter()
            .map(|(batch, i)| batches[*batch].picks[*i].download(mirror))
            .collect();
        let (sender, receiver) = mpsc::channel::<(usize, PathBuf)>();
        let receiver = Mutex::new(receiver);
        std::thread::scope(|scope| {
            for _ in 0..tools.jobs.max(1) {
                scope.spawn(|| {
                    while let Some((n, blob)) = next(&receiver) {
                        let (batch, i) = order[n];
                        let Batch { picks, tree } = &batches[batch];
                        if stop.raised().is_some() {
                            continue;
                        }
                        let unpacked =
                            blob::sound(&blob, &downloads[n], tools, stop).and_then(|blob| {
                                let _owner = owner::assume(tools.host);
                                unpack(&picks[i], &blob, tree, stop)
                            });
                        match unpacked {
                            Ok(unpacked) => self.put(batch, i, unpacked),
                            Err(error) => self.fail(error),
                        }
                    }
                });
            }
            // The sender goes when the downloads are done; that ends the threads.
            let sender = Mutex::new(sender);
            let each = |n: usize, blob: &Path| {
                let sender = sender.lock();
                let sender = sender.unwrap_or_else(std::sync::PoisonError::into_inner);
                let _ = sender.send((n, blob.to_owned())); // nobody is left who would unpack it
            };
            let fetched = tools
                .client
                .fetch_all(&downloads, tools.store, stop, progress, &each);
            if let Err(error) = fetched {
                self.fail(error.into());
            }
        });
    }
}

fn next(receiver: &Mutex<mpsc::Receiver<(usize, PathBuf)>>) -> Option<(usize, PathBuf)> {
    let receiver = receiver.lock();
    let receiver = receiver.unwrap_or_else(std::sync::PoisonError::into_inner);
    receiver.recv().ok()
}

/// The first batch first, since there is work to do once it is complete; in each the largest
/// packages first, since the one that is unpacked last keeps only one thread busy.
fn order(batches: &[Batch<'_>]) -> Vec<(usize, usize)> {
    let mut order = Vec::new();
    for (n, batch) in batches.iter().enumerate() {
        let mut by_size: Vec<usize> = (0..batch.picks.len()).collect();
        by_size.sort_by_key(|i| std::cmp::Reverse(batch.picks[*i].size));
        order.extend(by_size.into_iter().map(|i| (n, i)));
    }
    order
}

fn unpack(
    pick: &Pick,
    blob: &Path,
    tree: &Path,
    interrupt: &Interrupt,
) -> Result<Unpacked, DebianError> {
    let of_package = |source| DebianError::Package {
        package: format!("{} {}", pick.name, pick.version),
        source,
    };
    let deb = Deb::open(blob).map_err(of_package)?;
    deb.check(&pick.name, &pick.version, &pick.arch)
        .map_err(of_package)?;
    let limits = Limits::for_compressed(deb.data_size());
    let (data, control) = deb.into_parts().map_err(of_package)?;
    let how = Extract {
        limits,
        list: true,
        ..Extract::new(tree, Trust::Layer)
    };
    let extracted = archive::extract(archive::interruptible(data, interrupt), &how)
        .map_err(|error| of_package(error.into()))?;
    let paths: Option<Vec<String>> = extracted
        .paths
        .iter()
        .map(|path| path.to_str().map(str::to_owned))
        .collect();
    let paths = paths.ok_or_else(|| of_package(DebError::Form("a file name is not UTF-8")))?;
    let unpacked = Unpacked {
        name: pick.name.clone(),
        arch: pick.arch.clone(),
        control,
        paths,
        owned: extracted.owned,
    };
    for path in unpacked.conffiles() {
        put_beside(&tree.join(path), tree)?;
    }
    Ok(unpacked)
}

/// A configuration file waits beside its place until the package is configured.
fn put_beside(path: &Path, tree: &Path) -> Result<(), DebianError> {
    within(path.parent().unwrap_or(tree), tree)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".dpkg-new");
    match fs::rename(path, &beside) {
        // Listed as one, but not shipped: dpkg passes over it too.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        renamed => Ok(renamed.map_err(FsError::new("rename", path))?),
    }
}

/// Fails if a directory of the tree, as the host resolves it, lies outside.
pub(super) fn within(dir: &Path, tree: &Path) -> Result<(), DebianError> {
    let resolve = |path: &Path| fs::canonicalize(path).map_err(FsError::new("realpath", path));
    match resolve(dir) {
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        resolved => {
            let path = dir.to_owned();
            let inside = resolved?.starts_with(resolve(tree)?);
            inside.then_some(()).ok_or(DebianError::Outside { path })
        }
    }
}

/// Fails if two packages hold the same file: which one it would be depends on chance.
pub(super) fn check_distinct(batches: &[(&Path, &[Unpacked])]) -> Result<(), DebianError> {
    let mut owners: HashMap<String, &str> = HashMap::new();
    for (tree, packages) in batches {
        for package in *packages {
            for path in &package.paths {
                let place = merged(path);
                let Some(first) = owners.insert(place, &package.name) else {
                    continue;
                };
                let is_dir = |tree: &Path| tree.join(path).is_dir();
                if !is_dir(tree) && !batches.iter().any(|(tree, _)| is_dir(tree)) {
                    return Err(DebianError::SamePath {
                        path: path.clone(),
                        first: first.to_owned(),
                        second: package.name.clone(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// Where a path lies once `/bin` and its like are merged into `/usr`.
fn merged(path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default();
    if ["bin", "sbin", "lib", "lib64"].contains(&first) {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

/// Fails if something in `upper` would hide what `lower` has in the same place: a directory a
/// symlink to one, say.
pub(super) fn check_above(upper: &Path, lower: &Path) -> Result<(), DebianError> {
    let mut open = vec![PathBuf::new()];
    while let Some(dir) = open.pop() {
        let path = upper.join(&dir);
        for entry in fs::read_dir(&path).map_err(FsError::new("readdir", &path))? {
            let entry = entry.map_err(FsError::new("readdir", &path))?;
            let kind = entry.file_type().map_err(FsError::new("lstat", &path))?;
            let at = dir.join(entry.file_name());
            let Ok(below) = fs::symlink_metadata(lower.join(&at)) else {
                continue; // new, and so is all below it
            };
            if kind.is_dir() != below.is_dir() || kind.is_symlink() != below.is_symlink() {
                return Err(DebianError::Hidden { path: at });
            }
            if kind.is_dir() {
                open.push(at);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of these directories (their names end with a slash), files, and symlinks (`a -> b`).
    fn tree(dir: &Path, name: &str, entries: &[&str]) -> PathBuf {
        let tree = dir.join(name);
        fs::create_dir_all(&tree).expect("mkdir");
        for entry in entries {
            let made = match entry.split_once(" -> ") {
                Some((link, target)) => symlink(target, tree.join(link)),
                None if entry.ends_with('/') => fs::create_dir_all(tree.join(entry)),
                None => fs::write(tree.join(entry), "x"),
            };
            made.expect(entry);
        }
        tree
    }

    #[test]
    fn an_upper_layer_hides_nothing_of_another_kind() {
        let lower = ["usr/lib/", "usr/share/", "usr/lib/file", "lib -> usr/lib"];
        let table: [(&[&str], Option<&str>); 6] = [
            (&["usr/lib/more/", "usr/lib/new", "lib -> usr/lib"], None),
            (&["usr/lib/", "usr/lib/file"], None),
            (&["lib/"], Some("lib")),
            (&["usr/", "usr/share -> lib"], Some("usr/share")),
            (&["usr/", "usr/share"], Some("usr/share")),
            (&["usr/lib/", "usr/lib/file -> x"], Some("usr/lib/file")),
        ];
        for (upper, hidden) in table {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let lower = tree(dir.path(), "lower", &lower);
            let found = check_above(&tree(dir.path(), "upper", upper), &lower);
            let found = found.map_err(|error| match error {
                DebianError::Hidden { path } => path,
                other => panic!("{other}"),
            });
            assert_eq!(found.err(), hidden.map(PathBuf::from), "{upper:?}");
        }
    }

    #[test]
    fn configuration_files_wait_beside_their_places_and_nowhere_else() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        tree(dir.path(), "outside", &["conf"]);
        let entries = ["etc/", "etc/conf", "out -> ../outside", "in -> etc"];
        let tree = tree(dir.path(), "tree", &entries);
        for path in ["out/conf", "out/nothing"] {
            let refused = put_beside(&tree.join(path), &tree);
            assert!(
                matches!(refused, Err(DebianError::Outside { .. })),
                "{path}"
            );
        }
        assert!(dir.path().join("outside/conf").exists());
        // Listed as configuration files, but not shipped.
        for path in ["etc/nothing", "nowhere/conf"] {
            put_beside(&tree.join(path), &tree).expect(path);
        }
        put_beside(&tree.join("in/conf"), &tree).expect("moved");
        assert!(!tree.join("etc/conf").exists() && tree.join("etc/conf.dpkg-new").exists());
    }
}
