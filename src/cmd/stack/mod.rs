//! `pybuild stack`: what this host has of stacks, and what is done with it.

mod diff;
mod export;
mod list;
mod lock;
mod outdated;
mod pull;
mod push;
mod remove;
mod show;
mod verify;

use std::time::{Duration, SystemTime};

use super::session::host_arch;
use super::{Done, Failure, locking};
use crate::cli::{Global, Stack, StackCommand, StackSources};
use crate::model::{Arch, StackName, nearest};
use crate::rootfs::lock::Locked;
use crate::rootfs::{Catalog, CatalogError, Inventory, Manifest, OnHost, Standing, standing};
use crate::ui::ExitKind;

/// Does what is asked of stacks.
pub(super) fn run(global: &Global, args: &Stack) -> Result<Done, Failure> {
    match &args.command {
        StackCommand::List(args) => list::run(global, args),
        StackCommand::Show(args) => show::run(global, args),
        StackCommand::Pull(args) => pull::run(global, args),
        StackCommand::Verify(args) => verify::run(global, args),
        StackCommand::Remove(args) => remove::run(global, args),
        StackCommand::Export(args) => export::run(global, args),
        StackCommand::Diff(args) => diff::run(global, args),
        StackCommand::Lock(args) => lock::run(global, args),
        StackCommand::Outdated(args) => outdated::run(global, args),
        StackCommand::Push(args) => push::run(global, args),
    }
}

/// The stacks that are named; if none is, those that have a lock.
fn locked_stacks(names: &[StackName], sources: &StackSources) -> Result<Vec<Manifest>, Failure> {
    let catalog = Catalog::load(sources.manifests.as_deref())?;
    if names.is_empty() {
        let dir = locking::dir(sources);
        let has_lock = |name: &&StackName| dir.join(locking::file(name)).exists();
        let names: Vec<&StackName> = catalog.names().into_iter().filter(has_lock).collect();
        if names.is_empty() {
            let message = format!("no stack is locked in {}", dir.display());
            let failure = Failure::new(ExitKind::Usage, message);
            return Err(failure.hint("name those to lock: `pybuild stack lock debian-12`"));
        }
        return names
            .into_iter()
            .map(|name| Ok(catalog.get(name)?.clone()))
            .collect();
    }
    names
        .iter()
        .map(|name| Ok(catalog.get(name)?.clone()))
        .collect()
}

/// The stacks of this name that the store has; of one that is known and not here, none.
fn of_name<'i>(
    name: &StackName,
    inventory: &'i Inventory,
    catalog: &Catalog,
) -> Result<Vec<&'i OnHost>, Failure> {
    let found = inventory.stacks.iter().filter(|stack| stack.stack == *name);
    let found: Vec<&OnHost> = found.collect();
    match catalog.get(name) {
        Err(error) if found.is_empty() => Err(unknown(error, inventory)),
        _ => Ok(found),
    }
}

/// A name that neither manifests nor the store have.
fn unknown(error: CatalogError, inventory: &Inventory) -> Failure {
    let CatalogError::Unknown { name, .. } = &error else {
        return error.into();
    };
    // One whose manifest is gone may have been meant.
    let here = inventory.stacks.iter().map(|stack| stack.stack.as_str());
    match nearest(name.as_str(), here) {
        Some(near) => Failure::new(ExitKind::Usage, format!("there is no stack `{name}`"))
            .hint(format!("did you mean `{near}`?")),
        None => error.into(),
    }
}

/// Refuses a stack that has to be on this host and is not.
fn not_here(name: &StackName) -> Failure {
    Failure::new(
        ExitKind::Usage,
        format!("the stack {name} is not on this host"),
    )
    .hint(format!("`pybuild prepare {name}` brings it here"))
}

/// When something was, and how long ago that is, in seconds. A time to come is now.
fn age(time: Option<SystemTime>, now: SystemTime) -> (Option<String>, Option<u64>) {
    let Some(time) = time else {
        return (None, None);
    };
    let text = jiff::Timestamp::try_from(time).ok();
    let text = text.and_then(|time| time.round(jiff::Unit::Second).ok());
    let age = now.duration_since(time).unwrap_or(Duration::ZERO);
    (text.map(|time| time.to_string()), Some(age.as_secs()))
}

/// What is locked of a stack for this host. A lock that cannot be read says nothing here.
fn lock_of(name: &StackName, sources: &StackSources) -> Result<Option<Locked>, Failure> {
    let lock = locking::look(name, sources)?.ok().flatten();
    let arch = host_arch()?;
    Ok(lock.and_then(|lock| lock.part(arch).cloned()))
}

/// The one of a name's stacks that is used on this host.
fn used<'i>(
    name: &StackName,
    arch: Arch,
    inventory: &'i Inventory,
    catalog: &Catalog,
) -> Option<&'i OnHost> {
    let all = &inventory.stacks;
    let mine = || {
        all.iter()
            .filter(move |it| it.stack == *name && it.arch == arch)
    };
    let standing = |stack: &&OnHost, wanted| standing(stack, all, catalog, None) == wanted;
    mine()
        .find(|stack| stack.is_whole() && standing(stack, Standing::Used))
        // The last of a manifest that is gone.
        .or_else(|| mine().find(|stack| stack.is_whole() && standing(stack, Standing::Gone)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_seconds_and_never_negative() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let (text, seconds) = age(Some(at(86_400)), at(90_000));
        assert_eq!(text.as_deref(), Some("1970-01-02T00:00:00Z"));
        assert_eq!(seconds, Some(3600));
        assert_eq!(age(Some(at(10)), at(5)).1, Some(0));
        assert_eq!(age(None, at(5)), (None, None));
    }
}
