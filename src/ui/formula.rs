//! What `pybuild formula show` prints: how one version is built.

use std::collections::BTreeMap;
use std::fmt::Write as _; // into a String, which takes everything

use serde::Serialize;

use crate::model::{FormulaName, FormulaRef, Kind, Sha256, StackName, Version, quoted};

use super::formulae::RefusedStack;
use super::style::Palette;
use super::table::{Align, Table};

/// A version and its recipe. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownFormula {
    /// Of which formula.
    pub formula: FormulaName,
    /// Which.
    pub version: Version,
    /// What it makes.
    pub kind: Kind,
    /// With which set of build options.
    pub profile: String,
    /// The sets there are.
    pub profiles: Vec<String>,
    /// Which versions are built so.
    pub series: String,
    /// The day it was released.
    pub released: String,
    /// The last day on which upstream mends its series, if that is known.
    pub end_of_life: Option<String>,
    /// Whether that is over.
    pub is_past: bool,
    /// Where it is installed.
    pub prefix: String,
    /// Whether the steps see the host's network.
    pub network: bool,
    /// The stacks it is not for.
    pub refused: Vec<RefusedStack>,
    /// What it has besides on some stacks.
    pub added: Vec<AddedOn>,
    /// The forms of its source, the preferred first.
    pub sources: Vec<ShownForm>,
    /// What is built before.
    pub dependencies: Vec<FormulaRef>,
    /// What is applied to the source, in this order.
    pub patches: Vec<ShownFile>,
    /// The formula's helper files.
    pub files: Vec<ShownFile>,
    /// Environment of every step.
    pub env: BTreeMap<String, String>,
    /// What is run, before all that and of the same source, to learn what it is optimized by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub training: Vec<ShownStep>,
    /// What is run, in this order.
    pub steps: Vec<ShownStep>,
    /// What is removed from the prefix.
    pub prune: Vec<String>,
    /// Symlinks that are made in it.
    pub links: Vec<(String, String)>,
    /// What is proven in the run image.
    pub checks: Vec<ShownStep>,
    /// What a runtime must import.
    pub modules: Vec<String>,
}

/// What a version has besides on some stacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddedOn {
    /// On which.
    pub stacks: Vec<StackName>,
    /// What is built before.
    pub dependencies: Vec<FormulaRef>,
    /// The formula's own words.
    pub why: String,
}

/// A form of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownForm {
    /// What it is called.
    pub source: String,
    /// Its file's name.
    pub file: String,
    /// What it must be.
    pub sha256: Sha256,
    /// Where upstream has it.
    pub urls: Vec<String>,
    /// Where a Debian mirror has it.
    pub pool: Option<String>,
}

/// A patch or a helper file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownFile {
    /// Its path.
    pub path: String,
    /// What is in it.
    pub sha256: Sha256,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownStep {
    /// What it is called.
    pub name: String,
    /// The program and its arguments.
    pub run: Vec<String>,
    /// Where it starts, if not in the source.
    pub cwd: Option<String>,
    /// Environment of this one alone.
    pub env: BTreeMap<String, String>,
    /// For which form of the source alone.
    pub only: Option<String>,
    /// Whether it must hold from another place too.
    pub moved: bool,
}

/// How wide a paragraph of names is.
const WIDTH: usize = 78;

impl ShownFormula {
    /// For people.
    pub fn render(&self, palette: Palette) -> String {
        let title = format!("{}-{}", self.formula, self.version);
        let mut out = format!("{}\n", palette.strong(title));
        out.push_str(&self.facts());
        let mut section = |name: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                let _ = writeln!(out, "\n{}", palette.strong(name));
                for line in lines {
                    let _ = writeln!(out, "  {line}");
                }
            }
        };
        let refused = self.refused.iter();
        section(
            "not for",
            refused
                .map(|it| format!("{}: {}", it.stack, it.why))
                .collect(),
        );
        section(
            "besides",
            self.added.iter().flat_map(AddedOn::lines).collect(),
        );
        section(
            "sources",
            self.sources.iter().flat_map(ShownForm::lines).collect(),
        );
        section(
            "dependencies",
            self.dependencies
                .iter()
                .map(FormulaRef::to_string)
                .collect(),
        );
        section(
            "patches",
            self.patches.iter().map(ShownFile::line).collect(),
        );
        section("files", self.files.iter().map(ShownFile::line).collect());
        section("environment", self.env.iter().map(assignment).collect());
        section(
            "training",
            self.training.iter().flat_map(ShownStep::lines).collect(),
        );
        section(
            "steps",
            self.steps.iter().flat_map(ShownStep::lines).collect(),
        );
        section("removed from the prefix", self.prune.clone());
        let links = self.links.iter();
        section(
            "links",
            links.map(|(path, to)| format!("{path} -> {to}")).collect(),
        );
        section(
            "checks",
            self.checks.iter().flat_map(ShownStep::lines).collect(),
        );
        section("modules", paragraph(&self.modules));
        out
    }

    fn facts(&self) -> String {
        let mut table = Table::new([Align::Left, Align::Left]);
        let mut fact = |name: &str, value: String| table.row([format!("  {name}"), value]);
        fact("kind", self.kind.as_str().to_owned());
        let others = self.profiles.iter().filter(|it| **it != self.profile);
        let others: Vec<&str> = others.map(String::as_str).collect();
        fact(
            "profile",
            match others.as_slice() {
                [] => self.profile.clone(),
                others => format!("{} (there is {} too)", self.profile, others.join(", ")),
            },
        );
        fact("series", self.series.clone());
        fact("released", self.released.clone());
        if let Some(day) = &self.end_of_life {
            let past = if self.is_past { " (past)" } else { "" };
            fact("end of life", format!("{day}{past}"));
        }
        fact("prefix", self.prefix.clone());
        if self.network {
            fact("network", "open while it is built".to_owned());
        }
        table.render()
    }
}

impl AddedOn {
    fn lines(&self) -> Vec<String> {
        let stacks: Vec<&str> = self.stacks.iter().map(StackName::as_str).collect();
        let with: Vec<String> = self
            .dependencies
            .iter()
            .map(FormulaRef::to_string)
            .collect();
        let what = if with.is_empty() {
            "other options".to_owned()
        } else {
            with.join(", ")
        };
        vec![
            format!("{what}: {}", self.why),
            format!("  on {}", stacks.join(", ")),
        ]
    }
}

impl ShownForm {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("{}: {}", self.source, self.file),
            format!("  sha256 {}", self.sha256),
        ];
        lines.extend(self.urls.iter().map(|url| format!("  {url}")));
        let pool = self.pool.iter();
        lines.extend(pool.map(|pool| format!("  {pool} of a Debian mirror")));
        lines
    }
}

impl ShownFile {
    fn line(&self) -> String {
        format!("{}  {}", self.sha256.short(), self.path)
    }
}

impl ShownStep {
    fn lines(&self) -> Vec<String> {
        let mut notes = Vec::new();
        notes.extend(self.only.iter().map(|only| format!("{only} only")));
        notes.extend(self.cwd.iter().map(|cwd| format!("in {cwd}")));
        if self.moved {
            notes.push("here and from another place".to_owned());
        }
        let notes = match notes.as_slice() {
            [] => String::new(),
            notes => format!(" ({})", notes.join(", ")),
        };
        let mut lines = vec![format!("{}{notes}", self.name)];
        lines.extend(self.env.iter().map(|it| format!("  {}", assignment(it))));
        let words: Vec<String> = self.run.iter().map(|word| shown(word)).collect();
        lines.push(format!("  {}", words.join(" ")));
        lines
    }
}

/// A word as a shell would take it, but for the placeholders of formulae.
fn shown(word: &str) -> String {
    let filled = word.replace(['{', '}'], "_");
    if quoted(&filled) == filled {
        word.to_owned()
    } else {
        quoted(word)
    }
}

fn assignment((name, value): (&String, &String)) -> String {
    format!("{name}={value}")
}

/// Words in lines.
fn paragraph(words: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.extend([" ", word.as_str()]);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> ShownFormula {
        let step = |name: &str, run: &[&str]| ShownStep {
            name: name.to_owned(),
            run: run.iter().map(|arg| (*arg).to_owned()).collect(),
            cwd: None,
            env: BTreeMap::new(),
            only: None,
            moved: false,
        };
        ShownFormula {
            formula: "python".parse().expect("a name"),
            version: "2.7.9".parse().expect("a version"),
            kind: Kind::Runtime,
            profile: "plain".to_owned(),
            profiles: vec!["optimized".to_owned(), "plain".to_owned()],
            series: ">=2.7, <2.8".to_owned(),
            released: "2014-12-10".to_owned(),
            end_of_life: Some("2020-01-01".to_owned()),
            is_past: true,
            prefix: "/app/.heroku/python".to_owned(),
            network: true,
            refused: vec![RefusedStack {
                stack: "debian-12".parse().expect("a stack"),
                why: "its OpenSSL is too new".to_owned(),
            }],
            added: vec![AddedOn {
                stacks: vec!["debian-11".parse().expect("a stack")],
                dependencies: vec!["openssl-3.5.7".parse().expect("a formula")],
                why: "its OpenSSL is too old".to_owned(),
            }],
            sources: vec![ShownForm {
                source: "tgz".to_owned(),
                file: "Python-2.7.9.tgz".to_owned(),
                sha256: Sha256::of(b"tgz"),
                urls: vec!["https://example.org/Python-2.7.9.tgz".to_owned()],
                pool: Some("pool/main/p/python2.7/python2.7_2.7.9.orig.tar.gz".to_owned()),
            }],
            dependencies: vec!["sqlite-3.46.1".parse().expect("a formula")],
            patches: vec![ShownFile {
                path: "python/2.7/a.patch".to_owned(),
                sha256: Sha256::of(b"patch"),
            }],
            files: Vec::new(),
            env: BTreeMap::from([("CFLAGS".to_owned(), "-O2 -Wall".to_owned())]),
            training: Vec::new(),
            steps: vec![ShownStep {
                only: Some("tgz".to_owned()),
                env: BTreeMap::from([("LANG".to_owned(), "C".to_owned())]),
                cwd: Some("{source}/src".to_owned()),
                ..step("configure", &["./configure", "CC=gcc -m64"])
            }],
            prune: vec!["lib/*.a".to_owned()],
            links: vec![("bin/python".to_owned(), "python2".to_owned())],
            checks: vec![ShownStep {
                moved: true,
                ..step("version", &["{prefix}/bin/python", "-V"])
            }],
            modules: (10..40).map(|n| format!("module_{n}")).collect(),
        }
    }

    #[test]
    fn all_of_a_recipe_is_there_to_read() {
        insta::assert_snapshot!(example().render(Palette::default()));
    }

    #[test]
    fn the_json_has_stable_keys() {
        let json = serde_json::to_value(example()).expect("it serialises");
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        insta::assert_snapshot!(format!(
            "{keys:?}\n{}\n{}",
            json["sources"][0], json["steps"][0]
        ));
    }
}
