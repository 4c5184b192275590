//! A table of versions that a release is added to: one line more, everything else as it was.

use std::borrow::Cow;
use std::fmt::Write as _; // into a String, which takes everything
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use toml::Spanned;
use toml::de::DeTable;

use crate::model::{FormulaName, Sha256, Version};

use super::catalog::Catalog;
use super::error::FormulaError;
use super::known::Signers;
use super::raw_versions::{self, RawFlavour};
use super::sheet::Sheet;
use super::tree::{self, Tree};
use super::url;

/// The table of one formula in a directory of formulae, where it can be written to.
pub struct Ledger {
    name: FormulaName,
    path: PathBuf,
    /// Its key in the tree.
    file: String,
    tree: Tree,
    catalog: Catalog,
    flavours: Vec<RawFlavour>,
}

/// Where one form of a release's source would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The flavour: `tgz`.
    pub flavour: String,
    /// The URLs, the preferred first. At least one.
    pub urls: Vec<String>,
    /// What it is called there.
    pub file: String,
}

impl Ledger {
    /// Reads the table of `name` in `dir`, which must be sound as it is, like all the rest.
    pub fn open(dir: &Path, name: &FormulaName) -> Result<Self, FormulaError> {
        let tree = tree::load(Some(dir))?;
        let catalog = Catalog::from_tree(&tree)?;
        catalog.get(name)?;
        let file = format!("{name}.versions.toml");
        let path = dir.join(&file);
        let entry = tree.get(&file).filter(|_| path.is_file());
        let Some(entry) = entry else {
            let why = "there is no such table there: give the directory that has it";
            return Err(FormulaError::Directory { path, why });
        };
        let text = String::from_utf8_lossy(&entry.bytes);
        let versions = raw_versions::read_versions(&mut Sheet::new(&entry.shown, &text));
        Ok(Self {
            name: name.clone(),
            path,
            flavours: versions.map(|it| it.flavours).unwrap_or_default(),
            file,
            tree,
            catalog,
        })
    }

    /// Where the table is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has this version already.
    pub fn has(&self, version: &Version) -> Result<bool, FormulaError> {
        let formula = self.catalog.get(&self.name)?;
        Ok(formula.versions().any(|it| it == version))
    }

    /// Whose signatures on a release count.
    pub fn signers(&self, version: &Version) -> Result<Signers<'_>, FormulaError> {
        Ok(self.catalog.get(&self.name)?.signers(version))
    }

    /// The forms of a release's source that have URLs; `words` are what they take besides the
    /// version. `Err` names a word that is missing.
    pub fn places(
        &self,
        version: &Version,
        words: &[(String, String)],
    ) -> Result<Vec<Place>, String> {
        let words: Vec<(String, Spanned<String>)> = (words.iter())
            .map(|(name, value)| (name.clone(), Spanned::new(0..0, value.clone())))
            .collect();
        let mut places = Vec::new();
        let mut missing = None;
        for flavour in &self.flavours {
            let urls = flavour.urls.iter();
            let urls = urls.map(|pattern| url::fill(pattern.get_ref(), version, &words));
            match urls.collect::<Result<Vec<String>, String>>() {
                Ok(urls) => {
                    let file = urls.first().and_then(|first| url::file_name(first));
                    if let Some(file) = file.map(str::to_owned) {
                        places.push(Place {
                            flavour: flavour.name.get_ref().clone(),
                            urls,
                            file,
                        });
                    }
                }
                Err(word) => missing = Some(word),
            }
        }
        match missing {
            Some(word) if places.is_empty() => Err(word),
            _ => Ok(places),
        }
    }

    /// The table with one line more, and that line: checked together with all the other formulae,
    /// as it would be read.
    pub fn with(
        &self,
        version: &Version,
        released: Date,
        sources: &[(String, Sha256)],
        words: &[(String, String)],
    ) -> Result<(String, String), FormulaError> {
        let line = self.line(version, released, sources, words);
        let entry = &self.tree[&self.file];
        let text = String::from_utf8_lossy(&entry.bytes);
        let new = insert(&text, version, &line).ok_or_else(|| FormulaError::Directory {
            path: self.path.clone(),
            why: "its versions are not one a line: add this one by hand",
        })?;
        let mut tree = self.tree.clone();
        if let Some(entry) = tree.get_mut(&self.file) {
            entry.bytes = Cow::Owned(new.clone().into_bytes());
        }
        Catalog::from_tree(&tree)?;
        Ok((new, line))
    }

    fn line(
        &self,
        version: &Version,
        released: Date,
        sources: &[(String, Sha256)],
        words: &[(String, String)],
    ) -> String {
        let mut line = format!("\"{version}\" = {{ released = {released}");
        for (flavour, sha256) in sources {
            let _ = write!(line, ", {flavour} = {{ sha256 = \"{sha256}\"");
            let urls = self.flavours.iter().find(|it| it.name.get_ref() == flavour);
            let taken = urls.map(|it| url::words(&it.urls)).unwrap_or_default();
            for (name, value) in words.iter().filter(|(name, _)| taken.contains(name)) {
                let _ = write!(line, ", {name} = {}", toml::Value::String(value.clone()));
            }
            line.push_str(" }");
        }
        line.push_str(" }");
        line
    }
}

/// The text with the line in its place: behind the next older version, else before the first.
/// `None` if versions are not written one a line.
fn insert(text: &str, version: &Version, line: &str) -> Option<String> {
    let document = DeTable::parse(text).ok()?;
    let versions = document.get_ref().get("versions")?.get_ref().as_table()?;
    let mut lines: Vec<(Version, std::ops::Range<usize>)> = Vec::new();
    for (key, value) in versions {
        let (start, end) = (key.span().start, value.span().end);
        let is_one_line = text[value.span()].starts_with('{') && !text[start..end].contains('\n');
        if !is_one_line {
            return None;
        }
        lines.push((key.get_ref().parse().ok()?, start..end));
    }
    let older = lines.iter().filter(|(it, _)| it < version);
    let older = older.max_by(|a, b| a.0.cmp(&b.0));
    let at = if let Some((_, span)) = older {
        // With what stands behind it on its line.
        text[span.end..]
            .find('\n')
            .map_or(text.len(), |n| span.end + n + 1)
    } else {
        let first = lines.iter().map(|(_, span)| span.start).min()?;
        text[..first].rfind('\n').map_or(0, |n| n + 1)
    };
    let (before, after) = text.split_at(at);
    let ending = if before.ends_with("\r\n") {
        "\r\n"
    } else {
        "\n"
    };
    let gap = if before.is_empty() || before.ends_with('\n') {
        ""
    } else {
        ending
    };
    Some(format!("{before}{gap}{line}{ending}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_behind_the_next_older_one_and_nothing_else_moves() {
        let table = "# é\n[versions]\n\n\"1.0\" = { a = 1 } # old\n# of 2\n\"2.0\" = { a = 2 }\n\n\"10.0\" = { a = 3 }";
        let new = "\"9\" = {}";
        let cases = [
            (
                "0.9",
                "# é\n[versions]\n\n",
                "\"1.0\" = { a = 1 } # old\n# of 2\n\"2.0\" = { a = 2 }\n\n\"10.0\" = { a = 3 }",
            ),
            (
                "1.5",
                "# é\n[versions]\n\n\"1.0\" = { a = 1 } # old\n",
                "# of 2\n\"2.0\" = { a = 2 }\n\n\"10.0\" = { a = 3 }",
            ),
            (
                "9.0",
                "# é\n[versions]\n\n\"1.0\" = { a = 1 } # old\n# of 2\n\"2.0\" = { a = 2 }\n",
                "\n\"10.0\" = { a = 3 }",
            ),
        ];
        for (version, before, after) in cases {
            let version = version.parse().expect("a version");
            let expected = format!("{before}{new}\n{after}");
            assert_eq!(insert(table, &version, new), Some(expected), "{version}");
        }
        // Behind a last line without an end.
        let version = "11".parse().expect("a version");
        assert_eq!(
            insert(table, &version, new),
            Some(format!("{table}\n{new}\n"))
        );
        let windows = "[versions]\r\n\"1\" = {}\r\n";
        assert_eq!(
            insert(windows, &version, new),
            Some(format!("{windows}{new}\r\n"))
        );
    }

    #[test]
    fn a_table_of_another_form_is_left_alone() {
        let version = "2".parse().expect("a version");
        for text in [
            "[versions.\"1\"]\nreleased = 2020-01-01\n",
            "[versions]\n\"1\".released = 2020-01-01\n",
            "[versions]\n",
            "",
            "[",
        ] {
            assert_eq!(insert(text, &version, "\"2\" = {}"), None, "{text}");
        }
    }
}
