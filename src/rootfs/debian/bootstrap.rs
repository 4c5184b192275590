//! From a manifest to the layers of a stack's two images.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::configure::{Stage, configure};
use super::selection::{self, Pick, Selection};
use super::unpack::{self, Batch, Board};
use super::{DebianError, mirror, suite};
use crate::model::{Amount, Arch, Bytes, Sha256};
use crate::rootfs::layer;
use crate::rootfs::origin::Debian;
use crate::rootfs::owner;
use crate::rootfs::record::ImageRecord;
use crate::rootfs::{Package, Tools};
use crate::store::Scratch;
use crate::sys::interrupt::Interrupt;

/// Makes the layers of a stack's run image and of its build image, in this order, unless the
/// store has them already. `origin` is the digest of what the manifest says.
pub(in crate::rootfs) fn prepare(
    debian: &Debian,
    origin: &Sha256,
    arch: Arch,
    tools: &Tools<'_>,
) -> Result<[ImageRecord; 2], DebianError> {
    let mirror = match &tools.mirror {
        Some(mirror) => mirror.trim_end_matches('/').to_owned(),
        None => mirror::of_host(Path::new("/etc/apt")).ok_or(DebianError::NoMirror)?,
    };
    let texts = suite::indexes(debian, arch, &mirror, tools)?;
    let Selection { run, build } = Selection::choose(debian, arch, &texts)?;
    drop(texts);
    let run_key = selection::digest(origin, arch, &[&run]);
    let build_key = selection::digest(origin, arch, &[&run, &build]);
    let job = Job {
        arch,
        mirror: &mirror,
        tools,
        run: (&run, run_key),
        build: (&build, build_key),
    };
    job.make_layers()?;
    let all: Vec<&Pick> = run.iter().chain(&build).collect();
    Ok([
        ImageRecord {
            layers: vec![run_key],
            digest: run_key,
            packages: packages(run.iter()),
            source: None,
        },
        ImageRecord {
            layers: vec![run_key, build_key],
            digest: build_key,
            packages: packages(all.into_iter()),
            source: None,
        },
    ])
}

fn packages<'a>(picks: impl Iterator<Item = &'a Pick>) -> Vec<Package> {
    let mut packages: Vec<Package> = picks
        .map(|pick| Package {
            name: pick.name.clone(),
            version: pick.version.clone(),
            arch: pick.arch.clone(),
        })
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

struct Job<'a> {
    arch: Arch,
    mirror: &'a str,
    tools: &'a Tools<'a>,
    run: (&'a [Pick], Sha256),
    build: (&'a [Pick], Sha256),
}

impl Job<'_> {
    /// Both layers, or the upper one alone if a killed run has left the lower.
    fn make_layers(&self) -> Result<(), DebianError> {
        let store = self.tools.store;
        let has = |key: &Sha256| layer::is_there(store, key);
        if has(&self.run.1) && has(&self.build.1) {
            return Ok(());
        }
        store.sweep()?;
        let scratch = store.scratch()?;
        let finished = if has(&self.run.1) {
            let lower = layer::tree(&store.layer_path(&self.run.1));
            vec![self.upper_alone(&scratch, &lower)?]
        } else {
            self.both(&scratch)?
        };
        let phase = self
            .tools
            .observer
            .phase("writing to disk", Amount::Unknown);
        layer::keep(store, &finished)?;
        phase.done();
        Ok(())
    }

    fn both(&self, scratch: &Scratch) -> Result<Vec<layer::Finished>, DebianError> {
        let lower = Place::new(scratch, "run", self)?;
        let upper = Place::new(scratch, "build", self)?;
        unpack::new_tree(&lower.tree, self.arch, false)?;
        unpack::new_tree(&upper.tree, self.arch, true)?;
        lower.own(self)?;
        upper.own(self)?;
        let batches = [
            Batch {
                picks: self.run.0,
                tree: &lower.tree,
            },
            Batch {
                picks: self.build.0,
                tree: &upper.tree,
            },
        ];
        self.unpacking(&batches, |board| {
            let run = board.wait(0, self.tools.interrupt)?;
            unpack::check_distinct(&[(&lower.tree, &run)])?;
            configure(&lower.stage("run", Vec::new()), &run, self.tools)?;
            let build = board.wait(1, self.tools.interrupt)?;
            unpack::check_distinct(&[(&lower.tree, &run), (&upper.tree, &build)])?;
            self.configure_upper(&upper, &lower.tree, &build)
        })?;
        Ok(vec![lower.finished(self.run), upper.finished(self.build)])
    }

    fn upper_alone(&self, scratch: &Scratch, lower: &Path) -> Result<layer::Finished, DebianError> {
        let upper = Place::new(scratch, "build", self)?;
        unpack::new_tree(&upper.tree, self.arch, true)?;
        upper.own(self)?;
        let batches = [Batch {
            picks: self.build.0,
            tree: &upper.tree,
        }];
        self.unpacking(&batches, |board| {
            let build = board.wait(0, self.tools.interrupt)?;
            unpack::check_distinct(&[(&upper.tree, &build)])?;
            self.configure_upper(&upper, lower, &build)
        })?;
        Ok(upper.finished(self.build))
    }

    fn configure_upper(
        &self,
        upper: &Place,
        lower: &Path,
        packages: &[super::dpkg::Unpacked],
    ) -> Result<(), DebianError> {
        unpack::check_above(&upper.tree, lower)?;
        let stage = upper.stage("build", vec![lower.to_owned()]);
        configure(&stage, packages, self.tools)
    }

    /// Runs `then` while the batches are fetched and unpacked by other threads, which end when it
    /// fails.
    fn unpacking(
        &self,
        batches: &[Batch<'_>],
        then: impl FnOnce(&Board) -> Result<(), DebianError>,
    ) -> Result<(), DebianError> {
        let picks = || batches.iter().flat_map(|batch| batch.picks);
        let size: u64 = picks().map(|pick| pick.size).sum();
        let count = picks().count();
        let title = format!("unpacking {count} packages as they arrive");
        let phase = self.tools.observer.phase(title, Amount::Bytes(size));
        let stop =
            Interrupt::manual().map_err(crate::sys::fs::FsError::new("eventfd", Path::new("")))?;
        let board = Board::new(batches);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let progress = |bytes| phase.advance(bytes);
                board.work(batches, self.mirror, self.tools, &stop, &progress);
                if stop.raised().is_none() {
                    phase.done_with(format!("{count} packages, {}", Bytes(size)));
                }
            });
            let result = then(&board);
            if let Err(error) = &result {
                let signal = match error {
                    DebianError::Interrupted(interrupted) => interrupted.0,
                    _ => Signal::SIGTERM,
                };
                stop.raise(signal);
            }
            result
        })
    }
}

/// Where a layer is being made: `<name>/tree`, which becomes the layer's, and what it takes.
struct Place {
    layer: PathBuf,
    tree: PathBuf,
    work: PathBuf,
    nothing: PathBuf,
}

impl Place {
    fn new(scratch: &Scratch, name: &str, job: &Job<'_>) -> Result<Self, DebianError> {
        let host = job.tools.host;
        let layer = scratch.path().join(name);
        let this = Self {
            tree: layer::tree(&layer),
            layer,
            work: scratch.path().join(format!("{name}-work")),
            nothing: scratch.path().join(format!("{name}-nothing")),
        };
        for path in [&this.tree, &this.work, &this.nothing] {
            owner::create_dir(path, host)?;
        }
        Ok(this)
    }

    fn own(&self, job: &Job<'_>) -> Result<(), DebianError> {
        Ok(owner::give(&self.tree, job.tools.host)?)
    }

    fn stage(&self, image: &'static str, below: Vec<PathBuf>) -> Stage<'_> {
        Stage {
            image,
            below,
            tree: &self.tree,
            work: &self.work,
            nothing: &self.nothing,
        }
    }

    fn finished(self, (picks, key): (&[Pick], Sha256)) -> layer::Finished {
        layer::Finished {
            key,
            path: self.layer,
            packages: packages(picks.iter()),
        }
    }
}
