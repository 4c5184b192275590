//! URLs as they may be shown: without credentials.

/// A URL for messages: user, password, query (signatures live there) and fragment left out. Takes
/// texts that are no URLs, too: those may hold a password just as well.
pub(crate) fn redact(url: &str) -> String {
    let (scheme, rest) = url
        .split_once("://")
        .map_or(("", url), |(scheme, rest)| (&url[..scheme.len() + 3], rest));
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (place, query) = rest.split_at(end);
    let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let query = if query.starts_with('?') { "?…" } else { "" };
    format!("{scheme}{host}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        let table = [
            ("https://example.org/a/b.tgz", "https://example.org/a/b.tgz"),
            (
                "https://u:p@example.org:8443/a",
                "https://example.org:8443/a",
            ),
            ("http://u:p@w@example.org", "http://example.org"),
            (
                "https://example.org/k?X-Amz-Signature=secret#also",
                "https://example.org/k?…",
            ),
            ("https://example.org?token=secret", "https://example.org?…"),
            ("https://example.org/a#secret", "https://example.org/a"),
            (
                "https://example.org/@scope/a",
                "https://example.org/@scope/a",
            ),
            ("u:p@example.org/a?b", "example.org/a?…"),
            ("file:///srv/a", "file:///srv/a"),
            ("", ""),
        ];
        for (url, shown) in table {
            assert_eq!(redact(url), shown);
        }
    }
}
