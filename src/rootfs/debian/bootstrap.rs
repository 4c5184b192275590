//! From a manifest to the layers of a stack's two images.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::configure::{Stage, configure};
use super::selection::{self, Pick, Selection};
use super::suite::Released;
use super::unpack::{self, Batch, Board};
use super::{DebianError, mirror, suite};
use crate::archive::Ownership;
use crate::model::{Amount, Arch, Bytes, Sha256};
use crate::rootfs::Tools;
use crate::rootfs::layer;
use crate::rootfs::origin::Debian;
use crate::rootfs::owner;
use crate::rootfs::owners::Below;
use crate::rootfs::record::ImageRecord;
use crate::store::Scratch;
use crate::sys::interrupt::Interrupt;

/// What a stack would be made of today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Today {
    /// The suites' release files.
    pub releases: Vec<Released>,
    /// The packages.
    pub selection: Selection,
}

/// Finds out what a stack would be made of today, by the mirror's indexes alone.
pub(in crate::rootfs) fn today(
    debian: &Debian,
    arch: Arch,
    tools: &Tools<'_>,
) -> Result<Today, DebianError> {
    let mirror = mirror(tools)?;
    let suite::Offer { releases, texts } = suite::offer(debian, arch, &mirror, tools)?;
    let selection = Selection::choose(debian, arch, &texts)?;
    Ok(Today {
        releases,
        selection,
    })
}

fn mirror(tools: &Tools<'_>) -> Result<String, DebianError> {
    match &tools.mirror {
        Some(mirror) => Ok(mirror.trim_end_matches('/').to_owned()),
        None => mirror::of_host(Path::new("/etc/apt")).ok_or(DebianError::NoMirror),
    }
}

/// Makes the layers of a stack's run image and of its build image, in this order, unless the
/// store has them already. `origin` is the digest of what the manifest says.
pub(in crate::rootfs) fn prepare(
    selection: &Selection,
    origin: &Sha256,
    arch: Arch,
    tools: &Tools<'_>,
) -> Result<[ImageRecord; 2], DebianError> {
    let [run_key, build_key] = selection.digests(origin, arch);
    let Selection { run, build } = selection;
    let job = Job {
        arch,
        mirror: &mirror(tools)?,
        tools,
        run: (run, run_key),
        build: (build, build_key),
    };
    job.make_layers()?;
    let [in_run, in_build] = selection.packages();
    Ok([
        ImageRecord {
            layers: vec![run_key],
            digest: run_key,
            packages: in_run,
            source: None,
        },
        ImageRecord {
            layers: vec![run_key, build_key],
            digest: build_key,
            packages: in_build,
            source: None,
        },
    ])
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
            vec![self.upper_alone(&scratch, Below::of(&lower)?)?]
        } else {
            self.both(&scratch)?
        };
        let phase = self
            .tools
            .observer
            .phase("writing to disk", Amount::Unknown);
        layer::keep(self.tools, &finished)?;
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
        let (below, ownership) = self.unpacking(&batches, |board| {
            let run = board.wait(0, self.tools.interrupt)?;
            unpack::check_distinct(&[(&lower.tree, &run)])?;
            let below = Below {
                tree: lower.tree.clone(),
                ownership: configure(&lower.stage("run", &[]), &run, self.tools)?,
            };
            let build = board.wait(1, self.tools.interrupt)?;
            unpack::check_distinct(&[(&lower.tree, &run), (&upper.tree, &build)])?;
            let below = [below];
            let ownership = self.configure_upper(&upper, &below, &build)?;
            let [below] = below;
            Ok((below, ownership))
        })?;
        Ok(vec![
            lower.finished(self.run, below.ownership)?,
            upper.finished(self.build, ownership)?,
        ])
    }

    fn upper_alone(&self, scratch: &Scratch, lower: Below) -> Result<layer::Finished, DebianError> {
        let upper = Place::new(scratch, "build", self)?;
        unpack::new_tree(&upper.tree, self.arch, true)?;
        upper.own(self)?;
        let batches = [Batch {
            picks: self.build.0,
            tree: &upper.tree,
        }];
        let below = [lower];
        let ownership = self.unpacking(&batches, |board| {
            let build = board.wait(0, self.tools.interrupt)?;
            unpack::check_distinct(&[(&upper.tree, &build)])?;
            self.configure_upper(&upper, &below, &build)
        })?;
        upper.finished(self.build, ownership)
    }

    fn configure_upper(
        &self,
        upper: &Place,
        below: &[Below],
        packages: &[super::dpkg::Unpacked],
    ) -> Result<Ownership, DebianError> {
        for lower in below {
            unpack::check_above(&upper.tree, &lower.tree)?;
        }
        configure(&upper.stage("build", below), packages, self.tools)
    }

    /// Runs `then` while the batches are fetched and unpacked by other threads, which end when it
    /// fails.
    fn unpacking<T>(
        &self,
        batches: &[Batch<'_>],
        then: impl FnOnce(&Board) -> Result<T, DebianError>,
    ) -> Result<T, DebianError> {
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
        owner::create_private_dir(&this.layer, host)?;
        for path in [&this.tree, &this.work, &this.nothing] {
            owner::create_dir(path, host)?;
        }
        Ok(this)
    }

    fn own(&self, job: &Job<'_>) -> Result<(), DebianError> {
        Ok(owner::give(&self.tree, job.tools.host)?)
    }

    fn stage<'a>(&'a self, image: &'static str, below: &'a [Below]) -> Stage<'a> {
        Stage {
            image,
            below,
            tree: &self.tree,
            work: &self.work,
            nothing: &self.nothing,
        }
    }

    fn finished(
        self,
        (picks, key): (&[Pick], Sha256),
        ownership: Ownership,
    ) -> Result<layer::Finished, DebianError> {
        owner::open_up(&self.layer)?;
        Ok(layer::Finished {
            key,
            path: self.layer,
            packages: selection::packages(picks),
            ownership,
            making: layer::Making::Bootstrap,
            blobs: picks.iter().map(|pick| pick.sha256).collect(),
        })
    }
}
