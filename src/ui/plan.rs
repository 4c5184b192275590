//! What `--dry-run` prints: plans as headed, indented lists.

use std::fmt::Display;

use super::style::Palette;
use super::text;

/// A part of a plan under its heading.
#[derive(Debug, Clone)]
pub struct Section {
    heading: String,
    items: Vec<String>,
}

impl Section {
    /// A heading and what is done under it, one item each; an item of several lines stays
    /// together.
    pub fn new<T: Display>(heading: impl Into<String>, items: impl IntoIterator<Item = T>) -> Self {
        Self {
            heading: heading.into(),
            items: items.into_iter().map(|item| item.to_string()).collect(),
        }
    }

    /// The sections, one after the other, a blank line between them.
    pub fn render(sections: &[Self], palette: Palette) -> String {
        let sections: Vec<String> = sections
            .iter()
            .map(|section| {
                let mut out = format!("{}\n", palette.strong(text::clean(&section.heading)));
                for line in section.items.iter().flat_map(|item| indented(item)) {
                    out.push_str(&line);
                    out.push('\n');
                }
                out
            })
            .collect();
        sections.join("\n")
    }
}

/// An item's lines, the second and later ones further in.
fn indented(item: &str) -> impl Iterator<Item = String> {
    item.lines().enumerate().map(|(n, line)| {
        let margin = if n == 0 { "  " } else { "    " };
        let (inner, text) = line.split_at(line.len() - line.trim_start_matches(' ').len());
        format!("{margin}{inner}{}", text::redact(&text::clean(text)))
            .trim_end()
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_read_from_top_to_bottom() {
        let sections = [
            Section::new("sources", ["https://u:p@example.org/python.tgz"]),
            Section::new(
                "sandbox",
                ["mount overlay on /\n  lower a\n\n  lower b", "pivot_root"],
            ),
            Section::new("nothing", [""; 0]),
        ];
        insta::assert_snapshot!(Section::render(&sections, Palette::default()), @r"
        sources
          https://***@example.org/python.tgz

        sandbox
          mount overlay on /
              lower a

              lower b
          pivot_root

        nothing
        ");
    }
}
