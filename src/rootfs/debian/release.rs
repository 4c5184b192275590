//! A suite's `Release` file, once its signature is known to be good: which indexes the suite has,
//! by digest, and how long it may be believed.

use std::collections::HashMap;

use jiff::Timestamp;

use super::deb822;
use crate::model::Sha256;

/// How far ahead of this host's clock a mirror's may be.
const SKEW_SECONDS: i64 = 24 * 60 * 60;

/// What a `Release` file says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `Suite`: `oldstable`.
    pub suite: String,
    /// `Codename`: `bookworm`.
    pub codename: String,
    /// When it was made.
    pub date: Timestamp,
    /// Until when it may be believed, where it says so.
    pub valid_until: Option<Timestamp>,
    /// Whether files can be fetched by their digest, so that a mirror that is just being updated
    /// does no harm.
    pub by_hash: bool,
    files: HashMap<String, (Sha256, u64)>,
}

/// Why a `Release` file is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// Something that belongs in it is not there.
    #[error("its Release file has no usable {0}")]
    Missing(&'static str),
    /// It is another suite's.
    #[error("its Release file is that of the suite `{suite}` (`{codename}`)")]
    OtherSuite {
        /// The `Suite` it says.
        suite: String,
        /// The `Codename` it says.
        codename: String,
    },
    /// It may no longer be believed.
    #[error(
        "its Release file was valid until {valid_until}, and now is {now}: the mirror is out of date, or this host's clock is wrong"
    )]
    Expired {
        /// Until when it was valid.
        valid_until: Timestamp,
        /// This host's time.
        now: Timestamp,
    },
    /// It is of the future.
    #[error(
        "its Release file is of {date}, and now is {now}: this host's clock is wrong, or the mirror's was"
    )]
    Future {
        /// When it was made.
        date: Timestamp,
        /// This host's time.
        now: Timestamp,
    },
    /// It does not list a file that is needed.
    #[error("its Release file lists no {0}")]
    NoFile(String),
}

impl Release {
    /// Reads the text of a `Release` file.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let stanza = deb822::stanzas(text).next();
        let stanza = stanza.ok_or(ReleaseError::Missing("content"))?;
        let field = |name| stanza.get(name).ok_or(ReleaseError::Missing(name));
        let date = |name, value: &str| date(value).ok_or(ReleaseError::Missing(name));
        Ok(Self {
            suite: field("Suite")?.to_owned(),
            codename: field("Codename")?.to_owned(),
            date: date("Date", field("Date")?)?,
            valid_until: stanza
                .get("Valid-Until")
                .map(|value| date("Valid-Until", value))
                .transpose()?,
            by_hash: stanza.get("Acquire-By-Hash") == Some("yes"),
            files: deb822::lines(field("SHA256")?)
                .map(|line| file(line).ok_or(ReleaseError::Missing("SHA256")))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether it is that of `suite`, and may be believed at `now`. A mirror, or whoever sits
    /// between, must not answer with another suite's file, nor with one from long ago.
    pub fn check(&self, suite: &str, now: Timestamp) -> Result<(), ReleaseError> {
        if self.suite != suite && self.codename != suite {
            return Err(ReleaseError::OtherSuite {
                suite: self.suite.clone(),
                codename: self.codename.clone(),
            });
        }
        if let Some(valid_until) = self.valid_until.filter(|until| *until < now) {
            return Err(ReleaseError::Expired { valid_until, now });
        }
        if self.date.as_second() > now.as_second() + SKEW_SECONDS {
            let date = self.date;
            return Err(ReleaseError::Future { date, now });
        }
        Ok(())
    }

    /// The digest and size in bytes of a file, by its path below the suite's directory.
    pub fn file(&self, path: &str) -> Result<(Sha256, u64), ReleaseError> {
        let found = self.files.get(path).copied();
        found.ok_or_else(|| ReleaseError::NoFile(path.to_owned()))
    }
}

fn file(line: &str) -> Option<(String, (Sha256, u64))> {
    let mut words = line.split_ascii_whitespace();
    let (digest, size, path) = (words.next()?, words.next()?, words.next()?);
    Some((path.to_owned(), (digest.parse().ok()?, size.parse().ok()?)))
}

/// RFC 2822, with the zone that RFC 822 did not know: `Sat, 11 Jul 2026 10:16:37 UTC`.
fn date(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix("UTC").unwrap_or(text).trim_end();
    let text = text.strip_suffix("GMT").unwrap_or(text).trim_end();
    let with_zone = if text.ends_with(|c: char| c.is_ascii_digit()) && !text.contains(" +") {
        format!("{text} +0000")
    } else {
        text.to_owned()
    };
    jiff::fmt::rfc2822::parse(&with_zone)
        .ok()
        .map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Origin: Debian\nSuite: stable\nCodename: trixie\n\
        Date: Sat, 12 Sep 2026 07:55:41 UTC\nValid-Until: Sat, 19 Sep 2026 07:55:41 UTC\n\
        Acquire-By-Hash: yes\nSHA256:\n \
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855        0 main/x\n";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    #[test]
    fn a_release_is_read() {
        let release = Release::parse(TEXT).expect("a release");
        assert_eq!(release.date, at("2026-09-12T07:55:41Z"));
        assert!(release.by_hash);
        assert_eq!(release.file("main/x").expect("listed").1, 0);
        assert_eq!(
            release.file("main/y").expect_err("not listed").to_string(),
            "its Release file lists no main/y"
        );
    }

    #[test]
    fn only_the_right_suite_at_the_right_time_is_believed() {
        let release = Release::parse(TEXT).expect("a release");
        let table = [
            ("trixie", "2026-09-13T00:00:00Z", None),
            ("stable", "2026-09-13T00:00:00Z", None),
            // A mirror's clock may be a few hours ahead.
            ("trixie", "2026-09-12T00:00:00Z", None),
            (
                "bookworm",
                "2026-09-13T00:00:00Z",
                Some("its Release file is that of the suite `stable` (`trixie`)"),
            ),
            (
                "trixie",
                "2026-09-20T00:00:00Z",
                Some(
                    "its Release file was valid until 2026-09-19T07:55:41Z, and now is \
                     2026-09-20T00:00:00Z: the mirror is out of date, or this host's clock is wrong",
                ),
            ),
            (
                "trixie",
                "2024-01-01T00:00:00Z",
                Some(
                    "its Release file is of 2026-09-12T07:55:41Z, and now is \
                     2024-01-01T00:00:00Z: this host's clock is wrong, or the mirror's was",
                ),
            ),
        ];
        for (suite, now, said) in table {
            let checked = release.check(suite, at(now)).map_err(|e| e.to_string());
            assert_eq!(checked.err().as_deref(), said);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (from, to, field) in [
            ("Suite: stable\n", "", "Suite"),
            ("Date: Sat, ", "Date: Some, ", "Date"),
            ("Valid-Until: Sat", "Valid-Until: x", "Valid-Until"),
            ("        0 main/x", "", "SHA256"),
        ] {
            let error = Release::parse(&TEXT.replace(from, to)).expect_err(field);
            assert_eq!(error, ReleaseError::Missing(field));
        }
        assert_eq!(Release::parse(""), Err(ReleaseError::Missing("content")));
    }
}
