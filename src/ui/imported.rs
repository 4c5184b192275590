//! What became of scripts that were to become formulae.

use std::path::PathBuf;

use serde::Serialize;

use super::text;

/// What became of scripts that were to become formulae.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The scripts that became formulae.
    pub scripts: Vec<String>,
    /// The files that were written.
    pub written: Vec<PathBuf>,
    /// What was not understood: the script, the line, and why.
    pub refused: Vec<String>,
}

impl Imported {
    /// For people.
    pub fn render(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        if !self.refused.is_empty() {
            lines.push("not understood".to_owned());
            let refused = self.refused.iter();
            lines.extend(refused.map(|refused| format!("  {}", text::clean(refused).trim_end())));
            lines.push(String::new());
        }
        lines.extend(
            self.written
                .iter()
                .map(|path| format!("written {}", path.display())),
        );
        lines.push(format!(
            "{} of {} scripts became formulae",
            self.scripts.len(),
            self.scripts.len() + self.refused.len()
        ));
        lines.push(String::new());
        lines.join("\n")
    }
}
