//! What `pybuild stack diff` prints: packages and files that are not the same in two images.

use std::cmp::Ordering;
use std::fmt::Write as _; // into a String, which takes everything

use serde::Serialize;

use super::style::Palette;
use super::table::{Align, Table};
use super::text;

/// What differs. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// The one image.
    pub a: Side,
    /// The other.
    pub b: Side,
    /// Packages, sorted by name.
    pub packages: Vec<PackageMove>,
    /// Paths, sorted, if they were compared.
    pub paths: Option<Vec<PathDifference>>,
}

/// An image that is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The stack.
    pub stack: String,
    /// `build` or `run`.
    pub image: &'static str,
    /// Its digest.
    pub digest: crate::model::Sha256,
}

/// A package that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageMove {
    /// Its name.
    pub name: String,
    /// Its version in the one.
    pub a: Option<String>,
    /// Its version in the other.
    pub b: Option<String>,
    /// Whether the other has the later version, as Debian orders them.
    #[serde(skip)]
    pub order: Option<Ordering>,
}

/// A path that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathDifference {
    /// Which; bytes that are no text are escaped.
    pub path: String,
    /// How it differs: `only in A`, `mode 0644 → 0755` …
    pub what: String,
}

impl PackageMove {
    fn word(&self) -> &'static str {
        match (&self.a, &self.b, self.order) {
            (Some(_), None, _) => "only in the first",
            (None, _, _) => "only in the second",
            (_, _, Some(Ordering::Less)) => "later in the second",
            (_, _, Some(Ordering::Greater)) => "earlier in the second",
            _ => "other",
        }
    }
}

impl Differences {
    /// For people.
    pub fn render(&self, palette: Palette) -> String {
        let Self {
            a,
            b,
            packages,
            paths,
        } = self;
        let mut out = String::new();
        if !packages.is_empty() {
            let mut table = Table::new([Align::Left, Align::Left, Align::Left, Align::Left]);
            table.row([
                "PACKAGE".to_owned(),
                text::clean(&a.stack),
                text::clean(&b.stack),
                String::new(),
            ]);
            for package in packages {
                let version = |version: &Option<String>| {
                    version
                        .as_deref()
                        .map_or_else(|| "-".to_owned(), text::clean)
                };
                table.row([
                    text::clean(&package.name),
                    version(&package.a),
                    version(&package.b),
                    package.word().to_owned(),
                ]);
            }
            headed(&mut out, &table.render(), palette);
            out.push('\n');
        }
        for paths in paths.iter().filter(|paths| !paths.is_empty()) {
            let mut table = Table::new([Align::Left, Align::Left]);
            table.row(["PATH", ""].map(str::to_owned));
            for PathDifference { path, what } in paths {
                table.row([text::clean(path), text::clean(what)]);
            }
            headed(&mut out, &table.render(), palette);
            out.push('\n');
        }
        let _ = writeln!(out, "{}", self.summary());
        out
    }

    /// In one line.
    pub fn summary(&self) -> String {
        let Self {
            a,
            b,
            packages,
            paths,
        } = self;
        let (one, other) = (text::clean(&a.stack), text::clean(&b.stack));
        let image = a.image;
        let count = |wanted: &[&str]| {
            let words = packages.iter().map(PackageMove::word);
            words.filter(|word| wanted.contains(word)).count()
        };
        let mut line = if packages.is_empty() {
            format!("the {image} images of {one} and {other} have the same packages")
        } else {
            let counts = [
                (count(&["only in the first"]), format!("only in {one}")),
                (count(&["only in the second"]), format!("only in {other}")),
                (count(&["later in the second"]), format!("later in {other}")),
                (
                    count(&["earlier in the second"]),
                    format!("earlier in {other}"),
                ),
                (count(&["other"]), "other".to_owned()),
            ];
            let counts = counts.iter().filter(|(count, _)| *count > 0);
            let counts: Vec<String> = counts
                .map(|(count, what)| format!("{count} {what}"))
                .collect();
            let count = packages.len();
            let subject = match count {
                1 => "1 package of the".to_owned(),
                count => format!("{count} packages of the"),
            };
            let differ = if count == 1 { "differs" } else { "differ" };
            format!("{subject} {image} images {differ}: {}", counts.join(", "))
        };
        match paths.as_deref() {
            None => {}
            Some([]) => line.push_str("; no path differs"),
            Some([_]) => line.push_str("; 1 path differs"),
            Some(paths) => {
                let _ = write!(line, "; {} paths differ", paths.len());
            }
        }
        line
    }
}

/// The first line is the head of the columns.
fn headed(out: &mut String, table: &str, palette: Palette) {
    let (head, rest) = table.split_once('\n').unwrap_or((table, ""));
    let _ = write!(out, "{}\n{rest}", palette.strong(head));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sha256;

    fn differences() -> Differences {
        let side = |stack: &str| Side {
            stack: stack.to_owned(),
            image: "build",
            digest: Sha256::of(stack.as_bytes()),
        };
        let package = |name: &str, a: Option<&str>, b: Option<&str>, order| PackageMove {
            name: name.to_owned(),
            a: a.map(str::to_owned),
            b: b.map(str::to_owned),
            order,
        };
        let path = |path: &str, what: &str| PathDifference {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        Differences {
            a: side("debian-11"),
            b: side("debian-12"),
            packages: vec![
                package(
                    "gcc",
                    Some("4:10.2.1-1"),
                    Some("4:12.2.0-3"),
                    Some(Ordering::Less),
                ),
                package("gone", Some("1.0"), None, None),
                package("new", None, Some("2.0"), None),
                package("older", Some("2"), Some("1"), Some(Ordering::Greater)),
            ],
            paths: Some(vec![
                path("bin", "dir → link"),
                path("etc/\x1b[2Jx", "mode 0644 → 0755"),
            ]),
        }
    }

    #[test]
    fn what_differs_is_one_to_read() {
        insta::assert_snapshot!(differences().render(Palette::default()));
    }

    #[test]
    fn the_last_line_sums_it_up() {
        let mut same = differences();
        same.packages.clear();
        same.paths = None;
        let line = "the build images of debian-11 and debian-12 have the same packages";
        assert_eq!(same.summary(), line);
        same.paths = Some(Vec::new());
        assert_eq!(same.summary(), format!("{line}; no path differs"));
    }

    #[test]
    fn the_json_has_stable_keys() {
        let json = serde_json::to_value(differences()).expect("it serialises");
        let first = serde_json::json!({"name": "gcc", "a": "4:10.2.1-1", "b": "4:12.2.0-3"});
        assert_eq!(json["packages"][0], first);
        assert_eq!(
            json["paths"][0],
            serde_json::json!({"path": "bin", "what": "dir → link"})
        );
        assert_eq!(json["a"]["stack"], "debian-11");
    }
}
