//! `pybuild verify --rebuild`: what is published, built again; the same bytes?

use super::make::{Made, Manner, Workshop};
use super::session::{Session, jobs, manifest};
use super::source::Mirrors;
use super::{Failure, limits};
use crate::archive::{Codec, Pack, pack};
use crate::artifact::record::Record;
use crate::cli;
use crate::formula::{Catalog, Recipe};
use crate::model::Sha256;
use crate::rootfs::Rootfs;
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
            Some(record) => one(session, args, &manner, formulae, record, archive.codec)?,
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

fn one(
    session: &Session,
    args: &cli::Verify,
    manner: &Manner,
    formulae: &Catalog,
    record: &Record,
    codec: Codec,
) -> Result<Answer, Failure> {
    let reference = record.reference();
    let manifest = match manifest(&record.product.stack, &args.sources.stacks) {
        Ok(manifest) => manifest,
        Err(failure) => return not_now(failure),
    };
    let mut recipes =
        match formulae.recipes(&reference, &record.product.profile, &record.product.stack) {
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
    match make(&workshop, &rootfs, &recipes, &recipe, record, codec) {
        Ok(answer) => Ok(answer),
        Err(failure) => not_now(failure),
    }
}

fn make(
    workshop: &Workshop<'_>,
    rootfs: &Rootfs,
    before: &[Recipe],
    recipe: &Recipe,
    record: &Record,
    codec: Codec,
) -> Result<Answer, Failure> {
    let session = workshop.session;
    let mut made: Vec<Made> = Vec::new();
    for dependency in before {
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
