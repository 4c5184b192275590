//! `pybuild stack diff`: what differs between two stacks.

use super::verify::kind;
use super::{not_here, of_name, used};
use crate::archive::mtree::{Change, Difference, Entry, Scanned, What, compare};
use crate::cli::{Global, ImageKind, StackDiff};
use crate::cmd::session::{at_hand, host_arch, interrupt, terminal};
use crate::cmd::{Done, Failure};
use crate::model::StackName;
use crate::rootfs::{Catalog, ImageRecord, Inventory, merged, moved};
use crate::ui::{self, Differences, PackageMove, PathDifference, Side};

/// Compares what is written down of the two.
pub(super) fn run(global: &Global, args: &StackDiff) -> Result<Done, Failure> {
    let catalog = Catalog::load(args.sources.manifests.as_deref())?;
    let store = at_hand(global)?;
    let inventory = Inventory::read(&store)?;
    let kind = args.image;
    let one = image(&args.a, kind, &inventory, &catalog)?;
    let other = image(&args.b, kind, &inventory, &catalog)?;
    let packages = moved(&one.packages, &other.packages);
    let packages = packages.into_iter().map(|moved| PackageMove {
        order: moved.order(),
        name: moved.name,
        a: moved.from,
        b: moved.to,
    });
    let paths = if args.files {
        let interrupt = interrupt()?;
        for key in one.layers.iter().chain(&other.layers) {
            store.hold(key)?;
        }
        let before = merged(&one.layers, &store, &interrupt)?;
        let after = merged(&other.layers, &store, &interrupt)?;
        Some(paths(&before, after, &args.a, &args.b))
    } else {
        None
    };
    let side = |stack: &StackName, image: &ImageRecord| Side {
        stack: stack.to_string(),
        image: match kind {
            ImageKind::Build => "build",
            ImageKind::Run => "run",
        },
        digest: image.digest,
    };
    let differences = Differences {
        a: side(&args.a, one),
        b: side(&args.b, other),
        packages: packages.collect(),
        paths,
    };
    if global.json {
        ui::print_json(&differences)?;
    } else {
        ui::print(&differences.render(terminal(global).palette()))?;
    }
    Ok(Done::Here)
}

fn image<'i>(
    name: &StackName,
    kind: ImageKind,
    inventory: &'i Inventory,
    catalog: &Catalog,
) -> Result<&'i ImageRecord, Failure> {
    of_name(name, inventory, catalog)?;
    let stack = used(name, host_arch()?, inventory, catalog).ok_or_else(|| not_here(name))?;
    Ok(match kind {
        ImageKind::Build => &stack.build,
        ImageKind::Run => &stack.run,
    })
}

/// The paths that differ, and how. Pure.
fn paths(one: &[Entry], other: Vec<Entry>, a: &StackName, b: &StackName) -> Vec<PathDifference> {
    let other = Scanned {
        entries: other,
        ..Scanned::default()
    };
    let at = |entries: &[Entry], path: &[u8]| -> Option<What> {
        let found = entries.binary_search_by(|entry| entry.path[..].cmp(path));
        Some(entries[found.ok()?].what.clone())
    };
    let each = compare(one, &other).into_iter();
    let each = each.map(|Difference { path, change }| {
        let what = match change {
            Change::Missing => format!("only in {a}"),
            Change::Added => format!("only in {b}"),
            Change::Kind { expected, found } => format!("{} → {}", kind(expected), kind(found)),
            Change::Mode { expected, found } => format!("mode {expected:04o} → {found:04o}"),
            Change::Target => match (at(one, &path), at(&other.entries, &path)) {
                (Some(What::Symlink(from)), Some(What::Symlink(to))) => {
                    format!("link {} → {}", from.escape_ascii(), to.escape_ascii())
                }
                _ => "another device".to_owned(),
            },
            Change::Content => match (at(one, &path), at(&other.entries, &path)) {
                (Some(What::File { size: from, .. }), Some(What::File { size: to, .. }))
                    if from != to =>
                {
                    format!("content, {from} → {to} bytes")
                }
                _ => "content".to_owned(),
            },
            Change::Xattrs => "extended attributes".to_owned(),
            Change::Unreadable(errno) => format!("cannot be read: {}", errno.desc()),
        };
        let path = match &path[..] {
            b"" => "/".to_owned(),
            path => path.escape_ascii().to_string(),
        };
        PathDifference { path, what }
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::mtree;

    #[test]
    fn how_paths_differ_is_said() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let other = digest.replace("ba", "ab");
        let list = |lines: &str| mtree::read(&format!("#mtree\n{lines}")).expect("a list");
        let one = list(&format!(
            "./a type=file mode=0644 size=3 sha256digest={digest}\n\
             ./b type=link link=x\n./c type=dir mode=0755\n./d type=fifo mode=0600\n\
             ./e type=file mode=0644 size=3 sha256digest={digest}\n"
        ));
        let two = list(&format!(
            "./a type=file mode=4755 size=3 sha256digest={other}\n\
             ./b type=link link=y\n./c type=link link=usr/c\n\
             ./e type=file mode=0644 size=4 sha256digest={other}\n./f type=fifo mode=0600\n"
        ));
        let name = |name: &str| -> StackName { name.parse().expect("a name") };
        let told = paths(&one, two, &name("one"), &name("two"));
        let told: Vec<String> = told
            .iter()
            .map(|it| format!("{}: {}", it.path, it.what))
            .collect();
        assert_eq!(
            told,
            [
                "a: mode 0644 → 4755",
                "a: content",
                "b: link x → y",
                "c: a directory → a symlink",
                "d: only in one",
                "e: content, 3 → 4 bytes",
                "f: only in two",
            ]
        );
    }
}
