//! `pybuild stack pull`: stacks as they are today.

use std::collections::BTreeSet;

use crate::cli::{Global, StackPull};
use crate::cmd::session::{Opened, Session, host_arch, manifest};
use crate::cmd::{Done, Failure, registries};
use crate::model::Sha256;
use crate::rootfs::removal::{self, RemovalError};
use crate::rootfs::{self, Inventory, Manifest, Package, Rootfs, Wanted, moved};
use crate::store::Store;
use crate::ui::{self, Change, ExitKind, Pulled, PulledStack};

/// Makes each stack in turn what it would be if it were not here; what has not changed is shared.
pub(super) fn run(global: &Global, args: &StackPull) -> Result<Done, Failure> {
    if args.sources.locked {
        let message = "stack pull brings stacks as they are today, not as they were locked";
        let failure = Failure::new(ExitKind::Usage, message);
        return Err(failure.hint("`pybuild prepare --locked` brings them as they were locked"));
    }
    let mut manifests: Vec<Manifest> = Vec::new();
    for name in &args.stacks {
        let found = manifest(name, &args.sources)?;
        if !manifests.contains(&found) {
            manifests.push(found);
        }
    }
    registries::ahead_of_today(global, &manifests, &args.sources)?;
    let session = match Session::open(global, None)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let mut pulled = Pulled::default();
    for manifest in &manifests {
        pulled.0.push(pull(&session, manifest, args)?);
    }
    if global.json {
        ui::print_json(&pulled)?;
    } else {
        ui::print(&pulled.render(session.ui.palette()))?;
    }
    Ok(Done::Here)
}

fn pull(session: &Session, manifest: &Manifest, args: &StackPull) -> Result<PulledStack, Failure> {
    let arch = host_arch()?;
    session.warn_of_age(manifest);
    // Only looked at: what is replaced must not be held.
    let here = Store::look(session.store.root())?;
    let before = rootfs::prepared(manifest, arch, &here)?;
    let inventory = Inventory::read(&here)?;
    let mine = inventory.stacks.iter();
    let mine = mine.filter(|stack| stack.stack == *manifest.name() && stack.arch == arch);
    let layers: BTreeSet<Sha256> = mine
        .flat_map(|stack| stack.layers.iter().map(|(key, _)| *key))
        .collect();
    let now = session.with_tools(&args.sources, |tools| {
        Ok(rootfs::prepare(manifest, arch, Wanted::Today, tools)?)
    })?;
    let used = rootfs::prepared(manifest, arch, &here)?;
    if used.is_some_and(|used| used.build.digest != now.build.digest) {
        session.observer().warn(format!(
            "{name} was made from another place before, which its manifest prefers: that is what is \
             used until `pybuild stack remove {name}`",
            name = manifest.name()
        ));
    }
    let freed = match removal::prune(&session.store, &layers, &session.interrupt) {
        Ok(removed) => {
            if !removed.used.is_empty() {
                session.observer().note(
                    "another pybuild uses layers that are not needed any more: they stay until the \
                     next `stack remove`",
                );
            }
            removed.bytes
        }
        Err(error @ (RemovalError::Busy | RemovalError::Used(_))) => {
            session.observer().note(format!(
                "what is not needed any more stays until the next `stack remove`: {error}"
            ));
            0
        }
        Err(error) => return Err(error.into()),
    };
    Ok(told(manifest, before.as_ref(), now, freed))
}

/// What is new. Pure.
fn told(manifest: &Manifest, before: Option<&Rootfs>, now: Rootfs, freed: u64) -> PulledStack {
    let digests = |rootfs: &Rootfs| [rootfs.build.digest, rootfs.run.digest];
    let change = match before {
        None => Change::New,
        Some(before) if digests(before) == digests(&now) => Change::UpToDate,
        Some(_) => Change::Changed,
    };
    let packages = before.map_or_else(Vec::new, |before| {
        let build = between(&before.build.packages, &now.build.packages);
        // Most of what is in the run image is in the build image, too.
        let run = between(&before.run.packages, &now.run.packages);
        let more = run.into_iter().filter(|told| !build.contains(told));
        let more: Vec<String> = more.collect();
        [build, more].concat()
    });
    PulledStack {
        stack: manifest.name().clone(),
        change,
        before: before.map(digests),
        now: digests(&now),
        source: now.origin,
        packages,
        freed,
    }
}

fn between(before: &[Package], now: &[Package]) -> Vec<String> {
    let moved = moved(before, now);
    moved.iter().map(ToString::to_string).collect()
}
