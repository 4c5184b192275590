//! `pybuild verify --rebuild`: what is published, built again; the same bytes?

use super::make::{Made, Manner, Workshop};
use super::publisher::replace;
use super::session::{Session, jobs, manifest};
use super::source::Mirrors;
use super::{Failure, limits};
use crate::archive::{Codec, Pack, pack};
use crate::artifact::record::Record;
use crate::cli;
use crate::formula::{Catalog, Recipe};
use crate::model::{Kind, Sha256};
use crate::publish::{self, Found, Layout, Remote};
use crate::sys::fs as sysfs;
use crate::ui::ExitKind;
use crate::verify::facts::Seen;
use crate::verify::{Seeing, Unseen};

/// Builds every archive again whose bytes were read, one after the other, and notes what came
/// out. One that cannot be built again is told as not looked at.
pub(super) fn all(
    session: &Session,
    args: &cli::Verify,
    mirrors: Mirrors,
    formulae: &Catalog,
    remote: &Remote,
    seeing: &mut Seeing,
) -> Result<(), Failure> {
    let manner = Manner {
        mirrors,
        limits: limits::of(&args.limits),
        jobs: jobs(args.jobs),
        shell_on_failure: false,
    };
    for archive in &mut seeing.facts.archives {
        session.interrupt.check()?;
        if archive.bytes.there().is_none() {
            continue;
        }
        let answer = match archive.sound_record() {
            None => Err("it has no record that says how".to_owned()),
            // Nobody can train twice and learn the same. It is what others are rebuilt with.
            Some(record) if record.product.kind == Kind::Profile => continue,
            Some(record) => {
                let codec = archive.codec;
                one(session, args, &manner, formulae, remote, record, codec)?
            }
        };
        match answer {
            Ok(digest) => archive.rebuilt = Seen::There(digest),
            Err(why) => seeing.unseen.push(Unseen {
                key: archive.key.clone(),
                why: format!("it was not built again: {why}"),
            }),
        }
    }
    Ok(())
}

type Answer = Result<Sha256, String>;

/// What an artifact was trained with, as its record says: from the store, else from where the artifact
/// is published, whether or not all that is there is looked at.
fn trained(
    workshop: &Workshop<'_>,
    remote: &Remote,
    training: &Recipe,
    made: &[Made],
    record: &Record,
) -> Result<Result<Made, String>, Failure> {
    let dependencies = &record.making.dependencies;
    let Some(named) = (dependencies.iter()).find(|it| it.reference == training.reference) else {
        return Ok(Err(
            "its record does not say what it was trained with".to_owned()
        ));
    };
    let plans = workshop.plans(training, made);
    let Some(plan) = plans.iter().find(|plan| plan.build_id == named.build_id) else {
        return Ok(Err(format!(
            "{} is not trained now as it was: its stack or its formula has changed",
            named.reference
        )));
    };
    let own = workshop.reuse(plan, Codec::Gzip)?;
    if let Some(own) = own.filter(|own| own.artifact.digest() == named.sha256) {
        return Ok(Ok(own));
    }
    let (stack, arch) = (&record.product.stack, record.product.arch);
    for layout in [Layout::Tree, Layout::Flat] {
        let keys = publish::profile_keys(layout, stack, &named.reference, arch, named.build_id);
        let interrupt = &workshop.session.interrupt;
        let Found::Whole(profile) = publish::find(remote, &keys, interrupt)? else {
            continue;
        };
        let is_it =
            profile.artifact.sha256 == named.sha256 && profile.product.build_id == named.build_id;
        if is_it && let Some(taken) = replace(workshop, plan, remote, &keys, *profile)? {
            return Ok(Ok(taken));
        }
    }
    Ok(Err(format!(
        "what it was trained with ({}, SHA-256 {}) is neither in this store nor published with it",
        named.reference,
        named.sha256.short()
    )))
}

fn one(
    session: &Session,
    args: &cli::Verify,
    manner: &Manner,
    formulae: &Catalog,
    remote: &Remote,
    record: &Record,
    codec: Codec,
) -> Result<Answer, Failure> {
    let reference = record.reference();
    let manifest = match manifest(&record.product.stack, &args.sources.stacks) {
        Ok(manifest) => manifest,
        Err(failure) => return not_now(failure),
    };
    let mut recipes = match formulae.recipes(
        &reference,
        Some(&record.product.profile),
        &record.product.stack,
    ) {
        Ok(recipes) => recipes,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let Some(mut recipe) = recipes.pop() else {
        return Ok(Err(format!("there is no recipe for {reference}")));
    };
    // Another form of the source is another build.
    recipe
        .sources
        .retain(|source| source.sha256 == record.making.source.sha256);
    if recipe.sources.is_empty() {
        return Ok(Err("the formula has another source by now".to_owned()));
    }
    let rootfs = session.rootfs(&manifest, &args.sources.stacks)?;
    let workshop = Workshop {
        session,
        rootfs: &rootfs,
        manner,
    };
    match make(&workshop, remote, &recipes, &recipe, record, codec) {
        Ok(answer) => Ok(answer),
        Err(failure) => not_now(failure),
    }
}

fn make(
    workshop: &Workshop<'_>,
    remote: &Remote,
    before: &[Recipe],
    recipe: &Recipe,
    record: &Record,
    codec: Codec,
) -> Result<Answer, Failure> {
    let (session, rootfs) = (workshop.session, workshop.rootfs);
    let mut made: Vec<Made> = Vec::new();
    for dependency in before {
        if dependency.kind == Kind::Profile {
            match trained(workshop, remote, dependency, &made, record)? {
                Ok(profile) => made.push(profile),
                Err(why) => return Ok(Err(why)),
            }
            continue;
        }
        let dependency = workshop.make(dependency, &made, Codec::Gzip, false)?;
        made.push(dependency);
    }
    let plans = workshop.plans(recipe, &made);
    if !plans
        .iter()
        .any(|plan| plan.build_id == record.product.build_id)
    {
        let what = if rootfs.build.digest == record.making.build_image.digest {
            "its formula, or what it depends on, is"
        } else {
            "its stack's packages are"
        };
        return Ok(Err(format!("{what} not what it was made with")));
    }
    let built = workshop.make_again(recipe, &made, workshop.manner.jobs)?;
    let scratch = session.store.scratch()?;
    let mut out = sysfs::create_new(&scratch.path().join("again"))?;
    let how = Pack {
        codec,
        epoch: recipe.released,
        threads: workshop.manner.jobs,
    };
    let packed = pack(&built.prefix(), &how, &mut out, &session.interrupt)?;
    Ok(Ok(packed.digest))
}

/// A failure to build is not the archive's; the wish to stop, and a host that cannot, are no
/// answer at all.
fn not_now(failure: Failure) -> Result<Answer, Failure> {
    match failure.exit() {
        ExitKind::Signal(_) | ExitKind::CannotSandbox => Err(failure),
        _ => Ok(Err(failure.message())),
    }
}
