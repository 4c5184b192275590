//! A record as provenance: an in-toto Statement v1 with a SLSA v1 provenance predicate
//! (<https://slsa.dev/spec/v1.0/provenance>). Pure: who has the record has the statement, and the
//! same build gives the same bytes. It is not signed, since nothing here holds a key.

use serde_json::{Value, json};

use crate::artifact::record::{FileRecord, ImageRecord, PackageRecord, Record};
use crate::model::{Sha256, StackName, encode_path};

/// What externalParameters, internalParameters and steps mean.
const BUILD_TYPE: &str = "urn:pybuild:build:v1";
/// What builds: this program, wherever it runs. Who must be trusted is whoever ran it.
const BUILDER: &str = "urn:pybuild:builder:v1";

/// The statement.
pub fn slsa(record: &Record) -> Value {
    let Record {
        schema: _,
        product,
        artifact,
        making,
        needs: _,    // say what was built, not how
        contents: _, // as an SBOM does
        source_date_epoch,
        pybuild,
    } = record;
    let source = &making.source;
    let mut inputs = vec![input(&source.file, source.url.as_deref(), &source.sha256)];
    let file = |room: &str, file: &FileRecord| {
        let FileRecord { path, sha256 } = file;
        input(&format!("{room}/{path}"), None, sha256)
    };
    let formula = format!("formulae/{}", product.name);
    inputs.extend(making.patches.iter().map(|one| file("patches", one)));
    inputs.extend(making.files.iter().map(|one| file(&formula, one)));
    for one in &making.dependencies {
        let mut input = input(&one.reference.to_string(), None, &one.sha256);
        input["annotations"] = json!({"build_id": one.build_id});
        inputs.push(input);
    }
    for (which, image) in [("build", &making.build_image), ("run", &making.run_image)] {
        let ImageRecord { digest, packages } = image;
        let name = format!("{which} image of {}", product.stack);
        inputs.push(input(&name, None, digest));
        inputs.extend(packages.iter().map(|package| {
            json!({
                "name": format!("{} in the {which} image", package.name),
                "uri": deb(&product.stack, package),
            })
        }));
    }
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": artifact.file, "digest": {"sha256": artifact.sha256}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "formula": product.name,
                    "version": product.version,
                    "stack": product.stack,
                    "arch": product.arch,
                    "profile": product.profile,
                },
                "internalParameters": {
                    "build_id": product.build_id,
                    "prefix": product.prefix,
                    "steps": making.steps,
                    "env": making.env,
                    "network": making.network,
                    "source_date_epoch": source_date_epoch,
                },
                "resolvedDependencies": inputs,
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": {
                        "pybuild": pybuild.version,
                        "build_revision": pybuild.build_revision.to_string(),
                    },
                },
            },
        },
    })
}

/// An in-toto `ResourceDescriptor`.
fn input(name: &str, uri: Option<&str>, sha256: &Sha256) -> Value {
    let mut input = json!({"name": name, "digest": {"sha256": sha256}});
    if let Some(uri) = uri {
        input["uri"] = uri.into();
    }
    input
}

/// A distribution's package as a package URL (<https://github.com/package-url/purl-spec>). All
/// stacks that are known are Debian's or made of Ubuntu; of another's nobody knows whose it is.
fn deb(stack: &StackName, package: &PackageRecord) -> String {
    let PackageRecord {
        name,
        version,
        arch,
    } = package;
    let stack = stack.as_str();
    let ubuntu = ["cedar-", "heroku-", "cflinuxfs", "ubuntu-"];
    let vendor = if stack.starts_with("debian-") {
        "debian/"
    } else if ubuntu.iter().any(|start| stack.starts_with(start)) {
        "ubuntu/"
    } else {
        ""
    };
    let (name, version) = (encode_path(name), encode_path(version));
    format!(
        "pkg:deb/{vendor}{name}@{version}?arch={}",
        encode_path(arch)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::record::tests::record;

    #[test]
    fn the_statement_says_all_that_went_in() {
        let statement = slsa(&record());
        insta::assert_snapshot!(serde_json::to_string_pretty(&statement).expect("JSON"));
        assert_eq!(statement, slsa(&record()));
    }

    #[test]
    fn every_input_can_be_found_again() {
        let statement = slsa(&record());
        let definition = &statement["predicate"]["buildDefinition"];
        let inputs = definition["resolvedDependencies"]
            .as_array()
            .expect("a list");
        for input in inputs {
            let known = input["digest"]["sha256"].is_string() || input["uri"].is_string();
            assert!(known, "{input}");
        }
    }

    #[test]
    fn packages_have_their_distributions_names() {
        let package = PackageRecord {
            name: "libstdc++6".to_owned(),
            version: "1:12.2.0-14+deb12u1~x".to_owned(),
            arch: "amd64".to_owned(),
        };
        let name = "libstdc%2B%2B6@1%3A12.2.0-14%2Bdeb12u1~x?arch=amd64";
        for (stack, vendor) in [
            ("debian-12", "debian/"),
            ("heroku-20", "ubuntu/"),
            ("cflinuxfs4", "ubuntu/"),
            ("ours-1", ""),
        ] {
            let stack = stack.parse().expect("a name");
            assert_eq!(deb(&stack, &package), format!("pkg:deb/{vendor}{name}"));
        }
    }
}
