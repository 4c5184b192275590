//! `pybuild inspect`: what an artifact is, what it is made of and what it holds.

use super::session::{interrupt, terminal};
use super::tarball::{Papers, Source, open};
use super::{Done, Failure};
use crate::artifact::record::{Component, Record};
use crate::cli::{self, DocumentFormat, Global};
use crate::inspect::{Inventory, Software, Tarball, contradictions, cyclonedx, slsa};
use crate::model::{Bytes, command_line};
use crate::publish::Date;
use crate::ui::{self, ExitKind, Part, Sheet};

/// How many directories are told.
const DIRECTORIES: usize = 8;

/// Reads it, tells what there is to tell, and ends with 4 if it is not what is said of it.
pub(super) fn run(global: &Global, args: &cli::Inspect) -> Result<Done, Failure> {
    let mut sources = open(global, &[&args.artifact], args.env_file.as_deref())?;
    let source = sources.remove(0);
    let interrupt = interrupt()?;
    let ui = terminal(global);
    let papers = source.papers(&interrupt)?;
    let mut software = Software::default();
    let (tarball, inside) = source.read(&ui, &interrupt, &mut software)?;
    software.finish(&inside);
    let seen = Seen {
        source: &source,
        papers: &papers,
        tarball: &tarball,
        inside: &inside,
        software: &software,
    };
    let wrong = seen.wrong();
    if let Some(format) = args.format {
        return seen.document(format, &wrong);
    }
    if global.json {
        ui::print_json(&seen.json(&wrong))?;
    } else {
        ui::print(&seen.sheet(wrong.clone()).render(ui.palette()))?;
    }
    Ok(if wrong.is_empty() {
        Done::Here
    } else {
        Done::Code(ExitKind::Found.code())
    })
}

/// Everything that was seen of an artifact.
struct Seen<'a> {
    source: &'a Source,
    papers: &'a Papers,
    tarball: &'a Tarball,
    inside: &'a Inventory,
    software: &'a Software,
}

impl Seen<'_> {
    fn record(&self) -> Option<&Record> {
        match &self.papers.record {
            Some(Ok(record)) => Some(record),
            _ => None,
        }
    }

    /// Prints what the record says as another document, if it is sound.
    fn document(&self, format: DocumentFormat, wrong: &[String]) -> Result<Done, Failure> {
        let name = &self.source.name;
        if !wrong.is_empty() {
            let message = format!("{name} is not what is said of it: {}", wrong.join("; "));
            return Err(Failure::new(ExitKind::Found, message));
        }
        let record = self.record().ok_or_else(|| {
            let failure = Failure::new(
                ExitKind::Usage,
                format!("there is no record beside {name}: nobody knows how it was made"),
            );
            failure.hint("it is the file that ends in `.json`, published with the tarball")
        })?;
        ui::print_json(&match format {
            DocumentFormat::Slsa => slsa(record),
            DocumentFormat::Cyclonedx => cyclonedx(record),
        })?;
        Ok(Done::Here)
    }

    /// What does not agree.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let is = self.tarball.sha256;
        match &self.papers.checksum {
            Some(Ok((said, _))) if *said != is => {
                wrong.push(format!("its SHA-256 is {is}, its .sha256 says {said}"));
            }
            Some(Err(why)) => wrong.push(format!("its .sha256 is not one: {why}")),
            Some(Ok(_)) | None => {}
        }
        match &self.papers.record {
            Some(Ok(record)) => wrong.extend(contradictions(record, self.tarball, self.inside)),
            Some(Err(why)) => wrong.push(format!("its record is not one: {why}")),
            None => {}
        }
        wrong.extend(self.tarball.broken.clone());
        wrong.extend(self.inside.wrong.iter().cloned());
        let unsound = self.software.unsound.iter();
        wrong.extend(unsound.map(|(path, why)| format!("`{path}` is no sound ELF file: {why}")));
        wrong
    }

    fn json(&self, wrong: &[String]) -> serde_json::Value {
        let agrees = |said: Option<bool>| match said {
            Some(true) => "agrees",
            Some(false) => "differs",
            None => "missing",
        };
        let checksum = self.papers.checksum.as_ref();
        let checksum =
            checksum.map(|said| matches!(said, Ok((digest, _)) if *digest == self.tarball.sha256));
        let record = self.papers.record.as_ref();
        let record = record.map(
            |said| matches!(said, Ok(record) if record.artifact.sha256 == self.tarball.sha256),
        );
        serde_json::json!({
            "artifact": self.source.shown,
            "file": self.source.name,
            "size": self.tarball.size,
            "sha256": self.tarball.sha256,
            "compression": self.tarball.codec.map(crate::archive::Codec::extension),
            "entries": self.inside.entries,
            "unpacked_size": self.inside.bytes,
            "directories": self.inside.directories(),
            "software": self.software,
            "sha256_file": agrees(checksum),
            "record_file": agrees(record),
            "record": self.record(),
            "wrong": wrong,
        })
    }

    fn sheet(&self, wrong: Vec<String>) -> Sheet {
        let title = match self.record() {
            Some(record) => {
                let product = &record.product;
                format!(
                    "{} for {} ({}, {})",
                    record.reference(),
                    product.stack,
                    product.arch,
                    product.profile
                )
            }
            None => self.source.name.clone(),
        };
        let mut parts = vec![self.file()];
        match self.record() {
            Some(record) => parts.extend([made_of(record), needs(record)]),
            None => parts.push(self.found()),
        }
        parts.push(self.holds());
        Sheet {
            title,
            parts,
            wrong,
        }
    }

    fn file(&self) -> Part {
        let mut part = Part::new("");
        part.fact("tarball", &self.source.shown);
        part.fact(
            "size",
            format!(
                "{}, {} unpacked, {} files, links and directories",
                Bytes(self.tarball.size),
                Bytes(self.inside.bytes),
                self.inside.entries
            ),
        );
        part.fact("sha256", self.tarball.sha256.to_string());
        let is = self.tarball.sha256;
        let checksum = match &self.papers.checksum {
            Some(Ok((said, _))) if *said == is => "its .sha256 agrees",
            Some(_) => "its .sha256 does not agree",
            None => "there is no .sha256 beside it",
        };
        let record = match &self.papers.record {
            Some(Ok(record)) if record.artifact.sha256 == is => "its record agrees",
            Some(_) => "its record does not agree",
            None => "there is no record beside it",
        };
        part.fact("papers", format!("{checksum}, {record}"));
        part
    }

    /// What the files alone say, where there is no record.
    fn found(&self) -> Part {
        let Software {
            versions,
            machines,
            compilers,
            elf_files: _, // is told with what it holds
            glibc_floor,
            libraries,
            ..
        } = self.software;
        let list = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>().join(", ");
        let mut part = Part::new("as its files say");
        let versions = versions
            .iter()
            .map(|(what, version)| format!("{what} {version}"));
        part.fact("software", list(&mut versions.into_iter()));
        part.fact("machine", list(&mut machines.iter().cloned()));
        part.fact("compiled by", list(&mut compilers.iter().cloned()));
        let glibc = glibc_floor.iter();
        part.fact(
            "glibc",
            list(&mut glibc.map(|version| format!("{version} or newer"))),
        );
        part.fact("libraries", list(&mut libraries.iter().cloned()));
        part
    }

    fn holds(&self) -> Part {
        let mut part = Part::new("holds");
        let list = |names: &std::collections::BTreeSet<String>| {
            names.iter().cloned().collect::<Vec<_>>().join(", ")
        };
        let software = self.software;
        part.fact("ELF files", software.elf_files.to_string());
        match self.record() {
            Some(record) => part.fact("modules proven", record.making.modules.join(", ")),
            None => part.fact("extensions", list(&software.extensions)),
        }
        let mut sizes: Vec<_> = self.inside.directories().into_iter().collect();
        sizes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let largest = sizes.iter().take(DIRECTORIES);
        let largest = largest.map(|(path, size)| format!("{path} {}", Bytes(*size)));
        part.fact("directories", largest.collect::<Vec<_>>().join(", "));
        part.fact("licences", list(&software.licences));
        for one in &software.components {
            let Component {
                name,
                version,
                license,
                purl: _, // for programs, which read the record
                cpe: _,
            } = one;
            let license = license.as_deref().unwrap_or("licence unknown");
            part.fact(name, format!("{version} ({license})"));
        }
        part
    }
}

fn made_of(record: &Record) -> Part {
    let making = &record.making;
    let mut part = Part::new("made of");
    let source = &making.source;
    part.fact("source", format!("{}  {}", source.file, source.sha256));
    part.fact("from", source.url.clone().unwrap_or_default());
    part.fact("released", Date::of(record.source_date_epoch).day());
    for patch in &making.patches {
        part.fact("patch", format!("{}  {}", patch.path, patch.sha256));
    }
    for one in &making.dependencies {
        part.fact(
            "built against",
            format!("{}  {}", one.reference, one.sha256),
        );
    }
    for (name, image) in [
        ("built in", &making.build_image),
        ("proven in", &making.run_image),
    ] {
        let packages = image.packages.len();
        part.fact(name, format!("{}  {packages} packages", image.digest));
    }
    for step in &making.steps {
        part.fact(&format!("step {}", step.name), command_line(&step.argv));
    }
    if making.network {
        part.fact("network", "open while it was built");
    }
    if let Some(contents) = &record.contents {
        let compilers: Vec<String> = contents.compilers.iter().cloned().collect();
        part.fact("compiled by", compilers.join(", "));
    }
    part.fact("prefix", record.product.prefix.to_string());
    part.fact("build id", record.product.build_id.to_string());
    let tool = &record.pybuild;
    part.fact(
        "built by",
        format!("pybuild {}, revision {}", tool.version, tool.build_revision),
    );
    part
}

fn needs(record: &Record) -> Part {
    let needs = &record.needs;
    let mut part = Part::new("needs");
    if let Some(version) = &needs.glibc_floor {
        part.fact("glibc", format!("{version} or newer"));
    }
    let libraries: Vec<String> = needs.libraries.iter().cloned().collect();
    part.fact("libraries", libraries.join(", "));
    part
}
