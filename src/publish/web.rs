//! A place on the web as a target: only to be read, without credentials.

use std::io::Read;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, IF_RANGE, RANGE, RETRY_AFTER};
use reqwest::{Method, Request, Response, Url};

use super::content::{Conditional, Content, Head, Mode, Object, Put, StaleUpload};
use super::error::PublishError;
use super::remote::Place;
use super::stream::{Stream, length};
use super::wire::{Fault, Meter, Tries, Wire};
use crate::model::encode_path;
use crate::net;
use crate::sys::interrupt::Interrupt;

/// A place on the web.
pub(super) struct Web {
    wire: Wire,
    base: String,
    shown: String,
}

impl Web {
    pub(super) fn new(base: &str, patience: &net::Settings) -> Self {
        Self {
            wire: Wire::new(patience, patience.redirects),
            base: base.to_owned(),
            shown: net::redact(base),
        }
    }

    fn url(&self, key: &str) -> Result<Url, PublishError> {
        let url = format!("{}{}", self.base, encode_path(key));
        url.parse().map_err(|_| PublishError::Key {
            key: key.to_owned(),
            why: "it makes no URL",
        })
    }

    /// Asks until there is an answer; none if there is nothing.
    fn ask(
        &self,
        method: &Method,
        key: &str,
        headers: &HeaderMap,
        interrupt: &Interrupt,
    ) -> Result<Option<Response>, PublishError> {
        let url = self.url(key)?;
        let what = || format!("{method} {}{key}", self.shown);
        let patience = self.wire.patience();
        let mut tries = Tries::new(patience);
        loop {
            let mut request = Request::new(method.clone(), url.clone());
            request.headers_mut().extend(headers.clone());
            let identity = HeaderValue::from_static("identity");
            request.headers_mut().insert(ACCEPT_ENCODING, identity);
            let trouble = match self.wire.send(request, &Meter::none(), interrupt) {
                Err(Fault::Fatal(error)) => return Err(error),
                Err(Fault::Trouble(trouble)) => trouble,
                Ok(response) if response.status().is_success() => return Ok(Some(response)),
                Ok(response) => match response.status().as_u16() {
                    404 | 410 | 412 => return Ok(None),
                    code => net::Trouble::Status {
                        code,
                        retry_after: asked(response.headers()),
                    },
                },
            };
            let asked = match trouble {
                net::Trouble::Status { retry_after, .. } => retry_after,
                _ => None,
            };
            let most = net::tries(&trouble, patience);
            if tries.again(most, asked, interrupt)? {
                continue;
            }
            let (what, why) = (what(), trouble.to_string());
            return Err(match trouble {
                net::Trouble::Status {
                    code: 401 | 403, ..
                } => PublishError::Denied { what, why },
                net::Trouble::Status { .. } if most == 1 => PublishError::Rejected { what, why },
                _ => PublishError::Unreachable {
                    what,
                    why,
                    tries: tries.made(),
                },
            });
        }
    }

    fn read_only<T>(&self) -> Result<T, PublishError> {
        Err(PublishError::ReadOnly {
            target: self.shown.clone(),
        })
    }
}

/// What an answer asks for: to be left alone for so long.
pub(super) fn asked(headers: &HeaderMap) -> Option<std::time::Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    net::retry_after(value, std::time::SystemTime::now())
}

impl Place for Web {
    fn list(&self, _: &str, _: &Interrupt) -> Result<Option<Vec<Object>>, PublishError> {
        Ok(None)
    }

    fn head(&self, key: &str, interrupt: &Interrupt) -> Result<Option<Head>, PublishError> {
        let answer = self.ask(&Method::HEAD, key, &HeaderMap::new(), interrupt)?;
        let Some(response) = answer else {
            return Ok(None);
        };
        let size = length(&response).ok_or_else(|| PublishError::Protocol {
            what: format!("HEAD {}{key}", self.shown),
            why: "it does not say how large it is".to_owned(),
        })?;
        Ok(Some(Head {
            size,
            sha256: None,
            parts: None,
            etag: None,
        }))
    }

    fn read<'a>(
        &'a self,
        key: &str,
        _: Option<&str>,
        interrupt: &'a Interrupt,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, PublishError> {
        let first = self.ask(&Method::GET, key, &HeaderMap::new(), interrupt)?;
        let Some(first) = first else { return Ok(None) };
        let owned = key.to_owned();
        let again = move |at: u64, etag: &str| {
            let mut headers = HeaderMap::new();
            let Ok(etag) = HeaderValue::from_str(etag) else {
                return Ok(None);
            };
            headers.insert(RANGE, range(at));
            headers.insert(IF_RANGE, etag);
            self.ask(&Method::GET, &owned, &headers, interrupt)
        };
        let place = (&*self.shown, key);
        let stream = Stream::new(&self.wire, first, Box::new(again), place, interrupt);
        Ok(Some(Box::new(stream)))
    }

    fn put(
        &self,
        _: &str,
        _: Content<'_>,
        _: Mode,
        _: &(dyn Fn(u64) + Sync),
        _: &Interrupt,
    ) -> Result<Put, PublishError> {
        self.read_only()
    }

    fn check_writable(&self, _: &Interrupt) -> Result<Conditional, PublishError> {
        self.read_only()
    }

    fn stale_uploads(&self, _: &Interrupt) -> Result<Option<Vec<StaleUpload>>, PublishError> {
        Ok(None)
    }

    fn abort(&self, _: &StaleUpload, _: &Interrupt) -> Result<(), PublishError> {
        self.read_only()
    }

    fn remove(&self, _: &str, _: &Interrupt) -> Result<(), PublishError> {
        self.read_only()
    }
}

/// `Range` for all that follows the first `at` bytes.
pub(super) fn range(at: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes={at}-")).unwrap_or(HeaderValue::from_static("bytes=0-"))
}
