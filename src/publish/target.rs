//! Where artifacts are published, as one names it: `s3://bucket/prefix`, a directory, a URL. Pure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;

/// A place that artifacts are published to or read from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A bucket of S3 or of a store that speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// What all keys begin with: empty, or ending with `/`.
        prefix: String,
    },
    /// A directory of this host.
    Directory(PathBuf),
    /// A place on the web, only to read. The URL ends with `/`.
    Web(String),
}

/// Why a text names no target. The text itself is left out where it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// There is nothing.
    #[error("the target is empty")]
    Empty,
    /// The bucket has no such name.
    #[error(
        "`{bucket}` is not the name of a bucket: names take 3 to 63 letters, digits, `-`, `_` and `.`"
    )]
    Bucket {
        /// What was given.
        bucket: String,
    },
    /// The prefix cannot be one.
    #[error("`{prefix}` cannot be a prefix of keys: {why}")]
    Prefix {
        /// What was given.
        prefix: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The URL cannot be a target.
    #[error("the target is a URL that cannot be used: {why}")]
    Url {
        /// What is wrong with it.
        why: String,
    },
    /// Nothing is known of such targets.
    #[error(
        "targets cannot begin with `{scheme}://`: `s3://`, `https://`, `http://`, `file://` or a directory can be given"
    )]
    Scheme {
        /// What it begins with.
        scheme: String,
    },
}

impl Target {
    /// A bucket and a prefix as they are given apart, in `S3_BUCKET` and `S3_PREFIX`.
    pub fn s3(bucket: &str, prefix: &str) -> Result<Self, TargetError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let dots = bucket.starts_with('.') || bucket.ends_with('.') || bucket.contains("..");
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(fits) || dots {
            let bucket = bucket.to_owned();
            return Err(TargetError::Bucket { bucket });
        }
        let bucket = bucket.to_owned();
        let trimmed = prefix.trim_matches('/');
        if trimmed.is_empty() {
            let prefix = String::new();
            return Ok(Self::S3 { bucket, prefix });
        }
        check_key(trimmed).map_err(|why| TargetError::Prefix {
            prefix: prefix.to_owned(),
            why,
        })?;
        let prefix = format!("{trimmed}/");
        Ok(Self::S3 { bucket, prefix })
    }

    fn web(text: &str) -> Result<Self, TargetError> {
        let wrong = |why: &str| TargetError::Url {
            why: why.to_owned(),
        };
        let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it holds a user or a password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it has a query or a fragment"));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self::Web(url.into()))
    }
}

/// Whether a text can be a key below a target: it must mean the same in a bucket, in a directory
/// and in a URL.
pub(super) fn check_key(key: &str) -> Result<(), &'static str> {
    if key.is_empty() || key.len() > 1024 {
        return Err("it must have 1 to 1024 bytes");
    }
    if key.chars().any(char::is_control) {
        return Err("it holds a control character");
    }
    match key.split('/').find(|part| matches!(*part, "" | "." | "..")) {
        Some("") => Err("a part between slashes is empty"),
        Some(_) => Err("a part of it is `.` or `..`"),
        None => Ok(()),
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Directory(PathBuf::from(text)));
        };
        match scheme {
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                Self::s3(bucket, prefix)
            }
            "http" | "https" => Self::web(text),
            "file" => {
                let wrong = |why: String| TargetError::Url { why };
                let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
                let path = url
                    .to_file_path()
                    .map_err(|()| wrong("it names no directory of this host".to_owned()))?;
                Ok(Self::Directory(path))
            }
            _ if scheme.contains('/') => Ok(Self::Directory(PathBuf::from(text))),
            scheme => Err(TargetError::Scheme {
                scheme: scheme.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Web(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(bucket: &str, prefix: &str) -> Target {
        Target::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    #[test]
    fn targets_are_read() {
        let directory = |path: &str| Target::Directory(PathBuf::from(path));
        let web = |url: &str| Target::Web(url.to_owned());
        let table = [
            ("s3://lang-python", s3("lang-python", "")),
            ("s3://lang-python/", s3("lang-python", "")),
            ("s3://lang-python/a", s3("lang-python", "a/")),
            ("s3://lang-python/a/b/", s3("lang-python", "a/b/")),
            ("s3://lang-python//a//", s3("lang-python", "a/")),
            ("s3://a.b_C", s3("a.b_C", "")),
            ("dist", directory("dist")),
            ("./a b", directory("./a b")),
            ("/a://b", directory("/a://b")),
            ("file:///srv/a%20b", directory("/srv/a b")),
            ("https://example.org", web("https://example.org/")),
            ("https://example.org/a", web("https://example.org/a/")),
            (
                "http://example.org:8080/a/",
                web("http://example.org:8080/a/"),
            ),
        ];
        for (text, target) in table {
            let parsed = text.parse::<Target>();
            assert_eq!(parsed, Ok(target), "{text}");
            let shown = parsed.expect("just compared").to_string();
            let again = shown.parse::<Target>().expect("what is shown can be given");
            assert_eq!(again.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_target_is_refused_without_its_password() {
        for text in [
            "",
            "s3://",
            "s3://ab",
            "s3://a b c",
            "s3://abc/../x",
            "s3://abc/a//b",
            "s3://abc/a\nb",
            "s3://user:canary@abc/x",
            "https://user:canary@example.org/",
            "https://example.org/?token=canary",
            "https://",
            "file://elsewhere/a",
            "ftp://example.org/",
        ] {
            let error = text.parse::<Target>().expect_err(text);
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains("canary") || text.starts_with("s3"),
                "{shown}"
            );
        }
    }

    #[test]
    fn keys_mean_the_same_everywhere() {
        for key in [
            "a",
            "debian-12/runtimes/python-3.11.2.tar.gz",
            "a b/ü",
            "..a",
        ] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
        let long = "x".repeat(1025);
        for key in ["", "/a", "a/", "a//b", "a/../b", "..", "./a", "a\0", &long] {
            assert!(check_key(key).is_err(), "{key}");
        }
    }
}
