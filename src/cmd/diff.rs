//! `pybuild diff`: in what two artifacts differ, and why.

use std::collections::{BTreeMap, BTreeSet};

use super::session::{interrupt, terminal};
use super::tarball::{Papers, Source, open};
use super::{Done, Failure};
use crate::archive::{Codec, shown};
use crate::cli::{self, Global};
use crate::inspect::{
    Change, Difference, Eye, Inventory, Kind, Outside, PaperChange, Tarball, Unseeing, compare,
    explain, outside, papers,
};
use crate::model::Bytes;
use crate::publish::Date;
use crate::ui::{self, ArtifactDifferences, ExitKind, FileRow, PaperRow};

/// Bytes of the first one's files that are kept to be compared with the second one's.
const KEPT: u64 = 512 << 20;

/// Compares, tells, and ends with 4 if they are not the same.
pub(super) fn run(global: &Global, args: &cli::Diff) -> Result<Done, Failure> {
    let names = [args.a.as_str(), args.b.as_str()];
    let mut sources = open(global, &names, args.env_file.as_deref())?;
    let (b, a) = (sources.remove(1), sources.remove(0));
    let interrupt = interrupt()?;
    let ui = terminal(global);
    let read = |source: &Source, eye: &mut dyn Eye| source.read(&ui, &interrupt, eye);
    let (one, other) = (a.papers(&interrupt)?, b.papers(&interrupt)?);
    let (tarball, inside) = read(&a, &mut Unseeing)?;
    let (other_tarball, other_inside) = read(&b, &mut Unseeing)?;
    let mut unseen = Vec::new();
    for (source, tarball, inside) in [(&a, &tarball, &inside), (&b, &other_tarball, &other_inside)]
    {
        let broken = tarball.broken.iter().chain(&inside.wrong);
        unseen.extend(broken.map(|why| format!("{}: {why}", source.shown)));
    }
    let found = compare(&inside, &other_inside);
    let mut why = Reasons::of(&found);
    if !why.wanted.is_empty() {
        // Read once more rather than keep all of it from the beginning.
        why.take_first(|eye| same_again(&a, &tarball, read(&a, eye)?))?;
        why.take_second(|eye| same_again(&b, &other_tarball, read(&b, eye)?))?;
    }
    let told = outside((&tarball, &inside), (&other_tarball, &other_inside));
    let differences = ArtifactDifferences {
        a: a.shown.clone(),
        b: b.shown.clone(),
        same: told.same_file,
        record: records(&one, &other, &mut unseen),
        files: rows(&found, &why),
        tarball: tarballs(&told, &tarball, &other_tarball),
        unseen,
    };
    if global.json {
        ui::print_json(&differences)?;
    } else {
        ui::print(&differences.render(ui.palette()))?;
    }
    let nothing = differences.same
        && differences.unseen.is_empty()
        && differences.record.iter().all(Vec::is_empty);
    Ok(if nothing {
        Done::Here
    } else {
        Done::Code(ExitKind::Found.code())
    })
}

/// What is read a second time must be what was read the first.
fn same_again(
    source: &Source,
    before: &Tarball,
    (now, _): (Tarball, Inventory),
) -> Result<(), Failure> {
    if now.sha256 == before.sha256 {
        return Ok(());
    }
    let why = format!("{} was changed while it was read", source.shown);
    Err(Failure::new(ExitKind::TryAgain, why))
}

/// Why contents differ, by path.
struct Reasons {
    wanted: BTreeSet<Vec<u8>>,
    first: BTreeMap<Vec<u8>, Vec<u8>>,
    left: u64,
    told: BTreeMap<Vec<u8>, Vec<String>>,
}

impl Reasons {
    fn of(found: &[Difference]) -> Self {
        let differ = found
            .iter()
            .filter(|one| matches!(one.change, Change::Content(..)));
        Self {
            wanted: differ.map(|one| one.path.clone()).collect(),
            first: BTreeMap::new(),
            left: KEPT,
            told: BTreeMap::new(),
        }
    }

    fn take_first(
        &mut self,
        read: impl FnOnce(&mut dyn Eye) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        struct First<'a>(&'a mut Reasons);
        impl Eye for First<'_> {
            fn wants(&mut self, path: &[u8], size: u64, _: &[u8]) -> bool {
                self.0.wanted.contains(path) && size <= self.0.left
            }

            fn take(&mut self, path: &[u8], content: Vec<u8>) {
                self.0.left = self.0.left.saturating_sub(content.len() as u64);
                self.0.first.insert(path.to_owned(), content);
            }
        }
        read(&mut First(self))
    }

    fn take_second(
        &mut self,
        read: impl FnOnce(&mut dyn Eye) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        struct Second<'a>(&'a mut Reasons);
        impl Eye for Second<'_> {
            fn wants(&mut self, path: &[u8], _: u64, _: &[u8]) -> bool {
                self.0.first.contains_key(path)
            }

            fn take(&mut self, path: &[u8], content: Vec<u8>) {
                if let Some(first) = self.0.first.remove(path) {
                    let told = explain(path, &first, &content);
                    self.0.told.insert(path.to_owned(), told);
                }
            }
        }
        read(&mut Second(self))
    }
}

/// What the records say differently, if there are two.
fn records(a: &Papers, b: &Papers, unseen: &mut Vec<String>) -> Option<Vec<PaperRow>> {
    let mut sound = Vec::new();
    for (which, papers) in [("first", a), ("second", b)] {
        match &papers.record {
            Some(Ok(record)) => sound.push(record),
            Some(Err(why)) => unseen.push(format!("the {which} one's record is not one: {why}")),
            None => {}
        }
    }
    let [a, b] = sound[..] else { return None };
    let rows = papers(a, b).into_iter();
    let rows = rows.map(|PaperChange { what, a, b }| PaperRow { what, a, b });
    Some(rows.collect())
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::File(size) => format!("a file of {}", Bytes(size)),
        Kind::Directory => "a directory".to_owned(),
        Kind::Symlink => "a symlink".to_owned(),
        Kind::HardLink => "a hard link".to_owned(),
        Kind::Special => "a device node or a pipe".to_owned(),
    }
}

/// All differences in words. A directory that only one has stands for what is in it.
fn rows(found: &[Difference], why: &Reasons) -> Vec<FileRow> {
    let mut rows: Vec<FileRow> = Vec::new();
    let mut directory: Option<(usize, &Difference)> = None;
    let mut below = (0, 0);
    for (n, one) in found.iter().enumerate() {
        let is_below = directory.is_some_and(|(_, above)| {
            let path = one.path.strip_prefix(&above.path[..]);
            path.is_some_and(|rest| rest.starts_with(b"/"))
        });
        rows.push(FileRow {
            below: is_below,
            ..row(one, why)
        });
        if let (true, Some((at, _))) = (is_below, directory) {
            if let Change::Added(Kind::File(size)) | Change::Removed(Kind::File(size)) = one.change
            {
                below = (below.0 + 1, below.1 + size);
            }
            let (count, bytes) = (below.0, Bytes(below.1));
            let files = if count == 1 { "file" } else { "files" };
            let (what, _) = rows[at]
                .what
                .split_once(',')
                .unwrap_or((&rows[at].what, ""));
            rows[at].what = format!("{what}, {count} {files} in it, {bytes}");
            continue;
        }
        let is_directory = matches!(
            one.change,
            Change::Added(Kind::Directory) | Change::Removed(Kind::Directory)
        );
        directory = is_directory.then_some((n, one));
        below = (0, 0);
    }
    rows
}

/// A difference in words.
fn row(difference: &Difference, why: &Reasons) -> FileRow {
    let Difference { path, change } = difference;
    let (word, what) = match change {
        Change::Removed(what) => ("removed", format!("only in the first: {}", kind(*what))),
        Change::Added(what) => ("added", format!("only in the second: {}", kind(*what))),
        Change::Kind(from, to) => ("kind", format!("{} → {}", kind(*from), kind(*to))),
        Change::Mode(from, to) => ("mode", format!("mode {from:04o} → {to:04o}")),
        Change::Target(from, to) => ("target", format!("link {} → {}", shown(from), shown(to))),
        Change::Content(from, to) if from == to => ("content", format!("content, {from} bytes")),
        Change::Content(from, to) => ("content", format!("content, {from} → {to} bytes")),
    };
    let why = match (word, why.told.get(path)) {
        ("content", Some(told)) => told.clone(),
        ("content", None) => vec!["too large to be looked into".to_owned()],
        _ => Vec::new(),
    };
    FileRow {
        path: shown(path),
        change: word,
        what,
        why,
        below: false,
    }
}

/// What differs of the tarballs beside their members' names, modes and contents.
fn tarballs(told: &Outside, a: &Tarball, b: &Tarball) -> Vec<String> {
    let Outside {
        same_file,
        same_archive,
        other_order,
        times,
        first_time,
        owners,
    } = told;
    if *same_file {
        return Vec::new();
    }
    let mut lines = Vec::new();
    if a.codec != b.codec {
        let name = |codec: Option<Codec>| codec.map_or("nothing known", Codec::extension);
        let (from, to) = (name(a.codec), name(b.codec));
        lines.push(format!("compressed with {from} → {to}"));
    } else if *same_archive {
        let why = "the same archive, compressed at another level or by another library";
        lines.push(why.to_owned());
    }
    if *other_order {
        lines.push("the same members in another order".to_owned());
    }
    if let Some((path, from, to)) = first_time {
        let (from, to) = (Date::of(*from), Date::of(*to));
        let count = if *times == 1 {
            "1 member".to_owned()
        } else {
            format!("{times} members")
        };
        lines.push(format!(
            "{count} of another time: {} {from} → {to}",
            shown(path)
        ));
    }
    if *owners > 0 {
        lines.push(format!("{owners} members belong to others"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_what_is_in_it() {
        let one = |path: &str, change| Difference {
            path: path.as_bytes().to_vec(),
            change,
        };
        let found = [
            one("bin", Change::Mode(0o755, 0o700)),
            one("lib", Change::Removed(Kind::Directory)),
            one("lib/a", Change::Removed(Kind::Directory)),
            one("lib/a/x", Change::Removed(Kind::File(1000))),
            one("lib/b", Change::Removed(Kind::File(500))),
            one("lib2", Change::Added(Kind::File(7))),
        ];
        let rows = rows(&found, &Reasons::of(&found));
        let told = rows.iter().filter(|row| !row.below);
        let told: Vec<_> = told.map(|row| (&*row.path, &*row.what)).collect();
        let expected = [
            ("bin", "mode 0755 → 0700"),
            (
                "lib",
                "only in the first: a directory, 2 files in it, 1.5 kB",
            ),
            ("lib2", "only in the second: a file of 7 B"),
        ];
        assert_eq!(told, expected);
        assert_eq!(rows.len(), found.len());
    }
}
