//! Documents sound and hostile.

use serde_json::{Value, json};

use super::*;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn sha(n: u8) -> String {
    format!("sha256:{}", Sha256::of(&[n]))
}

fn entry(n: u8, platform: Option<(&str, &str, Option<&str>)>) -> Value {
    let mut entry = json!({"mediaType": MANIFEST, "digest": sha(n), "size": 100});
    if let Some((os, architecture, variant)) = platform {
        entry["platform"] = json!({"os": os, "architecture": architecture});
        if let Some(variant) = variant {
            entry["platform"]["variant"] = variant.into();
        }
    }
    entry
}

fn index_of(entries: &[Value]) -> Vec<Descriptor> {
    let json = json!({"schemaVersion": 2, "manifests": entries});
    match Document::parse(json.to_string().as_bytes(), Some(INDEX)).expect("sound") {
        Document::Index(entries) => entries,
        Document::Manifest(_) => panic!("an index was read as a manifest"),
    }
}

fn layer(n: u8) -> Value {
    json!({"mediaType": LAYER, "digest": sha(n), "size": 1000 + u64::from(n)})
}

fn manifest_json(layers: &[Value]) -> Value {
    let config = json!({"mediaType": CONFIG, "digest": sha(99), "size": 500});
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})
}

fn parse(json: &Value, announced: Option<&str>) -> Result<Document, DocumentError> {
    Document::parse(json.to_string().as_bytes(), announced)
}

fn manifest_of(layers: &[Value]) -> Manifest {
    match parse(&manifest_json(layers), None).expect("sound") {
        Document::Manifest(manifest) => manifest,
        Document::Index(_) => panic!("a manifest was read as an index"),
    }
}

fn config_json(diff_ids: &[u8]) -> Value {
    let diff_ids: Vec<String> = diff_ids.iter().map(|n| sha(*n)).collect();
    json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
}

fn config(json: &Value) -> Result<Config, DocumentError> {
    Config::parse(json.to_string().as_bytes(), Arch::Amd64)
}

/// Platforms of an index, which of them is wanted, which entry that is.
type Case<'a> = (
    Vec<Option<(&'a str, &'a str, Option<&'a str>)>>,
    Arch,
    Option<usize>,
);

#[test]
fn the_platform_is_chosen_and_attestations_are_not() {
    let linux = |arch, variant| Some(("linux", arch, variant));
    let table: [Case<'_>; 9] = [
        (
            vec![linux("arm64", None), linux("amd64", None)],
            Arch::Amd64,
            Some(1),
        ),
        (
            vec![linux("arm", Some("v7")), linux("arm64", Some("v8"))],
            Arch::Arm64,
            Some(1),
        ),
        (
            vec![linux("amd64", Some("v3")), linux("amd64", None)],
            Arch::Amd64,
            Some(1),
        ),
        (vec![linux("amd64", Some("v3"))], Arch::Amd64, None),
        (
            vec![Some(("windows", "amd64", None)), linux("amd64", None)],
            Arch::Amd64,
            Some(1),
        ),
        (vec![None, linux("amd64", None)], Arch::Amd64, Some(1)),
        (vec![None, linux("arm64", None)], Arch::Amd64, Some(0)),
        (vec![Some(("unknown", "unknown", None))], Arch::Amd64, None),
        (
            vec![linux("amd64", None), linux("amd64", None)],
            Arch::Amd64,
            Some(0),
        ),
    ];
    for (platforms, arch, chosen) in table {
        let entries = (0u8..).zip(&platforms);
        let entries: Vec<Value> = entries.map(|(n, platform)| entry(n, *platform)).collect();
        let entries = index_of(&entries);
        let found = choose(&entries, arch).ok();
        assert_eq!(found, chosen.map(|n| &entries[n]), "{platforms:?}");
    }
    let entries = index_of(&[
        entry(0, linux("s390x", None)),
        entry(1, Some(("unknown", "unknown", None))),
    ]);
    let error = choose(&entries, Arch::Arm64).expect_err("not there");
    assert_eq!(
        error.to_string(),
        "has no image for linux/arm64, it is for linux/s390x"
    );
}

#[test]
fn what_is_in_an_index_besides_images_is_passed_over() {
    let other = json!({"mediaType": "application/x", "digest": "sha512:abc", "size": 1});
    assert_eq!(index_of(&[other, entry(1, None)]).len(), 1);
}

#[test]
fn all_that_says_what_a_document_is_must_agree() {
    let manifest = manifest_json(&[layer(0)]);
    let index = json!({"schemaVersion": 2, "manifests": [entry(0, None)]});
    let mut docker = manifest.clone();
    docker["mediaType"] = DOCKER.into();
    let mut both = manifest.clone();
    both["manifests"] = index["manifests"].clone();
    let mut unsaid = manifest.clone();
    unsaid["mediaType"].take();
    let mut other = manifest.clone();
    other["mediaType"] = "application/vnd.example.thing+json".into();
    let mut third = manifest.clone();
    third["schemaVersion"] = 3.into();
    let table = [
        (&manifest, None, true),
        (&manifest, Some(MANIFEST), true),
        (
            &manifest,
            Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
            true,
        ),
        (&manifest, Some("application/json"), true),
        (&manifest, Some("text/plain"), true),
        (&unsaid, None, true),
        (&unsaid, Some(DOCKER), true),
        (&docker, Some(DOCKER), true),
        (&docker, Some(MANIFEST), false),
        (&manifest, Some(INDEX), false),
        (&unsaid, Some(INDEX), false),
        (&index, Some(INDEX), true),
        (&index, Some(MANIFEST), false),
        (&both, None, false),
        (&both, Some(INDEX), false),
        (&other, None, false),
        (&third, None, false),
    ];
    for (json, announced, sound) in table {
        let parsed = parse(json, announced);
        assert_eq!(parsed.is_ok(), sound, "{announced:?} {json} {parsed:?}");
    }
}

#[test]
fn schema_one_is_named() {
    let old = json!({"schemaVersion": 1, "name": "x", "fsLayers": [], "history": []});
    assert_eq!(parse(&old, None), Err(DocumentError::SchemaOne));
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    assert_eq!(parse(&old, Some(signed)), Err(DocumentError::SchemaOne));
    assert_eq!(
        parse(&manifest_json(&[]), Some(signed)),
        Err(DocumentError::SchemaOne)
    );
}

#[test]
fn manifests_that_make_no_sense_are_refused() {
    let change = |change: &dyn Fn(&mut Value)| {
        let mut json = manifest_json(&[layer(0), layer(1)]);
        change(&mut json);
        parse(&json, None)
    };
    assert!(change(&|_| {}).is_ok());
    let changes: [&dyn Fn(&mut Value); 12] = [
        &|json| json["layers"][0]["size"] = 0.into(),
        &|json| json["layers"][0]["size"] = (-1).into(),
        &|json| json["layers"][0]["size"] = 1.5.into(),
        &|json| json["layers"][0]["size"] = (64u64 << 30).into(),
        &|json| json["layers"][0]["digest"] = "sha512:abc".into(),
        &|json| json["layers"][0]["digest"] = "../../etc/passwd".into(),
        &|json| json["layers"][0]["digest"] = sha(0).to_uppercase().into(),
        &|json| json["layers"][1]["digest"] = sha(0).into(), // of another size
        &|json| json["config"]["size"] = (5 << 20).into(),
        &|json| json["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into(),
        &|json| json["layers"] = vec![layer(0); LAYERS + 1].into(),
        &|json| json["layers"] = "none".into(),
    ];
    for (n, wrong) in changes.iter().enumerate() {
        assert!(change(wrong).is_err(), "{n}");
    }
    for text in [
        "",
        "{",
        "[]",
        "null",
        "<html>",
        "{\"schemaVersion\":2}",
        &"[".repeat(100_000),
    ] {
        assert!(Document::parse(text.as_bytes(), Some(MANIFEST)).is_err());
    }
    let twice = manifest_json(&[])
        .to_string()
        .replacen('{', "{\"layers\":[],", 1);
    assert!(
        Document::parse(twice.as_bytes(), None).is_err(),
        "a key twice"
    );
}

#[test]
fn layers_and_diff_ids_belong_together() {
    let manifest = manifest_of(&[layer(0), layer(1), layer(0)]);
    let found = layers(
        &manifest,
        &config(&config_json(&[10, 11, 10])).expect("sound"),
    );
    let found = found.expect("a layer may come twice");
    assert_eq!(found[0], found[2]);
    assert_eq!(found[1].codec, Some(Codec::Gzip));
    let table = [vec![10, 11], vec![10, 11, 10, 12], vec![], vec![10, 11, 12]];
    for diff_ids in table {
        let config = config(&config_json(&diff_ids)).expect("sound by itself");
        assert!(layers(&manifest, &config).is_err(), "{diff_ids:?}");
    }
    let none = config(&config_json(&[])).expect("sound by itself");
    assert!(layers(&manifest_of(&[]), &none).is_err());
}

#[test]
fn layers_are_known_by_their_media_type() {
    let of = |media_type: &str| {
        let mut layer = layer(0);
        layer["mediaType"] = media_type.into();
        layer["urls"] = json!(["https://example.org/layer"]);
        layers(
            &manifest_of(&[layer]),
            &config(&config_json(&[10])).expect("sound"),
        )
        .map(|mut layers| layers.remove(0))
    };
    let table = [
        ("application/vnd.oci.image.layer.v1.tar", None, false),
        (LAYER, Some(Codec::Gzip), false),
        (
            "application/vnd.oci.image.layer.v1.tar+zstd",
            Some(Codec::Zstd),
            false,
        ),
        (
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            Some(Codec::Gzip),
            false,
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            Some(Codec::Gzip),
            true,
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            Some(Codec::Gzip),
            true,
        ),
    ];
    for (media_type, codec, foreign) in table {
        let layer = of(media_type).expect("known");
        assert_eq!((layer.codec, !layer.urls.is_empty()), (codec, foreign));
    }
    for other in [
        "",
        "application/octet-stream",
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
    ] {
        assert!(matches!(of(other), Err(DocumentError::Media(_))), "{other}");
    }
}

#[test]
fn configurations_are_for_this_platform() {
    let mut json = config_json(&[1]);
    json["config"] = json!({"Env": ["A=1", "B=x=y", "C", "=d"], "Labels": {"l": "v"}});
    json["created"] = "2021-02-03T04:05:06Z".into();
    let read = config(&json).expect("sound");
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(read.env, [pair("A", "1"), pair("B", "x=y")]);
    assert_eq!(read.labels, [pair("l", "v")]);
    for (key, value) in [("os", "windows"), ("architecture", "arm64")] {
        let mut other = json.clone();
        other[key] = value.into();
        let error = config(&other).expect_err("another platform");
        assert!(matches!(error, DocumentError::Platform { .. }), "{error}");
    }
    let mut nul = json.clone();
    nul["config"]["Env"] = json!(["A=\u{0}"]);
    assert!(config(&nul).is_err());
    let mut null = json.clone();
    null["config"] = json!({"Env": null, "Labels": null});
    assert_eq!(config(&null).map(|config| config.env), Ok(Vec::new()));
    let mut none = json;
    none["rootfs"]["type"] = "files".into();
    assert!(config(&none).is_err());
}

#[test]
fn nothing_of_a_document_is_quoted() {
    let json = json!({"schemaVersion": "canary"});
    let error = parse(&json, None).expect_err("no number");
    assert!(!error.to_string().contains("canary"), "{error}");
}
