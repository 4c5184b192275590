//! What `pybuild doctor` prints: what this host can do, and what to do about what it cannot.

use serde::Serialize;

use super::style::Palette;
use super::table::{Align, Table};

/// Everything that was looked at. As JSON its keys are stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doctor {
    /// Whether builds can run here.
    pub able: bool,
    /// One line for each thing that was tried.
    pub findings: Vec<Line>,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What was tried: `user namespace`.
    pub what: String,
    /// How it went.
    pub verdict: Mark,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// As it should be.
    Fine,
    /// Something slower or weaker stands in for it.
    Degraded,
    /// Builds cannot run without it.
    Missing,
}

impl Doctor {
    /// Builds can run if nothing is missing.
    pub fn new(findings: Vec<Line>) -> Self {
        let able = findings.iter().all(|line| line.verdict != Mark::Missing);
        Self { able, findings }
    }

    /// The table for people: mark, what, detail, and each remedy on a line of its own below.
    pub fn render(&self, palette: Palette) -> String {
        let mut table = Table::new([Align::Left, Align::Left]);
        for line in &self.findings {
            table.row([line.what.clone(), line.detail.clone()]);
        }
        let rows = table.render();
        let mut lines = Vec::new();
        // The marks are outside the table because colour would count as width.
        for (line, row) in self.findings.iter().zip(rows.lines()) {
            let mark = match line.verdict {
                Mark::Fine => palette.good('✓'),
                Mark::Degraded => palette.warn('!'),
                Mark::Missing => palette.bad('✗'),
            };
            lines.push(format!("{mark} {row}"));
            if let Some(remedy) = &line.remedy {
                lines.push(format!("  {} {remedy}", palette.hint("hint:")));
            }
        }
        let verdict = if self.able {
            "builds can run on this host"
        } else {
            "builds cannot run on this host"
        };
        lines.push(format!("\n{}\n", palette.strong(verdict)));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doctor(worst: Mark) -> Doctor {
        let line = |what: &str, verdict, detail: &str, remedy: Option<&str>| Line {
            what: what.to_owned(),
            verdict,
            detail: detail.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        Doctor::new(vec![
            line("kernel", Mark::Fine, "6.1.0", None),
            line(
                "overlay",
                Mark::Degraded,
                "copies instead",
                Some("scratch on ext4"),
            ),
            line("user namespace", worst, "clone: EPERM", Some("sysctl x=1")),
        ])
    }

    #[test]
    fn each_thing_missing_comes_with_its_remedy() {
        insta::assert_snapshot!(doctor(Mark::Missing).render(Palette::default()), @r"
        ✓ kernel          6.1.0
        ! overlay         copies instead
          hint: scratch on ext4
        ✗ user namespace  clone: EPERM
          hint: sysctl x=1

        builds cannot run on this host
        ");
        assert!(doctor(Mark::Degraded).able);
    }

    #[test]
    fn the_json_has_stable_keys() {
        let json = serde_json::to_string_pretty(&doctor(Mark::Missing)).expect("it serialises");
        insta::assert_snapshot!(json, @r#"
        {
          "able": false,
          "findings": [
            {
              "what": "kernel",
              "verdict": "fine",
              "detail": "6.1.0",
              "remedy": null
            },
            {
              "what": "overlay",
              "verdict": "degraded",
              "detail": "copies instead",
              "remedy": "scratch on ext4"
            },
            {
              "what": "user namespace",
              "verdict": "missing",
              "detail": "clone: EPERM",
              "remedy": "sysctl x=1"
            }
          ]
        }
        "#);
    }
}
