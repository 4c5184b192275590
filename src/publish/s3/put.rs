//! Putting an object into a bucket, and comparing it with what is there.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;
use reqwest::Method;

use super::multipart::{self, PART};
use super::refusal::No;
use super::request::{Ask, Failure};
use super::{S3, to_base64};
use crate::model::{Sha256, StackKey};
use crate::publish::content::{Conditional, Content, Head, Mode, Put};
use crate::publish::error::PublishError;
use crate::publish::index::{INDEX_HTML, INDEX_JSON};
use crate::publish::wire::Meter;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

/// What of a file is put in one request. More than that is put in parts, several at a time.
pub(super) const SINGLE: u64 = 2 * PART;

/// What became of the bytes that were sent.
pub(super) enum Sent {
    /// They are there.
    Done,
    /// Something was there. It may be these very bytes if they were sent more than once.
    Refused { tries: u32 },
    /// The store does not know conditions.
    Unconditional,
}

impl S3 {
    pub(super) fn put_object(
        &self,
        key: &str,
        content: &Content<'_>,
        mode: Mode,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Put, PublishError> {
        if mode == Mode::Create {
            match self.known(key, interrupt) {
                Ok(Some(known)) => {
                    self.compare(key, content, &known, interrupt)?;
                    self.give_up_beside(key, content, interrupt)?;
                    return Ok(Put::AlreadySame);
                }
                Ok(None) => {}
                // Whoever may put need not be allowed to look; then the condition tells.
                Err(PublishError::Denied { .. }) if self.may_condition() => {}
                Err(error) => return Err(error),
            }
        }
        loop {
            let create = mode == Mode::Create && self.may_condition();
            let sent = match *content {
                Content::File { file, size, digest } if size > SINGLE => {
                    let file = (file, size, digest);
                    self.multipart(key, file, create, progress, interrupt)?
                }
                _ => self.single(key, content, create, progress, interrupt)?,
            };
            match sent {
                Sent::Done if mode == Mode::Overwrite => return Ok(Put::Written),
                Sent::Done if self.conditional.get() == Some(&Conditional::Honoured) => {
                    return Ok(Put::Written);
                }
                // Nobody promises that nothing was there, so what is there now counts.
                Sent::Done => {
                    let known = self.known(key, interrupt)?;
                    let known = known.ok_or_else(|| self.changed(key))?;
                    self.compare(key, content, &known, interrupt)?;
                    return Ok(Put::Written);
                }
                Sent::Refused { tries } => {
                    let known = self.known(key, interrupt)?;
                    let known = known.ok_or_else(|| self.changed(key))?;
                    self.compare(key, content, &known, interrupt)?;
                    // The answer to an earlier try may have been lost.
                    let ours = tries > 1;
                    return Ok(if ours { Put::Written } else { Put::AlreadySame });
                }
                Sent::Unconditional if create => {
                    // Told twice is as good as told once.
                    let _ = self.conditional.set(Conditional::Ignored);
                    if self.may_condition() {
                        return Err(self.changed(key));
                    }
                }
                Sent::Unconditional => return Err(self.changed(key)),
            }
        }
    }

    pub(super) fn changed(&self, key: &str) -> PublishError {
        PublishError::Changed {
            target: self.shown.clone(),
            key: key.to_owned(),
        }
    }

    /// In one request.
    fn single(
        &self,
        key: &str,
        content: &Content<'_>,
        create: bool,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Sent, PublishError> {
        let (bytes, digest) = match *content {
            Content::Bytes(bytes) => (Bytes::copy_from_slice(bytes), Sha256::of(bytes)),
            Content::File { file, size, digest } => {
                let bytes = read_part(file, 0, size)?;
                let found = Sha256::of(&bytes);
                if found != digest {
                    return Err(corrupted(digest, found));
                }
                (bytes, digest)
            }
        };
        let mut ask = Ask::new(Method::PUT, Some(self.full(key))).body(bytes, digest);
        ask = self.described(ask, key);
        if self.settings.checksums {
            ask = ask
                .header("x-amz-sdk-checksum-algorithm", "SHA256")
                .header("x-amz-checksum-sha256", &to_base64(&digest));
        }
        if create {
            ask = ask.header("if-none-match", "*");
        }
        match self.call(&ask, &Meter::new(progress), interrupt) {
            Ok(_) => Ok(Sent::Done),
            Err(Failure::Refusal(refusal)) if create => match refusal.no() {
                No::Precondition => Ok(Sent::Refused {
                    tries: refusal.tries,
                }),
                No::Unknown => Ok(Sent::Unconditional),
                _ => Err(self.error(&ask, Failure::Refusal(refusal))),
            },
            Err(failure) => Err(self.error(&ask, failure)),
        }
    }

    /// What an object is and how it is to be kept.
    pub(super) fn described(&self, ask: Ask, key: &str) -> Ask {
        let mut ask = ask.header("content-type", content_type(key));
        let names_stack = matches!(key.parse(), Ok(StackKey::Index(..)));
        if [INDEX_JSON, INDEX_HTML].contains(&key) || names_stack {
            // The only objects that change: whoever keeps a copy asks whether it still is the one.
            ask = ask.header("cache-control", "no-cache");
        }
        let settings = [
            ("x-amz-storage-class", &self.settings.storage_class),
            ("x-amz-server-side-encryption", &self.settings.encryption),
            (
                "x-amz-server-side-encryption-aws-kms-key-id",
                &self.settings.kms_key_id,
            ),
        ];
        for (name, value) in settings {
            if let Some(value) = value {
                ask = ask.header(name, value);
            }
        }
        ask
    }

    /// Fails unless what is there has the same bytes: by the store's own digest where it has one,
    /// else by reading it.
    pub(super) fn compare(
        &self,
        key: &str,
        content: &Content<'_>,
        head: &Head,
        interrupt: &Interrupt,
    ) -> Result<(), PublishError> {
        let ours = content.digest();
        let exists = |theirs| PublishError::Exists {
            target: self.shown.clone(),
            key: key.to_owned(),
            theirs,
            ours,
        };
        if head.size != content.size() {
            return Err(exists(head.sha256));
        }
        match head.has(&ours) {
            Some(true) => return Ok(()),
            Some(false) => return Err(exists(head.sha256)),
            None => {}
        }
        // Digests of parts can only be compared if the parts were cut as we would cut them.
        if let (Some((digest, parts)), Content::File { file, size, .. }) = (&head.parts, content)
            && multipart::composite(file, *size, *parts, interrupt)? == Some(*digest)
        {
            return Ok(());
        }
        let theirs = self.read_digest(key, head, interrupt)?;
        if theirs == ours {
            Ok(())
        } else {
            Err(exists(Some(theirs)))
        }
    }
}

pub(super) fn corrupted(expected: Sha256, found: Sha256) -> PublishError {
    PublishError::Corrupted {
        what: "the artifact".to_owned(),
        expected,
        found,
    }
}

/// A part of a file.
pub(super) fn read_part(file: &std::fs::File, at: u64, size: u64) -> Result<Bytes, PublishError> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    let read = file.read_exact_at(&mut bytes, at);
    read.map_err(FsError::new("read", Path::new("the artifact")))?;
    Ok(Bytes::from(bytes))
}

/// What browsers and tools make of an object.
fn content_type(key: &str) -> &'static str {
    let extension = Path::new(key)
        .extension()
        .and_then(|ending| ending.to_str());
    match extension.unwrap_or_default() {
        "gz" => "application/gzip",
        "xz" => "application/x-xz",
        "zst" => "application/zstd",
        "json" => "application/json",
        "html" => "text/html; charset=utf-8",
        "sha256" | "lock" | "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
