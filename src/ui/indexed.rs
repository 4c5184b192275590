//! What `pybuild index` ends with: how much is listed, what was written, what was left out.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::Bytes;

use super::style::Palette;
use super::summary::to_millis;
use super::text;

/// The result of one run. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Indexed {
    /// Of which target.
    pub target: String,
    /// The archives that are listed.
    pub archives: usize,
    /// The stacks that they are for.
    pub stacks: usize,
    /// The bytes of their tarballs.
    pub bytes: u64,
    /// What became of `index.html`.
    #[serde(rename = "index.html")]
    pub html: Writing,
    /// What became of `index.json`.
    #[serde(rename = "index.json")]
    pub json: Writing,
    /// What is not listed, by key, and why.
    #[serde(serialize_with = "unlisted")]
    pub unlisted: Vec<(String, String)>,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// What became of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writing {
    /// It is there now.
    Written,
    /// It was there already, and says the same.
    Unchanged,
    /// It would be written.
    Would,
}

fn unlisted<S: Serializer>(all: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Unlisted<'a> {
        key: &'a str,
        why: &'a str,
    }
    serializer.collect_seq(all.iter().map(|(key, why)| Unlisted { key, why }))
}

fn seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(to_millis(*elapsed))
}

impl Indexed {
    /// For people: the line that matters first.
    pub fn render(&self, palette: Palette) -> String {
        let Self {
            target,
            archives,
            stacks,
            bytes,
            html,
            json,
            unlisted,
            elapsed: _, // it is short
        } = self;
        let many = |count: usize| if count == 1 { "" } else { "s" };
        let listed = format!(
            "{archives} archive{} for {stacks} stack{} ({})",
            many(*archives),
            many(*stacks),
            Bytes(*bytes)
        );
        let target = text::clean(target);
        let written: Vec<&str> = [("index.html", html), ("index.json", json)]
            .into_iter()
            .filter_map(|(name, writing)| (*writing != Writing::Unchanged).then_some(name))
            .collect();
        let would = [html, json].contains(&&Writing::Would);
        let line = match (written.is_empty(), would) {
            (true, _) => format!("the index of {target} lists {listed} already: nothing to do"),
            (false, false) => {
                let written = written.join(" and ");
                format!("{listed} listed in {target}: {written} written")
            }
            (false, true) => {
                let written = written.join(" and ");
                format!("{listed} would be listed in {target}: {written} would be written")
            }
        };
        let mut out = palette.good(line);
        out.push('\n');
        let left = unlisted.len();
        if left > 0 {
            // Which, and why, has been said on the way.
            let line = format!(
                "{left} archive{} not listed, since not sound: `pybuild verify` says more",
                many(left)
            );
            out.push_str(&palette.bad(line));
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexed(html: Writing, json: Writing, unlisted: usize) -> Indexed {
        Indexed {
            target: "s3://bucket/".to_owned(),
            archives: 21,
            stacks: 3,
            bytes: 238_552_425,
            html,
            json,
            unlisted: vec![("a.tar.gz".to_owned(), "its record is missing".to_owned()); unlisted],
            elapsed: Duration::from_millis(1500),
        }
    }

    #[test]
    fn the_first_line_says_what_was_done() {
        use Writing::{Unchanged, Would, Written};
        let table = [
            (
                indexed(Written, Written, 0),
                "21 archives for 3 stacks (238.6 MB) listed in s3://bucket/: index.html and \
                 index.json written\n",
            ),
            (
                indexed(Unchanged, Written, 1),
                "21 archives for 3 stacks (238.6 MB) listed in s3://bucket/: index.json written\n\
                 1 archive not listed, since not sound: `pybuild verify` says more\n",
            ),
            (
                indexed(Unchanged, Unchanged, 2),
                "the index of s3://bucket/ lists 21 archives for 3 stacks (238.6 MB) already: \
                 nothing to do\n2 archives not listed, since not sound: `pybuild verify` says more\n",
            ),
            (
                indexed(Would, Would, 0),
                "21 archives for 3 stacks (238.6 MB) would be listed in s3://bucket/: index.html \
                 and index.json would be written\n",
            ),
        ];
        for (indexed, said) in table {
            assert_eq!(indexed.render(Palette::new(false)), said);
        }
    }

    #[test]
    fn the_json_has_stable_keys() {
        let indexed = indexed(Writing::Written, Writing::Unchanged, 1);
        let json = serde_json::to_string_pretty(&indexed).expect("it serialises");
        insta::assert_snapshot!(json, @r#"
        {
          "target": "s3://bucket/",
          "archives": 21,
          "stacks": 3,
          "bytes": 238552425,
          "index.html": "written",
          "index.json": "unchanged",
          "unlisted": [
            {
              "key": "a.tar.gz",
              "why": "its record is missing"
            }
          ],
          "seconds": 1.5
        }
        "#);
    }
}
