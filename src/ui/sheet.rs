//! What `pybuild inspect` prints: facts about one thing, in parts.

use std::fmt::Write as _; // into a String, which takes everything

use super::style::Palette;
use super::text;

/// Columns that a value takes at most before it goes on in the next line.
const WIDTH: usize = 88;
/// Between facts of a value that goes on.
const COMMA: &str = ", ";

/// Facts about one thing. Texts may come from anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sheet {
    /// What it is.
    pub title: String,
    /// What is known of it.
    pub parts: Vec<Part>,
    /// What is wrong with it, each a sentence.
    pub wrong: Vec<String>,
}

/// Facts that belong together: each has a name and a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// Their head; the first part needs none.
    pub head: String,
    /// They.
    pub facts: Vec<(String, String)>,
}

impl Part {
    /// A part without facts yet.
    pub fn new(head: &str) -> Self {
        Self {
            head: head.to_owned(),
            facts: Vec::new(),
        }
    }

    /// Adds a fact, unless there is nothing to tell.
    pub fn fact(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.facts.push((name.to_owned(), value));
        }
    }
}

impl Sheet {
    /// For people. Parts without facts are left out.
    pub fn render(&self, palette: Palette) -> String {
        let mut out = format!("{}\n", palette.strong(text::clean(&self.title)));
        let parts = self.parts.iter().filter(|part| !part.facts.is_empty());
        for part in parts {
            if !part.head.is_empty() {
                let _ = writeln!(out, "\n{}", palette.strong(text::clean(&part.head)));
            }
            let names = part.facts.iter().map(|(name, _)| text::clean(name));
            let names: Vec<String> = names.collect();
            let width = names.iter().map(|name| text::columns(name)).max();
            let width = width.unwrap_or(0);
            for (name, (_, value)) in names.iter().zip(&part.facts) {
                let fill = " ".repeat(width - text::columns(name));
                for (n, line) in wrapped(&text::clean(value)).into_iter().enumerate() {
                    let line = if n == 0 {
                        format!("  {name}{fill}  {line}")
                    } else {
                        format!("  {}  {line}", " ".repeat(width))
                    };
                    let _ = writeln!(out, "{}", line.trim_end());
                }
            }
        }
        if !self.wrong.is_empty() {
            out.push('\n');
        }
        for wrong in &self.wrong {
            let _ = writeln!(out, "{} {}", palette.bad("✗"), text::clean(wrong));
        }
        out
    }
}

/// A list in lines that are not too long; whatever is no list stays one line.
fn wrapped(value: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut pieces = value.split(COMMA).peekable();
    while let Some(piece) = pieces.next() {
        let comma = if pieces.peek().is_some() { "," } else { "" };
        let line = lines.last_mut().expect("one at least");
        let space = usize::from(!line.is_empty());
        if !line.is_empty() && text::columns(line) + space + text::columns(piece) >= WIDTH {
            lines.push(format!("{piece}{comma}"));
        } else {
            line.push_str(&" "[..space]);
            line.push_str(piece);
            line.push_str(comma);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_ones_to_read() {
        let mut first = Part::new("");
        first.fact("size", "26.4 MB");
        first.fact("nothing", "");
        first.fact("sha256", "\x1b[2Jab12");
        let mut second = Part::new("holds");
        let names: Vec<String> = (0..16).map(|n| format!("module_{n}")).collect();
        second.fact("modules", names.join(", "));
        let sheet = Sheet {
            title: "python-3.11.2 for debian-12".to_owned(),
            parts: vec![first, second, Part::new("empty")],
            wrong: vec!["its SHA-256 is another".to_owned()],
        };
        insta::assert_snapshot!(sheet.render(Palette::default()), @r"
        python-3.11.2 for debian-12
          size    26.4 MB
          sha256  ab12

        holds
          modules  module_0, module_1, module_2, module_3, module_4, module_5, module_6, module_7,
                   module_8, module_9, module_10, module_11, module_12, module_13, module_14, module_15

        ✗ its SHA-256 is another
        ");
    }
}
