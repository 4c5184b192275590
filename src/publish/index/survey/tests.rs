//! What becomes of a listing that is strange, and of what has changed since it was made.

use std::io::Read;

use super::*;
use crate::model::{Quiet, Sha256};
use crate::publish::content::{Conditional, Head, StaleUpload};
use crate::publish::remote::Place;
use crate::publish::target::Target;

fn object(key: &str) -> Object {
    Object {
        key: key.to_owned(),
        size: 1,
        modified: 2,
    }
}

#[test]
fn a_listing_shows_archives_by_any_of_their_objects() {
    let listing = [
        "a/b.tar.gz",
        "a/b.tar.gz.json",
        "a/b.tar.gz.sha256",
        "c.tar.zst.json",
        "d.tar.xz",
        "index.html",
        "index.json",
        "notes.json",
        "x.tar.gz.json.sha256",
    ];
    let found = candidates(listing.map(object).into());
    let found: Vec<_> = found
        .iter()
        .map(|one| {
            let tarball = one.tarball.is_some();
            (&*one.keys.tarball, tarball, one.sha256, one.record)
        })
        .collect();
    assert_eq!(
        found,
        [
            ("a/b.tar.gz", true, true, true),
            ("c.tar.zst", false, false, true),
            ("d.tar.xz", true, false, false),
        ]
    );
}

/// A target that lists this, has a tarball of this digest by its own account, and sidecars that
/// say another.
struct Strange {
    listing: Vec<Object>,
    there: bool,
}

impl Place for Strange {
    fn list(&self, _: &str, _: &Interrupt) -> Result<Option<Vec<Object>>, PublishError> {
        Ok(Some(self.listing.clone()))
    }
    fn head(&self, _: &str, _: &Interrupt) -> Result<Option<Head>, PublishError> {
        let (size, sha256) = (7, Some(Sha256::of(b"another")));
        Ok(self.there.then_some(Head {
            size,
            sha256,
            parts: None,
            etag: None,
        }))
    }
    fn read<'a>(
        &'a self,
        key: &str,
        _: Option<&str>,
        _: &'a Interrupt,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, PublishError> {
        let text = if key.ends_with(Role::Record.suffix()) {
            super::super::tests::record().to_json()
        } else {
            let digest = Sha256::of(b"tarball");
            format!("{digest}  python-3.11.2.tar.gz\n")
        };
        let reader: Box<dyn Read + Send> = Box::new(std::io::Cursor::new(text));
        Ok(self.there.then_some(reader))
    }
    fn put(
        &self,
        _: &str,
        _: Content<'_>,
        _: Mode,
        _: &(dyn Fn(u64) + Sync),
        _: &Interrupt,
    ) -> Result<Put, PublishError> {
        unreachable!("looking puts nothing")
    }
    fn check_writable(&self, _: &Interrupt) -> Result<Conditional, PublishError> {
        unreachable!("looking writes nothing")
    }
    fn stale_uploads(&self, _: &Interrupt) -> Result<Option<Vec<StaleUpload>>, PublishError> {
        unreachable!("uploads are no archives")
    }
    fn abort(&self, _: &StaleUpload, _: &Interrupt) -> Result<(), PublishError> {
        unreachable!("looking gives nothing up")
    }
    fn remove(&self, _: &str, _: &Interrupt) -> Result<(), PublishError> {
        unreachable!("looking removes nothing")
    }
}

fn told(keys: &[&str], there: bool) -> Vec<(String, String)> {
    let listing = keys
        .iter()
        .flat_map(|key| ["", ".sha256", ".json"].map(|suffix| object(&format!("{key}{suffix}"))))
        .collect();
    let target = Target::Directory("somewhere".into());
    let remote = Remote::through(&target, Box::new(Strange { listing, there }));
    let interrupt = Interrupt::manual().expect("an eventfd");
    let surveyed = survey(&remote, &Quiet, &interrupt).expect("nothing fails");
    let Surveyed { index, unlisted } = surveyed.expect("it is listed");
    assert_eq!(index.archives(), []);
    let unlisted = unlisted.into_iter();
    unlisted
        .map(|(key, flaw)| (key, flaw.to_string()))
        .collect()
}

#[test]
fn what_a_target_lists_and_nobody_could_ask_for_is_told() {
    let long = format!("{}.tar.gz", "x".repeat(1020));
    for (key, why) in [
        ("a//b.tar.gz", "a part between slashes is empty"),
        ("../b.tar.gz", "a part of it is `.` or `..`"),
        ("a\nb.tar.gz", "it holds a control character"),
        (&long, "it must have 1 to 1024 bytes"),
    ] {
        let told = told(&[key], true);
        let why = format!("its key cannot be one: {why}");
        assert_eq!(told, [(key.to_owned(), why)]);
    }
}

#[test]
fn what_is_another_by_the_stores_own_account_is_not_listed() {
    let key = "debian-12/runtimes/python-3.11.2.tar.gz";
    let (is, said) = (Sha256::of(b"another"), Sha256::of(b"tarball"));
    let why = format!("the store says that its SHA-256 is {is}, its record says {said}");
    assert_eq!(told(&[key], true), [(key.to_owned(), why)]);
    let gone = "its tarball and its .sha256 and its record are missing";
    assert_eq!(told(&[key], false), [(key.to_owned(), gone.to_owned())]);
}
