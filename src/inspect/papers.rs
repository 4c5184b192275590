//! What two records say differently, and what a record says of a tarball that does not hold. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::inventory::{Inventory, Tarball};
use crate::artifact::record::{
    ArtifactRecord, Component, Contents, DependencyRecord, FileRecord, ImageRecord, MakingRecord,
    Needs, PackageRecord, ProductRecord, Record, SourceRecord, StepRecord, ToolRecord,
};
use crate::model::{FormulaRef, Version, command_line};

/// Something that two records say differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaperChange {
    /// Of what: `source`, `package of the build image: gcc-12`.
    pub what: String,
    /// What the first says, if anything.
    pub a: Option<String>,
    /// What the second says, if anything.
    pub b: Option<String>,
}

/// What the record says of a tarball that is not so: each a sentence.
pub fn contradictions(record: &Record, tarball: &Tarball, inside: &Inventory) -> Vec<String> {
    let ArtifactRecord {
        file: _, // a file may be renamed; whoever holds the record beside it knows
        sha256,
        size,
        unpacked_size,
        entries,
    } = &record.artifact;
    let mut told = Vec::new();
    if tarball.sha256 != *sha256 {
        let is = tarball.sha256;
        told.push(format!("its SHA-256 is {is}, its record says {sha256}"));
    }
    let mut counts = vec![("bytes", tarball.size, *size)];
    if tarball.broken.is_none() {
        counts.push(("bytes unpacked", inside.bytes, *unpacked_size));
        counts.push(("entries", inside.entries, *entries));
    }
    for (what, is, said) in counts {
        if is != said {
            told.push(format!("it has {is} {what}, its record says {said}"));
        }
    }
    let held = inside.directories();
    let directories = record.contents.iter().filter(|_| tarball.broken.is_none());
    for (path, said) in directories.flat_map(|contents| &contents.directories) {
        let is = held.get(path).copied().unwrap_or_default();
        if is != *said {
            told.push(format!(
                "it has {is} bytes in `{path}`, its record says {said}"
            ));
        }
    }
    told
}

/// Everything that two records say differently, in the order of a record.
pub fn papers(a: &Record, b: &Record) -> Vec<PaperChange> {
    let mut told = Told(Vec::new());
    let Record {
        schema,
        product,
        artifact,
        making,
        needs,
        contents,
        source_date_epoch,
        pybuild,
    } = a;
    told.plain("schema", schema, &b.schema);
    told.product(product, &b.product);
    told.artifact(artifact, &b.artifact);
    told.making(making, &b.making);
    told.needs(needs, &b.needs);
    // One of before does not say it: then there is nothing to compare.
    if let (Some(a), Some(b)) = (contents, &b.contents) {
        told.contents(a, b);
    }
    told.plain("source date epoch", source_date_epoch, &b.source_date_epoch);
    let ToolRecord {
        version,
        build_revision,
    } = pybuild;
    told.plain("pybuild", version, &b.pybuild.version);
    told.plain("build revision", build_revision, &b.pybuild.build_revision);
    told.0
}

struct Told(Vec<PaperChange>);

impl Told {
    fn tell(&mut self, what: &str, a: Option<String>, b: Option<String>) {
        if a != b {
            let what = what.to_owned();
            self.0.push(PaperChange { what, a, b });
        }
    }

    fn plain<T: ToString + ?Sized>(&mut self, what: &str, a: &T, b: &T) {
        self.tell(what, Some(a.to_string()), Some(b.to_string()));
    }

    /// Things with names, by name.
    fn named(&mut self, what: &str, a: Vec<(String, String)>, b: Vec<(String, String)>) {
        let (a, b): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (a.into_iter().collect(), b.into_iter().collect());
        let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for name in names {
            let text = |of: &BTreeMap<_, _>| of.get(name).cloned();
            self.tell(&format!("{what} {name}"), text(&a), text(&b));
        }
    }

    /// Names alone.
    fn names<'r>(
        &mut self,
        what: &str,
        a: impl IntoIterator<Item = &'r String>,
        b: impl IntoIterator<Item = &'r String>,
    ) {
        let pair = |name: &String| (name.clone(), "yes".to_owned());
        let (a, b) = (a.into_iter().map(pair), b.into_iter().map(pair));
        self.named(what, a.collect(), b.collect());
    }

    /// Names that are the same and come in another order.
    fn order(&mut self, what: &str, a: &[(String, String)], b: &[(String, String)]) {
        let names = |all: &[(String, String)]| -> Vec<String> {
            all.iter().map(|(name, _)| name.clone()).collect()
        };
        let (a, b) = (names(a), names(b));
        let sorted = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        if sorted(&a) == sorted(&b) {
            self.plain(what, &a.join(", "), &b.join(", "));
        }
    }

    fn product(&mut self, a: &ProductRecord, b: &ProductRecord) {
        let ProductRecord {
            name,
            version,
            script,
            kind,
            stack,
            arch,
            profile,
            prefix,
            build_id,
        } = a;
        self.plain("name", name, &b.name);
        let text = |version: &Option<Version>| version.as_ref().map(Version::to_string);
        self.tell("version", text(version), text(&b.version));
        let text = |script: &Option<FormulaRef>| script.as_ref().map(FormulaRef::to_string);
        self.tell("script", text(script), text(&b.script));
        self.plain("kind", kind, &b.kind);
        self.plain("stack", stack, &b.stack);
        self.plain("architecture", arch, &b.arch);
        self.plain("profile", profile, &b.profile);
        self.plain("prefix", prefix, &b.prefix);
        self.plain("build id", build_id, &b.build_id);
    }

    fn artifact(&mut self, a: &ArtifactRecord, b: &ArtifactRecord) {
        let ArtifactRecord {
            file,
            sha256,
            size,
            unpacked_size,
            entries,
        } = a;
        self.plain("file", file, &b.file);
        self.plain("sha256", sha256, &b.sha256);
        self.plain("size", size, &b.size);
        self.plain("size unpacked", unpacked_size, &b.unpacked_size);
        self.plain("entries", entries, &b.entries);
    }

    fn making(&mut self, a: &MakingRecord, b: &MakingRecord) {
        let MakingRecord {
            source,
            patches,
            files,
            dependencies,
            archives,
            build_image,
            run_image,
            steps,
            env,
            network,
            modules,
        } = a;
        let SourceRecord {
            flavour,
            file,
            sha256,
            url,
        } = source;
        self.plain("form of the source", flavour, &b.source.flavour);
        self.plain("source", file, &b.source.file);
        self.plain("sha256 of the source", sha256, &b.source.sha256);
        self.tell("url of the source", url.clone(), b.source.url.clone());
        for (what, a, b) in [
            ("patch", patches, &b.patches),
            ("file", files, &b.files),
            ("archive", archives, &b.archives),
        ] {
            self.files(what, a, b);
        }
        let pairs = |all: &[DependencyRecord]| all.iter().map(dependency).collect::<Vec<_>>();
        self.named("dependency", pairs(dependencies), pairs(&b.dependencies));
        self.image("build", build_image, &b.build_image);
        self.image("run", run_image, &b.run_image);
        self.steps(steps, &b.steps);
        let pairs = |env: &BTreeMap<String, String>| env.clone().into_iter().collect::<Vec<_>>();
        self.named("environment", pairs(env), pairs(&b.env));
        self.plain("network", network, &b.network);
        self.names("module proven", modules, &b.modules);
    }

    fn files(&mut self, what: &str, a: &[FileRecord], b: &[FileRecord]) {
        let pairs = |files: &[FileRecord]| -> Vec<(String, String)> {
            let each = files.iter().map(|file| {
                let FileRecord { path, sha256 } = file;
                (path.clone(), sha256.to_string())
            });
            each.collect()
        };
        let (a, b) = (pairs(a), pairs(b));
        self.order(&format!("order: {what}"), &a, &b);
        self.named(what, a, b);
    }

    fn image(&mut self, which: &str, a: &ImageRecord, b: &ImageRecord) {
        let ImageRecord { digest, packages } = a;
        self.plain(&format!("{which} image"), digest, &b.digest);
        let pairs = |packages: &[PackageRecord]| -> Vec<(String, String)> {
            let each = packages.iter().map(|package| {
                let PackageRecord {
                    name,
                    version,
                    arch,
                } = package;
                (format!("{name}:{arch}"), version.clone())
            });
            each.collect()
        };
        let what = format!("package of the {which} image:");
        self.named(&what, pairs(packages), pairs(&b.packages));
    }

    fn steps(&mut self, a: &[StepRecord], b: &[StepRecord]) {
        let pairs = |steps: &[StepRecord]| steps.iter().map(step).collect::<Vec<_>>();
        let (a, b) = (pairs(a), pairs(b));
        self.order("order of the steps", &a, &b);
        self.named("step", a, b);
    }

    fn contents(&mut self, a: &Contents, b: &Contents) {
        let Contents {
            directories,
            compilers,
            components,
            licenses,
        } = a;
        let pairs = |sizes: &BTreeMap<String, u64>| -> Vec<(String, String)> {
            let each = sizes.iter();
            each.map(|(path, size)| (path.clone(), size.to_string()))
                .collect()
        };
        self.named("bytes in", pairs(directories), pairs(&b.directories));
        self.names("compiler", compilers, &b.compilers);
        let pairs = |all: &[Component]| all.iter().map(component).collect::<Vec<_>>();
        self.named("component", pairs(components), pairs(&b.components));
        self.names("licence", licenses, &b.licenses);
    }

    fn needs(&mut self, a: &Needs, b: &Needs) {
        let Needs {
            glibc_floor,
            libraries,
        } = a;
        let text = |version: &Option<Version>| version.as_ref().map(ToString::to_string);
        self.tell("oldest glibc", text(glibc_floor), text(&b.glibc_floor));
        self.names("library needed", libraries, &b.libraries);
    }
}

fn component(component: &Component) -> (String, String) {
    let Component {
        name,
        version,
        license,
        purl: _, // made of name and version
        cpe: _,
    } = component;
    let license = license.as_deref().unwrap_or("no known licence");
    (name.clone(), format!("{version}, {license}"))
}

fn dependency(one: &DependencyRecord) -> (String, String) {
    let DependencyRecord {
        reference,
        build_id,
        sha256,
    } = one;
    let text = format!("{reference}, build {build_id}, sha256 {sha256}");
    (reference.name().to_string(), text)
}

/// A step by its name, as it could be typed.
fn step(step: &StepRecord) -> (String, String) {
    let StepRecord {
        name,
        argv,
        cwd,
        env,
    } = step;
    let env = env.iter().map(|(name, value)| format!("{name}={value}"));
    let words: Vec<String> = env.chain(argv.iter().cloned()).collect();
    (name.clone(), format!("{} (in {cwd})", command_line(&words)))
}

#[cfg(test)]
mod tests;
