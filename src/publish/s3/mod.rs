//! A bucket as a target.
//!
//! Credentials and signatures are `object_store`'s; the requests are made here, since it tells
//! neither one refusal from another nor heeds `Retry-After`, cannot list a bucket that holds a key
//! it does not like, and knows neither conditional completions nor uploads under way.

mod copy;
mod credentials;
mod multipart;
mod place;
mod put;
mod refusal;
mod request;
mod uploads;
mod xml;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;

pub(super) use self::copy::Original;
pub use self::credentials::Keeper;
use self::credentials::Source;
pub(super) use self::credentials::{Kept, is_own, tell};
use self::refusal::No;
use self::request::{Answer, Ask, Failure};
use super::content::{Conditional, Head};
use super::error::PublishError;
use super::settings::{Addressing, S3Settings};
use super::wire::{Meter, Wire};
use crate::model::Sha256;
use crate::net;
use crate::sys::interrupt::Interrupt;

/// A bucket, or what is below a prefix of it.
pub(super) struct S3 {
    wire: Wire,
    settings: S3Settings,
    bucket: String,
    prefix: String,
    shown: String,
    /// The bucket's URL, without a slash at its end.
    base: String,
    source: Source,
    /// Whether it heeds conditions, once that is known.
    conditional: OnceLock<Conditional>,
    /// Whether there is such a bucket, once that is known.
    seen: AtomicBool,
}

impl S3 {
    pub(super) fn new(
        bucket: &str,
        prefix: &str,
        settings: S3Settings,
        patience: &net::Settings,
        keeper: Option<Kept>,
    ) -> Self {
        let shown = format!("s3://{bucket}/{prefix}");
        let conditional = OnceLock::new();
        if settings.endpoint.is_none() {
            // AWS documents that it does, since November 2024.
            let _ = conditional.set(Conditional::Honoured);
        }
        Self {
            wire: Wire::new(patience, 0),
            base: base(bucket, &settings),
            source: Source::new(&settings, &shown, patience, keeper),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            shown,
            conditional,
            seen: AtomicBool::new(false),
            settings,
        }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Asks for what nobody needs the refusal of.
    fn ask(&self, ask: &Ask, interrupt: &Interrupt) -> Result<Answer, PublishError> {
        self.call(ask, &Meter::none(), interrupt)
            .map_err(|failure| self.error(ask, failure))
    }

    /// What the bucket says of an object, if there is one.
    fn known(&self, key: &str, interrupt: &Interrupt) -> Result<Option<Head>, PublishError> {
        let mut ask = Ask::new(Method::HEAD, Some(self.full(key)));
        if self.settings.checksums {
            ask = ask.header("x-amz-checksum-mode", "ENABLED");
        }
        let answer = match self.call(&ask, &Meter::none(), interrupt) {
            Ok(answer) => answer,
            Err(Failure::Refusal(refusal)) => {
                let refusal = if refusal.no() == No::Absent && self.seen.load(Ordering::Relaxed) {
                    refusal
                } else {
                    self.spelt_out(&ask, interrupt)?.unwrap_or(refusal)
                };
                if refusal.no() == No::Absent {
                    self.seen.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                return Err(self.error(&ask, Failure::Refusal(refusal)));
            }
            Err(failure) => return Err(self.error(&ask, failure)),
        };
        self.seen.store(true, Ordering::Relaxed);
        let size = answer
            .header("content-length")
            .and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| PublishError::Protocol {
            what: self.what(&ask),
            why: "it does not say how large it is".to_owned(),
        })?;
        let checksum = answer.header("x-amz-checksum-sha256");
        let (sha256, parts) = match checksum.map(|text| text.split_once('-').ok_or(text)) {
            None => (None, None),
            Some(Err(whole)) => (from_base64(whole), None),
            Some(Ok((parts, count))) => (None, from_base64(parts).zip(count.parse().ok())),
        };
        let etag = answer.header("etag").filter(|tag| !tag.starts_with("W/"));
        Ok(Some(Head {
            size,
            sha256,
            parts,
            etag: etag.map(str::to_owned),
        }))
    }

    /// The refusal of a HEAD comes without the words; those of a GET have them.
    fn spelt_out(
        &self,
        head: &Ask,
        interrupt: &Interrupt,
    ) -> Result<Option<refusal::Refusal>, PublishError> {
        let get = Ask::new(Method::GET, head.key.clone()).header("range", "bytes=0-0");
        match self.open(&get, interrupt) {
            Err(Failure::Refusal(refusal)) => Ok(Some(refusal)),
            Err(Failure::Error(error)) => Err(error),
            Ok(_) => Ok(None),
        }
    }

    /// Whether a condition is worth sending.
    fn may_condition(&self) -> bool {
        self.conditional.get() != Some(&Conditional::Ignored)
    }
}

/// Where a bucket is.
fn base(bucket: &str, settings: &S3Settings) -> String {
    let region = &settings.region;
    let (scheme, host, path) = if let Some(endpoint) = &settings.endpoint {
        let host = endpoint.host_str().unwrap_or_default();
        let port = endpoint.port().map(|port| format!(":{port}"));
        let host = format!("{host}{}", port.unwrap_or_default());
        (endpoint.scheme(), host, endpoint.path())
    } else {
        let china = if region.starts_with("cn-") { ".cn" } else { "" };
        ("https", format!("s3.{region}.amazonaws.com{china}"), "")
    };
    let path = path.trim_end_matches('/');
    // A name with dots does not match the certificate, one with capitals is no host's.
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let in_host = match settings.addressing {
        Addressing::Path => false,
        Addressing::Virtual => true,
        Addressing::Auto => settings.endpoint.is_none() && bucket.chars().all(fits),
    };
    if in_host {
        format!("{scheme}://{bucket}.{host}{path}")
    } else {
        format!("{scheme}://{host}{path}/{bucket}")
    }
}

fn to_base64(digest: &Sha256) -> String {
    BASE64_STANDARD.encode(digest.as_bytes())
}

fn from_base64(text: &str) -> Option<Sha256> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Some(Sha256::from_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_addressed_as_their_stores_want_it() {
        let endpoint = "http://127.0.0.1:9000/s3/";
        let table = [
            (
                None,
                Addressing::Auto,
                "eu-west-1",
                "my-bucket",
                "https://my-bucket.s3.eu-west-1.amazonaws.com",
            ),
            (
                None,
                Addressing::Auto,
                "eu-west-1",
                "my.bucket",
                "https://s3.eu-west-1.amazonaws.com/my.bucket",
            ),
            (
                None,
                Addressing::Auto,
                "us-east-1",
                "My_Bucket",
                "https://s3.us-east-1.amazonaws.com/My_Bucket",
            ),
            (
                None,
                Addressing::Path,
                "cn-north-1",
                "abc",
                "https://s3.cn-north-1.amazonaws.com.cn/abc",
            ),
            (
                Some(endpoint),
                Addressing::Auto,
                "x",
                "abc",
                "http://127.0.0.1:9000/s3/abc",
            ),
            (
                Some("https://example.org"),
                Addressing::Virtual,
                "x",
                "abc",
                "https://abc.example.org",
            ),
            (
                Some("https://[::1]:8443"),
                Addressing::Path,
                "x",
                "abc",
                "https://[::1]:8443/abc",
            ),
        ];
        for (endpoint, addressing, region, bucket, url) in table {
            let settings = S3Settings {
                region: region.to_owned(),
                endpoint: endpoint.map(|url| url.parse().expect("a URL")),
                addressing,
                ..S3Settings::default()
            };
            assert_eq!(base(bucket, &settings), url);
        }
    }

    #[test]
    fn digests_are_told_in_base_64() {
        let digest = Sha256::of(b"abc");
        let text = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        assert_eq!(to_base64(&digest), text);
        assert_eq!(from_base64(text), Some(digest));
        for wrong in ["", "abc", "YWJj"] {
            assert_eq!(from_base64(wrong), None);
        }
    }
}
