//! `pybuild prepare`: a stack's images, and nothing else.

use super::session::{Opened, Session, look, manifest};
use super::{Done, Failure, locking, registries};
use crate::cli::{Global, Prepare, StackSources};
use crate::model::Elapsed;
use crate::rootfs::Manifest;
use crate::ui::{self, Align, Table};

/// Prepares each stack in turn.
pub(super) fn run(global: &Global, args: &Prepare) -> Result<Done, Failure> {
    let manifests = args
        .stacks
        .iter()
        .map(|name| manifest(name, &args.sources))
        .collect::<Result<Vec<_>, _>>()?;
    if args.dry_run {
        return dry_run(global, &manifests, &args.sources);
    }
    registries::ahead(global, &manifests, &args.sources)?;
    let session = match Session::open(global, None)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let mut table = Table::new([Align::Left, Align::Left, Align::Right, Align::Left]);
    let mut json = Vec::new();
    for manifest in &manifests {
        let rootfs = session.rootfs(manifest, &args.sources)?;
        for (kind, image) in [("run", &rootfs.run), ("build", &rootfs.build)] {
            table.row([
                manifest.name().to_string(),
                kind.to_owned(),
                format!("{} packages", image.packages.len()),
                image.digest.to_string(),
            ]);
            json.push(serde_json::json!({
                "stack": manifest.name(),
                "image": kind,
                "packages": image.packages.len(),
                "digest": image.digest,
                "layers": image.layers,
            }));
        }
    }
    if global.json {
        ui::print_json(&json)?;
    } else {
        ui::print(&table.render())?;
        ui::print(&format!("in all {}\n", Elapsed(session.started.elapsed())))?;
    }
    Ok(Done::Here)
}

fn dry_run(
    global: &Global,
    manifests: &[Manifest],
    sources: &StackSources,
) -> Result<Done, Failure> {
    let store = look(global)?;
    for manifest in manifests {
        let there = locking::prepared(manifest, sources, &store)?;
        let state = match there {
            Some(_) => "prepared",
            None => "would be prepared",
        };
        ui::print(&format!("{}: {state}\n", manifest.name()))?;
    }
    Ok(Done::Here)
}
