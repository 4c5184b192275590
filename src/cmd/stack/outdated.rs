//! `pybuild stack outdated`: what of locked stacks has moved.

use super::locked_stacks;
use crate::cli::{Global, StackOutdated};
use crate::cmd::session::{Opened, Session, host_arch};
use crate::cmd::{Done, Failure, locking, registries};
use crate::model::StackName;
use crate::rootfs::RootfsError;
use crate::rootfs::lock::{self, Drift, MovedImage, Outdated};
use crate::ui::{self, Align, ExitKind, Table};

/// Looks each lock's stack up; ends with 4 if anything has moved.
pub(super) fn run(global: &Global, args: &StackOutdated) -> Result<Done, Failure> {
    let sources = &args.sources;
    let manifests = locked_stacks(&args.stacks, sources)?;
    registries::ahead_of_today(global, &manifests, sources)?;
    let session = match Session::open(global, None)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let arch = host_arch()?;
    let mut all = Vec::new();
    for manifest in &manifests {
        let name = manifest.name();
        let file = locking::read(name, sources)?.ok_or_else(|| locking::missing(name, sources))?;
        let locked = file.part(arch).ok_or_else(|| RootfsError::Drift {
            stack: name.clone(),
            drift: Drift::Architecture { arch },
        })?;
        let found = session.with_tools(sources, |tools| {
            Ok(lock::outdated(locked, manifest, arch, tools)?)
        })?;
        for unknown in &found.unknown {
            let hint =
                format!("{name}: not looked at: {unknown}; `pybuild stack pull {name}` does");
            session.observer().warn(hint);
        }
        all.push((name.clone(), found));
    }
    if global.json {
        ui::print_json(&json(&all))?;
    } else {
        ui::print(&table(&all))?;
    }
    let is_moved = all.iter().any(|(_, found)| found.is_moved());
    Ok(if is_moved {
        Done::Code(ExitKind::Found.code())
    } else {
        Done::Here
    })
}

fn table(all: &[(StackName, Outdated)]) -> String {
    let mut table = Table::new([Align::Left, Align::Left, Align::Left, Align::Left]);
    let mut row = |name: &StackName, what: &str, then: String, now: String| {
        table.row([name.to_string(), what.to_owned(), then, now]);
    };
    for (name, found) in all {
        if !found.is_moved() {
            let now = if found.unknown.is_empty() {
                "nothing has moved"
            } else {
                "nothing has moved of what was looked at"
            };
            row(name, now, String::new(), String::new());
        }
        if let Some(then) = &found.manifest {
            row(
                name,
                "manifest",
                then.clone(),
                "names something else".to_owned(),
            );
        }
        for MovedImage { place, from, to } in &found.images {
            row(name, place, from.short(), to.short());
        }
        for moved in &found.packages {
            let version = |version: &Option<String>| version.clone().unwrap_or("-".to_owned());
            row(name, &moved.name, version(&moved.from), version(&moved.to));
        }
    }
    table.render()
}

fn json(all: &[(StackName, Outdated)]) -> serde_json::Value {
    let stacks = all.iter().map(|(name, found)| {
        let images = found.images.iter().map(|MovedImage { place, from, to }| {
            serde_json::json!({ "place": place, "from": from, "to": to })
        });
        let packages = found.packages.iter().map(
            |moved| serde_json::json!({ "name": moved.name, "from": moved.from, "to": moved.to }),
        );
        serde_json::json!({
            "stack": name,
            "moved": found.is_moved(),
            "manifest": found.manifest,
            "images": images.collect::<Vec<_>>(),
            "packages": packages.collect::<Vec<_>>(),
            "unknown": found.unknown,
        })
    });
    stacks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sha256;
    use crate::rootfs::Moved;

    #[test]
    fn what_has_moved_is_told_line_by_line() {
        let name = |text: &str| -> StackName { text.parse().expect("a name") };
        let all = [
            (name("a-1"), Outdated::default()),
            (
                name("b-1"),
                Outdated {
                    manifest: None,
                    images: vec![MovedImage {
                        place: "example.org/b:1".to_owned(),
                        from: Sha256::of(b"1"),
                        to: Sha256::of(b"2"),
                    }],
                    packages: vec![Moved {
                        name: "tcl".to_owned(),
                        from: None,
                        to: Some("8.6".to_owned()),
                    }],
                    unknown: Vec::new(),
                },
            ),
        ];
        assert_eq!(
            table(&all),
            "a-1  nothing has moved\n\
             b-1  example.org/b:1    6b86b273ff34  d4735e3a265e\n\
             b-1  tcl                -             8.6\n"
        );
        assert_eq!(json(&all)[1]["packages"][0]["to"], "8.6");
        assert_eq!(json(&all)[0]["moved"], false);
    }
}
