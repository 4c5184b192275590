//! A record as a bill of materials: `CycloneDX` 1.6 (<https://cyclonedx.org/docs/1.6/json/>).
//!
//! It names what is inside: the software itself, what it was linked with of ours, and what its build
//! has said of others' software in it. What it needs of the stack it runs on is not inside. Pure:
//! the same build gives the same bytes, so there is no time in it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::artifact::record::{Component, DependencyRecord, Record};
use crate::model::{Kind, Sha256};

/// The bill.
pub fn cyclonedx(record: &Record) -> Value {
    let Record {
        schema: _,
        product,
        artifact,
        making,
        needs,
        contents,
        source_date_epoch: _,
        pybuild,
    } = record;
    let own = product.name.as_str();
    let said = contents.iter().flat_map(|contents| &contents.components);
    let mut inside: BTreeMap<&str, Value> = said
        .map(|one| (one.name.as_str(), component(one)))
        .collect();
    let itself = inside.remove(own);
    for one in &making.dependencies {
        let DependencyRecord {
            reference,
            build_id,
            sha256,
        } = one;
        let name = reference.name().as_str();
        let entry = inside.entry(name).or_insert_with(
            || json!({"type": "library", "name": name, "version": reference.version()}),
        );
        entry["properties"] = json!([
            property("pybuild:build_id", &build_id.to_string()),
            property("pybuild:tarball_sha256", &sha256.to_string()),
        ]);
    }
    let reference = |name: &str| format!("pybuild:{name}");
    for (name, entry) in &mut inside {
        entry["bom-ref"] = reference(name).into();
    }
    let mut main = itself.unwrap_or_else(|| json!({"name": own}));
    main["type"] = match product.kind {
        Kind::Runtime => "platform",
        Kind::Library => "library",
        Kind::Profile => "data",
    }
    .into();
    main["version"] = json!(product.version);
    main["bom-ref"] = reference(own).into();
    main["hashes"] = json!([{"alg": "SHA-256", "content": artifact.sha256}]);
    if let Some(url) = &making.source.url {
        let hashes = json!([{"alg": "SHA-256", "content": making.source.sha256}]);
        let source = json!({"type": "source-distribution", "url": url, "hashes": hashes});
        main["externalReferences"] = json!([source]);
    }
    let mut properties = vec![
        property("pybuild:file", &artifact.file),
        property("pybuild:stack", product.stack.as_str()),
        property("pybuild:arch", product.arch.as_str()),
        property("pybuild:profile", &product.profile),
        property("pybuild:prefix", product.prefix.as_str()),
        property("pybuild:build_id", &product.build_id.to_string()),
    ];
    let glibc = needs.glibc_floor.iter();
    properties.extend(glibc.map(|glibc| property("pybuild:glibc_floor", glibc.as_str())));
    let libraries = needs.libraries.iter();
    properties.extend(libraries.map(|name| property("pybuild:needs", name)));
    main["properties"] = properties.into();
    let names: Vec<String> = inside.keys().map(|name| reference(name)).collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(&artifact.sha256),
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{
                    "type": "application",
                    "name": "pybuild",
                    "version": pybuild.version,
                }],
            },
            "component": main,
        },
        "components": inside.into_values().collect::<Vec<_>>(),
        "dependencies": [{"ref": reference(own), "dependsOn": names}],
    })
}

fn component(component: &Component) -> Value {
    let Component {
        name,
        version,
        license,
        purl,
        cpe,
    } = component;
    let mut entry = json!({"type": "library", "name": name, "version": version});
    if let Some(license) = license {
        entry["licenses"] = json!([{"expression": license}]);
    }
    for (key, text) in [("purl", purl), ("cpe", cpe)] {
        if let Some(text) = text {
            entry[key] = text.as_str().into();
        }
    }
    entry
}

fn property(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

/// A UUID of the artifact's own making: version 8 of RFC 9562, which leaves its bits to us.
fn serial(digest: &Sha256) -> String {
    let mut hex: Vec<char> = digest.to_string().chars().take(32).collect();
    hex[12] = '8';
    // The variant: two bits, 10.
    let variant = hex[16].to_digit(16).unwrap_or_default() & 0b11 | 0b1000;
    hex[16] = char::from_digit(variant, 16).unwrap_or('8');
    let text = |range: std::ops::Range<usize>| hex[range].iter().collect::<String>();
    let parts = [
        text(0..8),
        text(8..12),
        text(12..16),
        text(16..20),
        text(20..32),
    ];
    format!("urn:uuid:{}", parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::record::tests::record;

    #[test]
    fn the_bill_names_what_is_inside() {
        let mut record = record();
        let contents = record.contents.as_mut().expect("some");
        contents.components.push(Component {
            name: "python".to_owned(),
            version: "3.11.2".to_owned(),
            license: Some("PSF-2.0".to_owned()),
            purl: Some("pkg:generic/python@3.11.2".to_owned()),
            cpe: Some("cpe:2.3:a:python:python:3.11.2:*:*:*:*:*:*:*".to_owned()),
        });
        let bill = cyclonedx(&record);
        insta::assert_snapshot!(serde_json::to_string_pretty(&bill).expect("JSON"));
    }

    #[test]
    fn one_of_before_names_itself_and_what_it_was_linked_with() {
        let mut record = record();
        (record.schema, record.contents) = (1, None);
        let bill = cyclonedx(&record);
        assert_eq!(bill["metadata"]["component"]["name"], "python");
        assert_eq!(bill["components"][0]["name"], "sqlite");
        assert_eq!(bill["dependencies"][0]["dependsOn"][0], "pybuild:sqlite");
    }

    #[test]
    fn a_serial_number_is_a_uuid() {
        for text in ["a", "b", "c", "d"] {
            let serial = serial(&Sha256::of(text.as_bytes()));
            let parts: Vec<&str> = serial["urn:uuid:".len()..].split('-').collect();
            let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12]);
            assert!(parts[2].starts_with('8') && parts[3].starts_with(['8', '9', 'a', 'b']));
        }
    }
}
