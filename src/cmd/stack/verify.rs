//! `pybuild stack verify`: whether what is on the disk is what was prepared.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::{not_here, of_name};
use crate::archive::mtree::{Change, Difference};
use crate::cli::{Global, StackVerify};
use crate::cmd::session::{at_hand, interrupt, terminal};
use crate::cmd::{Done, Failure};
use crate::model::{Amount, Observer, Sha256};
use crate::rootfs::soundness::{self, Checked, Verdict, Wrong};
use crate::rootfs::{Catalog, Inventory, OnHost, State};
use crate::store::Store;
use crate::sys::interrupt::Interrupt;
use crate::ui::{self, CheckedLayer, CheckedStack, Condition, ExitKind, Soundness};

/// Reads the layers again, and withdraws those that are spoilt.
pub(super) fn run(global: &Global, args: &StackVerify) -> Result<Done, Failure> {
    let started = Instant::now();
    let catalog = Catalog::load(args.sources.manifests.as_deref())?;
    let store = at_hand(global)?;
    let (ui, interrupt) = (terminal(global), interrupt()?);
    let inventory = Inventory::read(&store)?;
    let stacks = wanted(args, &inventory, &catalog)?;
    let bytes = AtomicU64::new(0);
    let mut layers: BTreeMap<Sha256, CheckedLayer> = BTreeMap::new();
    for (key, state) in stacks.iter().flat_map(|stack| &stack.layers) {
        if layers.contains_key(key) {
            continue;
        }
        let checked = look(key, state, &store, &ui, &interrupt, &bytes)?;
        if matches!(checked.verdict, Verdict::Spoilt(_)) && matches!(state, State::There(_)) {
            soundness::withdraw(&store, key)?;
        }
        layers.insert(*key, shown(&checked, &store));
    }
    let checked = stacks.iter().map(|stack| {
        let keys = stack.layers.iter().map(|(key, _)| *key);
        let conditions = stack.layers.iter().filter_map(|(key, _)| layers.get(key));
        CheckedStack {
            stack: stack.stack.clone(),
            source: stack.origin.clone(),
            condition: conditions
                .map(|layer| layer.condition)
                .max()
                .unwrap_or(Condition::Sound),
            layers: keys.collect(),
        }
    });
    let soundness = Soundness {
        stacks: checked.collect(),
        layers: layers.into_values().collect(),
        // They are nobody's, so they belong to whoever asks for all.
        garbled: if args.stacks.is_empty() {
            inventory.garbled.clone()
        } else {
            Vec::new()
        },
        bytes: bytes.into_inner(),
        elapsed: started.elapsed(),
    };
    if global.json {
        ui::print_json(&soundness)?;
    } else {
        ui::print(&soundness.render(ui.palette()))?;
    }
    ended(&soundness)
}

/// Those that were asked for, else all.
fn wanted<'i>(
    args: &StackVerify,
    inventory: &'i Inventory,
    catalog: &Catalog,
) -> Result<Vec<&'i OnHost>, Failure> {
    if args.stacks.is_empty() {
        return Ok(inventory.stacks.iter().collect());
    }
    let mut wanted: Vec<&OnHost> = Vec::new();
    for name in &args.stacks {
        let found = of_name(name, inventory, catalog)?;
        if found.is_empty() {
            return Err(not_here(name));
        }
        for stack in found {
            if !wanted.iter().any(|other| other.key == stack.key) {
                wanted.push(stack);
            }
        }
    }
    Ok(wanted)
}

fn look(
    key: &Sha256,
    state: &State,
    store: &Store,
    observer: &dyn Observer,
    interrupt: &Interrupt,
    bytes: &AtomicU64,
) -> Result<Checked, Failure> {
    // It is not removed meanwhile; one that is being removed is missing in a moment.
    store.hold(key)?;
    let contents = state.layer().and_then(|layer| layer.contents.as_ref());
    let total = contents.map_or(Amount::Unknown, |it| Amount::Bytes(it.bytes + it.shared));
    let phase = observer.phase(format!("reading the layer {}", key.short()), total);
    let progress = |count| {
        bytes.fetch_add(count, Ordering::Relaxed);
        phase.advance(count);
    };
    let checked = soundness::check(store, key, &progress, interrupt)?;
    phase.done_with(match &checked.verdict {
        Verdict::Sound => "sound",
        Verdict::Unknown => "unknown",
        Verdict::Spoilt(_) => "spoilt",
    });
    Ok(checked)
}

fn shown(checked: &Checked, store: &Store) -> CheckedLayer {
    let (condition, wrong) = match &checked.verdict {
        Verdict::Sound => (Condition::Sound, Vec::new()),
        Verdict::Unknown => (Condition::Unknown, Vec::new()),
        Verdict::Spoilt(wrong) => (Condition::Spoilt, wrong.iter().map(tell).collect()),
    };
    CheckedLayer {
        key: checked.key,
        path: store.layer_path(&checked.key).display().to_string(),
        condition,
        entries: checked.entries,
        wrong,
    }
}

/// With what something is wrong, and how. Pure.
fn tell(wrong: &Wrong) -> (String, String) {
    let of = |what: &str, how: &str| (what.to_owned(), how.to_owned());
    match wrong {
        Wrong::Missing => of("the layer", "is not there"),
        Wrong::Withdrawn => of(
            "the layer",
            "was found spoilt earlier, and is not used any more",
        ),
        Wrong::Garbled(why) => of("layer.json", &format!("cannot be understood: {why}")),
        Wrong::Beside(name, why) => of(name, why),
        Wrong::List(error) => of("contents", &format!("cannot be understood: {error}")),
        Wrong::Path(Difference { path, change }) => {
            let path = match &path[..] {
                b"" => "/".to_owned(),
                path => path.escape_ascii().to_string(),
            };
            let how = match change {
                Change::Missing => "is missing".to_owned(),
                Change::Added => "was added".to_owned(),
                Change::Kind { expected, found } => {
                    format!("was {}, is {}", kind(expected), kind(found))
                }
                Change::Mode { expected, found } => {
                    format!("had the mode {expected:04o}, has {found:04o}")
                }
                Change::Content => "has another content".to_owned(),
                Change::Target => "leads somewhere else".to_owned(),
                Change::Xattrs => "has other extended attributes".to_owned(),
                Change::Unreadable(errno) => format!("cannot be read: {}", errno.desc()),
            };
            (path, how)
        }
    }
}

/// What mtree(5) has for kinds, in words.
pub(super) fn kind(word: &str) -> &str {
    match word {
        "dir" => "a directory",
        "file" => "a file",
        "link" => "a symlink",
        "fifo" => "a pipe",
        "socket" => "a socket",
        "block" | "char" => "a device",
        other => other,
    }
}

fn ended(soundness: &Soundness) -> Result<Done, Failure> {
    let condition = soundness.condition();
    if condition == Condition::Sound {
        return Ok(Done::Here);
    }
    let mut failure = Failure::new(ExitKind::Found, soundness.headline());
    let names = |condition| {
        let found = soundness.stacks.iter();
        let found = found.filter(|stack| stack.condition == condition);
        let mut names: Vec<&str> = found.map(|stack| stack.stack.as_str()).collect();
        names.dedup();
        names.join(" ")
    };
    let (spoilt, unknown) = (names(Condition::Spoilt), names(Condition::Unknown));
    if !spoilt.is_empty() {
        failure = failure
            .hint(
                "layers that are spoilt are not used any more: whatever needs them next makes them \
                 anew",
            )
            .hint(format!("`pybuild prepare {spoilt}` does it now"));
    }
    if !unknown.is_empty() {
        failure = failure.hint(format!(
            "`pybuild stack remove {unknown}`, then `pybuild prepare {unknown}`, makes layers that \
             say what they hold"
        ));
    }
    if !soundness.garbled.is_empty() {
        failure = failure.hint(
            "a record that cannot be understood is written anew when its stack is prepared; it may \
             be deleted",
        );
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let path = |change| {
            Wrong::Path(Difference {
                path: b"usr/bin/\xffx".to_vec(),
                change,
            })
        };
        let kinds = Change::Kind {
            expected: "file",
            found: "link",
        };
        let mode = Change::Mode {
            expected: 0o644,
            found: 0o4755,
        };
        let table = [
            (Wrong::Missing, "the layer is not there"),
            (
                Wrong::Beside("ownership.jsonl".to_owned(), "was changed"),
                "ownership.jsonl was changed",
            ),
            (path(Change::Missing), "usr/bin/\\xffx is missing"),
            (path(Change::Added), "usr/bin/\\xffx was added"),
            (path(kinds), "usr/bin/\\xffx was a file, is a symlink"),
            (path(mode), "usr/bin/\\xffx had the mode 0644, has 4755"),
            (path(Change::Content), "usr/bin/\\xffx has another content"),
            (path(Change::Target), "usr/bin/\\xffx leads somewhere else"),
            (
                path(Change::Unreadable(Errno::EIO)),
                "usr/bin/\\xffx cannot be read: I/O error",
            ),
        ];
        for (wrong, said) in table {
            let (what, how) = tell(&wrong);
            assert_eq!(format!("{what} {how}"), said);
        }
    }
}
