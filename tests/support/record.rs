//! Records of artifacts that nobody has built.

use std::collections::BTreeMap;

use pybuild::artifact::record::{
    ArtifactRecord, Contents, ImageRecord, MakingRecord, Needs, Origin, ProductRecord, Record,
    SourceRecord, ToolRecord,
};
use pybuild::model::{Arch, FormulaRef, Kind, Sha256};

/// The record of a tarball for `debian-12`.
pub(crate) fn record(
    reference: &FormulaRef,
    kind: Kind,
    build_id: Sha256,
    artifact: ArtifactRecord,
) -> Record {
    let image = || ImageRecord {
        digest: Sha256::of(b"image"),
        packages: Vec::new(),
    };
    let origin = Origin {
        product: ProductRecord {
            name: reference.name().clone(),
            version: reference.version().cloned(),
            script: None,
            kind,
            stack: "debian-12".parse().expect("a stack"),
            arch: Arch::Amd64,
            profile: "plain".to_owned(),
            prefix: "/app/.heroku/python".parse().expect("a path"),
            build_id,
        },
        making: MakingRecord {
            source: SourceRecord {
                flavour: "tgz".to_owned(),
                file: "source.tgz".to_owned(),
                sha256: Sha256::of(b"source"),
                url: None,
            },
            patches: Vec::new(),
            files: Vec::new(),
            dependencies: Vec::new(),
            archives: Vec::new(),
            build_image: image(),
            run_image: image(),
            steps: Vec::new(),
            env: BTreeMap::new(),
            network: false,
            modules: Vec::new(),
        },
        source_date_epoch: 0,
    };
    let tool = ToolRecord {
        version: "0".to_owned(),
        build_revision: 1,
    };
    Record::new(
        origin,
        Needs::default(),
        Contents::default(),
        artifact,
        tool,
    )
}
