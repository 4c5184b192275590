//! A source's URLs: patterns that take the version and the words of a version's own line.

use toml::Spanned;

use crate::model::Version;

use super::placeholder::{Piece, scan};
use super::sheet::{Text, Wrong};

/// What every pattern may take.
const OF_THE_VERSION: [&str; 3] = ["version", "version.1", "version.2"];

/// The words that these patterns take from a version's line, besides the version.
pub(super) fn words(urls: &[Text]) -> Vec<String> {
    let mut words = Vec::new();
    for piece in urls
        .iter()
        .filter_map(|url| scan(url.get_ref()).ok())
        .flatten()
    {
        if let Piece::Hole((word, _)) = piece
            && !OF_THE_VERSION.contains(&word.as_str())
            && !words.contains(&word)
        {
            words.push(word);
        }
    }
    words
}

/// Fills a pattern; `Err` names a word that the version's line does not say.
pub(super) fn fill(
    pattern: &str,
    version: &Version,
    words: &[(String, Spanned<String>)],
) -> Result<String, String> {
    let mut url = String::new();
    for piece in scan(pattern).unwrap_or_default() {
        match piece {
            Piece::Text(text) => url.push_str(&text),
            Piece::Hole((word, _)) => match word.as_str() {
                "version" => url.push_str(version.as_str()),
                "version.1" => url.push_str(&version.prefix(1)),
                "version.2" => url.push_str(&version.prefix(2)),
                _ => {
                    let value = words.iter().find(|(name, _)| *name == word);
                    url.push_str(value.ok_or(word)?.1.get_ref());
                }
            },
        }
    }
    Ok(url)
}

/// What is wrong with a pattern, if anything.
pub(super) fn check(pattern: &str) -> Result<(), Wrong> {
    for piece in scan(pattern)? {
        if let Piece::Hole((word, at)) = piece
            && (word.is_empty() || ["sha256", "pool"].contains(&word.as_str()))
        {
            return Err(Wrong {
                at,
                label: "not a word of a URL",
                message: format!("a URL cannot take `{{{word}}}`"),
                help: None,
            });
        }
    }
    let scheme = ["https://", "http://", "file:///"];
    if scheme.iter().any(|scheme| pattern.starts_with(scheme)) {
        return Ok(());
    }
    Err(Wrong {
        at: 0..pattern.len(),
        label: "not a URL",
        message: format!("`{pattern}` is not a URL that pybuild can fetch"),
        help: Some("it begins with https://, http:// or file:///".to_owned()),
    })
}

/// The last component of a URL or a pool path: the name of the file.
pub(super) fn file_name(path: &str) -> Option<&str> {
    let path = path.split(['?', '#']).next()?;
    path.rsplit('/')
        .next()
        .filter(|name| !matches!(*name, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_the_version_and_the_lines_words() {
        let pattern = "https://example.org/{year}/{version.2}/x-{code}.tar.gz";
        let text = |text: &str| Spanned::new(0..0, text.to_owned());
        assert_eq!(words(&[text(pattern), text(pattern)]), ["year", "code"]);
        let version = "3.46.1".parse().expect("a version");
        let mut given = vec![("year".to_owned(), text("2024"))];
        assert_eq!(fill(pattern, &version, &given), Err("code".to_owned()));
        given.push(("code".to_owned(), text("3460100")));
        assert_eq!(
            fill(pattern, &version, &given).as_deref(),
            Ok("https://example.org/2024/3.46/x-3460100.tar.gz")
        );
    }

    #[test]
    fn what_cannot_be_fetched_is_refused() {
        for pattern in [
            "ftp://x/y",
            "/a",
            "",
            "https://x/{",
            "https://x/{sha256}",
            "file://x",
        ] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
        for pattern in ["https://x/{a}", "http://x", "file:///a/b.tgz"] {
            assert!(check(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn files_are_named_after_the_last_component() {
        let table = [
            ("https://example.org/a/b.tgz", Some("b.tgz")),
            ("https://example.org/a/b.tgz?x=/y", Some("b.tgz")),
            ("pool/main/b.tar.xz", Some("b.tar.xz")),
            ("https://example.org/a/", None),
            ("a/..", None),
        ];
        for (path, name) in table {
            assert_eq!(file_name(path), name, "{path}");
        }
    }
}
