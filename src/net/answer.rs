//! What an HTTP answer means for a transfer: the whole, the rest, or neither. Pure.

use std::time::SystemTime;

use reqwest::StatusCode;
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, RETRY_AFTER,
};

use super::Trouble;
use super::retry::retry_after;

/// What to do with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its body is everything.
    Whole {
        /// How much that is, if the server says.
        length: Option<u64>,
        /// Names this very version to the server, for a later `If-Range`.
        validator: Option<String>,
    },
    /// Its body is what was still missing.
    Rest,
    /// What is there is of no use: ask again, for everything.
    Again,
    /// It is of no use.
    Trouble(Trouble),
}

/// Judges an answer to a request for everything, or for what follows the first `had` bytes.
pub(super) fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    had: Option<u64>,
    expected: Option<u64>,
) -> Answer {
    match (status, had) {
        (StatusCode::OK, _) => {
            let length = number(headers, &CONTENT_LENGTH);
            match (length, expected) {
                (Some(found), Some(expected)) if found != expected => {
                    Answer::Trouble(Trouble::Size { found, expected })
                }
                _ => Answer::Whole {
                    length,
                    validator: validator(headers),
                },
            }
        }
        // Servers have been seen to send another range than the one asked for.
        (StatusCode::PARTIAL_CONTENT, Some(had)) => {
            let range = text(headers, &CONTENT_RANGE).and_then(content_range);
            match range {
                Some((first, last, total))
                    if first == had
                        && total.is_none_or(|total| last + 1 == total)
                        && expected.is_none_or(|expected| last + 1 == expected) =>
                {
                    Answer::Rest
                }
                _ => Answer::Again,
            }
        }
        (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => Answer::Again,
        (StatusCode::PARTIAL_CONTENT, None) => {
            Answer::Trouble(Trouble::Protocol("a part where the whole was asked for"))
        }
        // The library follows those that it may.
        _ if status.is_redirection() => Answer::Trouble(Trouble::Redirect(format!(
            "{status}, to nowhere on the web"
        ))),
        _ if status.is_success() => Answer::Trouble(Trouble::Protocol("a success without content")),
        _ => Answer::Trouble(Trouble::Status {
            code: status.as_u16(),
            retry_after: text(headers, &RETRY_AFTER)
                .and_then(|value| retry_after(value, SystemTime::now())),
        }),
    }
}

/// A strong entity tag, else the date of the last change (RFC 9110, 13.1.5: a weak tag does not
/// do for `If-Range`, since it may stay while bytes change).
fn validator(headers: &HeaderMap) -> Option<String> {
    let tag = text(headers, &ETAG).filter(|tag| tag.starts_with('"'));
    tag.or_else(|| text(headers, &LAST_MODIFIED))
        .map(str::to_owned)
}

/// `bytes FIRST-LAST/TOTAL`, TOTAL being `*` where it is not known.
fn content_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last).then_some((first, last, total))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let parse = |(name, value): &(&str, &str)| {
            let name = name.parse::<HeaderName>().expect("a name");
            (name, value.parse().expect("a value"))
        };
        pairs.iter().map(parse).collect()
    }

    #[test]
    fn only_the_right_rest_is_taken() {
        let range = |value: &str| {
            let headers = headers(&[("content-range", value)]);
            judge(StatusCode::PARTIAL_CONTENT, &headers, Some(10), Some(100))
        };
        for value in ["bytes 10-99/100", "bytes 10-99/*"] {
            assert_eq!(range(value), Answer::Rest, "{value}");
        }
        for value in [
            "bytes 0-99/100",
            "bytes 11-99/100",
            "bytes 10-98/100",
            "bytes 10-98/99",
            "bytes 10-199/200",
            "bytes 99-10/100",
            "10-99/100",
            "bytes */100",
            "",
        ] {
            assert_eq!(range(value), Answer::Again, "{value}");
        }
        let none = HeaderMap::new();
        let answer = judge(StatusCode::PARTIAL_CONTENT, &none, Some(10), None);
        assert_eq!(answer, Answer::Again);
        let answer = judge(StatusCode::RANGE_NOT_SATISFIABLE, &none, Some(10), None);
        assert_eq!(answer, Answer::Again);
        assert!(matches!(
            judge(StatusCode::PARTIAL_CONTENT, &none, None, None),
            Answer::Trouble(Trouble::Protocol(_))
        ));
    }

    #[test]
    fn only_what_names_a_version_for_sure_is_a_validator() {
        let date = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        let table = [
            (vec![("etag", "\"a\""), date], Some("\"a\"")),
            (vec![("etag", "W/\"a\""), date], Some(date.1)),
            (vec![("etag", "W/\"a\"")], None),
            (vec![], None),
        ];
        for (pairs, validator) in table {
            let answer = judge(StatusCode::OK, &headers(&pairs), Some(10), Some(100));
            let expected = Answer::Whole {
                length: None,
                validator: validator.map(str::to_owned),
            };
            assert_eq!(answer, expected);
        }
    }

    #[test]
    fn another_size_is_something_else() {
        let headers = headers(&[("content-length", "99")]);
        let answer = |expected| judge(StatusCode::OK, &headers, None, expected);
        assert!(matches!(answer(Some(99)), Answer::Whole { .. }));
        assert!(matches!(answer(None), Answer::Whole { .. }));
        let trouble = Trouble::Size {
            found: 99,
            expected: 100,
        };
        assert_eq!(answer(Some(100)), Answer::Trouble(trouble));
    }

    #[test]
    fn failures_carry_what_the_server_asks() {
        let headers = headers(&[("retry-after", "7")]);
        let answer = judge(StatusCode::SERVICE_UNAVAILABLE, &headers, None, None);
        let trouble = Trouble::Status {
            code: 503,
            retry_after: Some(std::time::Duration::from_secs(7)),
        };
        assert_eq!(answer, Answer::Trouble(trouble));
        assert!(matches!(
            judge(StatusCode::NO_CONTENT, &headers, None, None),
            Answer::Trouble(Trouble::Protocol(_))
        ));
    }
}
