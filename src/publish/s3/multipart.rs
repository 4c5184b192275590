//! Large files in parts: several at a time, each with its digest, in constant memory, and gone on
//! with after a kill.
//!
//! Nothing is kept on this host for that: the store itself is asked which parts of which upload
//! it has, and their digests say whether they are ours.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use reqwest::Method;

use super::put::{Sent, corrupted, read_part};
use super::refusal::No;
use super::request::{Ask, Failure};
use super::uploads::{Part, Upload};
use super::xml;
use super::{S3, to_base64};
use crate::model::{Hasher, Sha256};
use crate::publish::content::Content;
use crate::publish::error::PublishError;
use crate::publish::wire::Meter;
use crate::sys::interrupt::Interrupt;

/// What a part has at least; S3 asks for 5 MiB.
pub(super) const PART: u64 = 8 << 20;
/// How many parts there are at most; S3 allows 10,000.
const PARTS: u64 = 8_000;
/// How many parts are under way at once: as many are in memory, and one more.
const PARALLEL: usize = 4;

/// What each part but the last has.
fn part_size(size: u64) -> u64 {
    size.div_ceil(PARTS).next_multiple_of(1 << 20).max(PART)
}

/// The digest over the digests of a file's parts, if there are so many when it is cut as here.
pub(super) fn composite(
    file: &File,
    size: u64,
    parts: u64,
    interrupt: &Interrupt,
) -> Result<Option<Sha256>, PublishError> {
    let part = part_size(size);
    if size.div_ceil(part) != parts {
        return Ok(None);
    }
    let mut hasher = Hasher::new();
    let mut at = 0;
    while at < size {
        interrupt.check()?;
        let bytes = read_part(file, at, part.min(size - at))?;
        hasher.update(Sha256::of(&bytes).as_bytes());
        at += bytes.len() as u64;
    }
    Ok(Some(hasher.finish()))
}

/// What is sent.
pub(super) struct Source<'a> {
    pub(super) key: &'a str,
    pub(super) file: &'a File,
    pub(super) size: u64,
    digest: Sha256,
    pub(super) part: u64,
    create: bool,
}

/// Why an upload did not come to its end.
enum Stop {
    /// Somebody else has ended it, or changed its parts.
    Lost,
    Error(PublishError),
}

impl From<PublishError> for Stop {
    fn from(error: PublishError) -> Self {
        Self::Error(error)
    }
}

impl S3 {
    pub(super) fn multipart(
        &self,
        key: &str,
        (file, size, digest): (&File, u64, Sha256),
        create: bool,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Sent, PublishError> {
        let content = &Content::File { file, size, digest };
        let source = Source {
            key,
            file,
            size,
            digest,
            part: part_size(size),
            create,
        };
        let left = self.left_behind(key, interrupt)?;
        let mut resumable = self.resumable(&source, &left, interrupt)?;
        // One that was resumed may be taken away by whoever began it; a new one is ours alone.
        for last in [false, true] {
            let (upload, ours) = match resumable.take() {
                Some(upload) => (upload, false),
                None => (self.begin(key, interrupt)?, true),
            };
            let id = upload.id.clone();
            match self.finish(&source, upload, progress, interrupt) {
                Ok(sent) => {
                    if matches!(sent, Sent::Done) {
                        self.give_up(&left, &id, interrupt);
                    }
                    return Ok(sent);
                }
                Err(Stop::Lost) => {
                    if ours {
                        self.tidy(key, &id, interrupt);
                    }
                    // It may be that a completion succeeded whose answer was lost.
                    if let Some(known) = self.known(key, interrupt)?
                        && self.compare(key, content, &known, interrupt).is_ok()
                    {
                        return Ok(Sent::Done);
                    }
                    if last {
                        return Err(PublishError::Changed {
                            target: self.shown.clone(),
                            key: key.to_owned(),
                        });
                    }
                }
                Err(Stop::Error(error)) => {
                    if error.may_pass()
                        && let Ok(Some(known)) = self.known(key, interrupt)
                        && self.compare(key, content, &known, interrupt).is_ok()
                    {
                        return Ok(Sent::Done);
                    }
                    self.abort_quietly(key, &id);
                    return Err(error);
                }
            }
        }
        Err(PublishError::Changed {
            target: self.shown.clone(),
            key: key.to_owned(),
        })
    }

    /// Sends the parts that are not there, and completes the upload.
    fn finish(
        &self,
        source: &Source<'_>,
        upload: Upload,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Sent, Stop> {
        let id = upload.id.clone();
        let parts = self.send_parts(source, upload, progress, interrupt)?;
        let parts: Vec<_> = parts
            .into_iter()
            .map(|(number, Part { etag, sha256 })| (number, etag, sha256))
            .collect();
        let mut ask = Ask::new(Method::POST, Some(self.full(source.key)))
            .query("uploadId", &*id)
            .header("content-type", "application/xml")
            .document(xml::complete(&parts));
        if source.create {
            ask = ask.header("if-none-match", "*");
        }
        let refusal = match self.call(&ask, &Meter::none(), interrupt) {
            Ok(_) => return Ok(Sent::Done),
            Err(Failure::Refusal(refusal)) => refusal,
            Err(failure) => return Err(self.error(&ask, failure).into()),
        };
        match refusal.no() {
            No::Upload | No::Part => Err(Stop::Lost),
            No::Precondition => {
                self.tidy(source.key, &id, interrupt);
                Ok(Sent::Refused {
                    tries: refusal.tries,
                })
            }
            No::Unknown if source.create => {
                self.tidy(source.key, &id, interrupt);
                Ok(Sent::Unconditional)
            }
            _ => Err(self.error(&ask, Failure::Refusal(refusal)).into()),
        }
    }

    /// Reads the file once, from its beginning to its end, and hands the parts that are missing
    /// to the threads that send them.
    fn send_parts(
        &self,
        source: &Source<'_>,
        upload: Upload,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<BTreeMap<u32, Part>, Stop> {
        let Upload { id, had } = upload;
        let parts = Mutex::new(BTreeMap::new());
        let first = Mutex::new(None);
        let stop = AtomicBool::new(false);
        let fail = |why: Stop| {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(why);
            stop.store(true, Ordering::Relaxed);
        };
        let keep = |number, part| {
            let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.insert(number, part);
        };
        let (jobs, taken) = sync_channel::<Job>(0);
        let taken = Mutex::new(taken);
        let work = || {
            while let Some(job) = next(&taken) {
                // What is not wanted any more is still taken, so that nobody waits to hand it over.
                if stop.load(Ordering::Relaxed) {
                    continue;
                }
                let number = job.number;
                match self.send_part(source.key, &id, job, progress, interrupt) {
                    Ok(part) => keep(number, part),
                    Err(why) => fail(why),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(work);
            }
            let mut whole = Hasher::new();
            let mut at = 0;
            let mut number = 0;
            while at < source.size && !stop.load(Ordering::Relaxed) {
                let bytes = match read_part(source.file, at, source.part.min(source.size - at)) {
                    Ok(bytes) => bytes,
                    Err(error) => return fail(error.into()),
                };
                at += bytes.len() as u64;
                number += 1;
                whole.update(&bytes);
                let digest = Sha256::of(&bytes);
                match had.get(&number) {
                    Some(part) if part.sha256.as_ref() == Some(&to_base64(&digest)) => {
                        progress(bytes.len() as u64);
                        keep(number, part.clone());
                    }
                    _ => {
                        let job = Job {
                            number,
                            bytes,
                            digest,
                        };
                        // Fails only when nobody takes any more, and then `first` says why.
                        if jobs.send(job).is_err() {
                            break;
                        }
                    }
                }
            }
            drop(jobs);
            let found = whole.finish();
            if !stop.load(Ordering::Relaxed) && found != source.digest {
                fail(corrupted(source.digest, found).into());
            }
        });
        let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
        match first {
            Some(why) => Err(why),
            None => Ok(parts.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn send_part(
        &self,
        key: &str,
        id: &str,
        job: Job,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Part, Stop> {
        let Job {
            number,
            bytes,
            digest,
        } = job;
        let mut ask = Ask::new(Method::PUT, Some(self.full(key)))
            .query("partNumber", number.to_string())
            .query("uploadId", id)
            .body(bytes, digest);
        let sha256 = self.settings.checksums.then(|| to_base64(&digest));
        if let Some(sha256) = &sha256 {
            ask = ask
                .header("x-amz-sdk-checksum-algorithm", "SHA256")
                .header("x-amz-checksum-sha256", sha256);
        }
        let answer = match self.call(&ask, &Meter::new(progress), interrupt) {
            Ok(answer) => answer,
            Err(Failure::Refusal(refusal)) if refusal.no() == No::Upload => {
                return Err(Stop::Lost);
            }
            Err(failure) => return Err(self.error(&ask, failure).into()),
        };
        let etag = answer.header("etag").map(str::to_owned);
        let etag = etag.ok_or_else(|| PublishError::Protocol {
            what: self.what(&ask),
            why: "it gives a part no entity tag".to_owned(),
        })?;
        Ok(Part { etag, sha256 })
    }
}

/// A part to be sent.
struct Job {
    number: u32,
    bytes: Bytes,
    digest: Sha256,
}

fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    jobs.recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_neither_too_small_nor_too_many() {
        let table = [
            (1, PART),
            (PART * PARTS, PART),
            (PART * PARTS + 1, PART + (1 << 20)),
            (5 << 40, 656 << 20),
        ];
        for (size, part) in table {
            assert_eq!(part_size(size), part, "{size}");
            assert!(size.div_ceil(part) <= 10_000);
        }
    }
}
