//! What can go wrong with one URL, and what a failed request of the HTTP library means.

use std::error::Error;
use std::io;
use std::time::Duration;

use crate::model::{Elapsed, Sha256};

/// Why one URL did not give what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It is no URL that can be fetched.
    #[error("is not a URL that can be fetched: {0}")]
    Url(String),
    /// An answer other than success.
    #[error("answered {code}{}", reason(*code))]
    Status {
        /// The HTTP status.
        code: u16,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The host's name cannot be resolved.
    #[error("the host's name cannot be resolved")]
    Name,
    /// Nobody answers there: refused, no route.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No connection came about in time.
    #[error("no connection within {}", Elapsed(*.0))]
    ConnectTimeout(Duration),
    /// The peer is not who it should be, or cannot be talked to safely.
    #[error("no secure connection: {0}")]
    Tls(String),
    /// It leads elsewhere, too often or to where it must not.
    #[error("redirected wrongly: {0}")]
    Redirect(String),
    /// Nothing came for too long.
    #[error("sent nothing for {}", Elapsed(*.0))]
    Idle(Duration),
    /// Too little came for too long.
    #[error("sent less than {bytes} bytes in {}", Elapsed(*window))]
    Slow {
        /// What would have been enough.
        bytes: u64,
        /// In which time.
        window: Duration,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// What the server says makes no sense.
    #[error("answered nonsense: {0}")]
    Protocol(&'static str),
    /// It ended before it was whole.
    #[error("ended after {received} of {expected} bytes")]
    Short {
        /// Bytes that came.
        received: u64,
        /// Bytes that should have come.
        expected: u64,
    },
    /// It is of another size, so it is something else.
    #[error("has {found} bytes where there should be {expected}")]
    Size {
        /// What the server announces.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// More came than there should be.
    #[error("has more than {0} bytes")]
    TooLong(u64),
    /// It is something else.
    #[error("has SHA-256 {0}")]
    Digest(Sha256),
    /// What an earlier download left and what came now do not fit together.
    #[error("what an earlier download left does not fit to it")]
    Unfit,
    /// It wants to be told who asks, and that could not be found out.
    #[error("wants an authorisation: {0}")]
    Unauthorized(String),
    /// A `file` URL's file cannot be read.
    #[error("cannot be read: {0}")]
    File(String),
}

fn reason(code: u16) -> String {
    reqwest::StatusCode::from_u16(code)
        .ok()
        .and_then(|status| status.canonical_reason())
        .map(|reason| format!(" {reason}"))
        .unwrap_or_default()
}

impl Trouble {
    /// What a failed request means. The library's own words hold the URL; that is left out.
    pub(crate) fn of(error: reqwest::Error, connect_timeout: Duration) -> Self {
        let error = error.without_url();
        let words = words(&error);
        if error.is_builder() {
            return Self::Url(words);
        }
        if error.is_redirect() {
            return Self::Redirect(words);
        }
        if !error.is_connect() {
            return Self::Broken(words);
        }
        if error.is_timeout() {
            return Self::ConnectTimeout(connect_timeout);
        }
        // The resolver's error has no type of its own that one could ask for.
        if words.contains("dns error") {
            return Self::Name;
        }
        match innermost_io(&error).map(io::Error::kind) {
            Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => Self::Tls(words),
            _ => Self::Connect(words),
        }
    }
}

/// An error and its causes as one line, without those that say nothing of their own.
fn words(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let mut words: Vec<String> = Vec::new();
    for cause in causes {
        let text = cause.to_string();
        let empty = text.starts_with("client error (");
        if !empty && words.last().is_none_or(|last| !last.contains(&text)) {
            words.push(text);
        }
    }
    if words.is_empty() {
        return error.to_string();
    }
    words.join(": ")
}

/// The I/O error that all others are wrapped around. The TLS layer wraps one in another, which
/// `source` does not show.
fn innermost_io<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e io::Error> {
    let causes = std::iter::successors(Some(error), |cause| (*cause).source());
    let mut found = causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .last()?;
    while let Some(inner) = found.get_ref().and_then(|inner| inner.downcast_ref()) {
        found = inner;
    }
    Some(found)
}
