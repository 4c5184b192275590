//! One artifact to a target: what is there already, what a build may take from there, and the
//! upload.

use super::Failure;
use super::make::{Made, Workshop, codec, packing};
use super::session::{Session, host_arch};
use crate::archive::Codec;
use crate::artifact::package::{Artifact, adopt, repack};
use crate::artifact::record::Record;
use crate::build::BuildPlan;
use crate::cli::{self, Publishing};
use crate::formula::Recipe;
use crate::model::{Amount, Arch, Kind, Sha256, StackName};
use crate::publish::{self, Conditional, Found, Keys, Layout, PublishError, Put, Remote};
use crate::sys::fs as sysfs;
use crate::ui::{Deployed, ExitKind, How};

/// How artifacts are published, the same for each of one command.
#[derive(Debug, Clone)]
pub(super) struct Form {
    layout: Layout,
    codec: Codec,
    pub(super) overwrite: bool,
    name: Option<String>,
    arch: Arch,
}

impl Form {
    /// As the flags want it.
    pub(super) fn of(args: &Publishing, name: Option<&str>) -> Result<Self, Failure> {
        let (layout, usual) = match args.layout {
            cli::Layout::Tree => (Layout::Tree, Codec::Gzip),
            cli::Layout::Flat => (Layout::Flat, Codec::Zstd),
        };
        Ok(Self {
            layout,
            codec: args.compress.map_or(usual, codec),
            overwrite: args.overwrite,
            name: name.map(str::to_owned),
            arch: host_arch()?,
        })
    }

    /// Where an artifact is published.
    pub(super) fn keys(&self, stack: &StackName, recipe: &Recipe) -> Keys {
        self.keys_as(stack, recipe, self.codec, self.name.as_deref())
    }

    /// Where what a training gave is published.
    fn profile_keys(&self, stack: &StackName, recipe: &Recipe, training: Sha256) -> Keys {
        publish::profile_keys(self.layout, stack, &recipe.reference, self.arch, training)
    }

    fn keys_as(
        &self,
        stack: &StackName,
        recipe: &Recipe,
        codec: Codec,
        name: Option<&str>,
    ) -> Keys {
        let (layout, arch) = (self.layout, self.arch);
        publish::keys(
            layout,
            stack,
            recipe.kind,
            &recipe.reference,
            arch,
            codec,
            name,
        )
    }
}

/// What there is to do about what a target has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is there.
    Missing,
    /// Something is, but not whole: it is built, compared and completed.
    Unfinished,
    /// This very build is there.
    There {
        sha256: Sha256,
        size: u64,
        build: Sha256,
    },
    /// Another build of it is there.
    Other { build: Sha256 },
}

impl Standing {
    /// What a target has, compared with the build ids that the artifact can have.
    pub(super) fn of(found: &Found, ids: &[Sha256]) -> Self {
        match found {
            Found::Nothing => Self::Missing,
            Found::Part => Self::Unfinished,
            Found::Whole(record) if ids.contains(&record.product.build_id) => Self::There {
                sha256: record.artifact.sha256,
                size: record.artifact.size,
                build: record.product.build_id,
            },
            Found::Whole(record) => Self::Other {
                build: record.product.build_id,
            },
        }
    }
}

/// Refuses what is built with the network open, unless that is wanted.
pub(super) fn check_network(recipe: &Recipe, args: &Publishing) -> Result<(), Failure> {
    if !recipe.network || args.allow_network {
        return Ok(());
    }
    let why = if recipe.reference.is_script() {
        "it is a script for bob-builder"
    } else {
        "its formula says network = true"
    };
    let message = format!(
        "{} is built with the network open ({why}), so nobody can promise what is in it",
        recipe.reference
    );
    Err(Failure::new(ExitKind::Usage, message).hint("--allow-network publishes it all the same"))
}

/// Makes sure that objects can be put to a target, and says so if it may replace what is there.
pub(super) fn check_writable(session: &Session, target: &Remote) -> Result<(), Failure> {
    match target.check_writable(&session.interrupt)? {
        Conditional::Honoured => {}
        Conditional::Ignored => session.observer().note(format!(
            "{} does not heed conditions on uploads: what is there is looked at before each, \
             and read back after it",
            target.target()
        )),
    }
    Ok(())
}

/// What artifacts are published with.
#[derive(Clone, Copy)]
pub(super) struct Publisher<'a> {
    pub(super) session: &'a Session,
    pub(super) target: &'a Remote,
    pub(super) upstream: Option<&'a Remote>,
    pub(super) form: &'a Form,
}

impl Publisher<'_> {
    /// Makes sure that artifacts can be put to the target, before anything is compiled.
    pub(super) fn check_writable(&self) -> Result<(), Failure> {
        check_writable(self.session, self.target)
    }

    /// What the target has of an artifact.
    pub(super) fn find(&self, keys: &Keys) -> Result<Found, Failure> {
        Ok(publish::find(self.target, keys, &self.session.interrupt)?)
    }

    /// What there is to do, unless what is there forbids it.
    pub(super) fn standing(
        &self,
        recipe: &Recipe,
        keys: &Keys,
        found: &Found,
        ids: &[Sha256],
    ) -> Result<Standing, Failure> {
        match Standing::of(found, ids) {
            Standing::Other { build } if !self.form.overwrite => {
                Err(self.refuse(recipe, keys, build))
            }
            standing => Ok(standing),
        }
    }

    fn refuse(&self, recipe: &Recipe, keys: &Keys, build: Sha256) -> Failure {
        let message = format!(
            "{}{} is there already and is another build of {} ({})",
            self.target.shown(),
            keys.tarball,
            recipe.reference,
            build.short()
        );
        Failure::new(ExitKind::BuildFailed, message)
            .hint("nothing was built; --overwrite replaces it, `deploy --name` publishes beside it")
            .hint(
                "it was built with another formula, another pybuild, or packages of the stack that \
                 have since been updated",
            )
    }

    /// What an artifact depends on: from the store, from the target or upstream, or built. What is
    /// trained for it is published at once, since nobody can make it again.
    pub(super) fn supply(
        &self,
        workshop: &Workshop<'_>,
        recipe: &Recipe,
        made: &[Made],
    ) -> Result<Made, Failure> {
        if recipe.kind != Kind::Profile {
            self.borrow(workshop, recipe, made)?;
            return workshop.make(recipe, made, Codec::Gzip, false);
        }
        let plans = workshop.plans(recipe, made);
        // Upstream's, too, is published here: what is optimized by it shall not lie alone.
        let own = match self.published_profile(workshop, recipe, &plans)? {
            Some(taken) => taken,
            None => workshop.make(recipe, made, Codec::Gzip, false)?,
        };
        let keys = self
            .form
            .profile_keys(&workshop.rootfs.stack, recipe, own.build_id);
        let (observer, interrupt) = (self.session.observer(), &self.session.interrupt);
        match publish::publish(
            self.target,
            &keys,
            &own.artifact,
            false,
            observer,
            interrupt,
        ) {
            Ok(_) => Ok(own),
            // Somebody was faster. Theirs is what everybody optimizes by.
            Err(error @ PublishError::Exists { .. }) => self
                .published_profile(workshop, recipe, &plans)?
                .ok_or_else(|| error.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// What was learned in a training and published: at the target, else upstream, unless the
    /// store has something of its own. It replaces what the store has.
    fn published_profile(
        &self,
        workshop: &Workshop<'_>,
        recipe: &Recipe,
        plans: &[BuildPlan],
    ) -> Result<Option<Made>, Failure> {
        let stack = &workshop.rootfs.stack;
        for remote in [Some(self.target), self.upstream].into_iter().flatten() {
            for plan in plans {
                let keys = self.form.profile_keys(stack, recipe, plan.build_id);
                let found = publish::find(remote, &keys, &self.session.interrupt)?;
                let Found::Whole(record) = found else {
                    continue;
                };
                if record.product.build_id != plan.build_id {
                    continue;
                }
                let own = workshop.reuse(plan, Codec::Gzip)?;
                if let Some(own) = own.filter(|_| !std::ptr::eq(remote, self.target)) {
                    return Ok(Some(own));
                }
                if let Some(taken) = replace(workshop, plan, remote, &keys, *record)? {
                    return Ok(Some(taken));
                }
            }
        }
        Ok(None)
    }

    /// Takes a dependency from the target or from upstream into the store, if the store does not
    /// have it and one of them has this very build.
    fn borrow(
        &self,
        workshop: &Workshop<'_>,
        recipe: &Recipe,
        made: &[Made],
    ) -> Result<(), Failure> {
        let plans = workshop.plans(recipe, made);
        for plan in &plans {
            if workshop.reuse(plan, Codec::Gzip)?.is_some() {
                return Ok(());
            }
        }
        let mut codecs = vec![Codec::Gzip, self.form.codec];
        codecs.dedup();
        for remote in [Some(self.target), self.upstream].into_iter().flatten() {
            for codec in &codecs {
                let stack = &workshop.rootfs.stack;
                let keys = self.form.keys_as(stack, recipe, *codec, None);
                match self.take(remote, &plans, *codec, &keys) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(Taking::Failure(failure)) => return Err(*failure),
                    // It can be built as well.
                    Err(Taking::Remote(error)) => {
                        let what = &recipe.reference;
                        let observer = self.session.observer();
                        observer.warn(format!("{what} is built, not taken: {error}"));
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn take(
        &self,
        remote: &Remote,
        plans: &[BuildPlan],
        codec: Codec,
        keys: &Keys,
    ) -> Result<bool, Taking> {
        let Session {
            store, interrupt, ..
        } = self.session;
        let Found::Whole(record) = publish::find(remote, keys, interrupt)? else {
            return Ok(false);
        };
        if !plans
            .iter()
            .any(|plan| plan.build_id == record.product.build_id)
        {
            return Ok(false);
        }
        let Some(artifact) = receive(self.session, remote, keys, *record, codec)? else {
            return Ok(false);
        };
        if codec != Codec::Gzip {
            // Dependencies are always kept in one form.
            repack(&artifact, packing(Codec::Gzip), store, interrupt).map_err(Failure::from)?;
        }
        Ok(true)
    }

    /// Publishes what was made.
    pub(super) fn publish(&self, keys: &Keys, made: &Made) -> Result<Deployed, Failure> {
        let session = self.session;
        let artifact = made.compressed(session, self.form.codec)?;
        let (overwrite, observer) = (self.form.overwrite, session.observer());
        let interrupt = &session.interrupt;
        let published =
            publish::publish(self.target, keys, &artifact, overwrite, observer, interrupt)?;
        let all_there = [published.tarball, published.sha256, published.record]
            .iter()
            .all(|put| *put == Put::AlreadySame);
        let how = if all_there {
            How::There
        } else {
            How::Published
        };
        Ok(Deployed {
            formula: made.reference.clone(),
            build: made.build_id,
            key: keys.tarball.clone(),
            size: published.size,
            sha256: published.digest,
            how,
        })
    }
}

/// What was learned in a planned training and is published so: from the store if it has just that,
/// else fetched, in the place of whatever the store has learned itself. None if it has gone by now.
pub(super) fn replace(
    workshop: &Workshop<'_>,
    plan: &BuildPlan,
    remote: &Remote,
    keys: &Keys,
    record: Record,
) -> Result<Option<Made>, Failure> {
    let session = workshop.session;
    if let Some(own) = workshop.reuse(plan, Codec::Gzip)? {
        if own.artifact.digest() == record.artifact.sha256 {
            return Ok(Some(own));
        }
        own.artifact.set_aside(&session.store)?;
    }
    receive(session, remote, keys, record, Codec::Gzip)?;
    workshop.reuse(plan, Codec::Gzip)
}

/// Takes an artifact that a target has into the store; none if it has gone by now.
fn receive(
    session: &Session,
    remote: &Remote,
    keys: &Keys,
    record: Record,
    codec: Codec,
) -> Result<Option<Artifact>, Taking> {
    let (store, interrupt) = (&session.store, &session.interrupt);
    let title = format!("fetching {} from {}", record.reference(), remote.target());
    let size = Amount::Bytes(record.artifact.size);
    let phase = session.observer().phase(title, size);
    let scratch = store.scratch().map_err(Failure::from)?;
    let path = scratch.path().join("tarball");
    let mut file = sysfs::create_new(&path).map_err(Failure::from)?;
    if !publish::fetch(remote, keys, &record, &mut file, &path, &phase, interrupt)? {
        return Ok(None);
    }
    let artifact = adopt(&path, record, codec, store, interrupt).map_err(Failure::from)?;
    phase.done();
    Ok(Some(artifact))
}

/// Why an artifact was not taken.
enum Taking {
    /// The target's affair.
    Remote(PublishError),
    /// This host's: building it would fail as well.
    Failure(Box<Failure>),
}

impl From<Taking> for Failure {
    fn from(taking: Taking) -> Self {
        match taking {
            Taking::Remote(error) => error.into(),
            Taking::Failure(failure) => *failure,
        }
    }
}

impl From<PublishError> for Taking {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Interrupted(error) => Self::Failure(Box::new(error.into())),
            error => Self::Remote(error),
        }
    }
}

impl From<Failure> for Taking {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_in_parts_is_built_and_compared() {
        let ids = [Sha256::of(b"one"), Sha256::of(b"two")];
        assert_eq!(Standing::of(&Found::Nothing, &ids), Standing::Missing);
        assert_eq!(Standing::of(&Found::Part, &ids), Standing::Unfinished);
    }

    #[test]
    fn dependencies_are_kept_as_they_are_wherever_they_are_taken_from() {
        let form = |layout, codec| Form {
            layout,
            codec,
            overwrite: false,
            name: Some("mine".to_owned()),
            arch: Arch::Amd64,
        };
        let catalog = crate::formula::Catalog::load(None).expect("the built-in formulae");
        let stack: StackName = "debian-12".parse().expect("a stack");
        let reference = "sqlite-3.46.1".parse().expect("a reference");
        let recipes = catalog.recipes(&reference, None, &stack);
        let recipe = recipes.expect("built in").pop().expect("one");
        let form = form(Layout::Tree, Codec::Zstd);
        assert_eq!(
            form.keys(&stack, &recipe).tarball,
            "debian-12/libraries/mine.tar.zst"
        );
        // The name is that of what is asked for, not of what that needs.
        assert_eq!(
            form.keys_as(&stack, &recipe, Codec::Gzip, None).tarball,
            "debian-12/libraries/sqlite-3.46.1.tar.gz"
        );
    }
}
