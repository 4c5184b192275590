//! One recipe to one artifact: reuse it, or build, prove and package it.

use std::path::{Path, PathBuf};

use jiff::civil::Date;

use super::session::Session;
use super::source::{self, Mirrors};
use super::{Failure, limits};
use crate::archive::Codec;
use crate::artifact::package::{Artifact, PackageError, Packing, package, repack};
use crate::artifact::prefix::{link, prune, relink};
use crate::artifact::proof::{self, Proven, Subject, prove};
use crate::artifact::record::{
    DependencyRecord, FileRecord, ImageRecord, MakingRecord, Origin, PackageRecord, ProductRecord,
    SourceRecord, StepRecord, ToolRecord,
};
use crate::build::{
    self, BUILD_REVISION, BuildOptions, BuildPlan, Built, Conduct, Inputs, PlannedDependency,
    Platform, plan,
};
use crate::cli::{Building, Compression};
use crate::formula::{Archive, Catalog, FileContent, Recipe, Source};
use crate::model::{Amount, FormulaRef, GuestPath, Kind, Sha256, StackName, Wanted};
use crate::rootfs::{Image, Rootfs};
use crate::sandbox::{Access, Bind, Launcher, Limits};
use crate::store::Store;
use crate::ui::ExitKind;

/// How artifacts are made, the same for each of one command.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) mirrors: Mirrors,
    pub(super) limits: Limits,
    pub(super) jobs: usize,
    pub(super) shell_on_failure: bool,
}

/// An artifact, and what it stands on.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) reference: FormulaRef,
    pub(super) build_id: Sha256,
    pub(super) artifact: Artifact,
    /// Whether the store had it.
    pub(super) reused: bool,
}

impl Manner {
    /// As the flags want it.
    pub(super) fn of(args: &Building, jobs: usize) -> Self {
        Self {
            mirrors: Mirrors::of(args),
            limits: limits::of(&args.limits),
            jobs,
            shell_on_failure: false,
        }
    }
}

/// What is built.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    /// Each after what it depends on, each once.
    pub(super) recipes: Vec<Recipe>,
    /// Which of them were asked for.
    asked: Vec<FormulaRef>,
}

impl Batch {
    /// Whether a recipe was asked for, and is not there for others alone.
    pub(super) fn asks_for(&self, recipe: &Recipe) -> bool {
        self.asked.contains(&recipe.reference)
    }

    /// Adds a script, which became a recipe only once it was known what it begins with.
    pub(super) fn add(&mut self, script: Recipe) {
        self.asked.push(script.reference.clone());
        self.recipes.push(script);
    }
}

/// What is built for what is asked for.
pub(super) fn batch(
    wanted: &[Wanted],
    stack: &StackName,
    extra_dir: Option<&Path>,
    profile: Option<&str>,
) -> Result<Batch, Failure> {
    let catalog = Catalog::load(extra_dir)?;
    let asked = catalog.choose(wanted, today())?;
    let mut ordered: Vec<Recipe> = Vec::new();
    for reference in &asked {
        for recipe in catalog.recipes(reference, profile, stack)? {
            if !ordered
                .iter()
                .any(|known| known.reference == recipe.reference)
            {
                ordered.push(recipe);
            }
        }
    }
    Ok(Batch {
        recipes: ordered,
        asked,
    })
}

/// The day it is here: what decides which versions and stacks are past their end of life.
pub(super) fn today() -> Date {
    jiff::Zoned::now().date()
}

/// The codec of a way to compress.
pub(super) fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::Gz => Codec::Gzip,
        Compression::Zst => Codec::Zstd,
        Compression::Xz => Codec::Xz,
    }
}

impl Made {
    /// It, as what depends on it plans with it.
    fn planned(&self) -> PlannedDependency {
        let is_trained = self.artifact.record().product.kind == Kind::Profile;
        PlannedDependency {
            reference: self.reference.clone(),
            build_id: self.build_id,
            trained: is_trained.then(|| self.artifact.digest()),
        }
    }

    /// The artifact compressed in this way: the one that there is, or packed again.
    pub(super) fn compressed(&self, session: &Session, codec: Codec) -> Result<Artifact, Failure> {
        let Session {
            store, interrupt, ..
        } = session;
        if let Some(artifact) = Artifact::open(store, &self.build_id, codec, interrupt)? {
            return Ok(artifact);
        }
        let title = format!("compressing {} with {}", self.reference, codec.extension());
        let phase = session.observer().phase(title, Amount::Unknown);
        let artifact = repack(&self.artifact, packing(codec), store, interrupt)?;
        phase.done();
        Ok(artifact)
    }
}

/// Everything that one recipe is made with.
pub(super) struct Workshop<'a> {
    pub(super) session: &'a Session,
    pub(super) rootfs: &'a Rootfs,
    pub(super) manner: &'a Manner,
}

impl Workshop<'_> {
    /// The plans of a recipe, one for each form of its source, the preferred first.
    pub(super) fn plans(&self, recipe: &Recipe, made: &[Made]) -> Vec<BuildPlan> {
        recipe
            .sources
            .iter()
            .map(|source| self.plan(recipe, source, made, self.manner.jobs))
            .collect()
    }

    fn plan(&self, recipe: &Recipe, source: &Source, made: &[Made], jobs: usize) -> BuildPlan {
        let dependencies: Vec<PlannedDependency> =
            dependencies_of(recipe, made).map(Made::planned).collect();
        let platform = platform(self.rootfs);
        plan(
            recipe,
            source,
            &platform,
            &dependencies,
            &BuildOptions { jobs },
        )
    }

    /// The artifact of a recipe: from the store (unless it is to be built again), or made now.
    pub(super) fn make(
        &self,
        recipe: &Recipe,
        made: &[Made],
        codec: Codec,
        rebuild: bool,
    ) -> Result<Made, Failure> {
        if !rebuild {
            for plan in self.plans(recipe, made) {
                if let Some(made) = self.reuse(&plan, codec)? {
                    return Ok(made);
                }
            }
        }
        let Session {
            store, interrupt, ..
        } = self.session;
        let fetched = source::fetch(recipe, &self.manner.mirrors, self.session)?;
        let plan = self.plan(recipe, fetched.source, made, self.manner.jobs);
        let key = format!("build-{}", plan.build_id);
        let _held = store.lock(&key, self.session.observer(), interrupt)?;
        if !rebuild && let Some(made) = self.reuse(&plan, codec)? {
            return Ok(made);
        }
        self.warn_of_age(recipe);
        let built = self.build(&plan, fetched.blob.as_deref(), made)?;
        let proven = self.prove(&plan, &built)?;
        let artifact = self.package(&plan, &proven, made, codec)?;
        Ok(Made {
            reference: plan.reference,
            build_id: plan.build_id,
            artifact,
            reused: false,
        })
    }

    /// Says so if nobody mends what is built any more.
    fn warn_of_age(&self, recipe: &Recipe) {
        if let Some(day) = recipe.end_of_life.filter(|day| *day < today()) {
            self.session.observer().warn(format!(
                "{} has reached its end of life on {day}: nobody mends it any more",
                recipe.reference
            ));
        }
    }

    /// The artifact of a plan if the store has it.
    pub(super) fn reuse(&self, plan: &BuildPlan, codec: Codec) -> Result<Option<Made>, Failure> {
        let Session {
            store, interrupt, ..
        } = self.session;
        let artifact = Artifact::open(store, &plan.build_id, codec, interrupt)?;
        Ok(artifact.map(|artifact| Made {
            reference: plan.reference.clone(),
            build_id: plan.build_id,
            artifact,
            reused: true,
        }))
    }

    /// Builds a recipe anew with so many jobs, whatever the store has: for comparing.
    pub(super) fn make_again(
        &self,
        recipe: &Recipe,
        made: &[Made],
        jobs: usize,
    ) -> Result<Built, Failure> {
        let fetched = source::fetch(recipe, &self.manner.mirrors, self.session)?;
        let plan = self.plan(recipe, fetched.source, made, jobs);
        self.build(&plan, fetched.blob.as_deref(), made)
    }

    /// Runs the steps and puts the prefix in order.
    fn build(
        &self,
        plan: &BuildPlan,
        source: Option<&Path>,
        made: &[Made],
    ) -> Result<Built, Failure> {
        let session = self.session;
        let tarballs: Vec<PathBuf> = plan
            .dependencies
            .iter()
            .filter_map(|planned| made.iter().find(|made| made.build_id == planned.build_id))
            .map(|made| made.artifact.tarball())
            .collect();
        let blob = |archive: &Archive| session.store.blob_path(&archive.sha256);
        let archives: Vec<PathBuf> = plan.archives.iter().map(blob).collect();
        let inputs = Inputs {
            source,
            archives: &archives,
            dependencies: &tarballs,
            layers: &self.rootfs.build.layers,
        };
        let conduct = Conduct {
            limits: self.manner.limits,
            shell_on_failure: self.manner.shell_on_failure,
        };
        let tools = build::Tools {
            store: &session.store,
            host: &session.host,
            observer: session.observer(),
            interrupt: &session.interrupt,
        };
        let built = build::run(plan, &inputs, conduct, &tools)?;
        prune(&built.prefix(), &plan.prune)?;
        link(&built.prefix(), &plan.links)?;
        relink(&built.prefix(), &plan.prefix)?;
        Ok(built)
    }

    fn prove(&self, plan: &BuildPlan, built: &Built) -> Result<Proven, Failure> {
        let session = self.session;
        let files = Bind {
            source: built.files(),
            target: BuildPlan::files_target(),
            access: Access::ReadOnly,
        };
        let forbidden = forbidden(plan, &session.store);
        let library = plan.prefix.join("lib").ok();
        let library = library.filter(|_| plan.reference.is_script());
        let library_path: Vec<GuestPath> = library.into_iter().collect();
        let subject = Subject {
            name: &plan.reference.to_string(),
            prefix: &built.prefix(),
            guest: &plan.prefix,
            arch: plan.platform.arch,
            run_layers: &self.rootfs.run.layers,
            library_path: &library_path,
            forbidden: &forbidden,
            checks: &plan.checks,
            binds: &[files],
            limits: &self.manner.limits,
        };
        let tools = proof::Tools {
            store: &session.store,
            host: &session.host,
            launcher: &Launcher::default(),
            observer: session.observer(),
            interrupt: &session.interrupt,
            jobs: self.manner.jobs,
        };
        Ok(prove(&subject, &tools)?)
    }

    fn package(
        &self,
        plan: &BuildPlan,
        proven: &Proven,
        made: &[Made],
        codec: Codec,
    ) -> Result<Artifact, Failure> {
        let session = self.session;
        let title = format!("packaging {}", plan.reference);
        let phase = session.observer().phase(title, Amount::Unknown);
        let origin = origin(plan, self.rootfs, made);
        let tool = ToolRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build_revision: BUILD_REVISION,
        };
        let packing = packing(codec);
        let (store, interrupt) = (&session.store, &session.interrupt);
        let artifact = package(proven, origin, tool, packing, store, interrupt);
        let artifact = artifact.map_err(|error| match error {
            // What it fetches may have changed, or it writes down the time: not our doing.
            error @ PackageError::Differs { .. } if plan.reference.is_script() => {
                Failure::new(ExitKind::BuildFailed, error).hint(
                    "the store keeps the first; --check-reproducible shows which files differ",
                )
            }
            error => error.into(),
        })?;
        phase.done();
        Ok(artifact)
    }
}

pub(super) fn packing(codec: Codec) -> Packing {
    Packing {
        codec,
        threads: super::session::jobs(None),
    }
}

/// The artifacts that a recipe declares as its dependencies, in its order.
fn dependencies_of<'a>(recipe: &'a Recipe, made: &'a [Made]) -> impl Iterator<Item = &'a Made> {
    recipe
        .dependencies
        .iter()
        .filter_map(|reference| made.iter().find(|made| made.reference == *reference))
}

/// What a plan is made on.
pub(super) fn platform(rootfs: &Rootfs) -> Platform {
    Platform {
        stack: rootfs.stack.clone(),
        arch: rootfs.arch,
        build_image: rootfs.build.digest,
        run_image: rootfs.run.digest,
    }
}

/// What no file of a prefix may hold: where it was built, in the sandbox and on this host. The
/// sandbox's paths are named one by one: `Doc/build/html` stands in many a file. Scripts know
/// nothing of this, and the path is the same in each of their builds.
fn forbidden(plan: &BuildPlan, store: &Store) -> Vec<String> {
    if plan.kind == Kind::Profile {
        // It is for a build in the same places.
        return Vec::new();
    }
    let inside = plan
        .binds
        .iter()
        .filter(|bind| bind.what != build::What::Prefix && !plan.reference.is_script())
        .map(|bind| bind.target.to_string());
    let outside = store.root().join("scratch");
    inside.chain([format!("{}/", outside.display())]).collect()
}

/// What the record says of a build before it is proven and packaged.
fn origin(plan: &BuildPlan, rootfs: &Rootfs, made: &[Made]) -> Origin {
    let file = |file: &FileContent| FileRecord {
        path: file.path().to_owned(),
        sha256: file.digest(),
    };
    let dependency = |planned: &PlannedDependency| {
        let made = made.iter().find(|made| made.build_id == planned.build_id)?;
        Some(DependencyRecord {
            reference: planned.reference.clone(),
            build_id: planned.build_id,
            sha256: made.artifact.digest(),
        })
    };
    let archive = |archive: &Archive| FileRecord {
        path: archive.name.clone(),
        sha256: archive.sha256,
    };
    let env = build::common_env(&plan.portable_steps);
    let step = |step: &build::PlannedStep| StepRecord {
        name: step.name.clone(),
        argv: step.argv.clone(),
        cwd: step.cwd.clone(),
        env: step
            .env
            .iter()
            .filter(|(name, _)| !env.contains_key(*name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    };
    Origin {
        product: ProductRecord {
            name: plan.reference.name().clone(),
            version: plan.reference.version().cloned(),
            script: plan.reference.is_script().then(|| plan.reference.clone()),
            kind: plan.kind,
            stack: plan.platform.stack.clone(),
            arch: plan.platform.arch,
            profile: plan.profile.clone(),
            prefix: plan.prefix.clone(),
            build_id: plan.build_id,
        },
        making: MakingRecord {
            source: SourceRecord {
                flavour: plan.source.name.clone(),
                file: plan.source.file.clone(),
                sha256: plan.source.sha256,
                url: plan.source.urls.first().cloned(),
            },
            patches: plan.patches.iter().map(file).collect(),
            files: plan.files.iter().map(file).collect(),
            dependencies: plan.dependencies.iter().filter_map(dependency).collect(),
            archives: plan.archives.iter().map(archive).collect(),
            build_image: image(&rootfs.build),
            run_image: image(&rootfs.run),
            steps: plan.portable_steps.iter().map(step).collect(),
            env: env.clone(),
            network: plan.network,
            modules: plan.modules.clone(),
        },
        source_date_epoch: plan.released,
    }
}

fn image(image: &Image) -> ImageRecord {
    ImageRecord {
        digest: image.digest,
        packages: image
            .packages
            .iter()
            .map(|package| PackageRecord {
                name: package.name.clone(),
                version: package.version.clone(),
                arch: package.arch.clone(),
            })
            .collect(),
    }
}
