//! Inventories that differ in one thing each.

use super::*;
use crate::model::Sha256;

fn member(what: What, mode: u32) -> Member {
    Member {
        what,
        mode,
        mtime: 7,
        owner: (Some(0), Some(0)),
    }
}

fn file(content: &str) -> What {
    What::File {
        size: content.len() as u64,
        sha256: Sha256::of(content.as_bytes()),
    }
}

fn inventory(members: &[(&str, Member)]) -> Inventory {
    let members = members.iter();
    let members = members.map(|(path, member)| (path.as_bytes().to_vec(), member.clone()));
    Inventory {
        members: members.collect(),
        order: Some(Sha256::of(b"order")),
        ..Inventory::default()
    }
}

#[test]
fn every_way_in_which_paths_differ_is_told() {
    let link = |to: &str| What::Symlink(to.as_bytes().to_vec());
    let one = inventory(&[
        ("a", member(file("same"), 0o644)),
        ("b", member(file("one"), 0o644)),
        ("c", member(link("x"), 0o777)),
        ("d", member(What::Directory, 0o755)),
        ("e", member(What::Directory, 0o755)),
        ("f", member(file("gone"), 0o644)),
        ("h", member(What::HardLink(b"a".to_vec()), 0o644)),
        ("l", member(link("x"), 0o777)),
    ]);
    let two = inventory(&[
        ("a", member(file("same"), 0o644)),
        ("b", member(file("other"), 0o755)),
        ("c", member(link("y"), 0o777)),
        ("d", member(link("e"), 0o777)),
        ("e", member(What::Directory, 0o700)),
        ("g", member(file("new"), 0o644)),
        ("h", member(What::HardLink(b"b".to_vec()), 0o644)),
        ("l", member(link("x"), 0o755)),
    ]);
    let found: Vec<(String, Change)> = compare(&one, &two)
        .into_iter()
        .map(|one| (String::from_utf8(one.path).expect("ASCII"), one.change))
        .collect();
    let to = |text: &str| text.as_bytes().to_vec();
    let expected = [
        ("b", Change::Content(3, 5)),
        ("b", Change::Mode(0o644, 0o755)),
        ("c", Change::Target(to("x"), to("y"))),
        ("d", Change::Kind(Kind::Directory, Kind::Symlink)),
        ("e", Change::Mode(0o755, 0o700)),
        ("f", Change::Removed(Kind::File(4))),
        ("g", Change::Added(Kind::File(3))),
        ("h", Change::Target(to("a"), to("b"))),
    ];
    let expected = expected.map(|(path, change)| (path.to_owned(), change));
    assert_eq!(found, expected);
    assert_eq!(compare(&one, &one), []);
}

#[test]
fn what_differs_outside_of_files_is_told() {
    let tarball = |bytes: &str, archive: &str| Tarball {
        size: 1,
        sha256: Sha256::of(bytes.as_bytes()),
        codec: None,
        archive: (!archive.is_empty()).then(|| Sha256::of(archive.as_bytes())),
        broken: None,
    };
    let one = inventory(&[
        ("a", member(file("a"), 0o644)),
        ("b", member(file("b"), 0o644)),
    ]);
    let mut other = one.clone();
    let told = outside((&tarball("1", "x"), &one), (&tarball("2", "x"), &other));
    assert!(told.same_archive && !told.same_file && !told.other_order);
    let told = outside((&tarball("1", ""), &one), (&tarball("1", ""), &other));
    assert!(!told.same_archive && told.same_file);
    other.order = None;
    let b = other.members.get_mut(&b"b"[..]).expect("there");
    b.mtime = 9;
    b.owner = (Some(1), Some(0));
    let told = outside((&tarball("1", "x"), &one), (&tarball("2", "y"), &other));
    assert!(told.other_order);
    assert_eq!((told.times, told.owners), (1, 1));
    assert_eq!(told.first_time, Some((b"b".to_vec(), 7, 9)));
    // Where members differ, so does their order.
    other.members.remove(&b"a"[..]);
    let told = outside((&tarball("1", "x"), &one), (&tarball("2", "y"), &other));
    assert!(!told.other_order);
}
