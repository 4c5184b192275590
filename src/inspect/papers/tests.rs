//! Records that differ in one thing each.

use super::*;
use crate::artifact::record::tests::record;
use crate::inspect::inventory::{Member, What};
use crate::model::Sha256;

fn told(change: impl FnOnce(&mut Record)) -> Vec<String> {
    let one = record();
    let mut other = one.clone();
    change(&mut other);
    let told = papers(&one, &other).into_iter();
    let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    told.map(|PaperChange { what, a, b }| format!("{what}: {} → {}", shown(a), shown(b)))
        .collect()
}

#[test]
fn what_two_records_say_differently_is_told() {
    assert_eq!(told(|_| {}), [""; 0]);
    let profile = told(|record| "optimized".clone_into(&mut record.product.profile));
    assert_eq!(profile, ["profile: plain → optimized"]);
    let package = told(|record| {
        let packages = &mut record.making.build_image.packages;
        packages.remove(1);
        "12.3".clone_into(&mut packages[0].version);
    });
    assert_eq!(
        package,
        [
            "package of the build image: gcc-12:amd64: 12.2.0-14 → 12.3",
            "package of the build image: libc6:amd64: 2.36-9 → -",
        ]
    );
    let step = told(|record| {
        let step = &mut record.making.steps[0];
        step.argv.push("CC=my cc".to_owned());
        step.env.insert("A".to_owned(), "1".to_owned());
    });
    assert_eq!(
        step,
        [
            "step make: make '-j{jobs}' (in /build/source) → A=1 make '-j{jobs}' 'CC=my cc' (in /build/source)"
        ]
    );
    let module = told(|record| record.making.modules.push("zlib".to_owned()));
    assert_eq!(module, ["module proven zlib: - → yes"]);
    let digest = Sha256::of(b"else");
    let patch = told(|record| record.making.patches[0].sha256 = digest);
    let was = Sha256::of(b"patch");
    assert_eq!(
        patch,
        [format!("patch python/3.11/x.patch: {was} → {digest}")]
    );
    let library = told(|record| {
        record.needs.libraries.remove("libz.so.1");
        record.needs.glibc_floor = None;
    });
    assert_eq!(
        library,
        [
            "oldest glibc: 2.34 → -",
            "library needed libz.so.1: yes → -"
        ]
    );
    let dependency = told(|record| record.making.dependencies.clear());
    assert!(dependency[0].starts_with("dependency sqlite: sqlite-3.46.1, build "));
}

#[test]
fn an_order_that_differs_is_told() {
    let one = {
        let mut one = record();
        let mut second = one.making.patches[0].clone();
        "python/3.11/y.patch".clone_into(&mut second.path);
        one.making.patches.push(second);
        one
    };
    let mut other = one.clone();
    other.making.patches.reverse();
    let told = papers(&one, &other);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].what, "order: patch");
}

#[test]
fn what_a_record_says_of_a_tarball_must_be_so() {
    let record = record();
    let said = &record.artifact;
    let tarball = Tarball {
        size: said.size,
        sha256: said.sha256,
        codec: None,
        archive: None,
        broken: None,
    };
    let member = Member {
        what: What::File {
            size: 20,
            sha256: Sha256::of(b"20 bytes"),
        },
        mode: 0o644,
        mtime: 0,
        owner: (None, None),
    };
    let inside = Inventory {
        members: [(b"bin/tool".to_vec(), member)].into(),
        entries: said.entries,
        bytes: said.unpacked_size,
        ..Inventory::default()
    };
    assert_eq!(contradictions(&record, &tarball, &inside), [""; 0]);
    let other = Inventory {
        entries: 4,
        ..inside.clone()
    };
    let told = contradictions(&record, &tarball, &other);
    assert_eq!(told, ["it has 4 entries, its record says 3"]);
    let other = Inventory {
        members: BTreeMap::new(),
        ..inside.clone()
    };
    let told = contradictions(&record, &tarball, &other);
    assert_eq!(told, ["it has 0 bytes in `bin`, its record says 20"]);
    let broken = Tarball {
        size: 8,
        broken: Some("it is cut short".to_owned()),
        ..tarball
    };
    // What is in one that is broken is not known.
    let told = contradictions(&record, &broken, &other);
    assert_eq!(told, ["it has 8 bytes, its record says 7"]);
}
