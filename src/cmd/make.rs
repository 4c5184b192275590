//! One recipe to one artifact: reuse it, or build, prove and package it.

use std::path::{Path, PathBuf};

use super::session::Session;
use super::source::{self, Mirrors};
use super::{Failure, limits};
use crate::archive::Codec;
use crate::artifact::package::{Artifact, Packing, package, repack};
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
use crate::formula::{Catalog, FileContent, Recipe, Source};
use crate::model::{Amount, FormulaRef, Sha256, StackName};
use crate::rootfs::{Image, Rootfs};
use crate::sandbox::{Access, Bind, Launcher, Limits};
use crate::store::Store;

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

/// What is built: the formulae asked for, each after what it depends on, each once.
pub(super) fn recipes(
    formulae: &[FormulaRef],
    stack: &StackName,
    extra_dir: Option<&Path>,
    profile: &str,
) -> Result<Vec<Recipe>, Failure> {
    let catalog = Catalog::load(extra_dir)?;
    let mut ordered: Vec<Recipe> = Vec::new();
    for reference in formulae {
        for recipe in catalog.recipes(reference, profile, stack)? {
            if !ordered
                .iter()
                .any(|known| known.reference == recipe.reference)
            {
                ordered.push(recipe);
            }
        }
    }
    Ok(ordered)
}

/// The build ids that each of these recipes can have on a platform, one for each form of its source
/// and of its dependencies' sources. Dependencies come before what needs them.
pub(super) fn build_ids(recipes: &[Recipe], platform: &Platform) -> Vec<Vec<Sha256>> {
    let mut known: Vec<(&FormulaRef, Vec<Sha256>)> = Vec::new();
    for recipe in recipes {
        let mut choices = vec![Vec::new()];
        for reference in &recipe.dependencies {
            let ids = known.iter().find(|(known, _)| *known == reference);
            let ids = ids.map(|(_, ids)| ids.as_slice()).unwrap_or_default();
            let with = |chosen: &Vec<PlannedDependency>| {
                let chosen = chosen.clone();
                ids.iter().map(move |build_id| {
                    let mut chosen = chosen.clone();
                    chosen.push(PlannedDependency {
                        reference: reference.clone(),
                        build_id: *build_id,
                    });
                    chosen
                })
            };
            choices = choices.iter().flat_map(with).collect();
        }
        // How many jobs run at once is not part of the id.
        let options = BuildOptions { jobs: 1 };
        let id = |source: &Source, dependencies: &[PlannedDependency]| {
            plan(recipe, source, platform, dependencies, &options).build_id
        };
        let of = |source| choices.iter().map(move |chosen| id(source, chosen));
        known.push((
            &recipe.reference,
            recipe.sources.iter().flat_map(of).collect(),
        ));
    }
    known.into_iter().map(|(_, ids)| ids).collect()
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
        let dependencies: Vec<PlannedDependency> = dependencies_of(recipe, made)
            .map(|made| PlannedDependency {
                reference: made.reference.clone(),
                build_id: made.build_id,
            })
            .collect();
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
        let built = self.build(&plan, &fetched.blob, made)?;
        let proven = self.prove(&plan, &built)?;
        let artifact = self.package(&plan, &proven, made, codec)?;
        Ok(Made {
            reference: plan.reference,
            build_id: plan.build_id,
            artifact,
            reused: false,
        })
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
        self.build(&plan, &fetched.blob, made)
    }

    /// Runs the steps and puts the prefix in order.
    fn build(&self, plan: &BuildPlan, source: &Path, made: &[Made]) -> Result<Built, Failure> {
        let session = self.session;
        let tarballs: Vec<PathBuf> = plan
            .dependencies
            .iter()
            .filter_map(|planned| made.iter().find(|made| made.build_id == planned.build_id))
            .map(|made| made.artifact.tarball())
            .collect();
        let inputs = Inputs {
            source,
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
        let subject = Subject {
            name: &plan.reference.to_string(),
            prefix: &built.prefix(),
            guest: &plan.prefix,
            arch: plan.platform.arch,
            run_layers: &self.rootfs.run.layers,
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
        let artifact = package(proven, origin, tool, packing, store, interrupt)?;
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
/// sandbox's paths are named one by one: `Doc/build/html` stands in many a file.
fn forbidden(plan: &BuildPlan, store: &Store) -> Vec<String> {
    let inside = plan
        .binds
        .iter()
        .filter(|bind| bind.what != build::What::Prefix)
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
            version: plan.reference.version().clone(),
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
