//! `pybuild stack remove`: stacks go from this host.

use super::{not_here, of_name};
use crate::cli::{Global, StackRemove};
use crate::cmd::session::{at_hand, interrupt};
use crate::cmd::{Done, Failure};
use crate::rootfs::removal::{self, Holdings, Removal};
use crate::rootfs::{Catalog, Inventory};
use crate::ui::{self, Removed};

/// Removes them, and what removals that were killed have left.
pub(super) fn run(global: &Global, args: &StackRemove) -> Result<Done, Failure> {
    let catalog = Catalog::load(args.sources.manifests.as_deref())?;
    let store = at_hand(global)?;
    let interrupt = interrupt()?;
    let inventory = Inventory::read(&store)?;
    let mut missing = None;
    for name in &args.stacks {
        if of_name(name, &inventory, &catalog)?.is_empty() {
            missing = missing.or(Some(name));
        }
    }
    if !args.dry_run {
        store.sweep()?;
    }
    let plan = Removal::plan(&Holdings::read(&store)?, &args.stacks, None);
    if let Some(name) = missing {
        // The same command again, after it was killed, does what is left.
        if args.stacks.len() > 1 || plan.is_empty() {
            return Err(not_here(name));
        }
    }
    let removed = if args.dry_run {
        removal::Removed {
            bytes: plan.bytes(&store, &interrupt)?,
            removal: plan,
            used: Vec::new(),
        }
    } else {
        removal::remove(&store, &args.stacks, &interrupt)?
    };
    let removal::Removed {
        removal: Removal {
            stacks,
            layers,
            blobs,
        },
        bytes,
        used,
    } = removed;
    let removed = Removed {
        dry_run: args.dry_run,
        stacks: stacks.into_values().collect(),
        layers,
        blobs,
        bytes,
        used,
    };
    if global.json {
        ui::print_json(&removed)?;
    } else {
        ui::print(&removed.render())?;
    }
    Ok(Done::Here)
}
