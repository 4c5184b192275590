//! What `pybuild sandbox` ends with: what was built, where it is, how long each phase took.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::model::{Bytes, Elapsed, FormulaRef, Sha256, StackName};

use super::style::Palette;
use super::table::{Align, Table};
use super::text;

/// The result of one run. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The stack built for.
    pub stack: StackName,
    /// What was asked for and what it needed, in the order of building.
    pub artifacts: Vec<Built>,
    /// What was done, in the order of ending.
    pub phases: Vec<PhaseTime>,
    /// Wall-clock seconds from start to end.
    pub seconds: f64,
}

/// One artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Built {
    /// The formula and version.
    pub formula: FormulaRef,
    /// The build id.
    pub build: Sha256,
    /// Where the tarball is.
    pub path: PathBuf,
    /// The tarball's size in bytes.
    pub size: u64,
    /// The tarball's digest.
    pub sha256: Sha256,
    /// Whether it was there already, from an earlier run.
    pub reused: bool,
}

/// How long one phase took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseTime {
    /// What was done: `configured python-3.11.2`.
    pub phase: String,
    /// Wall-clock seconds.
    pub seconds: f64,
}

impl PhaseTime {
    /// A phase by its title (`configuring python-3.11.2`) and its duration.
    pub fn new(title: impl AsRef<str>, elapsed: Duration) -> Self {
        Self {
            phase: text::past(title.as_ref()),
            seconds: to_millis(elapsed),
        }
    }
}

impl Summary {
    /// Puts the wall-clock time in, in the precision that the JSON has.
    pub fn new(
        stack: StackName,
        artifacts: Vec<Built>,
        phases: Vec<PhaseTime>,
        elapsed: Duration,
    ) -> Self {
        Self {
            stack,
            artifacts,
            phases,
            seconds: to_millis(elapsed),
        }
    }

    /// The table for people: a block for each artifact, then the phases.
    pub fn render(&self, palette: Palette) -> String {
        let mut out = String::new();
        for artifact in &self.artifacts {
            out.push_str(&artifact.render(&self.stack, palette));
            out.push('\n');
        }
        let mut times = Table::new([Align::Left, Align::Right]);
        for phase in &self.phases {
            times.row([phase.phase.clone(), seconds(phase.seconds)]);
        }
        times.row(["in all".to_owned(), seconds(self.seconds)]);
        out.push_str(&times.render());
        out
    }
}

impl Built {
    fn render(&self, stack: &StackName, palette: Palette) -> String {
        let Self {
            formula,
            build,
            path,
            size,
            sha256,
            reused,
        } = self;
        let mut rows = Table::new([Align::Left, Align::Left]);
        let size = format!("{} ({size} bytes)", Bytes(*size));
        for (what, value) in [
            ("  file", text::clean(&path.to_string_lossy())),
            ("  size", size),
            ("  sha256", sha256.to_string()),
            ("  build", build.to_string()),
        ] {
            rows.row([what.to_owned(), value]);
        }
        let how = if *reused { " (nothing to do)" } else { "" };
        let name = palette.strong(formula);
        format!("{name} for {stack}{how}\n{}", rows.render())
    }
}

/// Seconds to the millisecond: more digits would only be noise in a JSON.
pub(super) fn to_millis(elapsed: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss)] // exact for the next 285,000 years
    let millis = elapsed.as_millis() as f64;
    millis / 1000.0
}

pub(super) fn seconds(seconds: f64) -> String {
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Elapsed(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let built = |name: &str, size, reused| Built {
            formula: name.parse().expect("a formula"),
            build: Sha256::of(b"build"),
            path: format!("dist/debian-12/{name}.tar.gz").into(),
            size,
            sha256: Sha256::of(b"abc"),
            reused,
        };
        Summary::new(
            "debian-12".parse().expect("a stack"),
            vec![
                built("sqlite-3.46.1", 999, true),
                built("python-3.11.2", 26_437_858, false),
            ],
            vec![
                PhaseTime::new("bootstrapping debian-12", Duration::from_micros(35_200_123)),
                PhaseTime::new("making python-3.11.2", Duration::from_secs(127)),
            ],
            Duration::from_millis(170_451),
        )
    }

    #[test]
    fn the_table_says_what_where_how_big_and_how_long() {
        insta::assert_snapshot!(summary().render(Palette::default()), @r"
        sqlite-3.46.1 for debian-12 (nothing to do)
          file    dist/debian-12/sqlite-3.46.1.tar.gz
          size    999 B (999 bytes)
          sha256  ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
          build   44575cf5b28512d75644bf54a517dcef304ff809fd511747621b4d64f19aac66

        python-3.11.2 for debian-12
          file    dist/debian-12/python-3.11.2.tar.gz
          size    26.4 MB (26437858 bytes)
          sha256  ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
          build   44575cf5b28512d75644bf54a517dcef304ff809fd511747621b4d64f19aac66

        bootstrapped debian-12      35.2 s
        made python-3.11.2      2 min 07 s
        in all                  2 min 50 s
        ");
    }

    #[test]
    fn the_json_has_stable_keys() {
        let json = serde_json::to_string_pretty(&summary()).expect("it serialises");
        insta::assert_snapshot!(json, @r#"
        {
          "stack": "debian-12",
          "artifacts": [
            {
              "formula": "sqlite-3.46.1",
              "build": "44575cf5b28512d75644bf54a517dcef304ff809fd511747621b4d64f19aac66",
              "path": "dist/debian-12/sqlite-3.46.1.tar.gz",
              "size": 999,
              "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
              "reused": true
            },
            {
              "formula": "python-3.11.2",
              "build": "44575cf5b28512d75644bf54a517dcef304ff809fd511747621b4d64f19aac66",
              "path": "dist/debian-12/python-3.11.2.tar.gz",
              "size": 26437858,
              "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
              "reused": false
            }
          ],
          "phases": [
            {
              "phase": "bootstrapped debian-12",
              "seconds": 35.2
            },
            {
              "phase": "made python-3.11.2",
              "seconds": 127.0
            }
          ],
          "seconds": 170.451
        }
        "#);
    }
}
