//! Reading an object over HTTP as one stream, however often its connection breaks.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG};
use reqwest::{Response, StatusCode};

use super::error::PublishError;
use super::wire::{Fault, Tries, Wire};
use crate::net::Trouble;
use crate::sys::interrupt::Interrupt;

/// Asks for an object again, from the byte that is given, as long as it is the one of this entity
/// tag. None if it is not there any more, or another.
pub(super) type Again<'a> =
    Box<dyn Fn(u64, &str) -> Result<Option<Response>, PublishError> + Send + 'a>;

/// An object that is being read.
pub(super) struct Stream<'a> {
    wire: &'a Wire,
    interrupt: &'a Interrupt,
    again: Again<'a>,
    response: Response,
    buffer: Bytes,
    at: u64,
    /// Bytes that come again and have been read.
    skip: u64,
    total: Option<u64>,
    /// What names this very object; without it nothing can be resumed.
    etag: Option<String>,
    tries: Tries<'a>,
    target: String,
    key: String,
}

impl<'a> Stream<'a> {
    /// Goes on from the head of the first answer.
    pub(super) fn new(
        wire: &'a Wire,
        response: Response,
        again: Again<'a>,
        (target, key): (&str, &str),
        interrupt: &'a Interrupt,
    ) -> Self {
        Self {
            total: length(&response),
            etag: strong_etag(&response),
            wire,
            interrupt,
            again,
            response,
            buffer: Bytes::new(),
            at: 0,
            skip: 0,
            tries: Tries::new(wire.patience()),
            target: target.to_owned(),
            key: key.to_owned(),
        }
    }

    /// Gets the next bytes; false at the end.
    fn fill(&mut self) -> Result<bool, PublishError> {
        loop {
            let trouble = match self.wire.chunk(&mut self.response, self.interrupt) {
                Ok(Some(chunk)) => {
                    self.buffer = chunk;
                    let again = self.skip.min(self.buffer.len() as u64);
                    self.skip -= again;
                    self.buffer
                        .advance(usize::try_from(again).unwrap_or(usize::MAX));
                    if self.buffer.is_empty() {
                        continue;
                    }
                    self.tries.progressed();
                    return Ok(true);
                }
                Ok(None) => match self.total {
                    Some(expected) if self.at < expected => Trouble::Short {
                        received: self.at,
                        expected,
                    },
                    _ => return Ok(false),
                },
                Err(Fault::Fatal(error)) => return Err(error),
                Err(Fault::Trouble(trouble)) => trouble,
            };
            self.resume(&trouble)?;
        }
    }

    fn resume(&mut self, trouble: &Trouble) -> Result<(), PublishError> {
        let most = self.wire.patience().tries;
        let etag = self.etag.clone();
        let again = self.tries.again(most, None, self.interrupt)?;
        let (true, Some(etag)) = (again, etag) else {
            return Err(PublishError::Unreachable {
                what: format!("GET {}{}", self.target, self.key),
                why: trouble.to_string(),
                tries: self.tries.made(),
            });
        };
        let changed = || PublishError::Changed {
            target: self.target.clone(),
            key: self.key.clone(),
        };
        let response = (self.again)(self.at, &etag)?.ok_or_else(changed)?;
        let same = strong_etag(&response).is_none_or(|found| found == etag);
        self.skip = match response.status() {
            StatusCode::PARTIAL_CONTENT if begin(&response) == Some(self.at) && same => 0,
            // It cannot do ranges, so everything comes again.
            StatusCode::OK if strong_etag(&response) == Some(etag) => self.at,
            _ => return Err(changed()),
        };
        self.response = response;
        Ok(())
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.buffer.is_empty() && !buf.is_empty() && !self.fill().map_err(io::Error::other)? {
            return Ok(0);
        }
        let most = buf.len().min(self.buffer.len());
        self.buffer.copy_to_slice(&mut buf[..most]);
        self.at += most as u64;
        Ok(most)
    }
}

/// What an answer says that its body has.
pub(super) fn length(response: &Response) -> Option<u64> {
    let length = response.headers().get(CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}

fn begin(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (begin, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    begin.trim().parse().ok()
}

/// An entity tag that changes with every byte (RFC 9110, 8.8.1).
fn strong_etag(response: &Response) -> Option<String> {
    let tag = response.headers().get(ETAG)?.to_str().ok()?;
    (!tag.starts_with("W/") && !tag.is_empty()).then(|| tag.to_owned())
}
