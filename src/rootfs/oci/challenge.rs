//! What a registry wants to be told (`WWW-Authenticate`, RFC 9110 11.6.1), and what a token server
//! gives (the distribution project's token specification). Pure.

use serde::Deserialize;

use super::document::{DocumentError, json};
use crate::model::Secret;

/// How a registry wants its users to say who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// By a token that somebody else gives.
    Bearer {
        /// The token server's URL.
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
    /// By name and password.
    Basic,
}

/// The first challenge of the headers that can be answered, a token's before a password's.
pub(super) fn parse(headers: &[String]) -> Option<Challenge> {
    let mut basic = false;
    for header in headers {
        for (scheme, parameters) in challenges(header) {
            let get = |wanted: &str| {
                let found = parameters.iter().find(|(name, _)| name == wanted);
                found.map(|(_, value)| value.clone())
            };
            match (scheme.as_str(), get("realm")) {
                ("bearer", Some(realm)) => {
                    return Some(Challenge::Bearer {
                        realm,
                        service: get("service"),
                        scope: get("scope"),
                    });
                }
                ("basic", _) => basic = true,
                _ => {}
            }
        }
    }
    basic.then_some(Challenge::Basic)
}

/// The schemes of one header, in lower case, each with its parameters. What is no challenge is
/// passed over.
fn challenges(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return found;
        }
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            // No grammar goes on like this: what follows cannot be told apart.
            return found;
        }
        let word = word.to_ascii_lowercase();
        match after.trim_start().strip_prefix('=') {
            Some(value) if !found.is_empty() => {
                let Some((value, after)) = parse_value(value.trim_start()) else {
                    return found;
                };
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.push((word, value));
                }
                rest = after;
            }
            Some(_) => return found,
            None => {
                found.push((word, Vec::new()));
                rest = after;
            }
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c)
}

/// A quoted string or a token, and what follows it.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !is_token(c)).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// What to ask a token server for: to pull from this repository and nothing else, whatever the
/// registry says. Of its own scopes only words that name nothing (`aws`) are passed on.
pub(super) fn scopes(repository: &str, asked: Option<&str>) -> Vec<String> {
    let asked = asked.unwrap_or_default().split_ascii_whitespace();
    let words = asked.filter(|scope| !scope.contains(':')).take(4);
    std::iter::once(format!("repository:{repository}:pull"))
        .chain(words.map(str::to_owned))
        .collect()
}

/// Reads the token out of a token server's answer.
pub(super) fn token(bytes: &[u8]) -> Result<Secret, DocumentError> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let Answer {
        token,
        access_token,
    } = json(bytes, "a token server's answer")?;
    let some = |text: &String| !text.is_empty();
    let token = token.filter(some).or(access_token.filter(some));
    let token = token.ok_or(DocumentError::Refused("it holds no token"))?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(DocumentError::Refused("its token cannot be sent"));
    }
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps)] // as `parse` gives it
    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_are_read_as_they_are_seen() {
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:library/debian:pull\"";
        let table = [
            (
                hub,
                bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/debian:pull"),
                ),
            ),
            ("bearer REALM=\"a\"", bearer("a", None, None)),
            ("Bearer realm = a , service=b", bearer("a", Some("b"), None)),
            (
                "Bearer realm=https://a.example/token",
                bearer("https://a.example/token", None, None),
            ),
            (
                "Basic realm=\"x\", Bearer realm=\"a\"",
                bearer("a", None, None),
            ),
            ("Bearer realm=\"a\\\"b\"", bearer("a\"b", None, None)),
            ("Basic realm=\"Registry, of ours\"", Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            ("Negotiate, Basic realm=x", Some(Challenge::Basic)),
            ("Bearer", None),
            ("Bearer realm=\"a", None),
            ("Digest realm=a", None),
            ("=", None),
            ("\"", None),
            ("realm=a", None),
            ("", None),
        ];
        for (header, challenge) in table {
            assert_eq!(parse(&[header.to_owned()]), challenge, "{header}");
        }
        let two = ["Basic realm=x".to_owned(), "Bearer realm=a".to_owned()];
        assert_eq!(parse(&two), bearer("a", None, None));
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn no_more_is_asked_for_than_is_needed() {
        let table = [
            (None, vec![]),
            (Some("repository:other/thing:pull,push,delete"), vec![]),
            (Some("registry:catalog:*"), vec![]),
            (Some("aws"), vec!["aws"]),
        ];
        for (asked, more) in table {
            let mut expected = vec!["repository:a/b:pull"];
            expected.extend(more);
            assert_eq!(scopes("a/b", asked), expected);
        }
    }

    #[test]
    fn tokens_are_read_and_nothing_of_them_shown() {
        for text in [
            r#"{"token":"t"}"#,
            r#"{"access_token":"t","expires_in":60}"#,
            r#"{"token":"","access_token":"t"}"#,
        ] {
            assert_eq!(token(text.as_bytes()), Ok(Secret::new("t")));
        }
        for text in [
            "",
            "{}",
            r#"{"token":1}"#,
            r#"{"token":"a canary\n"}"#,
            r#"{"token":["canary"]}"#,
        ] {
            let error = token(text.as_bytes()).expect_err("no token");
            assert!(!error.to_string().contains("canary"));
        }
    }
}
