//! What `pybuild diff` prints: in what two artifacts differ.

use std::fmt::Write as _; // into a String, which takes everything

use serde::Serialize;

use super::style::Palette;
use super::text;

/// Columns of two values that are shown in one line.
const SHORT: usize = 84;

/// What differs of two artifacts. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArtifactDifferences {
    /// The one, as it was named.
    pub a: String,
    /// The other.
    pub b: String,
    /// Whether their bytes are the same.
    pub same: bool,
    /// What their records say differently; nothing if one of them has none.
    pub record: Option<Vec<PaperRow>>,
    /// The paths that are not the same.
    pub files: Vec<FileRow>,
    /// What else differs of the tarballs, each a sentence.
    pub tarball: Vec<String>,
    /// What keeps them from being compared wholly, each a sentence.
    pub unseen: Vec<String>,
}

/// Something that two records say differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaperRow {
    /// Of what.
    pub what: String,
    /// What the one says, if anything.
    pub a: Option<String>,
    /// What the other says, if anything.
    pub b: Option<String>,
}

/// A path that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileRow {
    /// Which, below the prefix; bytes that are no text are escaped.
    pub path: String,
    /// `added`, `removed`, `kind`, `mode`, `target` or `content`.
    pub change: &'static str,
    /// How, in words.
    pub what: String,
    /// Why, as far as that can be told, each a sentence.
    pub why: Vec<String>,
    /// Whether it lies below a directory that is told already; people are not told twice.
    #[serde(skip)]
    pub below: bool,
}

impl ArtifactDifferences {
    /// For people.
    pub fn render(&self, palette: Palette) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "{} {}", palette.bad("-"), text::clean(&self.a));
        let _ = writeln!(out, "{} {}", palette.good("+"), text::clean(&self.b));
        let rows = self.record.as_deref().unwrap_or_default();
        if !rows.is_empty() {
            let _ = writeln!(out, "\n{}", palette.strong("their records"));
        }
        for row in rows {
            row.render(&mut out, palette);
        }
        if !self.files.is_empty() {
            let _ = writeln!(out, "\n{}", palette.strong("their files"));
        }
        for row in self.files.iter().filter(|row| !row.below) {
            row.render(&mut out, palette);
        }
        if !self.tarball.is_empty() {
            let _ = writeln!(out, "\n{}", palette.strong("their tarballs"));
        }
        for line in &self.tarball {
            let _ = writeln!(out, "  {}", text::clean(line));
        }
        let _ = writeln!(out, "\n{}", self.summary());
        for line in &self.unseen {
            let _ = writeln!(out, "{} {}", palette.warn("!"), text::clean(line));
        }
        out
    }

    /// In one line.
    pub fn summary(&self) -> String {
        if self.same {
            return "they are the same, byte for byte".to_owned();
        }
        let count = |word: &str| self.files.iter().filter(|row| row.change == word).count();
        let (added, removed) = (count("added"), count("removed"));
        let mut changed: Vec<&str> = self
            .files
            .iter()
            .filter(|row| !matches!(row.change, "added" | "removed"))
            .map(|row| row.path.as_str())
            .collect();
        changed.dedup();
        let paths = [
            (changed.len(), "differ"),
            (removed, "only in the first"),
            (added, "only in the second"),
        ];
        let paths: Vec<String> = paths
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let files = if paths.is_empty() {
            "no path differs".to_owned()
        } else {
            format!("of the paths {}", paths.join(", "))
        };
        match self.record.as_deref() {
            None => format!("{files}; there are not two records to compare"),
            Some([]) => format!("{files}; their records say the same"),
            Some([_]) => format!("{files}; their records differ in 1 thing"),
            Some(rows) => format!("{files}; their records differ in {} things", rows.len()),
        }
    }
}

impl PaperRow {
    fn render(&self, out: &mut String, palette: Palette) {
        let Self { what, a, b } = self;
        let what = text::clean(what);
        let clean = |text: &Option<String>| text.as_deref().map(text::clean);
        let (a, b) = (clean(a), clean(b));
        if let (Some(a), Some(b)) = (&a, &b)
            && text::columns(a) + text::columns(b) + text::columns(&what) < SHORT
        {
            let _ = writeln!(out, "  {what}  {a} → {b}");
            return;
        }
        match (&a, &b) {
            (Some(only), None) if only == "yes" => {
                let _ = writeln!(out, "{} {what}", palette.bad("-"));
                return;
            }
            (None, Some(only)) if only == "yes" => {
                let _ = writeln!(out, "{} {what}", palette.good("+"));
                return;
            }
            (Some(only), None) => {
                let _ = writeln!(out, "{} {what}  {only}", palette.bad("-"));
                return;
            }
            (None, Some(only)) => {
                let _ = writeln!(out, "{} {what}  {only}", palette.good("+"));
                return;
            }
            _ => {}
        }
        let _ = writeln!(out, "  {what}");
        for (mark, text) in [(palette.bad("-"), a), (palette.good("+"), b)] {
            let _ = writeln!(out, "    {mark} {}", text.unwrap_or_default());
        }
    }
}

impl FileRow {
    fn render(&self, out: &mut String, palette: Palette) {
        let Self {
            path,
            change,
            what,
            why,
            below: _,
        } = self;
        let mark = match *change {
            "added" => palette.good("+"),
            "removed" => palette.bad("-"),
            _ => palette.warn("~"),
        };
        let _ = writeln!(out, "{mark} {}  {}", text::clean(path), text::clean(what));
        for line in why {
            let _ = writeln!(out, "      {}", palette.faint(text::clean(line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences() -> ArtifactDifferences {
        let paper = |what: &str, a: Option<&str>, b: Option<&str>| PaperRow {
            what: what.to_owned(),
            a: a.map(str::to_owned),
            b: b.map(str::to_owned),
        };
        let file = |path: &str, change, what: &str, why: &[&str]| FileRow {
            path: path.to_owned(),
            change,
            what: what.to_owned(),
            why: why.iter().map(|why| (*why).to_owned()).collect(),
            below: path.starts_with("lib/y/"),
        };
        let command =
            "make -j{jobs} 'CC=gcc -ffile-prefix-map=/build/source/=' and many words more";
        ArtifactDifferences {
            a: "a/python-3.11.2.tar.gz".to_owned(),
            b: "b/python-3.11.2.tar.gz".to_owned(),
            same: false,
            record: Some(vec![
                paper("profile", Some("plain"), Some("optimized")),
                paper("step make", Some(command), Some("make")),
                paper("package of the build image: gcc:amd64", None, Some("12.2")),
                paper("module proven ssl", Some("yes"), None),
            ]),
            files: vec![
                file(
                    "bin/python3.11",
                    "content",
                    "content, 10 → 20 bytes",
                    &["compiled by x → y"],
                ),
                file("bin/python3.11", "mode", "mode 0755 → 0775", &[]),
                file("lib/\x1b[2Jx", "added", "a file of 3 bytes", &[]),
                file("lib/y", "removed", "a directory of 1 paths", &[]),
                file("lib/y/z", "removed", "a file of 3 bytes", &[]),
            ],
            tarball: vec!["compressed with gz → xz".to_owned()],
            unseen: Vec::new(),
        }
    }

    #[test]
    fn what_differs_is_one_to_read() {
        insta::assert_snapshot!(differences().render(Palette::default()));
    }

    #[test]
    fn the_last_line_sums_it_up() {
        let mut some = differences();
        some.files.clear();
        some.record = None;
        let line = "no path differs; there are not two records to compare";
        assert_eq!(some.summary(), line);
        some.record = Some(Vec::new());
        assert_eq!(
            some.summary(),
            "no path differs; their records say the same"
        );
        some.same = true;
        assert_eq!(some.summary(), "they are the same, byte for byte");
    }

    #[test]
    fn the_json_has_stable_keys() {
        let json = serde_json::to_value(differences()).expect("it serialises");
        let first = serde_json::json!({"what": "profile", "a": "plain", "b": "optimized"});
        assert_eq!(json["record"][0], first);
        assert_eq!(json["files"][0]["change"], "content");
        assert_eq!(json["files"][0]["why"][0], "compiled by x → y");
        assert_eq!(json["same"], false);
    }
}
