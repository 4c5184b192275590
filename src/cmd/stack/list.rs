//! `pybuild stack list`: which stacks there are, and what of them is on this host.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use jiff::civil::Date;

use super::{age, lock_of, of_name};
use crate::cli::{Global, StackList};
use crate::cmd::session::{at_hand, host_arch, terminal};
use crate::cmd::{Done, Failure};
use crate::model::{Arch, StackName};
use crate::rootfs::lock::Locked;
use crate::rootfs::{
    Catalog, Fitness, Inventory, Manifest, OnHost, Site, Standing, choose, site, size, standing,
};
use crate::ui::{self, StackRow, StackState, Stacks};

/// Reads what is written down; nothing is walked, nobody is asked.
pub(super) fn run(global: &Global, args: &StackList) -> Result<Done, Failure> {
    let catalog = Catalog::load(args.sources.manifests.as_deref())?;
    let inventory = Inventory::read(&at_hand(global)?)?;
    for name in &args.stacks {
        of_name(name, &inventory, &catalog)?;
    }
    let mut locks = BTreeMap::new();
    for stack in &inventory.stacks {
        let lock = lock_of(&stack.stack, &args.sources)?;
        locks.extend(lock.map(|lock| (stack.stack.clone(), lock)));
    }
    let around = Around {
        locks,
        catalog: &catalog,
        site: &site(args.sources.debian_mirror.as_deref()),
        arch: host_arch()?,
        today: jiff::Zoned::now().date(),
        now: SystemTime::now(),
    };
    let stacks = rows(&inventory, &args.stacks, &around);
    if global.json {
        ui::print_json(&stacks)?;
    } else {
        ui::print(&stacks.render(terminal(global).palette()))?;
    }
    Ok(Done::Here)
}

/// What decides how stacks look, beside what the store has.
struct Around<'a> {
    locks: BTreeMap<StackName, Locked>,
    catalog: &'a Catalog,
    site: &'a Site<'a>,
    arch: Arch,
    today: Date,
    now: SystemTime,
}

/// The rows, by name: those of the store, and the one that its manifest would give if none of them
/// is it. Only those of these names, if there are any. Pure.
fn rows(inventory: &Inventory, wanted: &[StackName], around: &Around<'_>) -> Stacks {
    let known = around.catalog.names().into_iter();
    let here = inventory.stacks.iter().map(|stack| &stack.stack);
    let names: BTreeSet<&StackName> = known
        .chain(here)
        .filter(|name| wanted.is_empty() || wanted.contains(name))
        .collect();
    let mut rows = Vec::new();
    for name in names {
        let mut is_used = false;
        for stack in inventory.stacks.iter().filter(|it| it.stack == *name) {
            let lock = around.locks.get(name);
            let standing = standing(stack, &inventory.stacks, around.catalog, lock);
            is_used |= standing == Standing::Used && stack.arch == around.arch;
            rows.push(on_host(stack, standing, around));
        }
        if let Ok(manifest) = around.catalog.get(name)
            && !is_used
        {
            rows.push(absent(manifest, around));
        }
    }
    Stacks(rows)
}

fn on_host(stack: &OnHost, standing: Standing, around: &Around<'_>) -> StackRow {
    let state = match standing {
        _ if !stack.is_whole() => StackState::Broken,
        Standing::Used => StackState::Here,
        Standing::Beside => StackState::Beside,
        Standing::Changed => StackState::Changed,
        Standing::Gone => StackState::Orphaned,
        Standing::Locked => StackState::Locked,
    };
    let (prepared, age) = age(stack.prepared, around.now);
    let end_of_life = around.catalog.get(&stack.stack).map(Manifest::end_of_life);
    StackRow {
        stack: stack.stack.clone(),
        arch: stack.arch,
        state,
        source: stack.origin.clone(),
        build: Some(stack.build.digest),
        run: Some(stack.run.digest),
        size: size(&stack.layers),
        prepared,
        age,
        is_past: end_of_life.as_ref().is_ok_and(|date| *date < around.today),
        end_of_life: end_of_life.ok().map(|date| date.to_string()),
    }
}

fn absent(manifest: &Manifest, around: &Around<'_>) -> StackRow {
    let origins = manifest.origins();
    let source = match choose(origins, around.site) {
        Some(origin) => Some(origin.to_string()),
        None => origins.first().and_then(|origin| {
            let why = origin.fitness(around.site);
            (why != Fitness::Usable).then(|| format!("{origin}: {why}"))
        }),
    };
    let is_foreign = !manifest.architectures().contains(&around.arch);
    StackRow {
        stack: manifest.name().clone(),
        arch: around.arch,
        state: if is_foreign {
            StackState::Foreign
        } else {
            StackState::Absent
        },
        source,
        build: None,
        run: None,
        size: None,
        prepared: None,
        age: None,
        is_past: manifest.end_of_life() < around.today,
        end_of_life: Some(manifest.end_of_life().to_string()),
    }
}
