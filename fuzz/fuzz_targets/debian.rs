//! Any text, taken for what a Debian mirror says: stanzas, a `Release` file, an index of packages,
//! relations, versions, and a cleartext-signed document.

#![no_main]

use std::cmp::Ordering;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pybuild::rootfs::debian::openpgp::Keyring;
use pybuild::rootfs::debian::release::Release;
use pybuild::rootfs::debian::resolve::Universe;
use pybuild::rootfs::debian::{deb822, index, relation, version};

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::parse(include_bytes!("../../keyrings/debian-archive.gpg")).expect("Debian's keys")
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    stanzas(text);
    packages(text);
    versions(text);
    if let Ok(release) = Release::parse(text) {
        let _ = release.file("main/binary-amd64/Packages.xz");
        let _ = release.check("bookworm", now());
    }
    // What is taken for signed is of the document, and without what signs it.
    if let Ok(signed) = KEYRING.verify(text, now()) {
        assert!(text.contains(signed.text.lines().next().unwrap_or_default()));
        assert!(!signed.text.contains("-----BEGIN PGP SIGNATURE"));
    }
});

fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_780_000_000).expect("a time")
}

/// Whatever is in a stanza is in the text, in the text's order, and nothing is in two.
fn stanzas(text: &str) {
    let mut rest = text;
    for stanza in deb822::stanzas(text) {
        let at = rest.find(stanza.text()).expect("of the text");
        rest = &rest[at + stanza.text().len()..];
        assert!(!stanza.text().trim().is_empty());
        for (name, value) in stanza.fields() {
            assert!(!name.contains(['\n', ':']));
            assert_eq!(value, value.trim());
            assert!(stanza.get(name).is_some());
            let _ = deb822::lines(value).count();
        }
    }
}

/// An index, its relations, and what follows from them.
fn packages(text: &str) {
    let Ok(records) = index::parse(text, "amd64") else {
        return;
    };
    for record in &records {
        assert!(["amd64", "all"].contains(&record.arch));
        for field in [record.depends, record.pre_depends, record.provides] {
            let Ok(groups) = relation::parse(field) else {
                continue;
            };
            for relation in groups.iter().flatten() {
                let shown = relation.to_string();
                let again = relation::parse(&shown).expect("what it shows");
                assert_eq!(again, [[*relation]]);
                let _ = relation.admits(record.version);
                let _ = relation.admits_provided(None);
            }
        }
    }
    let names: Vec<String> = records.iter().take(3).map(|r| r.name.to_owned()).collect();
    if let Ok(universe) = Universe::new(records) {
        let _ = universe.resolve(&names);
    }
}

/// Versions are in one order.
fn versions(text: &str) {
    let mut words = text.split_whitespace();
    let (a, b, c) = (words.next(), words.next(), words.next());
    let [a, b, c] = [a, b, c].map(Option::unwrap_or_default);
    let order = version::compare;
    assert_eq!(order(a, a), Ordering::Equal);
    assert_eq!(order(a, b), order(b, a).reverse());
    if order(a, b).is_le() && order(b, c).is_le() {
        assert!(order(a, c).is_le(), "{a} {b} {c}");
    }
}
