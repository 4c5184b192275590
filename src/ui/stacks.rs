//! What `pybuild stack list` prints: which stacks there are, and what of them is on this host.

use std::time::Duration;

use serde::Serialize;

use crate::model::{Age, Arch, Bytes, Sha256, StackName};

use super::style::Palette;
use super::table::{Align, Table};
use super::text;

/// All rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Stacks(pub Vec<StackRow>);

/// A stack. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StackRow {
    /// Its name.
    pub stack: StackName,
    /// For which machines.
    pub arch: Arch,
    /// Whether it is on this host, and is what its manifest says.
    pub state: StackState,
    /// What it is made from; of one that is not here, what it would be.
    pub source: Option<String>,
    /// The digest of the build image.
    pub build: Option<Sha256>,
    /// The digest of the run image.
    pub run: Option<Sha256>,
    /// Bytes on the disk, where that is known.
    pub size: Option<u64>,
    /// When it was prepared (RFC 3339).
    pub prepared: Option<String>,
    /// How long ago that was, in seconds.
    pub age: Option<u64>,
    /// The day after which nobody mends it any more.
    pub end_of_life: Option<String>,
    /// Whether that is over.
    pub is_past: bool,
}

/// Whether a stack is on this host, and is what its manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StackState {
    /// It is here, and is what its name means.
    Here,
    /// It is not here.
    Absent,
    /// Layers of it are missing, or were found spoilt.
    Broken,
    /// It is here, made from another place than the one that its name means here.
    Beside,
    /// It is here; its manifest says something else now.
    Changed,
    /// It is here; it has no manifest any more.
    Orphaned,
    /// It is here, as its lock says, for whoever is held to that.
    Locked,
    /// It does not exist for machines like this one.
    Foreign,
}

impl StackState {
    fn words(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Absent => "not here",
            Self::Broken => "spoilt or incomplete",
            Self::Beside => "not used: another comes first",
            Self::Changed => "its manifest has changed",
            Self::Orphaned => "its manifest is gone",
            Self::Locked => "here, as it is locked",
            Self::Foreign => "not for this host",
        }
    }
}

/// What of a source is shown: a URL may be long.
const SOURCE: usize = 44;

impl Stacks {
    /// For people.
    pub fn render(&self, palette: Palette) -> String {
        let (left, right) = (Align::Left, Align::Right);
        let mut table = Table::new([left, left, left, right, left, left, left]);
        let head = [
            "NAME",
            "SOURCE",
            "DIGEST",
            "SIZE",
            "AGE",
            "END OF LIFE",
            "STATE",
        ];
        table.row(head.map(str::to_owned));
        let none = || "-".to_owned();
        for row in &self.0 {
            let source = row.source.as_deref().map_or_else(none, text::clean);
            let age = row.age.map(|age| Age(Duration::from_secs(age)).to_string());
            let end = row.end_of_life.as_ref().map_or_else(none, |date| {
                let past = if row.is_past { " (past)" } else { "" };
                format!("{date}{past}")
            });
            table.row([
                row.stack.to_string(),
                text::truncate(&source, SOURCE),
                row.build.map_or_else(none, |digest| digest.short()),
                row.size.map_or_else(none, |size| Bytes(size).to_string()),
                age.unwrap_or_else(none),
                end,
                row.state.words().to_owned(),
            ]);
        }
        let text = table.render();
        let mut lines = text.lines();
        let mut out = lines
            .next()
            .map_or_else(String::new, |head| format!("{}\n", palette.strong(head)));
        for (line, row) in lines.zip(&self.0) {
            let line = match row.state {
                StackState::Here | StackState::Locked => line.to_owned(),
                StackState::Broken => palette.bad(line),
                StackState::Absent | StackState::Foreign => palette.faint(line),
                _ => palette.warn(line),
            };
            out.extend([line.as_str(), "\n"]);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(stack: &str, state: StackState, source: &str, size: Option<u64>) -> StackRow {
        let here = state != StackState::Absent;
        StackRow {
            stack: stack.parse().expect("a name"),
            arch: Arch::Amd64,
            state,
            source: Some(source.to_owned()),
            build: here.then(|| Sha256::of(stack.as_bytes())),
            run: here.then(|| Sha256::of(b"run")),
            size,
            prepared: here.then(|| "2026-11-22T10:00:00Z".to_owned()),
            age: here.then_some(3 * 86_400),
            end_of_life: (state != StackState::Orphaned).then(|| "2025-04-30".to_owned()),
            is_past: stack == "heroku-20",
        }
    }

    fn stacks() -> Stacks {
        Stacks(vec![
            row(
                "debian-12",
                StackState::Here,
                "Debian bookworm",
                Some(456_700_000),
            ),
            row(
                "debian-12",
                StackState::Beside,
                "debian:12 and debian:12-slim",
                None,
            ),
            row(
                "heroku-20",
                StackState::Absent,
                "https://example.org/a/very/long/way/to/a/root/file/system/heroku-20.tar.xz",
                None,
            ),
            row("ours-1", StackState::Orphaned, "/srv/\x1b[2Jours", Some(12)),
        ])
    }

    #[test]
    fn the_list_is_one_to_read() {
        insta::assert_snapshot!(stacks().render(Palette::default()));
    }

    #[test]
    fn colours_do_not_move_columns() {
        let plain = stacks().render(Palette::default());
        let painted = stacks().render(Palette::new(true));
        assert_ne!(plain, painted);
        let clean = |text: &str| text::clean(&text.replace('\n', "|"));
        assert_eq!(clean(&painted), clean(&plain));
    }

    #[test]
    fn the_json_has_stable_keys() {
        let json = serde_json::to_string_pretty(&Stacks(vec![stacks().0.remove(0)]));
        insta::assert_snapshot!(json.expect("it serialises"));
    }
}
