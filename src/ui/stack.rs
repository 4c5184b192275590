//! What `pybuild stack show` prints: all about one stack.

use std::collections::BTreeMap;
use std::fmt::Write as _; // into a String, which takes everything
use std::time::Duration;

use serde::Serialize;

use crate::model::{Age, Arch, Bytes, Sha256, StackName};

use super::style::Palette;
use super::table::{Align, Table};
use super::text;

/// A stack. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownStack {
    /// Its name.
    pub stack: StackName,
    /// The machines that it exists for.
    pub architectures: Vec<Arch>,
    /// The day after which nobody mends it any more.
    pub end_of_life: Option<String>,
    /// Whether that is over.
    pub is_past: bool,
    /// By formula, the series that it is known to be good for.
    pub series: BTreeMap<String, Vec<String>>,
    /// What its lock says of what is here, if it has one.
    pub lock: Option<String>,
    /// Where it can come from, in order.
    pub origins: Vec<OriginRow>,
    /// What it was made from, if it is on this host.
    pub made_from: Option<String>,
    /// When it was prepared (RFC 3339).
    pub prepared: Option<String>,
    /// How long ago that was, in seconds.
    pub age: Option<u64>,
    /// Bytes on the disk, where that is known.
    pub size: Option<u64>,
    /// Its images, if it is on this host.
    pub images: Vec<ShownImage>,
}

/// A place that it can come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OriginRow {
    /// Which.
    pub origin: String,
    /// Whether it is the one that is used on this host.
    pub used: bool,
    /// Why it is, or is not.
    pub why: String,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownImage {
    /// `build` or `run`.
    pub image: &'static str,
    /// Its digest.
    pub digest: Sha256,
    /// What others made that it was made from.
    pub source: Option<ShownSource>,
    /// Its layers, the lowest first.
    pub layers: Vec<ShownLayer>,
    /// How many packages it has.
    pub packages: usize,
    /// They, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<Vec<ShownPackage>>,
}

/// What others made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownSource {
    /// Where it was.
    pub place: String,
    /// The digest of its manifest, or of the tarball.
    pub manifest: Option<Sha256>,
    /// The digest of the index that named it.
    pub index: Option<Sha256>,
    /// The chain id of its layers.
    pub chain: Sha256,
    /// Bytes that were to be fetched.
    pub size: u64,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownLayer {
    /// Its key in the store.
    pub key: Sha256,
    /// How it was made, or what is wrong with it.
    pub what: String,
    /// Paths in it, where that is known.
    pub entries: Option<u64>,
    /// Bytes on the disk that are its own, where that is known.
    pub size: Option<u64>,
    /// Where it is.
    pub path: String,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub arch: String,
}

impl ShownStack {
    /// For people.
    pub fn render(&self, palette: Palette) -> String {
        let mut out = format!("{}\n", palette.strong(&self.stack));
        let mut table = Table::new([Align::Left, Align::Left]);
        let mut fact = |name: &str, value: String| table.row([format!("  {name}"), value]);
        let archs: Vec<&str> = self
            .architectures
            .iter()
            .map(|arch| arch.as_str())
            .collect();
        if archs.is_empty() {
            fact("manifest", "there is none any more".to_owned());
        } else {
            fact("architectures", archs.join(", "));
        }
        if let Some(date) = &self.end_of_life {
            let past = if self.is_past { " (past)" } else { "" };
            fact("end of life", format!("{date}{past}"));
        }
        for (formula, series) in &self.series {
            fact(&text::clean(formula), text::clean(&series.join(", ")));
        }
        if let Some(lock) = &self.lock {
            fact("lock", text::clean(lock));
        }
        out.push_str(&table.render());
        if !self.origins.is_empty() {
            let _ = writeln!(out, "\n{}", palette.strong("can come from"));
            let mut table = Table::new([Align::Left, Align::Left, Align::Left]);
            for (n, row) in self.origins.iter().enumerate() {
                let OriginRow { origin, why, .. } = row;
                table.row([
                    format!("  {}.", n + 1),
                    text::clean(origin),
                    text::clean(why),
                ]);
            }
            for (line, row) in table.render().lines().zip(&self.origins) {
                let line = if row.used {
                    line.to_owned()
                } else {
                    palette.faint(line)
                };
                let _ = writeln!(out, "{line}");
            }
        }
        self.host(&mut out, palette);
        for image in &self.images {
            image.render(&mut out, palette);
        }
        out
    }

    fn host(&self, out: &mut String, palette: Palette) {
        let Some(made_from) = &self.made_from else {
            let _ = writeln!(out, "\n{}", palette.warn("not on this host"));
            return;
        };
        let _ = writeln!(out, "\n{}", palette.strong("on this host"));
        let mut table = Table::new([Align::Left, Align::Left]);
        table.row(["  made from".to_owned(), text::clean(made_from)]);
        if let (Some(age), Some(prepared)) = (self.age, &self.prepared) {
            let age = Age(Duration::from_secs(age)).to_string();
            let ago = if age == "just now" {
                age
            } else {
                format!("{age} ago")
            };
            table.row(["  prepared".to_owned(), format!("{ago} ({prepared})")]);
        }
        let size = self.size.map(|size| Bytes(size).to_string());
        let size = size.unwrap_or_else(|| "unknown: an older pybuild made it".to_owned());
        table.row(["  on the disk".to_owned(), size]);
        out.push_str(&table.render());
    }
}

impl ShownImage {
    fn render(&self, out: &mut String, palette: Palette) {
        let Self {
            image,
            digest,
            source,
            layers,
            packages,
            list,
        } = self;
        let _ = writeln!(out, "\n{}", palette.strong(format!("{image} image")));
        let mut table = Table::new([Align::Left, Align::Left]);
        let mut fact = |name: &str, value: String| table.row([format!("  {name}"), value]);
        fact("digest", digest.to_string());
        if let Some(source) = source {
            fact("from", text::clean(&source.place));
            fact("fetched", Bytes(source.size).to_string());
            let digests = [
                ("manifest", source.manifest),
                ("index", source.index),
                ("chain id", Some(source.chain)),
            ];
            for (name, digest) in digests {
                if let Some(digest) = digest {
                    fact(name, format!("sha256:{digest}"));
                }
            }
        }
        fact("packages", packages.to_string());
        out.push_str(&table.render());
        let mut table = Table::new([
            Align::Left,
            Align::Left,
            Align::Left,
            Align::Right,
            Align::Right,
        ]);
        for layer in layers {
            let none = || "-".to_owned();
            table.row([
                "  layer".to_owned(),
                layer.key.short(),
                text::clean(&layer.what),
                layer.size.map_or_else(none, |size| Bytes(size).to_string()),
                layer
                    .entries
                    .map_or_else(none, |entries| format!("{entries} paths")),
            ]);
        }
        out.push_str(&table.render());
        if let Some(list) = list {
            let mut table = Table::new([Align::Left, Align::Left, Align::Left]);
            for package in list {
                let ShownPackage {
                    name,
                    version,
                    arch,
                } = package;
                let name = format!("    {}", text::clean(name));
                table.row([name, text::clean(version), text::clean(arch)]);
            }
            out.push_str(&table.render());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> ShownStack {
        let origin = |origin: &str, used, why: &str| OriginRow {
            origin: origin.to_owned(),
            used,
            why: why.to_owned(),
        };
        let layer = |name: &str, what: &str, size| ShownLayer {
            key: Sha256::of(name.as_bytes()),
            what: what.to_owned(),
            entries: Some(8211),
            size,
            path: "/store/layers/x/tree".to_owned(),
        };
        let image = |image, layers: Vec<ShownLayer>| ShownImage {
            image,
            digest: Sha256::of(image.as_bytes()),
            source: Some(ShownSource {
                place: format!("debian:12-{image}"),
                manifest: Some(Sha256::of(b"manifest")),
                index: None,
                chain: Sha256::of(b"chain"),
                size: 28_000_000,
            }),
            layers,
            packages: 84,
            list: None,
        };
        let unpacked = layer("run", "unpacked", Some(75_000_000));
        let apt = layer("build", "installed by apt", None);
        ShownStack {
            stack: "debian-12".parse().expect("a name"),
            architectures: vec![Arch::Amd64, Arch::Arm64],
            end_of_life: Some("2024-06-30".to_owned()),
            is_past: true,
            series: BTreeMap::from([(
                "python".to_owned(),
                vec!["3.9".to_owned(), "3.11".to_owned()],
            )]),
            lock: Some("what is here is as it is locked".to_owned()),
            origins: vec![
                origin("Debian bookworm", false, "no Debian mirror is known"),
                origin(
                    "debian:12 and debian:12-slim",
                    true,
                    "used: the first that can be",
                ),
            ],
            made_from: Some("debian:12 and debian:12-slim".to_owned()),
            prepared: Some("2026-11-22T10:00:00Z".to_owned()),
            age: Some(3 * 86_400),
            size: Some(412_000_000),
            images: vec![
                image("run", vec![unpacked.clone()]),
                image("build", vec![unpacked, apt]),
            ],
        }
    }

    #[test]
    fn all_about_a_stack_is_one_to_read() {
        insta::assert_snapshot!(stack().render(Palette::default()));
    }

    #[test]
    fn one_that_is_not_here_says_so() {
        let mut stack = ShownStack {
            made_from: None,
            lock: None,
            images: Vec::new(),
            series: BTreeMap::new(),
            ..stack()
        };
        stack.origins.truncate(1);
        insta::assert_snapshot!(stack.render(Palette::default()), @r"
        debian-12
          architectures  amd64, arm64
          end of life    2024-06-30 (past)

        can come from
          1.  Debian bookworm  no Debian mirror is known

        not on this host
        ");
    }

    #[test]
    fn packages_are_listed_if_they_are_asked_for() {
        let mut stack = stack();
        let package = |name: &str| ShownPackage {
            name: name.to_owned(),
            version: "1:2.0-1\x1b[2J".to_owned(),
            arch: "all".to_owned(),
        };
        stack.images[0].list = Some(vec![package("a"), package("libc6")]);
        let text = stack.render(Palette::default());
        assert!(
            text.contains("\n    a      1:2.0-1  all\n    libc6  1:2.0-1  all\n"),
            "{text}"
        );
        let json = serde_json::to_value(&stack).expect("it serialises");
        assert_eq!(json["images"][0]["list"][1]["name"], "libc6");
        assert!(json["images"][1].get("list").is_none());
    }
}
