//! An object from one bucket to another of the same store, without its bytes coming by here.
//!
//! In one request where nothing can be replaced by mistake: AWS heeds `If-None-Match` on a copy
//! since October 2025. Other stores that heed it on a put may still ignore it on a copy, so there
//! a copy is an upload of one part, whose completion heeds it; and the store says the part's
//! digest before anything is visible. What has more than a single copy may have goes in parts too.

use std::ops::Range;

use reqwest::Method;

use super::put::Sent;
use super::refusal::No;
use super::request::{Answer, Ask, Failure};
use super::xml::{self, Copied};
use super::{S3, from_base64};
use crate::model::encode_path;
use crate::model::{Hasher, Sha256};
use crate::publish::content::{Conditional, Head, Mode, Put};
use crate::publish::error::PublishError;
use crate::publish::remote::Place as _;
use crate::publish::wire::Meter;
use crate::sys::interrupt::Interrupt;

/// What one request copies at most (AWS: 5 GiB; a part, too).
const WHOLE: u64 = 5 << 30;
/// What each part has where there are several.
const PART: u64 = 1 << 30;

/// What is copied.
#[derive(Clone, Copy)]
pub(in crate::publish) struct Original<'a> {
    pub(in crate::publish) key: &'a str,
    /// What was said of it when it was read.
    pub(in crate::publish) head: &'a Head,
    pub(in crate::publish) digest: Sha256,
}

/// How an object is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In one request, with a condition or without.
    Whole { conditional: bool },
    /// As an upload whose parts are copied.
    Parts { conditional: bool },
}

/// Why it did not come to a copy.
enum Stop {
    /// The store does not do that, or not for us.
    Cannot,
    Error(PublishError),
}

impl From<PublishError> for Stop {
    fn from(error: PublishError) -> Self {
        Self::Error(error)
    }
}

/// How an object of this size is to be copied. `aws` says that the store is AWS's own.
fn way(size: u64, mode: Mode, aws: bool, known: Option<Conditional>) -> Way {
    let conditional = mode == Mode::Create && known != Some(Conditional::Ignored);
    if size > WHOLE || (conditional && !aws) {
        Way::Parts { conditional }
    } else {
        Way::Whole { conditional }
    }
}

/// Where the parts of an object begin and end; `None` is all of it.
fn parts(size: u64) -> Vec<Option<Range<u64>>> {
    if size <= WHOLE {
        return vec![None];
    }
    // No more than 10,000 parts may be there.
    let part = PART.max(size.div_ceil(10_000).next_multiple_of(1 << 20));
    let count = size.div_ceil(part);
    (0..count)
        .map(|n| Some(n * part..(n * part + part).min(size)))
        .collect()
}

impl S3 {
    /// Whether what is in one bucket can be copied to the other without coming by here: one store,
    /// one account. AWS copies from one region to another.
    pub(in crate::publish) fn is_beside(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.settings, &other.settings);
        ours.endpoint == theirs.endpoint
            && ours.credentials == theirs.credentials
            && (ours.endpoint.is_none() || ours.region == theirs.region)
    }

    /// Copies what is in the bucket beside to the same key. None if the store cannot do that.
    pub(in crate::publish) fn copy(
        &self,
        from: &Self,
        what: &Original<'_>,
        mode: Mode,
        interrupt: &Interrupt,
    ) -> Result<Option<Put>, PublishError> {
        let key = what.key;
        if mode == Mode::Create
            && let Some(head) = self.known(key, interrupt)?
        {
            self.same(what, &head, interrupt)?;
            return Ok(Some(Put::AlreadySame));
        }
        let aws = self.settings.endpoint.is_none();
        let known = self.conditional.get().copied();
        let sent = match way(what.head.size, mode, aws, known) {
            Way::Whole { conditional } => self.whole(from, what, conditional, interrupt),
            Way::Parts { conditional } => self.in_parts(from, what, conditional, interrupt),
        };
        match sent {
            Ok(Sent::Done) => Ok(Some(Put::Written)),
            // What is there was not to matter, so it was the original that was refused.
            Ok(Sent::Refused { .. }) if mode == Mode::Overwrite => Err(from.changed(key)),
            Ok(Sent::Refused { tries }) => {
                let Some(head) = self.known(key, interrupt)? else {
                    // The same where nothing is there.
                    return Err(from.changed(key));
                };
                self.same(what, &head, interrupt)?;
                // The answer to an earlier try may have been lost.
                let ours = tries > 1;
                Ok(Some(if ours { Put::Written } else { Put::AlreadySame }))
            }
            Ok(Sent::Unconditional) | Err(Stop::Cannot) => Ok(None),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    /// A request that copies: only the object that was read, as an upload would put it here.
    fn copying(&self, from: &Self, what: &Original<'_>) -> Ask {
        let source = format!("/{}/{}", from.bucket, encode_path(&from.full(what.key)));
        let ask = Ask::new(Method::PUT, Some(self.full(what.key)));
        let ask = ask.header("x-amz-copy-source", &source);
        match &what.head.etag {
            Some(etag) => ask.header("x-amz-copy-source-if-match", etag),
            None => ask,
        }
    }

    fn whole(
        &self,
        from: &Self,
        what: &Original<'_>,
        conditional: bool,
        interrupt: &Interrupt,
    ) -> Result<Sent, Stop> {
        let mut ask = self.described(self.copying(from, what), what.key);
        // Else what the original is described with is copied as well.
        ask = ask.header("x-amz-metadata-directive", "REPLACE");
        if self.settings.checksums {
            // Makes the store compute it over the whole.
            ask = ask.header("x-amz-checksum-algorithm", "SHA256");
        }
        if conditional {
            ask = ask.header("if-none-match", "*");
        }
        let answer = match self.call(&ask, &Meter::none(), interrupt) {
            Ok(answer) => answer,
            Err(Failure::Refusal(refusal)) => {
                return match refusal.no() {
                    No::Precondition => Ok(Sent::Refused {
                        tries: refusal.tries,
                    }),
                    No::Unknown | No::Denied => Err(Stop::Cannot),
                    No::Absent => Err(from.changed(what.key).into()),
                    _ => Err(self.error(&ask, Failure::Refusal(refusal)).into()),
                };
            }
            Err(failure) => return Err(self.error(&ask, failure).into()),
        };
        let copied = self.copied(&ask, "CopyObjectResult", &answer)?;
        if copied.sha256.as_deref().and_then(from_base64) == Some(what.digest) {
            return Ok(Sent::Done);
        }
        self.confirm(from, what, copied.etag.as_deref(), interrupt)?;
        Ok(Sent::Done)
    }

    fn in_parts(
        &self,
        from: &Self,
        what: &Original<'_>,
        conditional: bool,
        interrupt: &Interrupt,
    ) -> Result<Sent, Stop> {
        // A copy is quickly made again, so those that a kill left are not gone on with.
        let left = self.left_behind(what.key, interrupt)?;
        let id = self.begin_upload(what.key, interrupt)?;
        let sent = self.copy_parts(from, what, conditional, &id, interrupt);
        if matches!(sent, Ok(Sent::Done)) {
            self.give_up(&left, &id, interrupt);
        } else {
            self.abort_quietly(what.key, &id);
        }
        sent
    }

    fn copy_parts(
        &self,
        from: &Self,
        what: &Original<'_>,
        conditional: bool,
        id: &str,
        interrupt: &Interrupt,
    ) -> Result<Sent, Stop> {
        let ranges = parts(what.head.size);
        let alone = ranges.len() == 1;
        let mut done = Vec::new();
        let mut proven = false;
        for (number, range) in (1..).zip(ranges) {
            let mut ask = self.copying(from, what);
            if let Some(Range { start, end }) = range {
                ask = ask.header(
                    "x-amz-copy-source-range",
                    &format!("bytes={start}-{}", end - 1),
                );
            }
            let ask = ask
                .query("partNumber", number.to_string())
                .query("uploadId", id);
            let answer = match self.call(&ask, &Meter::none(), interrupt) {
                Ok(answer) => answer,
                Err(Failure::Refusal(refusal)) => {
                    return Err(match refusal.no() {
                        No::Precondition | No::Absent => from.changed(what.key).into(),
                        No::Unknown | No::Denied => Stop::Cannot,
                        No::Upload => self.changed(what.key).into(),
                        _ => self.error(&ask, Failure::Refusal(refusal)).into(),
                    });
                }
                Err(failure) => return Err(self.error(&ask, failure).into()),
            };
            let Copied { etag, sha256 } = self.copied(&ask, "CopyPartResult", &answer)?;
            let etag = etag.ok_or_else(|| self.nonsense(&ask, "it gives a part no entity tag"))?;
            if let (true, Some(found)) = (alone, sha256.as_deref().and_then(from_base64)) {
                if found != what.digest {
                    return Err(from.changed(what.key).into());
                }
                proven = true;
            }
            done.push((number, etag, sha256));
        }
        let mut ask = Ask::new(Method::POST, Some(self.full(what.key)))
            .query("uploadId", id)
            .header("content-type", "application/xml")
            .document(xml::complete(&done));
        if conditional {
            ask = ask.header("if-none-match", "*");
        }
        match self.call(&ask, &Meter::none(), interrupt) {
            Ok(answer) => {
                if !proven {
                    let etag = self.copied(&ask, "CompleteMultipartUploadResult", &answer);
                    let etag = etag.ok().and_then(|completed| completed.etag);
                    self.confirm(from, what, etag.as_deref(), interrupt)?;
                }
                Ok(Sent::Done)
            }
            Err(Failure::Refusal(refusal)) => match refusal.no() {
                No::Precondition => Ok(Sent::Refused {
                    tries: refusal.tries,
                }),
                No::Unknown if conditional => Ok(Sent::Unconditional),
                // The answer to an earlier try may have been lost.
                No::Upload if refusal.tries > 1 => Ok(Sent::Refused {
                    tries: refusal.tries,
                }),
                _ => Err(self.error(&ask, Failure::Refusal(refusal)).into()),
            },
            Err(failure) => Err(self.error(&ask, failure).into()),
        }
    }

    fn copied(&self, ask: &Ask, root: &str, answer: &Answer) -> Result<Copied, PublishError> {
        self.document(ask, root, answer)
    }

    /// Makes sure that what was copied is what was read before, by the store's own digest, else by
    /// reading it. If not, it is taken away again as long as it is still what was put there.
    fn confirm(
        &self,
        from: &Self,
        what: &Original<'_>,
        ours: Option<&str>,
        interrupt: &Interrupt,
    ) -> Result<(), PublishError> {
        let head = self.known(what.key, interrupt)?;
        let head = head.ok_or_else(|| self.changed(what.key))?;
        match self.same(what, &head, interrupt) {
            Err(PublishError::Exists { .. }) => {
                if ours.is_some() && head.etag.as_deref() == ours {
                    self.remove(what.key, interrupt)?;
                }
                Err(from.changed(what.key))
            }
            other => other,
        }
    }

    /// Fails unless what is there is what was read.
    fn same(
        &self,
        what: &Original<'_>,
        head: &Head,
        interrupt: &Interrupt,
    ) -> Result<(), PublishError> {
        let exists = |theirs| PublishError::Exists {
            target: self.shown.clone(),
            key: what.key.to_owned(),
            theirs,
            ours: what.digest,
        };
        if head.size != what.head.size {
            return Err(exists(head.sha256));
        }
        match head.has(&what.digest) {
            Some(true) => Ok(()),
            Some(false) => Err(exists(head.sha256)),
            None => match self.read_digest(what.key, head, interrupt)? {
                found if found == what.digest => Ok(()),
                found => Err(exists(Some(found))),
            },
        }
    }

    /// The digest of an object, by reading it.
    pub(super) fn read_digest(
        &self,
        key: &str,
        head: &Head,
        interrupt: &Interrupt,
    ) -> Result<Sha256, PublishError> {
        let reader = self.read(key, head.etag.as_deref(), interrupt)?;
        let mut reader = reader.ok_or_else(|| self.changed(key))?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) => {
                    let what = || format!("reading {}{key}", self.shown);
                    return Err(PublishError::from_reader(error).unwrap_or_else(|error| {
                        PublishError::Protocol {
                            what: what(),
                            why: error.to_string(),
                        }
                    }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_replaced_by_a_copy_that_nobody_guards() {
        let (whole, parts) = (
            |conditional| Way::Whole { conditional },
            |conditional| Way::Parts { conditional },
        );
        let (heeds, ignores) = (Some(Conditional::Honoured), Some(Conditional::Ignored));
        for (size, mode, aws, known, expected) in [
            (1, Mode::Create, true, heeds, whole(true)),
            (WHOLE, Mode::Create, true, heeds, whole(true)),
            (WHOLE + 1, Mode::Create, true, heeds, parts(true)),
            (1, Mode::Overwrite, true, heeds, whole(false)),
            (WHOLE + 1, Mode::Overwrite, true, heeds, parts(false)),
            (1, Mode::Create, false, heeds, parts(true)),
            (1, Mode::Create, false, None, parts(true)),
            (1, Mode::Create, false, ignores, whole(false)),
            (WHOLE + 1, Mode::Create, false, ignores, parts(false)),
            (1, Mode::Overwrite, false, heeds, whole(false)),
        ] {
            assert_eq!(
                way(size, mode, aws, known),
                expected,
                "{size} {mode:?} {aws}"
            );
        }
    }

    #[test]
    fn parts_cover_all_of_it_and_none_is_too_large() {
        assert_eq!(parts(0), [None]);
        assert_eq!(parts(WHOLE), [None]);
        for size in [WHOLE + 1, 6 << 30, 5 << 40, (48 << 40) - 1] {
            let parts = parts(size);
            assert!(parts.len() > 1 && parts.len() <= 10_000, "{size}");
            let mut at = 0;
            for part in parts {
                let part = part.expect("a part of it");
                assert_eq!(part.start, at);
                let bytes = part.end - part.start;
                assert!((1..=WHOLE).contains(&bytes), "{size}");
                at = part.end;
            }
            assert_eq!(at, size);
        }
    }
}
