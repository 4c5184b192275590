//! HTML put together so that no text becomes markup.

use super::super::text::clean;
use crate::model::encode_path;

/// A document under way. What is not ours goes in by [`Html::text`] and [`Html::href`] alone.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, between tags or between the double quotes of an attribute: without what would steer
    /// a terminal, reorder what is read, or be markup.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in clean(text).chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        self
    }

    /// Where a key is, from here. It begins with neither a scheme nor a slash.
    pub(super) fn href(&mut self, key: &str) -> &mut Self {
        self.0.push_str(&encode_path(key.trim_start_matches('/')));
        self
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// What a name is sorted by so that `debian-9` comes before `debian-10`.
pub(super) fn natural(name: &str) -> Vec<(u64, String)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        // A word sorts before its number; one that is too large for a number sorts last.
        parts.push((0, word.to_owned()));
        if !number.is_empty() {
            parts.push((number.parse().unwrap_or(u64::MAX), String::new()));
        }
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_numbers_are_sorted_as_people_do() {
        let mut names = [
            "heroku-24",
            "debian-10",
            "debian-9",
            "debian",
            "heroku-20",
            "debian-9b",
        ];
        names.sort_by_cached_key(|name| natural(name));
        let sorted = [
            "debian",
            "debian-9",
            "debian-9b",
            "debian-10",
            "heroku-20",
            "heroku-24",
        ];
        assert_eq!(names, sorted);
    }

    #[test]
    fn text_is_never_markup() {
        let mut html = Html::default();
        html.text("<a href='x' title=\"&amp;\">\u{202e}\x1b[2J\0")
            .href("//javascript:x?<\"'>");
        assert_eq!(
            html.finish(),
            "&lt;a href=&#39;x&#39; title=&quot;&amp;amp;&quot;&gt;javascript%3Ax%3F%3C%22%27%3E"
        );
    }
}
