//! `pybuild stack show`: all about one stack.

use std::time::SystemTime;

use super::{age, lock_of, of_name, used};
use crate::cli::{Global, StackShow};
use crate::cmd::session::{at_hand, host_arch, terminal};
use crate::cmd::{Done, Failure};
use crate::rootfs::{
    Catalog, Fitness, ImageRecord, Inventory, Manifest, OnHost, Origin, Site, State, choose, site,
    size,
};
use crate::store::Store;
use crate::ui::{self, OriginRow, ShownImage, ShownLayer, ShownPackage, ShownSource, ShownStack};

/// Reads what is written down of it.
pub(super) fn run(global: &Global, args: &StackShow) -> Result<Done, Failure> {
    let catalog = Catalog::load(args.sources.manifests.as_deref())?;
    let store = at_hand(global)?;
    let inventory = Inventory::read(&store)?;
    let name = &args.stack;
    let here = of_name(name, &inventory, &catalog)?;
    // One that is not whole is shown too: that it is broken is what there is to know.
    let on_host = used(name, host_arch()?, &inventory, &catalog).or(here.first().copied());
    let manifest = catalog.get(name).ok();
    let lock = lock_of(name, &args.sources)?.map(|lock| match on_host {
        None => "there is one; it is not on this host".to_owned(),
        Some(here) if (lock.run, lock.build) == (here.run.digest, here.build.digest) => {
            "what is here is as it is locked".to_owned()
        }
        Some(_) => format!("to other images: run {}, build {}", lock.run, lock.build),
    });
    let (prepared, age) = age(on_host.and_then(|it| it.prepared), SystemTime::now());
    let today = jiff::Zoned::now().date();
    let site = site(args.sources.debian_mirror.as_deref());
    let images = on_host.into_iter().flat_map(|stack| {
        let images = [("run", &stack.run), ("build", &stack.build)];
        images.map(|(kind, record)| image(kind, record, stack, args.packages, &store))
    });
    let shown = ShownStack {
        stack: name.clone(),
        architectures: manifest.map_or_else(Vec::new, |it| it.architectures().to_vec()),
        end_of_life: manifest.map(|it| it.end_of_life().to_string()),
        is_past: manifest.is_some_and(|it| it.end_of_life() < today),
        series: manifest.map_or_else(Default::default, |it| it.all_series().clone()),
        lock,
        origins: manifest.map_or_else(Vec::new, |it| origins(it, &site)),
        made_from: on_host.map(|stack| {
            let origin = stack.origin.clone();
            origin.unwrap_or_else(|| "an older pybuild did not write it down".to_owned())
        }),
        prepared,
        age,
        size: on_host.and_then(|stack| size(&stack.layers)),
        images: images.collect(),
    };
    if global.json {
        ui::print_json(&shown)?;
    } else {
        ui::print(&shown.render(terminal(global).palette()))?;
    }
    Ok(Done::Here)
}

/// Where it can come from, and which of these it is. Pure.
fn origins(manifest: &Manifest, site: &Site<'_>) -> Vec<OriginRow> {
    let chosen = choose(manifest.origins(), site);
    let row = |origin: &Origin| {
        let used = chosen.is_some_and(|chosen| std::ptr::eq(chosen, origin));
        let fitness = origin.fitness(site);
        let why = match fitness {
            _ if used => "used on this host: the first that can be".to_owned(),
            Fitness::Usable => "not needed: another comes first".to_owned(),
            other => other.to_string(),
        };
        OriginRow {
            origin: origin.to_string(),
            used,
            why,
        }
    };
    manifest.origins().iter().map(row).collect()
}

fn image(
    image: &'static str,
    record: &ImageRecord,
    stack: &OnHost,
    with_packages: bool,
    store: &Store,
) -> ShownImage {
    let layers = record.layers.iter().map(|key| {
        let state = stack.layers.iter().find(|(other, _)| other == key);
        let state = state.map_or(&State::Missing, |(_, state)| state);
        let contents = state.layer().and_then(|layer| layer.contents.as_ref());
        ShownLayer {
            key: *key,
            what: match state {
                State::There(layer) => layer.making.map_or_else(
                    || "made by an older pybuild".to_owned(),
                    |making| making.to_string(),
                ),
                State::Withdrawn(_) => "found spoilt: not used any more".to_owned(),
                State::Missing => "missing".to_owned(),
                State::Garbled(why) => why.clone(),
            },
            entries: contents.map(|contents| contents.entries),
            size: contents.map(|contents| contents.bytes),
            path: store.layer_path(key).display().to_string(),
        }
    });
    let source = record.source.as_ref().map(|source| ShownSource {
        place: source.place.clone(),
        manifest: source.digest,
        index: source.index,
        chain: source.chain,
        size: source.size,
    });
    let packages = record.packages.iter().map(|package| ShownPackage {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
    });
    ShownImage {
        image,
        digest: record.digest,
        source,
        layers: layers.collect(),
        packages: record.packages.len(),
        list: with_packages.then(|| packages.collect()),
    }
}
